//! How fast packets become flows: `meter_rate FILE [ROUNDS]`, any capture.
//!
//! Everything is in memory before the clock runs, one packet behind the other. Each round begins
//! with an empty cache; the best one counts. Says what finding the headers costs alone, and what
//! that costs with metering.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a measurement may fail this way"
)]

use std::time::Instant;

use flows::{EndReason, Meter, NvgreSubnets, Timeouts};
use wire::file::{Item, Progress, Reader};
use wire::{Layers, LinkType, Packet, Timestamp, TunnelPorts};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let path = words.get(1).expect("usage: meter_rate FILE [ROUNDS]");
    let rounds: u32 = words.get(2).map_or(5, |text| text.parse().expect("ROUNDS is a number"));
    let (bytes, records) = packets(&std::fs::read(path).expect("cannot read the file"));
    let ports = TunnelPorts::default();
    let mut layers = Layers::empty();
    let mut best = [f64::MAX; 2];
    let mut told = 0_u64;
    for round in 0..2 * rounds {
        let is_metered = round % 2 == 1;
        let mut meter = Meter::new(Timeouts::default(), NvgreSubnets::default());
        told = 0;
        let began = Instant::now();
        for record in &records {
            let data = &bytes[record.from..record.from + record.len];
            let packet = Packet::new(record.time, record.link, data, record.wire_len);
            layers.fill(record.link, data, &ports);
            if is_metered {
                meter.take(&packet, &layers, &mut |_| told += 1);
            } else {
                told += layers.headers().len() as u64;
            }
        }
        meter.finish(EndReason::Stopped, &mut |_| told += 1);
        let took = began.elapsed().as_nanos() as f64 / records.len().max(1) as f64;
        let place = &mut best[usize::from(is_metered)];
        *place = place.min(took);
    }
    let [headers, both] = best;
    println!(
        "{} packets, {told} flows: headers {headers:.1} ns a packet, with metering {both:.1} ns",
        records.len()
    );
}

/// Where a packet is among the bytes of all.
struct Kept {
    time: Timestamp,
    link: LinkType,
    wire_len: u32,
    from: usize,
    len: usize,
}

/// The packets of a capture.
fn packets(file: &[u8]) -> (Vec<u8>, Vec<Kept>) {
    let mut reader = Reader::new();
    let (mut rest, mut bytes, mut kept) = (file, Vec::new(), Vec::new());
    loop {
        match reader.advance() {
            Progress::End => return (bytes, kept),
            Progress::NeedBytes => {
                let space = reader.space();
                let (now, later) = rest.split_at(rest.len().min(space.len()));
                space[..now.len()].copy_from_slice(now);
                rest = later;
                reader.filled(now.len());
            }
            Progress::Item => {
                let Item::Record(record) = reader.item() else { continue };
                let Packet { time, link, wire_len, data, .. } = record.packet;
                kept.push(Kept { time, link, wire_len, from: bytes.len(), len: data.len() });
                bytes.extend(data);
            }
        }
    }
}
