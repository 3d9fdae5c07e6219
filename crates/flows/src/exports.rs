//! Flows from exports: records as they are, samples of packets through a meter.

use std::collections::HashMap;

use wire::export::{Event, ExporterKey, FlowSample, Rate, Record, Side};
use wire::{Layers, LinkType, Packet, PointId, Timestamp, TunnelPorts};

use crate::flow::{EndReason, Flow};
use crate::meter::{Meter, MeterCounters, Timeouts};
use crate::network::{NvgreSubnets, Overlay, OverlayKind};
use crate::once::Point;

/// Makes flows of what a collector shows.
#[derive(Debug)]
pub struct Exports {
    points: Vec<Point>,
    /// What is said of all samples of a point, by its number.
    sampled: Vec<Sampled>,
    numbers: HashMap<PointKey, u32>,
    meter: Meter,
    layers: Layers,
    ports: TunnelPorts,
    without_addresses: u64,
    without_point: u64,
}

/// What makes two sightings those of one point: samplers with another rate, and those at a tunnel
/// whose network the sample names, are others.
type PointKey = (ExporterKey, Option<Side>, Sampled);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Sampled {
    rate: Rate,
    overlay: Option<Overlay>,
}

impl Exports {
    /// Without points.
    pub fn new(timeouts: Timeouts, nvgre: NvgreSubnets, ports: TunnelPorts) -> Self {
        Self {
            points: Vec::new(),
            sampled: Vec::new(),
            numbers: HashMap::new(),
            meter: Meter::new(timeouts, nvgre),
            layers: Layers::empty(),
            ports,
            without_addresses: 0,
            without_point: 0,
        }
    }

    /// Takes what a collector shows.
    pub fn take(&mut self, event: Event<'_>, mut each: impl FnMut(Flow)) {
        match event {
            Event::Flow(exporter, record) => {
                let Some(point) = self.point(exporter.key, record.side(), Sampled::NOT) else {
                    return self.without_point += 1;
                };
                self.take_record(&record, point, &mut each);
            }
            Event::Sample(exporter, sample) => {
                let vni = sample.tunnel(true).and_then(|tunnel| tunnel.vni);
                let overlay =
                    vni.map(|vni| Overlay { kind: OverlayKind::Unsaid, number: vni.value() });
                let sampled = Sampled { rate: sample.rate(), overlay };
                let Some(point) = self.point(exporter.key, None, sampled) else {
                    return self.without_point += 1;
                };
                self.take_sample(&sample, point, &mut each);
            }
            Event::Options(..) | Event::Counters(..) | Event::Discard(..) => {}
        }
    }

    /// Says what time it is, where nothing comes that would: tells the flows that samples have made
    /// and that have ended since.
    pub fn advance(&mut self, now: Timestamp, mut each: impl FnMut(Flow)) {
        let sampled = &self.sampled;
        self.meter.advance(now, &mut |flow| each(scaled(flow, sampled)));
    }

    /// Tells the flows that samples have made and that have not ended.
    pub fn finish(&mut self, mut each: impl FnMut(Flow)) {
        let sampled = &self.sampled;
        self.meter.finish(EndReason::Stopped, &mut |flow| each(scaled(flow, sampled)));
    }

    /// The points, by the number in the flows.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Records and samples that name no addresses: of frames that are not IP.
    pub const fn without_addresses(&self) -> u64 {
        self.without_addresses
    }

    /// Records and samples of more points than there may be: rates and exporters that were made up.
    pub const fn without_point(&self) -> u64 {
        self.without_point
    }

    /// What became of samples.
    pub const fn counters(&self) -> &MeterCounters {
        self.meter.counters()
    }

    fn take_record(&mut self, record: &Record<'_>, point: PointId, each: &mut impl FnMut(Flow)) {
        if let Some(flow) = Flow::of_record(record, point) {
            return each(flow);
        }
        match record.sampled_frame() {
            Some((bytes, len)) => {
                let len = len.and_then(|len| u32::try_from(len).ok());
                let time = record.header().export_time;
                self.take_frame(time, LinkType::ETHERNET, bytes, len, point, each);
            }
            None => self.without_addresses += 1,
        }
    }

    fn take_sample(
        &mut self,
        sample: &FlowSample<'_>,
        point: PointId,
        each: &mut impl FnMut(Flow),
    ) {
        match sample.header() {
            Some(header) => self.take_frame(
                sample.time,
                header.link,
                header.bytes,
                Some(header.frame_len),
                point,
                each,
            ),
            None => self.without_addresses += 1,
        }
    }

    fn take_frame(
        &mut self,
        time: Timestamp,
        link: LinkType,
        bytes: &[u8],
        len: Option<u32>,
        point: PointId,
        each: &mut impl FnMut(Flow),
    ) {
        let there = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut packet = Packet::new(time, link, bytes, len.unwrap_or(there).max(there));
        packet.point = point;
        self.layers.fill(link, bytes, &self.ports);
        let sampled = &self.sampled;
        self.meter.take(&packet, &self.layers, &mut |flow| each(scaled(flow, sampled)));
    }

    /// The point of a sighting; `None` if there are too many of them.
    fn point(&mut self, key: ExporterKey, side: Option<Side>, sampled: Sampled) -> Option<PointId> {
        let known = self.numbers.get(&(key, side, sampled)).copied();
        if known.is_none() && self.points.len() >= MOST_POINTS {
            return None;
        }
        let number = known.unwrap_or_else(|| {
            let number = u32::try_from(self.points.len()).unwrap_or(u32::MAX);
            let way = match side {
                Some(Side::Ingress) => " in",
                Some(Side::Egress) => " out",
                None => "",
            };
            let name = format!("{} {} {}{way}", key.address, key.protocol, key.domain);
            self.points.push(Point { name, ..Point::default() });
            self.sampled.push(sampled);
            self.numbers.insert((key, side, sampled), number);
            number
        });
        Some(PointId(number))
    }
}

impl Sampled {
    /// Of points that send records, each of which says its own.
    const NOT: Self = Self { rate: Rate::UNKNOWN, overlay: None };
}

/// More points no site has, some 200 bytes each.
const MOST_POINTS: usize = 1 << 18;

/// A flow that a meter made of samples, with what is known of all samples of its point.
fn scaled(mut flow: Flow, sampled: &[Sampled]) -> Flow {
    if let Some(Sampled { rate, overlay }) = sampled.get(flow.point.0 as usize) {
        flow.rate = *rate;
        flow.network.overlay = flow.network.overlay.or(*overlay);
    }
    flow
}
