//! `overtap extract` and `overtap stat` through the program, on captures made here and on others'.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use wire::file::{
    InterfaceHeader, PacketOptions, SectionHeader, write_interface, write_packet, write_section,
};
use wire::{LinkType, Packet, PointId, Timestamp};

/// A folder for one test, removed at its end.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("site.toml"), INVENTORY).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overtap"));
        command.env("OVERTAP_STATE_DIR", self.path("state"));
        command.current_dir(self.0.path()).args(words).output().unwrap()
    }

    /// The receipt of an extraction that ends as expected.
    fn extract(&self, words: &[&str], exit: i32) -> Value {
        let output = self.run(&[&["extract", "--output", "json"], words].concat());
        assert_eq!(output.status.code(), Some(exit), "{words:?} {output:#?}");
        let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(receipt["unaccounted"], 0);
        receipt
    }

    /// What `decode` says of a file, by record.
    fn decoded(&self, file: &str) -> Vec<String> {
        let output = self.run(&["decode", "--output", "tsv", file]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// One column of what `decode` says.
    fn column(&self, file: &str, name: &str) -> Vec<String> {
        let lines = self.decoded(file);
        let index = lines[0].split('\t').position(|column| column == name).unwrap();
        lines[1..].iter().map(|line| line.split('\t').nth(index).unwrap().to_owned()).collect()
    }

    /// A capture of these frames at an interface, the first at one millisecond past
    /// 2026-11-21T10:00:00Z and the others each a millisecond later.
    fn capture(&self, name: &str, interface: &str, frames: &[Vec<u8>]) {
        let mut bytes = Vec::new();
        write_section(&mut bytes, &SectionHeader::default());
        write_interface(&mut bytes, &InterfaceHeader::ethernet(interface));
        for (number, data) in (1..).zip(frames) {
            let time = Timestamp::from_parts(1_795_255_200, number * 1_000_000);
            let len = u32::try_from(data.len()).unwrap();
            let mut packet = Packet::new(time, LinkType::ETHERNET, data, len);
            packet.point = PointId(0);
            write_packet(&mut bytes, 0, &packet, &PacketOptions::default());
        }
        fs::write(self.path(name), bytes).unwrap();
    }
}

/// Two tenants with the same MACs; `db` has a MAC of its own.
const INVENTORY: &str = r#"
[[vms]]
name = "web"
tenant = "acme"
host = "hv-1"
vnics = [{ mac = "52:54:00:00:00:01", networks = [{ vxlan = 5001 }] }]
[[vms]]
name = "db"
tenant = "acme"
host = "hv-2"
vnics = [{ mac = "52:54:00:00:00:02", networks = [{ vxlan = 5001 }] }]
[[vms]]
name = "web"
tenant = "umbrella"
host = "hv-1"
vnics = [{ mac = "52:54:00:00:00:01", networks = [{ vxlan = 5002 }] }]
"#;

fn ipv4(addresses: [[u8; 4]; 2], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let head = [0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, protocol, 0, 0];
    [&head[..], &addresses[0], &addresses[1], payload].concat()
}

fn udp(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    let [source, destination] = ports.map(u16::to_be_bytes);
    [&source[..], &destination, &len, &[0, 0], payload].concat()
}

fn ethernet(destination: u8, source: u8, payload: &[u8]) -> Vec<u8> {
    let mac = |last| [0x52, 0x54, 0, 0, 0, last];
    [&mac(destination)[..], &mac(source), &[8, 0], payload].concat()
}

/// What one VM sends another, with `len` bytes of payload.
fn frame(from: u8, to: u8, len: usize) -> Vec<u8> {
    let packet = ipv4([[10, 0, 0, from], [10, 0, 0, to]], 17, &udp([1000, 53], &vec![0x61; len]));
    ethernet(to, from, &packet)
}

fn vxlan(vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, v0, v1, v2] = vni.to_be_bytes();
    let payload = [&[8, 0, 0, 0, v0, v1, v2, 0][..], inner].concat();
    let hosts = [[192, 0, 2, 1], [192, 0, 2, 2]];
    ethernet(0xf2, 0xf1, &ipv4(hosts, 17, &udp([50_000, 4789], &payload)))
}

/// An uplink with both tenants' packets, and one of the host itself.
fn uplink() -> Vec<Vec<u8>> {
    vec![
        vxlan(5001, &frame(1, 2, 10)),
        vxlan(5002, &frame(1, 9, 20)),
        vxlan(5001, &frame(2, 1, 30)),
        vxlan(5001, &frame(2, 9, 40)),
        vxlan(7777, &frame(1, 2, 50)),
        frame(0xf1, 0xf2, 60),
    ]
}

