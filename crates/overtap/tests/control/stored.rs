//! Sessions in an object store, and from there in one file.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use api::document::Part;
use wire::file::{
    InterfaceHeader, PacketOptions, SectionHeader, write_interface, write_packet, write_section,
};
use wire::{Direction, LinkType, Packet, Timestamp};

use crate::controller::Controller;
use crate::host::{FakeHost, now_ns, uuid};
use crate::moto::Moto;

/// A controller, two hosts of which one has a clock 3 s ahead, and a session of `web`, which was on
/// both of them.
struct Story {
    controller: Controller,
    hosts: [FakeHost; 2],
    session: String,
    began_ns: u64,
}

impl Story {
    fn new() -> Self {
        let controller = Controller::start();
        controller.done("admin", &["grants", "add", "admin", "--machine", "all"]);
        let hosts = [
            FakeHost::new(&controller, "hv-1"),
            FakeHost::with_clock(&controller, "hv-2", AHEAD_NS),
        ];
        hosts[0].runs(&[("acme", "web", 1)]);
        until("the clocks are known", || {
            let status = controller.json("admin", &["status"]);
            let agents = status["agents"].as_array().unwrap();
            agents.len() == 2 && agents.iter().all(|agent| agent["clock"].is_object())
        });
        until("web is known", || controller.overtap("admin", &["find", "web"]).status.success());
        let words = ["capture", "web", "--detach", "--reason", "test"];
        let session = controller.done("admin", &words).trim().to_owned();
        Self { controller, hosts, session, began_ns: now_ns() }
    }

    /// Each host has a part: every other packet of `count`, by its own clock, with so much in it.
    fn captured(&self, count: u32, payload: usize, is_all: bool) {
        for (host, ahead_ns) in [(0, 0), (1, AHEAD_NS)] {
            let mut bytes = Vec::new();
            write_section(&mut bytes, &SectionHeader::default());
            let name = format!("web/net0 @ hv-{}:vnet0", host + 1);
            write_interface(&mut bytes, &InterfaceHeader::ethernet(name));
            let own = (0..count).filter(|number| number % 2 == host);
            let mut packets = 0;
            for number in own {
                let time = self.began_ns + u64::from(number) * 1_000_000 + ahead_ns;
                write(&mut bytes, time, number, payload);
                packets += 1;
            }
            let whole = bytes.len();
            if !is_all {
                bytes.truncate(whole * 2 / 3);
            }
            let part = self.part(host + 1, bytes.len(), packets, is_all, ahead_ns);
            self.hosts[host as usize].has(&part, bytes, is_all);
        }
    }

    fn part(&self, host: u32, bytes: usize, packets: u64, is_all: bool, ahead_ns: u64) -> Part {
        let total = pipeline::Ledger { received: packets, written: packets, ..Default::default() };
        serde_json::from_value(serde_json::json!({
            "session": self.session, "host": format!("hv-{host}"), "number": 1,
            "machine_id": format!("uuid:{}", uuid(1)), "machine": "web", "point": "tap",
            "began_ns": self.began_ns + ahead_ns, "bytes": bytes, "packets": packets,
            "kernel_dropped": 0, "failed": 0,
            "ended": is_all.then_some("the session ended"),
            "receipt": is_all.then(|| serde_json::json!({ "total": total, "unaccounted": 0 })),
        }))
        .unwrap()
    }

    fn stop(&self) {
        self.controller.done("admin", &["sessions", "stop", &self.session]);
        until("all parts have ended", || {
            let session = self.controller.json("admin", &["sessions", "show", &self.session]);
            let parts = session["parts"].as_array().unwrap();
            parts.len() == 2 && parts.iter().all(|part| part["ended"].is_string())
        });
    }

    /// `overtap sessions` with these words, against a store.
    fn sessions(&self, moto: &Moto, words: &[&str]) -> Output {
        self.command(moto, words).output().unwrap()
    }

    fn command(&self, moto: &Moto, words: &[&str]) -> std::process::Command {
        let words = [&["sessions"], words, &["--endpoint", moto.endpoint()]].concat();
        let mut command = self.controller.command("admin", &words);
        command.envs(moto.credentials());
        command
    }

    fn fetch_stored(&self, moto: &Moto, file: &Path) -> Output {
        let place = format!("s3://captures/kept/{}", self.session);
        self.sessions(moto, &["fetch", &place, "-w", file.to_str().unwrap(), "--force"])
    }

    fn store(&self, moto: &Moto) -> Output {
        self.sessions(moto, &["store", &self.session, "s3://captures/kept"])
    }

    /// The file that the agents' own parts make.
    fn fetched(&self) -> Vec<u8> {
        let file = self.controller.path("fetched.pcapng");
        let words = ["sessions", "fetch", &self.session, "--force", "-w", file.to_str().unwrap()];
        self.controller.done("admin", &words);
        std::fs::read(file).unwrap()
    }
}

