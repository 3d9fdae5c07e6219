//! `overtap-mix judge`: whether what a tool made of a mix is what the truth says.
//!
//! Packets are compared one by one, in order: time, length on the wire, every byte. What differs is
//! said with the number of the packet in the mix, counted from 1 as Wireshark does.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::capture_file::{Capture, Record};
use crate::site::{self, Vm};
use crate::truth::{Groups, Kind, SHAPES, Truth};

/// What a record of the output should be.
struct Expected<'a> {
    /// Number in the mix, from 0.
    number: usize,
    time_ns: u64,
    wire_len: u32,
    bytes: std::borrow::Cow<'a, [u8]>,
}

pub fn run(words: &[&str]) -> Result<(), String> {
    let (job, capture, truth, rest) = match words {
        [job, capture, truth, rest @ ..] => (*job, Path::new(capture), Path::new(truth), rest),
        _ => return Err("judge: which job, capture and truth?".into()),
    };
    let (capture, truths) = read(capture, truth)?;
    let records = capture.records()?;
    if records.len() != truths.len() {
        return Err(format!("{} packets but {} truths", records.len(), truths.len()));
    }
    let Some((output, names)) = rest.split_last() else {
        return Err("judge: which output?".into());
    };
    if job == "stat" {
        return stat(&records, &truths, Path::new(output));
    }
    let read =
        |path: &str| Capture::read(Path::new(path)).map_err(|error| format!("{path}: {error}"));
    let mix = || records.iter().zip(&truths).enumerate();
    let of_truth = |is_wanted: &dyn Fn(&Truth) -> bool| {
        mix().filter(|(_, (_, truth))| is_wanted(truth)).map(unchanged).collect::<Vec<_>>()
    };
    let expected: Vec<Expected<'_>> = match (job, names) {
        ("vms", []) => return vms(&records, &truths, Path::new(output)),
        ("vm", [name]) => {
            let vm = vm_named(name)?;
            let output = read(output)?;
            let output = output.records()?;
            let verdict =
                |groups| compare(&of_truth(&|truth| truth.is_of(vm, groups)), &output, &truths);
            return match (verdict(Groups::OfAll), verdict(Groups::OfSender)) {
                (None, _) => said_right(job, output.len(), records.len(), ""),
                (_, None) => said_right(job, output.len(), records.len(), WITHOUT_GROUPS),
                (Some(verdict), _) => Err(format!("{job}: WRONG: {verdict}")),
            };
        }
        ("tenant", [number]) => {
            let number = number.parse().map_err(|_| format!("{number} is no tenant's number"))?;
            of_truth(&|truth| truth.network.is_some_and(|network| network.tenant() == number))
        }
        ("dedup", []) => of_truth(&|truth| truth.kept.is_none()),
        ("copy", []) => of_truth(&|_| true),
        ("strip", []) => mix().map(stripped).collect(),
        _ => return Err(format!("judge: no job {job} with {} more words", rest.len())),
    };
    let output = read(output)?;
    let output = output.records()?;
    match compare(&expected, &output, &truths) {
        None => said_right(job, output.len(), records.len(), ""),
        Some(verdict) => Err(format!("{job}: WRONG: {verdict}")),
    }
}

fn said_right(job: &str, packets: usize, of: usize, note: &str) -> Result<(), String> {
    println!("{job}: right, {packets} packets of {of}{note}");
    Ok(())
}

/// Prints the truth, of all packets or of one VM's.
pub fn list(words: &[&str]) -> Result<(), String> {
    let (capture, truth, vm) = match words {
        [capture, truth] => (capture, truth, None),
        [capture, truth, "--vm", name] => (capture, truth, Some(vm_named(name)?)),
        _ => return Err("list: CAPTURE TRUTH [--vm VM]".into()),
    };
    let (capture, truths) = read(Path::new(capture), Path::new(truth))?;
    let name = |vm: Option<Vm>| vm.map_or("-".into(), Vm::name);
    let mut out = BufWriter::new(std::io::stdout().lock());
    let ended = |error: std::io::Error| format!("standard output: {error}");
    let head = "number\ttime_ns\tlen\tpoint\tshape\tnetwork\tfrom\tto\tkind\tcopy_of";
    writeln!(out, "{head}").map_err(ended)?;
    for (number, (record, truth)) in capture.records()?.iter().zip(&truths).enumerate() {
        if vm.is_some_and(|vm| !truth.is_of(vm, Groups::OfAll)) {
            continue;
        }
        let to = if truth.is_group { "group".into() } else { name(truth.destination) };
        writeln!(
            out,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{to}\t{}\t{}",
            number + 1,
            record.time_ns,
            record.bytes.len(),
            truth.point,
            SHAPES[usize::from(truth.shape)],
            truth.network.map_or("-".into(), site::Network::name),
            name(truth.source),
            Kind::WORDS[truth.kind as usize],
            truth.kept.map_or("-".into(), |kept| (kept + 1).to_string()),
        )
        .map_err(ended)?;
    }
    out.flush().map_err(ended)
}

