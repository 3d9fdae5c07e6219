//! TRILL: Ethernet frames led through a campus of bridges by hop count.

use crate::{Cursor, Layer, Stop, StopReason};

/// A TRILL header behind its EtherType 0x22f3 (RFC 6325, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trill {
    /// Nickname of the bridge the frame leaves by, or of the tree it is spread along.
    pub egress: u16,
    /// Nickname of the bridge the frame came in by.
    pub ingress: u16,
}

impl Trill {
    /// Reads the header at `cursor` and leaves `cursor` on the Ethernet frame.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [first, second, e0, e1, i0, i1] = *cursor.take::<6>(Layer::Trill)?;
            if first >> 6 != 0 {
                return Err(cursor.stop(Layer::Trill, StopReason::Unsupported));
            }
            // Section 3.5: five bits across the two bytes count words of options.
            let words = (first & 0x07) << 2 | second >> 6;
            cursor.take_slice(Layer::Trill, usize::from(words) * 4)?;
            Ok(Self { egress: u16::from_be_bytes([e0, e1]), ingress: u16::from_be_bytes([i0, i1]) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_passed_over() {
        let bytes = [0x00, 0x7f, 0, 1, 0, 2, 9, 9, 9, 9, 0xaa];
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(Trill::decode(&mut cursor), Ok(Trill { egress: 1, ingress: 2 }));
        assert_eq!(cursor.ahead(), [0xaa]);
    }
}