#[test]
fn a_session_from_the_store_is_the_file_its_agents_make_byte_for_byte() {
    let Some(moto) = Moto::start() else { return };
    let story = Story::new();
    story.captured(1000, 100, true);
    story.stop();
    let fetched = story.fetched();
    assert_eq!(story.fetched(), fetched, "the same whenever it is fetched");

    succeeded(&story.store(&moto));
    // Neither agents nor controller nor a login.
    let Story { controller, hosts, session, .. } = story;
    drop(hosts);
    let file = controller.path("stored.pcapng");
    let words = ["sessions", "fetch", &format!("s3://captures/kept/{session}"), "-w"];
    let mut command = controller.command("nobody", &words);
    command.arg(&file).args(["--endpoint", moto.endpoint()]).envs(moto.credentials());
    let mut controller = controller;
    controller.crash();
    succeeded(&command.output().unwrap());
    assert_eq!(std::fs::read(&file).unwrap(), fetched);
}

#[test]
fn clocks_three_seconds_apart_make_one_order() {
    let story = Story::new();
    story.captured(1000, 100, true);
    story.stop();
    let bytes = story.fetched();
    let file = story.controller.path("fetched.pcapng");
    let words = ["receipt", file.to_str().unwrap(), "--output", "json"];
    let output = story.controller.overtap("admin", &words);
    let receipt: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{}: {receipt:#}", output.status);
    let clocks = receipt["clocks"].as_array().unwrap();
    let of = |host: &str| clocks.iter().find(|clock| clock["host"] == host).unwrap();
    let (ahead, within) = (&of("hv-2")["ahead_ms"], &of("hv-2")["uncertainty_ms"]);
    let (ahead, within) = (ahead.as_f64().unwrap(), within.as_f64().unwrap());
    assert!((ahead - 3000.0).abs() <= within && within < 250.0, "{receipt:#}");
    assert!(of("hv-1")["ahead_ms"].as_f64().unwrap().abs() < 250.0, "{receipt:#}");
    // A packet is a millisecond after the other: in the order they were sent, as exactly as the
    // clocks are known.
    let slack = within + of("hv-1")["uncertainty_ms"].as_f64().unwrap() + 1.0;
    let numbers = numbers(&bytes);
    for (place, number) in numbers.iter().enumerate() {
        let away = (place as f64 - f64::from(*number)).abs();
        assert!(away <= slack, "number {number} at place {place}: {receipt:#}");
    }
    let mut sorted = numbers;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
}

#[test]
fn another_client_reads_the_same_bytes_of_a_part_in_many_pieces() {
    let Some(moto) = Moto::start() else { return };
    let story = Story::new();
    story.captured(30_000, 1300, true);
    story.stop();
    let fetched = story.fetched();
    succeeded(&story.store(&moto));
    let script = "import hashlib\nresult = {}\n\
        for o in s3.list_objects_v2(Bucket='captures')['Contents']:\n  \
        got = s3.get_object(Bucket='captures', Key=o['Key'])\n  body = got['Body'].read()\n  \
        pieces = [hashlib.sha256(body[i:i + (8 << 20)]).hexdigest() \
        for i in range(0, len(body), 8 << 20)]\n  \
        result[o['Key']] = [len(body), pieces, got['ETag'], \
        json.loads(body) if o['Key'].endswith('.json') else None]";
    let there = moto.boto3(script);
    let document = &there[format!("kept/{}/session.json", story.session)][3];
    assert_eq!(document["session"]["permit"], serde_json::Value::Null);
    let parts = document["parts"].as_array().unwrap();
    assert_eq!((parts.len(), there.as_object().unwrap().len()), (2, 5), "{:?}", moto.keys());
    for part in parts {
        let name =
            format!("kept/{}/{}-0001.pcapng", story.session, part["agent"].as_str().unwrap());
        let (len, pieces, tag) = (&there[&name][0], &there[&name][1], &there[&name][2]);
        assert_eq!((&part["bytes"], &part["sha256"]), (len, pieces));
        assert!(len.as_u64().unwrap() > 16 << 20, "{len}");
        assert!(tag.as_str().unwrap().ends_with("-3\""), "three pieces: {tag}");
    }
    let file = story.controller.path("stored.pcapng");
    succeeded(&story.fetch_stored(&moto, &file));
    assert_eq!(std::fs::read(&file).unwrap(), fetched);
}

#[test]
fn a_part_that_is_missing_or_changed_is_noticed_and_not_used() {
    let Some(moto) = Moto::start() else { return };
    let story = Story::new();
    story.captured(1000, 100, true);
    story.stop();
    succeeded(&story.store(&moto));
    let file = story.controller.path("stored.pcapng");
    let second = moto.keys().into_iter().filter(|key| key.ends_with(".pcapng")).nth(1).unwrap();
    let read = format!("body = s3.get_object(Bucket='captures', Key='{second}')['Body'].read()");
    let put = format!("s3.put_object(Bucket='captures', Key='{second}', Body=");
    let ways = [
        ("one bit", format!("{read}\n{put}body[:500] + bytes([body[500] ^ 1]) + body[501:])")),
        ("cut", format!("{read}\n{put}body[:-100])")),
        ("gone", format!("s3.delete_object(Bucket='captures', Key='{second}')")),
    ];
    for (what, script) in ways {
        moto.boto3(&script);
        let output = story.fetch_stored(&moto, &file);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{what}: {said}");
        let word = if what == "gone" { "is not there" } else { "somebody changed it" };
        assert!(said.contains("NOT ALL OF IT IS HERE") && said.contains(word), "{what}: {said}");
        let numbers = numbers(&std::fs::read(&file).unwrap());
        let is_one_hosts = |first: u32| numbers == (first..1000).step_by(2).collect::<Vec<_>>();
        assert!(is_one_hosts(0) || is_one_hosts(1), "{what}: {} packets", numbers.len());
    }
    // Storing it again heals it.
    succeeded(&story.store(&moto));
    succeeded(&story.fetch_stored(&moto, &file));
}

#[test]
fn an_interrupted_copy_leaves_nothing_that_looks_whole_and_goes_on() {
    let Some(moto) = Moto::start() else { return };
    let story = Story::new();
    story.captured(30_000, 1300, false);
    for how in ["-TERM", "-KILL"] {
        let words = ["store", &story.session, "s3://captures/kept"];
        let mut child = story.command(&moto, &words).spawn().unwrap();
        until("pieces are on their way", || moto.begun() > 0);
        let pid = child.id().to_string();
        std::process::Command::new("kill").args([how, &pid]).status().unwrap();
        let status = child.wait().unwrap();
        if how == "-TERM" {
            assert_eq!(status.code(), Some(1));
            assert_eq!(moto.begun(), 0, "what was begun is given up");
        }
        assert_eq!(moto.keys(), Vec::<String>::new());
        let output = story.fetch_stored(&moto, &story.controller.path("stored.pcapng"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("not all of it"), "{said}");
    }
    story.captured(30_000, 1300, true);
    story.stop();
    let said = succeeded(&story.store(&moto));
    assert!(said.contains("all of it is at s3://captures/kept/"), "{said}");
    let file = story.controller.path("stored.pcapng");
    succeeded(&story.fetch_stored(&moto, &file));
    assert_eq!(std::fs::read(&file).unwrap(), story.fetched());
    // All is there: nothing is copied twice.
    let words = ["store", &story.session, "s3://captures/kept", "--output", "json"];
    let again = story.sessions(&moto, &words);
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&again["parts"], &again["were_there"]), (&2.into(), &2.into()));
}

