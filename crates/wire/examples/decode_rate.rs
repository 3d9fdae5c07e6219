//! How long it takes to find and read the innermost key of a frame: network, addresses, protocol,
//! ports.
//!
//! `bench/decode` runs this and counts instructions and allocations as well. By hand:
//! `cargo run --release -p wire --example decode_rate`; with `--rounds N WHAT FRAME` one job is
//! done N times and nothing is measured, for a profiler.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use wire::{Layers, LinkType, TunnelPorts};

fn main() {
    let frames = [
        ("plain", plain()),
        ("vxlan", vxlan()),
        ("geneve", geneve()),
        ("gre", gre()),
        ("erspan", erspan()),
        ("vntag", vntag()),
    ];
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [option, rounds, what, name] = args.as_slice()
        && option == "--rounds"
    {
        let frame = frames.iter().find(|(known, _)| known == name).map(|(_, frame)| frame);
        let job = JOBS.iter().find(|(known, _)| known == what).map(|&(_, job)| job);
        let (Some(frame), Some(job), Ok(rounds)) = (frame, job, rounds.parse()) else {
            println!(
                "usage: decode_rate [--rounds N key|level|walk|new \
                 plain|vxlan|geneve|gre|erspan|vntag]"
            );
            return;
        };
        Job { layers: Layers::empty(), ports: TunnelPorts::default(), frame }.run(job, rounds);
        return;
    }
    for (name, frame) in &frames {
        for (what, job) in JOBS {
            let mut work = Job { layers: Layers::empty(), ports: TunnelPorts::default(), frame };
            println!("{name}\t{what}\t{:.1}", work.best_ns(*job));
        }
    }
}

/// What is measured, each including the walk.
const JOBS: &[(&str, Round)] = &[
    // The walk, and what a table of conversations wants to know.
    ("key", |layers, ports, frame| {
        layers.fill(LinkType::ETHERNET, frame, ports);
        black_box(layers.key(frame));
    }),
    // The same, fact by fact.
    ("level", |layers, ports, frame| {
        layers.fill(LinkType::ETHERNET, frame, ports);
        let level = layers.innermost(frame);
        black_box((level.macs(), level.ip(), level.transport()));
    }),
    ("walk", |layers, ports, frame| {
        layers.fill(LinkType::ETHERNET, frame, ports);
        black_box(layers);
    }),
    ("new", |_, ports, frame| {
        black_box(&Layers::decode(LinkType::ETHERNET, frame, ports));
    }),
];

type Round = fn(&mut Layers, &TunnelPorts, &[u8]);

struct Job<'a> {
    layers: Layers,
    ports: TunnelPorts,
    frame: &'a [u8],
}

impl Job<'_> {
    fn run(&mut self, round: Round, rounds: u32) {
        for _ in 0..rounds {
            round(&mut self.layers, &self.ports, black_box(self.frame));
        }
    }

    /// Nanoseconds for one round, in the best of many short batches: other work on the machine
    /// makes batches slower, never faster.
    fn best_ns(&mut self, round: Round) -> f64 {
        let mut best = f64::MAX;
        for _ in 0..BATCHES {
            let start = Instant::now();
            self.run(round, ROUNDS);
            best = best.min(start.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
        }
        best
    }
}

const BATCHES: u32 = 1000;
const ROUNDS: u32 = 2000;

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

/// With a key, as NVGRE has it.
fn gre() -> Vec<u8> {
    let header = vec![0x20, 0, 0x65, 0x58, 0, 0, 42, 0];
    [ethernet(0x0800), ipv4(47, &[header, plain()].concat())].concat()
}

/// Type II.
fn erspan() -> Vec<u8> {
    let header = vec![0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 7, 0, 42, 0, 0, 0, 0];
    [ethernet(0x0800), ipv4(47, &[header, plain()].concat())].concat()
}

fn vntag() -> Vec<u8> {
    let tags = [0x80, 5, 0, 6, 0x81, 0, 0, 7, 8, 0];
    let frame = plain();
    [ethernet(0x8926), tags.to_vec(), frame.into_iter().skip(14).collect()].concat()
}
