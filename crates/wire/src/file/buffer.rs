//! The bytes of a capture file between the caller who reads them and the reader who shows them.

/// A window on the file: filled at the end, used up from the front, no larger than it must be.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Always initialised to its whole length; grows only when a record needs it.
    room: Vec<u8>,
    start: usize,
    end: usize,
    /// Where in the file the byte at `start` stands.
    offset: u64,
}

impl Buffer {
    pub(crate) const fn new() -> Self {
        Self { room: Vec::new(), start: 0, end: 0, offset: 0 }
    }

    /// Free room at the end, made so that `wanted` bytes can be held one day, not at once: the
    /// buffer doubles as bytes come in, so a length field alone never allocates.
    pub(crate) fn space(&mut self, wanted: usize) -> &mut [u8] {
        if self.room.is_empty() {
            self.room.resize(FIRST_BYTES, 0);
        }
        let held = self.end - self.start;
        let tail = self.room.len() - self.end;
        // Moving fewer bytes than were used up keeps the whole file linear; so does moving at most
        // once for each record, which is what the second case comes to.
        let is_cheap = self.start >= held && tail < self.room.len() / 4;
        if self.start > 0 && (is_cheap || tail == 0) {
            self.room.copy_within(self.start..self.end, 0);
            self.start = 0;
            self.end = held;
        }
        if self.end == self.room.len() {
            let grown = self.room.len().saturating_mul(2).min(wanted.max(self.room.len() + 1));
            self.room.resize(grown, 0);
        }
        self.room.get_mut(self.end..).unwrap_or_default()
    }

    pub(crate) fn filled(&mut self, len: usize) {
        self.end = self.end.saturating_add(len).min(self.room.len());
    }

    pub(crate) fn consume(&mut self, len: usize) {
        let len = len.min(self.end - self.start);
        self.start += len;
        self.offset += len as u64;
    }

    /// Goes on in `room`, where what is held moves to, if it is little: a large record would move
    /// again and again until it is whole.
    pub(crate) fn go_on_in(&mut self, room: &mut Vec<u8>) {
        let held = self.end - self.start;
        if held > FIRST_BYTES / 2 {
            return;
        }
        if room.len() < FIRST_BYTES {
            room.resize(FIRST_BYTES, 0);
        }
        if let (Some(to), Some(from)) = (room.get_mut(..held), self.room.get(self.start..self.end))
        {
            to.copy_from_slice(from);
        }
        std::mem::swap(room, &mut self.room);
        (self.start, self.end) = (0, held);
    }

    /// Gives the first `len` bytes away, with the memory they stand in, and goes on in `room`.
    /// Returns where they begin and end there.
    pub(crate) fn give(&mut self, len: usize, room: &mut Vec<u8>) -> (usize, usize) {
        let (start, end) = (self.start, self.end);
        let middle = start.saturating_add(len).min(end);
        // Memory that one large record needed is not needed twice.
        let needed = FIRST_BYTES.max(end - middle);
        if room.len() < needed {
            room.resize(needed, 0);
        }
        std::mem::swap(room, &mut self.room);
        if let (Some(rest), Some(front)) =
            (room.get(middle..end), self.room.get_mut(..end - middle))
        {
            front.copy_from_slice(rest);
        }
        self.start = 0;
        self.end = end - middle;
        self.offset += (middle - start) as u64;
        (start, middle)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.room.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) const fn allocated(&self) -> usize {
        self.room.capacity()
    }
}

/// Large enough that reading costs few system calls, small enough that a hundred readers fit.
const FIRST_BYTES: usize = 256 * 1024;
