//! Packets of a pipe into flows, and flows into sums, as they come.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use capture::Input;
use flows::{Counted, EndReason, Flow, Meter, Network, NvgreSubnets, Places, Point, Row, Timeouts};
use inventory::History;
use plan::Names;
use screen::{Snapshot, Tally, Traffic};
use select::Filter;
use wire::file::Item;
use wire::{Layers, TunnelPorts};

/// What a thread counts and others look at.
#[derive(Clone)]
pub(crate) struct Metering(Arc<Mutex<Counting>>);

/// What was seen up to a moment.
pub(crate) struct Seen {
    /// Frames at the points, of any kind, those that no expression took excepted.
    pub(crate) frames: Traffic,
    /// Packets of them that are in no talk: not IP, or inside what cannot be read.
    pub(crate) without_talk: u64,
    /// Who talks to whom.
    pub(crate) snapshot: Snapshot,
}

struct Counting {
    meter: Meter,
    tally: Tally,
    frames: Traffic,
    sight: Sight,
    ports: TunnelPorts,
    ticked: Instant,
}

/// What is known beside the packets.
#[derive(Default)]
struct Sight {
    /// All machines.
    history: History,
    /// The same, for telling who talks.
    places: Places,
    /// What is counted; everything if it is empty.
    expression: String,
    /// For each of the points what that means there, where it means anything.
    filters: Vec<Option<Filter>>,
    /// Where packets are seen.
    points: Vec<Point>,
    /// The same by their devices.
    ports: HashMap<String, Vec<Point>>,
    /// The network that a vNIC was in when one was last known, by its label.
    known: HashMap<String, Network>,
    /// For each of the points the network that everything there is in, if it is a port in one.
    networks: Vec<Option<Network>>,
}

impl Metering {
    /// Reads captured packets from `pipe` until it ends, in a thread of its own.
    pub(super) fn begin(pipe: impl Read + Send + 'static) -> io::Result<Self> {
        let metering = Self(Arc::new(Mutex::new(Counting::new())));
        let counting = metering.clone();
        thread::Builder::new().name("metering".into()).spawn(move || counting.read(pipe))?;
        Ok(metering)
    }

    /// Where machines are from now on.
    pub(crate) fn set_history(&self, history: History) {
        let mut counting = self.lock();
        let sight = &mut counting.sight;
        sight.places = Places::new(&history);
        sight.history = history;
        sight.settle();
    }

    /// Counts only what this expression takes, from now on and from nothing; everything if it is
    /// empty.
    pub(crate) fn set_expression(&self, expression: &str) {
        let mut counting = self.lock();
        let mut sight = std::mem::take(&mut counting.sight);
        expression.trim().clone_into(&mut sight.expression);
        sight.settle();
        *counting = Counting { sight, ..Counting::new() };
    }

    /// What was seen until now; rates are of the time since the last call and some before.
    pub(crate) fn tick(&self) -> Seen {
        self.lock().tick()
    }

