//! IPv4, with its options passed over.

use std::net::Ipv4Addr;

use crate::{Cursor, Layer, Stop, StopReason};

/// An IPv4 header (RFC 791, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4 {
    /// Who sent the packet.
    pub source: Ipv4Addr,
    /// Who it is for.
    pub destination: Ipv4Addr,
    /// Protocol number of what follows.
    pub protocol: u8,
    /// Routers the packet may still pass.
    pub ttl: u8,
    /// Differentiated services field, with congestion notification in the low 2 bits.
    pub tos: u8,
    /// Identification, the same in all fragments of a packet.
    pub id: u16,
    /// Whether routers may not fragment it.
    pub is_unfragmentable: bool,
    /// Whether fragments follow behind this one.
    pub has_more_fragments: bool,
    /// Where this fragment belongs in its packet, in bytes.
    pub fragment_offset: u16,
    /// Bytes of the header with its options, 20 to 60.
    pub header_len: usize,
    /// Bytes of header and payload as the field says; 0 in packets larger than 65535 bytes.
    pub total_len: u16,
}

impl Ipv4 {
    /// Reads the header at `cursor` and leaves `cursor` behind its options.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [
                first,
                tos,
                l0,
                l1,
                i0,
                i1,
                f0,
                f1,
                ttl,
                protocol,
                _,
                _,
                s0,
                s1,
                s2,
                s3,
                d0,
                d1,
                d2,
                d3,
            ] = *cursor.take::<20>(Layer::Ipv4)?;
            let header_len = usize::from(first & 0x0f) * 4;
            if first >> 4 != 4 || header_len < MIN_LEN {
                return Err(cursor.stop(Layer::Ipv4, StopReason::Malformed));
            }
            if header_len > MIN_LEN {
                cursor.take_slice(Layer::Ipv4, header_len - MIN_LEN)?;
            }
            Ok(Self {
                source: Ipv4Addr::new(s0, s1, s2, s3),
                destination: Ipv4Addr::new(d0, d1, d2, d3),
                protocol,
                ttl,
                tos,
                id: u16::from_be_bytes([i0, i1]),
                is_unfragmentable: f0 & 0x40 != 0,
                has_more_fragments: f0 & 0x20 != 0,
                fragment_offset: u16::from_be_bytes([f0 & 0x1f, f1]) << 3,
                header_len,
                total_len: u16::from_be_bytes([l0, l1]),
            })
        })
    }
}

const MIN_LEN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_length_is_found_and_those_below_five_words_are_malformed() {
        for words in 0..16_u8 {
            let mut bytes = [0; 60];
            bytes[0] = 0x40 | words;
            let mut cursor = Cursor::new(&bytes);
            let ip = Ipv4::decode(&mut cursor);
            if words < 5 {
                let stop = Stop { layer: Layer::Ipv4, offset: 0, reason: StopReason::Malformed };
                assert_eq!(ip, Err(stop));
            } else {
                assert_eq!(ip.unwrap().header_len, usize::from(words) * 4);
                assert_eq!(cursor.offset(), usize::from(words) * 4);
            }
        }
    }

    #[test]
    fn another_version_is_malformed_and_cut_options_are_cut() {
        let mut bytes = [0; 24];
        bytes[0] = 0x65;
        let stop = |reason| Err(Stop { layer: Layer::Ipv4, offset: 0, reason });
        assert_eq!(Ipv4::decode(&mut Cursor::new(&bytes)), stop(StopReason::Malformed));
        bytes[0] = 0x47;
        assert_eq!(Ipv4::decode(&mut Cursor::new(&bytes)), stop(StopReason::Truncated));
    }

    #[test]
    fn fragment_offsets_are_in_bytes() {
        let mut bytes = [0; 20];
        bytes[0] = 0x45;
        [bytes[6], bytes[7]] = [0x3f, 0xff];
        let ip = Ipv4::decode(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!((ip.fragment_offset, ip.has_more_fragments), (65528, true));
    }
}
