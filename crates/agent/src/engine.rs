//! The process that reads packets: fenced in, fed with sockets, ended by a word or a broken line.
//!
//! It knows no inventory and opens nothing but its output. All timers run on `poll`'s own time-out,
//! so a quiet interface delays nothing.

mod intake;
mod mirrors;
mod points;
mod recorded;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use capture::{MirrorReceiver, Received};
use pipeline::{Merge, Pipeline, PointRules, Readiness, Source, Treatment};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use select::{DropReason, Export, Filter, Guard, Ownership};
use wire::file::{InterfaceHeader, SectionHeader};
use wire::{KeptPacket, Timestamp};

use self::intake::Intake;
use self::mirrors::SessionPoint;
use crate::channel::Channel;
use crate::kernel::KernelRules;
use crate::orders::{End, Job, News, Order, Outcome, PointOrder, Progress};
use crate::output::{self, OutputSink};
use crate::past::Past;
use crate::sandbox::Sandbox;
use crate::store_output::StoreOutput;
use crate::tools::{ToolOrder, ToolSink};

/// Runs the engine on the line behind `control` until it is told to stop or the line breaks.
///
/// # Errors
/// Only of the line itself; whatever else goes wrong is reported through it.
pub fn run_engine(control: OwnedFd) -> io::Result<()> {
    let mut channel = Channel::new(control);
    // Ctrl-C and a hang-up reach every process of the terminal; the session decides what they mean.
    let is_terminated = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::default())?;
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default())?;
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&is_terminated))?;

    let Some(received) = channel.receive::<Order>()? else { return Ok(()) };
    let Order::Start(job) = received.message else {
        return channel.send(&News::Failed { message: "the engine got no job".into() }, None);
    };
    match Engine::new(&job, is_terminated) {
        Ok((engine, sandbox)) => {
            channel.send(&News::Ready(sandbox), None)?;
            let outcome = engine.run(&mut channel);
            channel.send(&News::Ended(Box::new(outcome)), None)
        }
        Err(message) => channel.send(&News::Failed { message }, None),
    }
}

/// Whether whoever started us wants us to outlive the terminal.
pub fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_ignored_in(&status, signal_hook::consts::SIGHUP)
}

