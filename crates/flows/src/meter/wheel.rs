//! When to look at which flow: a wheel of seconds.
//!
//! A flow stands in it once, at the time when it would end if nothing came; packets do not move it.
//! When its turn comes and it has not ended, it is put in again. The flows of a second are linked
//! with each other, so that one can be taken out and memory is that of the flows there are.

#[derive(Debug)]
pub(super) struct Wheel {
    /// The first flow of each second, from `first` on, modulo the length.
    heads: Vec<u32>,
    /// By slot: neighbours in the same second, and the place of that in `heads`.
    links: Vec<Link>,
    /// The second whose flows are due next.
    first: u64,
    is_begun: bool,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    behind: u32,
    place: u32,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { heads: vec![NONE; HORIZON], links: Vec::new(), first: 0, is_begun: false }
    }

    /// Whether a second has passed whose flows have to be looked at.
    #[inline]
    pub(super) const fn is_due(&self, now: u64) -> bool {
        self.is_begun && now / SECOND > self.first
    }

    /// Has the flow looked at once the second of its deadline is over, and at no other time; far
    /// deadlines earlier.
    pub(super) fn add(&mut self, slot: u32, now: u64, deadline: u64) {
        if !self.is_begun {
            self.is_begun = true;
            self.first = now / SECOND;
        }
        self.remove(slot);
        let ahead = (deadline / SECOND).saturating_sub(self.first).min(HORIZON as u64 - 1);
        let place = place(self.first + ahead);
        let behind = self.heads.get(place).copied().unwrap_or(NONE);
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, Link::NOWHERE);
        }
        if let Some(link) = self.links.get_mut(slot as usize) {
            *link = Link { before: NONE, behind, place: u32::try_from(place).unwrap_or(NONE) };
        }
        if let Some(link) = self.links.get_mut(behind as usize) {
            link.before = slot;
        }
        if let Some(head) = self.heads.get_mut(place) {
            *head = slot;
        }
    }

    /// Takes the flow out.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(link) = self.links.get_mut(slot as usize) else { return };
        let Link { before, behind, place } = std::mem::replace(link, Link::NOWHERE);
        if place == NONE {
            return;
        }
        match self.links.get_mut(before as usize) {
            Some(link) => link.behind = behind,
            None => {
                if let Some(head) = self.heads.get_mut(place as usize) {
                    *head = behind;
                }
            }
        }
        if let Some(link) = self.links.get_mut(behind as usize) {
            link.before = before;
        }
    }

    /// Gives the flows of all seconds that have passed, and forgets them.
    pub(super) fn take_due(&mut self, now: u64, due: &mut Vec<u32>) {
        let passed = now / SECOND;
        let seconds = passed.saturating_sub(self.first).min(HORIZON as u64);
        for second in self.first..self.first + seconds {
            let Some(head) = self.heads.get_mut(place(second)) else { continue };
            let mut slot = std::mem::replace(head, NONE);
            while let Some(link) = self.links.get_mut(slot as usize) {
                due.push(slot);
                slot = std::mem::replace(link, Link::NOWHERE).behind;
            }
        }
        self.first = self.first.max(passed);
    }
}

impl Link {
    const NOWHERE: Self = Self { before: NONE, behind: NONE, place: NONE };
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is small")]
const fn place(second: u64) -> usize {
    (second % HORIZON as u64) as usize
}

const SECOND: u64 = 1_000_000_000;
/// How many seconds ahead a flow can stand.
const HORIZON: usize = 4096;
/// No flow has this slot.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel, second: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.take_due(second * SECOND, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn flows_come_when_their_second_is_over_and_not_when_taken_out() {
        let mut wheel = Wheel::new();
        let start = 1_000_000 * SECOND;
        for slot in 0..6 {
            wheel.add(slot, start, start + (1 + u64::from(slot) / 2) * SECOND);
        }
        wheel.remove(1);
        wheel.remove(3);
        assert!(due(&mut wheel, 1_000_001).is_empty());
        assert_eq!(due(&mut wheel, 1_000_002), [0]);
        wheel.add(4, start, start + 90 * SECOND);
        assert_eq!(due(&mut wheel, 1_000_005), [2, 5]);
        assert_eq!(due(&mut wheel, 2_000_000), [4]);
    }

    #[test]
    fn far_deadlines_come_early_and_past_ones_next() {
        let mut wheel = Wheel::new();
        wheel.add(0, 0, u64::MAX);
        wheel.add(1, 0, 0);
        assert!(wheel.is_due(SECOND));
        assert_eq!(due(&mut wheel, 1), [1]);
        assert_eq!(due(&mut wheel, 5000), [0]);
    }
}
