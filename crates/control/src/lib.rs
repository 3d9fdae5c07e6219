//! The controller's memory and judgement: who is who, who may see what, and what was asked.
//!
//! Tokens let hosts and people in, the small CA gives agents their certificates. Packets never
//! come here, and nothing here waits for one.

pub mod ca;
mod names;
pub mod tokens;

pub use names::{AgentId, NameError, UserName};
