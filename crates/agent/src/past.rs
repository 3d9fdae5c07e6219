//! What a flight recorder has seen, written before what is seen live, without hole or double.
//!
//! The recorder goes on recording while we read. We follow it until there is nothing left to catch
//! up with, and only then the sockets are opened: they come with a time, the seam. Everything
//! before it is read from the store once the recorder says that it is complete up to there;
//! everything from it on is taken live. Packets that both have seen are left to the recorder.
//!
//! What was recorded of the machine while it belonged to somebody else, or under a name that was
//! not asked for, goes through the same pipeline to a guard that lets nothing pass: it is counted
//! like any other packet that is not the asker's.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use jiff::tz::TimeZone;
use pipeline::{Ledger, Pipeline, PointRules};
use recorder::{Gap, Item, MachineRef, PointInfo, Reading, Store};
use select::{Guard, Ownership};
use wire::{Packet, PointId, Timestamp};

use crate::orders::PastOrder;
use crate::output::OutputSink;

/// Recorded packets on their way into the output.
#[derive(Debug)]
pub(crate) struct Past {
    order: PastOrder,
    store: Store,
    /// Those of the recorded points; their accounts come behind those of the live ones.
    points: Vec<Played>,
    /// Number of the first of them in the pipeline.
    first_point: u32,
    /// The window that is being read.
    reading: Option<Reading>,
    /// For each point of the reading, its place in `points`.
    places: Vec<usize>,
    /// Everything before is written.
    from: Timestamp,
    /// The end of the window.
    to: Timestamp,
    /// When it was asked for; what was recorded later is only read on the way to the seam.
    asked: Timestamp,
    seam: Option<Timestamp>,
    has_caught_up: bool,
    is_last_window: bool,
    /// Packets that were somebody else's.
    withheld: u64,
    /// What is to be said when the packets of that time come.
    sentences: VecDeque<(Timestamp, String)>,
    newest: Timestamp,
    zone: TimeZone,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more.
    Played,
    /// There is nothing more to catch up with: it is time for the sockets. Comes once.
    CaughtUp,
    /// There will be more in this time.
    Wait(Duration),
    /// All is written. Live packets before this time are written already.
    Over(Timestamp),
}

impl Past {
    /// Opens the store at the time `now`; the first `live_points` numbers belong to live points.
    pub(crate) fn open(
        order: &PastOrder,
        live_points: usize,
        now: Timestamp,
    ) -> Result<Self, String> {
        let store =
            Store::open(&order.directory, order.keys.clone()).map_err(|error| error.to_string())?;
        let end = Timestamp::from_nanos(u64::MAX);
        let reading = store.read(&order.machines, Timestamp::ZERO, end);
        let infos = reading.points().iter().map(|info| info.as_ref().clone());
        let withheld = !withheld(&store, order, (order.from, end)).is_empty();
        let withheld = withheld.then(|| withheld_point(order));
        let points = infos.chain(withheld).map(Played::new).collect();
        Ok(Self {
            order: order.clone(),
            store,
            points,
            first_point: u32::try_from(live_points).unwrap_or(u32::MAX),
            reading: None,
            places: Vec::new(),
            from: order.from,
            to: order.from,
            asked: now,
            seam: None,
            has_caught_up: false,
            is_last_window: false,
            withheld: 0,
            sentences: VecDeque::new(),
            newest: Timestamp::ZERO,
            zone: TimeZone::system(),
        })
    }

    /// The recorded points, as they are known from the beginning.
    pub(crate) fn infos(&self) -> Vec<PointInfo> {
        self.points.iter().map(|point| point.info.clone()).collect()
    }

    /// Names of the recorded points, for the receipt.
    pub(crate) fn labels(&self) -> Vec<String> {
        self.points.iter().map(|point| format!("{} (recorded)", point.info.label)).collect()
    }

