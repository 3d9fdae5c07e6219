//! Which packets: filter language, matcher on inner headers, tenant guard.
//!
//! Pure: expressions and identities in, verdicts and kernel programs out. It never knows the
//! inventory; names are resolved before a matcher is built.

mod reason;

pub use reason::DropReason;
