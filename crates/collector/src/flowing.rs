//! From what a decoder shows to settled flows in a sink.

use std::time::Duration;

use flows::{Exports, LiveGathering, Places, RowSink, Timeouts};
use wire::export::Event;
use wire::{Timestamp, TunnelPorts};

/// Flows that come live: joined with the inventory, counted once, then given to a sink.
#[derive(Debug)]
pub struct Flowing {
    places: Places,
    exports: Exports,
    gathering: LiveGathering,
    told: u64,
}

impl Flowing {
    /// Flows wait for `wait` to be compared with other sightings; `timeouts` are of those made of
    /// samples.
    pub fn new(places: Places, timeouts: Timeouts, ports: TunnelPorts, wait: Duration) -> Self {
        let exports = Exports::new(timeouts, places.nvgre(), ports);
        Self { places, exports, gathering: LiveGathering::new(wait), told: 0 }
    }

    /// Takes what a decoder shows.
    #[inline]
    pub fn take(&mut self, event: Event<'_>) {
        let gathering = &mut self.gathering;
        self.exports.take(event, |flow| gathering.add(flow));
    }

    /// Gives the sink what has waited long enough.
    ///
    /// # Errors
    /// What the sink says.
    pub fn give<S: RowSink>(&mut self, now: Timestamp, sink: &mut S) -> Result<(), S::Error> {
        self.gathering.tick(now);
        if self.gathering.is_due(now) { self.settle(now, false, sink) } else { Ok(()) }
    }

    /// Says what time it is, also where nothing came.
    ///
    /// # Errors
    /// What the sink says.
    pub fn tick<S: RowSink>(&mut self, now: Timestamp, sink: &mut S) -> Result<(), S::Error> {
        let gathering = &mut self.gathering;
        self.exports.advance(now, |flow| gathering.add(flow));
        self.give(now, sink)?;
        sink.tick(now)
    }

    /// Gives the sink all that is left.
    ///
    /// # Errors
    /// What the sink says.
    pub fn finish<S: RowSink>(&mut self, now: Timestamp, sink: &mut S) -> Result<(), S::Error> {
        let gathering = &mut self.gathering;
        self.exports.finish(|flow| gathering.add(flow));
        self.settle(now, true, sink)?;
        sink.finish()
    }

    /// Makes what is known of the site anew: it holds for flows that are settled from now on.
    pub fn set_places(&mut self, places: Places) {
        self.places = places;
    }

    /// Flows given to the sink.
    pub const fn told(&self) -> u64 {
        self.told
    }

    /// Records and samples that name no addresses.
    pub const fn without_addresses(&self) -> u64 {
        self.exports.without_addresses()
    }

    /// Records and samples of more observation points than there may be.
    pub const fn without_point(&self) -> u64 {
        self.exports.without_point()
    }

    /// How often flows were settled early for want of room.
    pub const fn settled_early(&self) -> u64 {
        self.gathering.settled_early()
    }

    fn settle<S: RowSink>(
        &mut self,
        now: Timestamp,
        is_last: bool,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let told = &mut self.told;
        self.gathering.settle(now, self.exports.points(), &self.places, is_last, |row| {
            *told += 1;
            sink.take(row)
        })
    }
}
