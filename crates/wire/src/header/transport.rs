//! What stands behind IP and ends the walk: TCP, UDP and their relatives, ICMP.

use crate::{Cursor, Layer, Stop, StopReason};

/// The two ports with which TCP, UDP, UDP-Lite, SCTP and DCCP all begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// Port of the sender.
    pub source: u16,
    /// Port of the receiver.
    pub destination: u16,
}

impl Ports {
    /// Reads the ports at `cursor`, where a header of `layer` begins.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>, layer: Layer) -> Result<Self, Stop> {
        let [s0, s1, d0, d1] = *cursor.take::<4>(layer)?;
        Ok(Self { source: u16::from_be_bytes([s0, s1]), destination: u16::from_be_bytes([d0, d1]) })
    }
}

/// A TCP header (RFC 9293, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Who talks to whom.
    pub ports: Ports,
    /// Number of the first byte of the payload.
    pub sequence: u32,
    /// Number of the next byte the sender expects.
    pub acknowledgement: u32,
    /// CWR, ECE, URG, ACK, PSH, RST, SYN, FIN from high to low.
    pub flags: u8,
    /// Bytes the sender is ready to receive, before scaling.
    pub window: u16,
    /// Bytes of the header with its options, 20 to 60.
    pub header_len: usize,
}

impl Tcp {
    /// Reads the header at `cursor` and leaves `cursor` behind its options.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
        let [p0, p1, p2, p3, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, w0, w1, _, _, _, _] =
            *cursor.take::<20>(Layer::Tcp)?;
        let header_len = usize::from(offset >> 4) * 4;
        let Some(options) = header_len.checked_sub(20) else {
            return Err(cursor.stop(Layer::Tcp, StopReason::Malformed));
        };
        cursor.take_slice(Layer::Tcp, options)?;
        Ok(Self {
            ports: Ports {
                source: u16::from_be_bytes([p0, p1]),
                destination: u16::from_be_bytes([p2, p3]),
            },
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            acknowledgement: u32::from_be_bytes([a0, a1, a2, a3]),
            flags,
            window: u16::from_be_bytes([w0, w1]),
            header_len,
        })
            })
    }
}

/// A UDP header (RFC 768); also UDP-Lite, where the length is that of the checked bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp {
    /// Who talks to whom.
    pub ports: Ports,
    /// Bytes of header and payload; 0 in packets larger than 65535 bytes (RFC 2675, section 4).
    pub len: u16,
    /// Checksum as sent; 0 if there is none.
    pub checksum: u16,
}

impl Udp {
    /// Bytes of the header.
    pub const LEN: u16 = 8;

    /// Reads the header at `cursor` and leaves `cursor` behind it.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [s0, s1, d0, d1, l0, l1, c0, c1] = *cursor.take::<8>(Layer::Udp)?;
        Ok(Self {
            ports: Ports {
                source: u16::from_be_bytes([s0, s1]),
                destination: u16::from_be_bytes([d0, d1]),
            },
            len: u16::from_be_bytes([l0, l1]),
            checksum: u16::from_be_bytes([c0, c1]),
        })
    }
}

/// The beginning of an SCTP packet (RFC 9260, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sctp {
    /// Who talks to whom.
    pub ports: Ports,
    /// Names the association to the receiver.
    pub verification_tag: u32,
}

impl Sctp {
    /// Reads the header at `cursor` and leaves `cursor` on the first chunk.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [s0, s1, d0, d1, t0, t1, t2, t3, _, _, _, _] = *cursor.take::<12>(Layer::Sctp)?;
        Ok(Self {
            ports: Ports {
                source: u16::from_be_bytes([s0, s1]),
                destination: u16::from_be_bytes([d0, d1]),
            },
            verification_tag: u32::from_be_bytes([t0, t1, t2, t3]),
        })
    }
}

/// The beginning of an ICMP (RFC 792) or ICMPv6 (RFC 4443) message.
///
/// An error quotes the packet it is about. That packet is not a payload: it never becomes a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// Kind of message.
    pub kind: u8,
    /// Closer description within the kind.
    pub code: u8,
}

impl Icmp {
    /// Reads the first 4 bytes of the message at `cursor`, where a header of `layer` begins.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>, layer: Layer) -> Result<Self, Stop> {
        let [kind, code, _, _] = *cursor.take::<4>(layer)?;
        Ok(Self { kind, code })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_header_shorter_than_itself_is_malformed() {
        let stop = Stop { layer: Layer::Tcp, offset: 0, reason: StopReason::Malformed };
        assert_eq!(Tcp::decode(&mut Cursor::new(&[0x40; 20])), Err(stop));
    }

    #[test]
    fn cut_tcp_options_are_cut() {
        let stop = Stop { layer: Layer::Tcp, offset: 0, reason: StopReason::Truncated };
        assert_eq!(Tcp::decode(&mut Cursor::new(&[0x60; 23])), Err(stop));
    }
}
