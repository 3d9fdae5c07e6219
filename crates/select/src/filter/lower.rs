//! From the words of an expression to the questions they come down to.
//!
//! Each word asks the same bytes in the same order as the program that libpcap makes of it, so that
//! both agree on fragments, cut frames and nonsense too (tests/libpcap.rs compares them).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::arithmetic::{Accessor, Arithmetic, Compare, Operator, Width};
use super::expression::{
    Direction, Expression, ISIS_TYPES, IpFamily, Primitive, Scope, Transport, V4Family, ipv6_mask,
};
use super::members::Members;
use super::resolver::Name;
use super::test::{Base, Bytes, End, GROUP_BIT, IPV6_LEN, Test, WHOLE_MAC, mac_bits};

/// Questions and how they are put together. Parts are asked in their order, and no more of them
/// than are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Within(Scope, Box<Node>),
    Test(Test),
}

/// What every name means.
pub(crate) type Meanings = BTreeMap<Name, Arc<Members>>;

/// The questions that `expression` comes down to.
pub(crate) fn lower(expression: &Expression, names: &Meanings) -> Node {
    let all = |parts: &[Expression]| parts.iter().map(|part| lower(part, names)).collect();
    match expression {
        Expression::All(parts) => Node::All(all(parts)),
        Expression::Any(parts) => any(all(parts)),
        Expression::Not(part) => Node::Not(Box::new(lower(part, names))),
        Expression::Within(scope, part) => Node::Within(*scope, Box::new(lower(part, names))),
        Expression::Is(primitive) => lower_primitive(primitive, names),
    }
}

fn lower_primitive(primitive: &Primitive, names: &Meanings) -> Node {
    match primitive {
        Primitive::EtherType(number) => ether_type(*number),
        Primitive::Llc(kind) => {
            // libpcap: what has all ones there is NetWare's IPX, not LLC.
            let mut parts = vec![Node::Test(Test::HasLength), not(half(0, 0xffff))];
            if let Some(kind) = kind {
                parts.push(masked(
                    Base::Payload,
                    2,
                    Width::One,
                    kind.mask.into(),
                    kind.value.into(),
                ));
            }
            Node::All(parts)
        }
        Primitive::IsoProtocol(number) => iso(*number),
        Primitive::IsIs(word) => {
            let types = ISIS_TYPES.iter().find(|(known, _)| known == word);
            let types = types.map_or(&[][..], |(_, types)| types);
            let is_one = types.iter().map(|t| byte(7, u32::from(*t))).collect();
            Node::All(vec![iso(0x83), Node::Any(is_one)])
        }
        Primitive::IpProtocol { family, number } => match family {
            IpFamily::V4 => in_ip4(*number),
            IpFamily::V6 => in_ip6(*number),
            IpFamily::Any => Node::Any(vec![in_ip4(*number), in_ip6(*number)]),
        },
        Primitive::ProtocolChain { family, number } => {
            let chain = |is_v6, carried| {
                let test = Test::Chain { is_v6, number: *number };
                Node::All(vec![carries(carried), Node::Test(test)])
            };
            match family {
                IpFamily::V4 => chain(false, IPV4),
                IpFamily::V6 => chain(true, IPV6),
                IpFamily::Any => Node::Any(vec![chain(false, IPV4), chain(true, IPV6)]),
            }
        }
        Primitive::Ether { direction, mac } => direction
            .of(|end| Node::Test(Test::Mac { end, mask: WHOLE_MAC, value: mac_bits(*mac) })),
        Primitive::V4 { family, direction, address, mask } => {
            v4(*family, *direction, *address, *mask)
        }
        Primitive::V6 { direction, address, prefix_len } => {
            Node::All(vec![carries(IPV6), direction.of(|end| v6(end, *address, *prefix_len))])
        }
        Primitive::DecNet { direction, address } => {
            Node::All(vec![carries(DECNET), direction.of(|end| decnet(end, *address))])
        }
        Primitive::Port { transport, direction, first, last } => {
            ports(*transport, *direction, *first, *last)
        }
        Primitive::EtherBroadcast => to_mac(WHOLE_MAC, WHOLE_MAC),
        Primitive::EtherMulticast => to_mac(GROUP_BIT, GROUP_BIT),
        // The mask of the network is not known, so only the two addresses that need none.
        Primitive::IpBroadcast => Node::All(vec![
            carries(IPV4),
            Node::Any(vec![word(16, 0, u32::MAX), word(16, u32::MAX, u32::MAX)]),
        ]),
        Primitive::IpMulticast => Node::All(vec![
            carries(IPV4),
            Node::Test(Test::Bytes(Bytes {
                compare: Compare::AtLeast,
                ..bytes(Base::Payload, 16, Width::One, 0xff, 224)
            })),
        ]),
        Primitive::Ip6Multicast => Node::All(vec![carries(IPV6), byte(24, 0xff)]),
        Primitive::Less(len) => length(Compare::AtMost, *len),
        Primitive::Greater(len) => length(Compare::AtLeast, *len),
        Primitive::Relation { left, compare, right } => relation(left, *compare, right),
        Primitive::Goes(way) => Node::Test(Test::Goes(*way)),
        Primitive::Carrier(carrier) => Node::Test(Test::Carrier(Box::new(carrier.clone()))),
        Primitive::Named { direction, name } => direction.of(|end| {
            let members = names.get(name).cloned().unwrap_or_default();
            Node::Test(Test::Member { end, members })
        }),
    }
}

