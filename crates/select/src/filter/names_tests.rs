//! Names of the inventory: how they are written, asked for and matched.

use std::net::IpAddr;

use proptest::prelude::*;
use wire::{Layers, LinkType, Mac, Packet, Timestamp, TunnelPorts};

use super::{Filter, Member, Name, NameKind, Resolved, Resolver, UnknownName};
use crate::frames::{self, mac, overlay, vlan};
use crate::{Encapsulation, OnWire};

/// web has MAC 1 in VLAN 100 until 10 s and VNI 5 from then on; acme is MACs 1 to 3 anywhere.
struct Site;

impl Resolver for Site {
    fn members(&self, name: &Name) -> Result<Vec<Member>, UnknownName> {
        let member = |n, network, from, until: Option<u64>| Member {
            mac: mac(n),
            network,
            from: Timestamp::from_parts(from, 0),
            until: until.map(|until| Timestamp::from_parts(until, 0)),
        };
        match (name.kind, name.text.as_str()) {
            (NameKind::Vm, "web") => Ok(vec![
                member(1, Some(OnWire::Vlan(vlan(100))), 0, Some(10)),
                member(1, Some(overlay(5, Encapsulation::Vxlan)), 10, None),
            ]),
            (NameKind::Vm, "tcp") => Ok(vec![]),
            (NameKind::Tenant, "acme") => Ok((1..4).map(|n| member(n, None, 0, None)).collect()),
            (NameKind::PortGroup, "VM Network") => Ok(vec![member(7, None, 0, None)]),
            (NameKind::Vm, _) => Err(UnknownName::nearest(vec!["web".into()])),
            _ => Err(UnknownName::default()),
        }
    }

    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, UnknownName> {
        match host {
            "www.example.org" => Ok(vec![[192, 0, 2, 1].into()]),
            _ => Err(UnknownName::default()),
        }
    }
}

fn holds(text: &str, seconds: u64, bytes: &[u8]) -> bool {
    let filter = Filter::parse_with(text, &Site).unwrap_or_else(|error| panic!("{error}"));
    let len = u32::try_from(bytes.len()).unwrap();
    let time = Timestamp::from_parts(seconds, 0);
    let packet = Packet::new(time, LinkType::ETHERNET, bytes, len);
    let layers = Layers::decode(packet.link, packet.data, &TunnelPorts::default());
    filter.matches(&packet, &layers)
}

/// A frame of something unknown between two MACs.
fn frame(destination: u8, source: u8, tag: Option<u8>) -> Vec<u8> {
    let tag = tag.map_or(vec![], |id| vec![0x81, 0, 0, id]);
    [&mac(destination).0[..], &mac(source).0, &tag, &[0x88, 0xb5, 1, 2, 3, 4]].concat()
}

fn in_vxlan(vni: u8, inner: &[u8]) -> Vec<u8> {
    let len = |extra: usize| u16::try_from(inner.len() + extra).unwrap().to_be_bytes();
    let mut bytes = [&mac(9).0[..], &mac(8).0, &[8, 0, 0x45, 0], &len(36)].concat();
    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    bytes.extend([&[0xc0, 0, 0x12, 0xb5][..], &len(16), &[0, 0]].concat());
    bytes.extend([&[8, 0, 0, 0, 0, 0, vni, 0][..], inner].concat());
    bytes
}

#[test]
fn a_name_is_its_macs_each_in_its_network_and_at_its_time() {
    let tagged = frame(2, 1, Some(100));
    let overlaid = in_vxlan(5, &frame(2, 1, None));
    for (text, seconds, bytes, expected) in [
        ("vm web", 9, &tagged, true),
        ("vm web", 10, &tagged, false),
        ("vm web", 9, &overlaid, false),
        ("vm web", 10, &overlaid, true),
        ("vm web", 10, &in_vxlan(6, &frame(2, 1, None)), false),
        ("vm web", 9, &frame(2, 1, None), false),
        ("vm web", 9, &frame(2, 1, Some(101)), false),
        ("src vm web", 9, &tagged, true),
        ("dst vm web", 9, &tagged, false),
        ("dst vm web", 9, &frame(1, 2, Some(100)), true),
        ("outer (vm web)", 10, &overlaid, false),
        ("any (vm web)", 10, &overlaid, true),
        ("tenant acme", 0, &frame(9, 3, None), true),
        ("tenant acme", 0, &frame(9, 4, None), false),
        ("src and dst tenant acme", 0, &frame(2, 3, None), true),
        ("src and dst tenant acme", 0, &frame(2, 4, None), false),
        ("not vm tcp", 0, &tagged, true),
    ] {
        assert_eq!(holds(text, seconds, bytes), expected, "{text} at {seconds}");
    }
}

