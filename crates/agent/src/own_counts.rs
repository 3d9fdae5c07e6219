//! What the interfaces themselves have counted: a check of the receipt from outside.

use std::path::Path;

use capture::InterfaceCounters;
use plan::{Interface, Point};

/// The counters of a point's interfaces at one moment.
#[derive(Debug, Clone)]
pub struct OwnCounts(Vec<Option<InterfaceCounters>>);

impl OwnCounts {
    /// Reads them. An interface that is gone or cannot be reached has none.
    pub fn read(point: &Point) -> Self {
        Self(point.interfaces.iter().map(read).collect())
    }

    /// Reads those of an interface that joins.
    pub fn add(&mut self, interface: &Interface) {
        self.0.push(read(interface));
    }

    /// Packets in both directions since `before`, for each interface that had counters both times.
    pub fn packets_since(&self, before: &Self) -> Vec<Option<u64>> {
        let moved = |(now, before): (&Option<InterfaceCounters>, &Option<InterfaceCounters>)| {
            Some(now.as_ref()?.packets().saturating_sub(before.as_ref()?.packets()))
        };
        self.0.iter().zip(&before.0).map(moved).collect()
    }
}

fn read(interface: &Interface) -> Option<InterfaceCounters> {
    let namespace = interface.namespace_path.as_ref().map(Path::new);
    InterfaceCounters::read(&interface.name, namespace).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_counted_twice_has_a_difference() {
        let counters = |received, sent| Some(InterfaceCounters { received, missed: 0, sent });
        let before = OwnCounts(vec![counters(10, 5), None, counters(1, 1), counters(9, 9)]);
        let after = OwnCounts(vec![counters(12, 6), counters(7, 7), None, counters(0, 0)]);
        // The last one was made anew and counts from 0 again.
        assert_eq!(after.packets_since(&before), [Some(3), None, None, Some(0)]);
    }
}
