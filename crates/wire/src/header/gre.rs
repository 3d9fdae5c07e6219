//! GRE: anything with an EtherType carried in IP. Version 1 is that of PPTP.

use crate::{Cursor, Layer, Stop, StopReason};

use super::ethertype;

/// A GRE header (RFC 2784, section 2; RFC 2890; RFC 1701 for routing; RFC 2637, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gre {
    /// EtherType of what it carries.
    pub protocol: u16,
    /// Key, where the K bit is set; in version 1 payload length and call id.
    pub key: Option<u32>,
    /// Number of the packet, where the S bit is set.
    pub sequence: Option<u32>,
    /// 0, or 1 for PPTP.
    pub version: u8,
    /// Bytes of the header.
    pub len: usize,
}

impl Gre {
    /// Of the first byte: a sequence number is there.
    pub(crate) const FLAG_SEQUENCE: u8 = 0x10;

    /// Reads the header at `cursor` and leaves `cursor` on what it carries.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(Self::decode_parts)
    }

    #[inline]
    fn decode_parts(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let offset = cursor.offset();
        let [flags, version, p0, p1] = *cursor.take::<4>(Layer::Gre)?;
        let acknowledges = version & FLAG_ACKNOWLEDGEMENT != 0;
        let version = version & 0x07;
        if version > 1 {
            return Err(cursor.stop(Layer::Gre, StopReason::Unsupported));
        }
        if flags & (FLAG_CHECKSUM | FLAG_ROUTING) != 0 {
            cursor.take::<4>(Layer::Gre)?;
        }
        let key = if flags & FLAG_KEY != 0 {
            Some(u32::from_be_bytes(*cursor.take::<4>(Layer::Gre)?))
        } else {
            None
        };
        let sequence = if flags & Self::FLAG_SEQUENCE != 0 {
            Some(u32::from_be_bytes(*cursor.take::<4>(Layer::Gre)?))
        } else {
            None
        };
        if version == 1 && acknowledges {
            cursor.take::<4>(Layer::Gre)?;
        }
        if version == 0 && flags & FLAG_ROUTING != 0 {
            Self::pass_routes(cursor)?;
        }
        Ok(Self {
            protocol: u16::from_be_bytes([p0, p1]),
            key,
            sequence,
            version,
            len: cursor.offset() - offset,
        })
    }

    /// Source route entries end with one of address family 0 and length 0 (RFC 1701).
    fn pass_routes(cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        loop {
            let [f0, f1, _, len] = *cursor.take::<4>(Layer::Gre)?;
            cursor.take_slice(Layer::Gre, usize::from(len))?;
            if [f0, f1, len] == [0, 0, 0] {
                return Ok(());
            }
        }
    }

    /// What the key means if the other end is NVGRE (RFC 7637, section 3.2); `None` if it cannot
    /// be.
    ///
    /// The same bytes may be a plain key or VMware's mirror direction; which of them they are is
    /// known from the configuration of the end points only.
    pub fn as_nvgre(&self) -> Option<Nvgre> {
        if self.version != 0 || self.protocol != ethertype::ETHERNET || self.sequence.is_some() {
            return None;
        }
        self.key.map(|key| {
            let [.., flow] = key.to_be_bytes();
            Nvgre { vsid: key >> 8, flow }
        })
    }
}

/// A GRE key as NVGRE reads it (RFC 7637, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nvgre {
    /// Virtual subnet, 24 bits.
    pub vsid: u32,
    /// A hash of the inner flow.
    pub flow: u8,
}

const FLAG_CHECKSUM: u8 = 0x80;
const FLAG_ROUTING: u8 = 0x40;
const FLAG_KEY: u8 = 0x20;
const FLAG_ACKNOWLEDGEMENT: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_flags_has_its_length() {
        for flags in 0..16_u8 {
            let (c, r, k, s) = (flags & 8, flags & 4, flags & 2, flags & 1);
            let mut bytes = vec![flags << 4, 0, 0x08, 0x00];
            let mut len = 4;
            if c | r != 0 {
                bytes.extend([0xcc; 4]);
                len += 4;
            }
            if k != 0 {
                bytes.extend([0, 0, 0, 7]);
                len += 4;
            }
            if s != 0 {
                bytes.extend([0, 0, 0, 9]);
                len += 4;
            }
            if r != 0 {
                bytes.extend([0x08, 0x00, 0, 4, 10, 0, 0, 1]); // one route of 4 bytes
                bytes.extend([0; 4]); // the end of them
                len += 12;
            }
            bytes.extend([0x45; 8]);
            let mut cursor = Cursor::new(&bytes);
            let gre = Gre::decode(&mut cursor).unwrap();
            assert_eq!((gre.len, cursor.offset()), (len, len), "{flags:04b}");
            assert_eq!(gre.key, (k != 0).then_some(7), "{flags:04b}");
            assert_eq!(gre.sequence, (s != 0).then_some(9), "{flags:04b}");
            for cut in 0..len {
                let stop = Stop { layer: Layer::Gre, offset: 0, reason: StopReason::Truncated };
                assert_eq!(Gre::decode(&mut Cursor::new(&bytes[..cut])), Err(stop), "{cut}");
            }
        }
    }

    #[test]
    fn gre_of_an_unknown_version_stops_at_its_first_byte() {
        let stop = Stop { layer: Layer::Gre, offset: 0, reason: StopReason::Unsupported };
        assert_eq!(Gre::decode(&mut Cursor::new(&[0, 2, 8, 0])), Err(stop));
    }

    #[test]
    fn only_ethernet_with_a_key_and_no_sequence_can_be_nvgre() {
        let gre = |bytes: &[u8]| Gre::decode(&mut Cursor::new(bytes)).unwrap();
        let nvgre = gre(&[0x20, 0, 0x65, 0x58, 0, 0x0f, 0xa0, 0x11]).as_nvgre();
        assert_eq!(nvgre, Some(Nvgre { vsid: 4000, flow: 0x11 }));
        assert_eq!(gre(&[0x20, 0, 0x08, 0x00, 0, 0x0f, 0xa0, 0x11]).as_nvgre(), None);
        assert_eq!(gre(&[0x00, 0, 0x65, 0x58]).as_nvgre(), None);
    }
}
