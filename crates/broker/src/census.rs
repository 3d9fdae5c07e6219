//! Counting for many tools at once: what most packets have in common costs one counter, not one
//! for each tool.

use select::ToolSet;

use crate::ToolAccount;

/// What became of packets before anything was done for one tool alone.
#[derive(Debug, Default)]
pub(crate) struct Census {
    pub(crate) offered: u64,
    pub(crate) own_exports: u64,
    /// They could not be theirs to have, for all that can be known.
    pub(crate) hidden: Tally,
    /// Their selection may ask for it.
    pub(crate) asked: Tally,
    pub(crate) allowed: Tally,
    pub(crate) wanted: Tally,
}

impl Census {
    /// Fills in the counters of tool `number`.
    pub(crate) fn complete(&self, number: usize, account: &mut ToolAccount) {
        let (asked, hidden) = (self.asked.count(number), self.hidden.count(number));
        let allowed = self.allowed.count(number);
        account.offered = self.offered;
        account.own_export = self.own_exports;
        account.undecidable = hidden;
        account.other_tenant = asked - hidden - allowed;
        account.not_selected =
            self.offered - self.own_exports - asked + allowed - self.wanted.count(number);
    }
}

/// How often each tool was in a set.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Sets seen lately, with how often they were.
    recent: [(ToolSet, u64); RECENT],
    /// Of sets that had to make room.
    counts: Vec<u64>,
}

impl Tally {
    #[inline]
    pub(crate) fn add(&mut self, set: ToolSet) {
        if let Some((known, count)) = self.recent.get_mut(set.spread::<RECENT>()) {
            if *known == set {
                *count += 1;
                return;
            }
            let old = std::mem::replace(&mut *known, set);
            let times = std::mem::replace(&mut *count, 1);
            self.settle(old, times);
        }
    }

    #[inline(never)]
    fn settle(&mut self, set: ToolSet, times: u64) {
        if self.counts.is_empty() {
            self.counts.resize(ToolSet::MOST, 0);
        }
        for number in set.iter() {
            if let Some(count) = self.counts.get_mut(number) {
                *count += times;
            }
        }
    }

    fn count(&self, number: usize) -> u64 {
        let recent = self.recent.iter().filter(|(set, _)| set.has(number));
        let settled = self.counts.get(number).copied().unwrap_or_default();
        settled + recent.map(|(_, count)| count).sum::<u64>()
    }
}

const RECENT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_counted_however_many_there_are() {
        let mut tally = Tally::default();
        for number in 0..1000_usize {
            let set = ToolSet::one(number % 60).unwrap().and(ToolSet::one(63).unwrap());
            tally.add(set);
        }
        assert_eq!((tally.count(63), tally.count(0), tally.count(59)), (1000, 17, 16));
    }
}
