//! The meter: packets in, flows out. A cache of flows that is bounded in entries and driven by the
//! packets' own time.

mod entry;
mod pieces;
mod table;
mod wheel;

use std::time::Duration;

use wire::{Layers, Packet, PointId, Timestamp};

use self::entry::{Cold, Hot};
use self::pieces::Pieces;
use self::table::Table;
use self::wheel::Wheel;
use crate::flow::{EndReason, Flow};
use crate::key::FlowKey;
use crate::network::NvgreSubnets;
use crate::packet::{Facts, NoFlow};
use crate::tcp::{ACK, SYN};

/// Makes flows of packets. See the module.
#[derive(Debug)]
pub struct Meter {
    timeouts: Timeouts,
    nvgre: NvgreSubnets,
    table: Table,
    wheel: Wheel,
    pieces: Pieces,
    counters: MeterCounters,
    /// The time of the youngest packet, in nanoseconds; it never goes back.
    now: u64,
    /// Flows that are due, for a moment.
    due: Vec<u32>,
    /// Room for packets that wait for each other, [`TOGETHER`] of them.
    waiting: Box<[Waiting]>,
    /// How many do.
    waits: usize,
}

/// A packet that is to be metered.
#[derive(Debug, Default)]
struct Waiting {
    key: FlowKey,
    hash: u64,
    is_swapped: bool,
    time: u64,
    point: u32,
    facts: Facts,
}

/// When flows end, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A flow that was silent for so long has ended.
    pub idle: Duration,
    /// A flow that goes on for so long is told, and goes on as another.
    pub active: Duration,
    /// A TCP connection that both sides have ended is told after so long.
    pub ended: Duration,
    /// The most flows at one time.
    pub flows: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            active: Duration::from_secs(1800),
            ended: Duration::from_secs(2),
            flows: 1 << 20,
        }
    }
}

/// What became of packets, and of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeterCounters {
    /// Packets that were offered.
    pub packets: u64,
    /// Of them, packets of some flow.
    pub metered: u64,
    /// Packets whose innermost frame is not IP.
    pub not_ip: u64,
    /// Packets whose innermost frame could not be reached.
    pub hidden: u64,
    /// Later fragments whose first one was not seen: of a flow without ports.
    pub fragments_without_first: u64,
    /// Packets older than one before them.
    pub out_of_order: u64,
    /// Flows that were told, by why.
    pub ended: [u64; EndReason::ALL.len()],
}

impl Meter {
    /// One without flows.
    pub fn new(timeouts: Timeouts, nvgre: NvgreSubnets) -> Self {
        Self {
            timeouts,
            nvgre,
            table: Table::new(timeouts.flows),
            wheel: Wheel::new(),
            pieces: Pieces::new(),
            counters: MeterCounters::default(),
            now: 0,
            due: Vec::new(),
            waiting: (0..TOGETHER).map(|_| Waiting::default()).collect(),
            waits: 0,
        }
    }

    /// Takes a packet; `layers` must be those of its bytes. Flows that have ended by its time are
    /// given to `each`.
    ///
    /// Some packets wait for each other, so that what they need of memory is fetched together:
    /// [`settle`](Self::settle) meters those that do.
    #[inline]
    pub fn take(&mut self, packet: &Packet<'_>, layers: &Layers, each: &mut impl FnMut(Flow)) {
        self.counters.packets += 1;
        let Some(waiting) = self.waiting.get_mut(self.waits) else { return };
        let facts = &mut waiting.facts;
        match facts.read(packet, layers, &self.nvgre) {
            Ok(()) => {}
            Err(NoFlow::NotIp) => return self.counters.not_ip += 1,
            Err(NoFlow::Hidden) => return self.counters.hidden += 1,
        }
        if let Some((is_first, id)) = facts.piece {
            if is_first {
                self.pieces.begin(facts, id);
            } else if !self.pieces.complete(facts, id) {
                self.counters.fragments_without_first += 1;
            }
        }
        self.counters.metered += 1;
        waiting.point = packet.point.0;
        waiting.time = packet.time.as_nanos();
        (waiting.key, waiting.is_swapped) =
            FlowKey::new(packet.point.0, facts.network, &facts.ends);
        waiting.hash = waiting.key.hash();
        self.waits += 1;
        if self.waits >= TOGETHER {
            self.settle(each);
        }
    }

    /// Meters the packets that wait.
    pub fn settle(&mut self, each: &mut impl FnMut(Flow)) {
        let mut room = std::mem::take(&mut self.waiting);
        let waits = std::mem::take(&mut self.waits);
        let waiting = room.get_mut(..waits).unwrap_or_default();
        // Nothing in a program can ask for memory before it is needed but a read whose result is
        // not needed yet: first of all places in the index, then of all flows.
        let places = waiting.iter().map(|packet| self.table.touch_index(packet.hash));
        let mut touched = places.fold(0, u32::wrapping_add);
        let flows = waiting.iter().map(|packet| self.table.touch_flow(packet.hash));
        touched = flows.fold(touched, u32::wrapping_add);
        std::hint::black_box(touched);
        for packet in waiting {
            self.meter(packet, each);
        }
        self.waiting = room;
    }

