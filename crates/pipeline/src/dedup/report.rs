//! What was found: how many copies between which points, and how long they took.

use std::collections::BTreeMap;

use crate::network::{Mirror, Network};
use wire::PointId;

/// A place where packets are seen: an interface, or one stream of a mirror that arrives there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeenAt {
    /// The interface.
    pub point: PointId,
    /// The mirror, if the packet came in one.
    pub mirror: Option<Mirror>,
}

/// The copies of packets first seen at one point and again at another, or at the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Where the packets were seen first, and kept.
    pub first: SeenAt,
    /// Where the copies were seen.
    pub second: SeenAt,
    /// How many copies.
    pub copies: u64,
    /// The least, middle and greatest time between the two, in nanoseconds; negative where the
    /// copy's clock says that it was first. The middle one is exact to 3 %.
    pub delay_ns: Delay,
}

/// Least, middle and greatest of many delays, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// The least.
    pub min: i64,
    /// Half of them are not above it.
    pub median: i64,
    /// The greatest.
    pub max: i64,
}

/// Equal packets that were kept, because nothing says that their networks are one tenant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptApart {
    /// The network of the first.
    pub first: Network,
    /// The network of the second.
    pub second: Network,
    /// How many.
    pub packets: u64,
}

/// The accounts of a [`Dedup`](super::Dedup).
#[derive(Debug, Clone, Default)]
pub(super) struct Accounts {
    pairs: BTreeMap<(SeenAt, SeenAt), Delays>,
    apart: BTreeMap<(Network, Network), u64>,
    /// Copies of pairs for which there was no room.
    pub(super) other_pairs: u64,
}

impl Accounts {
    pub(super) fn count(&mut self, first: SeenAt, second: SeenAt, delay: i64) {
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&(first, second)) {
            self.other_pairs += 1;
        } else {
            self.pairs.entry((first, second)).or_default().add(delay);
        }
    }

    pub(super) fn keep_apart(&mut self, one: Network, other: Network) {
        let networks = (one.min(other), one.max(other));
        if self.apart.len() < MAX_PAIRS || self.apart.contains_key(&networks) {
            *self.apart.entry(networks).or_default() += 1;
        }
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = Pair> {
        self.pairs.iter().map(|(&(first, second), delays)| Pair {
            first,
            second,
            copies: delays.count,
            delay_ns: delays.summary(),
        })
    }

    pub(super) fn kept_apart(&self) -> impl Iterator<Item = KeptApart> {
        self.apart.iter().map(|(&(first, second), &packets)| KeptApart { first, second, packets })
    }
}

/// Delays, counted in steps of one 32nd of their power of two.
#[derive(Debug, Clone)]
struct Delays {
    count: u64,
    min: i64,
    max: i64,
    /// Negative ones, and those from 0 on.
    negative: Vec<u64>,
    positive: Vec<u64>,
}

impl Default for Delays {
    fn default() -> Self {
        let (negative, positive) = (Vec::new(), Vec::new());
        Self { count: 0, min: i64::MAX, max: i64::MIN, negative, positive }
    }
}

impl Delays {
    fn add(&mut self, delay: i64) {
        self.count += 1;
        self.min = self.min.min(delay);
        self.max = self.max.max(delay);
        let side = if delay < 0 { &mut self.negative } else { &mut self.positive };
        let step = step(delay.unsigned_abs());
        if side.len() <= step {
            side.resize(step + 1, 0);
        }
        if let Some(count) = side.get_mut(step) {
            *count += 1;
        }
    }

    fn summary(&self) -> Delay {
        let mut left = self.count.div_ceil(2);
        let negative = self.negative.iter().enumerate().rev().map(|(step, n)| (-middle(step), n));
        let positive = self.positive.iter().enumerate().map(|(step, n)| (middle(step), n));
        let median = negative.chain(positive).find_map(|(delay, &count)| {
            let is_here = left <= count;
            left = left.saturating_sub(count);
            is_here.then_some(delay)
        });
        let median = median.unwrap_or_default().clamp(self.min.min(self.max), self.max);
        Delay { min: self.min, median, max: self.max }
    }
}

/// The step a delay is counted in: below 32 one each, above 32 for each power of two.
fn step(delay: u64) -> usize {
    let power = delay.checked_ilog2().unwrap_or_default().saturating_sub(5);
    power as usize * 32 + usize::try_from(delay >> power).unwrap_or_default()
}

/// The delay in the middle of a step.
fn middle(step: usize) -> i64 {
    let power = (step / 32).saturating_sub(1);
    let low = ((step - power * 32) as u64) << power;
    i64::try_from(low + ((1_u64 << power) >> 1)).unwrap_or(i64::MAX)
}

/// Pairs told apart in a report.
const MAX_PAIRS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_step_is_within_3_percent_of_all_delays_in_it() {
        for delay in (0..100).chain((0..55).flat_map(|bit| [(1 << bit) + 1, (1 << bit) * 3 / 2])) {
            let middle = middle(step(delay)).unsigned_abs();
            assert!(middle.abs_diff(delay) * 32 <= delay, "{delay} {middle}");
        }
    }

    #[test]
    fn least_middle_and_greatest_of_delays() {
        let mut delays = Delays::default();
        for delay in [-3, 7, 1_000_000, 20, 30] {
            delays.add(delay);
        }
        assert_eq!(delays.summary(), Delay { min: -3, median: 20, max: 1_000_000 });
        let mut one = Delays::default();
        one.add(-1_000_003);
        assert_eq!(one.summary(), Delay { min: -1_000_003, median: -1_000_003, max: -1_000_003 });
    }
}
