//! Holding a tool to its rate, by the time of the packets.

use std::num::NonZeroU64;

use wire::Timestamp;

/// So many bits a second, with a tenth of a second saved up at most.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    rate_bps: u64,
    /// Bits that may be sent at once, times 10^9; below zero after one that was larger.
    saved: i128,
    since: Timestamp,
}

impl Bucket {
    pub(crate) const fn new(rate_bps: NonZeroU64) -> Self {
        let rate_bps = rate_bps.get();
        Self { rate_bps, saved: most(rate_bps), since: Timestamp::ZERO }
    }

    /// Whether so many bytes may be sent now; if so, they are.
    pub(crate) fn take(&mut self, time: Timestamp, bytes: usize) -> bool {
        let passed = time.as_nanos().saturating_sub(self.since.as_nanos());
        self.since = self.since.max(time);
        let earned = i128::from(passed) * i128::from(self.rate_bps);
        self.saved = (self.saved + earned).min(most(self.rate_bps));
        if self.saved <= 0 {
            return false;
        }
        self.saved -= bytes as i128 * 8 * NANOS;
        true
    }
}

/// A tenth of a second.
const fn most(rate_bps: u64) -> i128 {
    rate_bps as i128 * (NANOS / 10)
}

const NANOS: i128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_minute_no_more_is_sent_than_the_rate_and_what_was_saved() {
        let rate = 1_000_000_u64;
        let mut bucket = Bucket::new(rate.try_into().unwrap());
        let sent: u64 = (0..60_000)
            .map(|ms| {
                Timestamp::from_nanos(1 << 60).saturating_add(std::time::Duration::from_millis(ms))
            })
            .map(|time| if bucket.take(time, 1500) { 12_000 } else { 0 })
            .sum();
        assert!((60 * rate..60 * rate + rate / 10 + 12_000).contains(&sent), "{sent}");
    }
}
