//! One exporter: what it has told of itself, and the account of what it sent.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::{Account, Fault};
use super::column::{Column, Columns};
use super::protocol::Protocol;
use super::record::MessageHeader;
use super::sampling::{Ratio, Samplers};
use super::sequence::{Message, Sequence, Units};
use super::sflow::FlowSample;
use super::template::Template;
use crate::Timestamp;

/// Who an exporter is: numbers and templates mean something only within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExporterKey {
    /// Where its datagrams come from; of sFlow the address of the agent, which may send from
    /// several.
    pub address: IpAddr,
    /// The port they come from; 0 of sFlow, where sub-agents are told apart by number.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// Observation domain: source id of NetFlow version 9, engine of version 5, sub-agent of sFlow.
    pub domain: u32,
}

/// An exporter, the account of what it sent, and what it said of itself.
#[derive(Debug, Clone)]
pub struct Exporter {
    /// Who it is.
    pub key: ExporterKey,
    /// What it sent, and what became of it.
    pub account: Account,
    /// The rates it stated.
    pub samplers: Samplers,
    /// When the first datagram came.
    pub first_seen: Timestamp,
    /// When the last datagram came.
    pub last_seen: Timestamp,
    /// How far the clock of the exporter is before ours, by its last message, in milliseconds.
    pub clock_ahead_ms: i64,
    /// Active and idle time-out in seconds, where it says them.
    pub timeouts_s: (Option<u64>, Option<u64>),
    /// The numbers of templates that were missing, and how many sets each; at most
    /// [`MAX_MISSING`](Self::MAX_MISSING) of them.
    pub missing: BTreeMap<u16, u64>,
    pub(super) sequence: Sequence,
    /// Data sources of sFlow, which number their samples.
    pub(super) sources: BTreeMap<(u32, u32), DataSource>,
    pub(super) templates: HashMap<u16, Arc<Template>>,
    /// Memory of the templates, in bytes.
    pub(super) templates_bytes: usize,
    pub(super) system_init_ms: Option<u64>,
    pub(super) last_uptime_ms: Option<u32>,
    pub(super) header_rate: Option<Ratio>,
}

impl Exporter {
    /// How many missing templates are named.
    pub const MAX_MISSING: usize = 64;
    /// Data sources of one sFlow agent whose numbers are followed.
    pub(super) const MAX_SOURCES: usize = 4096;

    pub(super) fn new(key: ExporterKey, now: Timestamp) -> Self {
        Self {
            key,
            account: Account::default(),
            samplers: Samplers::default(),
            first_seen: now,
            last_seen: now,
            clock_ahead_ms: 0,
            timeouts_s: (None, None),
            missing: BTreeMap::new(),
            sequence: Sequence::default(),
            sources: BTreeMap::new(),
            templates: HashMap::new(),
            templates_bytes: 0,
            system_init_ms: None,
            last_uptime_ms: None,
            header_rate: None,
        }
    }

    /// The numbers of its messages, or of its records: what was lost on the way.
    pub const fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// The data sources of an sFlow agent, by kind and index.
    pub fn sources(&self) -> impl Iterator<Item = ((u32, u32), &DataSource)> {
        self.sources.iter().map(|(key, source)| (*key, source))
    }

    /// How many samples the agent says it lost before it could send them.
    pub fn agent_drops(&self) -> u64 {
        self.sources.values().map(|source| u64::from(source.drops)).sum()
    }

    /// The rate that headers state, in NetFlow version 5.
    pub const fn header_rate(&self) -> Option<Ratio> {
        self.header_rate
    }

