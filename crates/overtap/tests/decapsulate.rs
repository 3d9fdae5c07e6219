//! Mirrored frames out of captures, by `extract --decapsulate`: the same bytes as a second hand
//! finds (`e2e/mirror_reference.py`), with the losses, lengths and times that the mirror told.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use wire::file::{InterfaceHeader, PacketOptions, Progress, Reader, SectionHeader};
use wire::file::{Item, write_interface, write_packet, write_section};
use wire::{LinkType, Packet, Timestamp};

/// 2026-11-21T10:00:00Z.
const START: u64 = 1_795_255_200;

/// A frame of a capture that is made here: microseconds after the start, and its bytes.
type Sent = (u64, Vec<u8>);

struct Folder(tempfile::TempDir);

/// A packet of a file: interface name, nanoseconds, wire length, losses before it, bytes.
#[derive(Debug)]
struct Found {
    interface: String,
    nanos: u64,
    wire_len: u32,
    lost_before: u64,
    data: Vec<u8>,
}

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn capture(&self, packets: &[Sent]) {
        let mut bytes = Vec::new();
        write_section(&mut bytes, &SectionHeader::default());
        write_interface(&mut bytes, &InterfaceHeader::ethernet("eth0"));
        for (micros, data) in packets {
            let time = Timestamp::from_nanos(START * 1_000_000_000 + micros * 1000);
            let len = u32::try_from(data.len()).unwrap();
            let packet = Packet::new(time, LinkType::ETHERNET, data, len);
            write_packet(&mut bytes, 0, &packet, &PacketOptions::default());
        }
        fs::write(self.path("in.pcapng"), bytes).unwrap();
    }

    /// Takes the frames out of a file: the receipt and the packets written.
    fn decapsulate(&self, file: &Path, form: &str, exit: i32) -> (Value, Vec<Found>) {
        let out = self.path("out.pcapng");
        let output = Command::new(env!("CARGO_BIN_EXE_overtap"))
            .args(["extract", "--output", "json", "--force", "-q", "-w"])
            .args([&out, file])
            .arg(format!("--decapsulate={form}"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(exit), "{} {output:?}", file.display());
        let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(receipt["unaccounted"], 0);
        (receipt, packets(&out))
    }
}

fn packets(path: &Path) -> Vec<Found> {
    let bytes = fs::read(path).unwrap();
    let (mut reader, mut at) = (Reader::new(), 0);
    let (mut names, mut found) = (Vec::new(), Vec::new());
    loop {
        match reader.advance() {
            Progress::NeedBytes => {
                let space = reader.space();
                let len = space.len().min(bytes.len() - at);
                space[..len].copy_from_slice(&bytes[at..at + len]);
                at += len;
                reader.filled(len);
            }
            Progress::End => return found,
            Progress::Item => match reader.item() {
                Item::Interface(interface) => {
                    names.push(interface.name().unwrap().to_str().into_owned());
                }
                Item::Record(record) => found.push(Found {
                    interface: names[record.packet.point.0 as usize].clone(),
                    nanos: record.packet.time.as_nanos(),
                    wire_len: record.packet.wire_len,
                    lost_before: record.packet.lost_before,
                    data: record.packet.data.to_vec(),
                }),
                _ => {}
            },
        }
    }
}

/// An ARP frame, told from others by its last byte.
fn frame(number: u8) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend([0x52, 0x54, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend([0; 19]);
    bytes.push(number);
    bytes
}

fn outer(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let ip = [0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 9];
    [&macs[..], &ip, payload].concat()
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    let port = port.to_be_bytes();
    outer(17, &[&[0x30, 0x39, port[0], port[1], len[0], len[1], 0, 0][..], payload].concat())
}

fn erspan_2(sequence: u32, session: u8, inner: &[u8]) -> Vec<u8> {
    let head = [&[0x10, 0, 0x88, 0xbe][..], &sequence.to_be_bytes()].concat();
    let erspan = [0x10, 100, 0, session, 0, 0, 0, 5];
    outer(47, &[&head[..], &erspan, inner].concat())
}

#[test]
fn every_mirrored_frame_of_the_corpus_is_what_a_second_hand_finds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let corpus = root.join("../shared/corpus");
    if !corpus.join("truth").is_dir() {
        eprintln!("NOT TESTED: the corpus of captures is missing at {}", corpus.display());
        return;
    }
    let reference = |path: &Path| {
        let run = Command::new("python3")
            .arg(root.join("e2e/mirror_reference.py"))
            .arg(path)
            .output()
            .unwrap();
        assert!(run.status.success(), "{run:?}");
        String::from_utf8(run.stdout).unwrap()
    };
    let folder = Folder::new();
    let (mut files, mut frames) = (0, 0);
    let mut different = Vec::new();
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_mirror = ["erspan", "gre", "vxlan", "geneve", "ovs_", "bug-", "decap", "arkime_"];
        if !name.contains(".pcap") || !is_mirror.iter().any(|word| name.contains(word)) {
            continue;
        }
        let expected = reference(&path);
        if expected.is_empty() {
            continue;
        }
        let out = folder.path("out.pcapng");
        let status = Command::new(env!("CARGO_BIN_EXE_overtap"))
            .args(["extract", "--decapsulate", "--force", "-q", "-w"])
            .args([&out, &path])
            .status()
            .unwrap();
        assert!(matches!(status.code(), Some(0 | 3)), "{name}: {status:?}");
        let hex = |data: &[u8]| data.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let found: Vec<String> = packets(&out).iter().map(|found| hex(&found.data)).collect();
        if found != expected.lines().collect::<Vec<_>>() {
            different.push(name);
        }
        files += 1;
        frames += found.len();
    }
    assert_eq!(different, [""; 0]);
    assert!(files >= 38 && frames >= 444, "{files} files, {frames} frames");
}

