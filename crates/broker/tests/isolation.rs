//! Nothing is delivered without a grant in force at that packet's time: random sites, tenants with
//! equal MACs and addresses, policies, migrations, packets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod bed;

use bed::{Shelves, frame, in_vxlan, tool, vxlan};
use broker::{Broker, Mtu, Oversized, Policy, Ready};
use proptest::prelude::*;
use select::{Claim, Encapsulation, Filter, Identity, OnWire, Ownership, ToolSet};
use wire::{LinkType, Mac, Packet, Timestamp, TunnelPorts, Vni};

/// One VM of a tenant in a network for some time: what a grant comes down to.
#[derive(Debug, Clone, Copy)]
struct Stay {
    tool: usize,
    mac: u8,
    vni: u8,
    from: u64,
    until: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    time: u64,
    vni: u8,
    source: u8,
    destination: u8,
    is_v4: bool,
    is_tcp: bool,
}

const TOOLS: usize = 5;

fn stays() -> impl Strategy<Value = Vec<Stay>> {
    // Few MACs and networks, so that tenants share them.
    let stay = (0..TOOLS, 0_u8..4, 10_u8..13, 0_u64..20, prop::option::of(0_u64..25));
    let stay = stay.prop_map(|(tool, mac, vni, from, until)| Stay { tool, mac, vni, from, until });
    prop::collection::vec(stay, 0..20)
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let destination = prop_oneof![4 => 0_u8..5, 1 => Just(0xff)];
    let sent = (0_u64..25, 10_u8..14, 0_u8..5, destination, any::<bool>(), any::<bool>());
    let sent = sent.prop_map(|(time, vni, source, destination, is_v4, is_tcp)| Sent {
        time,
        vni,
        source,
        destination,
        is_v4,
        is_tcp,
    });
    prop::collection::vec(sent, 1..30)
}

/// A policy, and whether it takes everything; some try to see what is not theirs.
fn policy() -> impl Strategy<Value = (Policy, bool)> {
    let select = prop_oneof![
        3 => Just(None),
        1 => Just(Some("not vni 10")),
        1 => Just(Some("ip or ip6 or outer (ip)")),
        1 => Just(Some("vni 12 or (tcp and not tcp)")),
        1 => Just(Some("ether host 02:00:00:00:00:01")),
    ];
    let strip = prop::option::of(Just("all"));
    let slice = prop::option::of(prop_oneof![Just("60"), Just("headers"), Just("headers+4")]);
    let mask = prop::option::of(Just("payload,ips,macs"));
    (select, strip, slice, mask).prop_map(|(select, strip, slice, mask)| {
        let policy = Policy {
            select: select.map(str::to_owned),
            strip: strip.map(|text| text.parse().unwrap()),
            slice: slice.map(|text| text.parse().unwrap()),
            mask: mask.map(|text| text.parse().unwrap()),
            oversized: Oversized::Segment,
            ..Policy::default()
        };
        (policy, select.is_none())
    })
}

impl Stay {
    fn claim(&self) -> Claim {
        let network = OnWire::Overlay {
            vni: Vni::new(self.vni.into()).unwrap(),
            tunnel: Encapsulation::Vxlan,
            udp_port: None,
            vlan: None,
        };
        Claim {
            tools: ToolSet::one(self.tool).unwrap(),
            ownership: Ownership::Shared(vec![Identity { mac: Mac(bed::mac(self.mac)), network }]),
            from: Timestamp::from_nanos(self.from),
            until: self.until.map(Timestamp::from_nanos),
        }
    }

