//! What program, controller and capture agents say to each other.
//!
//! The messages are in `proto/overtap.proto`; what they carry as JSON is in [`document`] and [`traffic`]; who may
//! speak with whom is decided by TLS, set up in [`tls`]; [`within`] one process nothing needs it. Whoever
//! comes takes one of the [`places`] of their address. Nothing here decides or remembers.

pub mod document;
pub mod places;
pub mod tls;
pub mod traffic;
pub mod within;

/// The messages and services, made of `proto/overtap.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
pub mod proto {
    tonic::include_proto!("overtap.v1");
}

/// The most bytes of one message, in both directions (tonic's own limit holds for one only).
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// The most bytes of a part in one [`proto::Piece`].
pub const PIECE_BYTES: usize = 256 * 1024;
