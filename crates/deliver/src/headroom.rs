//! How much may be taken before anything has to be looked at again.
//!
//! A sink has a dozen reasons to stop, to begin another file or to write its buffer, and none of
//! them holds for nearly every packet. So they are looked at together, seldom, and what they leave
//! is counted down.

use wire::Timestamp;

/// What may be taken without anything falling due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Headroom {
    pub(crate) packets: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) file_bytes: u64,
    /// It holds from here on, so that a clock that is set back is noticed.
    pub(crate) from: Timestamp,
    /// The first moment at which it does not hold any more.
    pub(crate) until: Timestamp,
}

impl Headroom {
    pub(crate) const NONE: Self = Self { packets: 0, ..Self::ENDLESS };
    pub(crate) const ENDLESS: Self = Self {
        packets: u64::MAX,
        payload_bytes: u64::MAX,
        file_bytes: u64::MAX,
        from: Timestamp::ZERO,
        until: Timestamp::from_nanos(u64::MAX),
    };

    /// Takes a packet of this many bytes, and this many with its block, if there is room.
    #[inline]
    pub(crate) fn take(&mut self, now: Timestamp, payload_bytes: u64, file_bytes: u64) -> bool {
        let fits = self.packets > 0
            && payload_bytes <= self.payload_bytes
            && file_bytes <= self.file_bytes
            && now >= self.from
            && now < self.until;
        if fits {
            self.packets -= 1;
            self.payload_bytes -= payload_bytes;
            self.file_bytes -= file_bytes;
        }
        fits
    }

    /// What both leave.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            packets: self.packets.min(other.packets),
            payload_bytes: self.payload_bytes.min(other.payload_bytes),
            file_bytes: self.file_bytes.min(other.file_bytes),
            from: self.from.max(other.from),
            until: self.until.min(other.until),
        }
    }
}
