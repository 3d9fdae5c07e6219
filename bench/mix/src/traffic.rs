//! The traffic of the site, packet by packet in the order of time, with the truth about each.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::flow::{End, Flow, Path};
use crate::frame::{Frame, Inner, Route, Shape, Underlay};
use crate::random::Random;
use crate::site::{self, Carrier, GATEWAY_MAC, Network, Point, Vm};
use crate::truth::{Kind, Truth};

/// A packet as one observation point saw it.
#[derive(Debug)]
pub struct Sighting {
    /// Microseconds since the epoch.
    pub time_us: u64,
    pub point: Point,
    pub frame: Frame,
    pub truth: Truth,
}

/// An endless source of sightings.
pub struct Traffic {
    random: Random,
    flows: Vec<Flow>,
    /// The first of them talk as much as all others together.
    busy: u64,
    underlay: Underlay,
    now_us: u64,
    ids: u64,
    pending: BinaryHeap<Reverse<Pending>>,
    order: u64,
    emitted: u32,
    /// Number of the first sighting, for each packet that has further ones, and how many.
    kept: HashMap<u64, (u32, u8)>,
}

/// A sighting to come.
struct Pending {
    time_us: u64,
    order: u64,
    instance: Option<Instance>,
    point: Point,
    frame: Frame,
    truth: Truth,
}

/// One packet that is seen several times.
#[derive(Debug, Clone, Copy)]
struct Instance {
    id: u64,
    sightings: u8,
}

/// A place a packet comes by: when, where, and how it looks there.
struct Stop {
    after_us: u64,
    point: Point,
    shape: Shape,
    what: What,
}

/// What there is to be seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Packet,
    Routed,
    Late,
    Twin,
}

impl Traffic {
    /// `has_points` says whether the capture tells observation points apart.
    pub fn new(seed: u64, flows: u64, has_points: bool) -> Self {
        let mut random = Random::new(seed);
        // Every VM has a flow; what is nobody's is 7 in 100.
        let mut flows = (0..flows.max(u64::from(site::VMS) * 11 / 10))
            .map(|n| match u16::try_from(n) {
                _ if n % 100 >= 93 => Flow::of_nobody(&mut random),
                Ok(n) if n < site::VMS => Flow::of_vm(Vm(n), &mut random, has_points),
                _ => Flow::of_vm(some_vm(&mut random), &mut random, has_points).without_arp(),
            })
            .collect::<Vec<_>>();
        // VMs whose own flow fell to nobody get theirs at the end.
        for n in (0..site::VMS).filter(|n| n % 100 >= 93) {
            flows.push(Flow::of_vm(Vm(n), &mut random, has_points));
        }
        for at in (1..flows.len()).rev() {
            flows.swap(at, random.below(at as u64 + 1) as usize);
        }
        let busy = flows.len() as u64 / 10;
        Self {
            random,
            flows,
            busy,
            underlay: Underlay::default(),
            now_us: 1_700_000_000_000_000,
            ids: 0,
            pending: BinaryHeap::new(),
            order: 0,
            emitted: 0,
            kept: HashMap::new(),
        }
    }

    /// The next sighting; there is always one.
    pub fn next(&mut self) -> Sighting {
        while self.pending.peek().is_none_or(|Reverse(first)| first.time_us >= self.now_us) {
            self.make_packet();
            // Half a million packets a second.
            self.now_us += self.random.below(5);
        }
        let Some(Reverse(next)) = self.pending.pop() else { unreachable!("one was just seen") };
        self.emit(next)
    }

    fn emit(&mut self, next: Pending) -> Sighting {
        let number = self.emitted;
        self.emitted += 1;
        let mut truth = next.truth;
        if let Some(Instance { id, sightings }) = next.instance {
            let (first, left) = self.kept.entry(id).or_insert((number, sightings));
            *left -= 1;
            if *first != number {
                truth.kept = Some(*first);
            }
            if *left == 0 {
                self.kept.remove(&id);
            }
        }
        Sighting { time_us: next.time_us, point: next.point, frame: next.frame, truth }
    }

