//! How long it takes to find and read the innermost key of a frame: addresses, protocol, ports.
//!
//! `cargo run --release -p wire --example decode_rate`
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use wire::{Layers, LinkType, TunnelPorts};

fn main() {
    let ports = TunnelPorts::default();
    for (name, frame) in [("plain TCP", plain()), ("VXLAN", vxlan()), ("GENEVE", geneve())] {
        let mut layers = Layers::empty();
        let key = best_of(|| {
            let frame = black_box(frame.as_slice());
            layers.fill(LinkType::ETHERNET, frame, &ports);
            let level = layers.innermost(frame);
            black_box((level.macs(), level.ip(), level.transport()));
        });
        let walk = best_of(|| {
            let frame = black_box(frame.as_slice());
            layers.fill(LinkType::ETHERNET, frame, &ports);
            black_box(&layers);
        });
        let new = best_of(|| {
            let frame = black_box(frame.as_slice());
            black_box(&Layers::decode(LinkType::ETHERNET, frame, &ports));
        });
        println!(
            "{name}: {key:.1} ns to the innermost key, {walk:.1} ns for the walk alone, {new:.1} ns for the walk into new room"
        );
    }
}

/// Nanoseconds for one round, in the best of many short batches: other work on the machine makes
/// batches slower, never faster.
fn best_of(mut round: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            round();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
    }
    best
}

const BATCHES: u32 = 1000;
const ROUNDS: u32 = 5000;

fn ethernet(kind: u16) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    bytes.extend(kind.to_be_bytes());
    bytes
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len() + 20).unwrap_or_default().to_be_bytes();
    let mut bytes = vec![0x45, 0, len[0], len[1], 0, 1, 0x40, 0, 64, protocol, 0, 0];
    bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(payload);
    bytes
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len() + 8).unwrap_or_default().to_be_bytes();
    let port = port.to_be_bytes();
    let mut bytes = vec![0xc0, 1, port[0], port[1], len[0], len[1], 0, 0];
    bytes.extend(payload);
    bytes
}

fn plain() -> Vec<u8> {
    let mut tcp = vec![0xc0, 2, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
    tcp.extend([0; 40]);
    [ethernet(0x0800), ipv4(6, &tcp)].concat()
}

fn vxlan() -> Vec<u8> {
    let header = vec![8, 0, 0, 0, 0, 0, 42, 0];
    [ethernet(0x0800), ipv4(17, &udp(4789, &[header, plain()].concat()))].concat()
}

fn geneve() -> Vec<u8> {
    let header = vec![2, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 0x80, 1, 0, 1, 0, 2];
    [ethernet(0x0800), ipv4(17, &udp(6081, &[header, plain()].concat()))].concat()
}
