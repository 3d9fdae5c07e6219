//! Reading headers from a frame, front to back, without ever passing its end.

use crate::{Layer, Stop, StopReason};

/// A place in a frame: what lies ahead, and how far it is from the frame's first byte.
///
/// What lies ahead may end before the captured bytes do: an IP header says how long its packet
/// is, and what follows is padding.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    ahead: &'a [u8],
    offset: usize,
    /// Why nothing follows `ahead`.
    end: StopReason,
}

impl<'a> Cursor<'a> {
    /// At the first byte of `frame`.
    #[inline]
    pub const fn new(frame: &'a [u8]) -> Self {
        Self { ahead: frame, offset: 0, end: StopReason::Truncated }
    }

    /// At byte `offset` of `frame`, or at its end if it is shorter.
    #[inline]
    pub fn at(frame: &'a [u8], offset: usize) -> Self {
        let ahead = frame.get(offset..).unwrap_or_default();
        Self { ahead, offset: frame.len() - ahead.len(), end: StopReason::Truncated }
    }

    /// Takes the next `N` bytes, or says that `layer` cannot be finished and leaves them.
    #[inline]
    pub fn take<const N: usize>(&mut self, layer: Layer) -> Result<&'a [u8; N], Stop> {
        match self.ahead.split_first_chunk::<N>() {
            Some((taken, ahead)) => {
                self.ahead = ahead;
                self.offset += N;
                Ok(taken)
            }
            None => Err(self.stop_at_end(layer)),
        }
    }

    /// Takes the next `len` bytes, or says that `layer` cannot be finished and leaves them.
    #[inline]
    pub fn take_slice(&mut self, layer: Layer, len: usize) -> Result<&'a [u8], Stop> {
        match self.ahead.split_at_checked(len) {
            Some((taken, ahead)) => {
                self.ahead = ahead;
                self.offset += len;
                Ok(taken)
            }
            None => Err(self.stop_at_end(layer)),
        }
    }

    /// Passes the next `N` bytes; `None` leaves them, if they are not there.
    #[inline(always)]
    pub(crate) fn pass<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (passed, ahead) = self.ahead.split_first_chunk::<N>()?;
        self.ahead = ahead;
        self.offset += N;
        Some(passed)
    }

    /// Passes the next `len` bytes; `None` leaves them, if they are not there.
    #[inline(always)]
    pub(crate) fn pass_slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (passed, ahead) = self.ahead.split_at_checked(len)?;
        self.ahead = ahead;
        self.offset += len;
        Some(passed)
    }

    /// Reads a header in several pieces: all of it, or nothing, and then the stop is at its first
    /// byte.
    #[inline]
    pub fn whole<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        let start = *self;
        read(self).map_err(|stop| {
            *self = start;
            Stop { offset: start.offset, ..stop }
        })
    }

    /// Lets what lies ahead end after `len` bytes, if it does not end before; `end` is what a
    /// reader is told who wants more.
    #[inline]
    pub fn limit(&mut self, len: usize, end: StopReason) {
        match self.ahead.get(..len) {
            Some(ahead) => (self.ahead, self.end) = (ahead, end),
            // Without this the compiler computes both, and all that follows waits for it.
            None => std::hint::cold_path(),
        }
    }

    /// How many bytes lie between the first byte of the frame and here.
    #[inline]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The bytes not yet taken.
    #[inline]
    pub const fn ahead(&self) -> &'a [u8] {
        self.ahead
    }

    /// The next byte, which stays ahead.
    #[inline]
    pub fn peek(&self, layer: Layer) -> Result<u8, Stop> {
        self.ahead.first().copied().ok_or(self.stop_at_end(layer))
    }

    /// A stop here.
    #[inline]
    pub const fn stop(&self, layer: Layer, reason: StopReason) -> Stop {
        Stop { layer, offset: self.offset, reason }
    }

    /// A stop here because what lies ahead is too short for `layer`.
    #[inline]
    pub(crate) const fn stop_at_end(&self, layer: Layer) -> Stop {
        self.stop(layer, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_takes_what_is_there_and_leaves_what_is_not_enough() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!(cursor.take::<2>(Layer::Udp), Ok(&[1, 2]));
        let stop = Stop { layer: Layer::Udp, offset: 2, reason: StopReason::Truncated };
        assert_eq!(cursor.take::<2>(Layer::Udp), Err(stop));
        assert_eq!(cursor.take_slice(Layer::Udp, 2), Err(stop));
        assert_eq!(cursor.take::<1>(Layer::Udp), Ok(&[3]));
        assert_eq!(cursor.peek(Layer::Udp).map_err(|s| s.offset), Err(3));
    }

    #[test]
    fn a_limit_never_adds_bytes_and_gives_its_own_reason() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        cursor.limit(9, StopReason::BeyondLength);
        assert_eq!(cursor.take::<4>(Layer::Udp).map_err(|s| s.reason), Err(StopReason::Truncated));
        cursor.limit(1, StopReason::BeyondLength);
        assert_eq!(
            cursor.take::<2>(Layer::Udp).map_err(|s| s.reason),
            Err(StopReason::BeyondLength)
        );
    }

    #[test]
    fn a_cursor_beyond_the_frame_stands_at_its_end() {
        assert_eq!(Cursor::at(&[1, 2, 3], 9).offset(), 3);
    }
}
