//! An expression in words: what it asks, and where each question looks.

use std::fmt;

use super::Filter;
use super::arithmetic::Arithmetic;
use super::expression::{
    Carrier, Direction, Expression, IpFamily, Primitive, Scope, Transport, V4Family, Way,
};
use super::names::{self, ETHER_TYPES, IP_PROTOCOLS, SERVICES};
use super::numbers::Numbers;

/// What a filter asks, for people: one line a question, indented by what it belongs to.
///
/// Lines end without a point and hold no control characters but those of names, which whoever
/// prints them has to replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    lines: Vec<(usize, String)>,
}

impl Explanation {
    pub(super) fn of(filter: &Filter) -> Self {
        let mut explained = Self { lines: Vec::new() };
        if filter.wants_everything() {
            explained.say(0, "every packet");
            return explained;
        }
        let is_only_outer = matches!(filter.expression, Expression::Within(..));
        if !is_only_outer {
            explained.say(0, "of the innermost frame, the packet as the VM sent it:");
        }
        explained.expression(filter, &filter.expression, usize::from(!is_only_outer), false);
        explained
    }

    /// The lines, and how deep each is indented, from 0.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().map(|(depth, text)| (*depth, text.as_str()))
    }

    fn say(&mut self, depth: usize, text: impl Into<String>) {
        self.lines.push((depth, text.into()));
    }

    fn expression(
        &mut self,
        filter: &Filter,
        expression: &Expression,
        depth: usize,
        is_scoped: bool,
    ) {
        let (head, parts) = match expression {
            Expression::All(parts) => ("all of", parts.as_slice()),
            Expression::Any(parts) => ("at least one of", parts.as_slice()),
            Expression::Not(part) => match &**part {
                Expression::Is(primitive) => {
                    let text = self::primitive(filter, primitive, is_scoped);
                    return self.say(depth, format!("not: {text}"));
                }
                Expression::Not(part) => {
                    return self.expression(filter, part, depth, is_scoped);
                }
                other => ("not", std::slice::from_ref(other)),
            },
            Expression::Within(scope, part) => {
                self.say(
                    depth,
                    match scope {
                        Scope::Outer => "of the outermost frame, the underlay where there is one:",
                        Scope::Any => "of some one frame, outermost to innermost, all of this:",
                    },
                );
                return self.expression(filter, part, depth + 1, true);
            }
            Expression::Is(primitive) => {
                let text = self::primitive(filter, primitive, is_scoped);
                return self.say(depth, text);
            }
        };
        self.say(depth, format!("{head}:"));
        for part in parts {
            self.expression(filter, part, depth + 1, is_scoped);
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (depth, text)) in self.lines.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{:1$}{text}", "", depth * 2)?;
        }
        Ok(())
    }
}

