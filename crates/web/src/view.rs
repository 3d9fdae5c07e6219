//! What is answered, in words that stay: built from what the controller says, read by programs.
//!
//! Times are RFC 3339 in UTC and not numbers: nanoseconds since 1970 are more than a browser's
//! numbers can tell apart (2^53).

mod machine;
mod office;
mod packet;
mod session;
mod status;
mod topology;
mod traffic;

pub(crate) use machine::MachineAt;
pub(crate) use office::{AuditEntry, Enrolled, Grant, Made, TokenRow, User};
pub(crate) use packet::{Counted, Packet, PacketView};
pub(crate) use session::{Receipt, Session};
pub(crate) use status::Status;
pub(crate) use topology::Topology;
pub(crate) use traffic::{BySplit, Exporter, Flow, Moment, Pair, Talker, Totals};

use api::document;
use serde::Serialize;
use utoipa::ToSchema;

/// How a host's clock differs from the controller's.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct Clock {
    /// Milliseconds it is ahead.
    ahead_ms: f64,
    /// How far that may be off, in milliseconds.
    uncertainty_ms: f64,
}

impl From<document::Clock> for Clock {
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    fn from(clock: document::Clock) -> Self {
        Self {
            ahead_ms: clock.ahead_ns as f64 / 1e6,
            uncertainty_ms: clock.uncertainty_ns as f64 / 1e6,
        }
    }
}

/// A time of a document, RFC 3339 with microseconds.
pub(crate) fn time(ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(ns));
    time.map_or_else(|_| String::new(), |time| format!("{time:.6}"))
}

/// As [`time`]; `None` for what never was.
pub(crate) fn time_if_any(ns: u64) -> Option<String> {
    (ns > 0).then(|| time(ns))
}
