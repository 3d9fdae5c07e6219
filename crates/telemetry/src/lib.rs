//! What a role that runs for months tells whoever runs it: log lines, and figures for Prometheus.
//!
//! [`log`] says what happened, one event a line. [`metrics`] writes how things are as a page of
//! Prometheus' text format, [`scrape`] serves it, and [`process`] has the figures every process
//! has. What the figures are of is for the roles; nothing here knows a packet.

pub mod log;
pub mod metrics;
pub mod process;
pub mod scrape;

pub use log::{Event, Format, Level, Log};
pub use metrics::{Kind, Page};
