//! Who talks to whom, how much, inside a host or across.
//!
//! The [`Meter`] makes flows of packets. Pure: no files, sockets, threads or clock; time comes in
//! with the packets.

mod application;
mod community_id;
mod flow;
mod key;
mod meter;
mod packet;
mod tcp;

pub use application::{Application, server_port};
pub use community_id::community_id;
pub use flow::{ClientBasis, EndReason, Flow, Way};
pub use key::{Ends, Named, NamedVlan, Network};
pub use meter::{Meter, MeterCounters, Timeouts};
pub use tcp::TcpState;
