//! Sources of packets: interfaces and capture files.

mod error;
mod inlet;
mod input;
mod interface;
mod mirror;
mod ring;
mod stream;
mod sys;

pub use error::OpenError;
pub use inlet::Inlet;
pub use input::{Advance, Input, InputError};
pub use interface::{InterfaceCounters, frame_sender, interface_with};
pub use mirror::{MirrorReceiver, MirrorRule, Received};
pub use ring::{Condition, Opening, Ring, RingCounters, RingSize, Side, deafen};
pub use stream::{Gaps, Stream, StreamEnd};
