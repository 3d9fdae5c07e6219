//! Sources of packets: interfaces and capture files.

mod error;
mod interface;
mod ring;
mod sys;

pub use error::OpenError;
pub use interface::InterfaceCounters;
pub use ring::{Condition, Opening, Ring, RingCounters, RingSize, Side};
