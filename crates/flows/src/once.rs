//! Counting once: one flow is seen at several observation points, and one of them counts.
//!
//! Two sightings are of one flow if both ends are the same machines, or have the same addresses in
//! the same network, with the same ports, at the same time. The best point that saw it counts, and
//! another one only for the time in which the better ones saw nothing. What does not count stays as
//! evidence and says what it is a copy of.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use wire::export::RateOrigin;
use wire::{Mac, PointId, Timestamp};

use crate::flow::{Flow, Way};
use crate::network::Network;
use crate::place::{MachineNumber, Places, Whereabouts};

/// An observation point.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Point {
    /// What it is called.
    pub name: String,
    /// The host it is on, where that is known.
    pub host: Option<String>,
    /// The device of that host.
    pub device: Option<String>,
}

impl Point {
    /// From the name of an interface in a capture file: what overtap itself has written there,
    /// `web-01/net0 @ hv-1:vnet3`, says host and device.
    pub fn named(name: &str) -> Self {
        let place = name.rsplit_once(" @ ").map(|(_, place)| place);
        let (host, device) = match place.map(|place| place.split_once(':').unwrap_or((place, ""))) {
            Some((host, device)) => (Some(host), Some(device).filter(|device| !device.is_empty())),
            None => (None, None),
        };
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self { name: name.to_owned(), host: owned(host), device: owned(device) }
    }
}

/// What of one direction of a flow counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Bytes, what was sampled scaled up.
    pub octets: u64,
    /// Packets, likewise.
    pub packets: u64,
    /// The point whose sighting counts instead, if this one or a part of it does not.
    pub copy_of: Option<PointId>,
}

/// Says of each direction of each flow what of it counts. `points` are by the number in the flows.
pub fn count_once(flows: &[Flow], points: &[Point], places: &Places) -> Vec<[Counted; 2]> {
    count_all(flows, points, places)
}

/// What has counted already, so that a sighting that is told later does not count again.
///
/// Exporters tell of one flow at different times: one every five seconds, another when it is over.
/// Every flow waits for a while, so that the best of those that tell of it at about the same time
/// counts and not the quickest. Whoever has counted a flow goes on counting it, so that nothing has
/// to be divided: what others tell of the time behind waits until that one has spoken. Some 150
/// bytes for each direction of a flow, at most [`Evidence::MOST`] of them.
#[derive(Debug, Default)]
pub struct Evidence {
    talks: HashMap<Key, Talk>,
    /// How long every flow waits.
    wait: Duration,
    /// How often what was remembered had to be given up for want of room.
    overflows: u64,
}

/// One direction of a flow, as it was counted so far.
#[derive(Debug)]
struct Talk {
    spans: Vec<Covered>,
    /// Who counts it, how good it is, and the longest time it was silent, in nanoseconds.
    counter: Option<(Rank, PointId, u64)>,
}

/// When a point has counted a flow, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Covered {
    from: u64,
    to: u64,
    point: PointId,
}

/// A flow that waits to be counted.
#[derive(Debug, Clone)]
pub struct Held {
    /// The flow.
    pub flow: Flow,
    /// Since when.
    pub since: Timestamp,
}

impl Evidence {
    /// How many directions of flows are remembered.
    pub const MOST: usize = 1 << 20;
    /// Without any. Every flow waits for `wait`, or until another one of the same talk has.
    pub fn new(wait: Duration) -> Self {
        Self { wait, ..Self::default() }
    }

