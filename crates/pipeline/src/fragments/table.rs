//! Packets whose first piece was seen.
//!
//! Whoever forges or reuses a number must not get somebody else's verdict, so a piece is taken for
//! one of a packet only if
//! - the first piece was seen at the same point in the same network, not longer ago than allowed,
//! - no first piece of another packet with the same name came meanwhile,
//! - its bytes are none that the packet has already, unless they are the same (a copy),
//! - it does not end beyond the packet, as far as the length of UDP or the last piece tells,
//! - the packet is not complete.
//!
//! Where one of these fails the name says nothing any more, and all further pieces are ambiguous
//! (RFC 5722 says the same of overlaps); a piece that comes after a packet is complete is one of
//! another packet, whose first is still to come.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use select::{Datagram, Piece};
use wire::{PointId, Timestamp};

use super::Bounds;

/// What is known of the packet that a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<V> {
    /// This was decided about its first piece.
    As(V),
    /// Its first piece was not seen, or too long ago.
    Nothing,
    /// It may be one of several packets.
    Ambiguous,
}

#[derive(Debug)]
pub(super) struct Table<V> {
    kept: Duration,
    entries: HashMap<Datagram, Entry<V>>,
    /// Oldest first; one whose entry has another number by now is passed over.
    order: VecDeque<(Datagram, u64)>,
    number: u64,
    /// Pieces of all entries together.
    pieces: usize,
}

#[derive(Debug)]
struct Entry<V> {
    number: u64,
    began: Timestamp,
    verdict: V,
    state: State,
    /// How long the packet is, once a piece has said so.
    total: Option<u32>,
    /// Bytes of the packet that were seen.
    seen: u32,
    pieces: Vec<Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Pieces are missing.
    Open,
    /// All are there.
    Complete,
    /// Nobody can know which packet a piece belongs to.
    Mixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    start: u32,
    end: u32,
    /// Of the bytes as far as they were captured.
    hash: u64,
}

impl<V: Clone + PartialEq> Table<V> {
    pub(super) fn new(kept: Duration) -> Self {
        Self { kept, entries: HashMap::new(), order: VecDeque::new(), number: 0, pieces: 0 }
    }

    pub(super) fn ask(&mut self, piece: &Piece, hash: u64, time: Timestamp) -> Known<V> {
        let Some(entry) = self.entries.get_mut(&piece.datagram) else { return Known::Nothing };
        if !entry.is_alive(time, self.kept) {
            return Known::Nothing;
        }
        let before = entry.pieces.len();
        let known = entry.ask(piece, hash);
        self.pieces += entry.pieces.len() - before;
        self.make_room();
        known
    }

    pub(super) fn begin(&mut self, piece: &Piece, hash: u64, time: Timestamp, verdict: V) {
        self.number += 1;
        let mut entry = Entry::new(self.number, piece, hash, time, verdict);
        if let Some(old) = self.entries.get(&piece.datagram).filter(|e| e.is_alive(time, self.kept))
        {
            match old.state {
                // A copy says nothing new.
                State::Open | State::Complete if old.has(&entry) => return,
                State::Complete => {}
                // Even if both had the same verdict: when one is complete, the other is not. It
                // stays so until nothing of the last of them can come any more.
                State::Open | State::Mixed => entry.state = State::Mixed,
            }
        }
        self.order.push_back((piece.datagram, self.number));
        self.pieces += entry.pieces.len();
        if let Some(old) = self.entries.insert(piece.datagram, entry) {
            self.pieces -= old.pieces.len();
        }
        self.make_room();
    }

    pub(super) fn forget(&mut self, point: PointId) {
        self.entries.retain(|datagram, entry| {
            let is_kept = datagram.point() != point;
            if !is_kept {
                self.pieces -= entry.pieces.len();
            }
            is_kept
        });
        if self.entries.is_empty() {
            self.order.clear();
        }
    }

    fn make_room(&mut self) {
        while self.order.len() > Bounds::MAX_PACKETS || self.pieces > Bounds::MAX_PIECES {
            let Some((datagram, number)) = self.order.pop_front() else { return };
            if self.entries.get(&datagram).is_some_and(|entry| entry.number == number)
                && let Some(entry) = self.entries.remove(&datagram)
            {
                self.pieces -= entry.pieces.len();
            }
        }
    }
}

impl<V: Clone + PartialEq> Entry<V> {
    fn new(number: u64, first: &Piece, hash: u64, began: Timestamp, verdict: V) -> Self {
        let Piece { start, end, total, .. } = *first;
        let is_broken = !first.has_more || total.is_some_and(|total| end >= total);
        Self {
            number,
            began,
            verdict,
            state: if is_broken { State::Mixed } else { State::Open },
            total,
            seen: end,
            pieces: vec![Seen { start, end, hash }],
        }
    }

    /// A packet that is older than `time` by too much, or younger, is another one.
    fn is_alive(&self, time: Timestamp, kept: Duration) -> bool {
        time.since(self.began) <= kept && self.began.since(time) <= kept
    }

    fn has(&self, other: &Self) -> bool {
        self.pieces.first() == other.pieces.first() && self.verdict == other.verdict
    }

    fn ask(&mut self, piece: &Piece, hash: u64) -> Known<V> {
        let seen = Seen { start: piece.start, end: piece.end, hash };
        match self.state {
            State::Mixed => Known::Ambiguous,
            State::Open | State::Complete if self.pieces.contains(&seen) => {
                Known::As(self.verdict.clone())
            }
            State::Complete => Known::Nothing,
            State::Open if self.takes(piece) => {
                self.pieces.push(seen);
                self.seen += piece.end - piece.start;
                if !piece.has_more {
                    self.total = Some(piece.end);
                }
                if self.total == Some(self.seen) {
                    self.state = State::Complete;
                }
                Known::As(self.verdict.clone())
            }
            State::Open => {
                self.state = State::Mixed;
                Known::Ambiguous
            }
        }
    }

    /// Whether a piece fits between those that are there.
    fn takes(&self, piece: &Piece) -> bool {
        let Piece { start, end, has_more, .. } = *piece;
        let fits = match self.total {
            Some(total) if has_more => end < total,
            Some(total) => end == total,
            None => has_more || self.pieces.iter().all(|other| other.end <= start),
        };
        let is_apart = |other: &Seen| other.end <= start || end <= other.start;
        fits && start < end && self.pieces.len() < MAX_OF_PACKET && self.pieces.iter().all(is_apart)
    }
}

/// The most pieces of one packet. The largest packet in pieces of 576 bytes, the least that every
/// network must carry (RFC 791, section 3.2), has 119.
const MAX_OF_PACKET: usize = 128;