/// What the VM sends in tunnels of its own is the VM's too.
#[test]
fn a_name_is_looked_for_at_every_level() {
    let nested = in_vxlan(77, &frame(20, 21, None));
    assert!(holds("tenant acme or src host 192.0.2.1", 0, &[&mac(1).0[..], &nested[6..]].concat()));
}

#[test]
fn names_are_written_plainly_or_in_quotes() {
    for (text, expected) in [
        ("vm web", "vm web"),
        ("vm \"web\"", "vm web"),
        ("src vm web or tenant acme", "src vm web or tenant acme"),
        ("portgroup \"VM Network\"", "portgroup \"VM Network\""),
        ("vm tcp", "vm \"tcp\""),
        ("vm web or tcp", "vm web or tcp"),
        ("vm web or \"tcp\"", "vm web or vm \"tcp\""),
        ("vm (web or tcp)", "vm web or vm \"tcp\""),
    ] {
        let filter = Filter::parse_with(text, &Site).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(filter.to_string(), expected, "{text}");
        assert_eq!(Filter::parse_with(expected, &Site), Ok(filter), "{text}");
    }
}

#[test]
fn an_unknown_name_is_marked_and_the_nearest_proposed() {
    let error = Filter::parse_with("tcp and vm wbe", &Site).unwrap_err();
    assert_eq!(error.message, "no vm of this name");
    assert_eq!((error.column, error.width), (12, 3));
    assert_eq!(error.suggestion.as_deref(), Some("web"));
}

#[test]
fn answers_survive_their_own_json_and_answer_the_same_expression() {
    let text = "vm web and tenant acme or vm tcp";
    let resolved = Resolved::of(text, &Site).unwrap();
    let json = serde_json::to_string(&resolved).unwrap();
    let back: Resolved = serde_json::from_str(&json).unwrap();
    assert_eq!(back, resolved);
    assert_eq!(Filter::parse_with(text, &back), Filter::parse_with(text, &Site));
    assert!(Filter::parse_with("vm other", &back).is_err());
    assert!(Resolved::of("tcp", &Site).unwrap().is_empty());
}

proptest! {
    /// A thousand members are the same as each of them alone.
    #[test]
    fn a_set_has_what_one_of_its_members_has(
        identities in frames::identities(), frame in frames::frames(), seconds in 0_u64..4,
    ) {
        struct Given(Vec<Member>);
        impl Resolver for Given {
            fn members(&self, _: &Name) -> Result<Vec<Member>, UnknownName> {
                Ok(self.0.clone())
            }
        }
        let members: Vec<Member> = identities.iter().enumerate().map(|(n, identity)| Member {
            mac: identity.mac,
            network: Some(identity.network),
            from: Timestamp::from_parts(n as u64 % 3, 0),
            until: (n % 2 == 0).then(|| Timestamp::from_parts(3, 0)),
        }).collect();
        let bytes = frame.bytes_with_all_tags();
        let len = u32::try_from(bytes.len()).unwrap();
        let time = Timestamp::from_parts(seconds, 0);
        let packet = Packet::new(time, LinkType::ETHERNET, &bytes, len);
        let layers = Layers::decode(packet.link, packet.data, &TunnelPorts::default());
        let verdict = |members: Vec<Member>| {
            Filter::parse_with("vm x", &Given(members)).unwrap().matches(&packet, &layers)
        };
        let alone = members.iter().any(|member| verdict(vec![*member]));
        prop_assert_eq!(verdict(members), alone);
    }
}

#[test]
fn a_mac_of_nobody_is_not_found() {
    assert!(!holds("tenant acme", 0, &[Mac::BROADCAST.0, mac(200).0].concat()));
}

/// Hundreds of VMs are one look-up, however they were typed.
#[test]
fn many_names_become_one_set() {
    use super::lower::Node;
    use super::test::Test;

    let filter =
        Filter::parse_with("vm web or tcp or tenant acme or (dst vm web or arp)", &Site).unwrap();
    let Node::Any(parts) = filter.node() else { panic!("{filter}") };
    let count = parts.iter().filter(|p| matches!(p, Node::Test(Test::Member { .. }))).count();
    assert_eq!((count, parts.len()), (2, 5), "one set for each end, TCP over IPv4 and IPv6, ARP");
    assert!(holds("vm web or tenant acme", 5, &frame(9, 3, None)));
    assert!(holds("vm web or tenant acme", 5, &frame(1, 9, Some(100))));
    assert!(!holds("vm web or portgroup \"VM Network\"", 11, &frame(1, 9, Some(100))));
    assert!(!holds("vm web or portgroup \"VM Network\"", 5, &frame(9, 3, None)));
    assert!(holds("vm web or portgroup \"VM Network\"", 11, &frame(7, 9, None)));
}
