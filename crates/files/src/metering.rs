//! Flows: who talks to whom in capture files.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flows::{EndReason, Flow, Meter, MeterCounters, NvgreSubnets, Point, Timeouts};
use wire::file::{Interface, Item, Record};
use wire::{Layers, PointId, Timestamp};

use crate::sources::{Source, turn};
use crate::{InputAccount, OpenInputs, Selection};

/// Which flows are wanted, and when they end.
#[derive(Debug, Clone)]
pub struct FlowRequest {
    /// Which packets are metered.
    pub selection: Selection,
    /// When flows end.
    pub timeouts: Timeouts,
    /// Which keys of GRE are NVGRE's.
    pub nvgre: NvgreSubnets,
    /// When machines changed their hosts, ascending: flows are told then, so that each is of one
    /// place.
    pub moves: Vec<Timestamp>,
    /// Set by others to end early.
    pub stop: Arc<AtomicBool>,
}

/// What was read, and what became of it.
#[derive(Debug, Clone)]
pub struct FlowReport {
    /// What was read, and what was wrong with it.
    pub inputs: Vec<InputAccount>,
    /// What became of the packets that were wanted.
    pub counters: MeterCounters,
    /// Packets that were not.
    pub not_selected: u64,
    /// The interfaces, by the number that flows have for their point.
    pub points: Vec<Point>,
    /// Whether all of the inputs was read.
    pub is_complete: bool,
}

/// Makes flows of the packets of `inputs` and gives each to `each`, with all points known so far.
pub fn flows(
    inputs: OpenInputs,
    request: FlowRequest,
    mut each: impl FnMut(Flow, &[Point]),
) -> FlowReport {
    let mut sources = inputs.into_sources();
    let mut job = Job {
        selection: request.selection,
        meter: Meter::new(request.timeouts, request.nvgre),
        layers: Layers::empty(),
        not_selected: 0,
        points: Vec::new(),
        numbers: vec![Vec::new(); sources.len()],
        moves: request.moves.into(),
    };
    let is_complete = job.run(&mut sources, &request.stop, &mut each);
    let Job { meter, points, .. } = &mut job;
    meter.finish(EndReason::Stopped, &mut |flow| each(flow, points));
    FlowReport {
        inputs: sources.into_iter().map(|source| source.account).collect(),
        counters: *job.meter.counters(),
        not_selected: job.not_selected,
        points: job.points,
        is_complete,
    }
}

struct Job {
    selection: Selection,
    meter: Meter,
    layers: Layers,
    not_selected: u64,
    points: Vec<Point>,
    /// For each input the numbers of its interfaces among all points.
    numbers: Vec<Vec<u32>>,
    /// Moves that are still to come.
    moves: std::collections::VecDeque<Timestamp>,
}

impl Job {
    fn run(
        &mut self,
        sources: &mut [Source],
        stop: &AtomicBool,
        each: &mut impl FnMut(Flow, &[Point]),
    ) -> bool {
        for (number, source) in sources.iter_mut().enumerate() {
            self.advance(number, source);
        }
        while let Some((number, bound)) = turn(sources) {
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            let Some(source) = sources.get_mut(number) else { break };
            let taken = source.each(bound, |record| {
                self.take(number, record, each);
                ControlFlow::<Infallible>::Continue(())
            });
            if taken == ControlFlow::Continue(true) {
                self.advance(number, source);
            }
        }
        true
    }

    #[inline]
    fn take(&mut self, input: usize, record: &Record<'_>, each: &mut impl FnMut(Flow, &[Point])) {
        let mut packet = record.packet;
        if !self.selection.wants_time(packet.time) {
            self.not_selected += 1;
            return;
        }
        if self.moves.front().is_some_and(|first| *first <= packet.time) {
            self.cut(packet.time, each);
        }
        self.layers.fill(packet.link, packet.data, &self.selection.ports);
        if self.selection.needs_headers()
            && self.selection.refuses(input, &packet, &self.layers).is_some()
        {
            self.not_selected += 1;
            return;
        }
        let number = self.numbers.get(input).and_then(|n| n.get(packet.point.0 as usize));
        packet.point = PointId(number.copied().unwrap_or(u32::MAX));
        let points = &self.points;
        self.meter.take(&packet, &self.layers, &mut |flow| each(flow, points));
    }

    /// Tells all flows, because a machine is at another place from here on.
    #[cold]
    fn cut(&mut self, now: Timestamp, each: &mut impl FnMut(Flow, &[Point])) {
        while self.moves.front().is_some_and(|first| *first <= now) {
            self.moves.pop_front();
        }
        let points = &self.points;
        self.meter.finish(EndReason::Migration, &mut |flow| each(flow, points));
    }

    fn advance(&mut self, number: usize, source: &mut Source) {
        let file = source.name.clone();
        source.advance(|item| {
            if let Item::Interface(interface) = item {
                self.add_point(number, interface, &file);
            }
        });
    }

    fn add_point(&mut self, input: usize, interface: &Interface<'_>, file: &str) {
        let name = interface.name().map(|name| name.to_str().into_owned());
        if let Some(name) = &name {
            self.selection.add_point(input, interface.point, name);
        }
        let name = name.unwrap_or_else(|| file.to_owned()).replace(char::is_control, "\u{fffd}");
        let point = interface.point.0 as usize;
        let Some(numbers) = self.numbers.get_mut(input) else { return };
        if point >= MAX_NUMBERS || self.points.len() >= MAX_POINTS {
            return;
        }
        numbers.resize(numbers.len().max(point + 1), u32::MAX);
        if let Some(slot) = numbers.get_mut(point) {
            *slot = u32::try_from(self.points.len()).unwrap_or(u32::MAX);
        }
        self.points.push(Point::named(&name));
    }
}

/// Interfaces of one file, over all sections.
const MAX_NUMBERS: usize = 1 << 20;
/// Interfaces of all files.
const MAX_POINTS: usize = 1 << 16;
