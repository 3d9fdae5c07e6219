//! Whoever has no token and no certificate, or the wrong ones.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use api::proto::agents_client::AgentsClient;
use api::proto::enrolment_client::EnrolmentClient;
use api::proto::people_client::PeopleClient;
use api::proto::{
    AdministerRequest, EnrolRequest, FetchRequest, FindRequest, FollowRequest, ListSessionsRequest,
    ReadAuditRequest, RefilterSessionRequest, RemoveSessionRequest, RenewRequest,
    StartSessionRequest, StatusRequest, StopSessionRequest, WatchRequest, WhoAmIRequest,
};
use api::tls;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::controller::Controller;
use crate::host::FakeHost;

/// Code 16 of gRPC: whoever asks is not known.
const UNAUTHENTICATED: i32 = 16;

/// Calls every method of a service and says with which code each was refused.
macro_rules! codes {
    ($client:expr; $($method:ident($message:expr)),* $(,)?) => {
        vec![$((stringify!($method), match $client.$method($message).await {
            Ok(_) => 0,
            Err(status) => status.code() as i32,
        })),*]
    };
}

/// The controller as a stranger sees it.
fn known(controller: &Controller) -> tls::Controller {
    let login = std::fs::read_to_string(controller.path("admin.json")).unwrap();
    let login: Value = serde_json::from_str(&login).unwrap();
    serde_json::from_value(login["controller"].clone()).unwrap()
}

#[test]
fn every_question_of_a_stranger_is_refused_and_logged() {
    let controller = Controller::start();
    tls::install_provider();
    let runtime = Runtime::new().unwrap();
    let known = known(&controller);
    let before = controller.log().len();
    let refused = runtime.block_on(async {
        let channel = known.channel(None).unwrap();
        let mut people = PeopleClient::new(channel.clone());
        let mut agents = AgentsClient::new(channel.clone());
        let mut codes = codes!(people;
            find(FindRequest::default()),
            who_am_i(WhoAmIRequest {}),
            watch(WatchRequest {}),
            status(StatusRequest {}),
            start_session(StartSessionRequest::default()),
            list_sessions(ListSessionsRequest {}),
            stop_session(StopSessionRequest::default()),
            remove_session(RemoveSessionRequest::default()),
            refilter_session(RefilterSessionRequest::default()),
            follow(FollowRequest::default()),
            fetch(FetchRequest::default()),
            administer(AdministerRequest::default()),
            read_audit(ReadAuditRequest::default()),
        );
        codes.extend(codes!(agents;
            attend(tokio_stream::pending()),
            upload(tokio_stream::pending()),
            renew(RenewRequest::default()),
        ));
        codes
    });
    for (method, code) in &refused {
        assert_eq!(*code, UNAUTHENTICATED, "{method}");
    }
    let entries = controller.log().split_off(before);
    let refusals = entries.iter().filter(|(_, is_granted)| !is_granted).count();
    assert_eq!(refusals, refused.len(), "{entries:?}");
}

#[test]
fn a_certificate_opens_nothing_of_people_and_a_junk_token_nothing_at_all() {
    let controller = Controller::start();
    let _host = FakeHost::new(&controller, "hv-1");
    let runtime = Runtime::new().unwrap();
    let identity = station::Identity::open(&controller.path("hv-1")).unwrap();
    let known = known(&controller);
    runtime.block_on(async {
        let mut people = PeopleClient::new(identity.channel().unwrap());
        let codes = codes!(people;
            find(FindRequest::default()),
            administer(AdministerRequest::default()),
            read_audit(ReadAuditRequest::default()),
        );
        assert!(codes.iter().all(|(_, code)| *code == UNAUTHENTICATED), "{codes:?}");
        let mut enrolment = EnrolmentClient::new(known.channel(None).unwrap());
        for token in ["", "ovte_", "ovte_aaaa", "x".repeat(100_000).as_str()] {
            let ask = EnrolRequest { token: token.to_owned(), ..EnrolRequest::default() };
            assert!(enrolment.enrol(ask).await.is_err());
        }
    });
    let agents = controller.json("admin", &["agents", "list"]);
    assert_eq!(agents.as_array().unwrap().len(), 1);
}

#[test]
fn noise_on_the_port_disturbs_nobody() {
    let controller = Controller::start();
    let address = known(&controller).address;
    let mut noise: u32 = 1;
    let mut open = Vec::new();
    for len in 0..200 {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // A constant generator: a failure can be had again (Numerical Recipes, section 7.1).
        let bytes: Vec<u8> = (0..len * 17)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                noise.to_be_bytes()[0]
            })
            .collect();
        let _ = stream.write_all(&bytes);
        match len % 3 {
            0 => drop(stream),
            // What a TLS server says to noise is an alert, or nothing.
            1 => drop(stream.read(&mut [0; 64])),
            _ => open.push(stream),
        }
    }
    let floods = controller.done("admin", &["status"]);
    assert!(floods.contains("controller"), "{floods}");
    drop(open);
}
