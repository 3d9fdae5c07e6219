//! Alerts: a webhook is told of what goes wrong, once when it begins and once when it is over.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use api::document::Part;
use flows::{ClientBasis, EndReason, Network, Split, Way};
use flowstore::{CountedWay, End, Row, Store};
use serde_json::{Value, json};
use wire::export::{Rate, RateOrigin, Ratio};
use wire::{Mac, Timestamp};

use crate::controller::Controller;
use crate::host::{FakeHost, now_ns, uuid};

/// A server that is told.
struct Hook {
    address: SocketAddr,
    told: Receiver<(String, Value)>,
}

impl Hook {
    /// One that first answers `refusals` times that it cannot.
    fn listen(refusals: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (to, told) = channel();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut head = String::new();
                while stream.read_line(&mut head).unwrap() > 2 {}
                let lower = head.to_ascii_lowercase();
                let length = lower.split("content-length: ").nth(1).unwrap();
                let length = length.split_whitespace().next().unwrap().parse().unwrap();
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let (status, is_told) =
                    if number < refusals { ("503 Busy", false) } else { ("204 No Content", true) };
                let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                let told = (head, serde_json::from_slice(&body).unwrap());
                if is_told && to.send(told).is_err() {
                    return;
                }
            }
        });
        Self { address, told }
    }

    /// What it is told next: head and body.
    fn next(&self) -> (String, Value) {
        self.told.recv_timeout(Duration::from_secs(30)).expect("it was told nothing")
    }

    /// What began or is over next, and for whom.
    fn news(&self) -> [String; 3] {
        let (_, body) = self.next();
        ["when", "state", "subject"].map(|field| body[field].as_str().unwrap().to_owned())
    }
}

fn alert(hook: &Hook, name: &str, more: &str) -> String {
    format!("[[alerts]]\nname = \"{name}\"\nto = \"http://{}/hook\"\n{more}\n", hook.address)
}

fn start(folder: tempfile::TempDir, file: &str, more: &[&str]) -> Controller {
    std::fs::write(folder.path().join("alerts.toml"), file).unwrap();
    Controller::start_with(folder, &[&["--alerts", "DIR/alerts.toml"], more].concat())
}

