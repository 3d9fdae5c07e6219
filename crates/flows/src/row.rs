//! A flow with all that is known of it, and what takes such rows: stores, printers, exports.

use wire::Timestamp;

use crate::flow::Flow;
use crate::once::{Counted, Point};
use crate::place::{Machine, Place, Places, Split, Whereabouts};

/// A flow, what of it counts, and where its ends were: settled, not to change any more.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The flow as it was seen or exported, nothing multiplied.
    pub flow: &'a Flow,
    /// What counts of the two directions, that of the client first.
    pub counted: [Counted; 2],
    /// Where client and server were when it began.
    pub ends: [Whereabouts<'a>; 2],
    /// Whether it stayed within a host.
    pub split: Split,
    places: &'a Places,
    points: &'a [Point],
}

impl<'a> Row<'a> {
    /// Looks up where the ends of `flow` were. `points` are by the number in it.
    pub fn new(
        flow: &'a Flow,
        counted: [Counted; 2],
        places: &'a Places,
        points: &'a [Point],
    ) -> Self {
        let time = flow.start();
        let ends = places.ends(flow, time);
        let split = places.split(flow, &ends, time);
        Self { flow, counted, ends, split, places, points }
    }

    /// Client and server, where they are machines of the inventory, and where those were.
    pub fn machines(&self) -> [Option<(&'a Machine, &'a Place)>; 2] {
        self.ends.map(|end| {
            let place = end.place()?;
            Some((self.places.machine(place.machine)?, place))
        })
    }

    /// Where it was seen.
    pub fn point(&self) -> Option<&'a Point> {
        self.points.get(self.flow.point.0 as usize)
    }

    /// The point whose sighting of one direction counts instead; that of the client is 0.
    pub fn counted_at(&self, way: usize) -> Option<&'a Point> {
        let number = self.counted.get(way)?.copy_of?;
        self.points.get(number.0 as usize)
    }
}

/// Takes settled flows: a store, a printer, another collector.
///
/// Rows come in no order but roughly by their end: a flow of half an hour is told when it is over.
pub trait RowSink {
    /// Why a row could not be taken.
    type Error;

    /// Takes one row. After an error the sink is not used any more.
    fn take(&mut self, row: &Row<'_>) -> Result<(), Self::Error>;

    /// Says what time it is, about once a second when flows come live: what was kept back for time
    /// may go. Replayed flows come without.
    fn tick(&mut self, now: Timestamp) -> Result<(), Self::Error> {
        let _ = now;
        Ok(())
    }

    /// Writes out what is left: nothing comes any more.
    fn finish(&mut self) -> Result<(), Self::Error>;
}
