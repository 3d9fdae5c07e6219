//! Where a capture ends by itself: limits that hold to the packet.

use std::fmt;

use serde::{Deserialize, Serialize};
use wire::Timestamp;

/// When to stop; `None` is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Packets written.
    pub packets: Option<u64>,
    /// Bytes of packets written, without what the file format adds.
    pub bytes: Option<u64>,
    /// Packets seen after this time, in nanoseconds since 1970, are not written.
    pub until: Option<u64>,
}

/// Which limit ended a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The number of packets.
    Packets,
    /// The number of bytes.
    Bytes,
    /// The time.
    Time,
}

impl Limits {
    /// The limit that keeps a packet of `len` bytes seen at `time` out, after `packets` and `bytes`.
    #[inline]
    pub fn reached(&self, packets: u64, bytes: u64, time: Timestamp, len: usize) -> Option<Limit> {
        if self.packets.is_some_and(|most| packets >= most) {
            Some(Limit::Packets)
        } else if self.bytes.is_some_and(|most| bytes + len as u64 > most) {
            Some(Limit::Bytes)
        } else if self.until.is_some_and(|end| time.as_nanos() > end) {
            Some(Limit::Time)
        } else {
            None
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packets => "the limit of packets was reached",
            Self::Bytes => "the limit of bytes was reached",
            Self::Time => "the time was up",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_holds_to_the_packet() {
        let at = Timestamp::from_nanos(5);
        let packets = Limits { packets: Some(3), ..Limits::default() };
        assert_eq!(packets.reached(2, 0, at, 60), None);
        assert_eq!(packets.reached(3, 0, at, 60), Some(Limit::Packets));

        let bytes = Limits { bytes: Some(100), ..Limits::default() };
        assert_eq!(bytes.reached(1, 40, at, 60), None);
        assert_eq!(bytes.reached(1, 41, at, 60), Some(Limit::Bytes));

        let time = Limits { until: Some(5), ..Limits::default() };
        assert_eq!(time.reached(0, 0, at, 60), None);
        assert_eq!(time.reached(0, 0, Timestamp::from_nanos(6), 60), Some(Limit::Time));
    }
}