    fn read(&self, pipe: impl Read + Send + 'static) {
        // A capture that ended before it began has said why on its own.
        let Ok(mut input) = Input::from_read(Path::new("the capture"), pipe) else { return };
        let mut layers = Layers::empty();
        while let Ok(Some(item)) = input.next() {
            match item {
                Item::Interface(interface) => {
                    let name = interface.name().map(|name| name.to_str().into_owned());
                    self.lock().add_point(interface.point.0, &name.unwrap_or_default());
                }
                Item::Record(record) => self.lock().take(&record.packet, &mut layers),
                _ => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counting> {
        // Counts that a panic left half done are still counts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counting {
    fn new() -> Self {
        // Flows are cut at each tick; none has to wait for a time-out.
        let timeouts = Timeouts { flows: MOST_FLOWS, ..Timeouts::default() };
        Self {
            meter: Meter::new(timeouts, NvgreSubnets::default()),
            tally: Tally::default(),
            frames: Traffic::default(),
            sight: Sight::default(),
            ports: TunnelPorts::default(),
            ticked: Instant::now(),
        }
    }

    fn add_point(&mut self, number: u32, name: &str) {
        let number = number as usize;
        if number >= MOST_POINTS {
            return;
        }
        let points = &mut self.sight.points;
        if points.len() <= number {
            points.resize(number + 1, Point::default());
        }
        if let Some(point) = points.get_mut(number) {
            *point = Point::named(name);
        }
        self.sight.settle();
    }

    fn take(&mut self, packet: &wire::Packet<'_>, layers: &mut Layers) {
        layers.fill(packet.link, packet.data, &self.ports);
        if !self.sight.wants(packet, layers) {
            return;
        }
        self.frames.add(1, u64::from(packet.wire_len));
        let Self { meter, tally, sight, .. } = self;
        meter.take(packet, layers, &mut |flow| sight.add(flow, tally));
    }

    fn tick(&mut self) -> Seen {
        let elapsed = self.ticked.elapsed().max(Duration::from_millis(1));
        self.ticked = Instant::now();
        let Self { meter, tally, sight, .. } = self;
        meter.finish(EndReason::Active, &mut |flow| sight.add(flow, tally));
        tally.tick(elapsed);
        self.frames.tick(elapsed);
        let counters = self.meter.counters();
        Seen {
            frames: self.frames,
            without_talk: counters.not_ip + counters.hidden,
            snapshot: self.tally.snapshot(),
        }
    }
}

impl Sight {
    fn wants(&self, packet: &wire::Packet<'_>, layers: &Layers) -> bool {
        if self.expression.is_empty() {
            return true;
        }
        let filter = self.filters.get(packet.point.0 as usize).and_then(Option::as_ref);
        filter.is_some_and(|filter| filter.matches(packet, layers))
    }

    /// What the expression means at each point: at a VM's own port its name is every packet there,
    /// and that of another one is told by what the frames do not say themselves.
    fn understand(&self) -> Vec<Option<Filter>> {
        if self.expression.is_empty() {
            return Vec::new();
        }
        let names = Names::new(&self.history);
        let understood = self.points.iter().map(|point| {
            let filter = match names.at_point(&point.name) {
                Some(at_point) => Filter::parse_with(&self.expression, &at_point),
                None => Filter::parse_with(&self.expression, &names),
            };
            // It was checked as it was typed; a machine that went meanwhile names nothing.
            filter.ok()
        });
        understood.collect()
    }

    /// Adds what counts of a flow.
    fn add(&self, mut flow: Flow, tally: &mut Tally) {
        // The outside of a tunnel is the flows in it once more.
        if flow.is_carrier {
            return;
        }
        // Two tenants may use the same addresses and MACs; the port tells them apart.
        if flow.network.is_unnamed()
            && let Some(Some(network)) = self.networks.get(flow.point.0 as usize)
        {
            flow.network = *network;
        }
        let counted = self.counted(&flow);
        tally.add(&Row::new(&flow, counted, &self.places, &self.points));
    }

    /// What of a flow counts here: what passed the port of its sender, where that port is looked
    /// at, counts there and nowhere else.
    ///
    /// Both ports of an intra-host talk see each of its packets, at the same time and with the same
    /// clock, so nothing has to be compared but who sent it.
    fn counted(&self, flow: &Flow) -> [Counted; 2] {
        let ends = self.places.ends(flow, flow.start());
        let own = self.points.get(flow.point.0 as usize);
        let mut counted = flow.ways().map(|way| Counted {
            octets: way.octets,
            packets: way.packets,
            copy_of: None,
        });
        for (counted, sender) in counted.iter_mut().zip(ends) {
            let Some(place) = sender.place() else { continue };
            let Some(device) = place.device.as_ref() else { continue };
            let is_there = |point: &&Point| point.host.as_ref() == Some(&place.host);
            let sent_at = self.ports.get(device).and_then(|ports| ports.iter().find(is_there));
            let is_copy = |(own, sent_at): (&Point, &Point)| {
                // Of a VM that moves the inventory may know the old port while the new one shows it.
                let is_moved = vnic(own) == vnic(sent_at) && own.host != sent_at.host;
                own != sent_at && !is_moved
            };
            if own.zip(sent_at).is_some_and(is_copy) {
                *counted = Counted::default();
            }
        }
        counted
    }

    /// Says anew what follows from places and points.
    fn settle(&mut self) {
        self.ports.clear();
        for point in &self.points {
            if let Some(device) = &point.device {
                self.ports.entry(device.clone()).or_default().push(point.clone());
            }
        }
        let places = &self.places;
        let networks = self.points.iter().map(|point| {
            let host_and_device = point.host.as_deref().zip(point.device.as_deref());
            let found = host_and_device.and_then(|(host, device)| places.network_at(host, device));
            // A VM that has just moved is seen before the inventory knows its new port.
            let vnic = vnic(point)?;
            if let Some(found) = found {
                self.known.insert(vnic.to_owned(), found);
            }
            found.or_else(|| self.known.get(vnic).copied())
        });
        self.networks = networks.collect();
        self.filters = self.understand();
    }
}

/// The vNIC that a point is of, by its label.
fn vnic(point: &Point) -> Option<&str> {
    point.name.rsplit_once(" @ ").map(|(vnic, _)| vnic)
}

/// Flows within one tick; of more, old ones are told early.
const MOST_FLOWS: u32 = 1 << 16;

/// Interfaces that are told apart.
const MOST_POINTS: usize = 1 << 12;
