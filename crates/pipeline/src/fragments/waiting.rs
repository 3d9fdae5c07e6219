//! Pieces that came before the first of their packet.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use select::Datagram;
use wire::{PointId, Timestamp};

use super::Bounds;

/// Pieces in the order they came.
#[derive(Debug)]
pub(super) struct Waiting<H> {
    held: Duration,
    pieces: VecDeque<Held<H>>,
    /// How many pieces wait for each packet, so that most first pieces need not look.
    counts: HashMap<Datagram, usize>,
    bytes: usize,
    deadline: Timestamp,
}

#[derive(Debug)]
struct Held<H> {
    datagram: Datagram,
    due: Timestamp,
    bytes: usize,
    piece: H,
}

impl<H> Waiting<H> {
    pub(super) fn new(held: Duration) -> Self {
        Self { held, pieces: VecDeque::new(), counts: HashMap::new(), bytes: 0, deadline: NEVER }
    }

    pub(super) fn hold(
        &mut self,
        datagram: Datagram,
        time: Timestamp,
        bytes: usize,
        piece: H,
    ) -> Result<(), H> {
        let is_full = self.pieces.len() >= Bounds::MAX_HELD
            || self.bytes.saturating_add(bytes) > Bounds::MAX_HELD_BYTES;
        if is_full {
            return Err(piece);
        }
        let due = time.saturating_add(self.held);
        self.pieces.push_back(Held { datagram, due, bytes, piece });
        *self.counts.entry(datagram).or_default() += 1;
        self.bytes += bytes;
        self.look_at_front();
        Ok(())
    }

    /// Takes out the oldest piece of this packet.
    pub(super) fn release(&mut self, datagram: &Datagram) -> Option<H> {
        if !self.counts.contains_key(datagram) {
            return None;
        }
        self.take(self.pieces.iter().position(|held| held.datagram == *datagram)?)
    }

    /// Takes out the oldest piece that was seen at this point.
    pub(super) fn release_at(&mut self, point: PointId) -> Option<H> {
        self.take(self.pieces.iter().position(|held| held.datagram.point() == point)?)
    }

    /// Takes out the oldest piece.
    pub(super) fn release_any(&mut self) -> Option<H> {
        self.take(0)
    }

    pub(super) fn expired(&mut self, time: Timestamp) -> Option<H> {
        // Times of packets go back at times; the oldest piece is the one that came first.
        let is_due = self.pieces.front().is_some_and(|held| held.due <= time);
        if is_due { self.take(0) } else { None }
    }

    pub(super) const fn deadline(&self) -> Timestamp {
        self.deadline
    }

    fn take(&mut self, index: usize) -> Option<H> {
        let held = self.pieces.remove(index)?;
        self.bytes -= held.bytes;
        if let Some(count) = self.counts.get_mut(&held.datagram) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&held.datagram);
            }
        }
        self.look_at_front();
        Some(held.piece)
    }

    fn look_at_front(&mut self) {
        self.deadline = self.pieces.front().map_or(NEVER, |held| held.due);
    }
}

const NEVER: Timestamp = Timestamp::from_nanos(u64::MAX);
