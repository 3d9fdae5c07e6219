//! Made-up rows.

use std::net::{IpAddr, Ipv4Addr};

use flows::{ClientBasis, EndReason, Network, Split, Way};
use flowstore::{CountedWay, End, Row};
use wire::export::{Rate, RateOrigin, Ratio};
use wire::{Mac, Timestamp};

/// 2026-11-21T00:00:00Z.
pub(crate) const DAY_S: u64 = 1_795_219_200;

/// Machines of two tenants on three hosts.
pub(crate) const NAMES: [(&str, &str, &str); 6] = [
    ("acme/web", "acme", "hv-1"),
    ("acme/db", "acme", "hv-1"),
    ("acme/mail", "acme", "hv-2"),
    ("blue/web", "blue", "hv-2"),
    ("blue/db", "blue", "hv-3"),
    ("blue/batch", "blue", "hv-3"),
];

/// Row `number` of a series, one each `step_ms`: some long, some copies, some tunnels, some with
/// the internet.
pub(crate) fn row(number: u64, step_ms: u64) -> Row<'static> {
    let random = |salt: u64, below: u64| {
        let mixed =
            (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ salt.wrapping_mul(0xd6e8_feb8));
        (mixed >> 33) % below
    };
    let end_ms = DAY_S * 1000 + number * step_ms;
    let length_ms = if random(1, 10) == 0 { random(2, 7_200_000) } else { random(3, 30_000) };
    let time = |ms: u64| Timestamp::from_nanos(ms * 1_000_000);
    let [client, server] = [random(4, 6), random(5, 8)].map(|n| usize::try_from(n).unwrap());
    let end = |number: usize, port| {
        let known = NAMES.get(number);
        End {
            ip: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap())),
            port,
            mac: Mac([2, 0, 0, 0, 0, u8::try_from(number).unwrap()]),
            vm: known.map(|known| known.0),
            tenant: known.map(|known| known.1),
            host: known.map(|known| known.2),
            port_group: None,
            is_ambiguous: false,
        }
    };
    let split = match NAMES.get(server) {
        None => Split::VmToPhysical,
        Some(known) if known.2 == NAMES[client].2 => Split::IntraHost,
        Some(_) => Split::InterHost,
    };
    let way = |salt| {
        let packets = 1 + random(salt, 900);
        Way {
            packets,
            octets: packets * 97,
            first: time(end_ms),
            last: time(end_ms),
            ..Way::default()
        }
    };
    let ways = [way(6), way(7)];
    let copy_of = (random(8, 20) == 0).then_some("a better one");
    let counted = ways.map(|way| match copy_of {
        None => CountedWay { octets: way.octets, packets: way.packets, copy_of: None },
        copy_of => CountedWay { octets: 0, packets: 0, copy_of },
    });
    Row {
        start: time(end_ms.saturating_sub(length_ms)),
        end: time(end_ms),
        point: "uplink",
        network: Network::NONE,
        protocol: 6,
        ends: [end(client, 40_000), end(server, 443)],
        split,
        ways,
        counted,
        is_carrier: random(9, 50) == 0,
        rate: Rate { ratio: Ratio::ALL, origin: RateOrigin::Record },
        tcp: None,
        client_basis: ClientBasis::Port,
        rtts: [None; 2],
        app: if random(10, 2) == 0 { "tls".into() } else { "ssh".into() },
        is_app_seen: false,
        asked_for: None,
        end_reason: EndReason::Idle,
    }
}
