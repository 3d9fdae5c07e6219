//! Writing classic pcap, for tools that read nothing else.
//!
//! It has no place for interfaces, directions, counters and comments: who needs those writes
//! pcapng. Numbers are in the byte order of this machine.

use super::{MAX_PACKET_BYTES, Resolution};
use crate::{LinkType, Packet};

/// The two kinds of classic pcap that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PcapTime {
    /// Microseconds, which everything reads. Nanoseconds are cut off.
    Micros,
    /// Nanoseconds.
    Nanos,
}

/// Appends the header of a file whose packets begin with `link`.
pub fn write_pcap_header(out: &mut Vec<u8>, time: PcapTime, link: LinkType) {
    let magic: u32 = match time {
        PcapTime::Micros => 0xa1b2_c3d4,
        PcapTime::Nanos => 0xa1b2_3c4d,
    };
    out.extend_from_slice(&magic.to_ne_bytes());
    for version in [2_u16, 4] {
        out.extend_from_slice(&version.to_ne_bytes());
    }
    let snaplen = u32::try_from(MAX_PACKET_BYTES).unwrap_or(u32::MAX);
    for word in [0, 0, snaplen, u32::from(link.0)] {
        out.extend_from_slice(&word.to_ne_bytes());
    }
}

/// Appends a packet. What is beyond [`MAX_PACKET_BYTES`] is sliced off; seconds beyond the year
/// 2106 do not fit and become the last that do.
pub fn write_pcap_packet(out: &mut Vec<u8>, time: PcapTime, packet: &Packet<'_>) {
    let data = packet.data.get(..MAX_PACKET_BYTES).unwrap_or(packet.data);
    let fraction = match time {
        PcapTime::Micros => packet.time.subsec_nanos() / 1000,
        PcapTime::Nanos => packet.time.subsec_nanos(),
    };
    let seconds = u32::try_from(packet.time.seconds()).unwrap_or(u32::MAX);
    let captured = u32::try_from(data.len()).unwrap_or(u32::MAX);
    out.reserve(16 + data.len());
    for word in [seconds, fraction, captured, packet.wire_len] {
        out.extend_from_slice(&word.to_ne_bytes());
    }
    out.extend_from_slice(data);
}

impl PcapTime {
    /// The ticks it is written in.
    pub const fn resolution(self) -> Resolution {
        match self {
            Self::Micros => Resolution::MICROSECONDS,
            Self::Nanos => Resolution::NANOSECONDS,
        }
    }
}