    /// Takes the flows of which can be said what counts, and says it; those that must wait stay.
    /// Without `now` nothing waits any more.
    pub fn count(
        &mut self,
        held: &mut Vec<Held>,
        points: &[Point],
        places: &Places,
        now: Option<Timestamp>,
    ) -> (Vec<Flow>, Vec<[Counted; 2]>) {
        let is_young = |held: &Held| now.is_some_and(|now| now.since(held.since) < self.wait);
        let (mut flows, mut waiting) = (Vec::with_capacity(held.len()), Vec::new());
        if points.len() <= 1 {
            let (young, old) = held.drain(..).partition(is_young);
            *held = young;
            flows.extend(old.into_iter().map(|held: Held| held.flow));
            let counted = flows.iter().map(|f| f.ways().map(|way| all_of(f, way))).collect();
            return (flows, counted);
        }
        let named = NamedNetworks::of(held.iter().map(|held| &held.flow));
        let mut sightings = Vec::with_capacity(held.len());
        let mut leads: HashMap<Key, Lead> = HashMap::new();
        for held in held.iter() {
            let found = Sighting::of(&held.flow, points, places, &named);
            for (key, sighting) in found.iter().flatten() {
                let known = || self.talks.get(key).and_then(Talk::lead);
                let lead = leads.entry(*key);
                lead.or_insert_with(|| known().unwrap_or(Lead::of(sighting))).hear(sighting);
            }
            sightings.push(found);
        }
        // Whoever must not wait takes along what is young of the same talk, to be compared with it.
        let mut due: HashSet<Key> = HashSet::new();
        let is_ready: Vec<bool> = held
            .iter()
            .zip(&sightings)
            .map(|(held, found)| {
                let found = || found.iter().flatten();
                let waits = |now: Timestamp| {
                    let mut leads = found().filter_map(|(key, own)| Some((leads.get(key)?, own)));
                    leads.any(|(lead, own)| lead.is_awaited(own, now.since(held.since)))
                };
                let is_ready = !now.is_some_and(waits);
                if is_ready && !is_young(held) {
                    due.extend(found().map(|(key, _)| *key));
                }
                is_ready
            })
            .collect();
        let mut groups: HashMap<Key, Vec<Sighting>> = HashMap::new();
        for ((held, found), is_ready) in held.drain(..).zip(sightings).zip(is_ready) {
            let is_due =
                || !is_young(&held) || found.iter().flatten().any(|(key, _)| due.contains(key));
            if !is_ready || !is_due() {
                waiting.push(held);
                continue;
            }
            for (key, sighting) in found.into_iter().flatten() {
                let sighting = Sighting { flow: flows.len(), ..sighting };
                groups.entry(key).or_default().push(sighting);
            }
            flows.push(held.flow);
        }
        *held = waiting;
        let mut counted: Vec<[Counted; 2]> =
            flows.iter().map(|flow| flow.ways().map(|way| all_of(flow, way))).collect();
        for (key, sightings) in groups {
            self.make_room();
            let talk = self.talks.entry(key).or_insert(Talk { spans: Vec::new(), counter: None });
            let counter = talk.counter.map(|(rank, point, _)| (rank, point));
            let new = choose(&sightings, &talk.spans, counter, &mut counted);
            talk.remember(&new, &sightings);
        }
        (flows, counted)
    }

    /// Forgets what ended before `time`: of that nothing comes any more.
    pub fn forget(&mut self, time: Timestamp) {
        self.talks.retain(|_, talk| {
            talk.spans.retain(|span| span.to >= time.as_nanos());
            !talk.spans.is_empty()
        });
    }

    /// How often there was no room, and all was forgotten.
    pub const fn overflows(&self) -> u64 {
        self.overflows
    }

    fn make_room(&mut self) {
        if self.talks.len() >= Self::MOST {
            self.talks.clear();
            self.overflows += 1;
        }
    }
}

impl Talk {
    fn lead(&self) -> Option<Lead> {
        let (rank, point, longest) = self.counter?;
        let own = self.spans.iter().filter(|span| span.point == point);
        let told = own.map(|span| span.to).max().unwrap_or_default();
        Some(Lead { rank, point, is_counter: true, told, longest })
    }

    fn remember(&mut self, new: &[Covered], sightings: &[Sighting]) {
        for span in new {
            // A flow that goes on is told in pieces; together they are one span.
            let before = self.spans.iter_mut().rev().find(|known| known.point == span.point);
            match before {
                Some(before) if span.from <= before.to.saturating_add(SLACK_NANOS) => {
                    before.from = before.from.min(span.from);
                    before.to = before.to.max(span.to);
                }
                _ => self.spans.push(*span),
            }
        }
        self.spans = bounded(std::mem::take(&mut self.spans));
        let Some(most) = new.iter().max_by_key(|span| span.to - span.from) else { return };
        let own = || sightings.iter().filter(|sighting| sighting.point == most.point);
        let longest = own().map(|sighting| sighting.to - sighting.from).max().unwrap_or_default();
        let Some(rank) = own().map(|sighting| sighting.rank).min() else { return };
        self.counter = match self.counter {
            Some((known, point, before)) if point == most.point => {
                Some((known.min(rank), point, before.max(longest)))
            }
            _ => Some((rank, most.point, longest)),
        };
    }
}

/// Whose word decides about one direction of a flow: who has counted it, or who is better.
#[derive(Debug, Clone, Copy)]
struct Lead {
    rank: Rank,
    point: PointId,
    /// Whether it has counted the flow before.
    is_counter: bool,
    /// Until when it has told, in nanoseconds since 1970.
    told: u64,
    /// The longest it was silent, in nanoseconds.
    longest: u64,
}

