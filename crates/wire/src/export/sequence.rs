//! Sequence numbers: how much of an export stream was lost on its way.
//!
//! Exporters do not agree on what the number means, whatever the standards say: records sent before
//! this message or up to its end, with or without records of options. The meaning is learnt from
//! the stream, and until it is known no loss is claimed.

use serde::{Deserialize, Serialize};

/// What follows the numbers of one stream: an observation domain, or a data source of sFlow.
///
/// It can be written down and read back: what is missing between is lost as well. Only gaps that
/// late messages might fill are not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sequence {
    last: Option<Message>,
    votes: [u16; MEANINGS],
    lost: u64,
    /// Whether the numbers of two messages were ever compared in a meaning that is known.
    is_judged: bool,
    /// Gaps that later messages may still fill: first missing number and how many.
    #[serde(skip)]
    gaps: Vec<(u32, u32)>,
    out_of_order: u64,
    restarts: u64,
    /// Messages in a row that were numbered before the one before them.
    backwards: u32,
}

/// What one message adds to the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// Its number.
    pub(super) number: u32,
    /// How many units it holds, for each meaning; `None` if a part of it could not be counted.
    pub(super) units: Option<Units>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Units {
    /// Messages: every one counts 1.
    Messages,
    /// Records: of flows, and of options.
    Records { flows: u32, options: u32 },
}

impl Sequence {
    /// Takes a message in the order of its arrival.
    pub(super) fn take(&mut self, message: Message) {
        let Some(last) = self.last else {
            self.last = Some(message);
            return;
        };
        let step = message.number.wrapping_sub(last.number);
        // What is more than half of all numbers ahead is behind.
        let is_copy = step == 0 && message.is_counted() && last.is_counted();
        if step.cast_signed() < 0 || is_copy {
            return self.take_earlier(message);
        }
        self.backwards = 0;
        if step > MAX_STEP {
            return self.restart(message);
        }
        self.last = Some(message);
        let (Some(before), Some(own)) = (last.units, message.units) else { return };
        let expected = [before.all(), before.flows(), own.all(), own.flows()];
        if let Some(known) = self.known(expected) {
            // A step of nothing where nothing was sent shows nothing.
            self.is_judged |= known > 0;
            let missing = step.saturating_sub(known);
            if missing > 0 {
                self.lost = self.lost.saturating_add(u64::from(missing));
                self.remember_gap(last.number.wrapping_add(known), missing);
            }
        }
        self.vote(expected, step);
    }

    /// How many units were lost; `None` as long as nobody knows what the numbers mean.
    pub fn lost(&self) -> Option<u64> {
        self.is_judged.then_some(self.lost)
    }

    /// How many messages came later than others with a higher number, or twice.
    pub const fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// How often the exporter began to count anew.
    pub const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Forgets where the numbers are, because the exporter has begun anew.
    pub(super) fn restart(&mut self, message: Message) {
        self.restarts = self.restarts.saturating_add(1);
        self.backwards = 0;
        self.gaps.clear();
        self.last = Some(message);
    }

    /// Forgets where the numbers are: the next message is the first of another connection.
    pub(super) fn end(&mut self) {
        self.gaps.clear();
        self.backwards = 0;
        self.last = None;
    }

    /// A message that belongs before one that was seen, or is a copy.
    fn take_earlier(&mut self, message: Message) {
        self.backwards = self.backwards.saturating_add(1);
        if self.backwards >= MAX_BACKWARDS {
            return self.restart(message);
        }
        self.out_of_order = self.out_of_order.saturating_add(1);
        let Some(units) = message.units else { return };
        let len = units.all();
        // A number may be that of the first unit of the message or of the one behind its last.
        let fits = |(start, missing): &(u32, u32)| {
            let from_start = message.number.wrapping_sub(*start);
            from_start < *missing || from_start == *missing && len > 0
        };
        if let Some(place) = self.gaps.iter().position(fits) {
            let (start, missing) = self.gaps.swap_remove(place);
            let found = len.min(missing);
            self.lost = self.lost.saturating_sub(u64::from(found));
            if missing > found {
                self.gaps.push((start, missing - found));
            }
        }
    }

    fn remember_gap(&mut self, start: u32, missing: u32) {
        if self.gaps.len() >= MAX_GAPS {
            self.gaps.remove(0);
        }
        self.gaps.push((start, missing));
    }

    /// How far the numbers should have gone on, if that is known: all meanings that were right most
    /// often, and often enough, say the same.
    fn known(&self, expected: [u32; MEANINGS]) -> Option<u32> {
        let [first, ..] = expected;
        if expected.iter().all(|step| *step == first) {
            return Some(first);
        }
        let best = self.votes.iter().max().filter(|votes| **votes >= ENOUGH)?;
        let mut believed =
            self.votes.iter().zip(expected).filter(|(votes, _)| *votes == best).map(|(_, e)| e);
        let step = believed.next()?;
        believed.all(|other| other == step).then_some(step)
    }

