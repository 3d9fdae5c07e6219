//! Fragments of IP packets: what the first one says is said of all.
//!
//! A later one shows neither ports nor the frame in a tunnel. Which packets in pieces the file
//! holds, and what was decided about them, is remembered by `pipeline`; here it is what an extract
//! has to know of them.

use std::sync::Arc;

use pipeline::{Bounds, Fragments, Known};
use select::Piece;
use wire::file::{KeptRecord, Record};
use wire::{Layers, Packet, PointId, Timestamp};

use crate::Fate;
use crate::outputs::Key;
use crate::points::Point;

/// The packets in pieces, as far as they are remembered.
#[derive(Debug)]
pub(crate) struct Pieces {
    fragments: Fragments<First, Held>,
}

/// What was decided about the first piece of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct First {
    /// Why it is not wanted, if it is not.
    pub(crate) refused: Option<Fate>,
    /// The files it goes to, where that is a question of what is in it.
    pub(crate) keys: Arc<[Key]>,
}

/// A piece that waits for the first of its packet.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) input: usize,
    pub(crate) point: Point,
    pub(crate) record: KeptRecord,
}

/// A packet of which some level is a piece.
pub(crate) struct InPieces {
    pieces: Vec<Piece>,
    /// What is known of the first, if this is a later one.
    pub(crate) known: Known<First>,
}

impl Pieces {
    pub(crate) fn new() -> Self {
        Self { fragments: Fragments::new(Bounds::FILE) }
    }

    /// When [`overdue`](Self::overdue) should be asked.
    #[inline]
    pub(crate) const fn deadline(&self) -> Timestamp {
        self.fragments.deadline()
    }

    /// A piece whose first should have come by `time`; without a time, any that waits.
    pub(crate) fn overdue(&mut self, time: Option<Timestamp>) -> Option<Held> {
        match time {
            Some(time) => self.fragments.expired(time),
            None => self.fragments.unresolved(),
        }
    }

    /// What is known of the packets that this one is a piece of.
    pub(crate) fn look_up(
        &mut self,
        packet: &Packet<'_>,
        layers: &Layers,
        point: Point,
    ) -> InPieces {
        // Numbers of interfaces begin anew in each input.
        let packet = Packet { point: PointId(point.number), ..*packet };
        let pieces: Vec<Piece> = Piece::of(&packet, layers).collect();
        let later = pieces.last().filter(|piece| !piece.is_first());
        let known = later
            .map_or(Known::Nothing, |piece| self.fragments.ask(piece, packet.data, packet.time));
        InPieces { pieces, known }
    }

    /// Keeps a piece of which nothing is known until its first comes, if there is room.
    pub(crate) fn hold(
        &mut self,
        found: &InPieces,
        input: usize,
        point: Point,
        record: &Record<'_>,
    ) -> bool {
        let later = found.pieces.last().filter(|piece| !piece.is_first());
        let Some(piece) = later.filter(|_| found.known == Known::Nothing) else { return false };
        let held = Held { input, point, record: KeptRecord::new(record) };
        let (time, bytes) = (record.packet.time, held.record.byte_len());
        self.fragments.hold(piece.datagram, time, bytes, held).is_ok()
    }

    /// Remembers what was decided about a packet for the later pieces. Returns those that have
    /// waited for it.
    pub(crate) fn begin(
        &mut self,
        found: &InPieces,
        packet: &Packet<'_>,
        decided: &First,
    ) -> Vec<Held> {
        let mut released = Vec::new();
        for piece in found.pieces.iter().filter(|piece| piece.is_first()) {
            self.fragments.begin(piece, packet.data, packet.time, decided.clone());
            while let Some(held) = self.fragments.release(&piece.datagram) {
                released.push(held);
            }
        }
        released
    }
}
