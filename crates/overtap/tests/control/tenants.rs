//! A user of one tenant asks for the machines of another, in every way there is.

use std::time::{Duration, Instant};

use control::grants::{Snaplen, Uncovered};
use jiff::Timestamp;

use crate::controller::Controller;
use crate::host::{FakeHost, facts, ip, mac, uuid};

/// A host with two VMs of each of two tenants; ann may capture those of acme.
fn two_tenants() -> (Controller, FakeHost) {
    let controller = Controller::start();
    controller.add_user("ann", "operator");
    controller.done("admin", &["grants", "add", "ann", "--machine", "tenant:acme"]);
    controller.done("admin", &["grants", "add", "admin", "--machine", "all"]);
    let host = FakeHost::new(&controller, "hv-1");
    host.runs(&[
        ("acme", "web", 1),
        ("acme", "db", 2),
        ("other", "web-2", 3),
        ("other", "vault", 4),
    ]);
    let began = Instant::now();
    while !controller.overtap("admin", &["find", "vault"]).status.success() {
        assert!(began.elapsed() < Duration::from_secs(10), "the inventory does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
    (controller, host)
}

/// Starts a session and gives its id.
fn capture(controller: &Controller, user: &str, words: &[&str]) -> String {
    controller.done(user, &[&["capture", "--detach"], words].concat()).trim().to_owned()
}

#[test]
fn what_belongs_to_others_is_not_found() {
    let (controller, _host) = two_tenants();
    let found = controller.done("ann", &["find"]);
    assert!(found.contains("web") && found.contains("db"), "{found}");
    assert!(!found.contains("vault") && !found.contains("web-2"), "{found}");
    for what in ["vault", "vau", &uuid(4), &mac(4), &ip(4)] {
        let output = controller.overtap("ann", &["find", what]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(!said.replace(what, "").contains("vault"), "{what}: {said}");
    }
}

#[test]
fn every_way_to_ask_for_the_packets_of_others_is_refused_and_logged() {
    let (controller, host) = two_tenants();
    let tries: Vec<Vec<String>> = [
        &["vault"][..],
        &["other/vault"],
        &[&uuid(4)],
        &[&format!("uuid:{}", uuid(4))],
        &[&mac(4)],
        &[&ip(4)],
        &["web,vault"],
        &["vault,web"],
        &["tenant:other"],
        &["tenant:acme,tenant:other"],
        &["tenant:acme,vault"],
        &["other/*"],
        &["*/vau*"],
        &["*/*"],
        &["web", "vm vault"],
        &["web", "vm web or vm vault"],
        &["web", "tcp or tenant other"],
    ]
    .iter()
    .map(|words| words.iter().map(ToString::to_string).collect())
    .collect();
    let before = controller.log().len();
    for words in &tries {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = controller.refused("ann", &[&["capture", "--detach"], &words[..]].concat());
        let typed = words.iter().flat_map(|word| word.split([',', '/', ':', ' ']));
        let told = typed.fold(said.clone(), |told, word| told.replace(word, ""));
        assert!(!told.contains("vault") && !told.contains("web-2"), "{words:?}: {said}");
    }
    let entries: Vec<_> = controller.log().split_off(before);
    let (read, entries) = entries.split_last().unwrap();
    assert_eq!(read.0, "read", "the look at the log that came before is an entry, too");
    assert_eq!(entries.len(), tries.len(), "{entries:?}");
    assert!(entries.iter().all(|(_, is_granted)| !is_granted), "{entries:?}");
    assert_eq!(controller.json("ann", &["sessions", "list"]), serde_json::json!([]));
    // What the refused ones meant, whoever may know of it.
    let text = controller.done("admin", &["audit", "list", "--refused"]);
    assert!(text.lines().any(|line| line.contains("other/vault: REFUSED")), "{text}");
    assert_eq!(host.permit("s-"), None);
}

#[test]
fn a_pattern_means_ones_own_machines_and_stays_so() {
    let (controller, host) = two_tenants();
    let session = capture(&controller, "ann", &["web*"]);
    host.wait_for(|host| host.permit(&session).is_some());
    let permit = host.permit(&session).unwrap();
    let now = Timestamp::now();
    assert_eq!(permit.covers(&facts("acme", "web", 1), now), Ok(Snaplen::WHOLE));
    assert_eq!(permit.covers(&facts("acme", "web-9", 9), now), Ok(Snaplen::WHOLE), "comes later");
    assert_eq!(permit.covers(&facts("other", "web-2", 3), now), Err(Uncovered::NotAsked));
    assert_eq!(permit.covers(&facts("other", "web", 1), now), Err(Uncovered::NotAsked), "sold");
}

#[test]
fn a_machine_that_changes_hands_is_no_longer_covered_and_no_longer_found() {
    let (controller, host) = two_tenants();
    let session = capture(&controller, "ann", &["web", "--reason", "ticket 7"]);
    host.wait_for(|host| host.permit(&session).is_some());
    let permit = host.permit(&session).unwrap();
    let now = Timestamp::now();
    assert_eq!(permit.covers(&facts("acme", "web", 1), now), Ok(Snaplen::WHOLE));
    assert_eq!(permit.covers(&facts("other", "web", 1), now), Err(Uncovered::OtherOwner));
    assert_eq!(permit.covers(&facts("acme", "db", 2), now), Err(Uncovered::NotAsked));
    host.runs(&[("other", "web", 1)]);
    let began = Instant::now();
    while controller.overtap("ann", &["find", "web"]).status.success() {
        assert!(began.elapsed() < Duration::from_secs(10), "she still finds it");
        std::thread::sleep(Duration::from_millis(50));
    }
    controller.refused("ann", &["capture", "--detach", "web"]);
}

#[test]
fn a_session_ends_with_the_grant_or_the_account_it_stands_on() {
    let (controller, host) = two_tenants();
    let session = capture(&controller, "ann", &["web"]);
    let other = capture(&controller, "admin", &["vault"]);
    host.wait_for(|host| host.permit(&session).is_some() && host.permit(&other).is_some());
    let grants = controller.json("ann", &["grants", "list"]);
    controller.done("admin", &["grants", "remove", grants[0]["id"].as_str().unwrap()]);
    host.wait_for(|host| host.permit(&session).is_none());
    assert!(host.permit(&other).is_some(), "that one stands on another");
    controller.refused("ann", &["capture", "--detach", "web"]);

    controller.done("admin", &["grants", "add", "ann", "--machine", "tenant:acme"]);
    let session = capture(&controller, "ann", &["web"]);
    host.wait_for(|host| host.permit(&session).is_some());
    controller.done("admin", &["users", "change", "ann", "--role", "viewer"]);
    host.wait_for(|host| host.permit(&session).is_none());
    let said = controller.refused("ann", &["capture", "--detach", "web"]);
    assert!(said.contains("the role viewer may not capture"), "{said}");
    assert!(controller.overtap("ann", &["find", "web"]).status.success());
}

#[test]
fn limits_of_a_grant_go_with_the_permit() {
    let (controller, host) = two_tenants();
    controller.add_user("bob", "operator");
    let add = ["grants", "add", "bob", "--machine", "vm:acme/web", "--snaplen", "headers"];
    controller.done("admin", &[&add[..], &["--longest", "10m", "--needs-reason"]].concat());
    let said = controller.refused("bob", &["capture", "--detach", "web"]);
    assert!(said.contains("say why with --reason"), "{said}");
    let reason = ["--reason", "ticket 7"];
    let long = [&["capture", "--detach", "web", "--duration", "11m"], &reason[..]].concat();
    let said = controller.refused("bob", &long);
    assert!(said.contains("the most is: 128 bytes of each packet for 10m"), "{said}");
    let deep = [&["capture", "--detach", "web", "--snaplen", "129"], &reason[..]].concat();
    assert!(controller.refused("bob", &deep).contains("the most is: 128 bytes"));
    // Nothing said of time or snaplen: as much as may be.
    let session = capture(&controller, "bob", &["web", "--reason", "ticket 7"]);
    host.wait_for(|host| host.permit(&session).is_some());
    let permit = host.permit(&session).unwrap();
    assert_eq!(permit.covers(&facts("acme", "web", 1), Timestamp::now()), Ok(Snaplen::HEADERS));
    let left = permit.until().unwrap().duration_since(Timestamp::now()).as_secs();
    assert!((500..=600).contains(&left), "{left}");
    let text = controller.done("admin", &["audit", "list", "--user", "bob"]);
    let last = text.lines().last().unwrap();
    assert!(last.contains("capture web acme/web (reason: ticket 7)"), "{last}");
}

#[test]
fn nobody_fetches_or_stops_the_sessions_of_others() {
    let (controller, host) = two_tenants();
    controller.add_user("bob", "operator");
    let session = capture(&controller, "ann", &["web"]);
    host.wait_for(|host| host.permit(&session).is_some());
    assert_eq!(controller.json("bob", &["sessions", "list"]), serde_json::json!([]));
    for words in [&["stop"][..], &["remove"], &["show"], &["fetch", "-w", "/dev/null"]] {
        let words = [&["sessions"], &words[..1], &[session.as_str()], &words[1..]].concat();
        let said = controller.refused("bob", &words);
        assert!(said.contains("there is no session"), "{words:?}: {said}");
    }
    assert!(host.permit(&session).is_some());
    let log = controller.log();
    let tries = log.iter().filter(|(subject, is)| *subject == session && !is).count();
    assert!(tries >= 2, "those that reach the controller are logged: {log:?}");
    let said = controller.refused("ann", &["sessions", "filter", &session, "vm vault"]);
    assert!(!said.replace("vm vault", "").contains("other"), "{said}");
    let log = controller.log();
    assert!(log.contains(&(format!("{session} 'vm vault'"), false)), "{log:?}");
    controller.done("admin", &["sessions", "stop", &session]);
    host.wait_for(|host| host.permit(&session).is_none());
}

#[test]
fn a_removed_agent_is_away_and_stays_away() {
    let (controller, host) = two_tenants();
    controller.done("admin", &["agents", "remove", "hv-1"]);
    let identity = station::Identity::open(&controller.path("hv-1")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let refused = runtime.block_on(async {
        let channel = identity.channel().unwrap();
        let mut client = api::proto::agents_client::AgentsClient::new(channel);
        client.attend(tokio_stream::pending()).await.map(|_| ()).unwrap_err()
    });
    assert!(refused.message().contains("was revoked"), "{refused:?}");
    drop(host);
    let text = controller.done("admin", &["audit", "list", "--refused"]);
    assert!(text.contains("connect : REFUSED, the certificate of hv-1 was revoked"), "{text}");
}
