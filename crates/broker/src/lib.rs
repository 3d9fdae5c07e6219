//! Named tools for analysis: what each is sent, how it is wrapped, and whose packets it may have.
//!
//! Pure: packets and grants in, bytes in the caller's buffers out, and an account of every packet
//! that a tool did not get. Sockets are `deliver`'s; whose packets are whose is the guard's word.

mod account;
mod broker;
mod bucket;
mod census;
mod mask;
mod policy;
mod program;
mod registry;
mod segment;
mod shape;
mod sum;
mod tool;
mod wrap;

pub use account::{ToolAccount, ToolDrop};
pub use broker::{Broker, Outlets, Ready};
pub use mask::{Mask, MaskField, UnknownField};
pub use policy::{NotASlice, Oversized, Policy, Slice};
pub use registry::{Registry, RegistryError};
pub use tool::{Grant, Mtu, NotAToolName, Outlet, Owner, SessionId, Tls, Tool, ToolName};
pub use wrap::Wrap;
