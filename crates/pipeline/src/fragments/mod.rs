//! What the first fragment of an IP packet has said, for the later ones, which cannot say it.
//!
//! A table of the packets whose first piece was seen, each with what was decided about it, and a
//! waiting room for pieces that came before their first. Both are bounded in packets, bytes and
//! time, and time is the packets' own. A packet is known by its [`Datagram`], and since a sender
//! uses the same number again, sooner than anybody would like (RFC 4963), a piece is only taken for
//! one of a packet as long as nothing speaks against it: see [`table`].

mod table;
#[cfg(test)]
mod tests;
mod waiting;

use std::time::Duration;

use select::{Datagram, Piece};
use wire::{PointId, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

pub use table::Known;
use table::Table;
use waiting::Waiting;

/// Packets in pieces: `V` is what is remembered of each, `H` is a piece that waits for its first.
#[derive(Debug)]
pub struct Fragments<V, H> {
    bounds: Bounds,
    table: Table<V>,
    waiting: Waiting<H>,
}

/// How long pieces of one packet belong together, in the time of the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How long after its first piece the others may come.
    pub kept: Duration,
    /// How long a piece waits for its first.
    pub held: Duration,
}

impl Bounds {
    /// Where the answer decides who may see a packet: as short as networks allow, because a number
    /// that is used again within this time is a danger. Pieces leave in one go; what comes between
    /// them on the way takes milliseconds.
    pub const CAPTURE: Self =
        Self { kept: Duration::from_millis(500), held: Duration::from_millis(500) };
    /// For files: as long as Linux waits for the pieces of a packet (`ipfrag_time`).
    pub const FILE: Self = Self { kept: Duration::from_secs(30), held: Duration::from_secs(30) };

    /// The most packets that are remembered. Beyond, the oldest are forgotten.
    pub const MAX_PACKETS: usize = 4096;
    /// The most pieces that are remembered, of all packets; each takes 16 bytes.
    pub const MAX_PIECES: usize = 32 * 1024;
    /// The most pieces that wait, and the bytes they may have together.
    pub const MAX_HELD: usize = 1024;
    /// See [`MAX_HELD`](Self::MAX_HELD).
    pub const MAX_HELD_BYTES: usize = 4 << 20;
}

impl<V: Clone + PartialEq, H> Fragments<V, H> {
    /// Nothing is known yet, and nothing waits.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, table: Table::new(bounds.kept), waiting: Waiting::new(bounds.held) }
    }

    /// What is known of the packet that a later piece belongs to. `data` is the frame that the
    /// piece was found in.
    pub fn ask(&mut self, piece: &Piece, data: &[u8], time: Timestamp) -> Known<V> {
        self.table.ask(piece, xxh3_64(piece.bytes(data)), time)
    }

    /// A first piece was seen, and `verdict` is what was decided about it.
    pub fn begin(&mut self, piece: &Piece, data: &[u8], time: Timestamp, verdict: V) {
        self.table.begin(piece, xxh3_64(piece.bytes(data)), time, verdict);
    }

    /// Lets a piece of `bytes` bytes wait for the first of its packet.
    ///
    /// # Errors
    /// There is no room: the piece itself.
    pub fn hold(
        &mut self,
        datagram: Datagram,
        time: Timestamp,
        bytes: usize,
        piece: H,
    ) -> Result<(), H> {
        self.waiting.hold(datagram, time, bytes, piece)
    }

    /// A piece that has waited for the first of this packet, in the order they came.
    pub fn release(&mut self, datagram: &Datagram) -> Option<H> {
        self.waiting.release(datagram)
    }

    /// A piece whose time to wait is over at `time`.
    pub fn expired(&mut self, time: Timestamp) -> Option<H> {
        self.waiting.expired(time)
    }

    /// Any piece that waits, the oldest first.
    pub fn unresolved(&mut self) -> Option<H> {
        self.waiting.release_any()
    }

    /// When [`expired`](Self::expired) should be asked next; the end of time if nothing waits.
    #[inline]
    pub const fn deadline(&self) -> Timestamp {
        self.waiting.deadline()
    }

    /// Packets of a point were lost. What was not seen may have begun a packet with a number that
    /// is remembered: nothing is, from here on. Returns a piece that waited there, until there is
    /// none.
    pub fn lose(&mut self, point: PointId) -> Option<H> {
        self.table.forget(point);
        self.waiting.release_at(point)
    }

    /// How long pieces of one packet belong together.
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }
}
