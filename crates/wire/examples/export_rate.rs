//! How fast flow exports are decoded: `export_rate FILE [SECONDS]`, a capture with exports.
//!
//! Everything is in memory before the clock runs. Each round takes all datagrams with the templates
//! already known, reads every record into its row and takes from that who talks to whom, how much
//! and when, as a user of records would. Allocations are not counted here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a measurement may fail this way"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::export::{Collector, Datagram, Event, Limits};
use wire::file::{Item, Progress, Reader};
use wire::{Layers, Timestamp, TunnelPorts};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let path = words.get(1).expect("usage: export_rate FILE [SECONDS]");
    let seconds = words.get(2).map_or(3, |text| text.parse().expect("SECONDS is a number"));
    let datagrams = datagrams(&std::fs::read(path).expect("cannot read the file"));
    let mut collector = Collector::new(Limits::default());
    let mut best = f64::MAX;
    let mut best_row = f64::MAX;
    let began = Instant::now();
    let mut per_round = (0, 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        for is_used in [false, true] {
            let (mut records, mut sum) = (0_u64, 0_u64);
            let round = Instant::now();
            for (time, source, payload) in &datagrams {
                let datagram = Datagram { time: *time, source: *source, payload };
                collector.take(&datagram, |event| match event {
                    Event::Flow(_, record) => {
                        records += 1;
                        sum = sum.wrapping_add(if is_used {
                            let talk = record.talk().map_or(0, |talk| u64::from(talk.ports.source));
                            let counts = record.counts();
                            talk + counts.octets.unwrap_or(0)
                                + counts.packets.unwrap_or(0)
                                + record.span().start.as_nanos()
                        } else {
                            record.get(wire::export::Column::SourcePort).unwrap_or(0)
                        });
                    }
                    _ => records += 1,
                });
            }
            let took = round.elapsed().as_nanos() as f64 / records.max(1) as f64;
            let place = if is_used { &mut best } else { &mut best_row };
            *place = place.min(took);
            per_round = (records, sum);
        }
    }
    let (records, sum) = per_round;
    println!(
        "{records} records: {best_row:.1} ns each into the row = {:.1} M/s; {best:.1} ns with talk, \
         counts and times = {:.1} M/s ({sum:x})",
        1000.0 / best_row,
        1000.0 / best,
    );
}

/// The UDP datagrams of a capture.
fn datagrams(file: &[u8]) -> Vec<(Timestamp, SocketAddr, Vec<u8>)> {
    let mut reader = Reader::new();
    let (mut rest, mut found) = (file, Vec::new());
    let ports = TunnelPorts::default();
    loop {
        match reader.advance() {
            Progress::End => return found,
            Progress::NeedBytes => {
                let space = reader.space();
                let (now, later) = rest.split_at(rest.len().min(space.len()));
                space[..now.len()].copy_from_slice(now);
                rest = later;
                reader.filled(now.len());
            }
            Progress::Item => {
                let Item::Record(record) = reader.item() else { continue };
                let packet = record.packet;
                let layers = Layers::decode(packet.link, packet.data, &ports);
                let level = layers.innermost(packet.data);
                let (Some(ip), Some(udp)) = (level.ip(), level.transport()) else { continue };
                let Some(ports) = udp.ports else { continue };
                let source = SocketAddr::new(ip.source, ports.source);
                let Some(payload) = packet.data.get(udp.offset + 8..layers.payload_end()) else {
                    continue;
                };
                found.push((packet.time, source, payload.to_vec()));
            }
        }
    }
}