fn written(receipt: &Value) -> u64 {
    receipt["packets"]["written"].as_u64().unwrap()
}

#[test]
fn a_vm_is_taken_out_by_its_name_and_nobody_elses_packet_with_it() {
    let folder = Folder::new();
    folder.capture("up.pcapng", "up0", &uplink());
    for (vm, payloads) in
        [("acme/web", vec![10, 30]), ("umbrella/web", vec![20]), ("db", vec![10, 30, 40])]
    {
        let words = [
            "up.pcapng",
            "--inventory",
            "site.toml",
            "--vm",
            vm,
            "--strip",
            "-w",
            "vm.pcapng",
            "--force",
        ];
        let receipt = folder.extract(&words, 0);
        assert_eq!(written(&receipt), payloads.len() as u64, "{vm}");
        let lens: Vec<_> = payloads.iter().map(|len| (42 + len).to_string()).collect();
        assert_eq!(folder.column("vm.pcapng", "len"), lens, "{vm}");
        assert_eq!(folder.column("vm.pcapng", "caplen"), lens, "{vm}");
    }
    // The same words as part of an expression.
    let words = [
        "up.pcapng",
        "vm acme/web and udp port 53 and not vm db",
        "--inventory",
        "site.toml",
        "-w",
        "none.pcapng",
    ];
    assert_eq!(written(&folder.extract(&words, 0)), 0);
    let unknown = folder.run(&[
        "extract",
        "up.pcapng",
        "--inventory",
        "site.toml",
        "--vm",
        "wbe",
        "-w",
        "x.pcapng",
    ]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(!folder.path("x.pcapng").exists());
}

#[test]
fn a_tool_gets_the_packets_of_a_file_that_its_grant_covers_and_no_others() {
    let folder = Folder::new();
    folder.capture("up.pcapng", "up0", &uplink());
    let add = |name: &str, words: &[&str]| {
        let added = folder.run(&[&["tools", "add", name], words].concat());
        assert!(added.status.success(), "{added:?}");
    };
    add("acmes", &["--file", "acmes.pcapng", "--tenant", "acme", "--slice", "60"]);
    add("alls", &["--file", "alls.pcapng", "--all-tenants", "--strip", "all"]);
    add("nobodys", &["--file", "nobodys.pcapng"]);
    let of = |vm: &'static str, tool: &'static str| {
        ["up.pcapng", "--inventory", "site.toml", "--vm", vm, "--to", tool]
    };
    let receipt = folder.extract(&of("acme/web", "acmes"), 0);
    assert_eq!(written(&receipt), 2);
    let [tool] = &receipt["tools"].as_array().unwrap()[..] else { panic!("{receipt}") };
    assert_eq!((&tool["offered"], &tool["sent"]), (&2.into(), &2.into()));
    assert_eq!(tool["sliced"], 2);
    assert_eq!(receipt["outputs"], serde_json::json!([]), "nothing else is written");
    assert_eq!(folder.column("acmes.pcapng", "len"), ["102", "122"]);
    assert_eq!(folder.column("acmes.pcapng", "caplen"), ["60", "60"]);
    // The same MAC, and another tenant's.
    let refused = |words: &[&str], said: &str| {
        let output = folder.run(&[&["extract"], words].concat());
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(said), "{text}");
    };
    let why = "tool acmes may not have the packets of umbrella/web, which belongs to umbrella";
    refused(&of("umbrella/web", "acmes"), why);
    refused(&of("acme/web", "nobodys"), "which belongs to acme");
    // Of one that is both's, and of a whole file, whosever packets are in it.
    refused(&[&of("acme/web", "acmes")[..], &["--vm", "umbrella/web"]].concat(), why);
    refused(&["up.pcapng", "--to", "acmes"], "whosever they are");
    refused(&["up.pcapng", "vm acme/web", "--inventory", "site.toml", "--to", "acmes"], "whosever");
    let words = ["up.pcapng", "--to", "alls", "-w", "whole.pcapng", "-c", "4"];
    let receipt = folder.extract(&words, 0);
    assert_eq!(receipt["tools"][0]["sent"], 4);
    assert_eq!(folder.column("alls.pcapng", "len"), ["52", "62", "72", "82"]);
    assert_eq!(folder.column("whole.pcapng", "len"), ["102", "112", "122", "132"]);
    assert!(!folder.path("nobodys.pcapng").exists(), "it was not even made");
}

