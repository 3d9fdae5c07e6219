//! What time-stamping devices put behind a frame: Ixia (Keysight), VSS Monitoring, Metamako (Arista
//! 7130).
//!
//! Such bytes stand behind the packet as its own length says, so they are never payload. Nothing in
//! the frame announces them, and padding may hold anything. How sure a find is:
//!
//! | device | known by | random bytes pass once in |
//! |---|---|---|
//! | Ixia | a number, a length, a checksum | 4 000 000 000 |
//! | Metamako | a time within a day of the capture, reserved bits | 1 000 000 |
//! | VSS | the same time, and that nothing but zeros stands before it | 5 000, if nothing does |

use crate::{Cursor, Timestamp};

/// The trailer of a time-stamping device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trailer {
    /// Ixia, with its time where it gave one.
    Ixia {
        /// When the device saw the frame.
        time: Option<Timestamp>,
    },
    /// VSS Monitoring.
    Vss {
        /// When the device saw the frame.
        time: Timestamp,
        /// Number of the port, where there is one.
        port: Option<u8>,
    },
    /// Metamako.
    Metamako {
        /// When the device saw the frame.
        time: Timestamp,
        /// Number of the device.
        device: u16,
        /// Number of the port.
        port: u8,
    },
}

impl Trailer {
    /// The trailer at the end of `behind`, the bytes behind the packet: padding, trailer, and maybe
    /// a frame check sequence; `captured` is when the frame was captured.
    pub fn find(behind: &[u8], captured: Timestamp) -> Option<Self> {
        [0, FCS_LEN].into_iter().find_map(|fcs_len| {
            let bytes = behind.get(..behind.len().checked_sub(fcs_len)?)?;
            Self::ixia(bytes)
                .or_else(|| Self::metamako(bytes, captured))
                .or_else(|| Self::vss(bytes, captured))
        })
    }

    /// The word for the device.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ixia { .. } => "ixia",
            Self::Vss { .. } => "vss",
            Self::Metamako { .. } => "metamako",
        }
    }

    /// When the device saw the frame.
    pub const fn time(self) -> Option<Timestamp> {
        match self {
            Self::Ixia { time } => time,
            Self::Vss { time, .. } | Self::Metamako { time, .. } => Some(time),
        }
    }

    /// Fields of type, length and value, their length in all, a number, a checksum over all.
    fn ixia(bytes: &[u8]) -> Option<Self> {
        let [len, IXIA_0, IXIA_1, _, _] = *bytes.last_chunk::<5>()? else { return None };
        let start = bytes.len().checked_sub(5 + usize::from(len))?;
        let trailer = bytes.get(start..)?;
        if usize::from(len) < 4 || checksum(trailer) != 0xffff {
            return None;
        }
        let mut fields = Cursor::new(trailer.get(..usize::from(len))?);
        let mut time = None;
        while let Some([kind, len]) = fields.pass::<2>() {
            let value = fields.pass_slice(usize::from(*len))?;
            if let (IXIA_TIME_FIRST..=IXIA_TIME_LAST, Some(stamp)) = (*kind, value.first_chunk()) {
                time = time_of(*stamp);
            }
        }
        Some(Self::Ixia { time })
    }

    /// Seconds, nanoseconds with 2 bits for the kind of clock, maybe a port. With so little to know
    /// it by, what is before it must be plain padding.
    fn vss(bytes: &[u8], captured: Timestamp) -> Option<Self> {
        let time = |bytes: &[u8]| -> Option<Timestamp> {
            let (padding, [s0, s1, s2, s3, n0, n1, n2, n3]) = bytes.split_last_chunk()?;
            let time = time_of([*s0, *s1, *s2, *s3, n0 & 0x3f, *n1, *n2, *n3])?;
            believed(time, captured).filter(|_| padding.iter().all(|byte| *byte == 0))
        };
        if let Some(time) = time(bytes) {
            return Some(Self::Vss { time, port: None });
        }
        let (port, stamped) = bytes.split_last()?;
        time(stamped).map(|time| Self::Vss { time, port: Some(*port) })
    }

    /// The frame check sequence the frame had, seconds, nanoseconds, flags, device, port.
    fn metamako(bytes: &[u8], captured: Timestamp) -> Option<Self> {
        let [_, _, _, _, stamp @ .., flags, d0, d1, port] = *bytes.last_chunk::<16>()?;
        // Of the flags six have no meaning yet.
        if flags & 0xf0 != 0 {
            return None;
        }
        let time = believed(time_of(stamp)?, captured)?;
        Some(Self::Metamako { time, device: u16::from_be_bytes([d0, d1]), port })
    }
}

