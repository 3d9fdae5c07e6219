//! Captures that come and go over a connection: from senders that vanish, speak nonsense or TLS, to
//! tools that do. No rights are needed for it, so this runs anywhere; `socat` and `openssl` are the
//! judges of TLS and `tshark` of what arrives.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use wire::file::{InterfaceHeader, PacketOptions, SectionHeader};
use wire::file::{write_interface, write_packet, write_section};
use wire::{LinkType, Packet, Timestamp};

struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn overtap(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
        command.args(args).env("OVERTAP_STATE_DIR", self.path("state"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Begins a capture of what `mirror` sends.
    fn capture(&self, mirror: &str, more: &[&str]) -> Child {
        let file = self.path("out.pcapng");
        let args = ["capture", "--local", "--output", "json", "-q", "--mirror", mirror];
        self.overtap(&args).args(["-w".as_ref(), file.as_os_str()]).args(more).spawn().unwrap()
    }

    /// The packets that `tshark` finds in a file, by the numbers in them.
    fn numbers(&self, name: &str) -> Vec<u32> {
        let told = Command::new("tshark")
            .args(["-r", self.path(name).to_str().unwrap(), "-T", "fields", "-e", "data.data"])
            .output()
            .unwrap();
        let text = String::from_utf8(told.stdout).unwrap();
        let number = |line: &str| u32::from_str_radix(line.get(..8)?, 16).ok();
        text.lines().filter_map(number).collect()
    }

    /// Names the tool `ids`, which `way` leads to, with TLS and our certificate.
    fn add_ids(&self, way: &str, port: u16) {
        let path = |name: &str| self.path(name).display().to_string();
        let added = self
            .overtap(&["tools", "add", "ids", "--all-tenants", "--tls-ca", &path("ca.pem")])
            .args([way, &format!("127.0.0.1:{port}")])
            .args(["--tls-certificate", &path("us.pem"), "--tls-key", &path("us.key")])
            .status()
            .unwrap();
        assert!(added.success());
    }

    /// An authority, and a certificate of it for each name, valid for 127.0.0.1.
    fn certify(&self, names: &[&str]) {
        let openssl = |args: &[&str]| {
            let done = Command::new("openssl").args(args).current_dir(self.0.path()).output();
            let done = done.unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let ca = ["-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority"];
        openssl(&[&["req", "-x509"][..], &key, &ca].concat());
        fs::write(self.path("san"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
        for name in names {
            let (pem, own, csr) =
                (format!("{name}.pem"), format!("{name}.key"), format!("{name}.csr"));
            let subject = format!("/CN={name}");
            let request = ["-keyout", &own, "-out", &csr, "-subj", &subject];
            openssl(&[&["req"][..], &key, &request].concat());
            openssl(&[
                "x509",
                "-req",
                "-in",
                &csr,
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-days",
                "2",
                "-CAcreateserial",
                "-extfile",
                "san",
                "-out",
                &pem,
            ]);
        }
    }
}

/// The receipt of a capture that ended with this exit code, and what it said.
fn receipt(child: Child, exit: i32) -> (Value, String) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit), "{said}");
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

fn interrupt(child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
}

/// The beginning of a capture with these interfaces.
fn beginning(names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_section(&mut bytes, &SectionHeader::default());
    for name in names {
        write_interface(&mut bytes, &InterfaceHeader::ethernet(*name));
    }
    bytes
}

/// Packets with these numbers of one interface, as of now. Before the first so many were lost.
fn packets(interface: u32, numbers: std::ops::Range<u32>, lost_before: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, number) in numbers.enumerate() {
        let data = frame(number);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let time = Timestamp::from_nanos(u64::try_from(nanos).unwrap());
        let len = u32::try_from(data.len()).unwrap();
        let lost_before = if place == 0 { lost_before } else { 0 };
        let packet = Packet { lost_before, ..Packet::new(time, LinkType::ETHERNET, &data, len) };
        write_packet(&mut bytes, interface, &packet, &PacketOptions::default());
    }
    bytes
}

/// A UDP packet whose payload is its number, four times.
fn frame(number: u32) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 44, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x27, 0x10, 0x27, 0x11, 0, 24, 0, 0]);
    (0..4).for_each(|_| frame.extend(number.to_be_bytes()));
    frame
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port that is free now.
fn free_port() -> u16 {
    listener().1
}