#[test]
fn holes_in_the_numbers_of_a_mirror_are_its_losses() {
    let folder = Folder::new();
    let kept = (0..200_u32).filter(|n| ![20, 21, 90].contains(n));
    let sent: Vec<Sent> = kept
        .map(|n| (u64::from(n) * 100, erspan_2(n + 7, 3, &frame(u8::try_from(n).unwrap()))))
        .collect();
    folder.capture(&sent);
    let (receipt, found) = folder.decapsulate(&folder.path("in.pcapng"), "auto", 0);
    assert_eq!(receipt["packets"]["written"], 197);
    assert_eq!(receipt["lost_of_mirrors"], 3);
    assert_eq!(found[0].interface, "ERSPAN II session 3 from 10.0.0.1 @ eth0");
    assert_eq!((found[0].data.clone(), found[0].wire_len), (frame(0), 42));
    let told: u64 = found.iter().map(|found| found.lost_before).sum();
    assert_eq!(told, 2, "the third may still come when the file ends");
    let session = &receipt["mirrors"][0]["sessions"][0];
    assert_eq!((&session["id"], &session["port"]), (&3.into(), &5.into()));
    assert_eq!((&session["vlan"], &session["lost"]), (&100.into(), &3.into()));
}

#[test]
fn sessions_are_interfaces_and_what_is_no_mirrors_is_left_out() {
    let folder = Folder::new();
    let vxlan =
        |vni: u8, number| udp(4789, &[&[8, 0, 0, 0, 0, 0, vni, 0], &frame(number)[..]].concat());
    let mut piece = vxlan(1, 9);
    piece[20] = 0x20; // more fragments follow
    let sent = [vxlan(1, 1), vxlan(2, 2), frame(3), vxlan(1, 4), piece];
    folder.capture(&sent.map(|bytes| (0, bytes)));
    let (receipt, found) = folder.decapsulate(&folder.path("in.pcapng"), "vxlan", 3);
    let names: Vec<&str> = found.iter().map(|found| found.interface.as_str()).collect();
    let [one, two] = [1, 2].map(|vni| format!("VXLAN VNI {vni} from 10.0.0.1 @ eth0"));
    assert_eq!(names, [&one, &two, &one]);
    assert_eq!(receipt["packets"]["no_mirror"], 1);
    assert_eq!(receipt["packets"]["unreadable_mirror"], 1, "the first of several fragments");
    let (receipt, _) = folder.decapsulate(&folder.path("in.pcapng"), "erspan", 0);
    assert_eq!(
        (&receipt["packets"]["written"], &receipt["packets"]["no_mirror"]),
        (&0.into(), &5.into())
    );
}

