//! What arrived, many datagrams or messages in one piece of memory.

use std::net::SocketAddr;
use std::ops::Range;

use wire::Timestamp;

/// Datagrams and messages of connections, in the order they arrived.
#[derive(Debug)]
pub struct Batch {
    /// Always of full length; `used` says how much of it means something.
    bytes: Box<[u8]>,
    used: usize,
    arrivals: Vec<(Timestamp, SocketAddr, Content)>,
}

/// One thing that arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// When.
    pub time: Timestamp,
    /// Where from.
    pub source: SocketAddr,
    /// A datagram, or a message of a connection; `None` where a connection began.
    pub payload: Option<&'a [u8]>,
}

#[derive(Debug, Clone)]
enum Content {
    Payload(Range<usize>),
    Connected,
}

impl Batch {
    /// Bytes of one batch.
    pub(crate) const LEN: usize = 1 << 20;
    /// The longest datagram, and the longest message of IPFIX.
    pub(crate) const LONGEST: usize = 65_535;

    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; Self::LEN].into(), used: 0, arrivals: Vec::new() }
    }

    /// What arrived.
    pub fn arrivals(&self) -> impl Iterator<Item = Arrival<'_>> {
        self.arrivals.iter().map(|(time, source, content)| {
            let payload = match content {
                Content::Payload(range) => self.bytes.get(range.clone()),
                Content::Connected => None,
            };
            Arrival { time: *time, source: *source, payload }
        })
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Whether the longest datagram may not fit any more.
    pub(crate) const fn is_full(&self) -> bool {
        Self::LEN - self.used < Self::LONGEST || self.arrivals.len() >= MOST_ARRIVALS
    }

    pub(crate) fn clear(&mut self) {
        self.used = 0;
        self.arrivals.clear();
    }

    /// Where the next datagram may be put.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.used..).unwrap_or_default()
    }

    /// Says that a datagram of `len` bytes was put there.
    pub(crate) fn filled(&mut self, time: Timestamp, source: SocketAddr, len: usize) {
        let end = (self.used + len).min(Self::LEN);
        self.arrivals.push((time, source, Content::Payload(self.used..end)));
        self.used = end;
    }

    /// Copies a message; there must be room.
    pub(crate) fn push(&mut self, time: Timestamp, source: SocketAddr, message: &[u8]) {
        if let Some(room) = self.room().get_mut(..message.len()) {
            room.copy_from_slice(message);
            self.filled(time, source, message.len());
        }
    }

    pub(crate) fn push_connected(&mut self, time: Timestamp, source: SocketAddr) {
        self.arrivals.push((time, source, Content::Connected));
    }
}

/// Datagrams without bytes must not grow a batch for ever.
const MOST_ARRIVALS: usize = 16_384;