fn has(program: &str) -> bool {
    let is_here = Command::new("which").arg(program).output().is_ok_and(|o| o.status.success());
    if !is_here {
        let in_ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false");
        assert!(!in_ci, "{program} is not here; in CI every test runs");
        eprintln!("{program} is not here: not tested");
    }
    is_here
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

#[test]
fn interfaces_of_a_sender_are_sessions_and_its_losses_are_told() {
    let (site, (listener, port)) = (Site::new(), listener());
    let capture = site.capture(&format!("pcap-over-ip://127.0.0.1:{port}?reconnect=no"), &[]);
    let (mut sender, _) = listener.accept().unwrap();
    sender.write_all(&beginning(&["tap0", "tap1"])).unwrap();
    sender.write_all(&packets(0, 0..100, 0)).unwrap();
    // In pieces of any size.
    for piece in packets(1, 100..150, 7).chunks(13) {
        sender.write_all(piece).unwrap();
    }
    drop(sender);
    let (receipt, _) = receipt(capture, 3);
    assert_eq!(receipt["end"], "its sender has ended it");
    let accounts = receipt["interfaces"].as_array().unwrap();
    let told = |n: usize, what: &str| accounts[n][what].as_u64().unwrap();
    assert_eq!((told(1, "written"), told(2, "written")), (100, 50));
    assert_eq!((told(1, "lost_of_mirror"), told(2, "lost_of_mirror")), (0, 7));
    assert!(accounts[1]["label"].as_str().unwrap().starts_with("tap0 of pcap-over-ip://"));
    assert_eq!(receipt["unaccounted"], 0);
    if has("tshark") {
        assert_eq!(site.numbers("out.pcapng"), (0..150).collect::<Vec<_>>());
    }
}

#[test]
fn a_lost_connection_is_made_again_and_the_gap_is_counted() {
    let (site, (listener, port)) = (Site::new(), listener());
    let capture = site.capture(&format!("pcap-over-ip://127.0.0.1:{port}"), &[]);
    let (mut sender, _) = listener.accept().unwrap();
    sender.write_all(&beginning(&["tap0"])).unwrap();
    sender.write_all(&packets(0, 0..10, 0)).unwrap();
    // In the middle of a packet.
    sender.write_all(&packets(0, 10..11, 0)[..40]).unwrap();
    drop(sender);
    let (mut sender, _) = listener.accept().unwrap();
    sender.write_all(&beginning(&["tap0"])).unwrap();
    sender.write_all(&packets(0, 20..30, 0)).unwrap();
    let file = site.path("out.pcapng");
    let before = size(&file);
    wait_for("the file", || size(&file) > before.max(1500));
    interrupt(&capture);
    let (receipt, _) = receipt(capture, 3);
    let [gap] = &receipt["gaps"].as_array().unwrap()[..] else { panic!("{receipt}") };
    assert_eq!(gap["count"], 1);
    assert!((400..5000).contains(&gap["total_ms"].as_u64().unwrap()), "{gap}");
    assert_eq!(receipt["total"]["written"], 20);
    assert_eq!(receipt["total"]["lost_of_mirror"], 1, "the packet that was cut");
    let events = receipt["events"].to_string();
    assert!(events.contains("broke off in a packet") && events.contains("connected again"));
}

#[test]
fn a_sender_of_something_else_is_left_with_a_word() {
    let (site, (listener, port)) = (Site::new(), listener());
    let capture = site.capture(&format!("pcap-over-ip://127.0.0.1:{port}"), &[]);
    let (mut sender, _) = listener.accept().unwrap();
    sender.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    let (receipt, _) = receipt(capture, 1);
    let end = receipt["end"].as_str().unwrap();
    assert!(end.contains("no capture: it begins with `HTTP`"), "{end}");
}

#[test]
fn a_sender_that_is_not_there_is_named() {
    let (site, port) = (Site::new(), free_port());
    let capture = site.capture(&format!("pcap-over-ip://127.0.0.1:{port}"), &[]);
    let (_, said) = receipt(capture, 1);
    assert!(said.contains(&format!("cannot connect to pcap-over-ip://127.0.0.1:{port}")), "{said}");
    assert!(said.contains("refused"), "{said}");
}

#[test]
fn what_a_mirror_shows_of_anybody_goes_only_to_tools_for_everybody() {
    let (site, (_listener, port)) = (Site::new(), listener());
    for (name, grant) in [("one", "--tenant=acme"), ("nobodys", "")] {
        let file = site.path(name);
        let mut add = site.overtap(&["tools", "add", name, "--file", file.to_str().unwrap()]);
        assert!(add.args((!grant.is_empty()).then_some(grant)).status().unwrap().success());
        let mirror = format!("pcap-over-ip://127.0.0.1:{port}");
        let capture = site
            .overtap(&["capture", "all", "--local", "--mirror", &mirror])
            .args(["--to", name])
            .spawn()
            .unwrap();
        let (_, said) = receipt(capture, 1);
        assert!(said.contains("may not have every frame of a mirror"), "{said}");
        assert!(!file.exists(), "nothing was even opened");
    }
}

#[test]
fn with_tls_a_sender_is_believed_only_with_a_certificate() {
    if !has("socat") || !has("openssl") {
        return;
    }
    let site = Site::new();
    site.certify(&["sender", "us"]);
    let bytes = [beginning(&["tap0"]), packets(0, 0..5000, 0)].concat();
    fs::write(site.path("in.pcapng"), bytes).unwrap();
    let path = |name: &str| site.path(name).display().to_string();
    let serve = |port: u16| {
        let listen = format!(
            "OPENSSL-LISTEN:{port},reuseaddr,bind=127.0.0.1,cert={},key={},cafile={},verify=1",
            path("sender.pem"),
            path("sender.key"),
            path("ca.pem")
        );
        let server = Command::new("socat")
            .args(["-u", &format!("FILE:{}", path("in.pcapng")), &listen])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("socat", || is_listening(port));
        server
    };
    let own = format!("tls-certificate={}&tls-key={}", path("us.pem"), path("us.key"));
    let mirror = |port: u16, ca: &str| {
        format!("pcap-over-ip://127.0.0.1:{port}?reconnect=no&tls-ca={ca}&{own}")
    };
    let port = free_port();
    let mut server = serve(port);
    let (receipt_of_it, _) = receipt(site.capture(&mirror(port, &path("ca.pem")), &[]), 0);
    server.wait().unwrap();
    assert_eq!(receipt_of_it["total"]["written"], 5000);

    // Of an authority that is not ours nobody is believed.
    let strange = Site::new();
    strange.certify(&[]);
    let ca = strange.path("ca.pem").display().to_string();
    let port = free_port();
    let mut server = serve(port);
    let (_, said) = receipt(site.capture(&mirror(port, &ca), &["--force"]), 1);
    let _ = server.kill();
    server.wait().unwrap();
    assert!(said.contains("invalid peer certificate"), "{said}");
    // Somebody who speaks no TLS at all.
    let (plain, port) = listener();
    let capture = site.capture(&mirror(port, &path("ca.pem")), &["--force"]);
    plain.accept().unwrap().0.write_all(&beginning(&["tap0"])).unwrap();
    let (_, said) = receipt(capture, 1);
    assert!(said.contains("cannot connect to"), "{said}");
}

#[test]
fn with_tls_a_tool_that_calls_gets_packets_only_with_a_certificate() {
    if !has("socat") || !has("openssl") || !has("tshark") {
        return;
    }
    let site = Site::new();
    site.certify(&["us", "ids"]);
    let path = |name: &str| site.path(name).display().to_string();
    let (listener, source) = listener();
    let port = free_port();
    site.add_ids("--pcap-over-ip-listen", port);
    let mirror = format!("pcap-over-ip://127.0.0.1:{source}?reconnect=no");
    let capture = site.capture(&mirror, &["--to", "ids"]);
    let (mut sender, _) = listener.accept().unwrap();
    wait_for("the listener", || is_listening(port));

    // Without a certificate of ours, and without TLS, nothing comes.
    let stranger = Command::new("socat")
        .args(["-u", &format!("OPENSSL:127.0.0.1:{port},verify=0"), "CREATE:/dev/stdout"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();

    let call = format!(
        "OPENSSL:127.0.0.1:{port},cert={},key={},cafile={},verify=1",
        path("ids.pem"),
        path("ids.key"),
        path("ca.pem")
    );
    let got = site.path("got.pcapng");
    let mut reader = Command::new("socat")
        .args(["-u", &call, &format!("CREATE:{}", got.display())])
        .spawn()
        .unwrap();
    wait_for("the beginning of the stream", || size(&got) > 0);
    sender.write_all(&beginning(&["tap0"])).unwrap();
    sender.write_all(&packets(0, 0..20_000, 0)).unwrap();
    drop(sender);
    let (receipt, said) = receipt(capture, 0);
    assert!(reader.wait().unwrap().success(), "a proper goodbye");
    let [tool] = &receipt["tools"].as_array().unwrap()[..] else { panic!("{receipt}") };
    assert_eq!((&tool["sent"], &tool["offered"]), (&20_000.into(), &20_000.into()), "{said}");
    assert_eq!(site.numbers("got.pcapng"), (0..20_000).collect::<Vec<_>>());
    let heard = stranger.wait_with_output().unwrap().stdout;
    assert!(heard.is_empty(), "a stranger got {} bytes", heard.len());
    let mut heard = Vec::new();
    let _ = plain.read_to_end(&mut heard);
    assert!(heard.len() < 64, "an alert at most");
    assert!(receipt["events"].to_string().contains("cannot be connected"), "{receipt}");
}

#[test]
fn a_tool_that_goes_and_comes_again_is_called_again() {
    if !has("socat") || !has("openssl") || !has("tshark") {
        return;
    }
    let site = Site::new();
    site.certify(&["us", "ids"]);
    let path = |name: &str| site.path(name).display().to_string();
    let (listener, source) = listener();
    let port = free_port();
    site.add_ids("--pcap-over-ip", port);
    let serve = |file: &str| {
        let listen = format!(
            "OPENSSL-LISTEN:{port},reuseaddr,bind=127.0.0.1,cert={},key={},cafile={},verify=1",
            path("ids.pem"),
            path("ids.key"),
            path("ca.pem")
        );
        let args = ["-u", &listen, &format!("CREATE:{}", path(file))];
        let server = Command::new("socat").args(args).spawn().unwrap();
        wait_for("socat", || is_listening(port));
        server
    };
    let mut first = serve("first.pcapng");
    let mirror = format!("pcap-over-ip://127.0.0.1:{source}?reconnect=no");
    let capture = site.capture(&mirror, &["--to", "ids"]);
    let (mut sender, _) = listener.accept().unwrap();
    sender.write_all(&beginning(&["tap0"])).unwrap();
    sender.write_all(&packets(0, 0..100, 0)).unwrap();
    wait_for("the first packets", || size(&site.path("first.pcapng")) > 5000);
    first.kill().unwrap();
    first.wait().unwrap();
    // The loss of a connection shows when something is sent.
    for number in 100..130 {
        sender.write_all(&packets(0, number..number + 1, 0)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut second = serve("second.pcapng");
    wait_for("the second stream", || size(&site.path("second.pcapng")) > 0);
    sender.write_all(&packets(0, 200..300, 0)).unwrap();
    drop(sender);
    let (receipt, said) = receipt(capture, 3);
    second.wait().unwrap();
    assert_eq!(site.numbers("first.pcapng"), (0..100).collect::<Vec<_>>());
    let numbers = site.numbers("second.pcapng");
    assert_eq!(numbers.iter().filter(|n| **n >= 200).count(), 100, "{said}");
    let [tool] = &receipt["tools"].as_array().unwrap()[..] else { panic!("{receipt}") };
    assert_eq!(tool["offered"], 230);
    let failed = tool["sink_failed"].as_u64().unwrap();
    assert!(failed > 0, "packets while nobody was there: {tool}");
    assert_eq!(tool["sent"].as_u64().unwrap() + failed, 230);
    assert!(receipt["events"].to_string().contains("calling again"), "{receipt}");
}

/// Whether somebody on this host listens on a port, without calling.
fn is_listening(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let is_it = |line: &str| {
        let mut words = line.split_whitespace();
        let end = words.nth(1).unwrap_or_default();
        end.ends_with(&format!(":{port:04X}")) && words.nth(1) == Some("0A")
    };
    table.lines().any(is_it)
}
