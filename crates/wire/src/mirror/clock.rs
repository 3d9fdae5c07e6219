//! The time at which a switch saw a frame, from the counter it sends along.
//!
//! The counter wraps, and nothing in it says when it began. If it fits the time of day it is taken
//! for that; else it is laid onto the receiver's clock so that the fastest packet took no time:
//! the distances between frames are then the switch's, whatever happened to them on the way.

use crate::Timestamp;

/// A switch's counter at the moment it saw a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorTime {
    /// The counter, in nanoseconds.
    pub nanos: u64,
    /// After how many nanoseconds it begins anew; `None` if it does not in our lives.
    pub period: Option<u64>,
}

/// The clock of one mirror session.
#[derive(Debug, Clone, Default)]
pub struct MirrorClock {
    laid: Option<Laid>,
}

/// How a counter lies on the receiver's clock.
#[derive(Debug, Clone)]
struct Laid {
    /// The last value without wraps, and when it arrived.
    last: (i128, i128),
    /// To be added to a value; fixed if the counter is the time of day.
    offset: i128,
    is_time_of_day: bool,
    /// What the fastest packet since `since` would have it be, and the fastest of the time before.
    least: i128,
    least_before: i128,
    since: i128,
}

impl MirrorClock {
    /// When the switch saw the frame that arrived at `arrival`; `None` if that is not to be believed.
    pub fn restore(&mut self, time: MirrorTime, arrival: Timestamp) -> Option<Timestamp> {
        let arrival = i128::from(arrival.as_nanos());
        let laid = match &mut self.laid {
            Some(laid) => laid,
            None => self.laid.insert(Laid::new(time, arrival)),
        };
        let mut restored = laid.restore(time, arrival);
        if (restored - arrival).abs() > MOST_APART {
            // The switch or its clock was set anew.
            *laid = Laid::new(time, arrival);
            restored = laid.restore(time, arrival);
        }
        u64::try_from(restored).ok().map(Timestamp::from_nanos)
    }

    /// Whether the counter is the time of day.
    pub fn is_time_of_day(&self) -> bool {
        self.laid.as_ref().is_some_and(|laid| laid.is_time_of_day)
    }
}

impl Laid {
    fn new(time: MirrorTime, arrival: i128) -> Self {
        let value = i128::from(time.nanos);
        let day = time_of_day(time, arrival);
        let offset = day.unwrap_or(arrival) - value;
        Self {
            last: (value, arrival),
            offset,
            is_time_of_day: day.is_some(),
            least: arrival - value,
            least_before: arrival - value,
            since: arrival,
        }
    }

    fn restore(&mut self, time: MirrorTime, arrival: i128) -> i128 {
        let (last, last_arrival) = self.last;
        let value = nearest(time, last + arrival - last_arrival);
        self.last = (value, arrival);
        if !self.is_time_of_day {
            let way = arrival - value;
            if (arrival - self.since).abs() > LOOK_BACK {
                // Clocks drift: what was the fastest packet long ago says nothing any more.
                (self.least_before, self.least, self.since) = (self.least, way, arrival);
            }
            self.least = self.least.min(way);
            self.offset = self.least.min(self.least_before);
        }
        value + self.offset
    }
}

/// The value without wraps that is nearest to what was expected.
fn nearest(time: MirrorTime, expected: i128) -> i128 {
    let value = i128::from(time.nanos);
    let Some(period) = time.period.map(i128::from).filter(|period| *period > 0) else {
        return value;
    };
    value + (expected - value + period / 2).div_euclid(period) * period
}

/// The time of day that the counter shows, if it fits the arrival too well to be chance.
fn time_of_day(time: MirrorTime, arrival: i128) -> Option<i128> {
    let tolerance =
        time.period.map_or(TOLERANCE, |period| TOLERANCE.min(i128::from(period) / 4096));
    [0, TAI_AHEAD]
        .into_iter()
        .map(|ahead| nearest(time, arrival + ahead) - ahead)
        .find(|day| (day - arrival).abs() <= tolerance)
}