/// `SigIgn:` is a mask in hexadecimal; signal N is bit N - 1 (proc(5)).
fn is_ignored_in(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

struct Engine {
    pipeline: Pipeline,
    sink: OutputSink,
    /// In the order of their points.
    intakes: Vec<Intake>,
    /// What the interfaces of the file have in common; mirror sessions have no more than that.
    session_header: InterfaceHeader,
    /// The mirror sessions, whose points come behind those of the job.
    sessions: Vec<SessionPoint>,
    merge: Merge,
    /// What the rings' kernel programs are made from.
    rules: KernelRules,
    /// What was recorded, until it is written.
    past: Option<Past>,
    /// The account of it, when it is written.
    written_past: Option<Past>,
    /// Live packets before this time were written from the recording.
    live_from: Timestamp,
    /// Live packets that wait for the end of what was recorded, and their bytes.
    early: VecDeque<KeptPacket>,
    early_bytes: usize,
    /// Tools that have come, until all have.
    tools: Vec<(ToolOrder, Option<OwnedFd>)>,
    /// How streams to tools begin.
    section: SectionHeader,
    interfaces: Vec<InterfaceHeader>,
    /// For each tool, whether it was told that its connection is lost.
    lost_tools: Vec<bool>,
    /// How many tools there will be.
    tool_count: usize,
    /// Points whose sockets have not come yet.
    awaited: std::vec::IntoIter<PointOrder>,
    is_terminated: Arc<AtomicBool>,
    written_until: Timestamp,
    out_of_order: u64,
    /// Whether packets that are ready still wait in the rings.
    is_behind: bool,
    next_flush: Instant,
    next_progress: Instant,
}

impl Engine {
    /// Opens the output, then gives up every right that was needed for it.
    fn new(job: &Job, is_terminated: Arc<AtomicBool>) -> Result<(Self, Sandbox), String> {
        let filter = match &job.expression {
            Some(text) => {
                Some(Filter::parse_with(text, &job.explained).map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let past = match &job.past {
            Some(order) => Some(Past::open(order, job.points.len(), now())?),
            None => None,
        };
        let recorded = past.as_ref().map(Past::infos).unwrap_or_default();
        let sink = OutputSink::open(job, &recorded, now())?;
        let session_header = output::session_header(job);
        let section = output::section(job);
        let interfaces =
            job.points.iter().map(|point| output::interface(point, &session_header)).collect();
        let sandbox = Sandbox::enter(sink.directory(), past.as_ref().map(Past::directory));
        let treatment = if job.is_stripped { Treatment::Stripped } else { Treatment::AsSeen };
        let mut rules = KernelRules::new(filter.as_ref());
        let live = job.points.iter().map(|point| &point.ownership);
        let owned = live.chain(recorded.iter().map(|info| &info.ownership));
        owned.clone().for_each(|ownership| rules.add(ownership));
        let ports = rules.ports().clone();
        let mut pipeline = Pipeline::new(filter, ports, treatment, job.snaplen, job.limits);
        for ownership in owned {
            pipeline.add_point(PointRules { guard: Guard::new(ownership), later: None });
        }
        let is_shared = job.points.iter().any(|p| matches!(p.ownership, Ownership::Shared(_)));
        let now = Instant::now();
        let engine = Self {
            pipeline,
            sink,
            intakes: Vec::new(),
            session_header,
            sessions: Vec::new(),
            merge: Merge { grace: GRACE, hold: if is_shared { HOLD } else { Duration::ZERO } },
            rules,
            past,
            written_past: None,
            live_from: Timestamp::ZERO,
            early: VecDeque::new(),
            early_bytes: 0,
            tools: Vec::new(),
            section,
            interfaces,
            lost_tools: Vec::new(),
            tool_count: job.tools as usize,
            awaited: job.points.clone().into_iter(),
            is_terminated,
            written_until: Timestamp::ZERO,
            out_of_order: 0,
            is_behind: false,
            next_flush: now + FLUSH_EVERY,
            next_progress: now + PROGRESS_EVERY,
        };
        Ok((engine, sandbox))
    }

    /// Reads until something ends it, then closes the file.
    fn run(mut self, channel: &mut Channel) -> Outcome {
        let end = loop {
            if let Some(end) = self.turn(channel) {
                break end;
            }
        };
        self.finish(end)
    }

    /// One round: orders, packets, timers. Returns why the capture ends, once it does.
    fn turn(&mut self, channel: &mut Channel) -> Option<End> {
        let wait = match self.past {
            Some(_) => match self.take_past(channel) {
                Ok(wait) => wait,
                Err(end) => return Some(end),
            },
            None => self.take_packets(),
        };
        if let Some(tools) = self.sink.tools() {
            tools.flush();
        }
        self.is_behind = wait.is_zero() || wait == READER_REST;
        if let Some(end) = self.sink.end() {
            return Some(end);
        }
        if let Some(limit) = self.pipeline.ended() {
            return Some(End::Limit(limit));
        }
        if self.is_terminated.load(Ordering::Relaxed) {
            return Some(End::Asked);
        }
        if let Some(end) = self.keep_time(channel) {
            return Some(end);
        }
        match self.wait(channel, wait) {
            Ok(Awaited::Orders) => match channel.receive::<Order>() {
                Ok(Some(received)) => self.obey(received.message, received.descriptor, channel),
                // The session is gone: nobody is left to say stop.
                Ok(None) | Err(_) => Some(End::Asked),
            },
            Ok(Awaited::Nothing) => None,
            Ok(Awaited::Trouble) => self.look_after_interfaces(channel),
            Err(error) => Some(End::OutputFailed(format!("waiting for packets: {error}"))),
        }
    }

    /// Takes the packets that are ready, at most a batch. Says how long nothing can be ready for.
    fn take_packets(&mut self) -> Duration {
        if !self.awaited.as_slice().is_empty() {
            return IDLE;
        }
        let now = now();
        if self.sink.is_store() {
            return self.take_from_each(now);
        }
        if !self.early.is_empty() {
            if self.sink.is_crowded() {
                return READER_REST;
            }
            self.take_early();
            return Duration::ZERO;
        }
        let may_wait = self.intakes.len() > 1 || !self.merge.hold.is_zero();
        let is_pressed =
            may_wait && self.intakes.iter_mut().any(|intake| intake.inlet.is_half_full());
        for _ in 0..BATCH {
            match self.merge.choose(&mut self.intakes, now, is_pressed) {
                Readiness::Source(_) if self.sink.is_crowded() => return READER_REST,
                Readiness::Source(number) => self.take_one(number),
                Readiness::Wait(duration) => return duration.min(IDLE),
                Readiness::Empty => return IDLE,
            }
            if self.pipeline.ended().is_some() {
                break;
            }
        }
        Duration::ZERO
    }

    /// A store has its points apart, so each ring is read for itself, in turn.
    fn take_from_each(&mut self, now: Timestamp) -> Duration {
        let mut rest = IDLE;
        let share = (BATCH / self.intakes.len().max(1)).max(64);
        for number in 0..self.intakes.len() {
            let intake = self.intakes.get_mut(number);
            let is_pressed = intake.is_some_and(|intake| intake.inlet.is_half_full());
            for taken in 0.. {
                let Some(intake) = self.intakes.get_mut(number) else { break };
                match self.merge.choose(std::slice::from_mut(intake), now, is_pressed) {
                    Readiness::Source(_) if taken == share => {
                        rest = Duration::ZERO;
                        break;
                    }
                    Readiness::Source(_) => self.take_one(number),
                    Readiness::Wait(duration) => {
                        rest = rest.min(duration);
                        break;
                    }
                    Readiness::Empty => break,
                }
            }
        }
        rest
    }

    #[inline]
    fn take_one(&mut self, number: usize) {
        let Some(Intake { inlet, receiver, doubles, .. }) = self.intakes.get_mut(number) else {
            return;
        };
        let Some(packet) = inlet.next() else { return };
        if packet.time < self.live_from {
            *doubles += 1;
            return;
        }
        let Some(receiver) = receiver else {
            if packet.time < self.written_until {
                self.out_of_order += 1;
            } else {
                self.written_until = packet.time;
            }
            self.pipeline.offer(packet, &mut self.sink);
            return;
        };
        let Ok(received) = receiver.mirror.open(packet) else {
            self.pipeline.refuse(number, DropReason::NotMirrored);
            return;
        };
        let Received { mut packet, session, .. } = received;
        let place = match (session, receiver.stream) {
            (Some(session), _) => session.0,
            // Its interfaces are its sessions.
            (None, Some(_)) => packet.point.0 as usize,
            (None, None) => MirrorReceiver::MOST_SESSIONS,
        };
        let known = receiver.points.get(&place).copied();
        let point = match known {
            Some(point) => point,
            // Its name is that of the session, of which this packet is the first.
            None => {
                let kept = KeptPacket::new(&packet);
                self.add_session(number, place, &kept);
                return;
            }
        };
        if let Some(session) = self.sessions.get_mut(point) {
            session.received += 1;
            packet.point = session.point;
        }
        if packet.time < self.written_until {
            self.out_of_order += 1;
        } else {
            self.written_until = packet.time;
        }
        self.pipeline.offer(packet, &mut self.sink);
    }

    /// Flushes, turns the ring of files and reports, each when its time has come.
    fn keep_time(&mut self, channel: &Channel) -> Option<End> {
        let instant = Instant::now();
        if instant < self.next_flush {
            return None;
        }
        self.next_flush = instant + FLUSH_EVERY;
        if let Some(until) = self.pipeline.until()
            && now() > until.saturating_add(GRACE.max(self.merge.hold))
        {
            return Some(End::Limit(pipeline::Limit::Time));
        }
        // Nothing older than this can still come out of the rings.
        let settled = now().saturating_sub(GRACE.max(self.merge.hold));
        if self.past.is_none() {
            self.pipeline.settle(settled, &mut self.sink);
        }
        self.tick(settled);
        if let Some(end) = self.look_after_connections(channel) {
            return Some(end);
        }
        if instant >= self.next_progress {
            self.next_progress = instant + PROGRESS_EVERY;
            self.count();
            // A session that is gone shows at the next wait.
            let settled = match &self.past {
                // It comes in the order of time.
                Some(past) => self.pipeline.settled(past.newest()),
                None if self.is_behind => self.written_until.min(settled),
                None => settled,
            };
            let progress = Progress {
                settled_ns: settled.as_nanos(),
                is_past: self.past.is_some(),
                ..self.progress()
            };
            let _ = channel.send(&News::Progress(progress), None);
            if let Some(text) = self.sink.store().and_then(StoreOutput::news) {
                let _ = channel.send(&News::Said(text), None);
            }
            // The kernel wakes us when an interface goes down, not when it is removed after that.
            if let Some(end) = self.look_after_interfaces(channel) {
                return Some(end);
            }
        }
        self.sink.end()
    }

    /// Has the output do what is due.
    fn tick(&mut self, settled: Timestamp) {
        let oldest = |intake: &mut Intake| intake.peek().map_or(settled, |time| time.min(settled));
        let settled = match &self.sink {
            OutputSink::Store(_) => self.intakes.iter_mut().map(oldest).min().unwrap_or(settled),
            OutputSink::File(_) => settled,
        };
        self.sink.tick(now(), self.pipeline.settled(settled));
    }

    fn wait(&self, channel: &Channel, longest: Duration) -> io::Result<Awaited> {
        // A packet that is held back would make its ring readable at once, again and again.
        let is_holding = !longest.is_zero() && longest < IDLE;
        let watch = if is_holding { PollFlags::ERR } else { PollFlags::IN };
        let mut watched = vec![PollFd::new(channel, PollFlags::IN)];
        for intake in self.intakes.iter().filter(|intake| intake.is_attached) {
            if let Some(socket) = intake.inlet.socket() {
                watched.push(PollFd::from_borrowed_fd(socket, watch));
            }
        }
        let timer = self.next_flush.saturating_duration_since(Instant::now());
        let timeout = longest.min(timer);
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Awaited::Nothing),
            Err(error) => return Err(error.into()),
        }
        let mut happened = watched.iter().map(PollFd::revents);
        if happened.next().is_some_and(|orders| !orders.is_empty()) {
            return Ok(Awaited::Orders);
        }
        let is_trouble = happened.any(|ring| ring.intersects(PollFlags::ERR | PollFlags::HUP));
        Ok(if is_trouble { Awaited::Trouble } else { Awaited::Nothing })
    }

    fn obey(
        &mut self,
        order: Order,
        descriptor: Option<OwnedFd>,
        channel: &Channel,
    ) -> Option<End> {
        match order {
            Order::Start(_) => {}
            Order::AddSocket => {
                if let Err(error) = self.add_socket(descriptor) {
                    let message = format!("the engine cannot read a socket: {error}");
                    let _ = channel.send(&News::Failed { message }, None);
                }
            }
            Order::Own { point, ownership, at } => self.own(point as usize, &ownership, at),
            Order::Comment(text) => self.sink.comment(&text),
            Order::AddPoint(point, recorded) => {
                if let Err(error) = self.add_point(*point, recorded, descriptor) {
                    let message = format!("the engine cannot read a socket: {error}");
                    let _ = channel.send(&News::Failed { message }, None);
                }
            }
            Order::Note(point, text) => {
                if let Some(store) = self.sink.store() {
                    store.note(point as usize, now(), &text);
                }
            }
            Order::Rename(point, machine, label, at) => {
                if let Some(store) = self.sink.store() {
                    store.rename(point as usize, machine, label, at);
                }
            }
            Order::EndPoint(point) => self.end_point(point as usize),
            Order::Live(seam) => {
                if let Some(past) = &mut self.past {
                    past.set_seam(seam);
                }
            }
            Order::Room(bytes) => self.sink.set_room(bytes),
            Order::AddTool(tool) => {
                self.tools.push((*tool, descriptor));
                if self.tools.len() == self.tool_count
                    && let Err(message) = self.open_tools()
                {
                    let _ = channel.send(&News::Failed { message }, None);
                }
            }
            Order::AddReader(number, export) => {
                let said = self.add_reader(number as usize, descriptor, export);
                let _ = channel.send(&News::Said(said), None);
            }
            Order::Reconnect(point) => {
                if let Err(error) = self.reconnect(point as usize, descriptor) {
                    let message = format!("the engine cannot read a connection: {error}");
                    let _ = channel.send(&News::Failed { message }, None);
                }
            }
            Order::Entitle(grants, at) => {
                if let Some(tools) = self.sink.tools() {
                    tools.entitle(&grants, at);
                }
            }
            Order::Stop => return Some(End::Asked),
        }
        None
    }

    /// All tools are here: from now on packets go to them.
    fn open_tools(&mut self) -> Result<(), String> {
        let orders = std::mem::take(&mut self.tools);
        let (section, interfaces) = (self.section.clone(), self.interfaces.clone());
        let ports = self.rules.ports().clone();
        let tools = ToolSink::open(orders, section, interfaces, ports, now())?;
        self.pipeline.exclude(tools.exports().clone());
        self.sink.set_tools(tools);
        Ok(())
    }

    /// A reader has called. Returns what a person should hear.
    fn add_reader(
        &mut self,
        number: usize,
        descriptor: Option<OwnedFd>,
        export: Option<Export>,
    ) -> String {
        let (Some(tools), Some(fd)) = (self.sink.tools(), descriptor) else {
            return "a reader is connected to a tool that is not there".into();
        };
        let added = tools.add_reader(number, fd, export, now());
        if let Some(is_told) = self.lost_tools.get_mut(number) {
            *is_told = false;
        }
        let exports = tools.exports().clone();
        self.pipeline.exclude(exports);
        match added {
            Ok(()) => "a reader of it is connected".into(),
            Err(error) => format!("a reader of it is connected and is sent nothing: {error}"),
        }
    }

    /// Lets nothing in any more, accounts for every packet in the rings, closes the file.
    fn finish(mut self, end: End) -> Outcome {
        for intake in &mut self.intakes {
            // If the kernel refused, packets would still arrive; the limit keeps them out.
            let _ = intake.inlet.shut();
        }
        if self.past.is_some() {
            // What comes behind the part that is missing would look as if nothing were.
            self.pipeline.end_at(Timestamp::ZERO);
        } else if matches!(end, End::Asked | End::InterfacesGone) {
            self.pipeline.end_at(now());
        }
        while !self.early.is_empty() {
            self.take_early();
        }
        // The last packets lie in blocks that are handed over when their timer fires.
        let deadline = Instant::now() + DRAIN_AT_MOST;
        loop {
            std::thread::sleep(GRACE);
            self.drain();
            self.count();
            if self.intakes.iter().all(|intake| intake.inlet.counters().is_drained())
                || Instant::now() > deadline
            {
                break;
            }
        }
        self.pipeline.finish(&mut self.sink);
        let mut ledgers: Vec<_> = self.pipeline.ledgers().copied().collect();
        let mut recorded = Vec::new();
        if let Some(past) = self.past.as_ref().or(self.written_past.as_ref()) {
            past.account(&mut ledgers);
            recorded = past.labels();
        }
        let out_of_order = self.out_of_order + self.pipeline.written_late();
        let gaps = self.gaps();
        let sessions = self.sessions.into_iter().map(|session| session.label).collect();
        let sink = self.sink;
        Outcome { recorded, sessions, gaps, ..sink.close(now(), ledgers, end, out_of_order) }
    }

    fn drain(&mut self) {
        while let Readiness::Source(number) = self.merge.choose(&mut self.intakes, now(), true) {
            self.take_one(number);
        }
    }

    fn count(&mut self) {
        for (number, Intake { inlet, doubles, .. }) in self.intakes.iter_mut().enumerate() {
            // Only the counts are late if this fails; they are read again at the end.
            let _ = inlet.count();
            let counters = inlet.counters();
            // What a mirror sent is in the accounts of its sessions.
            let opened: u64 = self
                .sessions
                .iter()
                .filter(|session| session.intake == number)
                .map(|session| session.received)
                .sum();
            let received = counters.received.saturating_sub(*doubles + opened);
            self.pipeline.count_kernel(number, received, counters.kernel_dropped);
            self.sink.count(inlet.point(), counters);
        }
        self.count_sessions();
    }

    fn progress(&mut self) -> Progress {
        let mut progress = Progress {
            packets: self.pipeline.written(),
            bytes: self.pipeline.written_bytes(),
            ..Progress::default()
        };
        for ledger in self.pipeline.ledgers() {
            progress.kernel_dropped += ledger.kernel_dropped;
            progress.failed += ledger.queue_full + ledger.sink_failed;
            progress.ledger = progress.ledger.plus(ledger);
        }
        progress
    }
}

/// What ended a wait.
enum Awaited {
    /// The session has something to say, or is gone.
    Orders,
    /// An interface is down or gone.
    Trouble,
    /// Packets or the time-out.
    Nothing,
}

/// The wall clock, which is what the kernel stamps packets with.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// A ring shows a packet at most 40 ms late; the rest is slack for a busy machine.
const GRACE: Duration = Duration::from_millis(60);
/// On a wire that others use, the VM's name there may become somebody else's: the news of it is
/// here within this time.
const HOLD: Duration = Duration::from_millis(150);
const FLUSH_EVERY: Duration = Duration::from_millis(100);
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// How long a slow reader of a pipe is given before it is looked at again.
const READER_REST: Duration = Duration::from_millis(5);
/// How long a round may sleep when nothing is at hand.
const IDLE: Duration = Duration::from_secs(1);
const DRAIN_AT_MOST: Duration = Duration::from_secs(2);
/// Packets between two looks at clock and orders: about a millisecond of work.
const BATCH: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored_in(status, 1));
        assert!(!is_ignored_in(status, 2));
        assert!(is_ignored_in(status, 13));
        assert!(!is_ignored_in("", 1));
    }
}
