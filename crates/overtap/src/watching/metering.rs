//! Packets of a pipe into flows, and flows into sums, as they come.

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use capture::Input;
use flows::{Counted, EndReason, Flow, Meter, NvgreSubnets, Places, Point, Row, Timeouts};
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
    places: Places,
    points: Vec<Point>,
    ports: TunnelPorts,
    filter: Option<Filter>,
    ticked: Instant,
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
    pub(crate) fn set_places(&self, places: Places) {
        self.lock().places = places;
    }

    /// Counts only what this expression takes, from now on and from nothing.
    pub(crate) fn set_filter(&self, filter: Option<Filter>) {
        let mut counting = self.lock();
        let (places, points) =
            (std::mem::take(&mut counting.places), std::mem::take(&mut counting.points));
        *counting = Counting { places, points, filter, ..Counting::new() };
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
            places: Places::default(),
            points: Vec::new(),
            ports: TunnelPorts::default(),
            filter: None,
            ticked: Instant::now(),
        }
    }

    fn add_point(&mut self, number: u32, name: &str) {
        let number = number as usize;
        if number >= MOST_POINTS {
            return;
        }
        if self.points.len() <= number {
            self.points.resize(number + 1, Point::default());
        }
        if let Some(point) = self.points.get_mut(number) {
            *point = Point::named(name);
        }
    }

    fn take(&mut self, packet: &wire::Packet<'_>, layers: &mut Layers) {
        layers.fill(packet.link, packet.data, &self.ports);
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(packet, layers)) {
            return;
        }
        self.frames.add(1, u64::from(packet.wire_len));
        let Self { meter, tally, places, points, .. } = self;
        meter.take(packet, layers, &mut |flow| add(tally, &flow, places, points));
    }

    fn tick(&mut self) -> Seen {
        let elapsed = self.ticked.elapsed().max(Duration::from_millis(1));
        self.ticked = Instant::now();
        let Self { meter, tally, places, points, .. } = self;
        meter.finish(EndReason::Active, &mut |flow| add(tally, &flow, places, points));
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

fn add(tally: &mut Tally, flow: &Flow, places: &Places, points: &[Point]) {
    // The outside of a tunnel is the flows in it once more.
    if flow.is_carrier {
        return;
    }
    let counted = counted(flow, places, points);
    tally.add(&Row::new(flow, counted, places, points));
}

/// What of a flow counts here: what passed the port of its sender, where that port is looked at,
/// counts there and nowhere else.
///
/// Both ports of an intra-host talk see each of its packets, at the same time and with the same
/// clock, so nothing has to be compared but who sent it.
fn counted(flow: &Flow, places: &Places, points: &[Point]) -> [Counted; 2] {
    let ends = places.ends(flow, flow.start());
    let own = points.get(flow.point.0 as usize);
    let mut counted =
        flow.ways().map(|way| Counted { octets: way.octets, packets: way.packets, copy_of: None });
    for (counted, sender) in counted.iter_mut().zip(ends) {
        let Some(place) = sender.place() else { continue };
        let is_its = |point: &Point| {
            point.device.is_some()
                && point.device == place.device
                && point.host.as_ref() == Some(&place.host)
        };
        if !own.is_some_and(is_its) && points.iter().any(is_its) {
            *counted = Counted::default();
        }
    }
    counted
}

/// Flows within one tick; of more, old ones are told early.
const MOST_FLOWS: u32 = 1 << 16;

/// Interfaces that are told apart.
const MOST_POINTS: usize = 1 << 12;
