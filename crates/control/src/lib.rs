//! The controller's memory and judgement: who is who, who may see what, and what was asked.
//!
//! Tokens let hosts and people in, the small CA gives agents their certificates, grants say who
//! may see which machines, all that is asked for is in the audit log, and the store keeps it.
//! Packets never come here, and nothing here waits for one.

pub mod admin;
pub mod alerts;
pub mod audit;
pub mod belonging;
pub mod ca;
pub mod clock;
pub mod enrolled;
pub mod fleet;
pub mod grants;
mod names;
pub mod recorder_key;
pub mod server;
pub mod sessions;
pub mod store;
pub mod tokens;
mod word;

pub use names::{AgentId, NameError, UserName};
