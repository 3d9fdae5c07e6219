//! Which segments have to go: the oldest first, never one that is being written.

use std::time::Duration;

use wire::Timestamp;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of all files of the store together.
    pub bytes: u64,
    /// How old a packet may get; `None` is without limit. A segment goes when its youngest packet
    /// is older, so at most one segment's span more is kept.
    pub age: Option<Duration>,
}

/// A segment, as far as the budget is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// Its name without ending; the oldest sorts first.
    pub(crate) stem: String,
    /// Bytes of its files; what it may become, while it is written.
    pub(crate) bytes: u64,
    /// When it was last written to.
    pub(crate) last: Timestamp,
    /// Whether somebody writes to it.
    pub(crate) is_live: bool,
}

impl Budget {
    /// The stems of the segments that have to go so that `needed` bytes more fit; `held` in the
    /// order of their stems. May be too few, when the rest is being written.
    pub(crate) fn too_many(&self, held: &[Held], needed: u64, now: Timestamp) -> Vec<String> {
        let mut used = held.iter().map(|held| held.bytes).fold(needed, u64::saturating_add);
        let mut stems = Vec::new();
        for segment in held.iter().filter(|segment| !segment.is_live) {
            let is_old = self.age.is_some_and(|age| now.since(segment.last) > age);
            if used > self.bytes || is_old {
                used -= segment.bytes;
                stems.push(segment.stem.clone());
            }
        }
        stems
    }

    /// Bytes a segment gets: 64 of them make up the budget.
    pub(crate) fn segment_bytes(&self) -> u64 {
        (self.bytes / SEGMENTS).clamp(LEAST_SEGMENT_BYTES, MOST_SEGMENT_BYTES)
    }

    /// How long a segment is written to: a sixteenth of the age.
    pub(crate) fn segment_span(&self) -> Option<Duration> {
        self.age.map(|age| (age / 16).max(Duration::from_secs(1)))
    }
}

const SEGMENTS: u64 = 64;
const LEAST_SEGMENT_BYTES: u64 = 1 << 20;
const MOST_SEGMENT_BYTES: u64 = 256 << 20;
/// The least bytes a store can live in: some small segments.
pub(crate) const LEAST_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn held(stem: &str, bytes: u64, last_s: u64, is_live: bool) -> Held {
        let last = Timestamp::from_parts(last_s, 0);
        Held { stem: stem.into(), bytes, last, is_live }
    }

    const NOW: Timestamp = Timestamp::from_parts(1000, 0);

    #[test]
    fn the_oldest_goes_first_and_no_more_than_needed() {
        let budget = Budget { bytes: 100, age: None };
        let all = [held("1", 30, 1, false), held("2", 30, 2, false), held("3", 30, 3, false)];
        assert_eq!(budget.too_many(&all, 10, NOW), [""; 0]);
        assert_eq!(budget.too_many(&all, 11, NOW), ["1"]);
        assert_eq!(budget.too_many(&all, 41, NOW), ["1", "2"]);
    }

    #[test]
    fn what_is_being_written_stays() {
        let budget = Budget { bytes: 50, age: Some(Duration::from_secs(1)) };
        let all = [held("1", 30, 1, true), held("2", 30, 999, false)];
        assert_eq!(budget.too_many(&all, 10, NOW), ["2"]);
    }

    #[test]
    fn old_ones_go_though_there_is_room() {
        let budget = Budget { bytes: 1000, age: Some(Duration::from_secs(100)) };
        let all = [held("1", 1, 899, false), held("2", 1, 900, false), held("3", 1, 901, false)];
        assert_eq!(budget.too_many(&all, 0, NOW), ["1"]);
        let back = Timestamp::from_parts(5, 0);
        assert_eq!(budget.too_many(&all, 0, back), [""; 0], "a clock set back removes nothing");
    }

    #[test]
    fn segments_are_small_against_the_budget() {
        let of = |bytes| Budget { bytes, age: None }.segment_bytes();
        assert_eq!(of(6 << 30), 96 << 20);
        assert_eq!(of(LEAST_BYTES), 1 << 20);
        assert_eq!(of(50 << 30), 256 << 20);
    }
}
