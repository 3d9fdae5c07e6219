//! The wall clock, as the inventory counts time.

use std::time::{SystemTime, UNIX_EPOCH};

use wire::Timestamp;

/// Now; a clock set before 1970 is at [`Timestamp::ZERO`].
pub(crate) fn now() -> Timestamp {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(Timestamp::ZERO, |since| {
        Timestamp::from_parts(since.as_secs(), since.subsec_nanos())
    })
}
