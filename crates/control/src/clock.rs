//! How an agent's clock differs from ours, from questions and answers over its line.
//!
//! As NTP does it (RFC 5905, section 8): of four times, two of each clock, the difference and the
//! time on the way. The true difference is within half the time on the way, so the quickest of
//! the last answers is the one to believe.

use std::collections::VecDeque;
use std::time::Duration;

use api::document::Clock;

/// A moment, by our two clocks: the one that people read and that may be set, and one that only
/// counts on. Spans are measured by the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since 1970.
    pub wall_ns: u64,
    /// Nanoseconds since some beginning.
    pub steady_ns: u64,
}

impl Moment {
    /// How long ago another moment was; nothing if it is yet to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.steady_ns.saturating_sub(earlier.steady_ns))
    }
}

/// The last answers of one agent.
#[derive(Debug, Clone, Default)]
pub struct ClockWatch {
    samples: VecDeque<Sample>,
}

/// The four times of one question, in ns since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// When it was asked, by our clock.
    pub asked_ns: u64,
    /// When it arrived, by the agent's clock.
    pub received_ns: u64,
    /// When the answer left, by the agent's clock.
    pub answered_ns: u64,
    /// When the answer arrived, by our clock.
    pub heard_ns: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    clock: Clock,
    heard_ns: u64,
}

impl ClockWatch {
    /// Takes an answer.
    pub fn take(&mut self, exchange: Exchange) {
        let Exchange { asked_ns, received_ns, answered_ns, heard_ns } = exchange;
        let signed = |later: u64, earlier: u64| i128::from(later) - i128::from(earlier);
        let (out, back) = (signed(received_ns, asked_ns), signed(answered_ns, heard_ns));
        let on_the_way = signed(heard_ns, asked_ns) - signed(answered_ns, received_ns);
        // A clock that was set meanwhile says nonsense once.
        let Ok(on_the_way) = u64::try_from(on_the_way) else { return };
        let Ok(ahead_ns) = i64::try_from((out + back) / 2) else { return };
        let clock = Clock { ahead_ns, uncertainty_ns: on_the_way / 2 };
        if let Some(last) = self.samples.back()
            && last.clock.ahead_ns.abs_diff(ahead_ns)
                > last
                    .clock
                    .uncertainty_ns
                    .saturating_add(clock.uncertainty_ns)
                    .saturating_add(drift_ns(heard_ns, last))
        {
            // It was set: what was known before is worth nothing.
            self.samples.clear();
        }
        if self.samples.len() >= KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { clock, heard_ns });
    }

    /// The difference as of now, by our clock; `None` before the first answer.
    pub fn clock(&self, now_ns: u64) -> Option<Clock> {
        let at_now = |sample: &Sample| Clock {
            uncertainty_ns: sample.clock.uncertainty_ns.saturating_add(drift_ns(now_ns, sample)),
            ..sample.clock
        };
        self.samples.iter().map(at_now).min_by_key(|clock| clock.uncertainty_ns)
    }
}

/// How far two clocks may have drifted apart since a sample.
fn drift_ns(now_ns: u64, sample: &Sample) -> u64 {
    now_ns.saturating_sub(sample.heard_ns) / 1_000_000 * DRIFT_PPM
}

const KEPT: usize = 16;

/// What a quartz of a cheap board does at most, both ends together.
const DRIFT_PPM: u64 = 100;

/// How often to ask.
pub const ASK_EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A question asked at `at`, so long on its way out and back, to a clock so far ahead.
    fn exchange(at: u64, out: u64, back: u64, ahead: i64) -> Exchange {
        let received_ns = (at + out).checked_add_signed(ahead).unwrap();
        Exchange {
            asked_ns: at,
            received_ns,
            answered_ns: received_ns + 1000,
            heard_ns: at + out + 1000 + back,
        }
    }

    #[test]
    fn the_quickest_answer_is_believed_and_the_truth_is_within_its_bounds() {
        let mut watch = ClockWatch::default();
        assert_eq!(watch.clock(0), None);
        let ahead = 3 * 1_000_000_000;
        for (at, out, back) in
            [(10, 40_000_000, 1_000_000), (11, 200_000, 100_000), (12, 9_000_000, 0)]
        {
            watch.take(exchange(at * SECOND, out, back, ahead));
        }
        let clock = watch.clock(12 * SECOND).unwrap();
        assert!(clock.ahead_ns.abs_diff(ahead) <= clock.uncertainty_ns, "{clock:?}");
        assert!(clock.uncertainty_ns < 400_000, "{clock:?}");
    }

    #[test]
    fn what_is_old_is_less_certain() {
        let mut watch = ClockWatch::default();
        watch.take(exchange(SECOND, 1000, 1000, 0));
        let uncertainty = |at| watch.clock(at).unwrap().uncertainty_ns;
        assert!(uncertainty(100 * SECOND) > uncertainty(2 * SECOND));
    }

    #[test]
    fn a_clock_that_is_set_is_known_anew() {
        let mut watch = ClockWatch::default();
        watch.take(exchange(8 * SECOND, 1000, 1000, 0));
        watch.take(exchange(9 * SECOND, 90_000, 90_000, -5_000_000_000));
        assert_eq!(watch.clock(9 * SECOND).unwrap().ahead_ns, -5_000_000_000);
    }

    #[test]
    fn nonsense_is_left_out() {
        let mut watch = ClockWatch::default();
        watch.take(Exchange { asked_ns: 10, received_ns: 0, answered_ns: 100, heard_ns: 20 });
        watch.take(Exchange {
            asked_ns: 0,
            received_ns: u64::MAX,
            answered_ns: u64::MAX,
            heard_ns: 1,
        });
        assert_eq!(watch.clock(20), None);
    }
}
