//! 802.1BR E-Tag: which extended port of a bridge a frame came from or goes to.
//!
//! ```text
//! E-PCP 3 | E-DEI 1 | ingress E-CID base 12 | reserved 2 | GRP 2 | E-CID base 12 |
//! ingress E-CID extension 8 | E-CID extension 8 | EtherType 16
//! ```

use crate::{Cursor, Layer, Stop};

/// An E-Tag behind its EtherType 0x893f (IEEE 802.1BR-2012, section 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ETag {
    /// Priority code point, 0 to 7.
    pub pcp: u8,
    /// Drop eligible indicator.
    pub dei: bool,
    /// Extended port the frame came in by, 20 bits; 0 if there was none.
    pub ingress: u32,
    /// 0 for one port; else `id` names a group of ports.
    pub group: u8,
    /// Extended port or group of them the frame goes to or came from, 20 bits: the extension
    /// times 4096 plus the base.
    pub id: u32,
    /// What follows: an EtherType, or a length below 0x0600.
    pub type_or_length: u16,
}

impl ETag {
    /// Reads the tag at `cursor`, which stands behind EtherType 0x893f.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [i0, i1, e0, e1, ingress_extension, extension, n0, n1] =
            *cursor.take::<8>(Layer::ETag)?;
        let id = |extension: u8, high: u8, low: u8| {
            u32::from(extension) << 12 | u32::from(high & 0x0f) << 8 | u32::from(low)
        };
        Ok(Self {
            pcp: i0 >> 5,
            dei: i0 & 0x10 != 0,
            ingress: id(ingress_extension, i0, i1),
            group: e0 >> 4 & 0x03,
            id: id(extension, e0, e1),
            type_or_length: u16::from_be_bytes([n0, n1]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_made_of_base_and_extension() {
        let bytes = [
            0xf0, 0x02, // PCP 7, DEI, ingress base 2
            0x2f, 0xff, // group 2, base 4095
            0x01, 0xff, // extensions 1 and 255
            0x08, 0x00, // IPv4
        ];
        let tag = ETag::decode(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!((tag.pcp, tag.dei, tag.group), (7, true, 2));
        assert_eq!((tag.ingress, tag.id), (4096 + 2, 0xf_ffff));
    }
}
