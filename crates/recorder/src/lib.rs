//! The flight recorder's store: what was seen of many machines, kept for a while on one host.
//!
//! A directory of segments under a budget of bytes and age. A segment is a row of chunks; a chunk
//! holds packets of one observation point of one machine, so that one machine's packets can be
//! read without the others'. Everything is sealed with a key of its segment, which is wrapped by
//! the host's key: without that nothing can be read. `docs/decisions/0008-recorder-format.md`.
//!
//! The [`Recorder`] writes: it is a sink of the pipeline and takes only what the guard has
//! cleared. The [`Store`] reads. Neither asks a clock: time comes in as an argument.

mod body;
mod budget;
mod bytes;
mod chunk;
mod coverage;
mod directory;
mod error;
mod half;
mod header;
mod index;
mod key;
mod packets;
mod point;
mod reading;
mod recorder;
mod seal;
mod segment;
mod store;
mod writer;

pub use budget::Budget;
pub use coverage::{Gap, Span};
pub use error::{Damage, DamageReason, KeyError, StoreError};
pub use half::{HostHalf, KeptHalf};
pub use key::{HostKey, KeyId, KeyRing};
pub use point::{MachineRef, PointInfo};
pub use reading::{Item, Reading};
pub use recorder::{Recorder, Settings, Summary, ask_to_flush};
pub use store::{Found, Lost, Recorded, Rewrapped, Store};

/// For the fuzz target: any bytes as a segment and its index.
#[doc(hidden)]
pub use segment::fuzz_segment;
