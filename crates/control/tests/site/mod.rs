//! A real controller on loopback, in a folder of its own, and what is asked of it.

#![allow(dead_code, reason = "no test needs all of it")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::document::Wish;
use api::proto::agents_client::AgentsClient;
use api::proto::enrolment_client::EnrolmentClient;
use api::proto::from_agent::Said;
use api::proto::people_client::PeopleClient;
use api::proto::{
    AdministerRequest, EnrolRequest, FindRequest, FromAgent, Hello, ReadAuditRequest,
    StartSessionRequest,
};
use api::tls::Controller;
use control::admin::{Command, Made, NewGrant, NewInvitation, Reply, first_admin};
use control::ca::{Authority, Request as Key};
use control::server::{Settings, Traffic, serve};
use control::store::SqliteStore;
use telemetry::Log;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// A controller in a folder of its own.
pub(crate) struct Site {
    pub(crate) controller: Controller,
    pub(crate) admin: String,
    pub(crate) log: Arc<Mutex<Vec<String>>>,
    /// Memory is the whole process's, so there is one site at a time.
    _alone: tokio::sync::MutexGuard<'static, ()>,
    _folder: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

impl Site {
    pub(crate) async fn new() -> Self {
        static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let alone = ALONE.lock().await;
        api::tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::now();
        let authority = Authority::open_or_make(folder.path(), now).unwrap();
        let ca_pem = authority.now().ca.certificate().pem();
        let store = SqliteStore::open(&folder.path().join("store.sqlite")).unwrap();
        let admin =
            first_admin(&store, "admin".parse().unwrap(), now).unwrap().unwrap().to_string();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            authority,
            store: Box::new(store),
            version: "test".into(),
            log: Log::new(move |event| lines.lock().unwrap().push(format!("{event:?}"))),
            metrics: None,
            traffic: Traffic::default(),
            alerts: Vec::new(),
            within: None,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, address) = oneshot::channel();
        tokio::spawn(async move {
            let ready = |address| _ = ready.send(address);
            serve(settings, ready, async { _ = stopped.await }).await.unwrap();
        });
        let address = address.await.unwrap().to_string();
        let controller = Controller { address, ca_pem };
        Self { controller, admin, log, _alone: alone, _folder: folder, _stop: stop }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.controller.channel(None).unwrap()
    }

    pub(crate) fn people(&self) -> PeopleClient<Channel> {
        PeopleClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    pub(crate) fn by<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.admin);
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        request
    }

    pub(crate) async fn order(&self, command: &Command) -> Reply {
        let command_json = serde_json::to_string(command).unwrap();
        let reply = self.people().administer(self.by(AdministerRequest { command_json })).await;
        serde_json::from_str(&reply.unwrap().into_inner().reply_json).unwrap()
    }

    /// An agent that was let in: a channel with its certificate.
    pub(crate) async fn agent(&self, name: &str) -> Channel {
        let invitation = NewInvitation {
            address: self.controller.address.parse().unwrap(),
            agent: None,
            uses: 1,
            expires_at: jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1),
            note: String::new(),
        };
        let Reply::Made(Made { token, .. }) = self.order(&Command::Invite(invitation)).await else {
            panic!("no invitation");
        };
        let key = Key::make().unwrap();
        let (host, version) = (name.to_owned(), "test".to_owned());
        let ask = EnrolRequest { token, host, request: key.der.into(), version };
        let given = EnrolmentClient::new(self.channel()).enrol(ask).await.unwrap().into_inner();
        self.controller.channel(Some((&given.certificate_pem, &key.key_pem))).unwrap()
    }

    /// The whole audit log.
    pub(crate) async fn audit(&self) -> Vec<String> {
        let ask = self.by(ReadAuditRequest { first: 0, last: 0 });
        let mut pages = self.people().read_audit(ask).await.unwrap().into_inner();
        let mut lines = Vec::new();
        while let Some(page) = pages.message().await.unwrap() {
            lines.extend(page.line);
        }
        lines
    }

    /// How long somebody honest waits for an answer.
    pub(crate) async fn is_served(&self) -> Duration {
        let began = Instant::now();
        let ask = FindRequest { what: "nothing".into(), at_ns: 0, ..FindRequest::default() };
        self.people().find(self.by(ask)).await.unwrap();
        began.elapsed()
    }

    /// A session over everything, for the administrator.
    pub(crate) async fn session(&self) -> String {
        let grant = NewGrant {
            to: "admin".parse().unwrap(),
            machines: ["all".parse().unwrap()].into(),
            purposes: [control::grants::Purpose::Capture].into(),
            snaplen: control::grants::Snaplen::WHOLE,
            longest: None,
            from: None,
            until: None,
            needs_reason: false,
            note: String::new(),
        };
        self.order(&Command::AddGrant(grant)).await;
        let session = self.people().start_session(self.by(wish())).await.unwrap().into_inner();
        let session: api::document::Session = serde_json::from_str(&session.session_json).unwrap();
        session.id
    }
}

pub(crate) fn wish() -> StartSessionRequest {
    let wish = Wish {
        tenants: vec!["acme".into()],
        lifetime_s: 3600,
        snaplen: 1 << 18,
        ..Wish::default()
    };
    StartSessionRequest { wish_json: serde_json::to_string(&wish).unwrap() }
}

pub(crate) fn code<T>(answer: Result<T, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

/// Opens a line and says hello; what the controller says comes out at the end.
pub(crate) async fn line(
    channel: Channel,
) -> (mpsc::Sender<FromAgent>, Result<tonic::Streaming<api::proto::ToAgent>, Status>) {
    let (to, said) = mpsc::channel(4);
    let hello = Hello { version: "test".into(), host: "hv".into(), ..Hello::default() };
    to.send(FromAgent { said: Some(Said::Hello(hello)) }).await.unwrap();
    let mut client = AgentsClient::new(channel).max_encoding_message_size(usize::MAX);
    let heard = client.attend(ReceiverStream::new(said)).await;
    (to, heard.map(tonic::Response::into_inner))
}
