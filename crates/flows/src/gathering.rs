//! Flows on their way to being counted once: held until all that may be seen again was seen, or, of
//! flows that come live, for a while.

use std::time::Duration;

use wire::Timestamp;

use crate::flow::Flow;
use crate::once::{Counted, Evidence, Held, Point, count_once};
use crate::place::Places;
use crate::row::Row;

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

/// Flows that come live. They wait for others of the same flow for a while and are settled together;
/// what comes later does not count again.
#[derive(Debug)]
pub struct LiveGathering {
    held: Vec<Held>,
    evidence: Evidence,
    wait: Duration,
    /// When flows were last settled; zero if none came yet.
    settled: Timestamp,
    now: Timestamp,
    /// When what is remembered was last looked through.
    forgot: Timestamp,
    settled_early: u64,
}

impl LiveGathering {
    /// How many flows are held, some 300 bytes each; of more, all are settled early.
    pub const MOST: usize = 1 << 18;
    /// What ended so long ago is not told any more: an hour, twice the longest active time-out in
    /// use.
    const MEMORY: Duration = Duration::from_secs(3600);

    /// Flows wait for `wait`, at most twice as long if nobody who counts them is waited for.
    pub fn new(wait: Duration) -> Self {
        Self {
            held: Vec::new(),
            evidence: Evidence::new(wait),
            wait,
            settled: Timestamp::ZERO,
            now: Timestamp::ZERO,
            forgot: Timestamp::ZERO,
            settled_early: 0,
        }
    }

    /// Takes a flow, which came now or at the last [`tick`](Self::tick).
    pub fn add(&mut self, flow: Flow) {
        self.held.push(Held { flow, since: self.now });
    }

    /// Says what time it is.
    pub const fn tick(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Whether flows are to be settled: they waited long enough, or there is no room for more.
    pub fn is_due(&self, now: Timestamp) -> bool {
        // A clock that was set back must not hold flows for ever.
        let is_late = now.since(self.settled) >= self.wait || now < self.settled;
        self.held.len() >= Self::MOST || is_late
    }

    /// Shows the flows of which can be said what counts, and forgets them. `is_last` says that
    /// nothing comes any more: then all are shown.
    ///
    /// # Errors
    /// Whatever `each` says; the other flows are not shown then.
    pub fn settle<E>(
        &mut self,
        now: Timestamp,
        points: &[Point],
        places: &Places,
        is_last: bool,
        mut each: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_full = self.held.len() >= Self::MOST;
        self.settled_early += u64::from(is_full);
        if now.since(self.forgot) >= Duration::from_secs(60) {
            self.forgot = now;
            self.evidence.forget(now.saturating_sub(Self::MEMORY));
        }
        self.settled = now;
        let now = (!is_last && !is_full).then_some(now);
        let (flows, counted) = self.evidence.count(&mut self.held, points, places, now);
        for (flow, counted) in flows.iter().zip(counted) {
            each(&Row::new(flow, counted, places, points))?;
        }
        Ok(())
    }

    /// How often flows were settled before their time for want of room.
    pub const fn settled_early(&self) -> u64 {
        self.settled_early + self.evidence.overflows()
    }
}
