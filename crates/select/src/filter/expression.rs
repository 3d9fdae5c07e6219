//! What an expression says, as a tree.

use std::net::{Ipv4Addr, Ipv6Addr};

use wire::Mac;

use super::arithmetic::{Arithmetic, Compare};
use super::numbers::Numbers;
use super::resolver::Name;

/// An expression. `All` and `Any` never directly hold one of their own kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
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
pub(crate) enum Scope {
    /// At the underlay: the outermost level.
    Outer,
    /// At each level in turn; one of them has to satisfy all of it.
    Any,
}

/// One question about a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Primitive {
    /// What the frame carries: an EtherType or, below 1536, an LLC service access point.
    EtherType(u16),
    /// An LLC frame, of one kind or any.
    Llc(Option<LlcKind>),
    /// What OSI carries, by its protocol identifier.
    IsoProtocol(u8),
    /// A PDU of IS-IS, one of these types.
    IsIs(&'static str),
    /// The protocol that IP carries.
    IpProtocol {
        family: IpFamily,
        number: u32,
    },
    /// The protocol that IP carries behind its extension headers and AH.
    ProtocolChain {
        family: IpFamily,
        number: u32,
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
    /// An address of DECnet: area and node in 16 bits.
    DecNet {
        direction: Direction,
        address: u16,
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
    /// Two numbers, compared.
    Relation {
        left: Arithmetic,
        compare: Compare,
        right: Arithmetic,
    },
    /// Which way the packet goes, as the VM sees it.
    Goes(Way),
    /// What the frame has around it.
    Carrier(Carrier),
    /// A vNIC that the inventory knows by this name.
    Named {
        direction: Direction,
        name: Name,
    },
}

/// A tag, label, session or tunnel, by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Carrier {
    Vlan(Numbers),
    /// Two VLAN tags or more.
    QinQ,
    Mpls(Numbers),
    PppoeDiscovery,
    PppoeSession(Numbers),
    /// VXLAN or GENEVE.
    Vni(Numbers),
    Vxlan(Numbers),
    Geneve(Numbers),
    /// With this key.
    Gre(Numbers),
    /// GRE as RFC 7637 uses it, with this virtual subnet.
    Nvgre(Numbers),
    /// With this mirror session.
    Erspan(Numbers),
    /// A Cisco VN-Tag with this virtual interface.
    VnTag {
        direction: Direction,
        vif: Numbers,
    },
    /// An 802.1BR tag with this extended port.
    ETag(Numbers),
    /// With this tunnel end point.
    Gtpu(Numbers),
}

/// Kinds of LLC frames, and the commands and answers of pcap-filter(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LlcKind {
    pub(crate) name: &'static str,
    /// Which bits of the control field decide.
    pub(crate) mask: u8,
    pub(crate) value: u8,
}

/// Which end of a packet is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Either,
    Source,
    Destination,
    Both,
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the VM.
    In,
    /// From the VM.
    Out,
}

/// Which version of IP carries a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IpFamily {
    Any,
    V4,
    V6,
}

/// Where an IPv4 address may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum V4Family {
    Any,
    Ip,
    Arp,
    Rarp,
}

/// A transport with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Sctp,
}

impl Expression {
    /// Every packet.
    pub(crate) const EVERYTHING: Self = Self::All(Vec::new());
}

impl Transport {
    /// Its IP protocol number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// The high `prefix_len` bits, at most 128.
pub(crate) fn ipv6_mask(prefix_len: u8) -> u128 {
    !u128::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0)
}

/// The words behind `llc` (IEEE 802.2): the last bit of the control field is 0 in information
/// frames, the last two are 01 in supervisory and 11 in unnumbered ones, whose fifth is poll or
/// final.
pub(crate) const LLC_KINDS: &[LlcKind] = &[
    LlcKind { name: "i", mask: 0x01, value: 0x00 },
    LlcKind { name: "s", mask: 0x03, value: 0x01 },
    LlcKind { name: "u", mask: 0x03, value: 0x03 },
    LlcKind { name: "rr", mask: 0x0f, value: 0x01 },
    LlcKind { name: "rnr", mask: 0x0f, value: 0x05 },
    LlcKind { name: "rej", mask: 0x0f, value: 0x09 },
    LlcKind { name: "ui", mask: 0xef, value: 0x03 },
    LlcKind { name: "ua", mask: 0xef, value: 0x63 },
    LlcKind { name: "disc", mask: 0xef, value: 0x43 },
    LlcKind { name: "dm", mask: 0xef, value: 0x0f },
    LlcKind { name: "sabme", mask: 0xef, value: 0x6f },
    LlcKind { name: "test", mask: 0xef, value: 0xe3 },
    LlcKind { name: "xid", mask: 0xef, value: 0xaf },
    LlcKind { name: "frmr", mask: 0xef, value: 0x87 },
];

/// PDU types of IS-IS (ISO 10589, section 9) behind each of its words.
pub(crate) const ISIS_TYPES: &[(&str, &[u8])] = &[
    ("l1", &[0x1a, 0x18, 0x12, 0x0f, 0x11]),
    ("l2", &[0x1b, 0x19, 0x14, 0x10, 0x11]),
    ("iih", &[0x11, 0x0f, 0x10]),
    ("lsp", &[0x14, 0x12]),
    ("snp", &[0x1b, 0x1a, 0x19, 0x18]),
    ("csnp", &[0x19, 0x18]),
    ("psnp", &[0x1b, 0x1a]),
];
