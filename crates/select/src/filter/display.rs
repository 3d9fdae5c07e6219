//! The normal form: everything said in full, `and` and `or` only mixed by parentheses.

use std::fmt;

use super::expression::{
    Carrier, Direction, Expression, IpFamily, Primitive, Scope, Transport, V4Family, Way,
};
use super::names::{self, ETHER_TYPES};
use super::numbers::Numbers;

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str| {
            for (number, part) in parts.iter().enumerate() {
                if number > 0 {
                    write!(f, " {word} ")?;
                }
                // `and` and `or` bind equally: the tree is only clear with parentheses.
                match part {
                    Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
                    _ => part.fmt(f)?,
                }
            }
            Ok(())
        };
        match self {
            Self::All(parts) => list(f, parts, "and"),
            Self::Any(parts) => list(f, parts, "or"),
            Self::Not(part) => match **part {
                // What begins with a parenthesis would be taken for a group.
                Self::All(_) | Self::Any(_) | Self::Is(Primitive::Relation { .. }) => {
                    write!(f, "not ({part})")
                }
                _ => write!(f, "not {part}"),
            },
            Self::Within(Scope::Outer, part) => write!(f, "outer ({part})"),
            Self::Within(Scope::Any, part) => write!(f, "any ({part})"),
            Self::Is(primitive) => primitive.fmt(f),
        }
    }
}

impl fmt::Display for Primitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Named { direction, ref name } => write!(f, "{direction}{name}"),
            Self::Carrier(ref carrier) => carrier.fmt(f),
            Self::EtherType(number) => match names::name(ETHER_TYPES, &number) {
                Some(name) if names::is_word(name) => f.write_str(name),
                _ => write!(f, "ether proto {number:#06x}"),
            },
            Self::Llc(None) => f.write_str("llc"),
            Self::Llc(Some(kind)) => write!(f, "llc {}", kind.name),
            Self::IsoProtocol(0x81) => f.write_str("clnp"),
            Self::IsoProtocol(0x82) => f.write_str("esis"),
            Self::IsoProtocol(0x83) => f.write_str("isis"),
            Self::IsoProtocol(number) => write!(f, "iso proto {number}"),
            Self::IsIs(word) => f.write_str(word),
            Self::IpProtocol { family, number } => write_protocol(f, family, number),
            Self::ProtocolChain { family, number } => match family {
                IpFamily::Any => write!(f, "protochain {number}"),
                IpFamily::V4 => write!(f, "ip protochain {number}"),
                IpFamily::V6 => write!(f, "ip6 protochain {number}"),
            },
            Self::Ether { direction, mac } => write!(f, "ether {direction}host {mac}"),
            Self::V4 { family, direction, address, mask } => {
                write!(f, "{family}{direction}")?;
                let ones = mask.to_bits().leading_ones();
                match ones {
                    32 => write!(f, "host {address}"),
                    _ if mask.to_bits().count_ones() == ones => write!(f, "net {address}/{ones}"),
                    _ => write!(f, "net {address} mask {mask}"),
                }
            }
            Self::V6 { direction, address, prefix_len: 128 } => {
                write!(f, "{direction}host {address}")
            }
            Self::V6 { direction, address, prefix_len } => {
                write!(f, "{direction}net {address}/{prefix_len}")
            }
            Self::DecNet { direction, address } => {
                write!(f, "decnet {direction}host {}.{}", address >> 10, address & 0x3ff)
            }
            Self::Port { transport, direction, first, last } => {
                match transport {
                    Some(Transport::Tcp) => f.write_str("tcp ")?,
                    Some(Transport::Udp) => f.write_str("udp ")?,
                    Some(Transport::Sctp) => f.write_str("sctp ")?,
                    None => {}
                }
                if first == last {
                    write!(f, "{direction}port {first}")
                } else {
                    write!(f, "{direction}portrange {first}-{last}")
                }
            }
            Self::EtherBroadcast => f.write_str("ether broadcast"),
            Self::EtherMulticast => f.write_str("ether multicast"),
            Self::IpBroadcast => f.write_str("ip broadcast"),
            Self::IpMulticast => f.write_str("ip multicast"),
            Self::Ip6Multicast => f.write_str("ip6 multicast"),
            Self::Less(len) => write!(f, "less {len}"),
            Self::Greater(len) => write!(f, "greater {len}"),
            Self::Relation { ref left, compare, ref right } => {
                write!(f, "{left} {} {right}", compare.sign())
            }
            Self::Goes(Way::In) => f.write_str("inbound"),
            Self::Goes(Way::Out) => f.write_str("outbound"),
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, numbers) = match self {
            Self::QinQ => return f.write_str("qinq"),
            Self::PppoeDiscovery => return f.write_str("pppoed"),
            Self::VnTag { direction, vif } if !vif.is_any() => {
                return write!(f, "vntag {direction}vif {vif}");
            }
            Self::VnTag { vif, .. } => ("vntag", vif),
            Self::Vlan(numbers) => ("vlan", numbers),
            Self::Mpls(numbers) => ("mpls", numbers),
            Self::PppoeSession(numbers) => ("pppoes", numbers),
            Self::Vni(numbers) => ("vni", numbers),
            Self::Vxlan(numbers) => ("vxlan", numbers),
            Self::Geneve(numbers) => ("geneve", numbers),
            Self::Gre(numbers) => (with(numbers, "gre key", "gre"), numbers),
            Self::Nvgre(numbers) => (with(numbers, "nvgre vsid", "nvgre"), numbers),
            Self::Erspan(numbers) => (with(numbers, "erspan session", "erspan"), numbers),
            Self::ETag(numbers) => ("etag", numbers),
            Self::Gtpu(numbers) => (with(numbers, "gtpu teid", "gtpu"), numbers),
        };
        f.write_str(words)?;
        if numbers.is_any() { Ok(()) } else { write!(f, " {numbers}") }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Either => "",
            Self::Source => "src ",
            Self::Destination => "dst ",
            Self::Both => "src and dst ",
        })
    }
}

impl fmt::Display for V4Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "",
            Self::Ip => "ip ",
            Self::Arp => "arp ",
            Self::Rarp => "rarp ",
        })
    }
}

fn with<'a>(numbers: &Numbers, some: &'a str, any: &'a str) -> &'a str {
    if numbers.is_any() { any } else { some }
}

fn write_protocol(f: &mut fmt::Formatter<'_>, family: IpFamily, number: u32) -> fmt::Result {
    let name = match (family, number) {
        (IpFamily::Any, 6) => "tcp",
        (IpFamily::Any, 17) => "udp",
        (IpFamily::Any, 132) => "sctp",
        (IpFamily::Any, 50) => "esp",
        (IpFamily::Any, 51) => "ah",
        (IpFamily::Any, 103) => "pim",
        (IpFamily::V4, 1) => "icmp",
        (IpFamily::V4, 2) => "igmp",
        (IpFamily::V4, 9) => "igrp",
        (IpFamily::V4, 112) => "vrrp",
        (IpFamily::V6, 58) => "icmp6",
        (IpFamily::Any, _) => return write!(f, "proto {number}"),
        (IpFamily::V4, _) => return write!(f, "ip proto {number}"),
        (IpFamily::V6, _) => return write!(f, "ip6 proto {number}"),
    };
    f.write_str(name)
}