#[test]
fn a_slow_tool_of_a_file_is_waited_for() {
    let folder = Folder::new();
    let frames: Vec<_> = (0..4200_u32).map(|n| frame((n % 9) as u8, 1, 2400)).collect();
    folder.capture("many.pcapng", "up0", &frames);
    let socket = std::os::unix::net::UnixListener::bind(folder.path("slow")).unwrap();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        let (mut all, mut some) = (0, [0; 65_536]);
        loop {
            std::thread::sleep(Duration::from_millis(5));
            match std::io::Read::read(&mut stream, &mut some).unwrap() {
                0 => return all,
                len => all += len,
            }
        }
    });
    let added = folder.run(&["tools", "add", "slow", "--unix", "slow", "--all-tenants"]);
    assert!(added.status.success(), "{added:?}");
    let receipt = folder.extract(&["many.pcapng", "--to", "slow"], 0);
    assert_eq!(receipt["tools"][0]["sent"], 4200);
    assert!(reader.join().unwrap() > 4200 * 2442);
}

#[test]
fn what_was_captured_at_a_tap_is_its_vms() {
    let folder = Folder::new();
    folder.capture(
        "tap.pcapng",
        "web/net0 @ hv-1:vnet3",
        &[frame(1, 2, 10), frame(2, 1, 20), frame(9, 1, 30)],
    );
    // Two VMs are called web, so nobody knows whose tap it is; what is asked by MAC is found.
    let site = INVENTORY.replace(
        "tenant = \"umbrella\"\nhost = \"hv-1\"",
        "tenant = \"umbrella\"\nhost = \"hv-3\"",
    );
    fs::write(folder.path("site.toml"), site).unwrap();
    for (vm, count) in [("acme/web", 3), ("db", 2), ("umbrella/web", 0)] {
        let words =
            ["tap.pcapng", "--inventory", "site.toml", "--vm", vm, "-w", "vm.pcapng", "--force"];
        assert_eq!(written(&folder.extract(&words, 0)), count, "{vm}");
    }
}

#[test]
fn split_files_hold_each_what_its_name_takes() {
    let folder = Folder::new();
    folder.capture("up.pcapng", "up0", &uplink());
    let split = |by: &str| {
        let out = format!("{}.pcapng", by.split('=').next().unwrap());
        let receipt = folder
            .extract(&["up.pcapng", "--inventory", "site.toml", "--split-by", by, "-w", &out], 0);
        assert_eq!(written(&receipt), 6, "{by}");
        let outputs = receipt["outputs"].as_array().unwrap().iter();
        let outputs: Vec<_> = outputs
            .map(|o| (o["path"].as_str().unwrap().to_owned(), o["packets"].as_u64().unwrap()))
            .collect();
        let sum: u64 = outputs.iter().map(|output| output.1).sum();
        assert_eq!(sum, 6 + receipt["repeated"].as_u64().unwrap(), "{by}");
        for (path, packets) in &outputs {
            assert_eq!(folder.column(path, "len").len() as u64, *packets, "{path}");
        }
        outputs
    };
    let named =
        |list: &[(&str, u64)]| list.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect::<Vec<_>>();
    let vms = [
        ("vm-acme_db.pcapng", 3),
        ("vm-acme_web.pcapng", 2),
        ("vm-others.pcapng", 2),
        ("vm-umbrella_web.pcapng", 1),
    ];
    assert_eq!(split("vm"), named(&vms));
    let tenants =
        [("tenant-acme.pcapng", 3), ("tenant-others.pcapng", 2), ("tenant-umbrella.pcapng", 1)];
    assert_eq!(split("tenant"), named(&tenants));
    let vnis = [
        ("vni-no-vni.pcapng", 1),
        ("vni-vni5001.pcapng", 3),
        ("vni-vni5002.pcapng", 1),
        ("vni-vni7777.pcapng", 1),
    ];
    assert_eq!(split("vni"), named(&vnis));
    assert!(split("size=500").len() > 1);
    assert_eq!(split("time=1h").len(), 1);
}