    fn meter(&mut self, packet: &mut Waiting, each: &mut impl FnMut(Flow)) {
        let Waiting { key, hash, is_swapped, time, .. } = *packet;
        if time < self.now {
            self.counters.out_of_order += 1;
        } else {
            self.now = time;
            if self.wheel.is_due(time) {
                self.expire(each);
            }
        }
        let slot = match self.table.find(&key, hash) {
            Some(slot) => {
                if self.begins_anew(slot, &packet.facts) {
                    self.end(slot, EndReason::Ended, each);
                    self.insert(packet, each)
                } else {
                    slot
                }
            }
            None => self.insert(packet, each),
        };
        if let Some((hot, cold)) = self.table.parts_mut(slot) {
            let was_ended = hot.is_ended();
            hot.take(|| cold.as_mut(), time, &mut packet.facts, is_swapped);
            if hot.is_ended() && !was_ended {
                // The wheel would look again only at the idle time-out.
                let deadline = self.deadline(slot);
                self.wheel.add(slot, self.now, deadline);
            }
        }
    }

    /// Says what time it is, where no packet does: flows that have ended by then are given to
    /// `each`.
    pub fn advance(&mut self, now: Timestamp, each: &mut impl FnMut(Flow)) {
        self.settle(each);
        let now = now.as_nanos();
        if now > self.now {
            self.now = now;
            if self.wheel.is_due(now) {
                self.expire(each);
            }
        }
    }

    /// Tells all flows, and forgets them.
    pub fn finish(&mut self, reason: EndReason, each: &mut impl FnMut(Flow)) {
        self.settle(each);
        for slot in self.table.slots() {
            self.end(slot, reason, each);
        }
    }

    /// What became of packets and flows so far.
    pub const fn counters(&self) -> &MeterCounters {
        &self.counters
    }

    /// How many flows there are now.
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Whether the packet opens a connection where another one with the same ports has ended.
    #[inline]
    fn begins_anew(&self, slot: u32, facts: &Facts) -> bool {
        let is_opening = facts.tcp.is_some_and(|tcp| tcp.flags & (SYN | ACK) == SYN);
        is_opening && self.table.hot(slot).is_some_and(Hot::is_ended)
    }

    #[cold]
    fn insert(&mut self, packet: &Waiting, each: &mut impl FnMut(Flow)) -> u32 {
        if self.table.is_full()
            && let Some(oldest) = self.table.oldest_of_some()
        {
            self.end(oldest, EndReason::CacheFull, each);
        }
        let cold = Cold::new(packet.hash, PointId(packet.point), &packet.facts, packet.is_swapped);
        let slot = self.table.insert(packet.hash, Hot::new(packet.key), cold);
        let idle = packet.time.saturating_add(nanos(self.timeouts.idle));
        self.wheel.add(slot, self.now, idle);
        slot
    }

    /// Tells the flows whose time is over.
    #[cold]
    fn expire(&mut self, each: &mut impl FnMut(Flow)) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.take_due(self.now, &mut due);
        for slot in due.drain(..) {
            let Some(hot) = self.table.hot(slot) else { continue };
            let reason = if hot.is_ended() {
                EndReason::Ended
            } else if hot.last() + nanos(self.timeouts.idle) <= self.now {
                EndReason::Idle
            } else {
                EndReason::Active
            };
            let deadline = self.deadline(slot);
            if deadline <= self.now {
                self.end(slot, reason, each);
            } else {
                self.wheel.add(slot, self.now, deadline);
            }
        }
        self.due = due;
    }

    /// When the flow has to be looked at next, if nothing comes.
    fn deadline(&self, slot: u32) -> u64 {
        let (Some(hot), Some(cold)) = (self.table.hot(slot), self.table.cold(slot)) else {
            return 0;
        };
        let idle = hot.last().saturating_add(nanos(if hot.is_ended() {
            self.timeouts.ended
        } else {
            self.timeouts.idle
        }));
        idle.min(cold.first().saturating_add(nanos(self.timeouts.active)))
    }

    fn end(&mut self, slot: u32, reason: EndReason, each: &mut impl FnMut(Flow)) {
        let Some((hot, cold)) = self.table.remove(slot) else { return };
        self.wheel.remove(slot);
        if let Some(count) = self.counters.ended.get_mut(reason as usize) {
            *count += 1;
        }
        each(cold.into_flow(&hot, reason));
    }
}

impl MeterCounters {
    /// Flows that were told for this reason.
    pub fn ended(&self, reason: EndReason) -> u64 {
        self.ended.get(reason as usize).copied().unwrap_or_default()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How many packets are metered together: as many reads as a processor has under way at one time.
const TOGETHER: usize = 16;

#[cfg(test)]
mod tests;