impl Lead {
    /// How long a flow waits for the lead at least, if that has not yet spoken of its time, and at
    /// most, whatever the time-outs of the lead are.
    const PATIENCE: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(300)];

    const fn of(sighting: &Sighting) -> Self {
        let Sighting { rank, point, from, to, .. } = *sighting;
        Self { rank, point, is_counter: false, told: to, longest: to - from }
    }

    /// Takes one more sighting, that of the lead or of one which takes its place.
    fn hear(&mut self, sighting: &Sighting) {
        if sighting.point == self.point {
            self.rank = self.rank.min(sighting.rank);
            self.told = self.told.max(sighting.to);
            self.longest = self.longest.max(sighting.to - sighting.from);
        } else if sighting.rank < self.rank
            || sighting.rank == self.rank && !self.is_counter && sighting.to > self.told
        {
            *self = Self::of(sighting);
        }
    }

    /// Whether the lead may yet speak of the time of a sighting that is `age` old here: what a
    /// worse one tells of it must not count before.
    fn is_awaited(&self, sighting: &Sighting, age: Duration) -> bool {
        let is_told = sighting.to <= self.told.saturating_add(SLACK_NANOS);
        let patience =
            Duration::from_nanos(self.longest.saturating_mul(2).saturating_add(SLACK_NANOS));
        let [least, most] = Self::PATIENCE;
        sighting.point != self.point && !is_told && age < patience.clamp(least, most)
    }
}

fn count_all(flows: &[Flow], points: &[Point], places: &Places) -> Vec<[Counted; 2]> {
    let mut counted: Vec<[Counted; 2]> =
        flows.iter().map(|flow| flow.ways().map(|way| all_of(flow, way))).collect();
    let is_one_point =
        flows.iter().all(|flow| flow.point == flows.first().map_or(PointId(0), |f| f.point));
    if is_one_point {
        return counted;
    }
    let named = NamedNetworks::of(flows.iter());
    let mut groups: HashMap<Key, Vec<Sighting>> = HashMap::new();
    for (number, flow) in flows.iter().enumerate() {
        for (key, sighting) in Sighting::of(flow, points, places, &named).into_iter().flatten() {
            groups.entry(key).or_default().push(Sighting { flow: number, ..sighting });
        }
    }
    for sightings in groups.values() {
        choose(sightings, &[], None, &mut counted);
    }
    counted
}

fn all_of(flow: &Flow, way: &Way) -> Counted {
    let ratio = flow.rate.ratio;
    Counted { octets: ratio.scale(way.octets), packets: ratio.scale(way.packets), copy_of: None }
}

/// One direction of a flow at one point.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    flow: usize,
    way: usize,
    point: PointId,
    rank: Rank,
    from: u64,
    to: u64,
    packets: u64,
}

/// How good a sighting is; the least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// 0 where every packet was looked at, 1 where nobody says, then sampled ones by their rate.
    sampling: u32,
    /// From the port of who sent it to the uplink of who it was for.
    place: u8,
    /// Whether it does not know the MACs: who names them knows the frame, and counts what is in a
    /// tunnel rather than the tunnel.
    is_without_macs: bool,
}

fn rank(flow: &Flow, points: &[Point], way: usize, ends: &[Whereabouts<'_>; 2]) -> Rank {
    let ratio = flow.rate.ratio;
    let sampling = match flow.rate.origin {
        RateOrigin::Unknown => 1,
        _ if ratio.population == ratio.taken => 0,
        _ => ratio.population / ratio.taken.max(1) + 1,
    };
    let [sender, receiver] = if way == 0 { *ends } else { [ends[1], ends[0]] };
    let point = points.get(flow.point.0 as usize);
    let at = |end: Whereabouts<'_>| {
        let (place, point) = (end.place()?, point?);
        let is_host = point.host.as_ref() == Some(&place.host);
        let is_port = place.device.is_some() && point.device == place.device;
        is_host.then_some(u8::from(!is_port))
    };
    let place = at(sender).or_else(|| at(receiver).map(|place| place + 2)).unwrap_or(4);
    Rank { sampling, place, is_without_macs: flow.macs.contains(&Mac::default()) }
}

