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