    fn allows(&self, sent: &Sent) -> bool {
        let is_party = [sent.source, sent.destination].contains(&self.mac);
        self.vni == sent.vni
            && self.from <= sent.time
            && self.until.is_none_or(|until| sent.time < until)
            && (is_party || sent.destination == 0xff)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn nothing_is_delivered_without_a_grant_in_force_at_that_packets_time(
        stays in stays(),
        later in stays(),
        packets in sent(),
        policies in prop::collection::vec(policy(), TOOLS),
        changed in 0_usize..30,
    ) {
        let ready = policies.iter().enumerate().map(|(number, (policy, _))| Ready {
            filter: policy.select.as_deref().map(|text| Filter::parse(text).unwrap()),
            tool: tool(&format!("tool-{number}"), vxlan(), policy.clone()),
            mtu: Mtu::ETHERNET,
        });
        let mut broker = Broker::new(ready.collect(), TunnelPorts::default());
        let claims = |stays: &[Stay]| stays.iter().map(Stay::claim).collect::<Vec<_>>();
        broker.add_point(&claims(&stays));
        let mut grants = &stays;
        let mut got = [0_u64; TOOLS];
        for (number, sent) in packets.iter().enumerate() {
            if number == changed {
                // Grants are taken away and given, VMs move.
                grants = &later;
                broker.claim(0, &claims(&later));
            }
            let Sent { time, vni, source, destination, is_v4, is_tcp } = *sent;
            let bytes = in_vxlan(vni, &frame(destination, source, is_v4, is_tcp, 0x10, b"secret!"));
            let len = u32::try_from(bytes.len()).unwrap();
            let packet = Packet::new(Timestamp::from_nanos(time), LinkType::ETHERNET, &bytes, len);
            let mut shelves = Shelves::default();
            broker.offer(&packet, &mut shelves);
            for tool in 0..TOOLS {
                let is_allowed = grants.iter().any(|s| s.tool == tool && s.allows(sent));
                let is_delivered = shelves.datagrams.iter().any(|(to, _)| *to == tool);
                prop_assert!(is_allowed || !is_delivered, "tool {} got {:?}", tool, sent);
                if policies[tool].1 {
                    prop_assert_eq!(is_allowed, is_delivered, "tool {} and {:?}", tool, sent);
                }
                got[tool] += u64::from(is_delivered);
                for (_, datagram) in shelves.datagrams.iter().filter(|(to, _)| *to == tool) {
                    let is_masked = policies[tool].0.mask.is_some();
                    let shows = datagram.windows(6).any(|bytes| bytes == b"secret");
                    prop_assert!(!(is_masked && shows), "a masked payload is seen");
                }
            }
        }
        for (tool, got) in got.iter().enumerate() {
            let account = broker.account(tool).unwrap();
            prop_assert_eq!(account.offered, packets.len() as u64);
            prop_assert_eq!(account.sent, *got);
            prop_assert_eq!(account.unaccounted(), 0);
        }
    }

    /// Any bytes, under any policy: nothing breaks, everything is accounted for, and no datagram is
    /// larger than the way takes.
    #[test]
    fn hostile_bytes_are_treated_like_any_others(
        noise in prop::collection::vec(any::<u8>(), 0..3000),
        is_framed in any::<bool>(),
        kept in 0_usize..3100,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        policies in prop::collection::vec(policy(), TOOLS),
    ) {
        let mut bytes = noise.clone();
        if is_framed {
            bytes = in_vxlan(10, &frame(1, 2, true, true, 0x18, &noise));
        }
        for (at, value) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        let wire_len = u32::try_from(bytes.len()).unwrap();
        bytes.truncate(kept);
        let ready = policies.into_iter().enumerate().map(|(number, (policy, _))| Ready {
            filter: policy.select.as_deref().map(|text| Filter::parse(text).unwrap()),
            tool: tool(&format!("tool-{number}"), vxlan(), policy),
            mtu: Mtu::ETHERNET,
        });
        let mut broker = Broker::new(ready.collect(), TunnelPorts::default());
        broker.add_point(&[Claim {
            tools: ToolSet::ALL,
            ownership: Ownership::Whole,
            from: Timestamp::ZERO,
            until: None,
        }]);
        let mut shelves = Shelves::default();
        let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, &bytes, wire_len);
        broker.offer(&packet, &mut shelves);
        for tool in 0..TOOLS {
            prop_assert_eq!(broker.account(tool).unwrap().unaccounted(), 0);
        }
        for (_, datagram) in &shelves.datagrams {
            prop_assert!(datagram.len() + 28 <= 1500);
        }
    }
}
