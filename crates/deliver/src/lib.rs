//! Sinks for packets: capture files and rings of them, outlets to analysis tools.
//!
//! A sink writes down what it is given and accounts for it to the packet. It selects nothing:
//! what arrives here was asked for and cleared.

mod account;
mod byte_sink;
mod comments;
mod datagrams;
mod error;
mod file_name;
mod file_sink;
mod free_space;
mod headroom;
mod outlet;
mod place;
mod schedule;
mod settings;
mod tls;
mod tools;

pub use account::{FileAccount, PointCounters, Summary, Totals};
pub use byte_sink::{ByteSink, WriteError};
pub use error::SinkError;
pub use file_sink::{End, FileSink, Outcome};
pub use settings::{Destination, Existing, FileSettings, Interval, Ring, StopLimits, WhenSlow};
pub use tls::{Relay, TlsEnd};
pub use tools::{
    ToolOutlets, ToolReport, ToolSocket, ToolSocketKind, accept, call, open_tool, reader,
};
