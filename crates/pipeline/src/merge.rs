//! Several sources in the order of time, as far as waiting is allowed.
//!
//! A ring hands packets over some milliseconds late, and each at its own moment, so a packet may
//! only pass when no other source can still come with an older one: every other source either
//! shows a newer packet already, or has had its grace time to show an older one.

use std::time::Duration;

use wire::Timestamp;

use crate::Source;

/// Which source is next, without taking its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The source with this number has the oldest packet, and none older can come.
    Source(usize),
    /// A packet waits for the grace time of the silent sources to pass.
    Wait(Duration),
    /// No source has a packet.
    Empty,
}

/// The order in which several sources are read.
#[derive(Debug, Clone, Copy)]
pub struct Merge {
    /// How late a source may show a packet: its block timer and some slack.
    pub grace: Duration,
    /// How long every packet waits, for news about whose it is to come before it is passed on.
    pub hold: Duration,
}

impl Merge {
    /// Chooses the next source at the time `now`. `is_pressed` says that a ring fills up and order
    /// has to give way to completeness.
    #[inline]
    pub fn choose<S: Source>(
        &self,
        sources: &mut [S],
        now: Timestamp,
        is_pressed: bool,
    ) -> Readiness {
        let held = |time: Timestamp, number| {
            if is_pressed || self.hold.is_zero() {
                return Readiness::Source(number);
            }
            let due = time.saturating_add(self.hold);
            if now >= due { Readiness::Source(number) } else { Readiness::Wait(due.since(now)) }
        };
        if let [only] = sources {
            return only.peek().map_or(Readiness::Empty, |time| held(time, 0));
        }
        let mut oldest: Option<(Timestamp, usize)> = None;
        let mut is_one_silent = false;
        for (number, source) in sources.iter_mut().enumerate() {
            match source.peek() {
                Some(time) if oldest.is_none_or(|(first, _)| time < first) => {
                    oldest = Some((time, number));
                }
                Some(_) => {}
                None => is_one_silent = true,
            }
        }
        let Some((time, number)) = oldest else { return Readiness::Empty };
        let safe = time.saturating_add(self.grace);
        if !is_one_silent || is_pressed || now >= safe {
            held(time, number)
        } else {
            Readiness::Wait(safe.since(now))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{LinkType, Packet};

    /// Packets that are at hand at once, by their times in milliseconds.
    struct Times(Vec<u64>);

    impl Source for Times {
        fn peek(&mut self) -> Option<Timestamp> {
            self.0.first().map(|ms| Timestamp::from_nanos(ms * 1_000_000))
        }

        fn next(&mut self) -> Option<Packet<'_>> {
            let time = self.peek()?;
            self.0.remove(0);
            Some(Packet::new(time, LinkType::ETHERNET, &[], 0))
        }
    }

    const MERGE: Merge = Merge { grace: Duration::from_millis(60), hold: Duration::ZERO };

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn packets_of_two_sources_come_in_the_order_of_time() {
        let mut sources = [Times(vec![10, 30]), Times(vec![20, 40])];
        let mut order = Vec::new();
        while let Readiness::Source(number) = MERGE.choose(&mut sources, at(200), false) {
            order.push(sources[number].next().map(|packet| packet.time.as_nanos() / 1_000_000));
        }
        assert_eq!(order, [Some(10), Some(20), Some(30), Some(40)]);
    }

    #[test]
    fn a_packet_waits_for_a_silent_source_until_its_grace_is_over() {
        let mut sources = [Times(vec![10]), Times(vec![])];
        assert_eq!(
            MERGE.choose(&mut sources, at(50), false),
            Readiness::Wait(Duration::from_millis(20))
        );
        assert_eq!(MERGE.choose(&mut sources, at(70), false), Readiness::Source(0));
        assert_eq!(MERGE.choose(&mut sources, at(50), true), Readiness::Source(0));
    }

    #[test]
    fn a_single_source_never_waits() {
        assert_eq!(MERGE.choose(&mut [Times(vec![10])], at(10), false), Readiness::Source(0));
        assert_eq!(MERGE.choose(&mut [Times(vec![])], at(10), false), Readiness::Empty);
    }

    #[test]
    fn what_is_held_waits_even_alone_unless_room_is_needed() {
        let merge = Merge { hold: Duration::from_millis(100), ..MERGE };
        let wait = Readiness::Wait(Duration::from_millis(40));
        assert_eq!(merge.choose(&mut [Times(vec![10])], at(70), false), wait);
        assert_eq!(merge.choose(&mut [Times(vec![10]), Times(vec![20])], at(70), false), wait);
        assert_eq!(merge.choose(&mut [Times(vec![10])], at(110), false), Readiness::Source(0));
        assert_eq!(merge.choose(&mut [Times(vec![10])], at(70), true), Readiness::Source(0));
    }
}
