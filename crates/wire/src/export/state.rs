//! What a collector must remember when it is started anew: of each exporter its templates, the
//! rates it stated, where its numbers are, and its account.
//!
//! A plain document, of whatever format whoever keeps it likes. What is read back is believed no
//! more than what comes from a socket: the same bounds hold.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::element::Element;
use super::exporter::{DataSource, Exporter, ExporterKey, TemplateLimits};
use super::protocol::Protocol;
use super::sampling::{Ratio, Samplers};
use super::sequence::Sequence;
use super::template::{Field, Template};
use crate::Timestamp;

/// An exporter, written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedExporter {
    /// Where its datagrams come from; of sFlow the address of the agent.
    pub address: IpAddr,
    /// The port they come from; 0 of sFlow.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// Observation domain, source id, engine or sub-agent.
    pub domain: u32,
    /// When the first datagram came, in nanoseconds since 1970.
    pub first_seen: Timestamp,
    /// When the last datagram came, likewise.
    pub last_seen: Timestamp,
    /// How far its clock was before that of the collector, in milliseconds.
    #[serde(default)]
    pub clock_ahead_ms: i64,
    /// Its counters by name ([`Account::named`](super::Account::named)), those that are not 0.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// Its templates.
    #[serde(default)]
    pub templates: Vec<SavedTemplate>,
    /// The rates it stated.
    #[serde(default)]
    pub samplers: Samplers,
    /// Where the numbers of its messages are.
    #[serde(default)]
    pub sequence: Sequence,
    /// Of sFlow the sources of samples.
    #[serde(default)]
    pub sources: Vec<SavedSource>,
    /// Active time-out in seconds, if it said that.
    #[serde(default)]
    pub active_timeout_s: Option<u64>,
    /// Idle time-out in seconds, if it said that.
    #[serde(default)]
    pub idle_timeout_s: Option<u64>,
    /// When it was started, in milliseconds since 1970, if it said that (element 160).
    #[serde(default)]
    pub system_init_ms: Option<u64>,
    /// Its uptime in the last message, in milliseconds.
    #[serde(default)]
    pub last_uptime_ms: Option<u32>,
    /// The rate that headers state, of NetFlow version 5.
    #[serde(default)]
    pub header_rate: Option<Ratio>,
    /// Templates that were missing, and of how many sets.
    #[serde(default)]
    pub missing: BTreeMap<u16, u64>,
}

/// A template, written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedTemplate {
    /// Its number, 256 or more.
    pub id: u16,
    /// How many of the fields are scopes; none if its records are flows.
    pub scopes: Option<usize>,
    /// Enterprise number, element number and length of each field, 65535 for a variable one.
    pub fields: Vec<(u32, u16, u16)>,
}

/// A source of samples, written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSource {
    /// Its kind; 0 is an interface.
    pub kind: u32,
    /// Its number.
    pub index: u32,
    /// What is known of it.
    #[serde(flatten)]
    pub source: DataSource,
}

/// Why an exporter that was written down cannot be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrestorable {
    /// It is already known.
    Known,
    /// There is no room for it.
    NoRoom,
    /// It has more than an exporter may have, or a template that cannot be.
    Malformed,
}

impl SavedExporter {
    /// Writes an exporter down.
    pub fn of(exporter: &Exporter) -> Self {
        let ExporterKey { address, port, protocol, domain } = exporter.key;
        let mut templates: Vec<_> = exporter.templates().map(SavedTemplate::of).collect();
        templates.sort_unstable_by_key(|template| template.id);
        let counters = exporter.account.named().filter(|(_, count)| *count > 0);
        let sources = exporter.sources();
        Self {
            address,
            port,
            protocol,
            domain,
            first_seen: exporter.first_seen,
            last_seen: exporter.last_seen,
            clock_ahead_ms: exporter.clock_ahead_ms,
            counters: counters.map(|(name, count)| (name.to_owned(), count)).collect(),
            templates,
            samplers: exporter.samplers.clone(),
            sequence: exporter.sequence.clone(),
            sources: sources
                .map(|((kind, index), source)| SavedSource { kind, index, source: source.clone() })
                .collect(),
            active_timeout_s: exporter.timeouts_s.0,
            idle_timeout_s: exporter.timeouts_s.1,
            system_init_ms: exporter.system_init_ms,
            last_uptime_ms: exporter.last_uptime_ms,
            header_rate: exporter.header_rate,
            missing: exporter.missing.clone(),
        }
    }

    /// Who it is.
    pub const fn key(&self) -> ExporterKey {
        let Self { address, port, protocol, domain, .. } = *self;
        ExporterKey { address, port, protocol, domain }
    }

    /// The exporter, if it could have been one within these limits.
    pub(super) fn revive(self, limits: TemplateLimits) -> Result<Exporter, Unrestorable> {
        let is_bounded = self.samplers.is_bounded()
            && self.missing.len() <= Exporter::MAX_MISSING
            && self.templates.len() <= limits.templates
            && self.sources.len() <= Exporter::MAX_SOURCES;
        if !is_bounded {
            return Err(Unrestorable::Malformed);
        }
        let mut exporter = Exporter::new(self.key(), self.first_seen);
        for template in self.templates {
            let template = template.revive(limits).ok_or(Unrestorable::Malformed)?;
            exporter.define(template, limits);
        }
        exporter.account = super::Account::default();
        for (name, count) in self.counters {
            exporter.account.restore(&name, count.min(MOST_COUNTED));
        }
        exporter.last_seen = self.last_seen;
        exporter.clock_ahead_ms = self.clock_ahead_ms;
        exporter.samplers = self.samplers;
        exporter.sequence = self.sequence;
        let sources = self.sources.into_iter();
        exporter.sources = sources.map(|s| ((s.kind, s.index), s.source)).collect();
        exporter.timeouts_s = (self.active_timeout_s, self.idle_timeout_s);
        exporter.system_init_ms = self.system_init_ms;
        exporter.last_uptime_ms = self.last_uptime_ms;
        exporter.header_rate = self.header_rate;
        exporter.missing = self.missing;
        exporter.missing.values_mut().for_each(|sets| *sets = (*sets).min(MOST_COUNTED));
        Ok(exporter)
    }
}

impl SavedTemplate {
    fn of(template: &Template) -> Self {
        let fields = template.fields().iter();
        Self {
            id: template.id(),
            scopes: template.is_options().then(|| template.scopes()),
            fields: fields.map(|f| (f.element.enterprise, f.element.number, f.len)).collect(),
        }
    }

    fn revive(self, limits: TemplateLimits) -> Option<Template> {
        let is_bounded = self.id >= 256
            && self.fields.len() <= limits.fields
            && self.scopes.is_none_or(|scopes| scopes <= self.fields.len());
        let fields = self.fields.into_iter();
        let fields = fields.map(|(enterprise, number, len)| Field {
            element: Element { enterprise, number },
            len,
        });
        is_bounded.then(|| Template::new(self.id, self.scopes, fields.collect())).flatten()
    }
}

/// No counter of ours has come further; from here it can still be counted on.
const MOST_COUNTED: u64 = 1 << 60;
