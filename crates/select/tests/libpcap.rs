//! libpcap as the judge: random expressions, random frames, one verdict.
//!
//! tcpdump compiles each expression, our interpreter runs its program (another test shows that it
//! runs programs as libpcap does), and the filter has to agree with it on every frame. Skipped,
//! and said so, where tcpdump is not installed. `OVERTAP_PAIRS` sets how many pairs are compared.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::io::Write;
use std::process::{Command, Stdio};

use select::Filter;
use select::bpf::{Auxiliary, Instruction, Kernel, Program, TagPlace, run};
use wire::{Layers, LinkType, Packet, Timestamp, TunnelPorts};

#[path = "libpcap/generator.rs"]
mod generator;

use generator::{Random, Tags};

/// Whether tcpdump may leave out what it finds superfluous.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Optimiser {
    On,
    Off,
}

/// The program that tcpdump makes of an expression for Ethernet; `None` if it refuses it.
fn compiled(expression: &str, optimiser: Optimiser) -> Option<Program> {
    let mut tcpdump = Command::new("tcpdump")
        .args(["-y", "EN10MB", "-ddd"])
        .args((optimiser == Optimiser::Off).then_some("-O"))
        .args(["-r", "-", expression])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    tcpdump.stdin.take()?.write_all(&EMPTY_CAPTURE).ok()?;
    let output = tcpdump.wait_with_output().ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    let numbers = |line: &str| -> Option<Vec<u32>> {
        line.split_whitespace().map(|word| word.parse().ok()).collect()
    };
    let instructions: Option<Vec<Instruction>> = text
        .lines()
        .skip(1)
        .map(|line| match numbers(line)?[..] {
            [code, jt, jf, k] => Some(Instruction {
                code: u16::try_from(code).ok()?,
                jt: u8::try_from(jt).ok()?,
                jf: u8::try_from(jf).ok()?,
                k,
            }),
            _ => None,
        })
        .collect();
    instructions.filter(|all| !all.is_empty()).map(Program::from_instructions)
}

/// A capture of Ethernet without packets, which tcpdump wants to see before it compiles.
const EMPTY_CAPTURE: [u8; 24] = [
    0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, // little-endian, version 2.4
    0, 0, 4, 0, 1, 0, 0, 0, // snaplen, Ethernet
];

fn has_tcpdump() -> bool {
    let is_there = Command::new("tcpdump").arg("--version").output().is_ok();
    if !is_there {
        eprintln!("SKIPPED: tcpdump is not installed (apt-get install tcpdump)");
    }
    is_there
}

