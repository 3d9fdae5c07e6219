//! ERSPAN: mirrored frames carried in GRE. Type I has no header of its own.
//!
//! ```text
//! II:  version 4 | VLAN 12 | COS 3 | En 2 | T 1 | session 10 | reserved 12 | index 20
//! III: version 4 | VLAN 12 | COS 3 | BSO 2 | T 1 | session 10 | time 32 | SGT 16 |
//!      P 1 | frame type 5 | hardware 6 | D 1 | Gra 2 | O 1 [| platform 6 | info 58]
//! ```

use crate::{Cursor, Layer, Stop, StopReason, VlanId};

/// An ERSPAN type II header (draft-foschiano-erspan-03, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erspan2 {
    /// VLAN the frame was seen in.
    pub vlan: VlanId,
    /// Class of service of the frame, 0 to 7.
    pub cos: u8,
    /// What became of the frame's own tag: 0 it had none, 1 ISL, 2 it was removed and is known
    /// from `vlan` and `cos` only, 3 it is still there.
    pub encapsulation: u8,
    /// Whether the switch cut the frame.
    pub is_truncated: bool,
    /// Mirror session, 10 bits.
    pub session: u16,
    /// Port and direction, as the platform numbers them, 20 bits.
    pub index: u32,
}

impl Erspan2 {
    /// Reads the header at `cursor` and leaves `cursor` on the mirrored frame.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [v0, v1, s0, s1, _, i0, i1, i2] = *cursor.take::<8>(Layer::Erspan2)?;
            if v0 >> 4 != 1 {
                return Err(cursor.stop(Layer::Erspan2, StopReason::Unsupported));
            }
            Ok(Self {
                vlan: VlanId::from_tci(u16::from_be_bytes([v0, v1])),
                cos: s0 >> 5,
                encapsulation: s0 >> 3 & 0x03,
                is_truncated: s0 & 0x04 != 0,
                session: u16::from_be_bytes([s0 & 0x03, s1]),
                index: u32::from_be_bytes([0, i0 & 0x0f, i1, i2]),
            })
        })
    }
}

/// An ERSPAN type III header (draft-foschiano-erspan-03, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erspan3 {
    /// VLAN the frame was seen in.
    pub vlan: VlanId,
    /// Class of service of the frame, 0 to 7.
    pub cos: u8,
    /// Whether the frame was bad: 1 too short, 2 too long, 3 wrong checksum.
    pub fault: u8,
    /// Whether the switch cut the frame.
    pub is_truncated: bool,
    /// Mirror session, 10 bits.
    pub session: u16,
    /// When the switch saw the frame, in units of `granularity`.
    pub time: u32,
    /// Security group tag.
    pub sgt: u16,
    /// What is mirrored: 0 Ethernet, 2 IP.
    pub frame_type: u8,
    /// Number of the engine that mirrored it, 6 bits.
    pub hardware: u8,
    /// Whether the frame was leaving the switch port.
    pub is_egress: bool,
    /// Unit of `time`: 0 is 100 µs, 1 is 100 ns, 2 IEEE 1588, 3 another.
    pub granularity: u8,
    /// The platform-specific sub-header, where there is one: id in the top 6 bits.
    pub platform: Option<u64>,
}

impl Erspan3 {
    /// Frame type: an Ethernet frame.
    pub const FRAME_ETHERNET: u8 = 0;
    /// Frame type: an IP packet.
    pub const FRAME_IP: u8 = 2;

    /// Reads the header at `cursor` and leaves `cursor` on the mirrored frame.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [v0, v1, s0, s1, t0, t1, t2, t3, g0, g1, f0, f1] =
                *cursor.take::<12>(Layer::Erspan3)?;
            if v0 >> 4 != 2 {
                return Err(cursor.stop(Layer::Erspan3, StopReason::Unsupported));
            }
            let platform = if f1 & 1 != 0 {
                let bytes = cursor.take::<8>(Layer::Erspan3)?;
                Some(u64::from_be_bytes(*bytes))
            } else {
                None
            };
            Ok(Self {
                vlan: VlanId::from_tci(u16::from_be_bytes([v0, v1])),
                cos: s0 >> 5,
                fault: s0 >> 3 & 0x03,
                is_truncated: s0 & 0x04 != 0,
                session: u16::from_be_bytes([s0 & 0x03, s1]),
                time: u32::from_be_bytes([t0, t1, t2, t3]),
                sgt: u16::from_be_bytes([g0, g1]),
                frame_type: f0 >> 2 & 0x1f,
                hardware: (f0 & 0x03) << 4 | f1 >> 4,
                is_egress: f1 & 0x08 != 0,
                granularity: f1 >> 1 & 0x03,
                platform,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_numbers_have_ten_bits_in_both_types() {
        for session in [0_u16, 255, 256, 767, 1023] {
            let [high, low] = session.to_be_bytes();
            let second = [0x10, 0x64, 0x78 | high, low, 0, 0, 0, 5];
            let erspan = Erspan2::decode(&mut Cursor::new(&second)).unwrap();
            assert_eq!((erspan.session, erspan.vlan.value()), (session, 100));
            assert_eq!((erspan.cos, erspan.encapsulation), (3, 3));
            let third = [0x2f, 0xff, 0xe4 | high, low, 0, 0, 0, 1, 0, 2, 0, 0];
            let erspan = Erspan3::decode(&mut Cursor::new(&third)).unwrap();
            assert_eq!((erspan.session, erspan.vlan.value()), (session, 4095));
            assert_eq!((erspan.cos, erspan.is_truncated, erspan.platform), (7, true, None));
        }
    }

    #[test]
    fn type_three_shows_every_field_of_its_last_bytes() {
        let bytes = [
            0x20, 0x01, 0x18, 0x02, // VLAN 1, BSO 3, session 2
            0x01, 0x02, 0x03, 0x04, // time
            0x00, 0x63, 0x8b, 0xfb, // SGT 99, P, frame type 2, hardware 63, D, Gra 1, O
            0x14, 0, 0, 0, 0, 0, 0, 9, // platform 5
        ];
        let mut cursor = Cursor::new(&bytes);
        let erspan = Erspan3::decode(&mut cursor).unwrap();
        assert_eq!(cursor.offset(), 20);
        assert_eq!((erspan.fault, erspan.sgt, erspan.time), (3, 99, 0x0102_0304));
        assert_eq!((erspan.frame_type, erspan.hardware), (Erspan3::FRAME_IP, 63));
        assert_eq!((erspan.is_egress, erspan.granularity), (true, 1));
        assert_eq!(erspan.platform.map(|platform| platform >> 58), Some(5));
    }

    #[test]
    fn a_wrong_version_and_a_cut_sub_header_stop_at_the_first_byte() {
        let stop = |layer, reason| Stop { layer, offset: 0, reason };
        assert_eq!(
            Erspan2::decode(&mut Cursor::new(&[0x20; 8])),
            Err(stop(Layer::Erspan2, StopReason::Unsupported))
        );
        assert_eq!(
            Erspan3::decode(&mut Cursor::new(&[0x10; 12])),
            Err(stop(Layer::Erspan3, StopReason::Unsupported))
        );
        assert_eq!(
            Erspan3::decode(&mut Cursor::new(&[0x21; 19])),
            Err(stop(Layer::Erspan3, StopReason::Truncated))
        );
    }
}
