//! Where decoding of a frame stopped, and why.

use std::fmt;

use crate::Layer;

/// Where decoding of a frame stopped, and why. What came before is understood and usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// The layer that could not be finished.
    pub layer: Layer,
    /// First byte that was not understood, counted from the start of the frame; at most its
    /// length.
    pub offset: usize,
    /// What kept it from being understood.
    pub reason: StopReason,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.layer, self.offset, self.reason)
    }
}

/// What kept a layer from being understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// The captured bytes end.
    Truncated,
    /// The packet ends, as the length in a header around it says.
    BeyondLength,
    /// The fragment of an IP packet ends, or begins in the middle of a packet.
    Fragment,
    /// A field has a value that the format does not allow.
    Malformed,
    /// A version, message or option of the format that is not decoded here.
    Unsupported,
    /// What follows has an EtherType that is not decoded here.
    UnknownEtherType(u16),
    /// What follows has an IP protocol number that is not decoded here.
    UnknownProtocol(u8),
    /// What follows has a PPP protocol number that is not decoded here.
    UnknownPppProtocol(u16),
    /// The frame begins with a format that is not decoded here.
    UnknownLinkType(u16),
    /// What follows is encrypted.
    Encrypted,
    /// More headers than [`Layers::MAX_HEADERS`](crate::Layers::MAX_HEADERS).
    TooManyHeaders,
    /// More tunnels in each other than [`Layers::MAX_TUNNELS`](crate::Layers::MAX_TUNNELS).
    TooManyTunnels,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("captured bytes end"),
            Self::BeyondLength => f.write_str("enclosing length ends"),
            Self::Fragment => f.write_str("fragment"),
            Self::Malformed => f.write_str("malformed"),
            Self::Unsupported => f.write_str("not supported"),
            Self::UnknownEtherType(value) => write!(f, "unknown EtherType 0x{value:04x}"),
            Self::UnknownProtocol(value) => write!(f, "unknown IP protocol {value}"),
            Self::UnknownPppProtocol(value) => write!(f, "unknown PPP protocol 0x{value:04x}"),
            Self::UnknownLinkType(value) => write!(f, "unknown link type {value}"),
            Self::Encrypted => f.write_str("encrypted"),
            Self::TooManyHeaders => f.write_str("too many headers"),
            Self::TooManyTunnels => f.write_str("too many tunnels in each other"),
        }
    }
}