    /// Where files must stay readable.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.store.directory()
    }

    /// From this time on packets are taken live.
    pub(crate) fn set_seam(&mut self, seam: Timestamp) {
        self.seam = Some(seam);
    }

    /// Whether the sockets have come.
    pub(crate) const fn has_seam(&self) -> bool {
        self.seam.is_some()
    }

    /// The youngest packet written.
    pub(crate) const fn newest(&self) -> Timestamp {
        self.newest
    }

    /// Whether the store is not read to its end.
    pub(crate) const fn is_live(&self) -> bool {
        self.order.is_live
    }

    /// Writes some packets. Sentences go into the output and to `say`.
    pub(crate) fn step(
        &mut self,
        now: Timestamp,
        pipeline: &mut Pipeline,
        sink: &mut OutputSink,
        say: &mut impl FnMut(String),
    ) -> Step {
        if self.reading.is_some() {
            return self.play(pipeline, sink, say);
        }
        if self.is_last_window {
            self.tell_until(Timestamp::from_nanos(u64::MAX), sink, say);
            self.tell_withheld(sink, say);
            return Step::Over(self.cut(now));
        }
        if let Err(error) = self.store.refresh() {
            // What is known of it can still be read.
            let text = format!("the recorder's store is not followed any more: {error}");
            self.sentences.push_back((self.from, text));
            self.open_window((self.goal().unwrap_or(now), true), now, pipeline, sink);
            return Step::Played;
        }
        let settled = self.store.settled(&self.order.machines).unwrap_or(Timestamp::ZERO);
        let is_running = now.since(settled) < STALE;
        match self.goal() {
            Some(goal) if settled >= goal || !is_running => {
                self.open_window((goal, true), now, pipeline, sink);
                Step::Played
            }
            _ if is_running && settled > self.from => {
                self.open_window((settled, false), now, pipeline, sink);
                Step::Played
            }
            Some(_) => Step::Wait(LOOK_AGAIN),
            None if self.has_caught_up => Step::Wait(LOOK_AGAIN),
            None => {
                self.has_caught_up = true;
                Step::CaughtUp
            }
        }
    }

    /// Completes the accounts of the recorded points, which begin behind the live ones.
    pub(crate) fn account(&self, ledgers: &mut [Ledger]) {
        let own = ledgers.get_mut(self.first_point as usize..).unwrap_or_default();
        for (ledger, point) in own.iter_mut().zip(&self.points) {
            let (machine, label) = (&point.info.machine, &point.info.label);
            let lost = self.store.lost(machine, label, self.order.from, self.from);
            ledger.kernel_dropped = lost.kernel_dropped;
            // Fragments that still waited have no place in the account; there are none at the end.
            ledger.sink_failed += lost.unwritten + point.unreadable;
            ledger.received = ledger.read() + ledger.kernel_dropped;
        }
    }

    fn play(
        &mut self,
        pipeline: &mut Pipeline,
        sink: &mut OutputSink,
        say: &mut impl FnMut(String),
    ) -> Step {
        let Some(mut reading) = self.reading.take() else { return Step::Played };
        for _ in 0..BATCH {
            if sink.is_crowded() {
                self.reading = Some(reading);
                return Step::Wait(READER_REST);
            }
            match reading.next() {
                None => {
                    self.from = self.from.max(self.to);
                    self.tell_until(self.from, sink, say);
                    return Step::Played;
                }
                Some(Item::Packet(packet)) => {
                    if self.sentences.front().is_some_and(|(time, _)| *time <= packet.time) {
                        self.tell_until(packet.time, sink, say);
                    }
                    self.newest = self.newest.max(packet.time);
                    let place = self.places.get(packet.point.0 as usize).copied().unwrap_or(0);
                    let is_withheld = |point: &Played| point.info.machine.id.is_empty();
                    self.withheld += u64::from(self.points.get(place).is_some_and(is_withheld));
                    let number = u32::try_from(place).unwrap_or(u32::MAX);
                    let point = PointId(self.first_point.saturating_add(number));
                    pipeline.offer(Packet { point, ..packet }, sink);
                }
                Some(Item::Damage(damage)) => {
                    let text = format!("the recording is damaged: {damage}");
                    if let Some(point) = self.points.first_mut() {
                        point.unreadable += u64::from(damage.packets.unwrap_or(0));
                    }
                    sink.comment(&text);
                    say(text);
                }
            }
            if pipeline.ended().is_some() {
                break;
            }
        }
        self.reading = Some(reading);
        Step::Played
    }

    /// Plans to read from where we are up to `to`.
    fn open_window(
        &mut self,
        (to, is_last): (Timestamp, bool),
        now: Timestamp,
        pipeline: &mut Pipeline,
        sink: &mut OutputSink,
    ) {
        let machines = &self.order.machines;
        self.to = to.max(self.from);
        let mut gaps = self.store.gaps(machines, self.from, self.to);
        gaps.retain(|_| self.order.are_gaps_said);
        let told = gaps.into_iter().map(|gap| (gap.to, self.gap_sentence(gap)));
        let notes = self.store.notes(machines, self.from, self.to);
        let mut sentences: Vec<(Timestamp, String)> = told.chain(notes).collect();
        sentences.sort();
        self.sentences.extend(sentences);
        let withheld = withheld(&self.store, &self.order, (self.from, self.to));
        let all = [machines.as_slice(), &withheld].concat();
        let reading = self.store.read(&all, self.from, self.to);
        self.places.clear();
        let somebody_elses = withheld_point(&self.order);
        for info in reading.points().iter().map(AsRef::as_ref) {
            let info = if machines.contains(&info.machine) { info } else { &somebody_elses };
            let place = self.points.iter().position(|known| known.is(info));
            self.places.push(place.unwrap_or_else(|| {
                // It came while we read.
                let guard = Guard::new(&info.ownership);
                pipeline.add_point(PointRules { guard, later: None });
                sink.add_recorded(info, now);
                self.points.push(Played::new(info.clone()));
                self.points.len() - 1
            }));
        }
        self.reading = Some(reading);
        self.is_last_window = is_last;
    }

    /// The end of what is to be read from the store, once it is known.
    fn goal(&self) -> Option<Timestamp> {
        if self.order.is_live { self.seam } else { Some(self.asked) }
    }

    /// Live packets before this time were written from the store.
    fn cut(&self, now: Timestamp) -> Timestamp {
        let settled = self.store.settled(&self.order.machines).unwrap_or(Timestamp::ZERO);
        match self.seam {
            Some(seam) if settled >= seam || now.since(settled) < STALE => seam,
            // The recorder had stopped: what the sockets have seen since nobody else has.
            _ => self.newest.saturating_add(Duration::from_nanos(1)),
        }
    }

    fn tell_until(&mut self, time: Timestamp, sink: &mut OutputSink, say: &mut impl FnMut(String)) {
        while let Some((_, text)) = self.sentences.pop_front_if(|(due, _)| *due <= time) {
            sink.comment(&text);
            say(text);
        }
    }

    fn tell_withheld(&self, sink: &mut OutputSink, say: &mut impl FnMut(String)) {
        if self.withheld > 0 {
            let text = format!(
                "{} packets recorded while the machine was not the asker's are left out",
                self.withheld
            );
            sink.comment(&text);
            say(text);
        }
    }

    fn gap_sentence(&self, gap: Gap) -> String {
        let show = |time: Timestamp| {
            jiff::Timestamp::from_nanosecond(time.as_nanos().into()).map_or_else(
                |_| "?".to_owned(),
                |time| {
                    let zoned = time.to_zoned(self.zone.clone());
                    zoned.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
                },
            )
        };
        let seconds = gap.duration().as_secs_f64();
        format!(
            "not recorded, or not all of it, from {} to {} ({seconds:.3} s)",
            show(gap.from),
            show(gap.to)
        )
    }
}

