//! Cisco VN-Tag: which virtual interface of a port extender a frame came from or goes to.
//!
//! ```text
//! D P | dst VIF 14 | L R | version 2 | src VIF 12 | EtherType 16
//! ```

use crate::{Cursor, Layer, Stop};

/// A VN-Tag behind its EtherType 0x8926.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VnTag {
    /// Whether the frame comes from the bridge, that is goes to the VM.
    pub is_from_bridge: bool,
    /// Whether `destination` names a list of interfaces: the frame is replicated.
    pub is_list: bool,
    /// Destination virtual interface or list, 14 bits.
    pub destination: u16,
    /// Whether the frame came in by the bridge port it now leaves by.
    pub is_looped: bool,
    /// Source virtual interface, 12 bits.
    pub source: u16,
    /// Version of the format, 0 to 3; only 0 is in use.
    pub version: u8,
    /// What follows: an EtherType, or a length below 0x0600.
    pub type_or_length: u16,
}

impl VnTag {
    /// Reads the tag at `cursor`, which stands behind EtherType 0x8926.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [d0, d1, s0, s1, n0, n1] = *cursor.take::<6>(Layer::VnTag)?;
        Ok(Self {
            is_from_bridge: d0 & 0x80 != 0,
            is_list: d0 & 0x40 != 0,
            destination: u16::from_be_bytes([d0 & 0x3f, d1]),
            is_looped: s0 & 0x80 != 0,
            source: u16::from_be_bytes([s0 & 0x0f, s1]),
            version: s0 >> 4 & 0x03,
            type_or_length: u16::from_be_bytes([n0, n1]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_vn_tag_has_its_bits() {
        let bytes = [
            0xff, 0xff, // from the bridge, list 16383
            0x8f, 0xff, // looped, version 0, source 4095
            0x00, 0x2e, // 46 bytes of LLC
        ];
        let tag = VnTag::decode(&mut Cursor::new(&bytes)).unwrap();
        assert!(tag.is_from_bridge && tag.is_list && tag.is_looped);
        assert_eq!((tag.destination, tag.source, tag.version), (0x3fff, 0xfff, 0));
        assert_eq!(tag.type_or_length, 46);
    }
}