#[test]
fn an_agent_that_is_gone_is_told_although_the_webhook_is_busy_at_first() {
    let hook = Hook::listen(1);
    let headers = "when = \"agent-gone\"\nfor = \"1s\"\nheaders = { X-Key = \"k-1\" }";
    let file = alert(&hook, "agents", headers);
    let controller = start(tempfile::tempdir().unwrap(), &file, &[]);
    let host = FakeHost::new(&controller, "hv-1");
    host.runs(&[("acme", "web", 1)]);
    drop(host);
    let (head, body) = hook.next();
    assert!(head.starts_with("POST /hook HTTP/1.1"), "{head}");
    assert!(head.to_ascii_lowercase().contains("x-key: k-1"), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
    assert_eq!(
        ["alert", "when", "state", "subject"].map(|field| body[field].as_str().unwrap()),
        ["agents", "agent-gone", "firing", "hv-1"]
    );
    assert!(body["text"].as_str().unwrap().starts_with("the agent of hv-1 has been away for"));
    assert!(body["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert!(body["value"].as_u64() >= body["more_than"].as_u64(), "{body}");
    controller.done("admin", &["agents", "remove", "hv-1"]);
    assert_eq!(hook.news(), ["agent-gone", "resolved", "hv-1"]);
}

#[test]
fn packets_that_a_capture_loses_are_told() {
    let hook = Hook::listen(0);
    let file = alert(&hook, "losses", "when = \"drops\"\nmore_than = 100");
    let controller = start(tempfile::tempdir().unwrap(), &file, &[]);
    controller.done("admin", &["grants", "add", "admin", "--machine", "all"]);
    let host = FakeHost::new(&controller, "hv-1");
    host.runs(&[("acme", "web", 1)]);
    let id = loop {
        let began = controller.overtap("admin", &["capture", "web", "--detach"]);
        let text = String::from_utf8_lossy(&began.stdout).into_owned();
        let id = text.split_whitespace().find(|word| word.starts_with("s-")).map(str::to_owned);
        match id {
            Some(id) => break id,
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    host.wait_for(|host| host.permit(&id).is_some());
    let part = |dropped: u64| -> Part {
        serde_json::from_value(json!({
            "session": id, "host": "hv-1", "number": 1, "machine_id": format!("uuid:{}", uuid(1)),
            "machine": "web", "point": "tap", "began_ns": now_ns(), "bytes": 0, "packets": 0,
            "kernel_dropped": dropped, "failed": 0, "ended": null, "receipt": null,
        }))
        .unwrap()
    };
    host.has(&part(0), Vec::new(), false);
    std::thread::sleep(Duration::from_secs(6));
    host.has(&part(4711), Vec::new(), false);
    let (_, body) = hook.next();
    assert_eq!((&body["subject"], &body["value"]), (&"hv-1".into(), &4711.into()));
    assert_eq!(body["text"], "captures on hv-1 lost 4711 packets within a minute");
    controller.done("admin", &["sessions", "stop", &id]);
    assert_eq!(hook.news(), ["drops", "resolved", "hv-1"]);
}

/// `overtap collect` beside the controller.
struct Collect(Child, SocketAddr);

impl Collect {
    fn start(state: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
        command.args(["collect", "--listen", "127.0.0.1:0", "--show", "exporters"]);
        let mut child = command.args(["--state", state]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            line.unwrap().split("listening at udp://").nth(1).map(|at| at.trim().parse().unwrap())
        });
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, address.unwrap())
    }

    /// Sends it an export of version 5 with one record.
    fn export(&self, number: u32) {
        let mut export = vec![0, 5, 0, 1];
        export.extend(3_600_000_u32.to_be_bytes());
        export.extend(u32::try_from(now_ns() / 1_000_000_000).unwrap().to_be_bytes());
        export.extend([0; 4]);
        export.extend(number.to_be_bytes());
        export.extend([0; 4]);
        export.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        export.extend([0; 40]);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&export, self.1).unwrap();
    }
}

impl Drop for Collect {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_exporter_that_is_silent_is_told_and_listed() {
    let hook = Hook::listen(0);
    let folder = tempfile::tempdir().unwrap();
    let collect = Collect::start(folder.path().join("collect").to_str().unwrap());
    let file = alert(&hook, "exporters", "when = \"exporter-silent\"\nfor = \"4s\"");
    let controller = start(folder, &file, &["--exporters", "DIR/collect"]);
    collect.export(0);
    let subject = "127.0.0.1 netflow5 domain 0";
    assert_eq!(hook.news(), ["exporter-silent", "firing", subject]);
    controller.done("admin", &["grants", "add", "admin", "--machine", "all"]);
    let listed = crate::http::Http::of(&controller, "admin").json("/api/v1/exporters");
    let row = &listed["items"][0];
    assert_eq!(
        (&row["address"], &row["protocol"], &row["records"]),
        (&"127.0.0.1".into(), &"netflow5".into(), &1.into())
    );
    assert!(listed["written"].is_string());
}

#[test]
fn somebody_who_never_talked_before_is_told() {
    let hook = Hook::listen(0);
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp::from_nanos(now_ns());
    let mut store = Store::open(&folder.path().join("flows"), &[], now).unwrap();
    let hour = Duration::from_secs(3600);
    for (vm, octets, ago) in [
        ("acme/web", 9_000_000, 20 * hour),
        ("acme/web", 9_000_000, hour / 60),
        ("acme/db", 2_000_000, hour / 60),
        ("acme/quiet", 900, hour / 60),
    ] {
        store.add(&row(vm, octets, now.saturating_sub(ago)));
    }
    assert_eq!(store.close().lost, 0);
    let more = "when = \"new-talker\"\nmore_than = 1000000\nwithin = \"10m\"\nunseen = \"1d\"";
    let file = alert(&hook, "talkers", more);
    let _controller = start(folder, &file, &["--flows", "DIR/flows"]);
    let (_, body) = hook.next();
    assert_eq!((&body["subject"], &body["value"]), (&"acme/db".into(), &4_000_000.into()));
    assert!(hook.told.recv_timeout(Duration::from_secs(6)).is_err(), "it was told of others");
}

/// What a machine sends to somebody without a name and without an answer.
fn row(vm: &'static str, octets: u64, at: Timestamp) -> Row<'static> {
    let end = |vm: Option<&'static str>| End {
        ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::from(vm.is_some()))),
        port: 443,
        mac: Mac([0; 6]),
        vm,
        tenant: vm.map(|_| "acme"),
        host: vm.map(|_| "hv-1"),
        port_group: None,
        is_ambiguous: false,
    };
    let counted = CountedWay { octets, packets: 1, copy_of: None };
    Row {
        start: at,
        end: at,
        point: "x",
        network: Network::NONE,
        protocol: 6,
        // To itself, so that nobody else is a talker; each byte is sent and received there.
        ends: [end(Some(vm)), end(Some(vm))],
        split: Split::IntraHost,
        ways: [Way { octets, packets: 1, ..Way::default() }, Way::default()],
        counted: [counted, CountedWay::default()],
        is_carrier: false,
        rate: Rate { ratio: Ratio::ALL, origin: RateOrigin::Record },
        tcp: None,
        client_basis: ClientBasis::Port,
        rtts: [None; 2],
        app: "tls".into(),
        is_app_seen: false,
        asked_for: None,
        end_reason: EndReason::Idle,
    }
}

#[test]
fn a_file_that_makes_no_sense_keeps_the_controller_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alerts.toml");
    let serve = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(folder.path().join("c"));
        let output = command.arg("--alerts").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let head = "[[alerts]]\nname = \"a\"\nto = \"http://127.0.0.1:9/\"\n";
    let said = serve(&format!("{head}when = \"full-moon\""));
    assert!(said.contains("alert `a`: `full-moon` is never so"), "{said}");
    let said = serve(&format!("{head}when = \"exporter-silent\""));
    assert!(said.contains("alert a needs --exporters DIR"), "{said}");
}
