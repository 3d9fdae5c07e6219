//! Hostile peers against a real controller on loopback: strangers on every method, agents that say
//! nonsense, far too much, or never read, and a user who starts everything a thousand times.
//! Each is refused and noted, none costs much memory, and the others are served meanwhile.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod site;

use std::time::{Duration, Instant};

use api::document::{Note, Part, Wish};
use api::proto::agents_client::AgentsClient;
use api::proto::enrolment_client::EnrolmentClient;
use api::proto::from_agent::Said;
use api::proto::{
    AdministerRequest, EnrolRequest, FetchRequest, FindRequest, FollowRequest, FromAgent,
    ListSessionsRequest, Piece, ReadAuditRequest, RefilterSessionRequest, RemoveSessionRequest,
    RenewRequest, StartSessionRequest, StatusRequest, StopSessionRequest, WatchMachinesRequest,
    WatchRequest,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tonic::{Code, Request};

use site::{Site, code, line, wish};

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_on_every_method_and_each_time_is_in_the_log() {
    let site = Site::new().await;
    let before = site.audit().await.len();
    let id = || "s-1".to_owned();
    for token in [None, Some("Bearer x"), Some("Bearer ovt-user-aaaa"), Some("Basic eDp5")] {
        fn ask<T>(token: Option<&str>, message: T) -> Request<T> {
            let mut request = Request::new(message);
            if let Some(token) = token {
                request.metadata_mut().insert("authorization", token.parse().unwrap());
            }
            request
        }
        let mut p = site.people();
        let large = "x".repeat(200_000);
        let answers = [
            code(
                p.find(ask(token, FindRequest { what: large, at_ns: 0, ..FindRequest::default() }))
                    .await,
            ),
            code(p.watch(ask(token, WatchRequest::default())).await),
            code(p.watch_machines(ask(token, WatchMachinesRequest::default())).await),
            code(p.status(ask(token, StatusRequest {})).await),
            code(p.start_session(ask(token, wish())).await),
            code(p.list_sessions(ask(token, ListSessionsRequest {})).await),
            code(p.stop_session(ask(token, StopSessionRequest { session: id() })).await),
            code(p.remove_session(ask(token, RemoveSessionRequest { session: id() })).await),
            code(p.refilter_session(ask(token, RefilterSessionRequest::default())).await),
            code(p.follow(ask(token, FollowRequest { session: id() })).await),
            code(p.fetch(ask(token, FetchRequest::default())).await),
            code(p.administer(ask(token, AdministerRequest::default())).await),
            code(p.read_audit(ask(token, ReadAuditRequest::default())).await),
        ];
        assert_eq!(answers, [Code::Unauthenticated; 13], "{token:?}");
    }
    let mut agents = AgentsClient::new(site.channel());
    let pieces = tokio_stream::iter([Piece::default()]);
    let answers = [
        code(agents.upload(pieces).await),
        code(agents.renew(RenewRequest::default()).await),
        code(line(site.channel()).await.1),
    ];
    assert_eq!(answers, [Code::Unauthenticated; 3]);
    for token in ["", "x", "ovt-agent-aaaa"] {
        let ask =
            EnrolRequest { token: token.into(), host: "hv".into(), ..EnrolRequest::default() };
        let answer = code(EnrolmentClient::new(site.channel()).enrol(ask).await);
        assert_eq!(answer, Code::InvalidArgument, "{token}");
    }
    let written = site.audit().await.len() - before;
    assert_eq!(written, 52 + 3 + 3 + 1, "one line for each, and one for reading the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_get_to_fill_the_memory_or_the_log() {
    let site = Site::new().await;
    let (before, lines, began) = (resident_mb(), site.audit().await.len(), Instant::now());
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (people, enrolment) = (site.people(), EnrolmentClient::new(site.channel()));
        callers.spawn(async move {
            for _ in 0..20 {
                let mut calls = tokio::task::JoinSet::new();
                for _ in 0..4 {
                    let (mut people, mut enrolment) = (people.clone(), enrolment.clone());
                    calls.spawn(async move {
                        let what = "x".repeat(3_000_000);
                        let refused = code(
                            people
                                .find(FindRequest { what, at_ns: 0, ..FindRequest::default() })
                                .await,
                        );
                        assert_ne!(refused, Code::Ok);
                        let host = "x".repeat(1_000_000);
                        let ask = EnrolRequest { host, ..EnrolRequest::default() };
                        assert_ne!(code(enrolment.enrol(ask).await), Code::Ok);
                    });
                }
                while let Some(call) = calls.join_next().await {
                    call.unwrap();
                }
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    assert!(site.is_served().await < Duration::from_secs(1));
    let (grown, written) = (resident_mb().saturating_sub(before), site.audit().await.len() - lines);
    // The callers are in this process, too.
    assert!(grown < 300, "{grown} MB");
    let most = 110 + usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(written <= most, "{written} lines of 1280 refusals");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_says_nonsense_and_far_too_much_is_bounded() {
    let site = Site::new().await;
    let session = site.session().await;
    let channel = site.agent("hv").await;
    let before = resident_mb();
    let (to, heard) = line(channel.clone()).await;
    let mut heard = heard.unwrap();
    tokio::spawn(async move { while let Ok(Some(_)) = heard.message().await {} });
    let say = async |said: Said| to.send(FromAgent { said: Some(said) }).await.unwrap();
    for nonsense in ["", "{", "[]", "null", "{\"at\":1}", "\u{0}", "[[[[[[[[[["] {
        say(Said::LookJson(nonsense.into())).await;
        say(Said::PartJson(nonsense.into())).await;
        say(Said::NoteJson(nonsense.into())).await;
        say(Said::SourcesJson(nonsense.into())).await;
    }
    say(Said::LookJson("[".repeat(1_000_000))).await;
    let problems = vec!["x".repeat(100_000); 50];
    say(Said::SourcesJson(serde_json::to_string(&problems).unwrap())).await;
    let note = |number: u32, text: &str| Note {
        session: session.clone(),
        host: "hv".into(),
        at_ns: number.into(),
        text: text.into(),
        is_refusal: true,
        is_in_part: false,
    };
    let long = "x".repeat(100_000);
    for number in 0..5000 {
        let text = if number < 500 { long.as_str() } else { "short" };
        say(Said::NoteJson(serde_json::to_string(&note(number, text)).unwrap())).await;
    }
    for number in 0..8000 {
        let part = Part {
            session: session.clone(),
            agent: "another".into(),
            host: "x".repeat(2000),
            number,
            machine_id: format!("written:{number}"),
            machine: "x".repeat(2000),
            point: "x".repeat(2000),
            began_ns: 1,
            ended: (number % 2 == 0).then(|| "x".repeat(2000)),
            bytes: u64::MAX,
            freed_bytes: 0,
            packets: u64::MAX,
            kernel_dropped: u64::MAX,
            failed: u64::MAX,
            recorded: None,
            receipt: Some(
                serde_json::json!({ "x": "y".repeat(if number < 500 { 60_000 } else { 100 }) }),
            ),
            clock: None,
            is_reachable: true,
        };
        say(Said::PartJson(serde_json::to_string(&part).unwrap())).await;
    }
    assert!(site.is_served().await < Duration::from_secs(1));
    let status = site.people().status(site.by(StatusRequest {})).await.unwrap().into_inner();
    let status: api::document::Status = serde_json::from_str(&status.status_json).unwrap();
    assert!(status.agents[0].is_connected, "nonsense alone is no reason to hang up");
    // Everything said before this answer has been heard once the last part is there or refused.
    let sessions = site.people().list_sessions(site.by(ListSessionsRequest {})).await.unwrap();
    let found: api::document::Session =
        serde_json::from_str(&sessions.into_inner().session_json[0]).unwrap();
    assert!(found.parts.len() <= 5000, "{} parts", found.parts.len());
    assert!(found.parts.iter().all(|part| part.agent == "hv"), "it speaks for nobody else");
    assert!(found.notes.len() <= 2010, "{} notes", found.notes.len());
    assert!(found.notes.iter().all(|note| note.text.len() < 1100));
    let grown = resident_mb().saturating_sub(before);
    assert!(grown < 400, "{grown} MB");
    let odd = site.log.lock().unwrap().iter().filter(|line| line.contains("no sense")).count();
    assert_eq!(odd, 1, "the log has the first of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_a_million_machines_is_not_heard() {
    let site = Site::new().await;
    let channel = site.agent("hv").await;
    let before = resident_mb();
    let machine = |number: u32| {
        serde_json::json!({
            "id": format!("written:{number}"), "name": format!("m{number}"), "aliases": [],
            "kind": "vm", "state": "running", "tenant": null, "vnics": [], "pid": null,
            "since": null,
        })
    };
    let (to, heard) = line(channel).await;
    let mut heard = heard.unwrap();
    for look in 0..1000_u32 {
        let machines: Vec<_> = (0..1000).map(|number| machine(look * 1000 + number)).collect();
        let look = serde_json::json!({
            "at": format!("2026-01-01T00:00:00.{look:03}Z"), "host": { "name": "hv" }, "previous": null, "is_whole": look == 0,
            "machines": machines,
        });
        if to.send(FromAgent { said: Some(Said::LookJson(look.to_string())) }).await.is_err() {
            break;
        }
    }
    let end = loop {
        match heard.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it must be said why"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::ResourceExhausted, "{end}");
    let status = site.people().status(site.by(StatusRequest {})).await.unwrap().into_inner();
    let status: api::document::Status = serde_json::from_str(&status.status_json).unwrap();
    assert_eq!((status.machines, status.agents[0].is_connected), (10_000, false));
    let grown = resident_mb().saturating_sub(before);
    assert!(grown < 200, "{grown} MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_lines_of_one_agent_are_one_and_none_needs_to_read() {
    let site = Site::new().await;
    let session = site.session().await;
    let channel = site.agent("hv").await;
    let before = resident_mb();
    let mut lines = Vec::new();
    for _ in 0..1000 {
        let opened = tokio::time::timeout(Duration::from_millis(500), line(channel.clone()));
        // More streams than the controller takes at once wait here.
        let Ok((to, Ok(heard))) = opened.await else { break };
        lines.push((to, heard));
    }
    // Orders that nobody reads.
    for number in 0..300 {
        let ask = RefilterSessionRequest {
            session: session.clone(),
            expression: format!("tcp port {}", number + 1),
        };
        site.people().refilter_session(site.by(ask)).await.unwrap();
    }
    assert!(site.is_served().await < Duration::from_secs(1));
    let grown = resident_mb().saturating_sub(before);
    assert!(grown < 200, "{grown} MB for {} lines", lines.len());
    // The last one is the agent's, all others were ended.
    let status = site.people().status(site.by(StatusRequest {})).await.unwrap().into_inner();
    let status: api::document::Status = serde_json::from_str(&status.status_json).unwrap();
    assert_eq!(status.agents.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_follows_and_starts_everything_without_reading_is_bounded() {
    let site = Site::new().await;
    let session = site.session().await;
    let mut follows = Vec::new();
    let mut refused = 0;
    for _ in 0..100 {
        let ask = site.by(FollowRequest { session: session.clone() });
        match site.people().follow(ask).await {
            Ok(follow) => follows.push(follow),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted);
                refused += 1;
            }
        }
    }
    assert_eq!((follows.len(), refused), (32, 68));
    let huge =
        serde_json::to_string(&Wish { expression: "tcp or ".repeat(100_000), ..Wish::default() });
    let ask = StartSessionRequest { wish_json: huge.unwrap() };
    assert_ne!(code(site.people().start_session(site.by(ask)).await), Code::Ok);
    assert!(site.is_served().await < Duration::from_secs(1));
}

/// What a stranger at another address of this host says before anybody could let them in.
async fn knock(at: std::net::SocketAddr, say: &[u8]) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(at).await.ok()?;
    // One that is turned away at once may not even take it.
    let _ = stream.write_all(say).await;
    Some(stream)
}

/// Somebody who has shaken hands and begun HTTP/2, and then says nothing.
async fn greeted(site: &Site) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(site.controller.ca_pem.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols.push(b"h2".to_vec());
    let stream = knock(site.controller.address.parse().unwrap(), b"").await.unwrap();
    let name = api::tls::CONTROLLER_NAME.try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&empty_settings).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_only_stand_there_are_bounded_and_gone_after_a_while() {
    let site = Site::new().await;
    let at = site.controller.address.parse().unwrap();
    let before = resident_mb();
    let garbage: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    // The record of a greeting that never goes on; one that says it is as long as it can be.
    let half_open = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    let endless = [[22, 3, 1, 64, 0, 1, 255, 255, 255].as_slice(), &[0; 9000]].concat();
    let words: [&[u8]; 5] =
        [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &half_open, &endless, &garbage];
    let mut greeted = greeted(&site).await;
    let mut standing = Vec::new();
    for number in 0..3000 {
        standing.extend(knock(at, words[number % words.len()]).await);
    }
    assert!(site.is_served().await < Duration::from_secs(1), "from another address");
    let grown = resident_mb().saturating_sub(before);
    assert!(grown < 200, "{grown} MB");
    let honest = site.people();
    let ask = || site.by(StatusRequest {});
    honest.clone().status(ask()).await.unwrap();
    let began = Instant::now();
    for mut stream in standing {
        let patience = Duration::from_secs(20).saturating_sub(began.elapsed());
        let end = async {
            let mut answer = [0; 4096];
            while matches!(stream.read(&mut answer).await, Ok(1..)) {}
        };
        tokio::time::timeout(patience, end).await.expect("it stands there for ever");
    }
    // Settings, an answer to ours, pings perhaps; then the end.
    let patience = Duration::from_secs(20).saturating_sub(began.elapsed());
    let end = async { while matches!(greeted.read(&mut [0; 4096]).await, Ok(1..)) {} };
    tokio::time::timeout(patience, end).await.expect("who has shaken hands stands there for ever");
    // Those who were let in have been left alone.
    honest.clone().status(ask()).await.unwrap();
    let begun = site.log.lock().unwrap().len();
    assert!(begun < 20, "{begun} lines in the log");
}
