//! GTP-U: packets of mobile users carried in UDP; and GTP-C, which only speaks of them.

use crate::{Cursor, Layer, Stop, StopReason};

/// A GTP-U header with its optional fields and extension headers (3GPP TS 29.281, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gtpu {
    /// Tunnel end point identifier of the receiver.
    pub teid: u32,
    /// Kind of message; 255 carries a user's packet.
    pub message: u8,
    /// Bytes behind the first 8, optional fields included.
    pub len: u16,
}

impl Gtpu {
    /// The message that carries a user's packet.
    pub const T_PDU: u8 = 255;

    /// Reads the header at `cursor` and leaves `cursor` on what it carries.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [flags, message, l0, l1, t0, t1, t2, t3] = *cursor.take::<8>(Layer::Gtpu)?;
            // Version 1, protocol type GTP (section 5.1); GTP' and version 0 are others.
            if flags >> 4 != 0b0011 {
                return Err(cursor.stop(Layer::Gtpu, StopReason::Unsupported));
            }
            if flags & FLAGS_OPTIONAL != 0 {
                let [_, _, _, mut next] = *cursor.take::<4>(Layer::Gtpu)?;
                // Section 5.2.1: the next type counts only if the E flag is set.
                if flags & FLAG_EXTENSION == 0 {
                    next = 0;
                }
                while next != 0 {
                    let words = usize::from(cursor.peek(Layer::Gtpu)?);
                    if words == 0 {
                        return Err(cursor.stop(Layer::Gtpu, StopReason::Malformed));
                    }
                    let extension = cursor.take_slice(Layer::Gtpu, words * 4)?;
                    next = extension.last().copied().unwrap_or_default();
                }
            }
            Ok(Self {
                teid: u32::from_be_bytes([t0, t1, t2, t3]),
                message,
                len: u16::from_be_bytes([l0, l1]),
            })
        })
    }
}

/// A GTP-C header of version 1 (3GPP TS 29.060, section 6): control, which never carries a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gtpc {
    /// Tunnel end point identifier of the receiver; 0 before there is one.
    pub teid: u32,
    /// Kind of message.
    pub message: u8,
}

impl Gtpc {
    /// Reads the first 8 bytes of the message at `cursor`.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [flags, message, _, _, t0, t1, t2, t3] = *cursor.take::<8>(Layer::Gtpc)?;
            if flags >> 4 != 0b0011 {
                return Err(cursor.stop(Layer::Gtpc, StopReason::Unsupported));
            }
            Ok(Self { teid: u32::from_be_bytes([t0, t1, t2, t3]), message })
        })
    }
}

const FLAGS_OPTIONAL: u8 = 0x07;
const FLAG_EXTENSION: u8 = 0x04;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_and_an_extension_without_length_stop() {
        let stop = |reason| Err(Stop { layer: Layer::Gtpu, offset: 0, reason });
        assert_eq!(
            Gtpu::decode(&mut Cursor::new(&[0x50, 255, 0, 0, 0, 0, 0, 1])),
            stop(StopReason::Unsupported)
        );
        let bytes = [0x34, 255, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0x85, 0, 0, 0, 0];
        assert_eq!(Gtpu::decode(&mut Cursor::new(&bytes)), stop(StopReason::Malformed));
    }

    #[test]
    fn the_next_extension_counts_only_with_its_flag() {
        let bytes = [0x32, 255, 0, 4, 0, 0, 0, 1, 0, 1, 0, 0x85, 0x45];
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(Gtpu::decode(&mut cursor).map(|gtpu| gtpu.teid), Ok(1));
        assert_eq!(cursor.offset(), 12);
    }
}