    /// One packet with everything that comes of it.
    fn make_packet(&mut self) {
        let count = self.flows.len() as u64;
        let among = if self.random.per_mille(500) { self.busy } else { count };
        let index = self.random.below(among) as usize;
        let Some(mut flow) = self.flows.get(index).cloned() else { return };
        let is_back = flow.direction(&mut self.random);
        self.ids += 1;
        let inner = flow.packet(is_back, self.ids, &mut self.random);
        self.schedule(&flow, is_back, &inner, self.now_us, Kind::First);
        if self.random.per_mille(15) && !matches!(flow.path, Path::Twin | Path::Late) {
            let renumbered =
                if self.random.per_mille(500) { flow.renumbered(&inner, is_back) } else { None };
            // Within the window of any sensible deduplication, or long after. What a mirror holds
            // back as long as that is repeated after it only.
            let is_soon = !matches!(flow.path, Path::UplinkAndMirror(_));
            let wait_us = if is_soon && self.random.per_mille(500) {
                self.random.between(50, 3000)
            } else {
                self.random.between(10_000, 60_000)
            };
            let again = renumbered.as_ref().unwrap_or(&inner);
            self.schedule(&flow, is_back, again, self.now_us + wait_us, Kind::Again);
        }
        if let Some(slot) = self.flows.get_mut(index) {
            *slot = flow;
        }
    }

    /// Puts the sightings of one packet into the time to come.
    fn schedule(&mut self, flow: &Flow, is_back: bool, inner: &Inner, at_us: u64, kind: Kind) {
        let (from, to) = flow.ends(is_back);
        let host = host(from, to);
        let stops = self.stops(flow, host);
        let copies = stops.iter().filter(|stop| matches!(stop.what, What::Packet | What::Routed));
        let sightings = copies.count() as u8;
        self.order += 1;
        let instance = Some(Instance { id: self.order, sightings }).filter(|_| sightings > 1);
        let vif = |end| if let End::Vm(vm) = end { vm.0 + 1 } else { 0 };
        let route = Route { from: host, hash: flow.hash, from_vif: vif(from), to_vif: vif(to) };
        let mut carried: Option<Frame> = None;
        for Stop { after_us, point, shape, what } in stops {
            let is_group = inner.destination[0] & 1 == 1;
            let vm = |end| if let End::Vm(vm) = end { Some(vm) } else { None };
            let mut truth = Truth::new(kind, flow.network, vm(from), vm(to).filter(|_| !is_group));
            truth.is_group = is_group;
            let frame = match what {
                What::Packet | What::Late => {
                    if flow.path == Path::Routed {
                        // It goes to the router, whoever it is for.
                        truth.destination = None;
                    }
                    truth.network = truth.network.map(|network| own_network(from, network));
                    if what == What::Late {
                        truth.kind = Kind::Late;
                    }
                    let network = truth.network.unwrap_or(Network(0));
                    // Both uplinks see the very same bytes.
                    let is_carried = matches!(shape, Shape::Carried | Shape::VnTag);
                    match carried.take().filter(|_| is_carried) {
                        Some(frame) => frame,
                        None => {
                            let frame = self.underlay.wrap(inner, network, shape, route);
                            carried = is_carried.then(|| frame.clone());
                            frame
                        }
                    }
                }
                What::Routed => {
                    let End::Vm(receiver) = to else { continue };
                    (truth.source, truth.network) = (None, Some(receiver.network()));
                    let next = inner.routed(receiver.mac(), GATEWAY_MAC);
                    self.underlay.wrap(&next, receiver.network(), shape, route)
                }
                What::Twin => {
                    (truth.source, truth.destination) =
                        (truth.source.map(Vm::twin), truth.destination.map(Vm::twin));
                    let network = truth.source.or(truth.destination).map(Vm::network);
                    (truth.network, truth.kind) = (network, Kind::Twin);
                    self.underlay.wrap(inner, network.unwrap_or(Network(0)), shape, route)
                }
            };
            if flow.network.is_none() {
                (truth.source, truth.destination, truth.network) = (None, None, None);
            }
            truth.shape = shape_number(shape, truth.network);
            truth.point = point as u8;
            (truth.inner, truth.tags) = (frame.inner, frame.tags);
            self.order += 1;
            let is_copy = matches!(what, What::Packet | What::Routed);
            self.pending.push(Reverse(Pending {
                time_us: at_us + after_us,
                order: self.order,
                instance: instance.filter(|_| is_copy),
                point,
                frame,
                truth,
            }));
        }
    }

