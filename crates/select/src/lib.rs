//! Which packets: filter language, matcher on inner headers, tenant guard.
//!
//! Pure: expressions and identities in, verdicts and kernel programs out. It never knows the
//! inventory; names are resolved before a matcher is built.

pub mod bpf;
mod datagram;
mod filter;
#[cfg(test)]
mod frames;
mod guard;
mod ownership;
mod reason;

pub use datagram::{Datagram, Piece};
pub use filter::{
    Explanation, Filter, Groups, Member, Name, NameKind, NoNames, ParseError, Resolved, Resolver,
    UnknownName,
};
pub use guard::{Cleared, Grant, Guard};
pub use ownership::{Encapsulation, Identity, OnWire, Ownership};
pub use reason::DropReason;
