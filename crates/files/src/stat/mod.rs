//! Stat: what capture files hold, by interface, network, tunnel and VM.
//!
//! One walk over the files, front to back. Tables have at most [`Rows::MOST`] rows; what finds
//! none counts as others. Nothing is allocated for a packet.

mod counts;
mod facts;

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pipeline::{Network, Overlay};
use wire::file::{Format, Interface, Item, Record, Statistics};
use wire::mirror::{MirrorForm, MirrorSessions, Mirrored};
use wire::{Layers, LinkType, PointId, Timestamp, TunnelPorts};

pub use counts::{Counts, Rows};
use counts::{RowKey, Table};
pub use facts::TunnelKey;
use facts::{Facts, is_gre};

use crate::copies::Copies;
use crate::sources::{Source, turn};
use crate::{CopiesReport, DedupRequest, InputAccount, MirrorReport, OpenInputs, Whose};

/// What is to be counted.
#[derive(Debug, Clone)]
pub struct StatRequest {
    /// Whether copies are looked for, and which packets are copies.
    pub dedup: Option<DedupRequest>,
    /// The VMs whose packets are counted.
    pub vms: Option<Whose>,
    /// Which UDP ports carry tunnels.
    pub ports: TunnelPorts,
    /// Set by others to end early.
    pub stop: Arc<AtomicBool>,
}

/// What was counted.
#[derive(Debug, Clone)]
pub struct StatReport {
    /// What was read, and what was wrong with it, with the formats it has.
    pub inputs: Vec<(InputAccount, Option<Format>)>,
    /// All packets.
    pub whole: Counts,
    /// All packets by what is special about them.
    pub quality: Quality,
    /// Each interface.
    pub interfaces: Vec<InterfaceReport>,
    /// Interfaces without a row of their own, because there are too many.
    pub other_interfaces: u64,
    /// Each network of the innermost frames.
    pub networks: Rows<Network>,
    /// Each pair of tunnel end points, of the outermost tunnel.
    pub tunnels: Rows<TunnelKey>,
    /// Each VM of the request that has packets, by name. Packets between two VMs count for both.
    pub vms: Option<Rows<String>>,
    /// The mirror sessions of each input; what looks like one of VXLAN or GENEVE may be an overlay.
    pub mirrors: Vec<MirrorReport>,
    /// Copies between points, if they were looked for.
    pub copies: Option<CopiesReport>,
    /// Whether all of the inputs was read.
    pub is_complete: bool,
}

/// Packets that are special in some way. One may be in several ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quality {
    /// Packets that lost bytes at their end when they were captured.
    pub truncated: u64,
    /// Packets that are older than one before them in the same file.
    pub out_of_order: u64,
    /// How much older at most, in nanoseconds.
    pub step_back_ns: u64,
    /// Packets whose innermost frame is not IP.
    pub non_ip: u64,
    /// Packets with a piece of an IP packet in them.
    pub fragments: u64,
    /// Packets whose innermost frame could not be reached, so that nobody knows whose they are.
    pub undecidable: u64,
    /// Packets the file says were lost before some packet of it.
    pub lost_before: u64,
}

/// What is known about one interface.
#[derive(Debug, Clone)]
pub struct InterfaceReport {
    /// Number of the input it is in.
    pub input: usize,
    /// What it is called; empty if it has no name.
    pub name: String,
    /// What its packets begin with.
    pub link: LinkType,
    /// The most bytes kept of a packet; 0 is no limit.
    pub snaplen: u32,
    /// Its packets.
    pub counts: Counts,
    /// Its packets by what is special about them.
    pub quality: Quality,
    /// What the last counters in the file say: packets that arrived, that the interface lost, and
    /// that the operating system lost.
    pub received: Option<u64>,
    /// See `received`.
    pub interface_dropped: Option<u64>,
    /// See `received`.
    pub os_dropped: Option<u64>,
    /// The time of the youngest packet so far.
    newest: Timestamp,
}

/// Counts the packets of `inputs`.
pub fn stat(inputs: OpenInputs, request: StatRequest) -> StatReport {
    let mut job = Job {
        copies: request.dedup.as_ref().map(Copies::new),
        vms: request.vms.map(|whose| (whose, Table::new())),
        ports: request.ports,
        layers: Layers::empty(),
        whole: Counts::default(),
        quality: Quality::default(),
        interfaces: Vec::new(),
        numbers: Vec::new(),
        newest: Vec::new(),
        formats: Vec::new(),
        other_interfaces: 0,
        networks: Table::new(),
        tunnels: Table::new(),
        mirrors: Vec::new(),
    };
    let mut sources = inputs.into_sources();
    let is_complete = job.run(&mut sources, &request.stop);
    job.finish(sources, is_complete)
}

