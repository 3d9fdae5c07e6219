//! From when to when a machine was recorded, and when it was not.

use std::time::Duration;

use wire::Timestamp;

/// A time in which a machine was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first moment of it.
    pub from: Timestamp,
    /// The first moment behind it.
    pub to: Timestamp,
}

/// A time in which a machine was not recorded, or not all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first moment of it.
    pub from: Timestamp,
    /// The first moment behind it.
    pub to: Timestamp,
}

impl Gap {
    /// How long it is.
    pub const fn duration(&self) -> Duration {
        self.to.since(self.from)
    }
}

/// Spans that do not touch, oldest first.
pub(crate) fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.to > span.from);
    spans.sort();
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.from <= last.to => last.to = last.to.max(span.to),
            _ => joined.push(span),
        }
    }
    joined
}

/// What of the time from `from` to `to` the joined `spans` leave out.
pub(crate) fn gaps(spans: &[Span], from: Timestamp, to: Timestamp) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut covered = from;
    for span in spans {
        if span.from > covered && covered < to {
            gaps.push(Gap { from: covered, to: span.from.min(to) });
        }
        covered = covered.max(span.to);
    }
    if covered < to {
        gaps.push(Gap { from: covered, to });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_parts(second, 0)
    }

    fn span(from: u64, to: u64) -> Span {
        Span { from: at(from), to: at(to) }
    }

    #[test]
    fn spans_that_touch_are_one() {
        let spans = vec![span(5, 7), span(1, 3), span(3, 4), span(6, 6), span(6, 9)];
        assert_eq!(joined(spans), [span(1, 4), span(5, 9)]);
    }

    #[test]
    fn gaps_are_before_between_and_behind() {
        let spans = [span(10, 20), span(25, 30)];
        let of = |from, to| -> Vec<(u64, u64)> {
            let gaps = gaps(&spans, at(from), at(to));
            gaps.iter().map(|gap| (gap.from.seconds(), gap.to.seconds())).collect()
        };
        assert_eq!(of(0, 40), [(0, 10), (20, 25), (30, 40)]);
        assert_eq!(of(12, 22), [(20, 22)]);
        assert_eq!(of(12, 19), []);
        assert_eq!(of(40, 50), [(40, 50)]);
        assert_eq!(of(1, 5), [(1, 5)]);
    }
}
