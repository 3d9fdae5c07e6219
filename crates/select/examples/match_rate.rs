//! What it costs to ask a filter about a packet: nanoseconds, decoding not included, the best of
//! many short batches. With it, how many instructions the kernel runs for the same packet.
//!
//! `bench/filter` runs it. One line for each expression and frame: expression, VMs it names, frame,
//! whether it matches, nanoseconds, instructions of the program, instructions run.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use select::bpf::{Auxiliary, Kernel, MAX_INSTRUCTIONS, Program, TagPlace, run};
use select::{Encapsulation, Filter, Member, Name, OnWire, ParseError, Resolver, UnknownName};
use wire::{Layers, LinkType, Mac, Packet, Timestamp, TunnelPorts, Vni};

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), ParseError> {
    let all_by_name: Vec<_> = (0..1000).map(|n| format!("vm {n}")).collect();
    let hosts: Vec<_> = (0..100).map(|n| format!("10.1.0.{n}")).collect();
    let expressions = [
        ("tcp port 443", "tcp port 443".to_owned()),
        ("vni 1 and tcp port 443", "vni 1 and tcp port 443".to_owned()),
        ("vm 0", "vm 0".to_owned()),
        ("tenant acme", "tenant acme".to_owned()),
        ("vm 0 or vm 1 or ...", all_by_name.join(" or ")),
        ("host 10.1.0.0 or ...", format!("host {}", hosts.join(" or "))),
    ];
    // Of the last VM, and of nobody.
    let frames = [("plain", plain(999)), ("vxlan", vxlan(999)), ("foreign", vxlan(5000))];
    for (label, text) in expressions {
        let filter = Filter::parse_with(&text, &Site)?;
        let place = TagPlace::MetadataOrBytes;
        let ports = TunnelPorts::default();
        let kernel = Kernel::new(&filter, &ports, 0, place, MAX_INSTRUCTIONS).program;
        for (name, bytes) in &frames {
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, bytes, len);
            let layers = Layers::decode(packet.link, packet.data, &ports);
            let is_match = filter.matches(&packet, &layers);
            let ns = best_ns(&filter, &packet, &layers);
            let (len, steps) = (kernel.len(), steps(&kernel, bytes));
            println!("{label}\t{name}\t{is_match}\t{ns:.1}\t{len}\t{steps}");
        }
    }
    Ok(())
}

fn best_ns(filter: &Filter, packet: &Packet<'_>, layers: &Layers) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..300 {
        let began = Instant::now();
        for _ in 0..1000 {
            black_box(filter.matches(black_box(packet), black_box(layers)));
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e6);
    }
    best
}

/// How many instructions run for a packet: the shortest beginning of the program that comes to its
/// verdict, by leaving out what is behind it.
fn steps(program: &Program, bytes: &[u8]) -> usize {
    use select::bpf::Instruction;

    // A program that is counted instead of run: each instruction that is reached returns.
    let verdict = run(program, bytes, &Auxiliary::default());
    let instructions = program.instructions();
    (0..instructions.len())
        .filter(|at| {
            let mut stopped = instructions.to_vec();
            if let Some(instruction) = stopped.get_mut(*at) {
                *instruction = Instruction { code: 0x06, jt: 0, jf: 0, k: verdict ^ 0x5a5a };
            }
            let stopped = Program::from_instructions(stopped);
            run(&stopped, bytes, &Auxiliary::default()) != verdict
        })
        .count()
}

/// A thousand VMs of one tenant, each in VNI 1 and, at its own port, alone.
struct Site;

impl Resolver for Site {
    fn members(&self, name: &Name) -> Result<Vec<Member>, UnknownName> {
        let networks = [
            OnWire::Untagged,
            OnWire::Overlay {
                vni: Vni::from_be_bytes([0, 0, 1]),
                tunnel: Encapsulation::Vxlan,
                udp_port: None,
                vlan: None,
            },
        ];
        let member = |n: u16| {
            networks.map(|network| Member {
                mac: mac(n),
                network: Some(network),
                from: Timestamp::ZERO,
                until: None,
            })
        };
        match name.text.parse() {
            Ok(number) => Ok(member(number).to_vec()),
            Err(_) => Ok((0..1000).flat_map(member).collect()),
        }
    }
}

fn mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac([0x52, 0x54, 0, 0, high, low])
}

/// TCP from the VM with this number to nobody's port 22.
fn plain(number: u16) -> Vec<u8> {
    let mut frame = [&[2, 0, 0, 0, 0, 1][..], &mac(number).0, &[8, 0]].concat();
    frame.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x9c, 0x40, 0, 22, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    frame
}

fn vxlan(number: u16) -> Vec<u8> {
    let inner = plain(number);
    let len = |before: usize| u16::try_from(before + inner.len()).unwrap_or(0).to_be_bytes();
    let ([a, b], [c, d]) = (len(36), len(16));
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, a, b, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend([0xc0, 0, 0x12, 0xb5, c, d, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0]);
    frame.extend(inner);
    frame
}
