//! Where a machine sent its packets from, and how long it was silent in between.

use std::fmt;
use std::time::Duration;

use wire::{Direction, Timestamp};

use crate::strand::Clock;

/// A machine's way from host to host, told by the packets it sent itself.
#[derive(Debug)]
pub(crate) struct Journey {
    name: String,
    last: Option<Last>,
    moves: Vec<Move>,
    uncounted: u64,
}

/// A packet of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'a> {
    /// Where it was seen; `None` if that was at a host where it does not run.
    pub(crate) host: Option<&'a str>,
    /// That host's clock.
    pub(crate) clock: Clock,
    /// When, by the common clock.
    pub(crate) time: Timestamp,
    /// Which way it went.
    pub(crate) direction: Option<Direction>,
}

/// A move from one host to another, as the packets show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The machine.
    pub machine: String,
    /// Where it was.
    pub from: String,
    /// Where it is.
    pub to: String,
    /// Its last packet there, by the common clock.
    pub last: Timestamp,
    /// Its first packet here.
    pub first: Timestamp,
    /// How far the difference between the two clocks may be off.
    pub uncertainty: Duration,
}

#[derive(Debug)]
struct Last {
    host: String,
    clock: Clock,
    time: Timestamp,
}

impl Journey {
    /// Of a machine of which no packet was seen yet.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), last: None, moves: Vec::new(), uncounted: 0 }
    }

    /// Takes a packet; says if it is the first one from another host. Only what the machine sent
    /// tells where it runs: a port that is ready for it sees flooded frames before that.
    pub(crate) fn note(&mut self, sent: &Sent<'_>) -> Option<&Move> {
        if sent.direction != Some(Direction::FromVm) {
            return None;
        }
        let now = |host: String| Last { host, clock: sent.clock, time: sent.time };
        let host = sent.host.unwrap_or(ELSEWHERE);
        if sent.host.is_none()
            && let Some(last) = self.last.as_ref().filter(|last| last.host != host)
            && sent.time.since(last.time) < AWAY
        {
            // While it runs where it is seen itself, others see what it sends them, too.
            return None;
        }
        let Some(last) = &mut self.last else {
            self.last = Some(now(host.to_owned()));
            return None;
        };
        if last.host == host {
            *last = now(std::mem::take(&mut last.host));
            return None;
        }
        let last = std::mem::replace(last, now(host.to_owned()));
        if self.moves.len() >= MOST_MOVES {
            self.uncounted += 1;
            return None;
        }
        let uncertainty_ns = last.clock.uncertainty_ns.saturating_add(sent.clock.uncertainty_ns);
        self.moves.push(Move {
            machine: self.name.clone(),
            from: last.host,
            to: host.to_owned(),
            last: last.time,
            first: sent.time,
            uncertainty: Duration::from_nanos(uncertainty_ns),
        });
        self.moves.last()
    }

    /// The moves so far.
    pub(crate) fn moves(&self) -> impl Iterator<Item = &Move> {
        self.moves.iter()
    }

    /// Moves beyond those kept.
    pub(crate) const fn uncounted(&self) -> u64 {
        self.uncounted
    }
}

impl Move {
    /// How long the machine sent nothing.
    pub const fn gap(&self) -> Duration {
        self.first.since(self.last)
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, from, to, .. } = self;
        // What it sends elsewhere is seen by chance only.
        let is_seen = from != ELSEWHERE && to != ELSEWHERE;
        let what = if is_seen { "it sent nothing" } else { "nothing it sent was seen" };
        let gap = self.gap().as_secs_f64();
        write!(f, "{machine} moved from {from} to {to}: {what} for {gap:.3} s")?;
        let uncertain_ms = self.uncertainty.as_secs_f64() * 1e3;
        write!(f, " (the two clocks agree within {uncertain_ms:.1} ms)")
    }
}

/// What a host is called whose packets only others see.
const ELSEWHERE: &str = "a host without an agent";

/// How long nothing must have been seen of a machine itself before what others see of it says that it
/// is elsewhere.
const AWAY: Duration = Duration::from_secs(1);

/// Of a machine that two hosts claim at once each packet is a move.
const MOST_MOVES: usize = 1000;