/// EtherTypes are asked of Ethernet frames; below 1501 they are LLC's, and some protocols use
/// both.
fn ether_type(number: u16) -> Node {
    let in_llc = |part| Node::All(vec![Node::Test(Test::HasLength), part]);
    // RFC 1042: AA AA 03, three octets of organisation, then the EtherType.
    let snap = |organisation: u32, number: u16| {
        Node::All(vec![
            word(4, (organisation & 0xffff) << 16 | u32::from(number), u32::MAX),
            word(0, 0xaaaa_0300 | organisation >> 16, u32::MAX),
        ])
    };
    match number {
        0xfe | 0xf0 | 0x06 => in_llc(half(0, u32::from(number) << 8 | u32::from(number))),
        0xe0 => Node::Any(vec![
            carries(0x8137),
            in_llc(Node::Any(vec![snap(0, 0x8137), byte(0, 0xe0), half(0, 0xffff)])),
        ]),
        0x809b => Node::Any(vec![carries(number), in_llc(snap(0x08_0007, number))]),
        0x80f3 => Node::Any(vec![carries(number), in_llc(snap(0, number))]),
        0..=1500 => in_llc(byte(0, u32::from(number))),
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x8847 | 0x8848 | 0x8863 | 0x8864 | 0x8909 | 0x8926
        | 0x893f | 0x8988 => Node::Test(Test::Names(number)),
        _ => carries(number),
    }
}

fn iso(number: u8) -> Node {
    Node::All(vec![ether_type(0xfe), byte(3, u32::from(number))])
}

fn in_ip4(number: u32) -> Node {
    Node::All(vec![carries(IPV4), byte(9, number)])
}

/// Directly in IPv6, or in its fragments.
fn in_ip6(number: u32) -> Node {
    let in_fragment = Node::All(vec![byte(6, FRAGMENT), byte(IPV6_LEN, number)]);
    Node::All(vec![carries(IPV6), Node::Any(vec![byte(6, number), in_fragment])])
}

fn v4(family: V4Family, direction: Direction, address: Ipv4Addr, mask: Ipv4Addr) -> Node {
    let (value, mask) = (address.to_bits(), mask.to_bits());
    let at = |source, destination| {
        direction.of(|end| word(if end == End::Source { source } else { destination }, value, mask))
    };
    let in_ip = Node::All(vec![carries(IPV4), at(12, 16)]);
    let in_arp = |is_kind| Node::All(vec![is_kind, at(14, 24)]);
    match family {
        V4Family::Ip => in_ip,
        V4Family::Arp => in_arp(carries(ARP)),
        V4Family::Rarp => in_arp(carries(RARP)),
        V4Family::Any => {
            let is_either = Node::Any(vec![carries(ARP), carries(RARP)]);
            Node::Any(vec![in_ip, in_arp(is_either)])
        }
    }
}

