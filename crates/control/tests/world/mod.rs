//! The simulated site: hosts, machines, the network between agents and controller, and what goes
//! wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::document::{Orders, Part, Session, Wish};
use control::clock::{Exchange, Moment};
use control::fleet::Fleet;
use control::grants::{
    Ask, Asked, Grant, Grants, MachineFacts, Permit, Purpose, Role, Selector, Snaplen, User,
};
use control::sessions::Sessions;
use inventory::facts::NamespaceId;
use inventory::{
    Attachment, Host, Look, Machine, MachineId, MachineKind, MachineState, Site, Timeline, Vnic,
};
use jiff::Timestamp;
use select::Resolved;
use serde::Deserialize;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) hosts: usize,
    pub(crate) vms: usize,
    pub(crate) seconds: u64,
    pub(crate) troubles_per_s: u64,
}

pub(crate) struct World {
    /// Simulated time, in ns since it began.
    now_ns: u64,
    seed: u64,
    random: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    vms: Vec<Vm>,
    agents: Vec<Agent>,
    controller: Controller,
    most_waiting: usize,
    watched: u64,
    /// Sessions that were ended.
    over: BTreeSet<String>,
    counts: BTreeMap<&'static str, u64>,
}

/// What a machine is, wherever it is.
struct Vm {
    id: MachineId,
    name: String,
    tenant: String,
    vnics: u8,
}

/// An agent with its host.
struct Agent {
    /// Machines that are here.
    here: BTreeMap<usize, MachineState>,
    is_up: bool,
    /// Until when nothing passes between it and the controller.
    cut_until_ns: u64,
    latency_ns: u64,
    line: Option<u64>,
    /// No message overtakes another one on a line.
    last_arrival_ns: u64,
    orders: Option<Arc<Heard>>,
    parts: BTreeMap<(String, u32), Part>,
    running: BTreeMap<(String, String), u32>,
    timeline: Timeline,
    told: BTreeMap<(String, u32), bool>,
    clock_ahead_ns: i64,
}

/// Orders as they are read from their text.
struct Heard {
    orders: Orders,
    permits: BTreeMap<String, Permit>,
}

struct Controller {
    is_up: bool,
    fleet: Fleet,
    sessions: Sessions,
    /// What is on its disk.
    store: BTreeMap<String, String>,
    lines: BTreeMap<u64, Line>,
    next_line: u64,
    orders: Arc<Heard>,
    /// How far its wall clock was set.
    wall_ahead_ns: i64,
    grants: Grants,
    users: Vec<User>,
}

/// A line as the controller has it.
struct Line {
    agent: usize,
    /// Orders on their way, and whether there are newer ones.
    is_sending: bool,
    is_stale: bool,
}

enum Event {
    Trouble,
    Watch,
    Connect(usize),
    Hello {
        agent: usize,
        line: u64,
    },
    Looked {
        agent: usize,
        line: u64,
        look: Box<Look>,
    },
    Part {
        agent: usize,
        line: u64,
        part: Box<Part>,
    },
    Ponged {
        agent: usize,
        line: u64,
        exchange: Exchange,
    },
    Ordered {
        agent: usize,
        line: u64,
        orders: Arc<Heard>,
    },
    Cut {
        agent: usize,
        line: u64,
    },
    Set {
        agent: usize,
        vm: usize,
        state: Option<MachineState>,
    },
    Start(usize),
    StartController,
    Follow,
    /// The agent takes its line to be cut.
    GiveUp {
        agent: usize,
        line: u64,
    },
}

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
/// When it all began: 2023-11-14.
const EPOCH: u64 = 1_700_000_000 * SECOND;

