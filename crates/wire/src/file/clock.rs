//! Time stamps of capture files: ticks of some length since 1970, plus seconds.

use std::fmt;

use crate::Timestamp;

/// How long one tick of an interface's clock is, as option if_tsresol says it
/// (draft-ietf-opsawg-pcapng, section 4.2): a power of ten, or of two with the high bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution(pub u8);

impl Resolution {
    /// 10^-6 seconds: what a file has that does not say.
    pub const MICROSECONDS: Self = Self(6);
    /// 10^-9 seconds.
    pub const NANOSECONDS: Self = Self(9);
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = if self.0 & BINARY == 0 { 10 } else { 2 };
        write!(f, "{base}^-{} s", self.0 & !BINARY)
    }
}

/// Turns the ticks of one interface into time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    scale: Scale,
    offset_s: i64,
}

impl Clock {
    pub(crate) const fn new(resolution: Resolution, offset_s: i64) -> Self {
        let exponent = resolution.0 & !BINARY;
        let scale = if resolution.0 & BINARY != 0 {
            Scale::Shift(exponent)
        } else if exponent <= 9 {
            Scale::Times(10_u64.pow(9 - exponent as u32))
        } else if exponent <= 28 {
            Scale::Over(10_u64.pow(exponent as u32 - 9))
        } else {
            Scale::Nothing
        };
        Self { scale, offset_s }
    }

    /// The time of this many ticks; what cannot be represented becomes the nearest that can.
    #[inline]
    pub(crate) fn time(self, ticks: u64) -> Timestamp {
        let nanos = match self.scale {
            Scale::Times(factor) if self.offset_s == 0 => {
                return Timestamp::from_nanos(ticks.saturating_mul(factor));
            }
            Scale::Times(factor) => u128::from(ticks) * u128::from(factor),
            Scale::Over(divisor) => u128::from(ticks / divisor),
            Scale::Shift(bits) => (u128::from(ticks) * 1_000_000_000) >> bits,
            Scale::Nothing => 0,
        };
        // Below 2^94 and 2^94: the sum cannot overflow.
        let shifted =
            i128::try_from(nanos).unwrap_or(i128::MAX) + i128::from(self.offset_s) * 1_000_000_000;
        Timestamp::from_nanos(u64::try_from(shifted.max(0)).unwrap_or(u64::MAX))
    }
}

/// From ticks to nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Times(u64),
    Over(u64),
    /// Ticks of 2^-n seconds.
    Shift(u8),
    /// Ticks so short that 2^64 of them are no nanosecond.
    Nothing,
}

const BINARY: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(resolution: u8, offset_s: i64, ticks: u64) -> u64 {
        Clock::new(Resolution(resolution), offset_s).time(ticks).as_nanos()
    }

    #[test]
    fn ticks_of_any_length_are_nanoseconds_in_the_end() {
        assert_eq!(nanos(6, 0, 5_250_000), 5_250_000_000);
        assert_eq!(nanos(9, 0, 5_250_000_001), 5_250_000_001);
        assert_eq!(nanos(0, 0, 5), 5_000_000_000);
        assert_eq!(nanos(12, 0, 5_250_000_000_999), 5_250_000_000);
        assert_eq!(nanos(0x80 | 20, 0, (5 << 20) + (1 << 18)), 5_250_000_000);
        assert_eq!(nanos(0x80, 0, 5), 5_000_000_000);
        assert_eq!(nanos(0x80 | 127, 0, u64::MAX), 0);
        assert_eq!(nanos(127, 0, u64::MAX), 0);
        assert_eq!(nanos(28, 0, u64::MAX), 1);
    }

    #[test]
    fn the_offset_moves_whole_seconds_and_stops_at_the_ends() {
        assert_eq!(nanos(6, 10, 1), 10_000_001_000);
        assert_eq!(nanos(9, -1, 1_500_000_000), 500_000_000);
        assert_eq!(nanos(9, -2, 1_500_000_000), 0);
        assert_eq!(nanos(0, i64::MAX, u64::MAX), u64::MAX);
        assert_eq!(nanos(0, i64::MIN, u64::MAX), u64::MAX);
    }
}