fn v6(end: End, address: Ipv6Addr, prefix_len: u8) -> Node {
    let (bits, mask) = (address.to_bits(), ipv6_mask(prefix_len));
    let start = if end == End::Source { 8 } else { 24 };
    let words = [(0, 96), (4, 64), (8, 32), (12, 0)].map(|(offset, shift)| {
        let [value, mask] = [bits, mask].map(|all| ((all >> shift) & 0xffff_ffff) as u32);
        (mask != 0).then(|| word(start + offset, value, mask))
    });
    Node::All(words.into_iter().flatten().collect())
}

/// Addresses of DECnet phase IV stand in one of four places, low byte first, as flags and padding
/// say.
fn decnet(end: End, address: u16) -> Node {
    let value = u32::from(address.swap_bytes());
    let (short, long) = if end == End::Source { (5, 17) } else { (3, 9) };
    let flags = |value| masked(Base::Payload, 2, Width::One, 0x07, value);
    let padded = |value| masked(Base::Payload, 2, Width::Two, 0xff07, value);
    Node::Any(vec![
        Node::All(vec![flags(2), half(short, value)]),
        Node::All(vec![padded(0x8102), half(short + 1, value)]),
        Node::All(vec![flags(6), half(long, value)]),
        Node::All(vec![padded(0x8106), half(long + 1, value)]),
    ])
}

fn ports(transport: Option<Transport>, direction: Direction, first: u16, last: u16) -> Node {
    const EACH: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::Sctp];
    let carried = |offset| {
        let asked = EACH.iter().filter(|each| transport.is_none_or(|only| only == **each));
        let mut tests: Vec<_> = asked.map(|each| byte(offset, u32::from(each.number()))).collect();
        match tests.pop() {
            Some(only) if tests.is_empty() => only,
            Some(last) => {
                tests.push(last);
                Node::Any(tests)
            }
            None => Node::Any(tests),
        }
    };
    let port = |base, start: u32| {
        direction.of(|end| {
            let offset = start + if end == End::Source { 0 } else { 2 };
            let half = bytes(base, offset, Width::Two, 0xffff, u32::from(first));
            if first == last {
                return Node::Test(Test::Bytes(half));
            }
            let at_least = Bytes { compare: Compare::AtLeast, ..half };
            let at_most = Bytes { compare: Compare::AtMost, value: u32::from(last), ..half };
            Node::All(vec![Node::Test(Test::Bytes(at_least)), Node::Test(Test::Bytes(at_most))])
        })
    };
    let in_v6 = Node::All(vec![carries(IPV6), carried(6), port(Base::Payload, IPV6_LEN)]);
    let in_v4 =
        Node::All(vec![carries(IPV4), carried(9), is_first_fragment(), port(Base::Transport, 0)]);
    Node::Any(vec![in_v4, in_v6])
}

fn is_first_fragment() -> Node {
    masked(Base::Payload, 6, Width::Two, 0x1fff, 0)
}

fn relation(left: &Arithmetic, compare: Compare, right: &Arithmetic) -> Node {
    let mut parts = Vec::new();
    conditions(left, &mut parts);
    conditions(right, &mut parts);
    parts.push(match (simple(left), right) {
        (Some(found), Arithmetic::Number(value)) => {
            Node::Test(Test::Bytes(Bytes { compare, value: *value, ..found }))
        }
        _ => match (left, right) {
            (Arithmetic::Length, Arithmetic::Number(value)) => length(compare, *value),
            _ => {
                let relation = (left.clone(), compare, right.clone());
                Node::Test(Test::Relation(Box::new(relation)))
            }
        },
    });
    Node::All(parts)
}

/// Bytes at a fixed place with or without a mask.
fn simple(arithmetic: &Arithmetic) -> Option<Bytes> {
    match arithmetic {
        Arithmetic::Bytes { header, offset, width } => match **offset {
            Arithmetic::Number(offset) => {
                let (base, start) = header.base();
                let mask = u32::MAX;
                Some(bytes(base, start.wrapping_add(offset), *width, mask, 0))
            }
            _ => None,
        },
        Arithmetic::Calculated { operator: Operator::And, left, right } => match **right {
            Arithmetic::Number(mask) => {
                // A mask upon a mask.
                simple(left).map(|found| Bytes { mask: found.mask & mask, ..found })
            }
            _ => None,
        },
        _ => None,
    }
}

