//! The ring on real interfaces: two network namespaces and a veth pair between them.
//!
//! Needs root, iproute2 and python3 (which sends the frames). Says so where it cannot run; in CI
//! it must.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may end at once")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use capture::{Condition, InterfaceCounters, OpenError, Opening, Ring, RingSize, Side};
use pipeline::Source;
use select::bpf::{InKernel, Instruction, PointProgram, Program, TagPlace};
use select::{Encapsulation, Filter, Identity, OnWire, Ownership};
use wire::{Direction, PointId};

#[test]
fn a_frame_arrives_as_it_was_sent_with_its_tag_in_place() {
    let Some(cable) = Cable::new("tag") else { return };
    let mut ring = cable.ring(None, RingSize::of_bytes(1 << 20));
    let frames = [
        frame(&[]),
        frame(&[0x81, 0x00, 0xe0, 0x64]), // VLAN 100, priority 7
        frame(&[0x81, 0x00, 0x60, 0x00]), // priority tag: VLAN 0 is a tag
        frame(&[0x88, 0xa8, 0x10, 0x05, 0x81, 0x00, 0x00, 0x06]), // 802.1ad around 802.1Q
    ];
    cable.send(&frames);
    let seen = read(&mut ring, frames.len());
    assert_eq!(seen.iter().map(|packet| packet.bytes.clone()).collect::<Vec<_>>(), frames);
    for (packet, sent) in seen.iter().zip(&frames) {
        assert_eq!(packet.wire_len as usize, sent.len());
        assert_eq!(packet.direction, Some(Direction::FromVm), "received by the host's end");
    }
}

#[test]
fn the_filter_is_there_before_the_first_frame() {
    let Some(cable) = Cable::new("flt") else { return };
    // Only frames whose first byte behind the MACs and EtherType is 7, and 20 bytes of them.
    let program = Program::from_instructions(vec![
        Instruction { code: 0x30, jt: 0, jf: 0, k: 14 }, // ldb [14]
        Instruction { code: 0x15, jt: 0, jf: 1, k: 7 },  // jeq #7
        Instruction { code: 0x06, jt: 0, jf: 0, k: 20 }, // ret #20
        Instruction { code: 0x06, jt: 0, jf: 0, k: 0 },  // ret #0
    ]);
    let mut ring = cable.ring(Some(&program), RingSize::of_bytes(1 << 20));
    let numbered: Vec<Vec<u8>> = (0..10).map(numbered_frame).collect();
    cable.send(&numbered);
    let seen = read(&mut ring, 1);
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].bytes.len(), seen[0].bytes[14]), (20, 7));
    assert_eq!(seen[0].wire_len as usize, numbered[7].len(), "sliced, its length still known");
    ring.shut().unwrap();
    assert_eq!(ring.counters().received, 1);
}