struct Job {
    copies: Option<Copies>,
    vms: Option<(Whose, Table<GroupNumber>)>,
    ports: TunnelPorts,
    layers: Layers,
    /// Packets of interfaces without a row; in the end all of them.
    whole: Counts,
    quality: Quality,
    interfaces: Vec<InterfaceReport>,
    /// For each input the place of its interfaces in `interfaces`, by number.
    numbers: Vec<Vec<u32>>,
    /// For each input the time of its youngest packet so far.
    newest: Vec<Timestamp>,
    formats: Vec<Option<Format>>,
    other_interfaces: u64,
    networks: Table<Network>,
    tunnels: Table<TunnelKey>,
    /// For each input.
    mirrors: Vec<MirrorSessions>,
}

impl Job {
    fn run(&mut self, sources: &mut [Source], stop: &AtomicBool) -> bool {
        self.numbers.resize(sources.len(), Vec::new());
        self.newest.resize(sources.len(), Timestamp::ZERO);
        self.formats.resize(sources.len(), None);
        self.mirrors.resize_with(sources.len(), MirrorSessions::new);
        for (number, source) in sources.iter_mut().enumerate() {
            self.advance(number, source);
        }
        while let Some((number, bound)) = turn(sources) {
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            let Some(source) = sources.get_mut(number) else { break };
            let counted = source.each(bound, |record| {
                self.count(number, record);
                ControlFlow::<Infallible>::Continue(())
            });
            if counted == ControlFlow::Continue(true) {
                self.advance(number, source);
            }
        }
        true
    }

    #[inline]
    fn count(&mut self, input: usize, record: &Record<'_>) {
        let packet = &record.packet;
        self.layers.fill(packet.link, packet.data, &self.ports);
        let facts = Facts::of(packet, &self.layers);
        let mut quality = Quality {
            truncated: u64::from(packet.is_sliced()),
            non_ip: u64::from(!facts.is_ip),
            fragments: u64::from(facts.is_fragment),
            undecidable: u64::from(self.layers.is_innermost_hidden()),
            lost_before: packet.lost_before,
            ..Quality::default()
        };
        self.networks.add(facts.network, packet);
        if let Some(tunnel) = facts.tunnel {
            self.tunnels.add(tunnel, packet);
            if let Ok(mirrored) = Mirrored::find(packet, &self.layers, MirrorForm::Any)
                && let Some(sessions) = self.mirrors.get_mut(input)
            {
                sessions.admit(&mirrored, packet);
            }
        }
        let index = self.numbers.get(input).and_then(|n| n.get(packet.point.0 as usize));
        if let Some(&index) = index
            && let Some(interface) = self.interfaces.get_mut(index as usize)
        {
            interface.counts.add(packet);
            quality.step(&mut interface.newest, packet.time);
            // Nearly every packet is as packets are.
            if quality != Quality::default() {
                interface.quality.add(&quality);
            }
            (quality.out_of_order, quality.step_back_ns) = (0, 0);
        } else {
            self.whole.add(packet);
        }
        if let Some(newest) = self.newest.get_mut(input) {
            quality.step(newest, packet.time);
        }
        if quality != Quality::default() {
            self.quality.add(&quality);
        }
        if let Some((whose, table)) = &mut self.vms {
            for vm in whose.find(input, packet, &self.layers) {
                table.add(GroupNumber(*vm), packet);
            }
        }
        if let Some(copies) = &mut self.copies {
            copies.is_copy(input, packet, &self.layers);
        }
    }

    fn advance(&mut self, number: usize, source: &mut Source) {
        let name = source.input.path().file_name().map(|name| name.to_string_lossy().into_owned());
        source.advance(|item| match item {
            Item::Section(section) => {
                if let Some(format) = self.formats.get_mut(number) {
                    format.get_or_insert(section.format);
                }
            }
            Item::Interface(interface) => {
                self.add_interface(number, interface);
                if let (Some((whose, _)), Some(name)) = (&mut self.vms, interface.name()) {
                    whose.add_point(number, interface.point, &name.to_str());
                }
                if let Some(copies) = &mut self.copies {
                    copies.add_point(number, interface, name.as_deref().unwrap_or_default());
                }
            }
            Item::Statistics(statistics) => self.add_statistics(number, statistics),
            _ => {}
        });
    }