/// A recorded point.
#[derive(Debug)]
struct Played {
    info: PointInfo,
    /// Packets in damaged parts of the store. Whose point's they were is counted at the first.
    unreadable: u64,
}

impl Played {
    const fn new(info: PointInfo) -> Self {
        Self { info, unreadable: 0 }
    }

    fn is(&self, info: &PointInfo) -> bool {
        self.info.label == info.label && self.info.machine == info.machine
    }
}

/// What there is of the machines in a time that is not the asker's, if there is anything.
fn withheld(
    store: &Store,
    order: &PastOrder,
    (from, to): (Timestamp, Timestamp),
) -> Vec<MachineRef> {
    let others = store.others(&order.machines);
    if store.read(&others, from, to).planned_packets() > 0 { others } else { Vec::new() }
}

/// Stands for all points at which packets were recorded that are not the asker's: nothing of them
/// passes, and what they were called is not the asker's business either.
fn withheld_point(order: &PastOrder) -> PointInfo {
    let first = order.machines.first();
    let name = first.map_or("the machine", |machine| machine.name.as_str());
    PointInfo {
        machine: MachineRef { id: String::new(), name: name.to_owned(), tenant: None },
        label: format!("{name} while it was not the asker's"),
        description: "recorded while the machine belonged to somebody else, or under another name"
            .into(),
        mac: None,
        filter: String::new(),
        snaplen: 0,
        ownership: Ownership::Shared(Vec::new()),
        since: Timestamp::ZERO,
    }
}

/// A recorder gives a sign of life each second, up to 0.8 s behind; older than this it is gone.
const STALE: Duration = Duration::from_secs(4);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a slow reader of a pipe is given before it is looked at again.
const READER_REST: Duration = Duration::from_millis(5);
/// Packets between two looks at clock and orders.
const BATCH: usize = 4096;