fn primitive(filter: &Filter, primitive: &Primitive, is_scoped: bool) -> String {
    match primitive {
        Primitive::EtherType(number) => ether_type(*number),
        Primitive::Llc(None) => "an LLC frame".into(),
        Primitive::Llc(Some(kind)) => format!("an LLC frame of kind {}", kind.name),
        Primitive::IsoProtocol(number) => format!("OSI protocol {number:#04x}"),
        Primitive::IsIs(word) => format!("IS-IS, PDU type {word}"),
        Primitive::IpProtocol { family, number } => {
            format!("{} in {}", protocol(*number), family_name(*family))
        }
        Primitive::ProtocolChain { family, number } => format!(
            "{} in {}, behind whatever extension headers",
            protocol(*number),
            family_name(*family)
        ),
        Primitive::Ether { direction, mac } => format!("{} MAC is {mac}", end(*direction)),
        Primitive::V4 { family, direction, address, mask } => {
            let ones = mask.to_bits().leading_ones();
            let what = match ones {
                32 => format!("is {address}"),
                _ if mask.to_bits().count_ones() == ones => format!("is in {address}/{ones}"),
                _ => format!("is {address} where the mask {mask} has ones"),
            };
            let family = match family {
                V4Family::Any => "IPv4, ARP or RARP",
                V4Family::Ip => "IPv4",
                V4Family::Arp => "ARP",
                V4Family::Rarp => "RARP",
            };
            format!("{} address in {family} {what}", end(*direction))
        }
        Primitive::V6 { direction, address, prefix_len: 128 } => {
            format!("{} address in IPv6 is {address}", end(*direction))
        }
        Primitive::V6 { direction, address, prefix_len } => {
            format!("{} address in IPv6 is in {address}/{prefix_len}", end(*direction))
        }
        Primitive::DecNet { direction, address } => {
            let (area, node) = (address >> 10, address & 0x3ff);
            format!("{} address in DECnet is {area}.{node}", end(*direction))
        }
        Primitive::Port { transport, direction, first, last } => {
            let transport = match transport {
                Some(Transport::Tcp) => "TCP",
                Some(Transport::Udp) => "UDP",
                Some(Transport::Sctp) => "SCTP",
                None => "TCP, UDP or SCTP",
            };
            let what = match (first == last, names::name(SERVICES, first)) {
                (true, Some(name)) => format!("is {first} ({name})"),
                (true, None) => format!("is {first}"),
                (false, _) => format!("is from {first} to {last}"),
            };
            format!("{} port in {transport} {what}", end(*direction))
        }
        Primitive::EtherBroadcast => "sent to the broadcast MAC".into(),
        Primitive::EtherMulticast => "sent to a group's MAC, broadcast included".into(),
        Primitive::IpBroadcast => "sent to 0.0.0.0 or 255.255.255.255 in IPv4".into(),
        Primitive::IpMulticast => "sent to a multicast address of IPv4".into(),
        Primitive::Ip6Multicast => "sent to a multicast address of IPv6".into(),
        Primitive::Less(len) => format!("at most {len} bytes long"),
        Primitive::Greater(len) => format!("at least {len} bytes long"),
        Primitive::Relation { left, compare, right } => {
            let missing = if has_bytes(left) || has_bytes(right) {
                ", where the packet has these bytes"
            } else {
                ""
            };
            format!("{left} {} {right}{missing}", compare.sign())
        }
        Primitive::Goes(Way::In) => "on its way to the VM".into(),
        Primitive::Goes(Way::Out) => "on its way from the VM".into(),
        Primitive::Carrier(carrier) => {
            let scope = if is_scoped { "" } else { ", at whatever level" };
            format!("{}{scope}", self::carrier(carrier))
        }
        Primitive::Named { direction, name } => {
            let count = filter.meanings.get(name).map_or(0, |members| members.macs().len());
            let scope = if is_scoped { "" } else { ", at whatever level the site has made" };
            let macs = if count == 1 { "MAC" } else { "MACs" };
            format!(
                "{} MAC is one of `{name}`: {count} {macs}, each in its network and at its \
                 time{scope}",
                end(*direction)
            )
        }
    }
}

fn carrier(carrier: &Carrier) -> String {
    let numbered = |what: &str, number: &str, numbers: &Numbers| {
        if numbers.is_any() { what.to_owned() } else { format!("{what}, {number} {numbers}") }
    };
    match carrier {
        Carrier::Vlan(ids) => numbered("tagged with a VLAN", "number", ids),
        Carrier::QinQ => "tagged with two VLANs or more".into(),
        Carrier::Mpls(labels) => numbered("behind an MPLS label", "label", labels),
        Carrier::PppoeDiscovery => "PPPoE discovery".into(),
        Carrier::PppoeSession(ids) => numbered("in a PPPoE session", "number", ids),
        Carrier::Vni(numbers) => numbered("in VXLAN or GENEVE", "VNI", numbers),
        Carrier::Vxlan(numbers) => numbered("in VXLAN", "VNI", numbers),
        Carrier::Geneve(numbers) => numbered("in GENEVE", "VNI", numbers),
        Carrier::Gre(keys) => numbered("in GRE", "key", keys),
        Carrier::Nvgre(subnets) => numbered("in NVGRE", "virtual subnet", subnets),
        Carrier::Erspan(sessions) => numbered("mirrored in ERSPAN", "session", sessions),
        Carrier::VnTag { direction, vif } => {
            let number = format!("{} virtual interface", end(*direction));
            numbered("with a VN-Tag", &number, vif)
        }
        Carrier::ETag(ids) => numbered("with an 802.1BR tag", "extended port", ids),
        Carrier::Gtpu(ids) => numbered("in GTP-U", "tunnel end point", ids),
    }
}

