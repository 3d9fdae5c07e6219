//! One direction of a TCP connection: what came again, what came late, when the window was shut.
//!
//! In two parts: what every segment changes, and what only odd ones do.

use wire::header::Tcp;

/// What every segment changes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TcpWay {
    /// The number behind the last byte seen.
    next: u32,
    /// Every flag that was seen.
    pub(crate) flags: u8,
    is_begun: bool,
}

/// What odd segments change.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TcpOddities {
    /// A hole that later bytes left: from here up to `hole_end`.
    hole: u32,
    hole_end: u32,
    pub(crate) retransmitted: u32,
    pub(crate) out_of_order: u32,
    pub(crate) zero_windows: u32,
}

/// What is odd about a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Odd {
    /// Bytes before it were not seen: from `from` up to its own.
    Ahead { from: u32 },
    /// A part of its bytes had come, or all of them up to `end`; `is_new` says whether some had not.
    Behind { end: u32, is_new: bool },
}

impl TcpWay {
    /// Nothing seen yet.
    pub(crate) const NEW: Self = Self { next: 0, flags: 0, is_begun: false };

    /// Takes a segment with so many bytes of payload, and says what is odd about its numbers.
    #[inline]
    pub(crate) fn take(&mut self, tcp: &Tcp, payload_len: u32) -> Option<Odd> {
        self.flags |= tcp.flags;
        let has_mark = tcp.flags & (SYN | FIN) != 0;
        let len = payload_len.wrapping_add(u32::from(has_mark));
        let end = tcp.sequence.wrapping_add(len);
        if !self.is_begun {
            self.is_begun = true;
            self.next = end;
            return None;
        }
        let ahead = tcp.sequence.wrapping_sub(self.next).cast_signed();
        if len == 0 || ahead == 0 {
            self.next = if ahead == 0 { end } else { self.next };
            return None;
        }
        if ahead > 0 {
            let from = self.next;
            self.next = end;
            return Some(Odd::Ahead { from });
        }
        let is_new = end.wrapping_sub(self.next).cast_signed() > 0;
        if is_new {
            self.next = end;
        } else if len == 1 && ahead == -1 {
            // One byte before the next is a keep-alive (RFC 9293, section 3.8.4).
            return None;
        }
        Some(Odd::Behind { end, is_new })
    }
}

impl TcpOddities {
    /// Takes what is odd about the numbers of a segment.
    pub(crate) fn take(&mut self, tcp: &Tcp, odd: Odd) {
        match odd {
            // What lies between was not seen, or comes later.
            Odd::Ahead { from } => (self.hole, self.hole_end) = (from, tcp.sequence),
            Odd::Behind { end, is_new: false } if self.is_in_hole(tcp.sequence, end) => {
                self.out_of_order += 1;
                self.hole = end;
            }
            Odd::Behind { .. } => self.retransmitted += 1,
        }
    }

    /// Whether the bytes from `start` to `end` are all in the hole.
    const fn is_in_hole(&self, start: u32, end: u32) -> bool {
        self.hole != self.hole_end
            && start.wrapping_sub(self.hole).cast_signed() >= 0
            && end.wrapping_sub(self.hole_end).cast_signed() <= 0
    }
}

/// Whether the segment says that its sender has no room.
#[inline]
pub(crate) const fn shuts_window(tcp: &Tcp) -> bool {
    tcp.window == 0 && tcp.flags & (RST | SYN) == 0
}

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// How far a TCP connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// Somebody asked and nobody answered.
    Attempted,
    /// It was agreed, or was there before anybody looked.
    Open,
    /// One side has ended.
    Closing,
    /// Both sides have ended.
    Closed,
    /// One side has broken it off.
    Reset,
    /// The first answer broke it off.
    Refused,
}

impl TcpState {
    /// From every flag of the two directions, that of who began first.
    pub(crate) const fn of(there: u8, back: u8) -> Self {
        if (there | back) & RST != 0 {
            let is_refusal = there & SYN != 0 && back & RST != 0 && back & SYN == 0;
            return if is_refusal && there & ACK == 0 { Self::Refused } else { Self::Reset };
        }
        match (there & FIN != 0, back & FIN != 0) {
            (true, true) => Self::Closed,
            (true, false) | (false, true) => Self::Closing,
            (false, false) if there & SYN != 0 && back == 0 && there & ACK == 0 => Self::Attempted,
            (false, false) => Self::Open,
        }
    }

    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attempted => "attempted",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Refused => "refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::header::Ports;

    use super::*;

    fn segment(sequence: u32, flags: u8, window: u16) -> Tcp {
        let ports = Ports { source: 1, destination: 2 };
        Tcp { ports, sequence, acknowledgement: 0, flags, window, header_len: 20 }
    }

    fn after(segments: &[(u32, u32)]) -> (u32, u32) {
        let (mut way, mut oddities) = (TcpWay::default(), TcpOddities::default());
        for (sequence, len) in segments {
            let tcp = segment(*sequence, ACK, 100);
            if let Some(odd) = way.take(&tcp, *len) {
                oddities.take(&tcp, odd);
            }
        }
        (oddities.retransmitted, oddities.out_of_order)
    }

    #[test]
    fn what_comes_again_is_told_from_what_comes_late() {
        assert_eq!(after(&[(0, 100), (100, 100), (200, 0), (200, 50)]), (0, 0));
        assert_eq!(after(&[(0, 100), (100, 100), (0, 100)]), (1, 0));
        assert_eq!(after(&[(0, 100), (200, 100), (100, 100), (300, 10)]), (0, 1));
        assert_eq!(after(&[(0, 100), (99, 1), (99, 1)]), (0, 0), "keep-alives");
        // Numbers wrap.
        assert_eq!(after(&[(u32::MAX - 49, 100), (50, 100), (50, 100)]), (1, 0));
    }

    #[test]
    fn a_shut_window_is_counted_but_not_that_of_a_reset() {
        assert!(shuts_window(&segment(0, ACK, 0)));
        assert!(!shuts_window(&segment(0, RST, 0)));
        assert!(!shuts_window(&segment(0, ACK, 1)));
    }

    #[test]
    fn flags_tell_how_far_a_connection_came() {
        assert_eq!(TcpState::of(SYN, 0), TcpState::Attempted);
        assert_eq!(TcpState::of(SYN, RST | ACK), TcpState::Refused);
        assert_eq!(TcpState::of(SYN | ACK, SYN | ACK), TcpState::Open);
        assert_eq!(TcpState::of(ACK, ACK), TcpState::Open);
        assert_eq!(TcpState::of(SYN | ACK | FIN, SYN | ACK), TcpState::Closing);
        assert_eq!(TcpState::of(ACK | FIN, ACK | FIN), TcpState::Closed);
        assert_eq!(TcpState::of(SYN | ACK, SYN | ACK | RST), TcpState::Reset);
    }
}