/// Every VM's output, each against its own truth; frames to groups are judged alike for all.
fn vms(records: &[Record<'_>], truths: &[Truth], folder: &Path) -> Result<(), String> {
    let with_groups = vms_with(records, truths, folder, Groups::OfAll)?;
    let (wrong, packets) = match with_groups {
        (wrong, packets) if wrong.is_empty() => {
            println!("vms: right, {packets} packets of {} VMs", site::VMS);
            return Ok(());
        }
        with_groups => match vms_with(records, truths, folder, Groups::OfSender)? {
            (wrong, packets) if wrong.is_empty() => {
                println!("vms: right, {packets} packets of {} VMs{WITHOUT_GROUPS}", site::VMS);
                return Ok(());
            }
            without if without.0.len() < with_groups.0.len() => without,
            _ => with_groups,
        },
    };
    let some = wrong.iter().take(3).map(|line| format!("\n  {line}")).collect::<String>();
    Err(format!("vms: WRONG: {} of {} VMs, of {packets} packets{some}", wrong.len(), site::VMS))
}

/// What is wrong with each output, and how many packets there should be.
fn vms_with(
    records: &[Record<'_>],
    truths: &[Truth],
    folder: &Path,
    groups: Groups,
) -> Result<(Vec<String>, usize), String> {
    let mut of_vm: Vec<Vec<usize>> = vec![Vec::new(); usize::from(site::VMS)];
    for (number, truth) in truths.iter().enumerate() {
        for vm in truth.vms(groups) {
            of_vm[usize::from(vm.0)].push(number);
        }
    }
    let (mut wrong, mut packets) = (Vec::new(), 0);
    for (vm, numbers) in (0..site::VMS).map(Vm).zip(of_vm) {
        let paths = ["pcapng", "pcap"].map(|form| folder.join(format!("{}.{form}", vm.name())));
        packets += numbers.len();
        let verdict = match paths.iter().find(|path| path.exists()) {
            None => Some("no file".into()),
            Some(path) => {
                let output =
                    Capture::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
                let unchanged =
                    |number: usize| unchanged((number, (&records[number], &truths[number])));
                let expected: Vec<_> = numbers.into_iter().map(unchanged).collect();
                match output.records() {
                    Ok(output) => compare(&expected, &output, truths),
                    Err(error) => Some(error),
                }
            }
        };
        if let Some(verdict) = verdict {
            wrong.push(format!("{}: {verdict}", vm.name()));
        }
    }
    Ok((wrong, packets))
}

/// Lines of carrier, number, packets and bytes, in any order; others are passed over.
fn stat(records: &[Record<'_>], truths: &[Truth], output: &Path) -> Result<(), String> {
    let mut expected: BTreeMap<(String, u32), (u64, u64)> = BTreeMap::new();
    for (record, truth) in records.iter().zip(truths) {
        let (carrier, number) = truth.named_network();
        let counts = expected.entry((carrier.into(), number)).or_default();
        *counts = (counts.0 + 1, counts.1 + u64::from(record.wire_len));
    }
    let text = std::fs::read_to_string(output)
        .map_err(|error| format!("{}: {error}", output.display()))?;
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let [carrier, number, packets, bytes] = line.split(' ').collect::<Vec<_>>()[..]
            && let (Ok(number), Ok(packets), Ok(bytes)) =
                (number.parse(), packets.parse(), bytes.parse())
        {
            // Which GRE key is an NVGRE subnet is not in the packets.
            let is_subnet = carrier == "gre" && number > 9000;
            let carrier = if is_subnet { "nvgre" } else { carrier };
            found.insert((carrier.to_owned(), number), (packets, bytes));
        }
    }
    if found == expected {
        return said_right("stat", records.len(), records.len(), "");
    }
    let wrong = expected.iter().find(|(network, counts)| found.get(network) != Some(counts));
    let wrong = wrong.or_else(|| found.iter().find(|(network, _)| !expected.contains_key(network)));
    let Some((network, counts)) = wrong else { return Ok(()) };
    Err(format!("stat: WRONG: {network:?} has {counts:?}, found {:?}", found.get(network)))
}

fn read(capture: &Path, truth: &Path) -> Result<(Capture, Vec<Truth>), String> {
    let read = Capture::read(capture).map_err(|error| format!("{}: {error}", capture.display()))?;
    let truths = Truth::read(truth).map_err(|error| format!("{}: {error}", truth.display()))?;
    Ok((read, truths))
}

fn unchanged<'a>((number, (record, _)): (usize, (&Record<'a>, &Truth))) -> Expected<'a> {
    let Record { time_ns, wire_len, bytes } = *record;
    Expected { number, time_ns, wire_len, bytes: bytes.into() }
}

