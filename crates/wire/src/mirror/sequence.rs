//! Numbers of packets as a mirror's sender gives them: which are missing.
//!
//! A packet that comes late fills its hole as long as the number is among the last [`WINDOW`]
//! (RFC 2890, section 2.2, leaves the size of this buffer to the receiver). A hole that is older
//! is a loss. A sender that begins anew is noticed and loses nothing by it.

/// The numbers of one sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// The highest number so far; `None` before the first.
    highest: Option<u32>,
    /// Bit i is set if the number i below the highest has come.
    seen: u128,
    counts: SequenceCounts,
    /// A number out of place: if the next one follows it, the sender has begun anew.
    stray: Option<u32>,
    /// How many numbers in a row have come before, one up from the other, and the last of them.
    repeated: (u32, u32),
}

/// What the numbers of one sender show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceCounts {
    /// Packets with a number.
    pub numbered: u64,
    /// Numbers that did not come and are too old to come still.
    pub lost: u64,
    /// Packets that came after one with a higher number.
    pub late: u64,
    /// Packets whose number had come before.
    pub repeated: u64,
    /// Packets whose number is far from all others, and those with which a sender began anew.
    pub strays: u64,
    /// How often the sender began anew.
    pub restarts: u64,
}

impl SequenceCounts {
    /// Packets that do not fit into one row of numbers.
    pub const fn misfits(&self) -> u64 {
        self.repeated + self.strays + self.restarts
    }
}

/// What a packet's number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Losses that are certain since the last step.
    pub lost: u64,
    /// Whether this is the first packet with this number.
    pub is_new: bool,
}

impl Default for Sequence {
    fn default() -> Self {
        Self::new()
    }
}

impl Sequence {
    /// Before the first number.
    pub const fn new() -> Self {
        let counts =
            SequenceCounts { numbered: 0, lost: 0, late: 0, repeated: 0, strays: 0, restarts: 0 };
        Self { highest: None, seen: u128::MAX, counts, stray: None, repeated: (0, 0) }
    }

    /// Takes the number of the next packet.
    pub fn take(&mut self, number: u32) -> Step {
        self.counts.numbered += 1;
        let before = self.counts.lost;
        let is_new = match self.highest {
            None => {
                self.highest = Some(number);
                true
            }
            Some(highest) => self.place(highest, number),
        };
        Step { lost: self.counts.lost - before, is_new }
    }

    /// What is known now. Numbers that may still come are no losses.
    pub const fn counts(&self) -> SequenceCounts {
        self.counts
    }

    /// What is known if nothing more comes: all holes are losses.
    pub const fn final_counts(&self) -> SequenceCounts {
        let mut counts = self.counts;
        counts.lost += self.seen.count_zeros() as u64;
        counts
    }

    /// Numbers below the highest that have not come and may still.
    pub const fn awaited(&self) -> u64 {
        self.seen.count_zeros() as u64
    }

    fn place(&mut self, highest: u32, number: u32) -> bool {
        let ahead = number.wrapping_sub(highest);
        let behind = highest.wrapping_sub(number);
        if ahead != 0 && ahead <= MOST_AHEAD {
            self.advance(ahead);
            self.highest = Some(number);
            (self.stray, self.repeated) = (None, (0, 0));
            return true;
        }
        if behind >= WINDOW {
            return self.stray(number);
        }
        let bit = 1 << behind;
        if self.seen & bit == 0 {
            self.seen |= bit;
            self.counts.late += 1;
            (self.stray, self.repeated) = (None, (0, 0));
            return true;
        }
        self.repeat(number)
    }

    fn advance(&mut self, ahead: u32) {
        if ahead < WINDOW {
            // The holes among the numbers that leave the window.
            let leaving = (self.seen >> (WINDOW - ahead)).count_ones();
            self.counts.lost += u64::from(ahead - leaving);
            self.seen = self.seen << ahead | 1;
        } else {
            self.counts.lost += u64::from(self.seen.count_zeros()) + u64::from(ahead - WINDOW);
            self.seen = 1;
        }
    }

    /// A number far from all others: by mistake, or the first of a sender that begins anew.
    fn stray(&mut self, number: u32) -> bool {
        self.counts.strays += 1;
        let is_second = self.stray.is_some_and(|first| {
            let step = number.wrapping_sub(first);
            step != 0 && step < STRAY_STEP
        });
        if let Some(first) = self.stray.filter(|_| is_second) {
            self.restart(first);
            self.advance(number.wrapping_sub(first));
            self.highest = Some(number);
        } else {
            self.stray = Some(number);
        }
        true
    }

    /// A number that came before: a copy, or one of a sender that begins anew a little below.
    fn repeat(&mut self, number: u32) -> bool {
        self.counts.repeated += 1;
        let (count, last) = self.repeated;
        let follows = count > 0 && number == last.wrapping_add(1);
        self.repeated = if follows { (count + 1, number) } else { (1, number) };
        if self.repeated.0 < REPEATED_ROW {
            return false;
        }
        self.counts.repeated -= u64::from(REPEATED_ROW);
        self.restart(number);
        true
    }

