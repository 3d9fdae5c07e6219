//! Logical link control, which Ethernet has where its type field is a length, and SNAP.

use crate::{Cursor, Layer, Stop};

/// An LLC header, with the SNAP header where there is one (IEEE 802.2, IEEE 802-2014).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Llc {
    /// Destination service access point.
    pub destination: u8,
    /// Source service access point.
    pub source: u8,
    /// Organisation and protocol of the SNAP header; `None` without one.
    pub snap: Option<Snap>,
}

/// What a SNAP header says about what follows (IEEE 802-2014, section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snap {
    /// Organisation that numbered the protocol; 0 if `protocol` is an EtherType.
    pub organisation: u32,
    /// Number of the protocol.
    pub protocol: u16,
}

impl Llc {
    /// Reads the header at `cursor` and leaves `cursor` behind it.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [destination, source, control] = *cursor.take::<3>(Layer::Llc)?;
            // Information and supervisory frames have a control field of two bytes (section 5.4).
            if control & 0x03 != 0x03 {
                cursor.take::<1>(Layer::Llc)?;
                return Ok(Self { destination, source, snap: None });
            }
            if destination & !1 != SAP_SNAP || source & !1 != SAP_SNAP {
                return Ok(Self { destination, source, snap: None });
            }
            Ok(Self { destination, source, snap: Some(Snap::decode(cursor)?) })
        })
    }
}

impl Snap {
    /// Reads the header at `cursor` and leaves `cursor` behind it.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [o0, o1, o2, p0, p1] = *cursor.take::<5>(Layer::Llc)?;
        Ok(Self {
            organisation: u32::from_be_bytes([0, o0, o1, o2]),
            protocol: u16::from_be_bytes([p0, p1]),
        })
    }
}

const SAP_SNAP: u8 = 0xaa;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snap_is_read_where_both_access_points_say_so() {
        let bytes = [0xaa, 0xaa, 0x03, 0x00, 0x00, 0x0c, 0x20, 0x00];
        let llc = Llc::decode(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(llc.snap, Some(Snap { organisation: 0x0c, protocol: 0x2000 }));
        let stop = Stop { layer: Layer::Llc, offset: 0, reason: crate::StopReason::Truncated };
        assert_eq!(Llc::decode(&mut Cursor::new(&bytes[..7])), Err(stop));
    }
}
