//! Cutting a TCP super-frame into the segments that a network card would have sent.
//!
//! A VM's tap shows frames of up to 64 KiB and more, which no wire ever carries. Each segment has
//! the headers of the whole, with its own lengths, sequence number, identification, flags and
//! checksums (RFC 9293, section 3.1; the kernel's Documentation/networking/segmentation-offloads).

use std::ops::Range;

use wire::Layer;

use crate::shape::Shape;
use crate::sum::Sum;

/// How a super-frame is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    ip: usize,
    is_v4: bool,
    tcp: usize,
    payload: usize,
    end: usize,
    /// Bytes of payload in each segment but the last.
    each: usize,
}

impl Cut {
    /// The cut of a frame into segments of at most `room` bytes, none with an IP packet larger than
    /// Ethernet takes; `None` if it is no whole TCP segment without tunnel, fragment or IP options.
    pub(crate) fn of(data: &[u8], wire_len: u32, shape: &Shape, room: usize) -> Option<Self> {
        let (ip, is_v4) = shape.ip?;
        let (Layer::Tcp, tcp) = shape.transport? else { return None };
        let is_whole = data.len() >= wire_len as usize && shape.unknown.is_none();
        if !is_whole || !shape.is_only_level || !shape.is_plain {
            return None;
        }
        let ip_len = if is_v4 { 20 } else { 40 };
        if tcp != ip + ip_len
            || shape.payload < tcp + 20
            || shape.payload_end > data.len()
            || shape.payload_end < shape.payload
        {
            return None;
        }
        let most = room.min(ip + MOST_IP_BYTES);
        let each = most.checked_sub(shape.payload).filter(|each| *each > 0)?;
        // What only a trailer makes too long has nothing to be cut into segments.
        if shape.payload_end - shape.payload <= each {
            return None;
        }
        Some(Self { ip, is_v4, tcp, payload: shape.payload, end: shape.payload_end, each })
    }

    /// The payload of each segment, in order.
    pub(crate) fn pieces(self) -> impl Iterator<Item = Range<usize>> {
        let Self { payload, end, each, .. } = self;
        (payload..end).step_by(each).map(move |from| from..(from + each).min(end))
    }

    /// Puts the segment with this payload into `segment`.
    pub(crate) fn put(self, data: &[u8], piece: &Range<usize>, segment: &mut Vec<u8>) {
        let Self { ip, is_v4, tcp, payload, end, each } = self;
        segment.clear();
        segment.extend_from_slice(data.get(..payload).unwrap_or_default());
        segment.extend_from_slice(data.get(piece.clone()).unwrap_or_default());
        let len = segment.len();
        let number = (piece.start - payload) / each;
        if is_v4 {
            set_u16(segment, ip + 2, len - ip);
            let id = get_u16(segment, ip + 4).wrapping_add(low_u16(number));
            set_u16(segment, ip + 4, id.into());
            set_u16(segment, ip + 10, 0);
            let mut sum = Sum::default();
            sum.add(segment.get(ip..tcp).unwrap_or_default());
            set_u16(segment, ip + 10, sum.checksum().into());
        } else {
            set_u16(segment, ip + 4, len - tcp);
        }
        if let Some(field) = segment.get_mut(tcp + 4..).and_then(<[u8]>::first_chunk_mut::<4>) {
            let offset = u32::try_from(piece.start - payload).unwrap_or(u32::MAX);
            *field = u32::from_be_bytes(*field).wrapping_add(offset).to_be_bytes();
        }
        if let Some(flags) = segment.get_mut(tcp + 13) {
            if piece.start > payload {
                *flags &= !CWR;
            }
            if piece.end < end {
                *flags &= !(FIN | PSH);
            }
        }
        set_u16(segment, tcp + 16, 0);
        let sum = self.pseudo_header(segment).checksum();
        set_u16(segment, tcp + 16, sum.into());
    }

    /// The sum over pseudo header and segment (RFC 9293, section 3.1; RFC 8200, section 8.1).
    fn pseudo_header(self, segment: &[u8]) -> Sum {
        let Self { ip, is_v4, tcp, .. } = self;
        let addresses = if is_v4 { ip + 12..ip + 20 } else { ip + 8..ip + 40 };
        let covered = segment.get(tcp..).unwrap_or_default();
        let mut sum = Sum::default();
        sum.add(segment.get(addresses).unwrap_or_default());
        sum.add_word(TCP);
        sum.add_word(low_u16(covered.len()));
        sum.add(covered);
        sum
    }
}

fn get_u16(data: &[u8], at: usize) -> u16 {
    data.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |field| u16::from_be_bytes(*field))
}

fn set_u16(data: &mut [u8], at: usize, value: usize) {
    if let Some(field) = data.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *field = low_u16(value).to_be_bytes();
    }
}

/// The low 16 bits: lengths of segments fit, and identifications wrap.
#[allow(clippy::cast_possible_truncation)]
const fn low_u16(value: usize) -> u16 {
    value as u16
}

/// What Ethernet takes.
const MOST_IP_BYTES: usize = 1500;
const TCP: u16 = 6;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;
