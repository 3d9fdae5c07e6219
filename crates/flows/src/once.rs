//! Counting once: one flow is seen at several observation points, and one of them counts.
//!
//! Two sightings are of one flow if both ends are the same machines, or have the same addresses in
//! the same network, with the same ports, at the same time. The best point that saw it counts, and
//! another one only for the time in which the better ones saw nothing. What does not count stays as
//! evidence and says what it is a copy of.

use std::collections::HashMap;
use std::net::IpAddr;

use wire::export::RateOrigin;
use wire::{Mac, PointId};

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
    let mut counted: Vec<[Counted; 2]> =
        flows.iter().map(|flow| flow.ways().map(|way| all_of(flow, way))).collect();
    let is_one_point =
        flows.iter().all(|flow| flow.point == flows.first().map_or(PointId(0), |f| f.point));
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
    for sightings in groups.values() {
        choose(sightings, &mut counted);
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

/// Goes through the sightings of one flow in one direction and takes away what others have counted.
fn choose(sightings: &[Sighting], counted: &mut [[Counted; 2]]) {
    let Some(first) = sightings.first() else { return };
    if sightings.iter().all(|sighting| sighting.point == first.point) {
        return;
    }
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
    let mut covered: Vec<(u64, u64, PointId)> = Vec::new();
    for (_, _, point) in points {
        let own = sightings.iter().filter(|sighting| sighting.point == point);
        let mut new = Vec::new();
        for sighting in own {
            let (share, copy_of) = sighting.uncovered(&covered);
            if let Some(counted) =
                counted.get_mut(sighting.flow).and_then(|ways| ways.get_mut(sighting.way))
                && let Some(copy_of) = copy_of
            {
                counted.octets = share.of(counted.octets);
                counted.packets = share.of(counted.packets);
                counted.copy_of = Some(copy_of);
            }
            new.push((
                sighting.from.saturating_sub(SLACK_NANOS),
                sighting.to.saturating_add(SLACK_NANOS),
                point,
            ));
        }
        covered.extend(new);
    }
}

impl Sighting {
    /// The share of its time that nobody covers, and who covers most of the rest.
    fn uncovered(&self, covered: &[(u64, u64, PointId)]) -> (Share, Option<PointId>) {
        let mut spans: Vec<(u64, u64, PointId)> = covered
            .iter()
            .map(|(from, to, point)| (self.from.max(*from), self.to.min(*to), *point))
            .filter(|(from, to, _)| from <= to)
            .collect();
        // Of those that cover equally much the first, which is the best point.
        let longest = spans.iter().map(|(from, to, _)| to - from).max();
        let copy_of = spans.iter().find(|(from, to, _)| Some(to - from) == longest);
        let copy_of = copy_of.map(|(_, _, point)| *point);
        spans.sort_unstable();
        let (mut open, mut sum) = (self.from, 0);
        for (from, to, _) in spans {
            sum += from.saturating_sub(open);
            open = open.max(to);
        }
        sum += self.to.saturating_sub(open);
        let whole = self.to - self.from;
        // Seen together from beginning to end, but for what clocks differ.
        let is_covered = copy_of.is_some() && sum <= whole / 50;
        let share =
            if is_covered { Share { part: 0, whole: 1 } } else { Share { part: sum, whole } };
        (share, copy_of)
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