/// An IPv4 frame without tags in pieces of 96 bytes, with this identification.
fn in_pieces(id: u8, frame: &[u8]) -> Vec<Vec<u8>> {
    let (head, payload) = frame.split_at(34);
    let pieces = payload.chunks(96).enumerate().map(|(number, piece)| {
        let mut head = head.to_vec();
        head[16..18].copy_from_slice(&u16::try_from(20 + piece.len()).unwrap().to_be_bytes());
        head[19] = id;
        let more = if number + 1 < payload.len().div_ceil(96) { 0x2000 } else { 0 };
        let field = more | u16::try_from(number * 12).unwrap();
        head[20..22].copy_from_slice(&field.to_be_bytes());
        [&head[..], piece].concat()
    });
    pieces.collect()
}

#[test]
fn fragments_go_where_the_first_of_their_packet_goes() {
    let folder = Folder::new();
    let acme = in_pieces(1, &vxlan(5001, &frame(1, 2, 200)));
    let umbrella = in_pieces(2, &vxlan(5002, &frame(1, 9, 200)));
    // Without their first: nobody's.
    let lost = in_pieces(3, &vxlan(5001, &frame(1, 2, 200))).split_off(1);
    // The order is turned round, so that all wait.
    let all: Vec<_> = acme.iter().zip(&umbrella).rev().flat_map(|(a, u)| [a, u]).collect();
    let all: Vec<_> = all.into_iter().chain(&lost).cloned().collect();
    folder.capture("up.pcapng", "up0", &all);
    let lens = |frames: &[Vec<u8>]| {
        let mut lens: Vec<_> = frames.iter().map(|frame| frame.len().to_string()).collect();
        lens.sort();
        lens
    };
    for words in [&["--vm", "acme/web"][..], &["vni 5001 and udp port 53"], &["tenant acme"]] {
        let rest =
            ["up.pcapng", "--inventory", "site.toml", "--strip", "-w", "x.pcapng", "--force"];
        let receipt = folder.extract(&[&rest[..], words].concat(), 0);
        let packets = &receipt["packets"];
        assert_eq!((written(&receipt), &packets["undecidable"]), (3, &2.into()), "{words:?}");
        let mut found = folder.column("x.pcapng", "len");
        found.sort();
        assert_eq!(found, lens(&acme), "the tunnel stays: {words:?}");
    }
    let words = ["up.pcapng", "--inventory", "site.toml", "--split-by", "vni", "-w", "s.pcapng"];
    assert_eq!(written(&folder.extract(&words, 0)), all.len() as u64);
    assert_eq!(folder.column("s-vni5001.pcapng", "len").len(), 3);
    assert_eq!(folder.column("s-vni5002.pcapng", "len").len(), 3);
    assert_eq!(folder.column("s-no-vni.pcapng", "len").len(), 2);
    let words = ["up.pcapng", "vni 5001", "--count", "2", "-w", "two.pcapng"];
    assert_eq!(written(&folder.extract(&words, 0)), 2);
    assert_eq!(folder.column("two.pcapng", "len").len(), 2);
}

#[test]
fn slices_keep_the_original_length() {
    let folder = Folder::new();
    folder.capture("up.pcapng", "up0", &uplink()[..2]);
    folder.extract(&["up.pcapng", "--slice-after-headers", "4", "-w", "few.pcapng"], 0);
    assert_eq!(
        folder.column("few.pcapng", "caplen"),
        [(50 + 42 + 4).to_string(), (50 + 42 + 4).to_string()]
    );
    assert_eq!(folder.column("few.pcapng", "len"), folder.column("up.pcapng", "len"));
    folder.extract(&["up.pcapng", "--slice", "64", "-w", "short.pcap"], 0);
    assert_eq!(folder.column("short.pcap", "caplen"), ["64", "64"]);
    assert_eq!(folder.column("short.pcap", "len"), folder.column("up.pcapng", "len"));
}

#[test]
fn copies_seen_elsewhere_are_left_out_and_what_was_sent_twice_is_not() {
    let folder = Folder::new();
    let sent = [frame(1, 2, 10), frame(1, 2, 10), frame(2, 1, 99)];
    folder.capture("tap.pcapng", "vnet1", &sent);
    folder.capture("up.pcapng", "up0", &sent.clone().map(|frame| vxlan(5001, &frame)));
    let both = ["tap.pcapng", "up.pcapng", "--dedup", "--tenant-map", "one", "-w", "once.pcapng"];
    let receipt = folder.extract(&both, 0);
    assert_eq!(
        (written(&receipt), receipt["packets"]["duplicate"].as_u64()),
        (3, Some(3)),
        "{receipt}"
    );
    assert_eq!(receipt["copies"]["pairs"][0]["copies"], 3, "{receipt}");
    // Nothing says that both networks are one tenant's, whatever is equal in them.
    folder.capture("other.pcapng", "up1", &sent.map(|frame| vxlan(5002, &frame)));
    let words = ["up.pcapng", "other.pcapng", "--dedup", "-w", "all.pcapng"];
    assert_eq!(written(&folder.extract(&words, 0)), 6);
    // Nor can anybody say of which of them a packet is that names no network.
    let words = ["up.pcapng", "other.pcapng", "tap.pcapng", "--dedup", "-w", "nine.pcapng"];
    assert_eq!(written(&folder.extract(&words, 0)), 9);
}