/// Without tunnel and tags: the frame as the VM sent it.
fn stripped<'a>((number, (record, truth)): (usize, (&Record<'a>, &Truth))) -> Expected<'a> {
    let inner = &record.bytes[usize::from(truth.inner)..];
    let bytes = if truth.tags == 0 {
        inner.into()
    } else {
        [&inner[..12], &inner[12 + usize::from(truth.tags)..]].concat().into()
    };
    let wire_len = record.wire_len - u32::from(truth.inner) - u32::from(truth.tags);
    Expected { number, time_ns: record.time_ns, wire_len, bytes }
}

/// What differs, in one sentence; `None` if nothing does.
fn compare(expected: &[Expected<'_>], output: &[Record<'_>], truths: &[Truth]) -> Option<String> {
    let is_equal = |wanted: &Expected<'_>, found: &Record<'_>| {
        wanted.time_ns == found.time_ns
            && wanted.wire_len == found.wire_len
            && *wanted.bytes == *found.bytes
    };
    let first = expected.iter().zip(output).position(|(wanted, found)| !is_equal(wanted, found));
    let first = match first {
        None if expected.len() == output.len() => return None,
        None => expected.len().min(output.len()),
        Some(first) => first,
    };
    let mut text = format!("{} packets, {} expected", output.len(), expected.len());
    let found = output.get(first);
    if let Some(wanted) = expected.get(first) {
        let truth = &truths[wanted.number];
        text += &format!(
            "; first difference is packet {} of the mix ({}, {}{})",
            wanted.number + 1,
            SHAPES[usize::from(truth.shape)],
            Kind::WORDS[truth.kind as usize],
            if truth.is_group { ", to a group" } else { "" },
        );
        text += &match found {
            None => ": the output has ended".into(),
            Some(found) if found.time_ns != wanted.time_ns => {
                format!(": found one of {} instead of {} ns", found.time_ns, wanted.time_ns)
            }
            Some(found) if found.wire_len != wanted.wire_len => {
                format!(": its length is {} instead of {}", found.wire_len, wanted.wire_len)
            }
            Some(found) if found.bytes.len() != wanted.bytes.len() => {
                format!(": {} bytes instead of {}", found.bytes.len(), wanted.bytes.len())
            }
            Some(found) => {
                let at = found.bytes.iter().zip(&*wanted.bytes).position(|(a, b)| a != b);
                format!(": byte {} differs", at.unwrap_or_default())
            }
        };
    }
    text += &missing_shapes(expected, output, truths, is_equal);
    Some(text)
}

/// What the expected packets look like that are not in the output at all.
fn missing_shapes(
    expected: &[Expected<'_>],
    output: &[Record<'_>],
    truths: &[Truth],
    is_equal: impl Fn(&Expected<'_>, &Record<'_>) -> bool,
) -> String {
    let mut missing = [0; SHAPES.len()];
    let (mut at, mut extra) = (0, 0);
    for wanted in expected {
        // Both are in the order of time, but for equal times.
        let near = output[at..].iter().take(64).position(|found| is_equal(wanted, found));
        match near {
            Some(skipped) => {
                extra += skipped;
                at += skipped + 1;
            }
            None => missing[usize::from(truths[wanted.number].shape)] += 1,
        }
    }
    extra += output.len() - at;
    let named = SHAPES.iter().zip(missing).filter(|(_, count)| *count > 0);
    let named: Vec<_> = named.map(|(shape, count)| format!("{count} {shape}")).collect();
    format!("; missing: {}; not expected: {extra}", named.join(", "))
}

fn vm_named(name: &str) -> Result<Vm, String> {
    (0..site::VMS).map(Vm).find(|vm| vm.name() == name).ok_or_else(|| format!("no VM {name}"))
}

const WITHOUT_GROUPS: &str = ", frames to groups being their sender's only";
