//! L2TP over UDP, version 2 and the head of version 3.

use crate::{Cursor, Layer, Stop, StopReason};

/// An L2TP header (RFC 2661, section 3.1; RFC 3931, section 4.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct L2tp {
    /// Whether this is a control message, which carries no frame.
    pub is_control: bool,
    /// 2 or 3.
    pub version: u8,
    /// The tunnel; 0 in data of version 3, which has none.
    pub tunnel: u32,
    /// The session within the tunnel; 32 bits in version 3.
    pub session: u32,
}

impl L2tp {
    /// Reads the header at `cursor` and leaves `cursor` behind it.
    ///
    /// In data of version 3 a cookie may follow, and the kind of frame is not in the packet.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [flags, version] = *cursor.take::<2>(Layer::L2tp)?;
            let is_control = flags & FLAG_CONTROL != 0;
            match version & 0x0f {
                2 => Self::decode_2(cursor, flags, is_control),
                3 => Self::decode_3(cursor, is_control),
                _ => Err(cursor.stop(Layer::L2tp, StopReason::Unsupported)),
            }
        })
    }

    /// Reads the header at `cursor`, which stands behind IP protocol 115: there data begins with
    /// its session, and control with session 0 (RFC 3931, section 4.1.1).
    #[inline]
    pub fn decode_in_ip(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let session = u32::from_be_bytes(*cursor.take::<4>(Layer::L2tp)?);
            if session != 0 {
                return Ok(Self { is_control: false, version: 3, tunnel: 0, session });
            }
            let [flags, version] = *cursor.take::<2>(Layer::L2tp)?;
            if flags & FLAG_CONTROL == 0 || version & 0x0f != 3 {
                return Err(cursor.stop(Layer::L2tp, StopReason::Unsupported));
            }
            Self::decode_3(cursor, true)
        })
    }

    fn decode_2(cursor: &mut Cursor<'_>, flags: u8, is_control: bool) -> Result<Self, Stop> {
        if flags & FLAG_LENGTH != 0 {
            cursor.take::<2>(Layer::L2tp)?;
        }
        let [t0, t1, s0, s1] = *cursor.take::<4>(Layer::L2tp)?;
        if flags & FLAG_SEQUENCE != 0 {
            cursor.take::<4>(Layer::L2tp)?;
        }
        if flags & FLAG_OFFSET != 0 {
            let padding = u16::from_be_bytes(*cursor.take::<2>(Layer::L2tp)?);
            cursor.take_slice(Layer::L2tp, usize::from(padding))?;
        }
        Ok(Self {
            is_control,
            version: 2,
            tunnel: u32::from_be_bytes([0, 0, t0, t1]),
            session: u32::from_be_bytes([0, 0, s0, s1]),
        })
    }

    fn decode_3(cursor: &mut Cursor<'_>, is_control: bool) -> Result<Self, Stop> {
        cursor.take::<2>(Layer::L2tp)?;
        let id = u32::from_be_bytes(*cursor.take::<4>(Layer::L2tp)?);
        let (tunnel, session) = if is_control { (id, 0) } else { (0, id) };
        Ok(Self { is_control, version: 3, tunnel, session })
    }
}

const FLAG_CONTROL: u8 = 0x80;
const FLAG_LENGTH: u8 = 0x40;
const FLAG_SEQUENCE: u8 = 0x08;
const FLAG_OFFSET: u8 = 0x02;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read_and_others_stop() {
        let second = [0x48, 0x02, 0, 12, 0, 7, 0, 9, 0, 1, 0, 2]; // length and sequence
        let mut cursor = Cursor::new(&second);
        let l2tp = L2tp::decode(&mut cursor).unwrap();
        assert_eq!((l2tp.tunnel, l2tp.session, cursor.offset()), (7, 9, 12));
        let third = [0x00, 0x03, 0, 0, 0, 1, 0, 0];
        assert_eq!(L2tp::decode(&mut Cursor::new(&third)).unwrap().session, 65536);
        let stop = Stop { layer: Layer::L2tp, offset: 0, reason: StopReason::Unsupported };
        assert_eq!(L2tp::decode(&mut Cursor::new(&[0, 4, 0, 0, 0, 0])), Err(stop));
    }
}
