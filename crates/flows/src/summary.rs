//! Sums over flows: who moves how much, and between whom.
//!
//! Only what counts is added: of several sightings of one flow one, of a tunnel and the flows in it
//! the flows. The rest is summed beside, so that nothing is missing from the whole.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use crate::flow::Flow;
use crate::network::Network;
use crate::once::Counted;
use crate::place::{Places, Split, Whereabouts};

/// What rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Machines of the inventory; what is none by its address.
    Vms,
    /// Hosts that the machines are on.
    Hosts,
    /// Tenants that the machines belong to.
    Tenants,
    /// Applications.
    Apps,
    /// Protocols and ports of servers.
    Ports,
    /// Addresses, with their networks where these are named.
    Addresses,
}

/// What a row sums up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Flows with something that counts.
    pub flows: u64,
    /// Packets both ways.
    pub packets: u64,
    /// Bytes of IP packets it sent; of applications and ports, that clients sent.
    pub sent: u64,
    /// Bytes of IP packets it received; of applications and ports, that servers sent.
    pub received: u64,
    /// Bytes both ways by split.
    pub by_split: [u64; Split::ALL.len()],
}

impl Sums {
    /// Bytes both ways.
    pub const fn octets(&self) -> u64 {
        self.sent.saturating_add(self.received)
    }

    /// Bytes both ways of one split.
    pub fn of(&self, split: Split) -> u64 {
        self.by_split.get(split as usize).copied().unwrap_or_default()
    }

    fn merge(&mut self, other: &Self) {
        self.flows += other.flows;
        self.packets += other.packets;
        self.sent += other.sent;
        self.received += other.received;
        for (sum, more) in self.by_split.iter_mut().zip(other.by_split) {
            *sum += more;
        }
    }

    fn add(&mut self, counted: Counted, split: Split, is_sender: bool) {
        self.packets += counted.packets;
        if is_sender {
            self.sent += counted.octets;
        } else {
            self.received += counted.octets;
        }
        if let Some(sum) = self.by_split.get_mut(split as usize) {
            *sum += counted.octets;
        }
    }
}

/// Sums by one thing, and over all.
#[derive(Debug, Clone)]
pub struct Summary {
    by: By,
    rows: HashMap<String, Sums>,
    /// What found no row any more.
    others: Sums,
    totals: Totals,
}

/// Sums over all flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Flows.
    pub flows: u64,
    /// Of these, flows that count nowhere because others do for them.
    pub copies: u64,
    /// Packets that count, each once.
    pub packets: u64,
    /// Bytes that count, each once.
    pub octets: u64,
    /// Bytes that count by split.
    pub by_split: [u64; Split::ALL.len()],
    /// Bytes that other points saw of the same flows.
    pub copied: u64,
    /// Bytes of tunnels, with what they carry.
    pub carried: u64,
    /// Flows of which nobody said how they were sampled.
    pub unknown_rates: u64,
}

impl Summary {
    /// Without flows.
    pub fn new(by: By) -> Self {
        Self { by, rows: HashMap::new(), others: Sums::default(), totals: Totals::default() }
    }

    /// Adds a flow of which so much counts.
    pub fn add(&mut self, flow: &Flow, counted: &[Counted; 2], places: &Places) {
        let Some((ends, split)) = self.totals.add(flow, counted, places) else { return };
        let names = self.names(flow, &ends, places);
        for (way, counted) in counted.iter().enumerate() {
            if counted.packets == 0 && counted.octets == 0 {
                continue;
            }
            match &names {
                Names::Ends([one, other]) => {
                    let (sender, receiver) = if way == 0 { (one, other) } else { (other, one) };
                    self.row(sender).add(*counted, split, true);
                    self.row(receiver).add(*counted, split, false);
                }
                Names::Whole(name) => self.row(name).add(*counted, split, way == 0),
            }
        }
        match &names {
            Names::Ends([one, other]) => {
                self.row(one).flows += 1;
                if one != other {
                    self.row(other).flows += 1;
                }
            }
            Names::Whole(name) => self.row(name).flows += 1,
        }
    }