/// What the packet has to be for a number to be taken from it. As in libpcap, of what is calculated
/// from two numbers only the left one is asked.
fn conditions(arithmetic: &Arithmetic, parts: &mut Vec<Node>) {
    match arithmetic {
        Arithmetic::Number(_) | Arithmetic::Length => {}
        Arithmetic::Negative(of) => conditions(of, parts),
        Arithmetic::Calculated { left, .. } => conditions(left, parts),
        Arithmetic::Bytes { header, offset, .. } => {
            conditions(offset, parts);
            match header {
                Accessor::Ether => {}
                Accessor::Carried(number) => parts.push(ether_type(*number)),
                Accessor::InIp(number) => {
                    parts.push(in_ip4(u32::from(*number)));
                    parts.push(is_first_fragment());
                }
                Accessor::Icmp6 => parts.extend([carries(IPV6), byte(6, 58)]),
            }
        }
    }
}

impl Direction {
    /// One question for each end, put together as the direction says.
    fn of(self, each: impl Fn(End) -> Node) -> Node {
        match self {
            Self::Source => each(End::Source),
            Self::Destination => each(End::Destination),
            Self::Either => Node::Any(vec![each(End::Source), each(End::Destination)]),
            Self::Both => Node::All(vec![each(End::Source), each(End::Destination)]),
        }
    }
}

/// Any of these; the sets of all names among them become one, so that hundreds of `vm ... or vm ...`
/// cost one look-up. It comes first: no byte that it needs can be missing.
fn any(parts: Vec<Node>) -> Node {
    let mut sets: [Vec<Arc<Members>>; 2] = Default::default();
    let mut others = Vec::with_capacity(parts.len());
    let flat = parts.into_iter().flat_map(|part| match part {
        Node::Any(parts) => parts,
        other => vec![other],
    });
    for part in flat {
        match part {
            Node::Test(Test::Member { end, members }) => {
                let [source, destination] = &mut sets;
                if end == End::Source { source } else { destination }.push(members);
            }
            other => others.push(other),
        }
    }
    let ends = [End::Source, End::Destination].into_iter().zip(sets);
    let sets = ends.filter_map(|(end, sets)| {
        let members = match &sets[..] {
            [] => return None,
            [only] => Arc::clone(only),
            several => Arc::new(Members::union(several)),
        };
        Some(Node::Test(Test::Member { end, members }))
    });
    Node::Any(sets.chain(others).collect())
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}

fn carries(number: u16) -> Node {
    Node::Test(Test::Carries(number))
}

fn to_mac(mask: u64, value: u64) -> Node {
    Node::Test(Test::Mac { end: End::Destination, mask, value })
}

fn length(compare: Compare, value: u32) -> Node {
    Node::Test(Test::Length { compare, value })
}

/// A byte of the frame's payload.
fn byte(offset: u32, value: u32) -> Node {
    masked(Base::Payload, offset, Width::One, u32::MAX, value)
}

/// Two bytes of the frame's payload.
fn half(offset: u32, value: u32) -> Node {
    masked(Base::Payload, offset, Width::Two, u32::MAX, value)
}

/// Four bytes of the frame's payload.
fn word(offset: u32, value: u32, mask: u32) -> Node {
    masked(Base::Payload, offset, Width::Four, mask, value)
}

fn masked(base: Base, offset: u32, width: Width, mask: u32, value: u32) -> Node {
    Node::Test(Test::Bytes(bytes(base, offset, width, mask, value)))
}

const fn bytes(base: Base, offset: u32, width: Width, mask: u32, value: u32) -> Bytes {
    Bytes { base, offset, width, mask, compare: Compare::Equal, value }
}

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
const IPV6: u16 = 0x86dd;
const DECNET: u16 = 0x6003;
/// The next header of an IPv6 fragment.
const FRAGMENT: u32 = 44;
