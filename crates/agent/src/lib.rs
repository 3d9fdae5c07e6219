//! Runs capture sessions on one host: chooses and opens points, drives the engine, follows what
//! changes around the VM, makes the receipt.
//!
//! Two processes. The [`Session`] knows the site and holds the rights, but never sees a packet.
//! The engine ([`run_engine`]) sees packets, and has no rights left when the first one comes.

mod calls;
mod capture;
mod channel;
mod defaults;
mod engine;
#[cfg(test)]
mod fixture;
mod following;
mod kernel;
mod mirror;
mod names;
mod orders;
mod output;
mod own_counts;
mod past;
mod place;
mod receipt;
mod recorded;
mod recording;
mod recording_selection;
mod sandbox;
mod session;
mod store_output;
mod tools;

pub use capture::{Capture, Happened, Wanted};
pub use defaults::{DEFAULT_BYTES, DEFAULT_DURATION, DEFAULT_PACKETS, default_reserve, file_name};
pub use deliver::ToolReport;
pub use engine::{is_hangup_ignored, run_engine};
pub use following::{Changes, Following};
pub use kernel::KernelRules;
pub use mirror::{MirrorError, MirrorSource, NotAMirror, every_machine, mirror_point};
pub use names::{ip_names, mac_names};
pub use orders::{
    End, FileReport, GapReport, Outcome, Output, PastOrder, Progress, Rotation, StoreOrder,
};
pub use own_counts::OwnCounts;
pub use place::{NoPoint, Place};
pub use receipt::{InterfaceReceipt, Receipt, Story, grouped, packets, tool_text};
pub use recorded::recorded;
pub use recording::{PointReceipt, Recording, RecordingReceipt, RecordingWanted};
pub use recording_selection::{Selection, SelectionError};
pub use sandbox::Sandbox;
pub use session::{ENGINE_WORD, Event, Request, Session, SessionError};
pub use tools::ToolWanted;
