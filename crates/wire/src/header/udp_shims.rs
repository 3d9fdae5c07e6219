//! Small headers between UDP and what it carries: GUE, LISP data, TZSP.

use crate::{Cursor, Layer, Stop, StopReason};

/// A GUE header of variant 0 (draft-ietf-intarea-gue-09, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gue {
    /// Whether it is a control message, which carries no packet.
    pub is_control: bool,
    /// IP protocol number of what follows.
    pub protocol: u8,
}

impl Gue {
    /// Reads the header at `cursor` and leaves `cursor` on what it carries.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [first, protocol, _, _] = *cursor.take::<4>(Layer::Gue)?;
            if first >> 6 != 0 {
                return Err(cursor.stop(Layer::Gue, StopReason::Unsupported));
            }
            cursor.take_slice(Layer::Gue, usize::from(first & 0x1f) * 4)?;
            Ok(Self { is_control: first & 0x20 != 0, protocol })
        })
    }
}

/// A LISP data header (RFC 9300, section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lisp {
    /// Which of the receiver's networks the packet is for, where the I flag is set; 24 bits.
    pub instance: Option<u32>,
}

impl Lisp {
    /// Reads the header at `cursor` and leaves `cursor` on the inner IP header.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [flags, _, _, _, i0, i1, i2, _] = *cursor.take::<8>(Layer::Lisp)?;
        Ok(Self { instance: (flags & 0x08 != 0).then(|| u32::from_be_bytes([0, i0, i1, i2])) })
    }
}

/// A TZSP header with those of its tagged fields that a receiver of mirrors needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tzsp {
    /// Kind of message; 0 is a received frame, 1 a frame to send.
    pub kind: u8,
    /// What the frame is: 1 Ethernet, 18 IEEE 802.11.
    pub encapsulated: u16,
    /// Number of the packet (tag 40) as it stands there: senders use either byte order.
    pub packet_id: Option<[u8; 4]>,
    /// Length of the frame before it was sliced (tag 41) as it stands there: senders use either
    /// byte order.
    pub original_len: Option<[u8; 2]>,
}

impl Tzsp {
    /// An Ethernet frame.
    pub const ETHERNET: u16 = 1;
    /// An IEEE 802.11 frame.
    pub const WLAN: u16 = 18;

    /// Reads the header at `cursor` and leaves `cursor` on the mirrored frame.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [version, kind, e0, e1] = *cursor.take::<4>(Layer::Tzsp)?;
            if version != 1 {
                return Err(cursor.stop(Layer::Tzsp, StopReason::Unsupported));
            }
            let (mut packet_id, mut original_len) = (None, None);
            loop {
                let [tag] = *cursor.take::<1>(Layer::Tzsp)?;
                match tag {
                    TAG_PADDING => {}
                    TAG_END => break,
                    _ => {
                        let [len] = *cursor.take::<1>(Layer::Tzsp)?;
                        let value = cursor.take_slice(Layer::Tzsp, usize::from(len))?;
                        match tag {
                            TAG_PACKET_ID => packet_id = value.try_into().ok(),
                            TAG_ORIGINAL_LEN => original_len = value.try_into().ok(),
                            _ => {}
                        }
                    }
                }
            }
            let encapsulated = u16::from_be_bytes([e0, e1]);
            Ok(Self { kind, encapsulated, packet_id, original_len })
        })
    }
}

const TAG_PADDING: u8 = 0;
const TAG_END: u8 = 1;
const TAG_PACKET_ID: u8 = 40;
const TAG_ORIGINAL_LEN: u8 = 41;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tzsp_fields_are_passed_over_up_to_their_end() {
        let bytes = [1, 0, 0, 1, 0, 10, 1, 200, 1, 0xff];
        let mut cursor = Cursor::new(&bytes);
        let plain = Tzsp { kind: 0, encapsulated: 1, packet_id: None, original_len: None };
        assert_eq!(Tzsp::decode(&mut cursor), Ok(plain));
        assert_eq!(cursor.offset(), 9);
        let numbered = [1, 0, 0, 1, 40, 4, 0, 0, 0, 7, 41, 2, 5, 0xdc, 1, 0xff];
        let tzsp = Tzsp::decode(&mut Cursor::new(&numbered)).unwrap();
        assert_eq!(tzsp.packet_id, Some([0, 0, 0, 7]));
        assert_eq!(tzsp.original_len, Some([5, 0xdc]));
        let odd = [1, 0, 0, 1, 40, 2, 0, 7, 41, 1, 5, 1, 0xff];
        let tzsp = Tzsp::decode(&mut Cursor::new(&odd)).unwrap();
        assert_eq!((tzsp.packet_id, tzsp.original_len), (None, None), "of another length");
        let stop = |reason| Err(Stop { layer: Layer::Tzsp, offset: 0, reason });
        assert_eq!(Tzsp::decode(&mut Cursor::new(&bytes[..8])), stop(StopReason::Truncated));
        assert_eq!(Tzsp::decode(&mut Cursor::new(&[2; 9])), stop(StopReason::Unsupported));
    }

    #[test]
    fn lisp_names_an_instance_only_with_its_flag() {
        let mut bytes = [0x08, 0, 0, 0, 0, 1, 0, 7];
        assert_eq!(Lisp::decode(&mut Cursor::new(&bytes)).unwrap().instance, Some(256));
        bytes[0] = 0;
        assert_eq!(Lisp::decode(&mut Cursor::new(&bytes)).unwrap().instance, None);
    }
}