/// Seconds and nanoseconds, if that is what they are.
fn time_of([s0, s1, s2, s3, n0, n1, n2, n3]: [u8; 8]) -> Option<Timestamp> {
    let seconds = u32::from_be_bytes([s0, s1, s2, s3]);
    let nanos = u32::from_be_bytes([n0, n1, n2, n3]);
    if nanos >= 1_000_000_000 {
        return None;
    }
    Some(Timestamp::from_parts(u64::from(seconds), nanos))
}

/// `time`, if it is near enough to when the frame was captured to be no accident.
fn believed(time: Timestamp, captured: Timestamp) -> Option<Timestamp> {
    let apart = time.seconds().abs_diff(captured.seconds());
    (apart <= BELIEVED_SECONDS && time.seconds() != 0).then_some(time)
}

/// The sum of all 16-bit words in one's complement, which a right checksum makes 0xffff; an odd last
/// byte is the upper half of a word (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
            [high] => u32::from(*high) << 8,
            _ => 0,
        })
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}

const FCS_LEN: usize = 4;
const IXIA_0: u8 = 0xaf;
const IXIA_1: u8 = 0x12;
/// Local time, NTP, GPS, PTP.
const IXIA_TIME_FIRST: u8 = 3;
const IXIA_TIME_LAST: u8 = 6;
/// A day: a clock set to the wrong time zone is believed, one that was never set is not.
const BELIEVED_SECONDS: u64 = 86_400;

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail this way")]
mod tests {
    use super::*;

    /// 14 November 2023.
    const CAPTURED: Timestamp = Timestamp::from_parts(1_700_000_000, 5);
    const SECONDS: [u8; 4] = 1_700_000_001_u32.to_be_bytes();
    const TIME: Timestamp = Timestamp::from_parts(1_700_000_001, 7);

    fn vss() -> Vec<u8> {
        [[0; 3].as_slice(), &SECONDS, &[0x80, 0, 0, 7]].concat()
    }

    #[test]
    fn a_time_of_vss_is_found_behind_padding_and_before_port_and_fcs() {
        let found = Some(Trailer::Vss { time: TIME, port: None });
        assert_eq!(Trailer::find(&vss(), CAPTURED), found);
        let with_fcs = [vss(), vec![1, 2, 3, 4]].concat();
        assert_eq!(Trailer::find(&with_fcs, CAPTURED), found);
        let with_port = [vss(), vec![9]].concat();
        let found = Some(Trailer::Vss { time: TIME, port: Some(9) });
        assert_eq!(Trailer::find(&with_port, CAPTURED), found);
    }

    #[test]
    fn a_time_far_from_the_capture_is_an_accident() {
        assert_eq!(Trailer::find(&vss(), Timestamp::from_parts(1_800_000_000, 0)), None);
        assert_eq!(Trailer::find(&[0; 20], Timestamp::ZERO), None);
        assert_eq!(Trailer::find(&[], CAPTURED), None);
    }

    #[test]
    fn a_time_of_vss_behind_anything_but_padding_is_an_accident() {
        let mut bytes = vss();
        bytes[1] = 1;
        assert_eq!(Trailer::find(&bytes, CAPTURED), None);
    }

    #[test]
    fn metamako_names_device_and_port() {
        let bytes =
            [[0xde, 0xad, 0xbe, 0xef].as_slice(), &SECONDS, &[0, 0, 0, 7], &[1, 0, 3, 12]].concat();
        let found = Some(Trailer::Metamako { time: TIME, device: 3, port: 12 });
        assert_eq!(Trailer::find(&bytes, CAPTURED), found);
    }

    #[test]
    fn ixia_is_known_by_its_checksum() {
        let mut bytes = [[6, 8].as_slice(), &SECONDS, &[0, 0, 0, 7], &[10, 0xaf, 0x12]].concat();
        let sum = !checksum(&[bytes.as_slice(), &[0]].concat());
        // The checksum begins at an odd byte, so its halves count the other way round.
        let [high, low] = sum.to_be_bytes();
        bytes.extend([low, high]);
        let found = Some(Trailer::Ixia { time: Some(TIME) });
        assert_eq!(Trailer::find(&bytes, CAPTURED), found, "{:x}", checksum(&bytes));
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        assert_eq!(Trailer::find(&bytes, CAPTURED), None);
    }
}
