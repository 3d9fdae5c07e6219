//! CAPWAP data: frames between access points and their controller.

use crate::{Cursor, Layer, Stop, StopReason};

/// A CAPWAP header (RFC 5415, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capwap {
    /// Radio, 5 bits.
    pub radio: u8,
    /// Whether the payload is a native frame of the radio, not Ethernet.
    pub is_native: bool,
    /// Whether it is a keep-alive, which carries no frame.
    pub is_keep_alive: bool,
    /// Where this fragment belongs, in bytes; `None` if the frame is whole.
    pub fragment_offset: Option<u16>,
}

impl Capwap {
    /// Reads the header at `cursor` and leaves `cursor` on the frame.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [preamble, b1, b2, b3, _, _, o0, o1] = *cursor.take::<8>(Layer::Capwap)?;
            // Section 4.1: type 1 is DTLS.
            match preamble {
                0x00 => {}
                0x01 => return Err(cursor.stop(Layer::Capwap, StopReason::Encrypted)),
                _ => return Err(cursor.stop(Layer::Capwap, StopReason::Unsupported)),
            }
            let Some(rest) = (usize::from(b1 >> 3) * 4).checked_sub(8) else {
                return Err(cursor.stop(Layer::Capwap, StopReason::Malformed));
            };
            cursor.take_slice(Layer::Capwap, rest)?;
            Ok(Self {
                radio: (b1 & 0x07) << 2 | b2 >> 6,
                is_native: b2 & 0x01 != 0,
                is_keep_alive: b3 & 0x08 != 0,
                fragment_offset: (b3 & 0x80 != 0).then(|| u16::from_be_bytes([o0, o1]) & 0xfff8),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encrypted_and_short_headers_stop() {
        let stop = |reason| Err(Stop { layer: Layer::Capwap, offset: 0, reason });
        let mut bytes = [1, 0x10, 0, 0, 0, 0, 0, 0];
        assert_eq!(Capwap::decode(&mut Cursor::new(&bytes)), stop(StopReason::Encrypted));
        [bytes[0], bytes[1]] = [0, 0x08];
        assert_eq!(Capwap::decode(&mut Cursor::new(&bytes)), stop(StopReason::Malformed));
    }
}
