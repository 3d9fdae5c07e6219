//! When a ring begins its next file.

use std::time::Duration;

use wire::Timestamp;

use crate::Interval;

/// The next moment to rotate at. It does not drift: each follows from the one before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    interval: Interval,
    next: Timestamp,
}

impl Schedule {
    pub(crate) fn new(interval: Interval, start: Timestamp) -> Self {
        let mut schedule = Self { interval, next: start };
        schedule.pass(start);
        schedule
    }

    /// Whether the moment has come.
    pub(crate) fn is_due(&mut self, now: Timestamp) -> bool {
        // A clock that was set back by more than an interval must not stop rotation until it has
        // caught up.
        if self.next.since(now) > self.every() {
            self.next = now;
            self.pass(now);
        }
        now >= self.next
    }

    /// The next moment.
    pub(crate) const fn next(&self) -> Timestamp {
        self.next
    }

    /// Goes to the first moment after `now`.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        let every = nanos(self.every());
        let from = match self.interval {
            Interval::SinceStart(_) => self.next.as_nanos(),
            Interval::Aligned(_) => 0,
        };
        let passed = now.as_nanos().saturating_sub(from) / every + 1;
        self.next = Timestamp::from_nanos(from.saturating_add(every.saturating_mul(passed)));
    }

    fn every(&self) -> Duration {
        let (Interval::SinceStart(every) | Interval::Aligned(every)) = self.interval;
        // Nobody wants more than a file a millisecond, and zero would divide by zero.
        every.max(Duration::from_millis(1))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn since_start_keeps_its_beat_when_ticks_come_late() {
        let mut schedule = Schedule::new(Interval::SinceStart(Duration::from_secs(1)), at(1500));
        assert!(!schedule.is_due(at(2499)));
        assert!(schedule.is_due(at(2600)));
        schedule.pass(at(2600));
        assert!(!schedule.is_due(at(3499)));
        assert!(schedule.is_due(at(3500)));
        schedule.pass(at(9700));
        assert!(!schedule.is_due(at(10_499)));
        assert!(schedule.is_due(at(10_500)));
    }

    #[test]
    fn aligned_begins_at_full_intervals() {
        let mut schedule = Schedule::new(Interval::Aligned(Duration::from_secs(60)), at(90_000));
        assert!(!schedule.is_due(at(119_999)));
        assert!(schedule.is_due(at(120_000)));
        schedule.pass(at(120_000));
        assert!(!schedule.is_due(at(179_999)));
        assert!(schedule.is_due(at(180_000)));
    }

    #[test]
    fn a_clock_set_back_delays_by_one_interval_at_most() {
        let mut schedule =
            Schedule::new(Interval::SinceStart(Duration::from_secs(1)), at(1_000_000));
        assert!(!schedule.is_due(at(10_000)));
        assert!(schedule.is_due(at(11_000)));
    }

    #[test]
    fn no_interval_is_too_short_or_too_long_to_compute() {
        let mut schedule = Schedule::new(Interval::Aligned(Duration::ZERO), at(5));
        assert!(schedule.is_due(at(6)));
        let mut schedule = Schedule::new(Interval::SinceStart(Duration::MAX), at(5));
        assert!(!schedule.is_due(at(6)));
    }
}
