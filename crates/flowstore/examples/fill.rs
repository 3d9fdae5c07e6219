//! Fills a store with made-up flows and says how fast: `fill DIR [ROWS]`.
//!
//! A day of 2000 VMs of 40 tenants on 100 hosts, each of which talks to some machines of its tenant
//! most of the time, else to the internet. The same rows every time. Without a directory, `-`, rows
//! are only made: that time is not the store's.
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation, missing_docs)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use flows::{ClientBasis, EndReason, Network, Overlay, OverlayKind, Split, TcpState, Way};
use flowstore::{CountedWay, End, Row, Store};
use wire::export::{Rate, RateOrigin, Ratio};
use wire::{Mac, Timestamp};

const VMS: u64 = 2000;
const HOSTS: u64 = 100;
const TENANTS: u64 = 40;
const DAY_NS: u64 = 86_400_000_000_000;
/// 2026-11-20T00:00:00Z.
const BEGIN_NS: u64 = 1_795_132_800_000_000_000;
const PORTS: [(u16, &str); 8] = [
    (443, "tls"),
    (80, "http"),
    (53, "dns"),
    (5432, "postgresql"),
    (6379, "redis"),
    (22, "ssh"),
    (9092, "tcp/9092"),
    (8080, "http-alt"),
];

struct Machine {
    ip: IpAddr,
    mac: Mac,
    vm: String,
    tenant: String,
    host: String,
    port_group: String,
    point: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let folder = words.next().ok_or("usage: fill DIR|- [ROWS]")?;
    let rows: u64 = words.next().map_or(Ok(10_000_000), |rows| rows.parse())?;
    let machines: Vec<Machine> = (0..VMS).map(machine).collect();
    let now = Timestamp::from_nanos(BEGIN_NS + DAY_NS);
    let mut store = match folder.as_str() {
        "-" => None,
        folder => Some(Store::open(folder.as_ref(), &[], now)?),
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (began, mut sum) = (Instant::now(), 0);
    for number in 0..rows {
        let end = BEGIN_NS + DAY_NS / rows * number;
        let row = row(&machines, end, &mut random);
        match &mut store {
            Some(store) => store.add(&row),
            None => sum += row.counted[0].octets,
        }
    }
    let report = store.as_mut().map(Store::close);
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = rows as f64 / seconds;
    println!("{rows} rows in {seconds:.2} s, {:.2} M rows/s ({sum})", rate / 1e6);
    if let Some(report) = report {
        println!("written {}, lost {}, {:?}", report.written, report.lost, report.failures);
    }
    Ok(())
}

fn machine(number: u64) -> Machine {
    let (tenant, host) = (number % TENANTS, number / 7 % HOSTS);
    let [.., b, c] = u16::try_from(number).unwrap_or_default().to_be_bytes();
    let high = u8::try_from(number / 256).unwrap_or_default();
    Machine {
        ip: IpAddr::V4(Ipv4Addr::new(10, u8::try_from(tenant).unwrap_or_default(), high, c)),
        mac: Mac([0x52, 0x54, 0, high, b, u8::try_from(tenant).unwrap_or_default()]),
        vm: format!("tenant-{tenant:02}/vm-{number:04}"),
        tenant: format!("tenant-{tenant:02}"),
        host: format!("hv-{host:03}"),
        port_group: format!("net-{tenant:02}"),
        point: format!("172.16.0.{host} ipfix 0 in"),
    }
}

fn row<'a>(machines: &'a [Machine], end: u64, random: &mut Random) -> Row<'a> {
    let number = random.skewed(VMS);
    let client = &machines[number];
    let is_inside = random.below(100) < 60;
    let peer = is_inside.then(|| {
        let tenant = random.skewed(VMS / TENANTS) as u64 * TENANTS;
        &machines[usize::try_from(tenant).unwrap_or_default() + number % 40]
    });
    let (port, app) = PORTS[random.skewed(PORTS.len() as u64)];
    let is_tcp = port != 53;
    let length = random.exponent(34) + 1000;
    let packets = 1 + random.exponent(10);
    let octets = packets * (60 + random.below(1400));
    let back_packets =
        if random.below(10) == 0 { 0 } else { 1 + packets * random.below(200) / 100 };
    let back_octets = back_packets * (52 + random.below(1400));
    let start = Timestamp::from_nanos(end - length);
    let end = Timestamp::from_nanos(end);
    let split = match peer {
        None => Split::VmToPhysical,
        Some(peer) if peer.host == client.host => Split::IntraHost,
        Some(_) => Split::InterHost,
    };
    let way = |packets, octets| Way {
        packets,
        octets,
        first: start,
        last: end,
        tcp_flags: if is_tcp { 0x1b } else { 0 },
        ..Way::default()
    };
    let counted = |packets, octets| CountedWay { packets, octets, copy_of: None };
    let vni = 5000 + u32::try_from(number % 40).unwrap_or_default();
    let end_of = |machine: &'a Machine, port| End {
        ip: machine.ip,
        port,
        mac: machine.mac,
        vm: Some(&machine.vm),
        tenant: Some(&machine.tenant),
        host: Some(&machine.host),
        port_group: Some(&machine.port_group),
        is_ambiguous: false,
    };
    let outside = |random: &mut Random| End {
        ip: IpAddr::V4(Ipv4Addr::from(0x5000_0000 + random.skewed(4_000_000) as u32)),
        port,
        mac: Mac([2, 0, 0, 0, 0, 1]),
        vm: None,
        tenant: None,
        host: None,
        port_group: None,
        is_ambiguous: false,
    };
    let ephemeral = 32_768 + u16::try_from(random.below(28_000)).unwrap_or_default();
    Row {
        start,
        end,
        point: &client.point,
        network: Network {
            overlay: Some(Overlay { kind: OverlayKind::Vxlan, number: vni }),
            vlan: None,
        },
        protocol: if is_tcp { 6 } else { 17 },
        ends: [
            end_of(client, ephemeral),
            peer.map_or_else(|| outside(random), |peer| end_of(peer, port)),
        ],
        split,
        ways: [way(packets, octets), way(back_packets, back_octets)],
        counted: [counted(packets, octets), counted(back_packets, back_octets)],
        is_carrier: false,
        rate: Rate { ratio: Ratio::ALL, origin: RateOrigin::Record },
        tcp: is_tcp.then_some(TcpState::Closed),
        client_basis: ClientBasis::Port,
        rtts: [None; 2],
        app: app.into(),
        is_app_seen: false,
        asked_for: None,
        end_reason: EndReason::Active,
    }
}

/// Numbers that look random: xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, most: u64) -> u64 {
        ((self.next() >> 32) * most) >> 32
    }

    /// Small ones more often: the square of an even one.
    fn skewed(&mut self, most: u64) -> usize {
        let (one, other) = (self.below(1 << 20), self.below(1 << 20));
        usize::try_from((one.min(other) * most) >> 20).unwrap_or_default()
    }

    /// Up to 2^bits, every size as often.
    fn exponent(&mut self, bits: u64) -> u64 {
        let bits = self.below(bits);
        (1 << bits) + self.below(1 << bits)
    }
}