    /// The templates it uses, in no order.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.templates.values().map(|template| &**template)
    }

    /// Takes the header of a message: when it came, and whether the exporter was restarted.
    pub(super) fn see(&mut self, header: &MessageHeader, now: Timestamp) {
        self.last_seen = self.last_seen.max(now);
        self.account.messages += 1;
        self.header_rate = header.rate.or(self.header_rate);
        let millis =
            |time: Timestamp| i64::try_from(time.as_nanos() / 1_000_000).unwrap_or(i64::MAX);
        self.clock_ahead_ms = millis(header.export_time).saturating_sub(millis(now));
    }

    /// Takes the number of a message, and what it held.
    pub(super) fn count(&mut self, header: &MessageHeader, units: Option<Units>) {
        let message = Message { number: header.sequence, units };
        let is_restarted = match (self.last_uptime_ms, header.uptime_ms) {
            // Datagrams overtake each other by less than a minute.
            (Some(before), Some(now)) => {
                let back = before.wrapping_sub(now).cast_signed();
                back > REORDERED_MS
            }
            _ => false,
        };
        self.last_uptime_ms = header.uptime_ms.or(self.last_uptime_ms);
        if is_restarted {
            self.sequence.restart(message);
        } else {
            self.sequence.take(message);
        }
    }

    /// Takes what a sample says of its data source.
    pub(super) fn count_sample(&mut self, sample: &FlowSample<'_>) {
        let key = sample.source;
        if self.sources.len() >= Self::MAX_SOURCES && !self.sources.contains_key(&key) {
            return;
        }
        let source = self.sources.entry(key).or_default();
        let message = Message { number: sample.sequence, units: Some(Units::Messages) };
        source.sequence.take(message);
        source.drops = sample.drops;
        source.interval = sample.interval;
    }

    /// Learns what a record of options says.
    pub(super) fn learn(&mut self, columns: &Columns) {
        self.samplers.learn(columns);
        let number = |column| columns.get(column);
        self.system_init_ms =
            number(Column::SystemInitMilliseconds).filter(|ms| *ms != 0).or(self.system_init_ms);
        let (active, idle) = self.timeouts_s;
        self.timeouts_s = (
            number(Column::FlowActiveTimeout).or(active),
            number(Column::FlowIdleTimeout).or(idle),
        );
        let account = &mut self.account;
        for (said, column) in [
            (&mut account.not_sent_packets, Column::NotSentPacketTotalCount),
            (&mut account.not_sent_flows, Column::NotSentFlowTotalCount),
            (&mut account.ignored_packets, Column::IgnoredPacketTotalCount),
        ] {
            *said = number(column).or(*said);
        }
    }

    /// Makes a template known. Says whether it is new or another layout than before.
    pub(super) fn define(&mut self, template: Template, limits: TemplateLimits) -> bool {
        let id = template.id();
        if let Some(known) = self.templates.get(&id) {
            if known.is_same(&template) {
                self.account.templates_repeated += 1;
                return false;
            }
            self.account.templates_replaced += 1;
            self.forget(id);
        }
        let bytes = template.memory();
        if self.templates.len() >= limits.templates || self.templates_bytes + bytes > limits.bytes {
            self.account.fault(Fault::TooManyTemplates);
            return false;
        }
        self.account.templates += 1;
        self.templates_bytes += bytes;
        self.templates.insert(id, Arc::new(template));
        true
    }

    /// Takes a template back.
    pub(super) fn withdraw(&mut self, id: u16) {
        self.account.withdrawals += 1;
        self.forget(id);
    }

    /// Takes all templates for flows back, or all for options.
    pub(super) fn withdraw_all(&mut self, is_options: bool) {
        let all = self.templates.iter().filter(|(_, t)| t.is_options() == is_options);
        let ids: Vec<u16> = all.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.withdraw(id));
    }

    /// The connection it spoke by is over: its templates and numbers were those of that.
    pub(super) fn end_session(&mut self) {
        self.templates.clear();
        self.templates_bytes = 0;
        self.samplers = Samplers::default();
        self.sequence.end();
    }

    /// A set came whose template is not known.
    pub(super) fn miss(&mut self, id: u16) {
        self.account.sets_without_template += 1;
        if self.missing.len() < Self::MAX_MISSING || self.missing.contains_key(&id) {
            *self.missing.entry(id).or_default() += 1;
        }
    }

    fn forget(&mut self, id: u16) {
        if let Some(template) = self.templates.remove(&id) {
            self.templates_bytes = self.templates_bytes.saturating_sub(template.memory());
        }
    }
}

/// What samples packets for an sFlow agent: an interface for the most part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSource {
    /// The numbers of its samples.
    pub sequence: Sequence,
    /// Samples that the agent lost, as the last sample says.
    pub drops: u32,
    /// One in so many packets is sampled, as the last sample says.
    pub interval: u32,
}

/// What the templates of one exporter may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateLimits {
    /// How many.
    pub templates: usize,
    /// Fields of each.
    pub fields: usize,
    /// Memory of all, in bytes.
    pub bytes: usize,
}

/// How far the uptime in a datagram may be behind that of the one before it, in milliseconds.
const REORDERED_MS: i32 = 60_000;
