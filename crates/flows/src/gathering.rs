//! Flows on their way to being counted once: held until all that may be seen again was seen.

use crate::flow::Flow;
use crate::once::{Counted, Point, count_once};
use crate::place::Places;

/// Flows that are held. At most [`Gathering::MOST`] of them: then all are settled, and of a flow
/// that goes on the rest is compared with what comes later only.
#[derive(Debug, Default)]
pub struct Gathering {
    flows: Vec<Flow>,
    settled_early: u64,
}

impl Gathering {
    /// How many flows are held, some 300 bytes each.
    pub const MOST: usize = 1 << 20;

    /// Takes a flow.
    pub fn add(
        &mut self,
        flow: Flow,
        points: &[Point],
        places: &Places,
        each: &mut impl FnMut(&Flow, &[Counted; 2]),
    ) {
        if self.flows.len() >= Self::MOST {
            self.settled_early += 1;
            self.settle(points, places, each);
        }
        self.flows.push(flow);
    }

    /// Shows all flows, the first to begin first, with what of them counts, and forgets them.
    pub fn settle(
        &mut self,
        points: &[Point],
        places: &Places,
        each: &mut impl FnMut(&Flow, &[Counted; 2]),
    ) {
        self.flows.sort_by_key(|flow| (flow.start(), flow.point, flow.ends));
        let counted = count_once(&self.flows, points, places);
        for (flow, counted) in self.flows.iter().zip(&counted) {
            each(flow, counted);
        }
        self.flows.clear();
    }

    /// How often there was no room to wait.
    pub const fn settled_early(&self) -> u64 {
        self.settled_early
    }
}
