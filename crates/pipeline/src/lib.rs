//! The engine: sources, sinks, drop reasons, counters.
//!
//! Packets go one way: a [`Source`] lends them, the [`Pipeline`] decides (guard, filter, limits),
//! a [`Sink`] takes what was cleared. Whatever disappears on the way has a name and a counter in
//! the [`Ledger`] of its observation point. Pure: time comes in with the packets.

pub mod dedup;
mod fragments;
mod ledger;
mod limits;
mod merge;
mod network;
mod pipeline;

pub use dedup::{Dedup, NetworkName, TenantMap, Tenants};
pub use fragments::{Bounds, Fragments, Known};
pub use ledger::Ledger;
pub use limits::{Limit, Limits};
pub use merge::{Merge, Readiness};
pub use network::{Mirror, Network, Overlay, OverlayKind};
pub use pipeline::{Pipeline, PointRules, Sink, Source, Treatment, Verdict};