    fn add_interface(&mut self, input: usize, interface: &Interface<'_>) {
        let Some(numbers) = self.numbers.get_mut(input) else { return };
        let PointId(point) = interface.point;
        if self.interfaces.len() >= MAX_INTERFACES || point as usize >= MAX_NUMBERS {
            self.other_interfaces += 1;
            return;
        }
        numbers.resize(numbers.len().max(point as usize + 1), u32::MAX);
        if let Some(slot) = numbers.get_mut(point as usize) {
            *slot = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        }
        let name = interface.name().map(|name| name.to_str().into_owned()).unwrap_or_default();
        self.interfaces.push(InterfaceReport {
            input,
            name: name.replace(char::is_control, "\u{fffd}"),
            link: interface.link,
            snaplen: interface.snaplen,
            counts: Counts::default(),
            quality: Quality::default(),
            received: None,
            interface_dropped: None,
            os_dropped: None,
            newest: Timestamp::ZERO,
        });
    }

    fn add_statistics(&mut self, input: usize, statistics: &Statistics<'_>) {
        let index = self.numbers.get(input).and_then(|n| n.get(statistics.point.0 as usize));
        let Some(&index) = index else { return };
        let Some(interface) = self.interfaces.get_mut(index as usize) else { return };
        // Counters run over the whole capture, so the last ones hold.
        interface.received = statistics.received().or(interface.received);
        interface.interface_dropped =
            statistics.interface_dropped().or(interface.interface_dropped);
        interface.os_dropped = statistics.os_dropped().or(interface.os_dropped);
    }

    fn finish(mut self, sources: Vec<Source>, is_complete: bool) -> StatReport {
        self.interfaces.iter().for_each(|interface| self.whole.join(&interface.counts));
        let mirrors = self.mirrors.into_iter().enumerate();
        let mirrors = mirrors.map(|(input, sessions)| MirrorReport::new(input, sessions));
        let accounts = sources.into_iter().map(|source| source.account);
        StatReport {
            inputs: accounts.zip(self.formats).collect(),
            whole: self.whole,
            quality: self.quality,
            interfaces: self.interfaces,
            other_interfaces: self.other_interfaces,
            networks: self.networks.finish(|network| network),
            tunnels: self.tunnels.finish(|tunnel| tunnel),
            vms: self.vms.map(|(whose, table)| {
                let name = |GroupNumber(vm)| whose.names().get(vm as usize).cloned();
                table.finish(|vm| name(vm).unwrap_or_default())
            }),
            mirrors: mirrors.filter(|report| !report.sessions.is_empty()).collect(),
            copies: self.copies.map(Copies::report),
            is_complete,
        }
    }
}

impl StatReport {
    /// Whether no packet is missing: all read, nothing damaged.
    pub fn is_whole(&self) -> bool {
        self.is_complete && self.inputs.iter().all(|(account, _)| account.is_whole())
    }

    /// Whether a key of GRE was seen, which in NVGRE is not the network's number alone.
    pub fn has_gre_keys(&self) -> bool {
        self.networks.rows.iter().any(|(network, _)| is_gre(network))
    }

    /// The overlays, whatever VLANs are in them, and the one with most bytes first.
    pub fn overlays(&self) -> Vec<(Overlay, Counts)> {
        self.joined(|network| network.overlay)
    }

    /// The VLANs of frames in no overlay or of those in one, each by its number.
    pub fn vlans(&self) -> Vec<(u32, Counts)> {
        self.joined(|network| (network.vlans != 0).then_some(network.vlans))
    }

    fn joined<K: Ord>(&self, key: impl Fn(&Network) -> Option<K>) -> Vec<(K, Counts)> {
        let mut sums: std::collections::BTreeMap<K, Counts> = std::collections::BTreeMap::new();
        for (network, counts) in &self.networks.rows {
            if let Some(key) = key(network) {
                sums.entry(key).or_default().join(counts);
            }
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, counts)| std::cmp::Reverse((counts.bytes, counts.packets)));
        sums
    }
}

impl Quality {
    #[inline]
    fn step(&mut self, newest: &mut Timestamp, time: Timestamp) {
        if time < *newest {
            self.out_of_order = 1;
            self.step_back_ns = newest.as_nanos() - time.as_nanos();
        } else {
            *newest = time;
        }
    }

    #[inline]
    fn add(&mut self, other: &Self) {
        self.truncated += other.truncated;
        self.out_of_order += other.out_of_order;
        self.step_back_ns = self.step_back_ns.max(other.step_back_ns);
        self.non_ip += other.non_ip;
        self.fragments += other.fragments;
        self.undecidable += other.undecidable;
        self.lost_before += other.lost_before;
    }
}

/// The number of a VM among those of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GroupNumber(u32);

impl RowKey for GroupNumber {
    fn hash(&self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Interfaces with a row of their own.
const MAX_INTERFACES: usize = 1 << 16;
/// Interfaces of one file, over all sections.
const MAX_NUMBERS: usize = 1 << 20;
