//! Which packets: filter language, matcher on inner headers, tenant guard.
//!
//! Pure: expressions and identities in, verdicts and kernel programs out. It never knows the
//! inventory; names are resolved before a matcher is built.

pub mod bpf;
mod datagram;
mod exports;
mod filter;
#[cfg(test)]
mod frames;
mod guard;
mod ownership;
mod reason;

pub use datagram::{Datagram, Piece};
pub use exports::{Export, Exports};
pub use filter::{
    Explanation, Filter, Groups, Interest, Member, Name, NameKind, NoNames, ParseError, Resolved,
    Resolver, UnknownName,
};
pub use guard::{Admitted, Claim, Cleared, Entitled, Gate, Grant, Guard, ToolSet};
pub use ownership::{Encapsulation, Identity, OnWire, Ownership};
pub use reason::DropReason;