fn ether_type(number: u16) -> String {
    match (number, names::name(ETHER_TYPES, &number)) {
        (0x0800, _) => "IPv4".into(),
        (0x86dd, _) => "IPv6".into(),
        (0..=1500, Some(name)) => {
            format!("{} (LLC service access point {number:#04x})", name.to_uppercase())
        }
        (_, Some(name)) => format!("{} (EtherType {number:#06x})", name.to_uppercase()),
        (0..=1500, None) => format!("LLC service access point {number:#04x}"),
        _ => format!("EtherType {number:#06x}"),
    }
}

fn protocol(number: u32) -> String {
    let name = u8::try_from(number).ok().and_then(|number| names::name(IP_PROTOCOLS, &number));
    match name {
        Some(name) => format!("{} (protocol {number})", name.to_uppercase()),
        None => format!("protocol {number}"),
    }
}

const fn family_name(family: IpFamily) -> &'static str {
    match family {
        IpFamily::Any => "IPv4 or IPv6",
        IpFamily::V4 => "IPv4",
        IpFamily::V6 => "IPv6",
    }
}

const fn end(direction: Direction) -> &'static str {
    match direction {
        Direction::Either => "source or destination",
        Direction::Source => "source",
        Direction::Destination => "destination",
        Direction::Both => "source and destination",
    }
}

fn has_bytes(arithmetic: &Arithmetic) -> bool {
    match arithmetic {
        Arithmetic::Number(_) | Arithmetic::Length => false,
        Arithmetic::Bytes { .. } => true,
        Arithmetic::Negative(of) => has_bytes(of),
        Arithmetic::Calculated { left, right, .. } => has_bytes(left) || has_bytes(right),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::Filter;
    use crate::filter::tests::expressions;

    fn explained(text: &str) -> String {
        Filter::parse(text).unwrap_or_else(|error| panic!("{error}")).explanation().to_string()
    }

    #[test]
    fn an_expression_is_said_in_words_with_where_it_looks() {
        assert_eq!(
            explained("tcp port 443 and not (vni 5001 or outer (src net 10.0.0.0/8))"),
            "of the innermost frame, the packet as the VM sent it:\n  \
               all of:\n    \
                 source or destination port in TCP is 443 (https)\n    \
                 not:\n      \
                   at least one of:\n        \
                     in VXLAN or GENEVE, VNI 5001, at whatever level\n        \
                     of the outermost frame, the underlay where there is one:\n          \
                       source address in IPv4, ARP or RARP is in 10.0.0.0/8"
        );
        assert_eq!(explained(""), "every packet");
        assert_eq!(
            explained("any (vxlan and tcp[13] & 2 != 0)"),
            "of some one frame, outermost to innermost, all of this:\n  \
               all of:\n    \
                 in VXLAN\n    \
                 tcp[13] & 2 != 0, where the packet has these bytes"
        );
        assert!(explained("not not icmp6").ends_with("  ICMP6 (protocol 58) in IPv6"));
    }

    proptest! {
        #[test]
        fn every_expression_has_words(text in expressions()) {
            let explained = explained(&text);
            prop_assert!(!explained.is_empty());
            prop_assert!(explained.lines().all(|line| !line.trim().is_empty()));
        }
    }
}
