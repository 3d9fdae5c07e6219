//! Who talks to whom, how much, inside a host or across.
//!
//! The [`Meter`] makes flows of packets; [`Flow::of_record`] takes those that others measured.
//! [`Places`] says where their ends were, [`count_once`] which sighting of several counts, and a
//! [`Summary`] adds up. Pure: no files, sockets, threads or clock; time comes in
//! with the packets.

mod application;
mod community_id;
mod encoder;
mod exports;
mod flow;
mod gathering;
mod key;
mod meter;
mod network;
mod once;
mod packet;
mod place;
mod record;
mod row;
mod summary;
mod tcp;

pub use application::{Application, server_port};
pub use community_id::community_id;
pub use encoder::{Dialect, Encoder};
pub use exports::Exports;
pub use flow::{ClientBasis, EndReason, Flow, Way};
pub use gathering::{Gathering, LiveGathering};
pub use key::Ends;
pub use meter::{Meter, MeterCounters, Timeouts};
pub use network::{Network, NvgreSubnets, Overlay, OverlayKind};
pub use once::{Counted, Evidence, Held, Point, count_once};
pub use place::{Machine, MachineNumber, Place, Places, Split, Whereabouts};
pub use row::{Row, RowSink};
pub use summary::{By, Matrix, PairSums, Summary, Sums, Totals};
pub use tcp::TcpState;
