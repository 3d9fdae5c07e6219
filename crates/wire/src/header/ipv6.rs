//! IPv6 and the extension headers between it and its payload.

use std::net::Ipv6Addr;

use crate::{Cursor, Layer, Stop, StopReason};

/// An IPv6 header (RFC 8200, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6 {
    /// Who sent the packet.
    pub source: Ipv6Addr,
    /// Who it is for.
    pub destination: Ipv6Addr,
    /// Kind of the header that follows: an extension header or a protocol number.
    pub next_header: u8,
    /// Routers the packet may still pass.
    pub hop_limit: u8,
    /// Traffic class, with congestion notification in the low 2 bits.
    pub class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Bytes behind this header; 0 in packets larger than 65535 bytes.
    pub payload_len: u16,
}

impl Ipv6 {
    /// Bytes of the header.
    pub const LEN: usize = 40;

    /// Reads the header at `cursor` and leaves `cursor` behind it.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            // Taken as one piece, so that a header is either there or not.
            let header = *cursor.take::<{ Self::LEN }>(Layer::Ipv6)?;
            let mut parts = Cursor::new(&header);
            let [v0, v1, v2, v3, l0, l1, next_header, hop_limit] = *parts.take::<8>(Layer::Ipv6)?;
            if v0 >> 4 != 6 {
                return Err(cursor.stop(Layer::Ipv6, StopReason::Malformed));
            }
            Ok(Self {
                source: Ipv6Addr::from(*parts.take::<16>(Layer::Ipv6)?),
                destination: Ipv6Addr::from(*parts.take::<16>(Layer::Ipv6)?),
                next_header,
                hop_limit,
                class: v0 << 4 | v1 >> 4,
                flow_label: u32::from_be_bytes([0, v1 & 0x0f, v2, v3]),
                payload_len: u16::from_be_bytes([l0, l1]),
            })
        })
    }
}

/// An extension header of which only its end and what follows matter: hop-by-hop and destination
/// options, routing, mobility, HIP, Shim6 (RFC 8200, section 4; RFC 6564).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Extension {
    /// Kind of the header that follows.
    pub next_header: u8,
    /// Bytes of this header, a multiple of 8 from 8 to 2048.
    pub len: usize,
}

impl Ipv6Extension {
    /// Reads the header of kind `layer` at `cursor` and leaves `cursor` behind it.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>, layer: Layer) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [next_header, units, ..] = *cursor.take::<8>(layer)?;
            let rest = usize::from(units) * 8;
            cursor.take_slice(layer, rest)?;
            Ok(Self { next_header, len: 8 + rest })
        })
    }
}

/// The fragment header (RFC 8200, section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Fragment {
    /// Kind of the header that follows in the first fragment.
    pub next_header: u8,
    /// Where this fragment belongs in its packet, in bytes.
    pub offset: u16,
    /// Whether fragments follow behind this one.
    pub has_more: bool,
    /// Identification, the same in all fragments of a packet.
    pub id: u32,
}

impl Ipv6Fragment {
    /// Reads the header at `cursor` and leaves `cursor` behind it.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [next_header, _, o0, o1, i0, i1, i2, i3] = *cursor.take::<8>(Layer::Ipv6Fragment)?;
        Ok(Self {
            next_header,
            offset: u16::from_be_bytes([o0, o1 & 0xf8]),
            has_more: o1 & 1 != 0,
            id: u32::from_be_bytes([i0, i1, i2, i3]),
        })
    }
}

/// The authentication header, under IPv4 or IPv6 (RFC 4302, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ah {
    /// Kind of the header that follows.
    pub next_header: u8,
    /// Security parameters index.
    pub spi: u32,
    /// Number of the packet within its security association.
    pub sequence: u32,
}

impl Ah {
    /// Reads the header at `cursor` and leaves `cursor` behind it.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [next_header, words, _, _, p0, p1, p2, p3, s0, s1, s2, s3] =
                *cursor.take::<12>(Layer::Ah)?;
            // The length field counts words and leaves out the first two (RFC 4302, section 2.2).
            let Some(rest) = (usize::from(words) * 4 + 8).checked_sub(12) else {
                return Err(cursor.stop(Layer::Ah, StopReason::Malformed));
            };
            cursor.take_slice(Layer::Ah, rest)?;
            Ok(Self {
                next_header,
                spi: u32::from_be_bytes([p0, p1, p2, p3]),
                sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_malformed() {
        let stop = Stop { layer: Layer::Ipv6, offset: 0, reason: StopReason::Malformed };
        assert_eq!(Ipv6::decode(&mut Cursor::new(&[0x45; 40])), Err(stop));
    }

    #[test]
    fn an_extension_header_is_as_long_as_it_says_or_cut() {
        let mut bytes = [0; 24];
        [bytes[0], bytes[1]] = [17, 2];
        let layer = Layer::Ipv6Destination;
        let extension = Ipv6Extension::decode(&mut Cursor::new(&bytes), layer).unwrap();
        assert_eq!(extension, Ipv6Extension { next_header: 17, len: 24 });
        let stop = Stop { layer, offset: 0, reason: StopReason::Truncated };
        assert_eq!(Ipv6Extension::decode(&mut Cursor::new(&bytes[..23]), layer), Err(stop));
    }

    #[test]
    fn an_authentication_header_shorter_than_itself_is_malformed() {
        let stop = Stop { layer: Layer::Ah, offset: 0, reason: StopReason::Malformed };
        assert_eq!(Ah::decode(&mut Cursor::new(&[6, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2])), Err(stop));
    }
}
