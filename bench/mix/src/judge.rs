//! `overtap-mix judge`: whether what a tool made of a mix is what the truth says.
//!
//! Packets are compared one by one, in order: time, length on the wire, every byte. What differs is
//! said with the number of the packet in the mix, counted from 1 as Wireshark does.

use std::io::{BufWriter, Write};
use std::path::Path;

use crate::capture_file::{Capture, Record};
use crate::site::{self, Vm};
use crate::truth::{Kind, SHAPES, Truth};

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
    let mix = || records.iter().zip(&truths).enumerate();
    let expected: Vec<Expected<'_>> = match (job, rest) {
        ("vms", [folder]) => return vms(&records, &truths, Path::new(folder)),
        ("vm", [name, _]) => {
            let vm = vm_named(name)?;
            mix().filter(|(_, (_, truth))| truth.is_of(vm)).map(unchanged).collect()
        }
        ("dedup", [_]) => mix().filter(|(_, (_, t))| t.kept.is_none()).map(unchanged).collect(),
        ("copy", [_]) => mix().map(unchanged).collect(),
        ("strip", [_]) => mix().map(stripped).collect(),
        _ => return Err(format!("judge: no job {job} with {} more words", rest.len())),
    };
    let output = Capture::read(Path::new(rest[rest.len() - 1]))
        .map_err(|error| format!("{}: {error}", rest[rest.len() - 1]))?;
    let output = output.records()?;
    let verdict = compare(&expected, &output, &truths);
    match verdict {
        None => {
            println!("{job}: right, {} packets of {}", output.len(), records.len());
            Ok(())
        }
        Some(verdict) => Err(format!("{job}: WRONG: {verdict}")),
    }
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
        if vm.is_some_and(|vm| !truth.is_of(vm)) {
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

/// Every VM's output, each against its own truth.
fn vms(records: &[Record<'_>], truths: &[Truth], folder: &Path) -> Result<(), String> {
    let mut of_vm: Vec<Vec<usize>> = vec![Vec::new(); usize::from(site::VMS)];
    for (number, truth) in truths.iter().enumerate() {
        for vm in truth.vms() {
            of_vm[usize::from(vm.0)].push(number);
        }
    }
    let (mut wrong, mut missing, mut packets) = (Vec::new(), 0, 0);
    for (vm, numbers) in (0..site::VMS).map(Vm).zip(of_vm) {
        let paths = ["pcapng", "pcap"].map(|form| folder.join(format!("{}.{form}", vm.name())));
        let Some(path) = paths.iter().find(|path| path.exists()) else {
            missing += 1;
            continue;
        };
        let output = Capture::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let expected: Vec<_> =
            numbers.iter().map(|n| unchanged((*n, (&records[*n], &truths[*n])))).collect();
        packets += expected.len();
        let verdict = match output.records() {
            Ok(output) => compare(&expected, &output, truths),
            Err(error) => Some(error),
        };
        if let Some(verdict) = verdict {
            wrong.push(format!("{}: {verdict}", vm.name()));
        }
    }
    if wrong.is_empty() && missing == 0 {
        println!("vms: right, {packets} packets of {} VMs", site::VMS);
        return Ok(());
    }
    let some = wrong.iter().take(3).map(|line| format!("\n  {line}")).collect::<String>();
    Err(format!("vms: WRONG: {} of {} VMs, {missing} without a file{some}", wrong.len(), site::VMS))
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
