//! Whoever was let in is not let in for ever: what a controller tells for long ends, with a word and
//! a line in the audit log, within about a second after the token or the grant has.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod site;

use std::time::{Duration, Instant};

use api::document::{HostFound, Session};
use api::proto::from_agent::Said;
use api::proto::people_client::PeopleClient;
use api::proto::{
    FollowRequest, FromAgent, ListSessionsRequest, WatchMachinesRequest, WatchRequest,
};
use control::admin::{Command, Made, NewGrant, Reply};
use control::grants::{Purpose, Role, Snaplen};
use jiff::{SignedDuration, Timestamp};
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use site::{Site, line, wish};

/// Somebody with a token, who may capture acme's machines.
struct Ann {
    people: PeopleClient<Channel>,
    token: Made,
}

impl Ann {
    async fn new(site: &Site) -> Self {
        let name = "ann".parse().unwrap();
        let note = String::new();
        site.order(&Command::AddUser { name, role: Role::Operator, note }).await;
        site.order(&Command::AddGrant(acme(None))).await;
        Self { people: site.people(), token: token(site, None).await }
    }

    fn by<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token.token);
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        request
    }

    async fn watches(&self) -> Streaming<api::proto::WatchMachinesReply> {
        let ask = self.by(WatchMachinesRequest { what: String::new() });
        let mut told = self.people.clone().watch_machines(ask).await.unwrap().into_inner();
        let first = told.message().await.unwrap().unwrap();
        let hosts: Vec<HostFound> =
            first.host_json.iter().map(|host| serde_json::from_str(host).unwrap()).collect();
        assert_eq!(hosts[0].machines[0].name, "web");
        told
    }
}

fn acme(until: Option<Timestamp>) -> NewGrant {
    NewGrant {
        to: "ann".parse().unwrap(),
        machines: ["tenant:acme".parse().unwrap()].into(),
        purposes: [Purpose::Capture].into(),
        snaplen: Snaplen::WHOLE,
        longest: None,
        from: None,
        until,
        needs_reason: false,
        note: String::new(),
    }
}

async fn token(site: &Site, expires_at: Option<Timestamp>) -> Made {
    let user = "ann".parse().unwrap();
    let command = Command::AddToken { user, expires_at, note: String::new() };
    let Reply::Made(made) = site.order(&command).await else { panic!("no token") };
    made
}

/// An agent with one machine, acme's web. It is there as long as what is returned.
async fn web(site: &Site) -> There {
    let (to, heard) = line(site.agent("hv").await).await;
    let mut heard = heard.unwrap();
    let listening = tokio::spawn(async move { while let Ok(Some(_)) = heard.message().await {} });
    let look = serde_json::json!({
        "at": "2026-01-01T00:00:00Z", "host": { "name": "hv" }, "previous": null, "is_whole": true,
        "machines": [{
            "id": "written:web", "name": "web", "aliases": [], "kind": "vm", "state": "running",
            "tenant": "acme", "vnics": [], "pid": null, "since": null,
        }],
    });
    to.send(FromAgent { said: Some(Said::LookJson(look.to_string())) }).await.unwrap();
    let is_there = async || {
        let ask = api::proto::FindRequest { what: "web".into(), ..Default::default() };
        !site.people().find(site.by(ask)).await.unwrap().into_inner().host_json.is_empty()
    };
    let grant = NewGrant { to: "admin".parse().unwrap(), ..acme(None) };
    site.order(&Command::AddGrant(grant)).await;
    while !is_there().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    There { listening, _to: to }
}

/// An agent's line, open.
struct There {
    listening: tokio::task::JoinHandle<()>,
    _to: tokio::sync::mpsc::Sender<FromAgent>,
}

impl Drop for There {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// How a stream ends, and how long that takes.
async fn end<T>(mut told: Streaming<T>) -> (Status, Duration) {
    let began = Instant::now();
    loop {
        match tokio::time::timeout(Duration::from_secs(10), told.message()).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => panic!("it must be said why"),
            Ok(Err(status)) => return (status, began.elapsed()),
            Err(_) => panic!("it goes on"),
        }
    }
}

