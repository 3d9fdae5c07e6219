//! Bytes to facts and back: headers, tunnels, capture files.
//!
//! Everything here is pure: no files, sockets, threads or clock. Bytes come in as slices, facts go
//! out as small values, and any bytes at all may come in (DESIGN.md, rule 4): decoding never
//! fails, it stops.

mod address;
pub mod file;
mod packet;
mod time;

pub use address::{Mac, VlanId, Vni};
pub use packet::{Checksum, Direction, LinkType, Packet, PointId};
pub use time::Timestamp;