    /// The sender has begun anew, with `number` as the highest of those that came since.
    fn restart(&mut self, number: u32) {
        self.counts.lost += u64::from(self.seen.count_zeros());
        self.counts.restarts += 1;
        self.highest = Some(number);
        self.seen = u128::MAX;
        (self.stray, self.repeated) = (None, (0, 0));
    }
}

/// How far below the highest number one may be and still fill its hole.
pub const WINDOW: u32 = u128::BITS;
/// How far ahead of the highest number the next one is still taken for the same row: about a second
/// of loss at a million packets a second.
const MOST_AHEAD: u32 = 1 << 20;
/// How far apart the first two numbers of a sender that has begun anew may be.
const STRAY_STEP: u32 = 16;
/// So many numbers in a row that all came before are no copies.
const REPEATED_ROW: u32 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: impl IntoIterator<Item = u32>) -> SequenceCounts {
        let mut sequence = Sequence::new();
        numbers.into_iter().for_each(|number| {
            sequence.take(number);
        });
        sequence.final_counts()
    }

    #[test]
    fn holes_are_losses_and_what_comes_late_fills_its_hole() {
        assert_eq!(of([7, 8, 10, 11, 15]).lost, 4);
        let counts = of([1, 2, 4, 3, 6, 5, 8]);
        assert_eq!((counts.lost, counts.late, counts.repeated), (1, 2, 0));
        let far = of([0, 500, 3]);
        assert_eq!((far.lost, far.strays, far.late), (499, 1, 0), "too late to fill a hole");
    }

    #[test]
    fn the_number_after_the_last_is_zero() {
        let counts = of([u32::MAX - 1, u32::MAX, 1, 2]);
        assert_eq!((counts.lost, counts.misfits()), (1, 0));
    }

    #[test]
    fn a_sender_that_begins_anew_loses_nothing_by_it() {
        let near = of((0..50).chain(0..50));
        assert_eq!((near.lost, near.restarts, near.repeated), (0, 1, 0));
        let far = of((5_000_000..5_000_050).chain(0..50));
        assert_eq!((far.lost, far.restarts), (0, 1));
        let with_losses = of((0..5000).chain([5003, 5004]).chain(0..20).chain([22, 23]));
        assert_eq!((with_losses.lost, with_losses.restarts), (3 + 2, 1));
    }

    #[test]
    fn one_number_out_of_place_changes_nothing() {
        let counts = of([1, 2, 3, 4_000_000_000, 4, 5]);
        assert_eq!((counts.lost, counts.strays, counts.restarts), (0, 1, 0));
        let copies = of([1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]);
        assert_eq!((copies.lost, copies.repeated, copies.restarts), (0, 6, 0));
    }

    proptest! {
        /// Packets dropped here and there, and moved by less than the window.
        #[test]
        fn exactly_what_was_dropped_is_lost(
            first: u32,
            kept in prop::collection::vec(prop::bool::weighted(0.9), 2..600),
            shifts in prop::collection::vec(0u64..100, 600),
        ) {
            let mut sent: Vec<(u64, u32)> = (0..kept.len())
                .filter(|&place| kept[place] || place == 0 || place == kept.len() - 1)
                .map(|place| (place as u64, first.wrapping_add(u32::try_from(place).unwrap())))
                .collect();
            let dropped = (kept.len() - sent.len()) as u64;
            // The first and the last stay where they are: what is around them nobody can know.
            let last = sent.len() - 1;
            for (place, (key, _)) in sent.iter_mut().enumerate() {
                if place != 0 && place != last {
                    *key += shifts[place];
                }
            }
            let (ends, end) = (sent[0], sent[last]);
            let mut middle = sent[1..last].to_vec();
            middle.sort_by_key(|(key, _)| *key);
            let order = [vec![ends], middle, vec![end]].concat();
            let counts = of(order.iter().map(|(_, number)| *number));
            prop_assert_eq!(counts.lost, dropped);
            prop_assert_eq!(counts.misfits(), 0);
        }

        #[test]
        fn any_numbers_are_counted_and_never_more_lost_than_skipped(numbers: Vec<u32>) {
            let mut sequence = Sequence::new();
            let mut told = 0;
            for number in &numbers {
                told += sequence.take(*number).lost;
            }
            let counts = sequence.final_counts();
            prop_assert_eq!(counts.numbered, numbers.len() as u64);
            prop_assert_eq!(told, sequence.counts().lost);
            prop_assert_eq!(counts.lost, told + sequence.awaited());
            prop_assert!(counts.lost <= numbers.len() as u64 * u64::from(MOST_AHEAD));
        }
    }
}
