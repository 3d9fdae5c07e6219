//! Exports of flows: NetFlow versions 5 and 9, IPFIX, sFlow version 5.
//!
//! A [`Collector`] takes datagrams and shows what is in them: records with the fields they have,
//! samples with the beginning of a packet, which [`Layers`](crate::Layers) then reads. It says of
//! every exporter what it sent and what of that could not be used.
//!
//! Counts are as exported: nothing is multiplied by a sampling rate, no times are shifted, and
//! copies of one flow from several exporters are not looked for. That is for whoever knows the
//! site.

mod account;
mod collector;
mod column;
mod element;
mod exporter;
mod netflow5;
mod protocol;
mod record;
mod sampling;
mod sequence;
mod sets;
mod sflow;
mod state;
mod template;

pub use account::{Account, Fault};
pub use collector::{Collector, Datagram, Event, Limits};
pub use column::{Column, Columns, WideColumn};
pub use element::Element;
pub use exporter::{DataSource, Exporter, ExporterKey, TemplateLimits};
pub use protocol::Protocol;
pub use record::{Counts, MessageHeader, Record, Side, Span, Talk, TimeBasis};
pub use sampling::{Rate, RateOrigin, Ratio, Samplers};
pub use sequence::Sequence;
pub use sflow::{
    CounterSample, DiscardSample, FlowSample, Interface, SampledHeader, SampledIpv4, SampledTunnel,
};
pub use state::{SavedExporter, SavedSource, SavedTemplate, Unrestorable};
pub use template::{Field, Template};
