//! Counting once: one flow is seen at several observation points, and one of them counts.
//!
//! Two sightings are of one flow if both ends are the same machines, or have the same addresses in
//! the same network, with the same ports, at the same time. The best point that saw it counts, and
//! another one only for the time in which the better ones saw nothing. What does not count stays as
//! evidence and says what it is a copy of.

use std::collections::HashMap;
use std::net::IpAddr;

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
    count(flows, points, places, None)
}

/// What has counted already, so that a sighting that is told later does not count again.
///
/// Exporters tell of one flow at different times: one every five seconds, another when it is over.
/// Some 100 bytes for each direction of a flow, at most [`Evidence::MOST`] of them.
#[derive(Debug, Default)]
pub struct Evidence {
    spans: HashMap<Key, Vec<Covered>>,
    len: usize,
    /// How often what was remembered had to be given up for want of room.
    overflows: u64,
}

/// When a point has counted a flow, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Covered {
    from: u64,
    to: u64,
    point: PointId,
}

impl Evidence {
    /// How many spans of time are remembered.
    pub const MOST: usize = 1 << 20;

    /// Like [`count_once`], but nothing counts that has counted before, and what counts now is
    /// remembered.
    pub fn count(
        &mut self,
        flows: &[Flow],
        points: &[Point],
        places: &Places,
    ) -> Vec<[Counted; 2]> {
        count(flows, points, places, Some(self))
    }

    /// Forgets what ended before `time`: of that nothing comes any more.
    pub fn forget(&mut self, time: Timestamp) {
        self.spans.retain(|_, spans| {
            spans.retain(|span| span.to >= time.as_nanos());
            !spans.is_empty()
        });
        self.len = self.spans.values().map(Vec::len).sum();
    }

    /// How often there was no room, and all was forgotten.
    pub const fn overflows(&self) -> u64 {
        self.overflows
    }

    fn of(&self, key: &Key) -> &[Covered] {
        self.spans.get(key).map_or(&[], Vec::as_slice)
    }

    fn remember(&mut self, key: Key, new: &[Covered]) {
        if self.len + new.len() > Self::MOST {
            self.spans.clear();
            self.len = 0;
            self.overflows += 1;
        }
        let spans = self.spans.entry(key).or_default();
        for span in new {
            // A flow that goes on is told in pieces; together they are one span.
            let before = spans.iter_mut().rev().find(|known| known.point == span.point);
            match before {
                Some(before) if span.from <= before.to.saturating_add(SLACK_NANOS) => {
                    before.from = before.from.min(span.from);
                    before.to = before.to.max(span.to);
                }
                _ => {
                    spans.push(*span);
                    self.len += 1;
                }
            }
        }
    }
}

fn count(
    flows: &[Flow],
    points: &[Point],
    places: &Places,
    mut evidence: Option<&mut Evidence>,
) -> Vec<[Counted; 2]> {
    let mut counted: Vec<[Counted; 2]> =
        flows.iter().map(|flow| flow.ways().map(|way| all_of(flow, way))).collect();
    let is_one_point = match evidence {
        Some(_) => points.len() <= 1,
        None => flows.iter().all(|f| f.point == flows.first().map_or(PointId(0), |f| f.point)),
    };
    if is_one_point {
        return counted;
    }
    let named = NamedNetworks::of(flows);
    let mut groups: HashMap<Key, Vec<Sighting>> = HashMap::new();
    for (number, flow) in flows.iter().enumerate() {
        let ends = places.ends(flow, flow.start());
        for (way, counts) in flow.ways().into_iter().enumerate() {
            if counts.packets == 0 && counts.octets == 0 {
                continue;
            }
            let key = Key::of(flow, way, &ends, &named);
            let sighting = Sighting {
                flow: number,
                way,
                point: flow.point,
                rank: rank(flow, points, way, &ends),
                from: counts.first.as_nanos(),
                to: counts.last.as_nanos(),
                packets: flow.rate.ratio.scale(counts.packets),
            };
            groups.entry(key).or_default().push(sighting);
        }
    }
    for (key, sightings) in groups {
        match &mut evidence {
            Some(evidence) => {
                let new = choose(&sightings, evidence.of(&key), &mut counted);
                evidence.remember(key, &new);
            }
            None => {
                choose(&sightings, &[], &mut counted);
            }
        }
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
    Rank { sampling, place }
}

/// Goes through the sightings of one flow in one direction and takes away what others have counted,
/// also `before`. Says when this flow counted now.
fn choose(
    sightings: &[Sighting],
    before: &[Covered],
    counted: &mut [[Counted; 2]],
) -> Vec<Covered> {
    // The best point first; of equal ones the one that saw most, then the one that came first.
    let mut points: Vec<(Rank, std::cmp::Reverse<u64>, PointId)> = Vec::new();
    for sighting in sightings {
        match points.iter_mut().find(|(_, _, point)| *point == sighting.point) {
            Some((rank, packets, _)) => {
                *rank = sighting.rank.min(*rank);
                packets.0 += sighting.packets;
            }
            None => {
                points.push((sighting.rank, std::cmp::Reverse(sighting.packets), sighting.point));
            }
        }
    }
    points.sort_unstable();
    let mut covered: Vec<Covered> = before.to_vec();
    let mut new = Vec::new();
    for (_, _, point) in points {
        let own = sightings.iter().filter(|sighting| sighting.point == point);
        let others = covered.len();
        for sighting in own {
            let by_others = covered.iter().take(others).filter(|span| span.point != point);
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
            covered.push(Covered { from: sighting.from, to: sighting.to, point });
        }
    }
    new
}

impl Covered {
    /// The part of `from` to `to` in which this counted, with what clocks may differ.
    fn within(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let start = self.from.saturating_sub(SLACK_NANOS).max(from);
        let end = self.to.saturating_add(SLACK_NANOS).min(to);
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
    /// The share of its time that nobody covers, and who covers most of the rest.
    fn uncovered<'a>(&self, covered: impl Iterator<Item = &'a Covered>) -> Uncovered {
        let mut spans: Vec<(u64, u64, PointId)> = covered
            .filter_map(|span| {
                let (from, to) = span.within(self.from, self.to)?;
                Some((from, to, span.point))
            })
            .collect();
        let whole = self.to - self.from;
        if spans.is_empty() {
            let share = Share { part: whole, whole };
            return Uncovered { share, copy_of: None, gaps: vec![(self.from, self.to)] };
        }
        // Of those that cover equally much the first, which is the best point.
        let longest = spans.iter().map(|(from, to, _)| to - from).max();
        let copy_of = spans.iter().find(|(from, to, _)| Some(to - from) == longest);
        let copy_of = copy_of.map(|(_, _, point)| *point);
        spans.sort_unstable();
        let mut gaps = Vec::new();
        let mut open = self.from;
        for (from, to, _) in spans {
            if from > open {
                gaps.push((open, from));
            }
            open = open.max(to);
        }
        if self.to > open {
            gaps.push((open, self.to));
        }
        let sum: u64 = gaps.iter().map(|(from, to)| to - from).sum();
        // Seen together from beginning to end, but for what clocks differ.
        if sum <= whole / 50 {
            return Uncovered { share: Share { part: 0, whole: 1 }, copy_of, gaps: Vec::new() };
        }
        Uncovered { share: Share { part: sum, whole }, copy_of, gaps }
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
    fn of(flows: &[Flow]) -> Self {
        let mut named: HashMap<_, Option<Network>> = HashMap::new();
        for flow in flows.iter().filter(|flow| !flow.network.is_unnamed()) {
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
