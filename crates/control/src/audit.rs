//! The audit log: one entry for each thing that was asked for, given or refused.
//!
//! Entries form a chain. The *body* of an entry is one line of JSON that holds its number and the
//! hash of the entry before it; its *hash* is the SHA-256 of exactly these bytes. The body is kept
//! as it was written and never made again from its parts, so later releases may add fields and
//! anyone can check the chain with `sha256sum` (docs/reference/audit.md).
//!
//! ```text
//! hash 0 = 64 times the digit 0
//! body n = {"seq":n,"previous":"<hash n-1>","at":"2026-11-21T10:03:00Z","who":…,…}
//! hash n = hex(SHA-256(body n))
//! export = <hash n> <body n>, one line each
//! ```
//!
//! The chain shows changes to whoever has a [`Head`] of it that was kept elsewhere. Whoever may
//! write the whole store can make a new chain from any entry on; only a head outside their reach
//! shows that. Pure: storing is for `store`, time comes in as an argument.

mod entry;
mod export;
mod hash;
mod strangers;
mod verify;

pub use entry::{Action, Answer, Body, Draft, Entry, Who};
pub use export::ExportError;
pub use hash::Hash;
pub use strangers::Strangers;
pub use verify::{Fault, Verified, Verifier, verify};

use serde::{Deserialize, Serialize};

/// How far a chain goes: enough to show later that nothing up to here was touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The number of entries; 0 before the first one.
    pub seq: u64,
    /// The hash of the last one.
    pub hash: Hash,
}

impl Head {
    /// That of a chain without entries.
    pub const EMPTY: Self = Self { seq: 0, hash: Hash::ZERO };
}
