//! The process that reads packets: fenced in, fed with sockets, ended by a word or a broken line.
//!
//! It knows no inventory and opens nothing but its output. All timers run on `poll`'s own time-out,
//! so a quiet interface delays nothing.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use capture::{Condition, Inlet, MirrorReceiver, MirrorRule, Received, Ring, Stream, StreamEnd};
use pipeline::{Merge, Pipeline, PointRules, Readiness, Source, Treatment};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use select::{DropReason, Export, Filter, Guard, Ownership};
use wire::file::{InterfaceHeader, SectionHeader};
use wire::mirror::SessionNumber;
use wire::{KeptPacket, PointId, Timestamp};

use crate::channel::Channel;
use crate::kernel::KernelRules;
use crate::orders::{
    End, GapReport, Job, MirrorOrder, News, Order, Outcome, PointOrder, Progress, StreamOrder,
};
use crate::output::{self, OutputSink};
use crate::past::{Past, Step};
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
    rings: Vec<Inlet>,
    /// For each ring, what takes frames out of its packets, if they are a mirror's.
    receivers: Vec<Option<Receiver>>,
    /// What the interfaces of the file have in common; mirror sessions have no more than that.
    session_header: InterfaceHeader,
    /// The mirror sessions, whose points come behind those of the job.
    sessions: Vec<SessionPoint>,
    merge: Merge,
    /// What the rings' kernel programs are made from.
    rules: KernelRules,
    /// For each ring, whose packets are taken now.
    owned: Vec<Ownership>,
    /// For each ring, how much of a packet the kernel keeps.
    kept: Vec<u32>,
    /// For each ring, whether its interface still exists.
    is_attached: Vec<bool>,
    /// What was recorded, until it is written.
    past: Option<Past>,
    /// The account of it, when it is written.
    written_past: Option<Past>,
    /// Live packets before this time were written from the recording.
    live_from: Timestamp,
    /// For each ring, packets that were.
    doubles: Vec<u64>,
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
            rings: Vec::new(),
            receivers: Vec::new(),
            session_header,
            sessions: Vec::new(),
            merge: Merge { grace: GRACE, hold: if is_shared { HOLD } else { Duration::ZERO } },
            rules,
            owned: Vec::new(),
            kept: Vec::new(),
            is_attached: Vec::new(),
            past,
            written_past: None,
            live_from: Timestamp::ZERO,
            doubles: Vec::new(),
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

    /// Writes some of what was recorded. Says how long there will be nothing more of it.
    fn take_past(&mut self, channel: &Channel) -> Result<Duration, End> {
        let Some(past) = &mut self.past else { return Ok(Duration::ZERO) };
        // A session that is gone shows at the next wait.
        let mut say = |text| {
            let _ = channel.send(&News::Said(text), None);
        };
        let has_sockets = past.has_seam();
        let step = past.step(now(), &mut self.pipeline, &mut self.sink, &mut say);
        if has_sockets {
            self.keep_early();
        }
        match step {
            Step::Played => {}
            Step::CaughtUp => {
                let _ = channel.send(&News::CaughtUp, None);
            }
            Step::Wait(duration) => return Ok(duration),
            Step::Over(live_from) => {
                self.live_from = live_from;
                self.written_past = self.past.take();
                if let Some(past) = &self.written_past {
                    self.written_until = self.written_until.max(past.newest());
                    if !past.is_live() {
                        return Err(End::Recorded);
                    }
                }
            }
        }
        Ok(Duration::ZERO)
    }

    /// Takes live packets out of the rings, which may be small, while what was recorded before them
    /// is not complete yet.
    fn keep_early(&mut self) {
        let now = now();
        for _ in 0..BATCH {
            let Readiness::Source(number) = self.merge.choose(&mut self.rings, now, false) else {
                return;
            };
            if self.early_bytes > MOST_EARLY_BYTES {
                return;
            }
            let Some(packet) = self.rings.get_mut(number).and_then(Source::next) else { return };
            self.early_bytes += packet.data.len() + size_of::<KeptPacket>();
            self.early.push_back(KeptPacket::new(&packet));
        }
    }

    /// Passes on the live packets that have waited, at most a batch.
    fn take_early(&mut self) {
        for _ in 0..EARLY_BATCH {
            let Some(kept) = self.early.pop_front() else { break };
            let packet = kept.packet();
            if packet.time < self.live_from {
                if let Some(doubles) = self.doubles.get_mut(packet.point.0 as usize) {
                    *doubles += 1;
                }
                continue;
            }
            self.written_until = self.written_until.max(packet.time);
            self.pipeline.offer(packet, &mut self.sink);
            if self.pipeline.ended().is_some() {
                break;
            }
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
        let may_wait = self.rings.len() > 1 || !self.merge.hold.is_zero();
        let is_pressed = may_wait && self.rings.iter_mut().any(Inlet::is_half_full);
        for _ in 0..BATCH {
            match self.merge.choose(&mut self.rings, now, is_pressed) {
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
        let share = (BATCH / self.rings.len().max(1)).max(64);
        for number in 0..self.rings.len() {
            let is_pressed = self.rings.get_mut(number).is_some_and(Inlet::is_half_full);
            for taken in 0.. {
                let Some(ring) = self.rings.get_mut(number) else { break };
                match self.merge.choose(std::slice::from_mut(ring), now, is_pressed) {
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
        let Some(packet) = self.rings.get_mut(number).and_then(Source::next) else { return };
        if packet.time < self.live_from {
            if let Some(doubles) = self.doubles.get_mut(number) {
                *doubles += 1;
            }
            return;
        }
        let Some(Some(receiver)) = self.receivers.get_mut(number) else {
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

    /// Makes a point of a mirror session, and passes on its first frame.
    #[cold]
    fn add_session(&mut self, number: usize, place: usize, first: &KeptPacket) {
        let Some(Some(receiver)) = self.receivers.get_mut(number) else { return };
        let Some(ownership) = self.owned.get(number) else { return };
        let session = receiver.mirror.session(SessionNumber(place));
        let stream = self.rings.get(number).and_then(Inlet::stream);
        let key = match (session, stream) {
            (Some(session), _) => format!("{} @ {}", session.key, receiver.place),
            (None, Some(stream)) => match stream.name(place) {
                Some(name) => format!("{name} of {}", receiver.label),
                None => format!("other interfaces of {}", receiver.label),
            },
            (None, None) if receiver.is_plain => receiver.label.clone(),
            (None, None) => format!("other sessions @ {}", receiver.label),
        };
        let point = u32::try_from(self.pipeline.ledgers().count()).unwrap_or(u32::MAX);
        self.pipeline.add_point(PointRules { guard: Guard::new(ownership), later: None });
        let header = InterfaceHeader { name: key.clone(), ..self.session_header.clone() };
        self.sink.add_point(header, now());
        receiver.points.insert(place, self.sessions.len());
        let point = PointId(point);
        self.sessions.push(SessionPoint { ring: number, place, point, label: key, received: 1 });
        let packet = wire::Packet { point, ..first.packet() };
        self.written_until = self.written_until.max(packet.time);
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
        let oldest = |ring: &mut Inlet| ring.peek().map_or(settled, |time| time.min(settled));
        let settled = match &self.sink {
            OutputSink::Store(_) => self.rings.iter_mut().map(oldest).min().unwrap_or(settled),
            OutputSink::File(_) => settled,
        };
        self.sink.tick(now(), self.pipeline.settled(settled));
    }

    fn wait(&self, channel: &Channel, longest: Duration) -> io::Result<Awaited> {
        // A packet that is held back would make its ring readable at once, again and again.
        let is_holding = !longest.is_zero() && longest < IDLE;
        let watch = if is_holding { PollFlags::ERR } else { PollFlags::IN };
        let mut watched = vec![PollFd::new(channel, PollFlags::IN)];
        for (ring, is_attached) in self.rings.iter().zip(&self.is_attached) {
            if let Some(socket) = ring.socket().filter(|_| *is_attached) {
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

    fn add_socket(&mut self, descriptor: Option<OwnedFd>) -> io::Result<()> {
        let point = self.awaited.next().ok_or_else(|| io::Error::other("it has no point"))?;
        self.attach(point, descriptor)
    }

    /// Reads a socket for the next point.
    fn attach(&mut self, point: PointOrder, descriptor: Option<OwnedFd>) -> io::Result<()> {
        let socket = descriptor.ok_or_else(|| io::Error::other("none came with the order"))?;
        let number = u32::try_from(self.rings.len()).map_err(io::Error::other)?;
        self.receivers.push(point.mirror.as_ref().map(|order| Receiver::new(order, &point.label)));
        let number = PointId(number);
        self.rings.push(match point.mirror.as_ref().and_then(|mirror| mirror.stream) {
            Some(_) => Inlet::Stream(Box::new(Stream::new(socket)?), number),
            None => Inlet::Ring(Ring::attach(socket, point.ring, number, point.side)?),
        });
        self.is_attached.push(true);
        self.doubles.push(0);
        self.kept.push(point.kept);
        self.owned.push(point.ownership);
        Ok(())
    }

    /// Takes the packets of another point as well, from now on.
    fn add_point(
        &mut self,
        point: PointOrder,
        recorded: Option<(recorder::MachineRef, Timestamp)>,
        descriptor: Option<OwnedFd>,
    ) -> io::Result<()> {
        // Behind mirror sessions and recorded points, rings and points would have other numbers.
        let are_numbers_equal = self.pipeline.ledgers().count() == self.rings.len();
        match (self.sink.store(), recorded) {
            (Some(store), Some((machine, since))) => store.add_point(&point, machine, since),
            (None, None) if are_numbers_equal => {
                let header = output::interface(&point, &self.session_header);
                self.sink.add_point(header, now());
            }
            _ => return Err(io::Error::other("this capture cannot get more points")),
        }
        let guard = Guard::new(&point.ownership);
        self.pipeline.add_point(PointRules { guard, later: None });
        let (number, ownership) = (self.rings.len(), point.ownership.clone());
        self.attach(point, descriptor)?;
        if let Ownership::Shared(_) = ownership {
            self.merge.hold = HOLD;
            // Its tunnels are known everywhere from now on.
            self.own(number, &ownership, Timestamp::ZERO);
        }
        Ok(())
    }

    /// Nothing more is recorded of a point.
    fn end_point(&mut self, number: usize) {
        if let Some(store) = self.sink.store() {
            store.end_point(number, now());
        }
    }

    /// Takes other packets of a point from a time on. The kernel's programs follow at once; what
    /// they have let in before is judged here, by its time.
    fn own(&mut self, number: usize, ownership: &Ownership, at: Timestamp) {
        self.pipeline.own(number, ownership, at);
        for session in self.sessions.iter().filter(|session| session.ring == number) {
            self.pipeline.own(session.point.0 as usize, ownership, at);
        }
        self.rules.add(ownership);
        if let Some(store) = self.sink.store() {
            store.own(number, ownership);
        }
        if let Some(owned) = self.owned.get_mut(number) {
            owned.clone_from(ownership);
        }
        // An expression sees the tunnels of all points at each, so one point's news concern all.
        let all = self.rings.iter_mut().zip(&self.owned).zip(&self.kept).zip(&self.receivers);
        for (((ring, ownership), kept), receiver) in all {
            // At a mirror the kernel looks at what is around the frames.
            if receiver.is_some() || *ownership == Ownership::Shared(Vec::new()) {
                // What is nobody's business any more is refused here, where it is counted.
                continue;
            }
            let refilter = |program: &_| ring.refilter(program, *kept);
            let attached = self.rules.attach(ownership, *kept, |_| true, refilter);
            if let Err(error) = attached {
                self.sink.comment(&format!("the kernel kept its old filter: {error}"));
            }
        }
    }

    /// Finds the interfaces behind errors. Those that are down stay; those that are gone are left.
    fn look_after_interfaces(&mut self, channel: &Channel) -> Option<End> {
        for number in 0..self.rings.len() {
            let Some(ring) = self.rings.get(number) else { break };
            let is_gone = matches!(ring.condition(), Ok(Condition::Gone) | Err(_));
            let Some(is_attached) = self.is_attached.get_mut(number) else { continue };
            if *is_attached && is_gone {
                *is_attached = false;
                let point = u32::try_from(number).unwrap_or(u32::MAX);
                let _ = channel.send(&News::PointGone { point }, None);
                self.end_point(number);
            }
        }
        // A recorder waits for the next machine, a recording for its end.
        if self.sink.is_store() || self.past.is_some() {
            return None;
        }
        let is_any_left = self.is_attached.iter().any(|is_attached| *is_attached);
        (!is_any_left).then_some(End::InterfacesGone)
    }

    /// Goes on with another connection to the sender of a point.
    fn reconnect(&mut self, number: usize, descriptor: Option<OwnedFd>) -> io::Result<()> {
        let socket = descriptor.ok_or_else(|| io::Error::other("none came with the order"))?;
        let Some(stream) = self.rings.get_mut(number).and_then(Inlet::stream_mut) else {
            return Err(io::Error::other("it is of no such point"));
        };
        stream.connect(socket)
    }

    /// Tells of connections that are lost; whoever has the right to makes them again.
    fn look_after_connections(&mut self, channel: &Channel) -> Option<End> {
        if let Some(tools) = self.sink.tools() {
            self.lost_tools.resize(tools.len(), false);
            for (number, is_told) in self.lost_tools.iter_mut().enumerate() {
                if tools.is_lost(number) && !*is_told {
                    *is_told = true;
                    let number = u32::try_from(number).unwrap_or(u32::MAX);
                    let _ = channel.send(&News::ToolLost(number), None);
                }
            }
        }
        let mut last = None;
        for number in 0..self.rings.len() {
            let stream = self.rings.get_mut(number).and_then(Inlet::stream_mut);
            let Some(end) = stream.and_then(Stream::take_end) else { continue };
            let Some(Some(receiver)) = self.receivers.get(number) else { continue };
            let ends = receiver.stream.is_some_and(|order| order.ends);
            let point = u32::try_from(number).unwrap_or(u32::MAX);
            let is_foreign = matches!(end, StreamEnd::Foreign(_));
            let label = receiver.label.clone();
            self.sink.comment(&format!("{label}: {end}"));
            if !ends && !is_foreign {
                let _ = channel.send(&News::SenderLost { point, why: end.to_string() }, None);
                continue;
            }
            let _ = channel.send(&News::Said(format!("{label}: {end}")), None);
            if let Some(is_attached) = self.is_attached.get_mut(number) {
                *is_attached = false;
            }
            last = Some(match end {
                StreamEnd::Closed => End::SenderEnded,
                end => End::SenderFailed(end.to_string()),
            });
        }
        last.filter(|_| self.is_attached.iter().all(|is_attached| !is_attached))
    }

    /// Lets nothing in any more, accounts for every packet in the rings, closes the file.
    fn finish(mut self, end: End) -> Outcome {
        for ring in &mut self.rings {
            // If the kernel refused, packets would still arrive; the limit keeps them out.
            let _ = ring.shut();
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
            if self.rings.iter().all(|ring| ring.counters().is_drained())
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

    /// The times without a connection to a sender.
    fn gaps(&self) -> Vec<GapReport> {
        let all = self.rings.iter().zip(&self.receivers);
        all.filter_map(|(ring, receiver)| {
            let (gaps, receiver) = (ring.stream()?.gaps(), receiver.as_ref()?);
            // What ends with its first connection has nothing missing behind it.
            let is_over = receiver.stream.is_some_and(|order| order.ends);
            (gaps.count > 0 && !is_over).then(|| GapReport {
                mirror: receiver.label.clone(),
                count: gaps.count,
                total_ms: u64::try_from(gaps.total.as_millis()).unwrap_or(u64::MAX),
            })
        })
        .collect()
    }

    fn drain(&mut self) {
        while let Readiness::Source(number) = self.merge.choose(&mut self.rings, now(), true) {
            self.take_one(number);
        }
    }

    fn count(&mut self) {
        for (number, ring) in self.rings.iter_mut().enumerate() {
            // Only the counts are late if this fails; they are read again at the end.
            let _ = ring.count();
            let counters = ring.counters();
            let doubles = self.doubles.get(number).copied().unwrap_or(0);
            // What a mirror sent is in the accounts of its sessions.
            let opened: u64 = self
                .sessions
                .iter()
                .filter(|session| session.ring == number)
                .map(|session| session.received)
                .sum();
            let received = counters.received.saturating_sub(doubles + opened);
            self.pipeline.count_kernel(number, received, counters.kernel_dropped);
            self.sink.count(ring.point(), counters);
        }
        self.count_sessions();
    }

    /// Counts what came of each mirror session, and what did not. Of sessions that share their
    /// numbers the first has the losses of all.
    fn count_sessions(&mut self) {
        let all = self.receivers.iter().zip(&self.rings);
        let lost: Vec<_> = all.map(|(receiver, ring)| Receiver::lost(receiver, ring)).collect();
        for session in &self.sessions {
            let lost = lost.get(session.ring).and_then(|lost| lost.get(&session.place));
            let lost = lost.copied().unwrap_or(0);
            let number = session.point.0 as usize;
            self.pipeline.count_kernel(number, session.received, 0);
            self.pipeline.count_lost_of_mirror(number, lost);
            self.sink.count_session(session.point, session.received, lost);
        }
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

/// What takes frames out of the packets of a ring.
struct Receiver {
    mirror: MirrorReceiver,
    /// The place of each session's point in `Engine::sessions`, by its number.
    points: HashMap<usize, usize>,
    /// What the mirror is called, and host and interface where it ends.
    label: String,
    place: String,
    /// Whether there is nothing around the frames, and so no sessions.
    is_plain: bool,
    /// How its connection is read, if it comes over one.
    stream: Option<StreamOrder>,
}

/// A mirror session and its point.
struct SessionPoint {
    /// The ring its packets come by.
    ring: usize,
    /// Its number there.
    place: usize,
    point: PointId,
    label: String,
    /// Frames taken out of its packets.
    received: u64,
}

impl Receiver {
    fn new(order: &MirrorOrder, label: &str) -> Self {
        let MirrorOrder { form, address, session, udp_port, stream } = *order;
        let rule = MirrorRule { form, address, session, udp_port };
        Self {
            mirror: MirrorReceiver::new(rule),
            points: HashMap::new(),
            // What the mirror is called is in the name of its session.
            place: label.rsplit_once(" @ ").map_or(label, |(_, place)| place).to_owned(),
            label: label.to_owned(),
            is_plain: form.is_none(),
            stream,
        }
    }

    /// Packets lost of each row of numbers, by the first session that is in it; of a stream those
    /// that its sender says.
    fn lost(this: &Option<Self>, inlet: &Inlet) -> HashMap<usize, u64> {
        if let Some(stream) = inlet.stream() {
            return stream.lost().collect();
        }
        let rows = this.iter().flat_map(|receiver| receiver.mirror.sessions().numbering());
        rows.filter_map(|row| Some((row.sessions.first()?.0, row.counts.lost))).collect()
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
/// Early packets between two looks at the reader of a pipe.
const EARLY_BATCH: usize = 64;
/// Memory for live packets that wait.
const MOST_EARLY_BYTES: usize = 128 << 20;
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