/// Whatever our own interpreter says of a program: the kernel checks it by rules of its own.
#[test]
fn the_kernel_takes_the_program_of_every_expression() {
    let Some(cable) = Cable::new("exp") else { return };
    let size = RingSize { block_bytes: 4096, blocks: 2, retire_ms: 20 };
    let hosts: Vec<_> = (0..40).map(|n| format!("10.0.0.{n}")).collect();
    let many = format!("host {}", hosts.join(" or "));
    let texts = [
        "tcp",
        "tcp port 443 and not host 10.0.0.1",
        "vni 5001 or geneve 10 or vlan 3-9",
        "tcp[13] & (tcp-syn|tcp-fin) != 0 and ip[2:2] - 20 > len / 2",
        "ip[8] * 3 % 7 = (udp[4:2] + 5) / (ip[9] + 1)",
        "not (udp portrange 1000-5000 or less 100)",
        "ether[16] & 1 = 1 or ether host 52:54:00:00:00:01",
        "outer (udp port 4789) and icmp6[0] = 128",
        "net 2001:db8::/32 and (llc or stp or ipx)",
        many.as_str(),
    ];
    let network = OnWire::Overlay {
        vni: wire::Vni::new(10).unwrap(),
        tunnel: Encapsulation::Vxlan,
        udp_port: None,
        vlan: None,
    };
    let mac = |n: u16| wire::Mac([0x52, 0x54, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    let shared = |count| (0..count).map(|n| Identity { mac: mac(n), network }).collect();
    for ownership in
        [Ownership::Whole, Ownership::Shared(shared(1)), Ownership::Shared(shared(400))]
    {
        for text in texts {
            let filter = Filter::parse(text).unwrap();
            let ports = wire::TunnelPorts::default();
            let place = TagPlace::MetadataOrBytes;
            let program = PointProgram::new(&ownership, Some(&filter), &ports, 0, place, 4096);
            assert!(matches!(program.expression, InKernel::Attached(_)), "{text}");
            let opened = cable.opening(Some(&program.program), size).open();
            assert!(opened.is_ok(), "{text}: {} instructions: {opened:?}", program.program.len());
        }
    }
}

#[test]
fn every_frame_is_read_or_counted_as_dropped() {
    let Some(cable) = Cable::new("cnt") else { return };
    // Two blocks hold about 2000 of these frames while nobody reads.
    let mut ring = cable.ring(None, RingSize { block_bytes: 1 << 18, blocks: 2, retire_ms: 20 });
    let before = InterfaceCounters::read("host", Some(&cable.host_path())).unwrap();
    let sent = 5000_u64;
    cable.send_many(&frame(&[0; 200]), sent);
    let mut lost = 0;
    let deadline = Instant::now() + Duration::from_secs(10);
    ring.shut().unwrap();
    while !ring.counters().is_drained() && Instant::now() < deadline {
        while let Some(packet) = ring.next() {
            lost += packet.lost_before;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let counters = ring.counters();
    assert_eq!(counters.received, sent);
    assert!(counters.kernel_dropped > 0, "the ring was too large to lose anything");
    assert_eq!(counters.read + counters.kernel_dropped, sent);
    assert!(lost <= counters.kernel_dropped);
    let after = InterfaceCounters::read("host", Some(&cable.host_path())).unwrap();
    assert_eq!(after.packets() - before.packets(), sent);
}

#[test]
fn a_quiet_interface_delays_nothing() {
    let Some(cable) = Cable::new("qui") else { return };
    let mut ring = cable.ring(None, RingSize::of_bytes(1 << 20));
    let began = Instant::now();
    assert!(ring.next().is_none());
    ring.shut().unwrap();
    assert!(ring.counters().is_drained());
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[test]
fn an_interface_that_is_down_comes_back_and_one_that_is_removed_does_not() {
    let Some(cable) = Cable::new("con") else { return };
    let mut ring = cable.ring(None, RingSize::of_bytes(1 << 20));
    ip(&["-n", &cable.host, "link", "set", "host", "down"]);
    assert_eq!(ring.condition().unwrap(), Condition::Attached);
    ip(&["-n", &cable.host, "link", "set", "host", "up"]);
    cable.send(&[frame(&[])]);
    assert_eq!(read(&mut ring, 1).len(), 1);
    ip(&["-n", &cable.host, "link", "set", "host", "name", "renamed"]);
    assert_eq!(ring.condition().unwrap(), Condition::Attached);
    ip(&["-n", &cable.host, "link", "del", "renamed"]);
    assert_eq!(ring.condition().unwrap(), Condition::Gone);
}

#[test]
fn an_interface_that_is_not_there_is_a_sentence() {
    let Some(cable) = Cable::new("not") else { return };
    let opening =
        Opening { ifindex: Some(9999), ..cable.opening(None, RingSize::of_bytes(1 << 20)) };
    assert!(matches!(opening.open(), Err(OpenError::NoInterface { .. })));
    let unnamed = Opening { ifindex: None, name: "elsewhere", ..opening.clone() };
    assert!(matches!(unnamed.open(), Err(OpenError::NoInterface { .. })));
    let by_name = Opening { ifindex: None, ..opening.clone() };
    assert!(by_name.open().is_ok(), "an interface without index is found by its name");
    let nowhere = Opening { namespace: Some("/nowhere".into()), ..opening };
    assert!(matches!(nowhere.open(), Err(OpenError::Namespace { .. })));
}

/// Two namespaces joined by a veth pair: `host`, where the ring is, and `guest`, which sends.
struct Cable {
    host: String,
    guest: String,
    ifindex: u32,
}

impl Cable {
    /// `None`, after saying so, where namespaces cannot be made.
    fn new(name: &str) -> Option<Self> {
        let id = std::process::id();
        let mut cable =
            Self { host: format!("ot{id}{name}h"), guest: format!("ot{id}{name}g"), ifindex: 0 };
        if !try_ip(&["netns", "add", &cable.host]) {
            assert!(std::env::var_os("CI").is_none(), "CI has to run the tests that need root");
            eprintln!("NOT RUN: making network namespaces needs root and iproute2");
            return None;
        }
        ip(&["netns", "add", &cable.guest]);
        for namespace in [&cable.host, &cable.guest] {
            // Nobody but the test may send here.
            let quiet = "net.ipv6.conf.all.disable_ipv6=1";
            run(Command::new("ip").args(["netns", "exec", namespace, "sysctl", "-qw", quiet]));
        }
        let (host, guest) = (&cable.host, &cable.guest);
        ip(&[
            "-n", host, "link", "add", "host", "type", "veth", "peer", "name", "guest", "netns",
            guest,
        ]);
        ip(&["-n", host, "link", "set", "host", "up"]);
        ip(&["-n", guest, "link", "set", "guest", "up"]);
        let index = Command::new("ip")
            .args(["netns", "exec", host, "cat", "/sys/class/net/host/ifindex"])
            .output()
            .unwrap();
        cable.ifindex = String::from_utf8(index.stdout).unwrap().trim().parse().unwrap();
        Some(cable)
    }

    fn host_path(&self) -> PathBuf {
        format!("/run/netns/{}", self.host).into()
    }

    fn opening<'a>(&self, filter: Option<&'a Program>, size: RingSize) -> Opening<'a> {
        Opening {
            name: "host",
            ifindex: Some(self.ifindex),
            namespace: Some(self.host_path()),
            filter,
            snaplen: 262_144,
            size,
            takes_all: false,
        }
    }

    fn ring(&self, filter: Option<&Program>, size: RingSize) -> Ring {
        let socket = self.opening(filter, size).open().unwrap();
        Ring::attach(socket, size, PointId(0), Side::Host).unwrap()
    }

    fn send(&self, frames: &[Vec<u8>]) {
        self.python(
            "for line in sys.stdin: s.send(bytes.fromhex(line))",
            &frames.iter().map(|frame| hex(frame) + "\n").collect::<String>(),
        );
    }

    fn send_many(&self, frame: &[u8], count: u64) {
        self.python(
            &format!("f = bytes.fromhex(sys.stdin.read())\nfor _ in range({count}): s.send(f)"),
            &hex(frame),
        );
    }

    fn python(&self, program: &str, input: &str) {
        let head = "import socket, sys\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
                    s.bind(('guest', 0))\n";
        let mut sender = Command::new("ip")
            .args(["netns", "exec", &self.guest, "python3", "-c", &format!("{head}{program}")])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        sender.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(sender.wait().unwrap().success());
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        try_ip(&["netns", "del", &self.host]);
        try_ip(&["netns", "del", &self.guest]);
    }
}

/// A packet copied out of a ring.
struct Seen {
    bytes: Vec<u8>,
    wire_len: u32,
    direction: Option<Direction>,
}

/// Reads until `count` packets are there, for two seconds at most, and a moment longer for more.
fn read(ring: &mut Ring, count: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(2);
    while seen.len() < count && Instant::now() < deadline {
        while let Some(packet) = ring.next() {
            seen.push(Seen {
                bytes: packet.data.to_vec(),
                wire_len: packet.wire_len,
                direction: packet.direction,
            });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    seen
}

/// An Ethernet frame with these tags and 46 bytes of an experimental protocol.
fn frame(tags: &[u8]) -> Vec<u8> {
    let macs = [0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1];
    [&macs[..], tags, &[0x88, 0xb5], &[0x55; 46]].concat()
}

/// The same with `number` as the first byte behind the EtherType.
fn numbered_frame(number: u8) -> Vec<u8> {
    let mut bytes = frame(&[]);
    bytes[14] = number;
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ip(words: &[&str]) {
    assert!(try_ip(words), "ip {words:?} failed");
}

fn try_ip(words: &[&str]) -> bool {
    Command::new("ip")
        .args(words)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?} failed");
}
