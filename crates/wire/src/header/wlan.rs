//! IEEE 802.11: frames of a radio network, as far as they carry packets in the clear.

use crate::{Cursor, Layer, Mac, Stop, StopReason};

/// The header of a data frame (IEEE 802.11-2020, section 9.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wlan {
    /// Who sent the frame first.
    pub source: Mac,
    /// Who it is for in the end.
    pub destination: Mac,
    /// Whether what follows is encrypted.
    pub is_protected: bool,
    /// Whether LLC follows: not in frames that only manage the network or save power.
    pub carries_packet: bool,
    /// Whether several packets follow in one frame (A-MSDU).
    pub is_aggregate: bool,
    /// Where this fragment belongs in its frame; 0 is the first.
    pub fragment: u8,
}

impl Wlan {
    /// Reads the header at `cursor` and leaves `cursor` on the LLC header of a data frame.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        Self::read(cursor, |control| control)
    }

    /// The same of a frame in CAPWAP. Cisco's access points swap the bytes of frame control there,
    /// which RFC 5416 does not ask for; the version in it, always 0, tells.
    pub(crate) fn decode_in_capwap(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        Self::read(cursor, |[first, second]| match (first & 0x03, second & 0x03) {
            (1.., 0) => [second, first],
            _ => [first, second],
        })
    }

    fn read(cursor: &mut Cursor<'_>, order: impl Fn([u8; 2]) -> [u8; 2]) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [kind, flags] = order(*cursor.take::<2>(Layer::Wlan)?);
            if kind & 0x03 != 0 {
                return Err(cursor.stop(Layer::Wlan, StopReason::Unsupported));
            }
            if kind & 0x0c != KIND_DATA {
                // Control frames may have one address only; they are named and left alone.
                return Ok(Self {
                    source: Mac::default(),
                    destination: Mac::default(),
                    is_protected: false,
                    carries_packet: false,
                    is_aggregate: false,
                    fragment: 0,
                });
            }
            cursor.take::<2>(Layer::Wlan)?;
            let first = Mac(*cursor.take::<6>(Layer::Wlan)?);
            let second = Mac(*cursor.take::<6>(Layer::Wlan)?);
            let third = Mac(*cursor.take::<6>(Layer::Wlan)?);
            let [sequence, _] = *cursor.take::<2>(Layer::Wlan)?;
            // Section 9.3.2.1, table 9-30: which address is which.
            let (destination, source) = match flags & 0x03 {
                0 => (first, second),
                TO_NETWORK => (third, second),
                FROM_NETWORK => (first, third),
                _ => (third, Mac(*cursor.take::<6>(Layer::Wlan)?)),
            };
            let mut is_aggregate = false;
            if kind & SUBTYPE_QOS != 0 {
                let [control, _] = *cursor.take::<2>(Layer::Wlan)?;
                is_aggregate = control & 0x80 != 0;
                if flags & ORDER != 0 {
                    cursor.take::<4>(Layer::Wlan)?;
                }
            }
            Ok(Self {
                source,
                destination,
                is_protected: flags & PROTECTED != 0,
                carries_packet: kind & SUBTYPE_NO_DATA == 0,
                is_aggregate,
                fragment: sequence & 0x0f,
            })
        })
    }
}

const KIND_DATA: u8 = 0x08;
const SUBTYPE_NO_DATA: u8 = 0x40;
const SUBTYPE_QOS: u8 = 0x80;
const TO_NETWORK: u8 = 0x01;
const FROM_NETWORK: u8 = 0x02;
const PROTECTED: u8 = 0x40;
const ORDER: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_address_is_which_depends_on_the_direction() {
        let mut bytes = [0_u8; 30];
        bytes[0] = 0x08;
        bytes[4..10].fill(1);
        bytes[10..16].fill(2);
        bytes[16..22].fill(3);
        bytes[24..30].fill(4);
        for (flags, destination, source) in [(0, 1, 2), (1, 3, 2), (2, 1, 3), (3, 3, 4)] {
            bytes[1] = flags;
            let wlan = Wlan::decode(&mut Cursor::new(&bytes)).unwrap();
            assert_eq!(wlan.destination, Mac([destination; 6]), "{flags}");
            assert_eq!(wlan.source, Mac([source; 6]), "{flags}");
            let in_capwap = |bytes: &[u8]| Wlan::decode_in_capwap(&mut Cursor::new(bytes));
            assert_eq!(in_capwap(&bytes), Ok(wlan), "{flags}");
            if flags != 0 {
                bytes.swap(0, 1);
                assert_eq!(in_capwap(&bytes), Ok(wlan), "{flags} swapped");
                bytes.swap(0, 1);
            }
        }
    }
}
