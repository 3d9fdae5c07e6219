//! Sources of packets: interfaces and capture files.

mod error;
mod input;
mod interface;
mod mirror;
mod ring;
mod sys;

pub use error::OpenError;
pub use input::{Advance, Input, InputError};
pub use interface::{InterfaceCounters, frame_sender, interface_with};
pub use mirror::{MirrorReceiver, MirrorRule, Received};
pub use ring::{Condition, Opening, Ring, RingCounters, RingSize, Side, deafen};