const SOON: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_token_ends_everything_that_was_begun_with_it() {
    let site = Site::new().await;
    let _agent = web(&site).await;
    let mut ann = Ann::new(&site).await;
    let session = ann.people.start_session(ann.by(wish())).await.unwrap().into_inner();
    let session: Session = serde_json::from_str(&session.session_json).unwrap();
    let machines = ann.watches().await;
    let changes = ann.people.watch(ann.by(WatchRequest {})).await.unwrap().into_inner();
    let ask = FollowRequest { session: session.id.clone() };
    let follow = ann.people.follow(ann.by(ask)).await.unwrap().into_inner();

    site.order(&Command::RemoveToken { id: ann.token.id }).await;
    let ends = tokio::join!(end(machines), end(changes), end(follow));
    for (status, after) in [ends.0, ends.1, ends.2] {
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(
            status.message(),
            "the token was removed meanwhile; log in again: overtap login"
        );
        assert!(after < SOON, "{after:?}");
    }
    let log = site.audit().await.join("\n");
    for what in ["watch", &format!("follow {}", session.id)] {
        let line = log.lines().filter(|line| line.contains(&format!("\"subject\":\"{what}\"")));
        let line: Vec<&str> = line.filter(|line| line.contains("removed meanwhile")).collect();
        assert!(line.iter().all(|line| line.contains(r#""user":"ann""#)), "{line:?}");
        assert_eq!(line.len(), if what == "watch" { 2 } else { 1 }, "{log}");
    }
    // The session is hers, not the token's.
    let sessions = site.people().list_sessions(site.by(ListSessionsRequest {})).await.unwrap();
    let found: Session = serde_json::from_str(&sessions.into_inner().session_json[0]).unwrap();
    assert_eq!(found.ended, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_ends_what_was_begun_with_it() {
    let site = Site::new().await;
    let _agent = web(&site).await;
    let mut ann = Ann::new(&site).await;
    let end_of_it = Timestamp::now() + SignedDuration::from_secs(2);
    ann.token = token(&site, Some(end_of_it)).await;
    let (status, _) = end(ann.watches().await).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().starts_with("the token has ended meanwhile"), "{status}");
    let late = Timestamp::now().duration_since(end_of_it);
    assert!(late < SOON.try_into().unwrap(), "{late}");
    assert!(site.audit().await.iter().any(|line| line.contains("the token has ended meanwhile")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_ends_what_it_had_begun_and_its_sessions() {
    let site = Site::new().await;
    let _agent = web(&site).await;
    let mut ann = Ann::new(&site).await;
    ann.people.start_session(ann.by(wish())).await.unwrap();
    let machines = ann.watches().await;
    let name = "ann".parse().unwrap();
    site.order(&Command::ChangeUser { name, role: None, is_enabled: Some(false) }).await;
    let (status, after) = end(machines).await;
    assert_eq!(status.message(), "the account ann was disabled meanwhile");
    assert!(after < SOON, "{after:?}");
    let sessions = site.people().list_sessions(site.by(ListSessionsRequest {})).await.unwrap();
    let found: Session = serde_json::from_str(&sessions.into_inner().session_json[0]).unwrap();
    assert_eq!(found.ended.as_deref(), Some("its owner may not see these packets any more"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_removed_or_ends_ends_the_watch_of_what_it_showed() {
    let site = Site::new().await;
    let _agent = web(&site).await;
    let ann = Ann::new(&site).await;
    let machines = ann.watches().await;
    let Reply::Grants(grants) = site.order(&Command::ListGrants).await else { panic!("grants") };
    let hers = grants.into_iter().find(|grant| grant.to.as_str() == "ann").unwrap();
    site.order(&Command::RemoveGrant { id: hers.id }).await;
    let (status, after) = end(machines).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.message(), "you may not see web any more: a grant has ended");
    assert!(after < SOON, "{after:?}");

    let end_of_it = Timestamp::now() + SignedDuration::from_secs(2);
    site.order(&Command::AddGrant(acme(Some(end_of_it)))).await;
    let (status, _) = end(ann.watches().await).await;
    assert_eq!(status.message(), "you may not see web any more: a grant has ended");
    let late = Timestamp::now().duration_since(end_of_it);
    assert!(late < SOON.try_into().unwrap(), "{late}");
    let log = site.audit().await;
    let lines = log.iter().filter(|line| line.contains("you may not see web any more"));
    assert!(lines.clone().all(|line| line.contains(r#""action":"find","subject":"watch""#)));
    assert_eq!(lines.count(), 2);
}
