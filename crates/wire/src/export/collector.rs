//! The collector: datagrams of any exporter in, records and samples out.
//!
//! It holds what a decoder must remember between datagrams, all of it bounded: exporters, their
//! templates and samplers, data that came before its template. Time comes in with each datagram;
//! sockets and files are others' business.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::column::Columns;
use super::exporter::{Exporter, ExporterKey, TemplateLimits};
use super::protocol::Protocol;
use super::record::{MessageHeader, Record};
use super::sflow::{CounterSample, DiscardSample, FlowSample};
use super::state::{SavedExporter, Unrestorable};
use super::template::Template;
use super::{netflow5, sets, sflow};
use crate::Timestamp;

/// A datagram as it came.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// When.
    pub time: Timestamp,
    /// Where from.
    pub source: SocketAddr,
    /// What UDP carried.
    pub payload: &'a [u8],
}

/// Something that was exported.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A record of a flow.
    Flow(&'a Exporter, Record<'a>),
    /// A record about the exporter.
    Options(&'a Exporter, Record<'a>),
    /// A sampled packet.
    Sample(&'a Exporter, FlowSample<'a>),
    /// Counters, of an interface for the most part.
    Counters(&'a Exporter, CounterSample<'a>),
    /// A packet that a switch dropped.
    Discard(&'a Exporter, DiscardSample<'a>),
}

/// Decodes exports of flows. See the module.
#[derive(Debug)]
pub struct Collector {
    limits: Limits,
    exporters: Vec<Exporter>,
    numbers: HashMap<ExporterKey, usize>,
    /// The last exporter of an address, protocol and domain, and how many there are.
    by_domain: HashMap<(IpAddr, Protocol, u32), (usize, u32)>,
    /// Memory of the templates of all exporters, in bytes.
    templates_bytes: usize,
    /// Who was heard in some domain, so that what comes later is believed to be export.
    senders: HashSet<(IpAddr, u16, Protocol)>,
    /// Where records are put together.
    columns: Columns,
    pending: Pending,
    unrecognised: u64,
    refused: u64,
    expired: u64,
    /// When exporters were last looked through for silent ones.
    swept: Timestamp,
}

/// What a collector may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Exporters; datagrams of more are refused and counted.
    pub exporters: usize,
    /// Templates of each.
    pub templates: TemplateLimits,
    /// Memory of the templates of all exporters, in bytes.
    pub templates_bytes: usize,
    /// Bytes of data that wait for their templates, of all exporters; 0 keeps none.
    pub pending_bytes: usize,
    /// How long data waits.
    pub pending_for: Duration,
    /// How long an exporter may be silent before its place is given to another.
    pub silent_for: Duration,
    /// How long an exporter must have been silent before one with the same address and domain at
    /// another port is taken for the same, started anew, and inherits its templates.
    pub inherit_after: Duration,
}

impl Limits {
    /// For showing what a collector has kept: it was bounded when it came.
    pub fn of_what_was_kept() -> Self {
        let templates = TemplateLimits { templates: 65_536, fields: 65_536, bytes: usize::MAX };
        let exporters = usize::MAX;
        Self { exporters, templates, templates_bytes: usize::MAX, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exporters: 16_384,
            templates: TemplateLimits { templates: 4096, fields: 1024, bytes: 4 << 20 },
            templates_bytes: 512 << 20,
            pending_bytes: 0,
            pending_for: Duration::from_secs(300),
            // Three times the interval in which Open vSwitch repeats its templates.
            silent_for: Duration::from_secs(1800),
            inherit_after: Duration::from_secs(5),
        }
    }
}

