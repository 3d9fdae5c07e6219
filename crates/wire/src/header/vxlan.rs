//! VXLAN: a layer-2 frame carried in UDP, named by a 24-bit network identifier.
//!
//! The header of RFC 7348 with the group policy extension. The generic protocol extension is in
//! `vxlan_gpe`.

use crate::{Cursor, Layer, Stop, StopReason, Vni};

/// A VXLAN header: which overlay network the inner frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vxlan {
    /// The overlay network of the inner frame.
    pub vni: Vni,
    /// Group of the sender, where the G flag is set (draft-smith-vxlan-group-policy, section 2.1).
    pub gbp: Option<u16>,
    /// The first two bytes as they are.
    pub flags: u16,
}

impl Vxlan {
    /// The flag without which there is no network identifier.
    pub const FLAG_VNI_VALID: u8 = 0x08;

    /// Reads the header at `cursor` and leaves `cursor` on the inner Ethernet frame.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [flags, more, g0, g1, high, middle, low, _] = *cursor.take::<8>(Layer::Vxlan)?;
            // RFC 7348, section 5: without the I flag the VNI means nothing. The other seven
            // bits must be ignored on receipt, so they are not checked here.
            if flags & Self::FLAG_VNI_VALID == 0 {
                return Err(cursor.stop(Layer::Vxlan, StopReason::Malformed));
            }
            Ok(Self {
                vni: Vni::from_be_bytes([high, middle, low]),
                gbp: (flags & FLAG_GROUP != 0).then(|| u16::from_be_bytes([g0, g1])),
                flags: u16::from_be_bytes([flags, more]),
            })
        })
    }
}

const FLAG_GROUP: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vxlan_without_the_i_flag_stops_at_its_first_byte() {
        let bytes = [
            0x00, 0x00, 0x00, 0x00, // flags: I clear
            0x00, 0x00, 0x2a, 0x00, // VNI 42
        ];
        let stop = Stop { layer: Layer::Vxlan, offset: 0, reason: StopReason::Malformed };
        assert_eq!(Vxlan::decode(&mut Cursor::new(&bytes)), Err(stop));
    }

    #[test]
    fn vxlan_with_every_reserved_bit_set_is_still_vxlan() {
        let bytes = [
            0xff, 0xff, 0x00, 0x07, // flags: all, group 7
            0xff, 0xff, 0xff, 0xff, // VNI 16777215
        ];
        let vxlan = Vxlan::decode(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!((vxlan.vni.value(), vxlan.gbp), (0xff_ffff, Some(7)));
    }
}