/// Goes through the sightings of one flow in one direction and takes away what others have counted,
/// also `before`. Says when this flow counted now.
fn choose(
    sightings: &[Sighting],
    before: &[Covered],
    counter: Option<(Rank, PointId)>,
    counted: &mut [[Counted; 2]],
) -> Vec<Covered> {
    // The best point first; of equal ones who has counted it before, the one that saw most, then
    // the one that came first.
    let mut own: HashMap<PointId, (Rank, u64, Vec<&Sighting>)> = HashMap::new();
    for sighting in sightings {
        let (rank, packets, all) =
            own.entry(sighting.point).or_insert((sighting.rank, 0, Vec::new()));
        *rank = sighting.rank.min(*rank);
        *packets = packets.saturating_add(sighting.packets);
        all.push(sighting);
    }
    let mut points: Vec<_> = own
        .into_iter()
        .map(|(point, (rank, packets, all))| {
            let is_new = counter.is_none_or(|(_, known)| known != point);
            ((rank, is_new, std::cmp::Reverse(packets), point), all)
        })
        .collect();
    points.sort_unstable_by_key(|(order, _)| *order);
    let mut covered: Vec<Covered> = before.to_vec();
    let mut new = Vec::new();
    for ((_, _, _, point), own) in points {
        let mut told = Vec::with_capacity(own.len());
        for sighting in own {
            let by_others = covered.iter().filter(|span| span.point != point);
            let Uncovered { share, copy_of, gaps } = sighting.uncovered(by_others);
            if let Some(counted) =
                counted.get_mut(sighting.flow).and_then(|ways| ways.get_mut(sighting.way))
                && let Some(copy_of) = copy_of
            {
                counted.octets = share.of(counted.octets);
                counted.packets = share.of(counted.packets);
                counted.copy_of = Some(copy_of);
            }
            new.extend(gaps.into_iter().map(|(from, to)| Covered { from, to, point }));
            told.push(Covered { from: sighting.from, to: sighting.to, point });
        }
        covered.extend(merged(told));
        covered = bounded(covered);
    }
    new
}

/// The spans of one point, those that follow one another as one.
fn merged(mut spans: Vec<Covered>) -> Vec<Covered> {
    spans.sort_unstable_by_key(|span| (span.from, span.to));
    let mut merged: Vec<Covered> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.from <= last.to.saturating_add(SLACK_NANOS) => {
                last.to = last.to.max(span.to);
            }
            _ => merged.push(span),
        }
    }
    bounded(merged)
}

/// So many spans that looking at each for every sighting would take for ever are one: what is told
/// of one flow in more pieces apart was made up.
fn bounded(spans: Vec<Covered>) -> Vec<Covered> {
    let from = spans.iter().map(|span| span.from).min();
    let to = spans.iter().map(|span| span.to).max();
    match (from, to, spans.first()) {
        (Some(from), Some(to), Some(Covered { point, .. })) if spans.len() > MOST_SPANS => {
            vec![Covered { from, to, point: *point }]
        }
        _ => spans,
    }
}

impl Covered {
    /// The part of `from` to `to` in which this counted, with what clocks may differ.
    fn within(&self, from: u64, to: u64, slack: u64) -> Option<(u64, u64)> {
        let start = self.from.saturating_sub(slack).max(from);
        let end = self.to.saturating_add(slack).min(to);
        (start <= end).then_some((start, end))
    }
}

/// What of a sighting nobody else has counted.
struct Uncovered {
    share: Share,
    /// Who counted most of the rest.
    copy_of: Option<PointId>,
    /// When it counts.
    gaps: Vec<(u64, u64)>,
}

impl Sighting {
    /// The two directions of a flow, those that have packets, with what tells that others are of
    /// the same.
    fn of(
        flow: &Flow,
        points: &[Point],
        places: &Places,
        named: &NamedNetworks,
    ) -> [Option<(Key, Self)>; 2] {
        let ends = places.ends(flow, flow.start());
        let [there, back] = flow.ways();
        [(0, there), (1, back)].map(|(way, counts)| {
            if counts.packets == 0 && counts.octets == 0 {
                return None;
            }
            let key = Key::of(flow, way, &ends, named);
            let sighting = Self {
                flow: 0,
                way,
                point: flow.point,
                rank: rank(flow, points, way, &ends),
                from: counts.first.as_nanos(),
                to: counts.last.max(counts.first).as_nanos(),
                packets: flow.rate.ratio.scale(counts.packets),
            };
            Some((key, sighting))
        })
    }