/// Sets of data that wait for their templates.
#[derive(Debug, Default)]
struct Pending {
    /// In the order they came.
    sets: BTreeMap<u64, PendingSet>,
    /// Which of them wait for a template.
    waiting: HashMap<(ExporterKey, u16), VecDeque<u64>>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct PendingSet {
    template: (ExporterKey, u16),
    header: MessageHeader,
    time: Timestamp,
    bytes: Box<[u8]>,
}

impl Collector {
    /// One that knows nobody yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            exporters: Vec::new(),
            numbers: HashMap::new(),
            by_domain: HashMap::new(),
            templates_bytes: 0,
            senders: HashSet::new(),
            columns: Columns::new(),
            pending: Pending::default(),
            unrecognised: 0,
            refused: 0,
            expired: 0,
            swept: Timestamp::ZERO,
        }
    }

    /// Takes a datagram and shows what is in it, in its order. Says whether it was recognised as
    /// export.
    ///
    /// A sender never heard before must send something that begins as an export does; from then on
    /// whatever it sends counts as export, and what is wrong with it as malformed.
    pub fn take(&mut self, datagram: &Datagram<'_>, mut each: impl FnMut(Event<'_>)) -> bool {
        let is_taken = match Protocol::of(datagram.payload) {
            Some(Protocol::NetflowV5) => netflow5::take(self, datagram, &mut each),
            Some(protocol @ (Protocol::NetflowV9 | Protocol::Ipfix)) => {
                sets::take(self, datagram, protocol, &mut each)
            }
            Some(Protocol::Sflow) => sflow::take(self, datagram, &mut each),
            None => false,
        };
        self.unrecognised += u64::from(!is_taken);
        is_taken
    }

    /// Every exporter that was heard, in the order in which they were.
    pub fn exporters(&self) -> &[Exporter] {
        &self.exporters
    }

    /// Datagrams that are no export, or of exporters never heard before and not plausible.
    pub const fn unrecognised(&self) -> u64 {
        self.unrecognised
    }

    /// Datagrams of exporters for which there was no room.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Exporters that were forgotten because they were silent and others needed their place.
    pub const fn expired(&self) -> u64 {
        self.expired
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The number of an exporter; `None` if the datagram is not to be believed, or there is no
    /// room.
    pub(super) fn exporter(&mut self, key: ExporterKey, datagram: &Datagram<'_>) -> Option<usize> {
        if let Some(number) = self.numbers.get(&key) {
            return Some(*number);
        }
        let sender = sender(key);
        if !key.protocol.is_plausible(datagram.payload) && !self.senders.contains(&sender) {
            return None;
        }
        if self.exporters.len() >= self.limits.exporters && !self.make_room(datagram.time) {
            self.refused += 1;
            return None;
        }
        let mut exporter = Exporter::new(key, datagram.time);
        self.inherit(&mut exporter, datagram.time);
        Some(self.add(exporter))
    }

    /// Makes an exporter known again that was written down. What it learnt stays learnt, and what
    /// it sent in between counts as lost.
    ///
    /// # Errors
    /// When it cannot be one, is already known, or there is no room.
    pub fn restore(&mut self, saved: SavedExporter) -> Result<(), Unrestorable> {
        if self.numbers.contains_key(&saved.key()) {
            return Err(Unrestorable::Known);
        }
        let exporter = saved.revive(self.limits.templates)?;
        let is_too_much =
            self.templates_bytes + exporter.templates_bytes > self.limits.templates_bytes;
        if self.exporters.len() >= self.limits.exporters || is_too_much {
            return Err(Unrestorable::NoRoom);
        }
        self.add(exporter);
        Ok(())
    }

    /// A connection has begun, or ended: what was learnt in an earlier one from the same address
    /// and port holds no more (RFC 7011, section 8.1).
    pub fn forget_session(&mut self, source: SocketAddr) {
        let (address, port) = (source.ip().to_canonical(), source.port());
        if !self.senders.contains(&(address, port, Protocol::Ipfix)) {
            return;
        }
        for exporter in &mut self.exporters {
            let ExporterKey { address: known, port: known_port, protocol, .. } = exporter.key;
            if (known, known_port, protocol) == (address, port, Protocol::Ipfix) {
                self.templates_bytes =
                    self.templates_bytes.saturating_sub(exporter.templates_bytes);
                exporter.end_session();
            }
        }
    }

    /// Makes a template of an exporter known. Says whether it is new or another layout than before.
    pub(super) fn define(&mut self, number: usize, template: Template) -> bool {
        let left = self.limits.templates_bytes.saturating_sub(self.templates_bytes);
        let mut limits = self.limits.templates;
        self.change_templates(number, |exporter| {
            limits.bytes = limits.bytes.min(exporter.templates_bytes + left);
            exporter.define(template, limits)
        })
        .unwrap_or_default()
    }

    /// Changes the templates of an exporter, and keeps count of the memory of all.
    pub(super) fn change_templates<T>(
        &mut self,
        number: usize,
        change: impl FnOnce(&mut Exporter) -> T,
    ) -> Option<T> {
        let exporter = self.exporters.get_mut(number)?;
        let before = exporter.templates_bytes;
        let result = change(exporter);
        self.templates_bytes =
            (self.templates_bytes + exporter.templates_bytes).saturating_sub(before);
        Some(result)
    }

    fn add(&mut self, exporter: Exporter) -> usize {
        let (key, number) = (exporter.key, self.exporters.len());
        self.templates_bytes += exporter.templates_bytes;
        self.senders.insert(sender(key));
        self.numbers.insert(key, number);
        let of_domain = self.by_domain.entry(domain(key)).or_default();
        *of_domain = (number, of_domain.1.saturating_add(1));
        self.exporters.push(exporter);
        number
    }

    pub(super) fn exporter_mut(&mut self, number: usize) -> Option<&mut Exporter> {
        self.exporters.get_mut(number)
    }

    /// An exporter, and the place where records are put together.
    pub(super) fn parts(&mut self, number: usize) -> Option<(&mut Exporter, &mut Columns)> {
        Some((self.exporters.get_mut(number)?, &mut self.columns))
    }

    /// Keeps a set until its template comes. Says whether there was room.
    pub(super) fn keep(
        &mut self,
        exporter: ExporterKey,
        template: u16,
        header: &MessageHeader,
        time: Timestamp,
        bytes: &[u8],
    ) -> bool {
        if self.limits.pending_bytes == 0 {
            return false;
        }
        self.give_up_late(time);
        let needed = bytes.len() + size_of::<PendingSet>() + PENDING_OVERHEAD;
        let pending = &mut self.pending;
        if pending.bytes + needed > self.limits.pending_bytes {
            return false;
        }
        let (number, template) = (pending.next, (exporter, template));
        pending.next += 1;
        pending.bytes += needed;
        pending.waiting.entry(template).or_default().push_back(number);
        pending
            .sets
            .insert(number, PendingSet { template, header: *header, time, bytes: bytes.into() });
        true
    }

    /// The sets that waited for this template, in the order they came.
    pub(super) fn released(
        &mut self,
        exporter: ExporterKey,
        template: u16,
    ) -> Vec<(MessageHeader, Box<[u8]>)> {
        let numbers = self.pending.waiting.remove(&(exporter, template)).unwrap_or_default();
        let sets = numbers.into_iter().filter_map(|number| self.pending.remove(number));
        sets.map(|set| (set.header, set.bytes)).collect()
    }

    /// Forgets data that has waited too long.
    fn give_up_late(&mut self, now: Timestamp) {
        let oldest = now.saturating_sub(self.limits.pending_for);
        while let Some((number, set)) = self.pending.sets.first_key_value()
            && set.time < oldest
        {
            let (number, template) = (*number, set.template);
            if let Some(waiting) = self.pending.waiting.get_mut(&template) {
                waiting.pop_front();
                if waiting.is_empty() {
                    self.pending.waiting.remove(&template);
                }
            }
            self.pending.remove(number);
            let exporter = self.numbers.get(&template.0);
            if let Some(exporter) = exporter.and_then(|number| self.exporters.get_mut(*number)) {
                exporter.account.sets_given_up += 1;
            }
        }
    }

    /// Takes templates over from an exporter that is silent since and had the same address and
    /// domain at another port: it was started anew.
    fn inherit(&self, heir: &mut Exporter, now: Timestamp) {
        let since = now.saturating_sub(self.limits.inherit_after);
        // Of several nobody knows which one it was.
        let Some((number, 1)) = self.by_domain.get(&domain(heir.key)) else { return };
        let Some(one) = self.exporters.get(*number).filter(|one| one.last_seen < since) else {
            return;
        };
        if self.templates_bytes + one.templates_bytes > self.limits.templates_bytes {
            return;
        }
        heir.templates.clone_from(&one.templates);
        heir.templates_bytes = one.templates_bytes;
        heir.samplers = one.samplers.clone();
        heir.account.templates_adopted = one.templates.len() as u64;
    }

    /// Forgets exporters that are silent. Looks at most once a minute: a flood of new ones must not
    /// cost a look at all for each.
    fn make_room(&mut self, now: Timestamp) -> bool {
        if now.since(self.swept) < Duration::from_secs(60) && self.swept <= now {
            return false;
        }
        self.swept = now;
        let oldest = now.saturating_sub(self.limits.silent_for);
        let mut exporters = std::mem::take(&mut self.exporters);
        let before = exporters.len();
        exporters.retain(|exporter| exporter.last_seen >= oldest);
        self.expired += (before - exporters.len()) as u64;
        self.numbers.clear();
        self.by_domain.clear();
        self.senders.clear();
        self.templates_bytes = 0;
        for exporter in exporters {
            self.add(exporter);
        }
        self.exporters.len() < self.limits.exporters
    }
}

impl Pending {
    fn remove(&mut self, number: u64) -> Option<PendingSet> {
        let set = self.sets.remove(&number)?;
        let held = set.bytes.len() + size_of::<PendingSet>() + PENDING_OVERHEAD;
        self.bytes = self.bytes.saturating_sub(held);
        Some(set)
    }
}

/// The key of an exporter that is told by where its datagrams come from.
pub(super) fn key(datagram: &Datagram<'_>, protocol: Protocol, domain: u32) -> ExporterKey {
    let address: IpAddr = datagram.source.ip().to_canonical();
    ExporterKey { address, port: datagram.source.port(), protocol, domain }
}

const fn domain(key: ExporterKey) -> (IpAddr, Protocol, u32) {
    (key.address, key.protocol, key.domain)
}

const fn sender(key: ExporterKey) -> (IpAddr, u16, Protocol) {
    (key.address, key.port, key.protocol)
}

/// What a set that waits takes in the two maps, about, in bytes.
const PENDING_OVERHEAD: usize = 128;
