//! STT: an Ethernet frame behind what looks like TCP.

use crate::{Cursor, Layer, Stop, StopReason};

/// The STT frame header (draft-davie-stt-08, section 3.2), which only the first segment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stt {
    /// The network, as the end points agree, 64 bits.
    pub context: u64,
    /// The VLAN tag of the frame, which is not in it, where there is one: priority and identifier.
    pub vlan_tci: Option<u16>,
}

impl Stt {
    /// Bytes of the header.
    pub const LEN: usize = 18;

    /// Reads the header at `cursor`, behind the header that looks like TCP, and leaves `cursor` on
    /// the Ethernet frame.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let header = *cursor.take::<{ Self::LEN }>(Layer::Stt)?;
            let [version, _, _, _, _, _, t0, t1, context @ .., _, _] = header;
            if version != 0 {
                return Err(cursor.stop(Layer::Stt, StopReason::Unsupported));
            }
            let tci = u16::from_be_bytes([t0, t1]);
            Ok(Self {
                context: u64::from_be_bytes(context),
                // The bit of the drop indicator says whether there is a tag.
                vlan_tci: (tci & HAS_VLAN != 0).then_some(tci & !HAS_VLAN),
            })
        })
    }
}

const HAS_VLAN: u16 = 0x1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_and_tag_are_read() {
        let bytes = [
            0, 0, 0, 0, 0, 0, // version, flags, L4 offset, reserved, MSS
            0x30, 0x64, // priority 1, tag present, VLAN 100
            0, 0, 0, 0, 0, 0, 0x12, 0x34, // context
            0, 0, // padding
        ];
        let stt = Stt { context: 0x1234, vlan_tci: Some(0x2064) };
        assert_eq!(Stt::decode(&mut Cursor::new(&bytes)), Ok(stt));
    }

    #[test]
    fn another_version_is_not_read() {
        let mut bytes = [0; Stt::LEN];
        bytes[0] = 1;
        let stop = Stop { layer: Layer::Stt, offset: 0, reason: StopReason::Unsupported };
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(Stt::decode(&mut cursor).map_err(|s| s.reason), Err(stop.reason));
        assert_eq!(cursor.offset(), 0);
    }
}
