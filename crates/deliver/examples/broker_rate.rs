//! What the broker costs for each packet: CPU time of this process, the kernel's share included, the
//! median and the best of some rounds.
//!
//! `bench/broker` runs it. One line for each case: case, tools, packets offered in a round,
//! delivered, best and median nanoseconds a packet. The traffic is TCP in VXLAN, 600 bytes, of 4096
//! VMs in one network, each frame with bytes of its own.

use std::net::UdpSocket;
use std::num::NonZeroU32;

use broker::{Broker, Grant, Mtu, Outlet, Outlets, Policy, Ready, Slice, Tool, ToolDrop};
use deliver::{ToolOutlets, ToolSocketKind};
use rustix::time::{ClockId, clock_gettime};
use select::{Claim, Encapsulation, Filter, Identity, Member, Name, OnWire, Ownership};
use select::{Resolver, ToolSet, UnknownName};
use wire::file::SectionHeader;
use wire::{LinkType, Mac, Packet, Timestamp, TunnelPorts, Vni};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let frames: Vec<Vec<u8>> = (0..4096).map(frame).collect();
    let wanted: Vec<Vec<u8>> = frames.iter().take(500).cloned().collect();
    let single_vm: Vec<Vec<u8>> = vec![frame(0); 500];
    let foreign: Vec<Vec<u8>> = frames.iter().skip(2048).cloned().collect();
    let vxlan = Outlet::Vxlan { target: [127, 0, 0, 1].into(), port: 4789, vni: vni(7) };
    let session = 1_u16.try_into()?;
    let erspan = Outlet::Erspan2 { target: [127, 0, 0, 1].into(), session };

    let none = &mut NoOutlets::default();
    let treated = |outlet: &Outlet, select: Option<&str>| {
        let slice = NonZeroU32::new(128).map(Slice::Bytes);
        let select = select.map(str::to_owned);
        let policy = Policy { strip: "vxlan".parse().ok(), slice, select, ..Policy::default() };
        (outlet.clone(), policy)
    };
    let mine = || vec![(0, claims(0..500))];
    for (name, outlet) in [("vxlan", &vxlan), ("erspan-2", &erspan)] {
        let tools = vec![treated(outlet, Some("tcp port 443"))];
        measure(&format!("delivered, {name}, no socket"), &tools, &mine(), &wanted, none)?;
    }
    let tools = vec![treated(&vxlan, Some("tcp port 443"))];
    measure(
        "delivered, vxlan, to a UDP socket of this host",
        &tools,
        &mine(),
        &wanted,
        &mut socket()?,
    )?;
    measure("not selected: other VMs", &tools, &mine(), &foreign, none)?;
    let other_port = vec![treated(&vxlan, Some("tcp port 80"))];
    measure("not selected: another port", &other_port, &mine(), &wanted, none)?;

    let single = vec![(0, claims(0..1))];
    measure("delivered, 1 VM in the grant", &tools, &single, &single_vm, none)?;
    measure("delivered, 500 VMs in the grant, packets of one", &tools, &mine(), &single_vm, none)?;
    measure("nobody's, 1 VM in the grant", &tools, &single, &foreign, none)?;
    measure("nobody's, 500 VMs in the grant", &tools, &mine(), &foreign, none)?;

    let sixteen: Vec<_> = (0..16).map(|_| treated(&vxlan, Some("tcp port 443"))).collect();
    let disjoint: Vec<_> = (0..16).map(|n| (n, claims(n * 30..n * 30 + 30))).collect();
    let overlapping: Vec<_> = (0..16).map(|n| (n, claims(0..500))).collect();
    measure("nobody's, 16 disjoint grants", &sixteen, &disjoint, &foreign, none)?;
    measure("nobody's, 16 equal grants", &sixteen, &overlapping, &foreign, none)?;
    // MACs without any order, and selections that name VMs.
    let strange: Vec<Vec<u8>> = (0..4096).map(|n| frame_from(random_mac(n))).collect();
    let (theirs, _) = strange.split_at(500);
    let (_, few) = strange.split_at(2048);
    let random = |count| random_claims(0..count);
    measure("nobody's, 1 VM, MACs at random", &tools, &[(0, random(1))], few, none)?;
    measure("nobody's, 500 VMs, MACs at random", &tools, &[(0, random(500))], few, none)?;
    let one = |select: &str| vec![treated(&vxlan, Some(select))];
    let eight = |select: &str| vec![treated(&vxlan, Some(select)); 8];
    let all_of = |count| (0..count).map(|n| (n, Ownership::Whole)).collect::<Vec<_>>();
    for (count, word) in [(1, "1 VM"), (500, "500 VMs")] {
        let named = format!("vm first-{count}");
        measure(
            &format!("not of {word} selected, 8 tools"),
            &eight(&named),
            &all_of(8),
            few,
            none,
        )?;
        let one_tool = &one(&named);
        let first = vec![frame_from(random_mac(0)); 500];
        measure(
            &format!("of {word} selected, packets of one"),
            one_tool,
            &all_of(1),
            &first,
            none,
        )?;
    }
    for (count, word) in [(1, "1"), (500, "500")] {
        let hosts = |n: usize| format!("host 10.7.{}.{}", n / 250, n % 250);
        let macs: Vec<_> = (0..count).map(|n| format!("ether host {}", random_mac(n))).collect();
        let hosts: Vec<_> = (0..count).map(hosts).collect();
        for (list, kind) in [(macs, "MACs"), (hosts, "addresses")] {
            let case = format!("not of {word} {kind} written out, 8 tools");
            measure(&case, &eight(&list.join(" or ")), &all_of(8), few, none)?;
        }
    }
    let one_tool = &one("vm first-500");
    measure("of 500 VMs selected, packets of all", one_tool, &all_of(1), theirs, none)?;
    measure("of 500 VMs, all of them wanted", &one("tcp"), &all_of(1), theirs, none)?;
    let whole = |count| (0..count).map(|n| (n, Ownership::Whole)).collect::<Vec<_>>();
    let asking = |n| treated(&vxlan, Some(&format!("port {}", 1000 + n)));
    let ports: Vec<_> = (0..16).map(asking).collect();
    let first: Vec<_> = ports.iter().take(1).cloned().collect();
    measure("allowed, asked for by nobody, 1 tool", &first, &whole(1), &frames, none)?;
    measure("allowed, asked for by nobody, 16 tools", &ports, &whole(16), &frames, none)?;
    Ok(())
}