    fn vote(&mut self, expected: [u32; MEANINGS], step: u32) {
        let [first, ..] = expected;
        if expected.iter().all(|expected| *expected == first) {
            return;
        }
        for (votes, expected) in self.votes.iter_mut().zip(expected) {
            if expected == step {
                *votes = votes.saturating_add(1);
            }
        }
        // What was right long ago must not outweigh for ever what is right now.
        if self.votes.iter().any(|votes| *votes >= 1024) {
            self.votes.iter_mut().for_each(|votes| *votes /= 2);
        }
    }
}

impl Message {
    fn is_counted(self) -> bool {
        self.units.is_some_and(|units| units.all() > 0)
    }
}

impl Units {
    const fn all(self) -> u32 {
        match self {
            Self::Messages => 1,
            Self::Records { flows, options } => flows.saturating_add(options),
        }
    }

    const fn flows(self) -> u32 {
        match self {
            Self::Messages => 1,
            Self::Records { flows, .. } => flows,
        }
    }
}

/// Before this message or including it, each with and without options.
const MEANINGS: usize = 4;
/// How often a meaning must have been right to be believed.
const ENOUGH: u16 = 2;
/// More cannot be lost at once; it is another numbering.
const MAX_STEP: u32 = 1 << 24;
/// So many messages in a row before the last one are a new beginning, not disorder.
const MAX_BACKWARDS: u32 = 4;
/// Gaps that a late message can still fill.
const MAX_GAPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn records(number: u32, flows: u32) -> Message {
        Message { number, units: Some(Units::Records { flows, options: 0 }) }
    }

    fn after(messages: &[Message]) -> Sequence {
        let mut sequence = Sequence::default();
        messages.iter().for_each(|message| sequence.take(*message));
        sequence
    }

    #[test]
    fn numbers_of_records_before_the_message_are_learnt() {
        let sent = [records(0, 30), records(30, 20), records(50, 10), records(60, 30)];
        assert_eq!(after(&sent).lost(), Some(0));
        assert_eq!(after(&sent[..2]).lost(), None, "one pair is not enough");
        let mut gone = sent.to_vec();
        gone.push(records(97, 1));
        assert_eq!(after(&gone).lost(), Some(7));
    }

    #[test]
    fn numbers_including_the_message_are_learnt() {
        let sent = [records(24, 24), records(56, 32), records(88, 32), records(100, 12)];
        assert_eq!(after(&sent).lost(), Some(0));
        let mut gone = sent.to_vec();
        gone.push(records(125, 20));
        assert_eq!(after(&gone).lost(), Some(5));
    }

    #[test]
    fn a_number_that_leaves_options_out_is_no_loss() {
        // The first message with options is the one that tells.
        let with = |number, flows, options| Message {
            number,
            units: Some(Units::Records { flows, options }),
        };
        let sent = [with(24, 24, 1), with(56, 32, 0), with(88, 32, 1), with(100, 12, 3)];
        assert_eq!(after(&sent).lost(), Some(0));
    }

    #[test]
    fn messages_without_records_teach_nothing() {
        let sent = [records(1, 0), records(1, 0), records(1, 0), records(2, 1), records(3, 1)];
        assert_eq!(after(&sent[..3]).lost(), None);
        assert_eq!(after(&sent).lost(), Some(0));
    }

    #[test]
    fn templates_may_share_the_number_of_the_records_behind_them() {
        let sent = [records(0, 5), records(5, 0), records(5, 7), records(12, 2), records(14, 1)];
        assert_eq!(after(&sent).lost(), Some(0));
    }

    #[test]
    fn a_late_message_fills_its_gap_and_a_copy_does_nothing() {
        let message = |number| Message { number, units: Some(Units::Messages) };
        let lost = |numbers: &[u32]| {
            let messages: Vec<_> = numbers.iter().map(|number| message(*number)).collect();
            after(&messages).lost()
        };
        assert_eq!(lost(&[1, 2, 3, 4]), Some(0));
        assert_eq!(lost(&[1, 2, 3, 6]), Some(2));
        assert_eq!(lost(&[1, 2, 3, 6, 5, 7]), Some(1));
        assert_eq!(lost(&[1, 2, 3, 3, 2, 4]), Some(0));
    }

    #[test]
    fn a_new_beginning_is_not_four_billion_lost() {
        let message = |number| Message { number, units: Some(Units::Messages) };
        let mut sequence = after(&[message(5000), message(5001), message(5002)]);
        for number in 0..10 {
            sequence.take(message(number));
        }
        assert_eq!((sequence.lost(), sequence.restarts()), (Some(0), 1));
        sequence.take(message(3_000_000_000));
        assert_eq!(sequence.lost(), Some(0));
    }

    #[test]
    fn a_message_that_could_not_be_counted_claims_nothing() {
        let unknown = Message { number: 500, units: None };
        let sequence =
            after(&[records(0, 10), records(10, 5), records(15, 5), unknown, records(900, 5)]);
        assert_eq!(sequence.lost(), Some(0));
    }
}