    /// Adds what was summed elsewhere under this name; the totals are not changed.
    pub fn add_sums(&mut self, name: &str, sums: &Sums) {
        self.row(name).merge(sums);
    }

    /// Adds what was summed elsewhere without a name.
    pub fn add_others(&mut self, sums: &Sums) {
        self.others.merge(sums);
    }

    /// Sets the sums over all flows, where these were summed elsewhere.
    pub const fn set_totals(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// The rows, that with most bytes first, and what found none any more.
    pub fn rows(&self) -> (Vec<(&str, Sums)>, Sums) {
        let mut rows: Vec<_> =
            self.rows.iter().map(|(name, sums)| (name.as_str(), *sums)).collect();
        rows.sort_by(|a, b| b.1.octets().cmp(&a.1.octets()).then(a.0.cmp(b.0)));
        (rows, self.others)
    }

    /// The sums over all flows.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    fn row(&mut self, name: &str) -> &mut Sums {
        if !self.rows.contains_key(name) {
            if self.rows.len() >= MAX_ROWS {
                return &mut self.others;
            }
            self.rows.insert(name.to_owned(), Sums::default());
        }
        self.rows.get_mut(name).unwrap_or(&mut self.others)
    }

    fn names(&self, flow: &Flow, ends: &[Whereabouts<'_>; 2], places: &Places) -> Names {
        let port = flow.server_port();
        match self.by {
            By::Vms | By::Hosts | By::Tenants | By::Addresses => {
                Names::Ends([0, 1].map(|end| end_name(self.by, flow, end, ends, places)))
            }
            By::Apps => Names::Whole(flow.application.name(flow.ends.protocol, port).into_owned()),
            By::Ports => Names::Whole(match flow.ends.protocol {
                6 => format!("tcp/{port}"),
                17 => format!("udp/{port}"),
                132 => format!("sctp/{port}"),
                1 | 58 => "icmp".into(),
                protocol => format!("ip/{protocol}"),
            }),
        }
    }
}

/// Whose rows a flow counts in.
enum Names {
    /// Each end's own.
    Ends([String; 2]),
    /// One.
    Whole(String),
}

/// What an end of a flow is called.
fn end_name(
    by: By,
    flow: &Flow,
    end: usize,
    ends: &[Whereabouts<'_>; 2],
    places: &Places,
) -> String {
    let place = ends.get(end).and_then(|end| end.place());
    let machine = place.and_then(|place| places.machine(place.machine));
    let nobody = || "-".to_owned();
    match by {
        By::Hosts => place.map(|place| place.host.clone()).filter(|h| !h.is_empty()),
        By::Tenants => machine.and_then(|machine| machine.tenant.clone()),
        By::Addresses => {
            let [one, other] = flow.ends.addresses;
            Some(address(if end == 0 { one } else { other }, flow.network))
        }
        _ => machine.map(|machine| machine.label.clone()).or_else(|| {
            let [one, other] = flow.ends.addresses;
            Some(address(if end == 0 { one } else { other }, flow.network))
        }),
    }
    .unwrap_or_else(nobody)
}

/// An address, with its network where that is named: others use it too.
fn address(ip: IpAddr, network: Network) -> String {
    if network.is_unnamed() { ip.to_string() } else { format!("{ip} in {network}") }
}

impl Totals {
    /// Adds a flow; says where its ends are and what it is, if anything of it counts.
    fn add<'p>(
        &mut self,
        flow: &Flow,
        counted: &[Counted; 2],
        places: &'p Places,
    ) -> Option<([Whereabouts<'p>; 2], Split)> {
        let ratio = flow.rate.ratio;
        let seen: u64 = flow.ways().iter().map(|way| ratio.scale(way.octets)).sum();
        let octets: u64 = counted.iter().map(|counted| counted.octets).sum();
        let packets: u64 = counted.iter().map(|counted| counted.packets).sum();
        self.flows += 1;
        self.unknown_rates += u64::from(flow.rate == wire::export::Rate::UNKNOWN);
        self.copied += seen.saturating_sub(octets);
        if octets == 0 && packets == 0 {
            self.copies += 1;
            return None;
        }
        if flow.is_carrier {
            self.carried += octets;
            return None;
        }
        let ends = places.ends(flow, flow.start());
        let split = places.split(flow, &ends, flow.start());
        self.packets += packets;
        self.octets += octets;
        if let Some(sum) = self.by_split.get_mut(split as usize) {
            *sum += octets;
        }
        Some((ends, split))
    }
}

/// Who talks to whom: sums by two ends.
#[derive(Debug, Clone)]
pub struct Matrix {
    by: By,
    cells: HashMap<(String, String), PairSums>,
    /// What found no cell any more.
    others: PairSums,
    totals: Totals,
}

/// What goes between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairSums {
    /// Flows with something that counts.
    pub flows: u64,
    /// Packets both ways.
    pub packets: u64,
    /// Bytes from the first to the second, and back.
    pub octets: [u64; 2],
    /// Bytes both ways by split.
    pub by_split: [u64; Split::ALL.len()],
}

impl PairSums {
    fn merge(&mut self, other: &Self) {
        self.flows += other.flows;
        self.packets += other.packets;
        let counts = self.octets.iter_mut().chain(&mut self.by_split);
        for (sum, more) in counts.zip(other.octets.iter().chain(&other.by_split)) {
            *sum += more;
        }
    }
}

impl Matrix {
    /// Without flows, by machines, hosts or tenants.
    pub fn new(by: By) -> Self {
        Self { by, cells: HashMap::new(), others: PairSums::default(), totals: Totals::default() }
    }

