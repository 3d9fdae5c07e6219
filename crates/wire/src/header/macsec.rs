//! MACsec: Ethernet frames protected between two neighbours; readable if only signed.

use crate::{Cursor, Layer, Stop};

/// A security tag behind its EtherType 0x88e5 (IEEE 802.1AE-2018, section 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Macsec {
    /// Whether the frame cannot be read: encrypted, or changed by its cipher.
    pub is_encrypted: bool,
    /// Number of the packet.
    pub packet: u32,
    /// Bytes up to the integrity check value if they are fewer than 48; else 0.
    pub short_len: u8,
}

impl Macsec {
    /// Bytes of the integrity check value of the default cipher suite, at the end of the frame.
    pub const ICV_LEN: usize = 16;

    /// Reads the tag at `cursor` and leaves `cursor` on the protected EtherType.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [control, short_len, p0, p1, p2, p3] = *cursor.take::<6>(Layer::Macsec)?;
            if control & HAS_CHANNEL != 0 {
                cursor.take::<8>(Layer::Macsec)?;
            }
            Ok(Self {
                is_encrypted: control & (ENCRYPTED | CHANGED) != 0,
                packet: u32::from_be_bytes([p0, p1, p2, p3]),
                short_len: short_len & 0x3f,
            })
        })
    }
}

const HAS_CHANNEL: u8 = 0x20;
const ENCRYPTED: u8 = 0x08;
const CHANGED: u8 = 0x04;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signed_frame_is_readable() {
        let bytes = [0x20, 0x22, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0, 1];
        let mut cursor = Cursor::new(&bytes);
        let tag = Macsec::decode(&mut cursor).unwrap();
        assert_eq!((tag.is_encrypted, tag.short_len, cursor.offset()), (false, 34, 14));
        assert!(Macsec::decode(&mut Cursor::new(&[0x0c, 0, 0, 0, 0, 1])).unwrap().is_encrypted);
    }
}
