//! Runs capture sessions on one host: opens points, drives the engine, keeps the receipt.
//!
//! Two processes. The [`Session`] knows the site and holds the rights, but never sees a packet.
//! The engine ([`run_engine`]) sees packets, and has no rights left when the first one comes.

mod channel;
mod engine;
mod orders;
mod output;
mod receipt;
mod sandbox;
mod session;

pub use engine::{is_hangup_ignored, run_engine};
pub use orders::{End, FileReport, Outcome, Output, Progress, Rotation};
pub use receipt::{InterfaceReceipt, Receipt};
pub use sandbox::Sandbox;
pub use session::{ENGINE_WORD, Event, Request, Session, SessionError};