    /// Adds a flow of which so much counts.
    pub fn add(&mut self, flow: &Flow, counted: &[Counted; 2], places: &Places) {
        let Some((ends, split)) = self.totals.add(flow, counted, places) else { return };
        let [one, other] = [0, 1].map(|end| end_name(self.by, flow, end, &ends, places));
        // By name, so that both directions of a conversation are in one row.
        let is_swapped = other < one;
        let pair = if is_swapped { (other, one) } else { (one, other) };
        let cell = bounded(&mut self.cells, pair, &mut self.others);
        cell.flows += 1;
        for (way, counted) in counted.iter().enumerate() {
            cell.packets += counted.packets;
            let [there, back] = &mut cell.octets;
            *(if (way == 1) == is_swapped { there } else { back }) += counted.octets;
            if let Some(sum) = cell.by_split.get_mut(split as usize) {
                *sum += counted.octets;
            }
        }
    }

    /// Adds what was summed elsewhere between these two; the totals are not changed.
    pub fn add_sums(&mut self, [one, other]: [&str; 2], sums: &PairSums) {
        let mut sums = *sums;
        let is_swapped = other < one;
        if is_swapped {
            sums.octets.reverse();
        }
        let pair = if is_swapped { [other, one] } else { [one, other] };
        let pair = pair.map(str::to_owned);
        bounded(&mut self.cells, pair.into(), &mut self.others).merge(&sums);
    }

    /// Adds what was summed elsewhere without names.
    pub fn add_others(&mut self, sums: &PairSums) {
        self.others.merge(sums);
    }

    /// Sets the sums over all flows, where these were summed elsewhere.
    pub const fn set_totals(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// The pairs, that with most bytes first, and what found no place any more.
    pub fn pairs(&self) -> (Vec<([&str; 2], PairSums)>, PairSums) {
        let cells = self.cells.iter();
        let mut pairs: Vec<_> =
            cells.map(|((one, other), sums)| ([one.as_str(), other.as_str()], *sums)).collect();
        let octets = |sums: &PairSums| sums.octets.iter().sum::<u64>();
        pairs.sort_by(|a, b| octets(&b.1).cmp(&octets(&a.1)).then(a.0.cmp(&b.0)));
        (pairs, self.others)
    }

    /// The sums over all flows.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }
}

/// The entry of `key`, or `others` if there is no room for one.
fn bounded<'a, K: Eq + Hash, V: Default>(
    map: &'a mut HashMap<K, V>,
    key: K,
    others: &'a mut V,
) -> &'a mut V {
    if map.len() >= MAX_ROWS && !map.contains_key(&key) {
        return others;
    }
    map.entry(key).or_default()
}

/// More rows nobody reads; they take some 100 MB.
const MAX_ROWS: usize = 1 << 18;
