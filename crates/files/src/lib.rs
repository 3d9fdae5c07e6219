//! Jobs on capture files: packets of some files, selected and changed, into others.
//!
//! A job reads files front to back, once, and holds a bounded part of them, whatever their size.
//! What the bytes of a file mean is said in `wire::file`, which packets are wanted in `select`;
//! here they are brought together, and every packet read gets a [`Fate`] with a name.

mod copies;
mod datagrams;
mod extract;
mod fate;
mod feed;
mod metering;
mod mirrors;
mod outputs;
mod pieces;
mod points;
mod receipt;
mod selection;
mod slice;
mod sources;
mod stat;
mod threads;
mod whose;

pub use copies::{CopiesReport, PairReport};
pub use datagrams::{Datagram, DatagramReport, datagrams};
pub use extract::{DedupRequest, Ended, ExtractError, Request, extract, extract_to};
pub use fate::{Fate, Tally};
pub use feed::{FeedTool, ToolFeed};
pub use metering::{FlowReport, FlowRequest, flows};
pub use mirrors::MirrorReport;
pub use outputs::{FileFormat, OutputError, Split, Target};
pub use receipt::{DamageSeen, InputAccount, OutputAccount, Receipt};
pub use selection::{Elsewhere, Selection, Wanted};
pub use slice::Slice;
pub use sources::{OpenInputs, Progress};
pub use stat::{Counts, InterfaceReport, Quality, Rows, StatReport, StatRequest, TunnelKey, stat};
pub use whose::{NamedGroup, OwnPoint, Whose};
