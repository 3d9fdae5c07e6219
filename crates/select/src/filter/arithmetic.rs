//! Numbers made from a packet: bytes of a header, its length, and what is calculated from them.

use std::fmt;

/// Something that is a number once there is a packet. All numbers have 32 bits and wrap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Number(u32),
    /// How many bytes the frame has.
    Length,
    /// Bytes of a header, high byte first.
    Bytes {
        header: Accessor,
        offset: Box<Arithmetic>,
        width: Width,
    },
    Negative(Box<Arithmetic>),
    Calculated {
        operator: Operator,
        left: Box<Arithmetic>,
        right: Box<Arithmetic>,
    },
}

/// Where the bytes are counted from, and what the packet has to be for that to make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accessor {
    /// The frame's own first byte.
    Ether,
    /// What the frame carries, if it is of this EtherType.
    Carried(u16),
    /// What IPv4 carries, if it is this protocol and not a later fragment.
    InIp(u8),
    /// What IPv6 carries, if it is ICMPv6.
    Icmp6,
}

/// How many bytes make the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    One,
    Two,
    Four,
}

/// What is calculated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    /// The packet is refused if the divisor is 0, as by libpcap.
    Divide,
    /// As `Divide`.
    Remainder,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// How two numbers are compared, as numbers without sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    Unequal,
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Width {
    pub(crate) const fn bytes(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

impl Operator {
    /// How strongly it binds. libpcap's grammar gives `%` and `^` no rank of their own, so that
    /// they take all that follows them: see the parser.
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::Or => 0,
            Self::And => 1,
            Self::ShiftLeft | Self::ShiftRight => 2,
            Self::Add | Self::Subtract => 3,
            Self::Multiply | Self::Divide => 4,
            Self::Remainder | Self::Xor => 5,
        }
    }

    /// The result, or `None` for a division by zero.
    #[inline]
    pub(crate) fn apply(self, left: u32, right: u32) -> Option<u32> {
        Some(match self {
            Self::Add => left.wrapping_add(right),
            Self::Subtract => left.wrapping_sub(right),
            Self::Multiply => left.wrapping_mul(right),
            Self::Divide => left.checked_div(right)?,
            Self::Remainder => left.checked_rem(right)?,
            Self::And => left & right,
            Self::Or => left | right,
            Self::Xor => left ^ right,
            Self::ShiftLeft => left.checked_shl(right).unwrap_or(0),
            Self::ShiftRight => left.checked_shr(right).unwrap_or(0),
        })
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::And => "&",
            Self::Or => "|",
            Self::Xor => "^",
            Self::ShiftLeft => "<<",
            Self::ShiftRight => ">>",
        }
    }
}

impl Compare {
    #[inline]
    pub(crate) const fn holds(self, left: u32, right: u32) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Above => left > right,
            Self::AtLeast => left >= right,
            Self::Below => left < right,
            Self::AtMost => left <= right,
        }
    }

    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Unequal => "!=",
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        }
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, part: &Self| match part {
            Self::Calculated { .. } | Self::Negative(_) => write!(f, "({part})"),
            _ => part.fmt(f),
        };
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Length => f.write_str("len"),
            Self::Bytes { header, offset, width } => {
                write!(f, "{header}[{offset}")?;
                match width {
                    Width::One => f.write_str("]"),
                    _ => write!(f, ":{}]", width.bytes()),
                }
            }
            Self::Negative(of) => {
                f.write_str("-")?;
                part(f, of)
            }
            Self::Calculated { operator, left, right } => {
                part(f, left)?;
                write!(f, " {} ", operator.sign())?;
                part(f, right)
            }
        }
    }
}

impl fmt::Display for Accessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ACCESSORS.iter().find(|(_, accessor)| accessor == self);
        f.write_str(name.map_or("ether", |(name, _)| name))
    }
}

/// The words before `[`.
pub(crate) const ACCESSORS: &[(&str, Accessor)] = &[
    ("ether", Accessor::Ether),
    ("link", Accessor::Ether),
    ("wlan", Accessor::Ether),
    ("fddi", Accessor::Ether),
    ("tr", Accessor::Ether),
    ("ppp", Accessor::Ether),
    ("slip", Accessor::Ether),
    ("ip", Accessor::Carried(0x0800)),
    ("ip6", Accessor::Carried(0x86dd)),
    ("arp", Accessor::Carried(0x0806)),
    ("rarp", Accessor::Carried(0x8035)),
    ("atalk", Accessor::Carried(0x809b)),
    ("decnet", Accessor::Carried(0x6003)),
    ("lat", Accessor::Carried(0x6004)),
    ("sca", Accessor::Carried(0x6007)),
    ("moprc", Accessor::Carried(0x6002)),
    ("mopdl", Accessor::Carried(0x6001)),
    ("tcp", Accessor::InIp(6)),
    ("udp", Accessor::InIp(17)),
    ("sctp", Accessor::InIp(132)),
    ("icmp", Accessor::InIp(1)),
    ("igmp", Accessor::InIp(2)),
    ("igrp", Accessor::InIp(9)),
    ("pim", Accessor::InIp(103)),
    ("vrrp", Accessor::InIp(112)),
    ("carp", Accessor::InIp(112)),
    ("icmp6", Accessor::Icmp6),
];

/// Words that are numbers (pcap-filter(7)).
pub(crate) const CONSTANTS: &[(&str, u32)] = &[
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("tcpflags", 13),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6-destinationunreach", 1),
    ("icmp6-destinationrunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-nodeinformationquery", 139),
    ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141),
    ("icmp6-ineighbordiscoveryadvert", 142),
    ("icmp6-multicastlistenerreportv2", 143),
    ("icmp6-homeagentdiscoveryrequest", 144),
    ("icmp6-homeagentdiscoveryreply", 145),
    ("icmp6-mobileprefixsolicit", 146),
    ("icmp6-mobileprefixadvert", 147),
    ("icmp6-certpathsolicit", 148),
    ("icmp6-certpathadvert", 149),
    ("icmp6-multicastrouteradvert", 151),
    ("icmp6-multicastroutersolicit", 152),
    ("icmp6-multicastroutertermination", 153),
    ("icmp6-multicastrouterterm", 153),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];