impl World {
    pub(crate) fn new(seed: u64, scale: Scale) -> Self {
        let vms = (0..scale.vms).map(|i| Vm {
            id: format!("uuid:00000000-0000-4000-8000-{i:012x}").parse().unwrap(),
            name: format!("web-{i}"),
            tenant: format!("t{}", i % 5),
            vnics: 1,
        });
        let agents = (0..scale.hosts).map(|_| Agent {
            here: BTreeMap::new(),
            is_up: true,
            cut_until_ns: 0,
            latency_ns: 5 * MS,
            line: None,
            last_arrival_ns: 0,
            orders: None,
            parts: BTreeMap::new(),
            running: BTreeMap::new(),
            timeline: Timeline::new(1),
            told: BTreeMap::new(),
            clock_ahead_ns: 0,
        });
        let mut world = Self {
            now_ns: 0,
            seed,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            events: BTreeMap::new(),
            next_event: 0,
            vms: vms.collect(),
            agents: agents.collect(),
            controller: Controller::new(),
            most_waiting: 0,
            watched: 0,
            over: BTreeSet::new(),
            counts: BTreeMap::new(),
        };
        for vm in 0..scale.vms {
            let host = world.below(scale.hosts);
            world.agents[host].here.insert(vm, MachineState::Running);
        }
        for agent in 0..scale.hosts {
            let wait = world.below(1000) as u64 * MS;
            world.after(wait, Event::Connect(agent));
        }
        world.after(0, Event::Watch);
        let end = scale.seconds * SECOND;
        let mut at = SECOND;
        while at < end {
            world.after(at, Event::Trouble);
            at += SECOND / scale.troubles_per_s;
        }
        world.ask(
            "ann",
            Asked::Growing { selection: vec!["tenant:t0".parse().unwrap()], present: vec![] },
        );
        world.ask(
            "bob",
            Asked::Growing { selection: vec!["vm:t1/web-1*".parse().unwrap()], present: vec![] },
        );
        for vm in [3, 4, 8] {
            let machine = world.vms[vm].facts();
            world.ask("eve", Asked::Machines(vec![machine]));
        }
        world.publish();
        world
    }

    /// Lets things go wrong for so long.
    pub(crate) fn trouble_for(&mut self, seconds: u64) {
        self.run_until(seconds * SECOND);
    }

