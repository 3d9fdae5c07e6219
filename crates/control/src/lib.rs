//! The controller's memory and judgement: who is who, who may see what, and what was asked.
//!
//! Tokens let hosts and people in, the small CA gives agents their certificates, grants say who
//! may see which machines, and all that is asked for is in the audit log. Packets never come here, and nothing here waits for one.

pub mod audit;
pub mod ca;
pub mod grants;
mod names;
pub mod tokens;
mod word;

pub use names::{AgentId, NameError, UserName};
