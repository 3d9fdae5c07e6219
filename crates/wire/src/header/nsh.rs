//! Network service header: the chain of services a packet is led through.

use crate::{Cursor, Layer, Stop, StopReason};

/// A network service header with its metadata passed over (RFC 8300, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nsh {
    /// Service path, 24 bits.
    pub path: u32,
    /// Where on the path the packet is; counts down.
    pub index: u8,
    /// What follows: 1 IPv4, 2 IPv6, 3 Ethernet, 4 NSH, 5 MPLS.
    pub next_protocol: u8,
}

impl Nsh {
    /// Reads the header at `cursor` and leaves `cursor` on what it carries.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [first, len, _, next_protocol, p0, p1, p2, index] =
                *cursor.take::<8>(Layer::Nsh)?;
            if first >> 6 != 0 {
                return Err(cursor.stop(Layer::Nsh, StopReason::Unsupported));
            }
            // Section 2.2: the length counts words and holds the first two.
            let Some(rest) = (usize::from(len & 0x3f) * 4).checked_sub(8) else {
                return Err(cursor.stop(Layer::Nsh, StopReason::Malformed));
            };
            cursor.take_slice(Layer::Nsh, rest)?;
            Ok(Self { path: u32::from_be_bytes([0, p0, p1, p2]), index, next_protocol })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_shorter_than_itself_is_malformed() {
        let stop = Stop { layer: Layer::Nsh, offset: 0, reason: StopReason::Malformed };
        assert_eq!(Nsh::decode(&mut Cursor::new(&[0, 1, 2, 3, 0, 0, 1, 255])), Err(stop));
    }
}