fn pairs() -> usize {
    std::env::var("OVERTAP_PAIRS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

fn ours(filter: &Filter, bytes: &[u8], wire_len: u32) -> bool {
    let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, bytes, wire_len);
    let layers = Layers::decode(packet.link, packet.data, &TunnelPorts::default());
    filter.matches(&packet, &layers)
}

fn theirs(program: &Program, bytes: &[u8], wire_len: u32) -> bool {
    run(program, bytes, &Auxiliary { tag: None, wire_len: Some(wire_len) }) > 0
}

/// Bytes that are asked for and missing refuse a packet, and so does a division by zero, unless the
/// optimiser found that they do not matter: on frames that are cut, or whose headers say that they
/// are longer, libpcap's verdict depends on whether it ran. We answer as it does without.
fn unoptimised(expression: &str, bytes: &[u8], wire_len: u32) -> bool {
    compiled(expression, Optimiser::Off).is_some_and(|program| theirs(&program, bytes, wire_len))
}

fn seed() -> u64 {
    std::env::var("OVERTAP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed_0f0e)
}

#[test]
fn random_expressions_find_in_random_frames_what_libpcap_finds() {
    if !has_tcpdump() {
        return;
    }
    let mut random = Random::new(seed());
    let (mut compared, mut matched, mut differences) = (0_usize, 0_usize, Vec::new());
    let [mut refused, mut cut, mut optimised, mut exact] = [0_usize; 4];
    while compared < pairs() {
        let expression = random.expression(3);
        let Some(program) = compiled(&expression, Optimiser::On) else {
            refused += 1;
            continue;
        };
        let filter = Filter::parse(&expression).unwrap_or_else(|error| panic!("{error}"));
        let normal = Filter::parse(&filter.to_string()).unwrap();
        let kernel = Kernel::new(&filter, &TunnelPorts::default(), 0, TagPlace::Bytes, 4096);
        for _ in 0..100 {
            let frame = random.frame(Tags::None);
            let wire_len = frame.wire_len();
            let verdict = theirs(&program, &frame.bytes, wire_len);
            compared += 1;
            matched += usize::from(verdict);
            cut += usize::from(frame.is_cut());
            let ours = ours(&filter, &frame.bytes, wire_len);
            assert_eq!(ours, self::ours(&normal, &frame.bytes, wire_len), "{expression}");
            // The kernel has what there is of a packet; it may take more, never less.
            let whole = u32::try_from(frame.bytes.len()).unwrap();
            let passes = theirs(&kernel.program, &frame.bytes, whole);
            assert!(passes || !self::ours(&filter, &frame.bytes, whole), "{expression}: {frame}");
            exact += usize::from(passes == ours && !frame.is_cut());
            if ours != verdict {
                if ours == unoptimised(&expression, &frame.bytes, wire_len) {
                    optimised += 1;
                    continue;
                }
                differences.push(format!("{expression}: {ours}, not {verdict}: {frame}"));
            }
        }
    }
    eprintln!(
        "{compared} pairs, {matched} found, {cut} of cut frames, {refused} expressions refused by \
         tcpdump, {exact} of {} whole frames decided in the kernel, {optimised} on which its optimiser changes the verdict, {} different",
        compared - cut,
        differences.len()
    );
    assert!(differences.is_empty(), "{}", differences[..differences.len().min(20)].join("\n"));
    assert!(optimised < compared / 500 + 20, "{optimised} are too many to be the optimiser's");
    assert!(matched > compared / 20, "the expressions find next to nothing");
}

/// Tags and labels shift nothing: an expression finds behind them what it finds without them.
#[test]
fn behind_tags_an_expression_finds_what_libpcap_finds_without_them() {
    if !has_tcpdump() {
        return;
    }
    let mut random = Random::new(seed() ^ 1);
    let (mut compared, mut differences) = (0_usize, Vec::new());
    while compared < pairs() / 4 {
        let expression = random.expression_about_payload(3);
        let Some(program) = compiled(&expression, Optimiser::On) else { continue };
        let filter = Filter::parse(&expression).unwrap_or_else(|error| panic!("{error}"));
        for _ in 0..100 {
            let frame = random.frame(Tags::Some);
            let verdict = theirs(&program, &frame.without_tags, frame.wire_len());
            compared += 1;
            let ours = ours(&filter, &frame.bytes, frame.wire_len());
            let is_optimised =
                || ours == unoptimised(&expression, &frame.without_tags, frame.wire_len());
            if ours != verdict && !is_optimised() {
                differences.push(format!("{expression}: not {verdict}: {frame}"));
            }
        }
    }
    eprintln!("{compared} pairs, {} different", differences.len());
    assert!(differences.is_empty(), "{}", differences[..differences.len().min(20)].join("\n"));
}

/// Where libpcap's shift is what was meant: `vlan N and ...`, `mpls and ...`.
#[test]
fn behind_a_leading_vlan_or_mpls_both_find_the_same() {
    if !has_tcpdump() {
        return;
    }
    let mut random = Random::new(seed() ^ 2);
    let (mut compared, mut differences) = (0_usize, Vec::new());
    while compared < pairs() / 4 {
        let tag = random.expression_of_one_tag();
        let rest = random.expression_about_payload(2);
        let expression = format!("{tag} and ({rest})");
        let Some(program) = compiled(&expression, Optimiser::On) else { continue };
        let filter = Filter::parse(&expression).unwrap_or_else(|error| panic!("{error}"));
        for _ in 0..100 {
            let frame = random.frame(Tags::OneVlan);
            let verdict = theirs(&program, &frame.bytes, frame.wire_len());
            compared += 1;
            let ours = ours(&filter, &frame.bytes, frame.wire_len());
            let is_optimised = || ours == unoptimised(&expression, &frame.bytes, frame.wire_len());
            if ours != verdict && !is_optimised() {
                differences.push(format!("{expression}: not {verdict}: {frame}"));
            }
        }
    }
    eprintln!("{compared} pairs, {} different", differences.len());
    assert!(differences.is_empty(), "{}", differences[..differences.len().min(20)].join("\n"));
}

/// The words that libpcap's own interpreter has to run, because their programs go back; and that
/// ours runs the others as libpcap's does.
#[test]
fn tcpdump_itself_finds_as_many_in_a_file() {
    if !has_tcpdump() {
        return;
    }
    let mut random = Random::new(seed() ^ 3);
    let mut frames: Vec<_> = (0..3000).map(|_| random.frame(Tags::None)).collect();
    frames.retain(|frame| !frame.is_cut());
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("frames.pcap");
    let mut file = EMPTY_CAPTURE.to_vec();
    for frame in &frames {
        let len = u32::try_from(frame.bytes.len()).unwrap();
        for word in [0, 0, len, frame.wire_len()] {
            file.extend(word.to_le_bytes());
        }
        file.extend(&frame.bytes);
    }
    std::fs::write(&path, file).unwrap();
    let mut expressions: Vec<String> = (0..40).map(|_| random.expression(2)).collect();
    for number in [6, 17, 50, 58] {
        expressions.extend(["ip ", "ip6 ", ""].map(|ip| format!("{ip}protochain {number}")));
    }
    for expression in expressions {
        let output = Command::new("tcpdump")
            .args(["-nn", "--count", "-r"])
            .args([path.as_os_str(), expression.as_ref()])
            .output()
            .unwrap();
        if !output.status.success() {
            continue;
        }
        let text = String::from_utf8(output.stdout).unwrap();
        let theirs: usize = text.split_whitespace().next().unwrap().parse().unwrap();
        let filter = Filter::parse(&expression).unwrap();
        let ours = frames.iter().filter(|f| ours(&filter, &f.bytes, f.wire_len())).count();
        assert_eq!(ours, theirs, "{expression}");
    }
    std::fs::remove_file(path).unwrap();
}

/// The one place in which libpcap 1.10 is wrong about itself: its optimiser takes a negative number
/// for whatever it is compared with (`-ip[0] = 5` becomes `ret #262144`). We calculate.
#[test]
fn a_negative_number_is_calculated() {
    let mut frame = vec![0; 34];
    frame[12] = 8;
    frame[14] = 0x45;
    assert!(ours(&Filter::parse("-ip[0] = -69").unwrap(), &frame, 34));
    assert!(!ours(&Filter::parse("-ip[0] = 5").unwrap(), &frame, 34));
}
