//! Bytes to facts and back: headers, tunnels, capture files, flow exports.
//!
//! Everything here is pure: no files, sockets, threads or clock. Bytes come in as slices, facts go
//! out as small values, and any bytes at all may come in (DESIGN.md, rule 4): decoding never
//! fails, it stops.

mod address;
mod cursor;
pub mod export;
pub mod file;
mod glance;
pub mod header;
mod kept;
mod key;
mod layer;
mod layers;
mod level;
pub mod mirror;
mod packet;
mod ports;
mod stop;
mod strip;
mod time;
mod walk;

pub use address::{Mac, VlanId, Vni};
pub use cursor::Cursor;
pub use glance::is_certainly_without;
pub use kept::KeptPacket;
pub use key::Key;
pub use layer::Layer;
pub use layers::{Header, Layers, Levels};
pub use level::{Fragment, Ip, Level, Macs, Transport, Tunnel, VlanTag};
pub use packet::{Checksum, Direction, LinkType, Packet, PointId};
pub use ports::{NotATunnelPort, TunnelPort, TunnelPorts, UdpTunnel};
pub use stop::{Stop, StopReason};
pub use strip::{Strip, Strippable, Stripped, UnknownHeader};
pub use time::Timestamp;
