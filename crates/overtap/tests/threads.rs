//! `overtap extract --threads N` through the program: what several threads write is what one writes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use wire::file::{
    InterfaceHeader, PacketOptions, SectionHeader, StatisticsBlock, write_interface, write_packet,
    write_section, write_statistics,
};
use wire::{LinkType, Packet, Timestamp};

#[test]
fn several_threads_write_what_one_writes() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("many.pcapng");
    let mut bytes = Vec::new();
    for section in 0..4 {
        put_section(&mut bytes, section, 9000);
    }
    // The last packet is cut.
    bytes.truncate(bytes.len() - 3);
    fs::write(&capture, bytes).unwrap();
    for words in [
        &[][..],
        &["--strip"],
        &["--strip", "--slice", "60"],
        &["udp"],
        &["ip6", "--strip"],
        &["arp"],
        &["--strip", "-F", "pcap"],
        &["-F", "usecpcap", "udp"],
        &["--from", "1795255205"],
    ] {
        compare(folder.path(), &capture, words, &["2", "3", "8"]);
    }
}

/// Files of others: many are damaged, and many have what stands between packets.
#[test]
fn several_threads_write_what_one_writes_of_every_corpus_file() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !corpus.join("truth").is_dir() {
        eprintln!("NOT TESTED: the corpus of captures is missing at {}", corpus.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kinds = [&["--strip"][..], &["ip or ip6"], &["--strip", "-F", "pcap", "not port 53"]];
    let captures = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path());
    let captures = captures
        .filter(|path| path.is_file() && path.extension().is_none_or(|e| e != "md" && e != "tsv"));
    for (capture, words) in captures.zip(kinds.into_iter().cycle()) {
        compare(folder.path(), &capture, words, &["2"]);
    }
}

#[test]
fn several_threads_count_off_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("many.pcapng");
    let mut bytes = Vec::new();
    put_section(&mut bytes, 0, 9000);
    fs::write(&capture, bytes).unwrap();
    for count in ["1", "4001"] {
        let (_, receipt) = extract(folder.path(), &capture, &["udp", "--count", count], "4");
        assert_eq!(receipt["packets"]["written"].to_string(), count, "{receipt}");
        assert_eq!(receipt["ended"], "count");
    }
}

#[test]
fn several_threads_that_are_interrupted_leave_a_complete_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = Command::new(env!("CARGO_BIN_EXE_overtap"))
        .current_dir(folder.path())
        .args(["extract", "-", "--strip", "-w", "part.pcapng", "--threads", "3"])
        .args(["--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = job.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        put_section(&mut bytes, 0, 1000);
        // Until nobody reads any more.
        while input.write_all(&bytes).is_ok() {}
    });
    std::thread::sleep(Duration::from_millis(700));
    let pid = i32::try_from(job.id()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = job.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((receipt["unaccounted"].as_i64(), &receipt["ended"]), (Some(0), &"stopped".into()));
    let again = folder.path().join("part.pcapng");
    let (_, again) = extract(folder.path(), &again, &[], "1");
    assert_eq!(again["read"], receipt["packets"]["written"], "{receipt} {again}");
    assert!(again["read"].as_u64().unwrap() > 1000, "{again}");
}

fn compare(folder: &Path, capture: &Path, words: &[&str], threads: &[&str]) {
    let (one, receipt) = extract(folder, capture, words, "1");
    for threads in threads {
        let (several, theirs) = extract(folder, capture, words, threads);
        assert!(one == several, "{threads} threads, {words:?}, {}", capture.display());
        assert_eq!(receipt, theirs, "{threads} threads, {words:?}, {}", capture.display());
    }
}

/// What is written, and the receipt.
fn extract(folder: &Path, capture: &Path, words: &[&str], threads: &str) -> (Vec<u8>, Value) {
    let out: PathBuf = folder.join("out");
    let output = Command::new(env!("CARGO_BIN_EXE_overtap"))
        .arg("extract")
        .arg(capture)
        .args(words)
        .args(["--threads", threads, "--force", "--output", "json", "-w"])
        .arg(&out)
        .output()
        .unwrap();
    let receipt = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{} {words:?}: {error} {output:?}", capture.display()));
    (fs::read(out).unwrap(), receipt)
}

/// A section with two interfaces, of two link types in half of them, and packets that are plain,
/// tagged or in VXLAN; some say more than their bytes, and counters stand between them.
fn put_section(out: &mut Vec<u8>, number: u64, packets: u64) {
    write_section(
        out,
        &SectionHeader { comments: vec![format!("{number}")], ..Default::default() },
    );
    write_interface(out, &InterfaceHeader::ethernet(format!("up{number}")));
    let second = if number % 2 == 1 { LinkType::RAW } else { LinkType::ETHERNET };
    let header = InterfaceHeader { link: second, ..InterfaceHeader::ethernet("down") };
    write_interface(out, &header);
    for packet in 0..packets {
        let interface = u32::from(packet % 7 == 3);
        let mut data = frame(packet);
        if interface == 1 && second == LinkType::RAW {
            data.drain(..14);
        }
        let link = if interface == 1 { second } else { LinkType::ETHERNET };
        let time = Timestamp::from_parts(1_795_255_200 + packet / 1000, 1);
        let len = u32::try_from(data.len()).unwrap();
        let options =
            PacketOptions { id: (packet % 50 == 0).then_some(packet), ..Default::default() };
        write_packet(out, interface, &Packet::new(time, link, &data, len), &options);
        if packet % 4000 == 3999 {
            write_statistics(out, 0, &StatisticsBlock { time, ..Default::default() });
        }
    }
}

/// UDP, of every third packet in VXLAN, of every fifth with a tag; now and then ARP and IPv6.
fn frame(number: u64) -> Vec<u8> {
    let len = usize::try_from(number * 37 % 400).unwrap();
    let inner = ethernet(number, &ipv4([1000, 2000], &vec![0x5a; len]));
    match number % 15 {
        0 | 3 | 6 | 9 => {
            let tunnel = [&[8, 0, 0, 0, 0, 0x13, 0x89, 0][..], &inner].concat();
            ethernet(1, &ipv4([50_000, 4789], &tunnel))
        }
        5 => {
            let mut tagged = inner;
            tagged.splice(12..12, [0x81, 0x00, 0x00, 100]);
            tagged
        }
        7 => {
            let mut arp = inner;
            arp.splice(12..14, [0x08, 0x06]);
            arp
        }
        11 => {
            let mut six = ethernet(number, &[0x60, 0, 0, 0, 0, 8, 17, 64]);
            six.splice(12..14, [0x86, 0xdd]);
            six.extend([7; 32]);
            six.extend([0, 53, 0, 53, 0, 8, 0, 0]);
            six
        }
        _ => inner,
    }
}

fn ethernet(from: u64, payload: &[u8]) -> Vec<u8> {
    let from = u8::try_from(from % 200).unwrap();
    let head = [0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, from, 0x08, 0x00];
    [&head[..], payload].concat()
}

fn ipv4(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(28 + payload.len()).unwrap().to_be_bytes();
    let udp_len = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    let [from, to] = ports.map(u16::to_be_bytes);
    let ip = [0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let udp = [from[0], from[1], to[0], to[1], udp_len[0], udp_len[1], 0, 0];
    [&ip[..], &udp, payload].concat()
}