    /// The share of its time that nobody covers, and who covers most of the rest.
    ///
    /// Clocks differ, and some exporters tell whole seconds: where others begin or end up to
    /// [`SLACK_NANOS`] away from this one, that is no time of its own. What is longer counts from
    /// where the others really end, so that nothing falls between two that follow one another.
    fn uncovered<'a>(&self, covered: impl Iterator<Item = &'a Covered>) -> Uncovered {
        let (from, to) = (self.from, self.to);
        let near: Vec<&Covered> =
            covered.filter(|span| span.within(from, to, SLACK_NANOS).is_some()).collect();
        let whole = to - from;
        if near.is_empty() {
            let share = Share { part: whole, whole };
            return Uncovered { share, copy_of: None, gaps: vec![(from, to)] };
        }
        let spans = |slack| near.iter().filter_map(move |span| span.within(from, to, slack));
        let beyond = self.gaps(spans(SLACK_NANOS).collect());
        let mut gaps = self.gaps(spans(0).collect());
        gaps.retain(|gap| beyond.iter().any(|own| own.0 < gap.1 && gap.0 < own.1));
        // Of those that cover equally much the first, which is the best point.
        let length = |span: &Covered| span.within(from, to, SLACK_NANOS).map(|(a, b)| b - a);
        let longest = near.iter().map(|span| length(span)).max();
        let copy_of = near.iter().find(|span| Some(length(span)) == longest);
        let copy_of = copy_of.map(|span| span.point);
        let sum: u64 = gaps.iter().map(|(from, to)| to - from).sum();
        // Seen together from beginning to end, but for what clocks differ.
        if sum <= whole / 50 {
            return Uncovered { share: Share { part: 0, whole: 1 }, copy_of, gaps: Vec::new() };
        }
        let copy_of = copy_of.filter(|_| sum < whole);
        Uncovered { share: Share { part: sum, whole }, copy_of, gaps }
    }

    /// What of its time is in none of these spans.
    fn gaps(&self, mut spans: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
        spans.sort_unstable();
        let mut gaps = Vec::new();
        let mut open = self.from;
        for (from, to) in spans {
            if from > open {
                gaps.push((open, from));
            }
            open = open.max(to);
        }
        if self.to > open {
            gaps.push((open, self.to));
        }
        gaps
    }
}

/// A part of a whole.
#[derive(Debug, Clone, Copy)]
struct Share {
    part: u64,
    whole: u64,
}

impl Share {
    fn of(self, count: u64) -> u64 {
        if self.whole == 0 {
            return count;
        }
        let share = u128::from(count) * u128::from(self.part) / u128::from(self.whole);
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

/// What makes sightings those of one flow: who sends to whom, by which ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    machines: [Option<MachineNumber>; 2],
    addresses: [IpAddr; 2],
    ports: [u16; 2],
    protocol: u8,
    network: Network,
    is_carrier: bool,
}

impl Key {
    fn of(flow: &Flow, way: usize, ends: &[Whereabouts<'_>; 2], named: &NamedNetworks) -> Self {
        let talk = if way == 0 { flow.ends } else { flow.ends.reversed() };
        let mut machines = ends.map(|end| end.place().map(|place| place.machine));
        if way == 1 {
            machines.reverse();
        }
        // Of a machine the inventory knows the networks: it is the same one in any of them.
        let network = match machines {
            [None, None] => named.network(flow),
            _ => Network::NONE,
        };
        Self {
            machines,
            addresses: talk.addresses,
            ports: talk.ports,
            protocol: talk.protocol,
            network,
            is_carrier: flow.is_carrier,
        }
    }
}

/// The names of networks by who talks in them: on a vSwitch a frame may have none, on the uplink
/// one, and it is the same frame if both ends' MACs and addresses are.
struct NamedNetworks(HashMap<Talkers, Option<Network>>);

/// MACs, addresses and ports of both ends, in one order for both directions.
type Talkers = ([Mac; 2], [IpAddr; 2], [u16; 2]);

impl NamedNetworks {
    fn of<'a>(flows: impl Iterator<Item = &'a Flow>) -> Self {
        let mut named: HashMap<_, Option<Network>> = HashMap::new();
        for flow in flows.filter(|flow| !flow.network.is_unnamed()) {
            let network = named.entry(Self::key(flow)).or_insert(Some(flow.network));
            // Of two names nobody knows which one is meant.
            if *network != Some(flow.network) {
                *network = None;
            }
        }
        Self(named)
    }

    fn network(&self, flow: &Flow) -> Network {
        if !flow.network.is_unnamed() || flow.macs == [Mac::default(); 2] {
            return flow.network;
        }
        self.0.get(&Self::key(flow)).copied().flatten().unwrap_or(flow.network)
    }

    fn key(flow: &Flow) -> Talkers {
        let one = (flow.macs, flow.ends.addresses, flow.ends.ports);
        let ([a, b], ends) = (flow.macs, flow.ends.reversed());
        one.min(([b, a], ends.addresses, ends.ports))
    }
}

/// How far the clocks of two points may be apart, and what one sees later than the other.
const SLACK_NANOS: u64 = 1_000_000_000;
/// Spans of one direction of a flow that are known apart.
const MOST_SPANS: usize = 8192;