    /// Everything that is down or cut comes back.
    pub(crate) fn heal(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Trouble));
        for agent in 0..self.agents.len() {
            self.agents[agent].cut_until_ns = 0;
            self.agents[agent].latency_ns = 5 * MS;
        }
    }

    /// Lets time pass.
    pub(crate) fn rest_for(&mut self, seconds: u64) {
        self.run_until(self.now_ns + seconds * SECOND);
    }

    pub(crate) fn summary(&self) -> String {
        let sessions = self.controller.sessions.iter();
        let (parts, notes) =
            sessions.fold((0, 0), |(p, n), s| (p + s.parts.len(), n + s.notes.len()));
        format!(
            "{:?}; {parts} parts, {notes} notes, {} bytes of looks, at most {} messages on the way",
            self.counts,
            self.controller.fleet.remembered_bytes(),
            self.most_waiting
        )
    }

    fn run_until(&mut self, end_ns: u64) {
        while let Some(entry) = self.events.first_entry() {
            let (at, _) = *entry.key();
            if at > end_ns {
                break;
            }
            let event = entry.remove();
            self.now_ns = at;
            self.most_waiting = self.most_waiting.max(self.events.len());
            self.happen(event);
        }
        self.now_ns = end_ns;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Trouble => self.trouble(),
            Event::Watch => self.watch(),
            Event::Connect(agent) => self.connect(agent),
            Event::Hello { agent, line } => self.hello(agent, line),
            Event::Looked { agent, line, look } => {
                if self.is_open(agent, line) {
                    // Late words of a line that was replaced are refused; all others are taken.
                    let taken = self.controller.fleet.look(&name(agent), line, *look);
                    let is_own = self.is_own(agent, line);
                    assert_eq!(taken.is_ok(), is_own, "seed {}: {taken:?}", self.seed);
                }
            }
            Event::Part { agent, line, part } => {
                if self.is_open(agent, line) && self.is_own(agent, line) {
                    let now = self.moment();
                    self.controller.sessions.take_part(&name(agent), *part, now);
                }
            }
            Event::Ponged { agent, line, mut exchange } => {
                if self.is_open(agent, line) && self.is_own(agent, line) {
                    exchange.heard_ns = self.moment().wall_ns;
                    self.controller.fleet.seat_mut(&name(agent)).unwrap().exchange(exchange);
                }
            }
            Event::Ordered { agent, line, orders } => self.ordered(agent, line, orders),
            Event::Cut { agent, line } => {
                // The controller notices that nobody answers any more.
                self.controller.lines.remove(&line);
                self.controller.fleet.left(&name(agent), line);
                if self.agents[agent].line == Some(line) {
                    self.agents[agent].line = None;
                    let wait = 200 + self.below(5000) as u64;
                    self.after(wait * MS, Event::Connect(agent));
                }
            }
            Event::Set { agent, vm, state } => self.set(agent, vm, state),
            Event::Start(agent) => {
                self.agents[agent].is_up = true;
                self.reconcile(agent);
                self.after(100 * MS, Event::Connect(agent));
            }
            Event::StartController => self.start_controller(),
            Event::Follow => self.follow(),
            Event::GiveUp { agent, line } => {
                if self.agents[agent].line == Some(line) {
                    self.agents[agent].line = None;
                    self.after(200 * MS, Event::Connect(agent));
                }
            }
        }
    }

    /// One thing that goes wrong, or changes.
    fn trouble(&mut self) {
        let (agent, vm) = (self.below(self.agents.len()), self.below(self.vms.len()));
        match self.below(100) {
            0..35 => self.migrate(vm),
            35..42 => {
                self.count("cut");
                let span = (1 + self.below(40) as u64) * SECOND;
                self.agents[agent].cut_until_ns = self.now_ns + span;
                if let Some(line) = self.agents[agent].line {
                    // One end may notice long after the other one has begun anew.
                    let noticed = (5 + self.below(30) as u64) * SECOND;
                    self.after(noticed, Event::Cut { agent, line });
                    let gives_up = (1 + self.below(10) as u64) * SECOND;
                    self.after(gives_up, Event::GiveUp { agent, line });
                }
            }
            42..50 => {
                self.count("slow");
                self.agents[agent].latency_ns = (1 + self.below(3000) as u64) * MS;
            }
            50..57 => self.stop_agent(agent),
            57..59 => self.stop_controller(),
            59..68 => {
                // Claimed again and again by a host where it is not.
                self.count("flap");
                for turn in 0..6 {
                    let state = (turn % 2 == 0).then_some(MachineState::Running);
                    let wait = turn * (100 + self.below(900) as u64) * MS;
                    if !self.agents[agent].here.contains_key(&vm) {
                        self.after(wait, Event::Set { agent, vm, state });
                    }
                }
                let is_elsewhere = !self.agents[agent].here.contains_key(&vm);
                if is_elsewhere {
                    self.after(10 * SECOND, Event::Set { agent, vm, state: None });
                }
            }
            68..74 => {
                self.count("two hosts");
                if !self.agents[agent].here.contains_key(&vm) {
                    let state = Some(MachineState::Running);
                    self.set(agent, vm, state);
                    self.after(40 * SECOND, Event::Set { agent, vm, state: None });
                }
            }
            74..80 => {
                self.count("renamed");
                let number = self.below(1000);
                self.vms[vm].name = format!("web-{number}");
                self.changed(vm);
            }
            80..85 => {
                self.count("another vNIC");
                self.vms[vm].vnics = u8::try_from(1 + self.below(3)).unwrap();
                self.changed(vm);
            }
            85..90 => {
                self.count("changed hands");
                self.vms[vm].tenant = format!("t{}", self.below(5));
                self.changed(vm);
            }
            90..93 => {
                self.count("clock of the controller set");
                self.controller.wall_ahead_ns += self.step();
            }
            93..96 => {
                self.count("clock of a host set");
                self.agents[agent].clock_ahead_ns += self.step();
            }
            96..100 if !self.controller.is_up => {}
            96..98 => {
                self.count("another filter");
                let ids: Vec<String> = self.running_ids();
                let id = &ids[self.below(ids.len())];
                self.controller.sessions.refilter(id, "tcp", Resolved::default());
                self.publish();
            }
            _ => {
                self.count("stopped and asked anew");
                let ids: Vec<String> = self.running_ids();
                let id = ids[self.below(ids.len())].clone();
                let session = self.controller.sessions.session(&id).unwrap().clone();
                let wall = self.moment().wall_ns;
                self.controller.sessions.end(&id, "stopped", wall);
                self.over.insert(id);
                self.keep();
                let next = format!("{}+", session.id);
                let parts = Vec::new();
                let session = Session { id: next, parts, notes: Vec::new(), ..session };
                let now = self.moment();
                self.controller.store(&session);
                let id = session.id.clone();
                self.controller.sessions.add(session, now);
                self.controller.sessions.follow(&id);
                self.publish();
            }
        }
    }

    fn step(&mut self) -> i64 {
        (self.below(7200) as i64 - 3600) * SECOND as i64
    }

    fn migrate(&mut self, vm: usize) {
        let Some(from) = self.host_of(vm) else { return };
        let to = self.below(self.agents.len());
        if self.agents[to].here.contains_key(&vm) {
            return;
        }
        let is_cancelled = self.below(5) == 0;
        self.count(if is_cancelled { "cancelled" } else { "migrated" });
        self.set(to, vm, Some(MachineState::Incoming));
        let switch = (200 + self.below(3000) as u64) * MS;
        if is_cancelled {
            self.after(switch, Event::Set { agent: to, vm, state: None });
            return;
        }
        self.after(switch / 2, Event::Set { agent: from, vm, state: Some(MachineState::Outgoing) });
        self.after(switch, Event::Set { agent: to, vm, state: Some(MachineState::Running) });
        self.after(switch + 300 * MS, Event::Set { agent: from, vm, state: None });
    }

    fn set(&mut self, agent: usize, vm: usize, state: Option<MachineState>) {
        let here = &mut self.agents[agent].here;
        match state {
            // Nothing leaves, or runs after it has left.
            Some(MachineState::Outgoing) if !here.contains_key(&vm) => return,
            Some(state) => _ = here.insert(vm, state),
            None => _ = here.remove(&vm),
        }
        self.site_changed(agent);
    }

    fn changed(&mut self, vm: usize) {
        for agent in 0..self.agents.len() {
            if self.agents[agent].here.contains_key(&vm) {
                self.site_changed(agent);
            }
        }
    }

    fn stop_agent(&mut self, agent: usize) {
        if !self.agents[agent].is_up {
            return;
        }
        self.count("agent restarted");
        let host = &mut self.agents[agent];
        host.is_up = false;
        host.orders = None;
        host.running.clear();
        for part in host.parts.values_mut() {
            part.ended.get_or_insert_with(|| "the agent was stopped".into());
        }
        if let Some(line) = host.line.take() {
            self.after(5 * MS, Event::Cut { agent, line });
        }
        let wait = (1 + self.below(15) as u64) * SECOND;
        self.after(wait, Event::Start(agent));
    }

    fn stop_controller(&mut self) {
        if !self.controller.is_up {
            return;
        }
        self.count("controller killed");
        self.controller.is_up = false;
        self.controller.lines.clear();
        for agent in 0..self.agents.len() {
            if self.agents[agent].line.take().is_some() {
                let wait = 200 + self.below(5000) as u64;
                self.after(wait * MS, Event::Connect(agent));
            }
        }
        let wait = (1 + self.below(10) as u64) * SECOND;
        self.after(wait, Event::StartController);
    }

    /// It knows what is on its disk, and nothing else.
    fn start_controller(&mut self) {
        let now = self.moment();
        let controller = &mut self.controller;
        controller.is_up = true;
        controller.fleet = Fleet::default();
        controller.sessions = Sessions::default();
        for text in controller.store.values() {
            controller.sessions.add(serde_json::from_str(text).unwrap(), now);
        }
        controller.orders = Heard::read(&controller.sessions);
        // Who follows a session comes back well within its lease.
        self.after(20 * SECOND, Event::Follow);
    }

    fn follow(&mut self) {
        for id in self.running_ids() {
            assert!(self.controller.sessions.follow(&id), "seed {}", self.seed);
        }
    }

    fn watch(&mut self) {
        self.after(500 * MS, Event::Watch);
        if !self.controller.is_up {
            return;
        }
        let now = self.moment();
        let Controller { fleet, sessions, .. } = &mut self.controller;
        for note in sessions.look_around(fleet, now) {
            sessions.take_note(note);
        }
        // Sessions last for days, and are followed but for some seconds: whatever clocks do, none
        // is over.
        assert_eq!(sessions.overdue(now), [], "seed {}", self.seed);
        self.keep();
        self.watched += 1;
        if self.agents.len() < 100 || self.watched.is_multiple_of(10) {
            self.nothing_is_wrong();
        }
    }

    /// Writes what is different to the disk.
    fn keep(&mut self) {
        for id in self.controller.sessions.take_unkept() {
            if let Some(session) = self.controller.sessions.session(&id).cloned() {
                self.controller.store(&session);
            }
        }
    }

    fn ask(&mut self, user: &str, asked: Asked) {
        let now = Timestamp::from_nanosecond(i128::from(EPOCH)).unwrap();
        let user = self.controller.users.iter().find(|u| u.name.as_str() == user).unwrap().clone();
        let ask = Ask {
            purpose: Purpose::Capture,
            asked,
            snaplen: None,
            duration: None,
            past: None,
            reason: String::new(),
        };
        let permit = self.controller.grants.decide(&user, &ask, now).unwrap();
        let session = Session {
            id: format!("s-{}", self.controller.store.len()),
            owner: user.name.to_string(),
            wish: Wish { is_attached: true, ..Wish::default() },
            began_ns: EPOCH,
            until_ns: EPOCH + 1_000_000 * SECOND,
            ended: None,
            ended_ns: None,
            parts: Vec::new(),
            notes: Vec::new(),
            revision: 0,
            permit: serde_json::to_value(&permit).unwrap(),
            explained: Resolved::default(),
            elsewhere: Vec::new(),
            awaited: Vec::new(),
        };
        let now = self.moment();
        self.controller.store(&session);
        let id = session.id.clone();
        self.controller.sessions.add(session, now);
        self.controller.sessions.follow(&id);
    }

    fn publish(&mut self) {
        if !self.controller.is_up {
            return;
        }
        self.keep();
        self.controller.orders = Heard::read(&self.controller.sessions);
        let lines: Vec<u64> = self.controller.lines.keys().copied().collect();
        for line in lines {
            self.send_orders(line);
        }
    }

    /// One message with orders is under way at most; the next one has what is right then.
    fn send_orders(&mut self, number: u64) {
        let orders = Arc::clone(&self.controller.orders);
        let Some(line) = self.controller.lines.get_mut(&number) else { return };
        if line.is_sending {
            line.is_stale = true;
            return;
        }
        (line.is_sending, line.is_stale) = (true, false);
        let agent = line.agent;
        let at = self.arrival(agent);
        self.at(at, Event::Ordered { agent, line: number, orders });
    }

    fn ordered(&mut self, agent: usize, line: u64, orders: Arc<Heard>) {
        let is_stale = match self.controller.lines.get_mut(&line) {
            Some(line) => {
                line.is_sending = false;
                line.is_stale
            }
            None => return,
        };
        if self.agents[agent].line == Some(line) {
            let kept: BTreeSet<String> = {
                let running = orders.orders.sessions.iter().map(|order| order.session.clone());
                running.chain(orders.orders.kept.iter().cloned()).collect()
            };
            let host = &mut self.agents[agent];
            host.orders = Some(orders);
            host.parts.retain(|(session, _), part| part.ended.is_none() || kept.contains(session));
            self.reconcile(agent);
        }
        if is_stale {
            self.send_orders(line);
        }
    }

    fn connect(&mut self, agent: usize) {
        let host = &self.agents[agent];
        if !host.is_up || host.line.is_some() {
            return;
        }
        if !self.controller.is_up || host.cut_until_ns > self.now_ns {
            let wait = 200 + self.below(5000) as u64;
            return self.after(wait * MS, Event::Connect(agent));
        }
        let line = self.controller.next_line;
        self.controller.next_line += 1;
        let line_of = Line { agent, is_sending: false, is_stale: false };
        self.controller.lines.insert(line, line_of);
        let host = &mut self.agents[agent];
        (host.line, host.timeline) = (Some(line), Timeline::new(1));
        // What is still under way on a line before this one may come later than what is said now.
        host.last_arrival_ns = self.now_ns;
        host.told.clear();
        let at = self.arrival(agent);
        self.at(at, Event::Hello { agent, line });
        self.tell(agent);
    }

    fn hello(&mut self, agent: usize, line: u64) {
        if !self.is_open(agent, line) {
            return;
        }
        let now = self.moment().wall_ns;
        // A later line may have been heard before.
        let known = self.controller.fleet.seat(&name(agent)).and_then(|seat| seat.line);
        if known.is_some_and(|known| known > line) {
            self.controller.lines.remove(&line);
            return;
        }
        // The line before it is not noticed to be cut yet: what comes by it must not count.
        self.controller.fleet.arrived(&name(agent), &name(agent), "1", line, now);
        self.send_orders(line);
        let asked_ns = now;
        let latency = self.agents[agent].latency_ns;
        let theirs = (EPOCH + self.now_ns + latency)
            .saturating_add_signed(self.agents[agent].clock_ahead_ns);
        let exchange = Exchange { asked_ns, received_ns: theirs, answered_ns: theirs, heard_ns: 0 };
        self.after(2 * latency, Event::Ponged { agent, line, exchange });
    }

    fn site_changed(&mut self, agent: usize) {
        self.reconcile(agent);
        self.tell(agent);
    }

    /// What an agent does with its orders: a capture for every machine that is meant, no other.
    fn reconcile(&mut self, agent: usize) {
        if !self.agents[agent].is_up {
            return;
        }
        let wanted = self.wanted(agent);
        let host = &mut self.agents[agent];
        let ended: Vec<_> =
            host.running.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in ended {
            let number = host.running.remove(&key).unwrap();
            let part = host.parts.get_mut(&(key.0, number)).unwrap();
            part.ended = Some("it left this host".into());
        }
        for (key, machine) in wanted {
            if host.running.contains_key(&key) {
                continue;
            }
            let last = host.parts.range((key.0.clone(), 0)..=(key.0.clone(), u32::MAX)).next_back();
            let number = last.map_or(1, |((_, number), _)| number + 1);
            let part = part(&key, number, machine, self.now_ns);
            host.parts.insert((key.0.clone(), number), part);
            host.running.insert(key, number);
        }
        self.tell(agent);
    }

    /// The sessions and machines an agent must capture, by its own orders and what is there.
    fn wanted(&self, agent: usize) -> BTreeMap<(String, String), String> {
        let host = &self.agents[agent];
        let Some(heard) = &host.orders else { return BTreeMap::new() };
        let now = Timestamp::from_nanosecond(i128::from(EPOCH + self.now_ns)).unwrap();
        let mut wanted = BTreeMap::new();
        for (session, permit) in &heard.permits {
            for vm in host.here.keys() {
                let facts = self.vms[*vm].facts();
                if permit.covers(&facts, now).is_ok() {
                    wanted.insert((session.clone(), facts.id.to_string()), facts.name);
                }
            }
        }
        wanted
    }

    /// Tells the controller what is different from what it was told last.
    fn tell(&mut self, agent: usize) {
        let Some(line) = self.agents[agent].line else { return };
        let site = self.site(agent);
        let at = (EPOCH + self.now_ns).saturating_add_signed(self.agents[agent].clock_ahead_ns);
        let (look, _) = self.agents[agent].timeline.record(wire::Timestamp::from_nanos(at), &site);
        if let Some(look) = look {
            let at = self.arrival(agent);
            self.at(at, Event::Looked { agent, line, look: Box::new(look) });
        }
        let host = &mut self.agents[agent];
        let mut news = Vec::new();
        for (key, part) in &host.parts {
            if host.told.get(key) != Some(&part.ended.is_some()) {
                news.push(part.clone());
                host.told.insert(key.clone(), part.ended.is_some());
            }
        }
        for part in news {
            let at = self.arrival(agent);
            self.at(at, Event::Part { agent, line, part: Box::new(part) });
        }
    }

    fn site(&self, agent: usize) -> Site {
        let here = self.agents[agent].here.iter();
        Site {
            host: Host { name: name(agent) },
            machines: here.map(|(vm, state)| self.vms[*vm].machine(*state)).collect(),
            sources: Vec::new(),
        }
    }

    /// When a message that leaves now arrives: late where the line is slow, and long after a cut,
    /// as what was lost is sent again ever more rarely.
    fn arrival(&mut self, agent: usize) -> u64 {
        let again = self.below(10_000) as u64 * MS;
        let host = &mut self.agents[agent];
        let is_cut = host.cut_until_ns > self.now_ns;
        let soon = self.now_ns + host.latency_ns;
        let at = if is_cut { host.cut_until_ns + again } else { soon };
        host.last_arrival_ns = at.max(host.last_arrival_ns + 1);
        host.last_arrival_ns
    }

    /// Whether the controller still listens at this line.
    fn is_open(&self, agent: usize, line: u64) -> bool {
        let known = self.controller.lines.get(&line);
        self.controller.is_up && known.is_some_and(|known| known.agent == agent)
    }

    fn is_own(&self, agent: usize, line: u64) -> bool {
        let seat = self.controller.fleet.seat(&name(agent));
        seat.is_some_and(|seat| seat.line == Some(line))
    }

    /// What must be true at every moment.
    fn nothing_is_wrong(&self) {
        let seed = self.seed;
        let (now, latest) = (self.now_ns, &self.controller.orders);
        for (number, host) in self.agents.iter().enumerate().filter(|(_, host)| host.is_up) {
            let wanted = self.wanted(number);
            let running: BTreeSet<_> = host.running.keys().collect();
            let wanted: BTreeSet<_> = wanted.keys().collect();
            assert_eq!(running, wanted, "seed {seed}, {now}: what {} captures", name(number));
            let has_latest = host.orders.as_ref().is_some_and(|o| Arc::ptr_eq(o, latest));
            if has_latest && self.controller.is_up {
                let ended = |s: &&str| self.controller.sessions.session(s).unwrap().ended.is_some();
                let over = running.iter().map(|(session, _)| session.as_str()).find(ended);
                assert_eq!(over, None, "seed {seed}, {now}: a session that is over");
            }
        }
        // No more under way than lines, each with its looks, parts and orders.
        assert!(self.controller.fleet.remembered_bytes() < 256 << 20, "seed {seed}");
        for session in self.controller.sessions.iter() {
            assert!(session.notes.len() <= 10_000 && session.parts.len() <= 20_000, "seed {seed}");
        }
    }

    /// What must be true when nothing has gone wrong for a while.
    pub(crate) fn everything_is_right(&self) {
        self.nothing_is_wrong();
        let seed = self.seed;
        let known = &self.controller;
        for (number, host) in self.agents.iter().enumerate() {
            let who = name(number);
            assert!(host.is_up && host.line.is_some(), "seed {seed}: {who} is not there");
            let heard = host.orders.as_ref().unwrap();
            assert_eq!(heard.orders, known.orders.orders, "seed {seed}: the orders of {who}");
            let seat = known.fleet.seat(&who).unwrap();
            assert_eq!(seat.line, host.line, "seed {seed}: the line of {who}");
        }
        let over = known.sessions.iter().filter(|session| session.ended.is_some());
        let over: BTreeSet<String> = over.map(|session| session.id.clone()).collect();
        assert_eq!(over, self.over, "seed {seed}: what has ended");
        let here: usize = self.agents.iter().map(|agent| agent.here.len()).sum();
        assert_eq!(known.fleet.machines().count(), here, "seed {seed}: machines in all");
        let captured: Vec<_> = known.sessions.iter().map(captured_at).collect();
        for (number, vm) in self.vms.iter().enumerate() {
            let there =
                self.agents.iter().enumerate().filter(|(_, a)| a.here.contains_key(&number));
            let there: BTreeSet<String> = there.map(|(agent, _)| name(agent)).collect();
            let found = known.fleet.hosts_of(&vm.id);
            let found_at: BTreeSet<String> =
                found.iter().map(|(seat, _)| seat.host.clone()).collect();
            assert_eq!(found_at, there, "seed {seed}: where {} is", vm.name);
            for (_, machine) in found {
                assert_eq!((&machine.name, machine.vnics.len()), (&vm.name, usize::from(vm.vnics)));
            }
            // Whoever may see it sees it, wherever it is, and nobody else does.
            let now = Timestamp::from_nanosecond(i128::from(EPOCH + self.now_ns)).unwrap();
            for (session, captured) in known.sessions.iter().zip(&captured) {
                let permit = Permit::deserialize(&session.permit).unwrap();
                let is_due = session.ended.is_none() && permit.covers(&vm.facts(), now).is_ok();
                let due_at = if is_due { there.clone() } else { BTreeSet::new() };
                let captured = captured.get(&vm.id.to_string()).cloned().unwrap_or_default();
                assert_eq!(captured, due_at, "seed {seed}: {} for {}", vm.name, session.id);
            }
        }
    }

    fn running_ids(&self) -> Vec<String> {
        let running = self.controller.sessions.iter().filter(|s| s.ended.is_none());
        running.map(|session| session.id.clone()).collect()
    }

    fn host_of(&self, vm: usize) -> Option<usize> {
        let runs = |agent: &Agent| agent.here.get(&vm) == Some(&MachineState::Running);
        let mut hosts = self.agents.iter().enumerate().filter(|(_, agent)| runs(agent));
        // A machine that two claim is left where it is.
        hosts.next().map(|(host, _)| host).filter(|_| hosts.next().is_none())
    }

    fn moment(&self) -> Moment {
        let wall_ns = (EPOCH + self.now_ns).saturating_add_signed(self.controller.wall_ahead_ns);
        Moment { wall_ns, steady_ns: self.now_ns }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn after(&mut self, wait_ns: u64, event: Event) {
        self.at(self.now_ns + wait_ns, event);
    }

    fn at(&mut self, at_ns: u64, event: Event) {
        self.events.insert((at_ns, self.next_event), event);
        self.next_event += 1;
    }

    /// A number below `end`: xorshift64*, which is enough to be different each time.
    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

impl Controller {
    fn new() -> Self {
        let user = |name: &str| User {
            name: name.parse().unwrap(),
            role: Role::Operator,
            is_enabled: true,
            made_by: "ann".parse().unwrap(),
            made_at: Timestamp::UNIX_EPOCH,
            note: String::new(),
        };
        let grant = |number: u8, to: &str, machines: Selector| Grant {
            id: format!("{number:08x}").parse().unwrap(),
            to: to.parse().unwrap(),
            machines: [machines].into(),
            purposes: [Purpose::Capture].into(),
            snaplen: Snaplen::WHOLE,
            longest: None,
            from: None,
            until: None,
            needs_reason: false,
            made_by: "ann".parse().unwrap(),
            made_at: Timestamp::UNIX_EPOCH,
            note: String::new(),
        };
        let sessions = Sessions::default();
        Self {
            is_up: true,
            fleet: Fleet::default(),
            orders: Heard::read(&sessions),
            sessions,
            store: BTreeMap::new(),
            lines: BTreeMap::new(),
            next_line: 1,
            wall_ahead_ns: 0,
            grants: Grants::new(vec![
                grant(1, "ann", "tenant:t0".parse().unwrap()),
                grant(2, "bob", "tenant:t1".parse().unwrap()),
                grant(3, "eve", "all".parse().unwrap()),
            ]),
            users: vec![user("ann"), user("bob"), user("eve")],
        }
    }

    fn store(&mut self, session: &Session) {
        self.store.insert(session.id.clone(), serde_json::to_string(session).unwrap());
    }
}

impl Heard {
    /// The orders as agents read them: by way of their text.
    fn read(sessions: &Sessions) -> Arc<Self> {
        let text = serde_json::to_string(&sessions.orders()).unwrap();
        let orders: Orders = serde_json::from_str(&text).unwrap();
        let permits = orders
            .sessions
            .iter()
            .map(|order| (order.session.clone(), Permit::deserialize(&order.permit).unwrap()));
        Arc::new(Self { permits: permits.collect(), orders })
    }
}

impl Vm {
    fn facts(&self) -> MachineFacts {
        MachineFacts {
            id: self.id.clone(),
            name: self.name.clone(),
            tenant: Some(self.tenant.clone()),
        }
    }

    fn machine(&self, state: MachineState) -> Machine {
        let vnic = |number: u8| Vnic {
            name: format!("net{number}"),
            mac: Some(format!("52:54:00:00:00:{number:02x}").parse().unwrap()),
            ips: Vec::new(),
            attachment: Some(Attachment {
                device: Some(format!("tap{number}")),
                ifindex: Some(u32::from(number) + 2),
                namespace: NamespaceId(1),
                namespace_path: None,
                switch: Some("br0".into()),
                switch_kind: None,
                port: None,
                port_id: None,
                port_group: None,
                networks: Vec::new(),
                notes: Vec::new(),
                since: None,
            }),
        };
        Machine {
            id: self.id.clone(),
            name: self.name.clone(),
            aliases: Vec::new(),
            kind: MachineKind::Vm,
            state,
            tenant: Some(self.tenant.clone()),
            vnics: (0..self.vnics).map(vnic).collect(),
            pid: None,
            namespace_path: None,
            since: None,
            evidence: Vec::new(),
        }
    }
}

fn part(key: &(String, String), number: u32, machine: String, now_ns: u64) -> Part {
    Part {
        session: key.0.clone(),
        agent: String::new(),
        host: String::new(),
        number,
        machine_id: key.1.clone(),
        machine,
        point: "tap0".into(),
        began_ns: EPOCH + now_ns,
        ended: None,
        bytes: 0,
        freed_bytes: 0,
        packets: 0,
        kernel_dropped: 0,
        failed: 0,
        recorded: None,
        receipt: None,
        clock: None,
        is_reachable: false,
    }
}

/// Where each machine is captured, as the controller has it.
fn captured_at(session: &Session) -> BTreeMap<String, BTreeSet<String>> {
    let mut captured: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for part in session.parts.iter().filter(|part| part.ended.is_none()) {
        captured.entry(part.machine_id.clone()).or_default().insert(part.agent.clone());
    }
    captured
}

/// An agent is called as its host.
fn name(agent: usize) -> String {
    format!("hv-{agent}")
}