#[test]
fn the_length_before_the_mirror_cut_the_frame_is_restored() {
    let folder = Folder::new();
    let tzsp = |len: [u8; 2]| {
        udp(37008, &[&[1, 0, 0, 1, 41, 2, len[0], len[1], 1][..], &frame(1)].concat())
    };
    // A frame whose IP header says 1000 bytes, of which 20 came.
    let mut sliced = frame(0)[..12].to_vec();
    sliced.extend([8, 0, 0x45, 0, 3, 232, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    // A vSwitch that cuts its own packet: the outer length is still that of all.
    let mut outer_sliced = erspan_2(2, 1, &[&frame(1)[..], &[0; 58]].concat());
    outer_sliced.truncate(14 + 20 + 16 + 30);
    let sent = [tzsp([5, 0xdc]), tzsp([0xdc, 5]), erspan_2(1, 1, &sliced), outer_sliced];
    folder.capture(&sent.map(|bytes| (0, bytes)));
    let (receipt, found) = folder.decapsulate(&folder.path("in.pcapng"), "auto", 0);
    let lengths: Vec<u32> = found.iter().map(|found| found.wire_len).collect();
    assert_eq!(lengths, [1500, 1500, 1014, 100]);
    let cut = receipt["mirrors"][0]["sessions"].as_array().unwrap();
    let cut: Vec<&Value> = cut.iter().map(|session| &session["truncated"]).collect();
    assert_eq!(cut, [2, 2]);
}

#[test]
fn the_time_of_erspan_3_is_the_switchs() {
    let folder = Folder::new();
    let erspan_3 = |sequence: u32, time: u32, granularity: u8, seconds: Option<u32>| {
        let mut bytes = [&[0x10, 0, 0x22, 0xeb][..], &sequence.to_be_bytes()].concat();
        bytes.extend([0x20, 0, 0, granularity + 1]);
        bytes.extend(time.to_be_bytes());
        bytes.extend([0, 0, 0, granularity << 1 | u8::from(seconds.is_some())]);
        if let Some(seconds) = seconds {
            bytes.extend([5 << 2, 0, 0, 42]); // platform 5, port 42
            bytes.extend(seconds.to_be_bytes());
        }
        outer(47, &[&bytes[..], &frame(1)].concat())
    };
    // Granularity 0: the time of day in units of 100 µs, 3 ms before the arrival.
    let ticks = |micros: u64| u32::try_from((START * 10_000 + micros / 100) % (1 << 32)).unwrap();
    let day = |micros| (micros + 3000, erspan_3(0, ticks(micros), 0, None));
    // Granularity 2 with the seconds beside it, in TAI, and a way of 5 ms.
    let seconds = u32::try_from(START + 37).unwrap();
    let tai = |micros: u64| {
        let nanos = u32::try_from(micros * 1000).unwrap() + 7;
        (micros + 5000, erspan_3(0, nanos, 2, Some(seconds)))
    };
    // Granularity 1: 100 ns since boot; ways of 4 and of 1 ms.
    let boot = |n: u32, way: u64| {
        (40_000 + u64::from(n) * 10_000 + way, erspan_3(0, 5000 + n * 100_000, 1, None))
    };
    folder.capture(&[day(10_000), tai(20_000), boot(0, 4000), boot(1, 1000)]);
    let (receipt, found) = folder.decapsulate(&folder.path("in.pcapng"), "erspan", 0);
    let nanos: Vec<u64> = found.iter().map(|f| f.nanos - START * 1_000_000_000).collect();
    assert_eq!(nanos, [10_000_000, 20_000_007, 44_000_000, 51_000_000]);
    let sessions = receipt["mirrors"][0]["sessions"].as_array().unwrap();
    let known: Vec<&Value> = sessions.iter().map(|s| &s["clock_is_time_of_day"]).collect();
    assert_eq!(known, [true, true, false]);
    assert_eq!(sessions[1]["port"], 42);
}

#[test]
fn the_tag_of_an_rspan_vlan_goes_and_no_other() {
    let folder = Folder::new();
    let tagged = |vlan: u16, frame: &[u8]| {
        let [high, low] = vlan.to_be_bytes();
        [&frame[..12], &[0x81, 0, high, low], &frame[12..]].concat()
    };
    let own = tagged(100, &frame(1));
    folder.capture(&[(0, tagged(999, &own)), (1, own.clone()), (2, tagged(999, &frame(2)))]);
    let (receipt, found) = folder.decapsulate(&folder.path("in.pcapng"), "rspan=999", 0);
    let data: Vec<&[u8]> = found.iter().map(|found| found.data.as_slice()).collect();
    assert_eq!(data, [&own[..], &frame(2)]);
    assert_eq!(found[0].interface, "RSPAN VLAN 999 @ eth0");
    assert_eq!((found[0].wire_len, &receipt["packets"]["no_mirror"]), (46, &1.into()));
}

#[test]
fn vspheres_key_says_which_way_a_frame_went() {
    let folder = Folder::new();
    let gre = |key: u32, number| {
        outer(47, &[&[0x20, 0, 0x65, 0x58][..], &key.to_be_bytes(), &frame(number)].concat())
    };
    folder.capture(&[(0, gre(0x0200_0000, 1)), (1, gre(0, 2))]);
    let (receipt, found) = folder.decapsulate(&folder.path("in.pcapng"), "vmware", 0);
    assert_eq!(found.len(), 2);
    assert_eq!(receipt["mirrors"][0]["sessions"].as_array().unwrap().len(), 2);
    assert_ne!(found[0].interface, found[1].interface, "two legs of one mirror");
}