#[test]
fn times_and_counts_bound_what_is_taken() {
    let folder = Folder::new();
    folder.capture("up.pcapng", "up0", &uplink());
    let words = [
        "up.pcapng",
        "--from",
        "2026-11-21T10:00:00.002Z",
        "--to",
        "1795255200.005",
        "-w",
        "a.pcapng",
    ];
    assert_eq!(written(&folder.extract(&words, 0)), 3);
    let receipt = folder.extract(&["up.pcapng", "--count", "2", "-w", "b.pcapng"], 0);
    assert_eq!((written(&receipt), receipt["ended"].as_str()), (2, Some("count")));
}

#[test]
fn inputs_are_merged_by_time_however_they_are_packed() {
    let folder = Folder::new();
    folder.capture("up.pcapng", "up0", &uplink());
    let plain = fs::read(folder.path("up.pcapng")).unwrap();
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(&plain).unwrap();
    fs::write(folder.path("up.gz"), zipped.finish().unwrap()).unwrap();
    let receipt = folder.extract(&["up.pcapng", "up.gz", "-w", "both.pcapng"], 0);
    assert_eq!(written(&receipt), 12);
    let lens = folder.column("both.pcapng", "len");
    assert!(lens.chunks(2).all(|pair| pair[0] == pair[1]), "{lens:?}");

    let mut reader = Command::new(env!("CARGO_BIN_EXE_overtap"))
        .args(["extract", "-", "vni 5001", "-q", "-w", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    reader.stdin.take().unwrap().write_all(&plain).unwrap();
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success());
    fs::write(folder.path("piped.pcapng"), output.stdout).unwrap();
    assert_eq!(folder.column("piped.pcapng", "len").len(), 3);
}

#[test]
fn an_interrupted_job_leaves_complete_files() {
    let folder = Folder::new();
    folder.capture("up.pcapng", "up0", &uplink());
    let mut job = Command::new(env!("CARGO_BIN_EXE_overtap"))
        .current_dir(folder.0.path())
        .args(["extract", "-", "-w", "part.pcapng", "--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = job.stdin.take().unwrap();
    input.write_all(&fs::read(folder.path("up.pcapng")).unwrap()).unwrap();
    input.flush().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !folder.path("part.pcapng").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(200));
    let pid = i32::try_from(job.id()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::INT,
    )
    .unwrap();
    // Whoever writes goes on a little; the job ends at the next packet at the latest.
    let _ = input.write_all(&[0]);
    drop(input);
    let output = job.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lens = folder.column("part.pcapng", "len");
    assert_eq!(lens.len() as u64, written(&receipt), "{receipt}");
}

#[test]
fn damage_is_told_with_its_place_and_costs_no_other_packet() {
    let folder = Folder::new();
    folder.capture("up.pcapng", "up0", &uplink());
    let mut bytes = fs::read(folder.path("up.pcapng")).unwrap();
    bytes.truncate(bytes.len() - 5);
    fs::write(folder.path("cut.pcapng"), bytes).unwrap();
    let receipt = folder.extract(&["cut.pcapng", "-w", "rest.pcapng"], 3);
    assert_eq!(written(&receipt), 5);
    let damage = &receipt["inputs"][0]["damages"][0];
    assert!(damage["offset"].as_u64().unwrap() > 0 && damage["ends_file"] == true, "{receipt}");
}

#[test]
fn wrong_usage_says_what_to_do_and_writes_nothing() {
    let folder = Folder::new();
    folder.capture("up.pcapng", "up0", &uplink());
    fs::write(folder.path("there.pcapng"), "mine").unwrap();
    for (words, exit, said) in [
        (vec!["up.pcapng", "udp prot 53", "-w", "x.pcapng"], 2, "^"),
        (vec!["nothing.pcapng", "-w", "x.pcapng"], 1, "nothing.pcapng"),
        (vec!["up.pcapng", "-w", "there.pcapng"], 1, "--force"),
        (vec!["up.pcapng", "-w", "up.pcapng", "--force"], 2, "is an input"),
        (vec!["up.pcapng", "--split-by", "colour", "-w", "x.pcapng"], 2, "tenant"),
        (vec!["up.pcapng", "--split-by", "vni", "-w", "-"], 2, "standard output"),
        (vec!["site.toml", "-w", "x.pcapng"], 1, "site.toml"),
    ] {
        let output = folder.run(&[&["extract"], &words[..]].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{words:?} {text}");
        assert!(text.contains(said), "{words:?} {text}");
    }
    assert_eq!(fs::read(folder.path("there.pcapng")).unwrap(), b"mine");
    assert_eq!(folder.column("up.pcapng", "len").len(), 6);
}

#[test]
fn stat_counts_by_interface_network_tunnel_and_vm() {
    let folder = Folder::new();
    folder.capture("up.pcapng", "up0", &uplink());
    let output = folder.run(&["stat", "up.pcapng", "--inventory", "site.toml", "--output", "json"]);
    assert!(output.status.success(), "{output:#?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bytes: usize = uplink().iter().map(Vec::len).sum();
    assert_eq!(
        (report["packets"].as_u64(), report["bytes"].as_u64()),
        (Some(6), Some(bytes as u64))
    );
    let by = |table: &str, key: &str| -> Vec<(String, u64)> {
        let rows = report[table].as_array().unwrap().iter();
        let mut rows: Vec<_> = rows
            .map(|row| (row[key].to_string().replace('"', ""), row["packets"].as_u64().unwrap()))
            .collect();
        rows.sort();
        rows
    };
    let named =
        |list: &[(&str, u64)]| list.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect::<Vec<_>>();
    assert_eq!(by("interfaces", "name"), named(&[("up0", 6)]));
    assert_eq!(
        by("networks", "vxlan"),
        named(&[("5001", 3), ("5002", 1), ("7777", 1), ("null", 1)])
    );
    assert_eq!(by("vms", "name"), named(&[("acme/db", 3), ("acme/web", 2), ("umbrella/web", 1)]));
    assert_eq!(report["tunnels"].as_array().unwrap().len(), 1);

    let mut cut = fs::read(folder.path("up.pcapng")).unwrap();
    cut.truncate(cut.len() - 5);
    fs::write(folder.path("cut.pcapng"), cut).unwrap();
    let output = folder.run(&["stat", "cut.pcapng"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("at byte"));
}

/// Every file of the corpus, in and out again: nothing is lost, added or changed, and `stat` counts
/// what `decode` sees.
#[test]
fn the_corpus_comes_out_as_it_went_in() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !corpus.join("truth").is_dir() {
        eprintln!("NOT TESTED: the corpus of captures is missing at {}", corpus.display());
        return;
    }
    let folder = Folder::new();
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() || path.extension().is_some_and(|e| e == "md" || e == "tsv") {
            continue;
        }
        let name = path.to_str().unwrap();
        let output = folder.run(&[
            "extract",
            name,
            "--split-by",
            "link",
            "--output",
            "json",
            "-w",
            "out.pcapng",
            "--force",
        ]);
        if output.status.code() == Some(1) {
            continue;
        }
        let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (receipt["unaccounted"].as_i64(), written(&receipt)),
            (Some(0), receipt["read"].as_u64().unwrap()),
            "{name}"
        );
        let outputs = receipt["outputs"].as_array().unwrap();
        if let [only] = &outputs[..] {
            let (before, after) =
                (folder.decoded(name), folder.decoded(only["path"].as_str().unwrap()));
            let is_in_order = receipt["inputs"].as_array().unwrap().len() == 1;
            assert!(
                is_in_order && without_interface(&before) == without_interface(&after),
                "{name}"
            );
        }
        let stat = folder.run(&["stat", name, "--output", "json", "-q"]);
        let stat: Value = serde_json::from_slice(&stat.stdout).unwrap();
        assert_eq!(stat["packets"], receipt["read"], "{name}");
    }
}

/// Interfaces without packets may be numbered otherwise.
fn without_interface(lines: &[String]) -> Vec<String> {
    let index = lines.first().and_then(|head| head.split('\t').position(|c| c == "iface"));
    let drop = |line: &String| {
        let cells = line.split('\t').enumerate().filter(|(at, _)| Some(*at) != index);
        cells.map(|(_, cell)| cell).collect::<Vec<_>>().join("\t")
    };
    lines.iter().map(drop).collect()
}
