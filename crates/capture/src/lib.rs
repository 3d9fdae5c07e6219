//! Sources of packets: interfaces and capture files.

mod input;

pub use input::{Input, InputError};