    /// Where the packets of a flow come by, in the order they do.
    fn stops(&mut self, flow: &Flow, host: u8) -> Vec<Stop> {
        let (near, far) = (Point::uplink(host), Point::uplink(host + 1));
        let (near_tap, far_tap) = (Point::span(host), Point::span(host + 1));
        let mut after_us = 0;
        let mut stop = |random: &mut Random, wait: (u64, u64), point, shape, what| {
            if wait.1 > 0 {
                after_us += random.between(wait.0, wait.1);
            }
            Stop { after_us, point, shape, what }
        };
        let random = &mut self.random;
        let mut at = |wait, point, shape, what| stop(random, wait, point, shape, what);
        // Where a tap's copy is tagged as well, the uplink must differ by more than its name.
        let is_vlan = flow.network.is_some_and(|network| network.carrier() == Carrier::Vlan);
        let carried = if is_vlan { Shape::VnTag } else { Shape::Carried };
        let now = (0, 0);
        match flow.path {
            Path::Once(shape) => {
                let point = match shape {
                    Shape::Tagged => near_tap,
                    Shape::Erspan2 { .. } | Shape::Erspan3 { .. } => Point::Mirror,
                    Shape::Carried | Shape::VnTag | Shape::Plain => near,
                };
                vec![at(now, point, shape, What::Packet)]
            }
            Path::TapAndUplink => vec![
                at(now, near_tap, Shape::Tagged, What::Packet),
                at((5, 80), near, carried, What::Packet),
            ],
            Path::UplinkAndMirror(shape) => vec![
                at(now, near, carried, What::Packet),
                at((100, 4500), Point::Mirror, shape, What::Packet),
            ],
            Path::TwoUplinks => vec![
                at(now, near, carried, What::Packet),
                at((20, 200), far, carried, What::Packet),
            ],
            Path::TwoTaps => vec![
                at(now, near_tap, Shape::Tagged, What::Packet),
                at((2, 30), far_tap, Shape::Tagged, What::Packet),
            ],
            Path::FourPoints => vec![
                at(now, near_tap, Shape::Tagged, What::Packet),
                at((5, 80), near, carried, What::Packet),
                at((20, 200), far, carried, What::Packet),
                at((5, 80), far_tap, Shape::Tagged, What::Packet),
            ],
            Path::Routed => vec![
                at(now, near, Shape::Carried, What::Packet),
                at((30, 800), far, Shape::Carried, What::Routed),
            ],
            Path::Late => vec![
                at(now, near, carried, What::Packet),
                at((6000, 9000), Point::Mirror, Shape::Erspan2 { is_tag_kept: true }, What::Late),
            ],
            Path::Twin => vec![
                at(now, near, Shape::Carried, What::Packet),
                at((10, 1000), far, Shape::Carried, What::Twin),
            ],
        }
    }
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Pending {}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time_us, self.order).cmp(&(other.time_us, other.order))
    }
}

/// The host a packet leaves from: that of its sender, or of its receiver if the sender is no VM.
fn host(from: End, to: End) -> u8 {
    match (from, to) {
        (End::Vm(vm), _) | (_, End::Vm(vm)) => vm.host(),
        (End::Server(server), _) | (_, End::Server(server)) => server,
        (End::Group, End::Group) => 0,
    }
}

/// The network a sender is in; what is no VM is in that of the flow.
fn own_network(from: End, of_flow: Network) -> Network {
    if let End::Vm(vm) = from { vm.network() } else { of_flow }
}

fn shape_number(shape: Shape, network: Option<Network>) -> u8 {
    match (shape, network) {
        (Shape::Carried, Some(network)) => network.carrier() as u8,
        (Shape::Tagged, _) | (Shape::Carried, None) => 4,
        (Shape::VnTag, _) => 5,
        (Shape::Erspan2 { .. }, _) => 6,
        (Shape::Erspan3 { .. }, _) => 7,
        (Shape::Plain, _) => 8,
    }
}

/// A VM whose network is carried as most are: nearly half of the site is VXLAN.
fn some_vm(random: &mut Random) -> Vm {
    let carrier = Carrier::ALL[random.weighted(&[47, 16, 8, 8, 21])];
    loop {
        let vm = Vm(random.below(u64::from(site::VMS)) as u16);
        if vm.network().carrier() == carrier {
            return vm;
        }
    }
}