/// How far clocks that are set right are apart at most, with the packet's way.
const TOLERANCE: i128 = 2_000_000_000;
/// IEEE 1588 counts in TAI, which is this far ahead of UTC since 2017.
const TAI_AHEAD: i128 = 37_000_000_000;
/// A time further from the arrival is not believed.
const MOST_APART: i128 = 10_000_000_000;
/// How long the fastest packet counts.
const LOOK_BACK: i128 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_795_000_000_123_456_789;

    fn of_100_us(nanos: u64) -> MirrorTime {
        MirrorTime { nanos: nanos / 100_000 % (1 << 32) * 100_000, period: Some(100_000 << 32) }
    }

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn a_counter_that_is_the_time_of_day_is_believed_across_its_wrap() {
        let mut clock = MirrorClock::default();
        let wrap = NOW / (100_000 << 32) * (100_000 << 32) + (100_000 << 32);
        for seen in [wrap - 1_000_000_000, wrap - 200_000, wrap, wrap + 300_000] {
            let restored = clock.restore(of_100_us(seen), at(seen + 5_000_000)).unwrap();
            assert_eq!(restored, at(seen / 100_000 * 100_000));
        }
        assert!(clock.is_time_of_day());
    }

    #[test]
    fn tai_is_told_from_utc() {
        let mut clock = MirrorClock::default();
        let time = MirrorTime { nanos: NOW + 37_000_000_000, period: None };
        assert_eq!(clock.restore(time, at(NOW + 1000)), Some(at(NOW)));
    }

    #[test]
    fn a_counter_since_boot_keeps_its_distances() {
        let mut clock = MirrorClock::default();
        let boot = NOW - 3_600_000_000_000;
        let time = |seen: u64| MirrorTime { nanos: seen - boot, period: None };
        // Ways of 3, 1 and 9 ms: the fastest counts as none.
        let way = [3_000_000, 1_000_000, 9_000_000];
        let seen: Vec<u64> = (0..3).map(|n| NOW + n * 10_000_000).collect();
        let restored: Vec<u64> = (0..3)
            .map(|n| clock.restore(time(seen[n]), at(seen[n] + way[n])).unwrap().as_nanos())
            .collect();
        assert_eq!(restored, [seen[0] + 3_000_000, seen[1] + 1_000_000, seen[2] + 1_000_000]);
        assert!(!clock.is_time_of_day());
    }

    #[test]
    fn a_switch_that_boots_is_laid_anew() {
        let mut clock = MirrorClock::default();
        let time = |nanos| MirrorTime { nanos, period: None };
        clock.restore(time(5_000_000_000_000), at(NOW));
        let restored = clock.restore(time(7), at(NOW + 1_000_000_000)).unwrap();
        assert_eq!(restored, at(NOW + 1_000_000_000));
    }

    proptest! {
        #[test]
        fn restored_times_are_never_far_from_the_arrival(
            times in prop::collection::vec((any::<u64>(), 0..4u8, 0..u64::MAX / 2), 1..50),
        ) {
            let mut clock = MirrorClock::default();
            for (nanos, kind, arrival) in times {
                let period = [None, Some(100_000 << 32), Some(100 << 32), Some(1_000_000_000)];
                let time = MirrorTime { nanos, period: period[usize::from(kind)] };
                if let Some(restored) = clock.restore(time, at(arrival)) {
                    let apart = i128::from(restored.as_nanos()) - i128::from(arrival);
                    prop_assert!(apart.abs() <= MOST_APART);
                }
            }
        }

        #[test]
        fn a_laid_counter_shows_no_time_after_the_arrival(
            boot in 100_000_000_000_000u64..NOW / 2,
            ways in prop::collection::vec(0u64..5_000_000, 1..100),
        ) {
            let mut clock = MirrorClock::default();
            for (n, way) in ways.iter().enumerate() {
                let seen = NOW + n as u64 * 1_000_000;
                let time = MirrorTime { nanos: seen - boot, period: None };
                let restored = clock.restore(time, at(seen + way)).unwrap();
                prop_assert!(restored <= at(seen + way));
            }
        }
    }
}