/// Measures one case.
fn measure(
    case: &str,
    tools: &[(Outlet, Policy)],
    grants: &[(usize, Ownership)],
    frames: &[Vec<u8>],
    outlets: &mut impl Outlets,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut ready = Vec::new();
    for (number, (outlet, policy)) in tools.iter().enumerate() {
        let tool = Tool {
            name: format!("tool-{number}").parse()?,
            grant: Grant::default(),
            mtu: None,
            outlet: outlet.clone(),
            policy: policy.clone(),
        };
        let parsed = |text: &str| Filter::parse_with(text, &First);
        let filter = policy.select.as_deref().map(parsed).transpose();
        let filter = filter.map_err(|error| error.to_string())?;
        ready.push(Ready { tool, filter, mtu: Mtu::ETHERNET });
    }
    let mut broker = Broker::new(ready, TunnelPorts::default());
    let claims: Vec<Claim> = grants
        .iter()
        .filter_map(|(number, ownership)| {
            let ownership = ownership.clone();
            let tools = ToolSet::one(*number)?;
            Some(Claim { tools, ownership, from: Timestamp::ZERO, until: None })
        })
        .collect();
    broker.add_point(&claims);
    let mut times = Vec::new();
    let mut before = 0;
    let mut delivered = 0;
    let offered = ROUND / frames.len() * frames.len();
    for _ in 0..ROUNDS {
        let began = cpu_ns();
        for time in 0..offered / frames.len() {
            for bytes in frames {
                let len = u32::try_from(bytes.len())?;
                let time = Timestamp::from_nanos(time as u64);
                broker.offer(&Packet::new(time, LinkType::ETHERNET, bytes, len), outlets);
            }
        }
        times.push((cpu_ns() - began) / offered as f64);
        let sent = broker.account(0).map_or(0, |account| account.sent);
        (delivered, before) = (sent - before, sent);
    }
    times.sort_by(f64::total_cmp);
    let (best, median) = (times.first(), times.get(ROUNDS / 2));
    let (best, median) = (best.unwrap_or(&0.0), median.unwrap_or(&0.0));
    println!("{case}\t{}\t{offered}\t{delivered}\t{best:.1}\t{median:.1}", tools.len());
    Ok(())
}