#[test]
fn wrong_credentials_and_places_are_told_in_a_sentence() {
    let Some(moto) = Moto::start() else { return };
    let story = Story::new();
    story.captured(10, 100, true);
    story.stop();
    let cases = [
        ("AWS_SECRET_ACCESS_KEY", "s3://captures/kept", "refuses the credentials"),
        ("AWS_ACCESS_KEY_ID", "s3://captures/kept", "refuses the credentials"),
        ("X", "s3://elsewhere/kept", "there is no such bucket"),
        ("X", "captures/kept", "it is written s3://BUCKET/PREFIX"),
    ];
    for (wrong, place, expected) in cases {
        let mut command = story.command(&moto, &["store", &story.session, place]);
        let output = command.env(wrong, "AKIAAAAAAAAAAAAAAAAA").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{wrong} {place}: {said}");
        assert!(said.contains(expected) && !said.contains('<'), "{wrong} {place}: {said}");
    }
    let words = ["sessions", "store", &story.session, "s3://captures/kept", "--endpoint"];
    let mut command = story.controller.command("admin", &words);
    let output = command.arg("http://192.0.2.1:9000").envs(moto.credentials()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("https:// only"), "{said}");
}

fn succeeded(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    said
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "not so: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A frame to web, with its number in front of the payload.
fn write(bytes: &mut Vec<u8>, time_ns: u64, number: u32, payload: usize) {
    let mut frame = vec![
        0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1, 0x88,
        0xb5, // an EtherType to try things
    ];
    frame.extend(number.to_be_bytes());
    frame.resize(frame.len() + payload, 0);
    let wire_len = u32::try_from(frame.len()).unwrap();
    let time = Timestamp::from_nanos(time_ns);
    let packet = Packet {
        direction: Some(Direction::ToVm),
        ..Packet::new(time, LinkType::ETHERNET, &frame, wire_len)
    };
    write_packet(bytes, 0, &packet, &PacketOptions::default());
}

/// The numbers of a file's packets, in its order; their times must not go back.
fn numbers(bytes: &[u8]) -> Vec<u32> {
    let (mut numbers, mut last, mut rest) = (Vec::new(), 0, bytes);
    while rest.len() >= 12 {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let (kind, len) = (word(0), word(4) as usize);
        // An enhanced packet block.
        if kind == 6 {
            let time = u64::from(word(12)) << 32 | u64::from(word(16));
            assert!(time >= last, "times go back");
            last = time;
            numbers.push(u32::from_be_bytes(rest[42..46].try_into().unwrap()));
        }
        rest = &rest[len..];
    }
    numbers
}

const AHEAD_NS: u64 = 3_000_000_000;
