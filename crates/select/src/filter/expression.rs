//! What an expression says, as a tree, and its normal form as text.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use wire::{Mac, VlanId, Vni};

use super::names::{self, ETHER_TYPES};
use super::resolver::Name;

/// An expression. `All` and `Any` never directly hold one of their own kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// All of them; nothing in it is always true.
    All(Vec<Expression>),
    /// At least one of them.
    Any(Vec<Expression>),
    Not(Box<Expression>),
    /// The same question, asked somewhere else.
    Within(Scope, Box<Expression>),
    Is(Primitive),
}

/// Where an expression looks, when not at the innermost level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// At the underlay: the outermost level.
    Outer,
    /// At each level in turn; one of them has to satisfy all of it.
    Any,
}

/// One question about a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Primitive {
    /// The EtherType of what the frame carries.
    EtherType(u16),
    /// The protocol that IP carries.
    IpProtocol {
        family: IpFamily,
        number: u8,
    },
    /// A MAC.
    Ether {
        direction: Direction,
        mac: Mac,
    },
    /// An IPv4 address or network, also in ARP and RARP.
    V4 {
        family: V4Family,
        direction: Direction,
        address: Ipv4Addr,
        mask: Ipv4Addr,
    },
    /// An IPv6 address or network.
    V6 {
        direction: Direction,
        address: Ipv6Addr,
        prefix_len: u8,
    },
    /// A port of TCP, UDP or SCTP, first to last.
    Port {
        transport: Option<Transport>,
        direction: Direction,
        first: u16,
        last: u16,
    },
    EtherBroadcast,
    EtherMulticast,
    IpBroadcast,
    IpMulticast,
    Ip6Multicast,
    /// The frame has at most so many bytes.
    Less(u32),
    /// The frame has at least so many bytes.
    Greater(u32),
    Vlan(Option<VlanId>),
    Mpls(Option<u32>),
    /// VXLAN or GENEVE with this number.
    Vni(Vni),
    Vxlan(Option<Vni>),
    Geneve(Option<Vni>),
    Gre {
        key: Option<u32>,
    },
    Erspan {
        session: Option<u16>,
    },
    /// A vNIC that the inventory knows by this name.
    Named {
        direction: Direction,
        name: Name,
    },
}

/// Which end of a packet is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Either,
    Source,
    Destination,
    Both,
}

/// Which version of IP carries a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IpFamily {
    Any,
    V4,
    V6,
}

/// Where an IPv4 address may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum V4Family {
    Any,
    Ip,
    Arp,
    Rarp,
}

/// A transport with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
    Sctp,
}

impl Expression {
    /// Every packet.
    pub(super) const EVERYTHING: Self = Self::All(Vec::new());
}

impl Transport {
    /// Its IP protocol number.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

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
                Self::All(_) | Self::Any(_) => write!(f, "not ({part})"),
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
            Self::EtherType(number @ (0x0800 | 0x0806 | 0x8035 | 0x86dd)) => {
                f.write_str(names::name(ETHER_TYPES, &number).unwrap_or_default())
            }
            Self::EtherType(number) => write!(f, "ether proto {number:#06x}"),
            Self::IpProtocol { family, number } => write_protocol(f, family, number),
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
            Self::Vlan(id) => write_with(f, "vlan", id),
            Self::Mpls(label) => write_with(f, "mpls", label),
            Self::Vni(vni) => write!(f, "vni {vni}"),
            Self::Vxlan(vni) => write_with(f, "vxlan", vni),
            Self::Geneve(vni) => write_with(f, "geneve", vni),
            Self::Gre { key } => write_with(f, if key.is_some() { "gre key" } else { "gre" }, key),
            Self::Erspan { session } => {
                write_with(f, if session.is_some() { "erspan session" } else { "erspan" }, session)
            }
        }
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

fn write_with(
    f: &mut fmt::Formatter<'_>,
    word: &str,
    number: Option<impl fmt::Display>,
) -> fmt::Result {
    match number {
        Some(number) => write!(f, "{word} {number}"),
        None => f.write_str(word),
    }
}

fn write_protocol(f: &mut fmt::Formatter<'_>, family: IpFamily, number: u8) -> fmt::Result {
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