/// CPU time of this process in nanoseconds.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Takes datagrams and throws them away, a batch at a time.
#[derive(Default)]
struct NoOutlets {
    buffer: Vec<u8>,
}

impl Outlets for NoOutlets {
    fn begin(&mut self, _: usize) -> Result<&mut Vec<u8>, ToolDrop> {
        if self.buffer.len() > 8192 {
            self.buffer.clear();
        }
        Ok(&mut self.buffer)
    }

    fn end(&mut self, _: usize, _: u64) {}

    fn write(&mut self, _: usize, _: &Packet<'_>) -> Result<(), ToolDrop> {
        Err(ToolDrop::SinkFailed)
    }
}

/// A tool on this host that never reads: its kernel takes each datagram and drops it.
fn socket() -> Result<ToolOutlets, Box<dyn std::error::Error>> {
    let tool = UdpSocket::bind("127.0.0.1:0")?;
    let here = UdpSocket::bind("127.0.0.1:0")?;
    here.connect(tool.local_addr()?)?;
    // Left open for as long as the process lives.
    std::mem::forget(tool);
    let mut outlets = ToolOutlets::new(SectionHeader::default(), Vec::new());
    outlets.add(ToolSocketKind::Datagrams, Some(here.into()), Timestamp::ZERO)?;
    Ok(outlets)
}

fn vni(number: u8) -> Vni {
    Vni::from_be_bytes([0, 0, number])
}

fn mac(number: usize) -> Mac {
    let [.., high, low] = number.to_be_bytes();
    Mac([0x52, 0x54, 0, 0, high, low])
}

/// The rights to these VMs.
fn claims(numbers: std::ops::Range<usize>) -> Ownership {
    let network = OVERLAY;
    Ownership::Shared(numbers.map(|number| Identity { mac: mac(number), network }).collect())
}

/// Explains `first-N` as the first N VMs of those with MACs at random.
struct First;

impl Resolver for First {
    fn members(&self, name: &Name) -> Result<Vec<Member>, UnknownName> {
        let count = name.text.strip_prefix("first-").and_then(|count| count.parse().ok());
        let count: usize = count.ok_or_else(UnknownName::default)?;
        let network = OVERLAY;
        let member = |number| Member {
            mac: random_mac(number),
            network: Some(network),
            from: Timestamp::ZERO,
            until: None,
        };
        Ok((0..count).map(member).collect())
    }
}

/// A MAC without any order: SplitMix64 of its number.
fn random_mac(number: usize) -> Mac {
    let mut z = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let [a, b, c, d, e, ..] = (z ^ (z >> 31)).to_be_bytes();
    Mac([0x02, a, b, c, d, e])
}

fn random_claims(numbers: std::ops::Range<usize>) -> Ownership {
    let network = OVERLAY;
    Ownership::Shared(numbers.map(|n| Identity { mac: random_mac(n), network }).collect())
}

/// The network of all VMs.
const OVERLAY: OnWire = OnWire::Overlay {
    vni: Vni::from_be_bytes([0, 0, 1]),
    tunnel: Encapsulation::Vxlan,
    udp_port: None,
    vlan: None,
};

fn frame(number: usize) -> Vec<u8> {
    frame_from(mac(number))
}

/// TCP from a VM to port 443 of nobody, in VXLAN.
fn frame_from(mac: Mac) -> Vec<u8> {
    let payload = 496_usize;
    let len = |around: usize| {
        let [.., high, low] = (around + payload).to_be_bytes();
        [high, low]
    };
    let ([a, b], [c, d], [e, g]) = (len(90), len(70), len(40));
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, a, b, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend([0xc0, 0, 0x12, 0xb5, c, d, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0]);
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(mac.0);
    frame.extend([8, 0, 0x45, 0, e, g, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x9c, 0x40, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    frame.resize(frame.len() + payload, 0x55);
    frame
}

/// Packets offered in a round.
const ROUND: usize = 200_000;
const ROUNDS: usize = 15;
