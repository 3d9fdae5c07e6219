//! The words of the language and what each says about the value behind it.

use super::super::expression::{Direction, IpFamily, Primitive, Transport};
use super::super::names::{self, ETHER_TYPES, SERVICES};
use super::super::resolver::NameKind;

/// What is said about a value before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Qualifiers {
    pub(super) protocol: Option<Protocol>,
    pub(super) direction: Direction,
    pub(super) what: What,
}

impl Qualifiers {
    pub(super) const fn of(what: What) -> Self {
        Self { protocol: None, direction: Direction::Either, what }
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
    ProtoChain,
    Named(NameKind),
}

/// A word that names a protocol and may stand alone or before a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Ether,
    Ip,
    Ip6,
    Arp,
    Rarp,
    DecNet,
    Iso,
    Transport(Transport),
    /// What IP carries; may only stand alone.
    Other(IpFamily, u32),
    /// What Ethernet carries; may only stand alone.
    Carried(u16),
}

impl What {
    pub(super) fn named(word: &str) -> Option<Self> {
        Some(match word {
            "host" => Self::Host,
            "net" => Self::Net,
            "port" => Self::Port,
            "portrange" => Self::PortRange,
            "proto" => Self::Proto,
            "protochain" => Self::ProtoChain,
            "vm" => Self::Named(NameKind::Vm),
            "tenant" => Self::Named(NameKind::Tenant),
            "host-of" => Self::Named(NameKind::HostOf),
            "portgroup" => Self::Named(NameKind::PortGroup),
            _ => return None,
        })
    }

    pub(super) const fn is_protocol(self) -> bool {
        matches!(self, Self::Proto | Self::ProtoChain)
    }

    pub(super) fn expected(self, protocol: Option<Protocol>) -> &'static str {
        match self {
            Self::Host if protocol == Some(Protocol::Ether) => "a MAC address",
            Self::Host if protocol == Some(Protocol::DecNet) => "an address of DECnet, as 1.13",
            Self::Host => "an address",
            Self::Net => "a network, as 10.1.0.0/16",
            Self::Port => "a port",
            Self::PortRange => "two ports, as 6000-6008",
            Self::Proto | Self::ProtoChain => "a protocol",
            Self::Named(_) => "a name of the inventory",
        }
    }
}

impl Protocol {
    pub(super) fn named(word: &str) -> Option<Self> {
        Some(match word {
            "ether" | "link" | "wlan" | "fddi" | "tr" => Self::Ether,
            "ip" => Self::Ip,
            "ip6" => Self::Ip6,
            "arp" => Self::Arp,
            "rarp" => Self::Rarp,
            "decnet" => Self::DecNet,
            "iso" => Self::Iso,
            "tcp" => Self::Transport(Transport::Tcp),
            "udp" => Self::Transport(Transport::Udp),
            "sctp" => Self::Transport(Transport::Sctp),
            "icmp" => Self::Other(IpFamily::V4, 1),
            "igmp" => Self::Other(IpFamily::V4, 2),
            "igrp" => Self::Other(IpFamily::V4, 9),
            "vrrp" | "carp" => Self::Other(IpFamily::V4, 112),
            "icmp6" => Self::Other(IpFamily::V6, 58),
            "esp" => Self::Other(IpFamily::Any, 50),
            "ah" => Self::Other(IpFamily::Any, 51),
            "pim" => Self::Other(IpFamily::Any, 103),
            _ if names::is_word(word) => Self::Carried(names::number(ETHER_TYPES, word)?),
            _ => return None,
        })
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Ether => "ether".to_owned(),
            other => other.alone().to_string(),
        }
    }

    /// What it asks when nothing follows it.
    pub(super) fn alone(self) -> Primitive {
        match self {
            Self::Ether => Primitive::Greater(0),
            Self::Ip => Primitive::EtherType(0x0800),
            Self::Ip6 => Primitive::EtherType(0x86dd),
            Self::Arp => Primitive::EtherType(0x0806),
            Self::Rarp => Primitive::EtherType(0x8035),
            Self::DecNet => Primitive::EtherType(0x6003),
            Self::Iso => Primitive::EtherType(0xfe),
            Self::Carried(number) => Primitive::EtherType(number),
            Self::Transport(transport) => {
                let number = u32::from(transport.number());
                Primitive::IpProtocol { family: IpFamily::Any, number }
            }
            Self::Other(family, number) => Primitive::IpProtocol { family, number },
        }
    }
}

/// Broadcast or multicast of a protocol, if it has it.
pub(super) fn group(protocol: Option<Protocol>, word: &str) -> Option<Primitive> {
    Some(match (protocol, word) {
        (None | Some(Protocol::Ether), "broadcast") => Primitive::EtherBroadcast,
        (None | Some(Protocol::Ether), _) => Primitive::EtherMulticast,
        (Some(Protocol::Ip), "broadcast") => Primitive::IpBroadcast,
        (Some(Protocol::Ip), _) => Primitive::IpMulticast,
        (Some(Protocol::Ip6), "multicast") => Primitive::Ip6Multicast,
        _ => return None,
    })
}

/// Whether `word` says something about the value behind it.
pub(super) fn is_qualifier(word: &str) -> bool {
    matches!(word, "src" | "dst" | "broadcast" | "multicast") || What::named(word).is_some()
}

/// Whether `word` means something by itself.
pub(in super::super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

/// `port vxlan`: a keyword that is a service too.
pub(super) fn is_value_too(qualifiers: Qualifiers, word: &str) -> bool {
    matches!(qualifiers.what, What::Port | What::PortRange)
        && names::number(SERVICES, word).is_some()
}

/// Every word that means something by itself, the connecting ones included.
pub(super) const KEYWORDS: &[&str] = &[
    "aarp",
    "ah",
    "and",
    "any",
    "arp",
    "atalk",
    "broadcast",
    "carp",
    "clnp",
    "csnp",
    "decnet",
    "dst",
    "erspan",
    "es-is",
    "esis",
    "esp",
    "etag",
    "ether",
    "fddi",
    "gateway",
    "geneve",
    "gre",
    "greater",
    "gtpu",
    "host",
    "host-of",
    "icmp",
    "icmp6",
    "igmp",
    "igrp",
    "iih",
    "inbound",
    "ip",
    "ip6",
    "ipx",
    "is-is",
    "isis",
    "iso",
    "l1",
    "l2",
    "lat",
    "len",
    "less",
    "link",
    "llc",
    "lsp",
    "mopdl",
    "moprc",
    "mpls",
    "multicast",
    "net",
    "netbeui",
    "not",
    "nvgre",
    "or",
    "outbound",
    "outer",
    "pim",
    "port",
    "portgroup",
    "portrange",
    "pppoed",
    "pppoes",
    "proto",
    "protochain",
    "psnp",
    "qinq",
    "rarp",
    "sctp",
    "snp",
    "src",
    "stp",
    "tcp",
    "tenant",
    "tr",
    "udp",
    "vlan",
    "vm",
    "vni",
    "vntag",
    "vrrp",
    "vxlan",
    "wlan",
];
