//! A flight recorder that runs: one engine for all selected machines, which come and go.

use std::collections::BTreeSet;
use std::time::Duration;

use inventory::{Machine, Site};
use jiff::{Timestamp, Zoned};
use pipeline::{Ledger, Limits};
use plan::{Interface, Point, PointKind};
use recorder::MachineRef;
use select::{Filter, Resolved};
use serde::Serialize;

use crate::following::Following;
use crate::orders::{Outcome, Output};
use crate::place::Place;
use crate::recording_selection::Selection;
use crate::sandbox::Sandbox;
use crate::session::{Event, Request, Session, SessionError};

/// What a flight recorder is to record.
#[derive(Debug, Clone)]
pub struct RecordingWanted {
    /// Which machines.
    pub selection: Selection,
    /// Where to look.
    pub place: Place,
    /// Which of their packets, as typed and as understood.
    pub filter: Option<(String, Filter)>,
    /// What the names in it mean.
    pub explained: Resolved,
    /// Most bytes kept of each packet.
    pub snaplen: u32,
    /// When to stop.
    pub limits: Limits,
    /// Where the packets go; a store.
    pub output: Output,
    /// Kernel memory for each interface in bytes.
    pub buffer_bytes: u64,
}

/// A flight recorder at work.
#[derive(Debug)]
pub struct Recording {
    wanted: RecordingWanted,
    session: Session,
    began: Timestamp,
    parts: Vec<Part>,
    /// Names of all points, in the order of their numbers.
    labels: Vec<String>,
    /// Complaints that were said.
    told: BTreeSet<String>,
    events: Vec<String>,
}

/// Some interfaces of a machine that came at the same time.
#[derive(Debug)]
struct Part {
    following: Following,
    /// As the machine is recorded now.
    name: MachineRef,
    /// Number of the first of them.
    first: usize,
    /// `None` once it is gone.
    interfaces: Vec<Option<Interface>>,
    /// The machine is not selected any more.
    is_over: bool,
}

impl Recording {
    /// Starts the engine, with no machine yet: [`Recording::compare`] finds them.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn start(wanted: RecordingWanted) -> Result<Self, SessionError> {
        let nothing = point(PointKind::Port, Vec::new());
        let session = Session::start(&request(&wanted, &nothing))?;
        Ok(Self {
            wanted,
            session,
            began: Timestamp::now(),
            parts: Vec::new(),
            labels: Vec::new(),
            told: BTreeSet::new(),
            events: Vec::new(),
        })
    }

    /// Compares the site, as it was at `at`, with what is recorded. Machines that are selected and
    /// not recorded yet are; what changed about the others is in their recordings. Returns what a
    /// person should hear.
    ///
    /// # Errors
    /// When the engine cannot be told.
    pub fn compare(
        &mut self,
        site: &Site,
        at: wire::Timestamp,
    ) -> Result<Vec<String>, SessionError> {
        let mut said = Vec::new();
        self.follow(site, at, &mut said)?;
        match self.wanted.selection.clone().machines(site) {
            Ok(selected) => {
                self.end_deselected(site, &selected, at, &mut said)?;
                self.rename(site, at)?;
                for machine in selected {
                    self.add_new(site, machine, &mut said)?;
                }
            }
            // What is recorded goes on until it is clear again who is meant.
            Err(error) => self.complain(error.to_string(), &mut said),
        }
        self.keep(&said);
        Ok(said)
    }

    /// The next event, if one comes within `longest`.
    ///
    /// # Errors
    /// When the engine is gone without a word.
    pub fn next(&mut self, longest: Duration) -> Result<Option<Event>, SessionError> {
        let event = self.session.next(longest)?;
        match &event {
            Some(Event::InterfaceGone(number)) => self.forget(*number),
            Some(Event::Said(text)) => self.keep(std::slice::from_ref(text)),
            _ => {}
        }
        Ok(event)
    }

    /// Asks for the end; [`Event::Ended`] follows.
    ///
    /// # Errors
    /// When the engine cannot be told.
    pub fn stop(&mut self) -> Result<(), SessionError> {
        self.session.stop()
    }

    /// The name of a point.
    pub fn label(&self, number: usize) -> &str {
        self.labels.get(number).map_or("?", String::as_str)
    }

    /// The account of it, once it has ended.
    pub fn receipt(self, outcome: &Outcome) -> RecordingReceipt {
        let total = outcome.ledgers.iter().fold(Ledger::default(), Ledger::plus);
        let points = self.labels.into_iter().zip(&outcome.ledgers);
        RecordingReceipt {
            overtap: env!("CARGO_PKG_VERSION"),
            selection: self.wanted.selection.to_string(),
            filter: self.wanted.filter.map(|(_, filter)| filter.to_string()),
            snaplen: self.wanted.snaplen,
            began: self.began.to_string(),
            ended: Timestamp::now().to_string(),
            end: outcome.end.to_string(),
            points: points.map(|(label, ledger)| PointReceipt { label, ledger: *ledger }).collect(),
            unaccounted: outcome.ledgers.iter().map(Ledger::unread).sum(),
            lost: total.lost(),
            total,
            removed_segments: outcome.deleted_files,
            events: self.events,
            sandbox: self.session.sandbox,
        }
    }

    /// What has changed about machines that are recorded.
    fn follow(
        &mut self,
        site: &Site,
        at: wire::Timestamp,
        said: &mut Vec<String>,
    ) -> Result<(), SessionError> {
        for part in self.parts.iter_mut().filter(|part| !part.is_over) {
            let changes = part.following.compare(site, at);
            for (number, ownership) in changes.owned {
                let since = part.following.since(at);
                self.session.own(part.first + number, ownership, since)?;
            }
            for sentence in changes.sentences {
                // Other parts of the machine have the same news.
                if !said.contains(&sentence) {
                    self.session.note(part.first, &sentence)?;
                    said.push(sentence);
                }
            }
        }
        Ok(())
    }

    /// A machine that is here and not selected any more is not recorded any more.
    fn end_deselected(
        &mut self,
        site: &Site,
        selected: &[&Machine],
        at: wire::Timestamp,
        said: &mut Vec<String>,
    ) -> Result<(), SessionError> {
        for part in self.parts.iter_mut().filter(|part| !part.is_over) {
            let machine = part.following.machine();
            let is_machine = |other: &Machine| other.id == machine.id;
            if site.machines.iter().any(is_machine) && !selected.iter().any(|m| is_machine(m)) {
                said.push(format!("{} is not selected any more", machine.name));
                for number in 0..part.interfaces.len() {
                    self.session.end_point(part.first + number, part.following.since(at))?;
                }
                part.is_over = true;
            }
        }
        Ok(())
    }

    /// A machine that is called otherwise, has another owner, or whose identity is known better is
    /// recorded as that from now on: what was before stays what it was.
    fn rename(&mut self, site: &Site, at: wire::Timestamp) -> Result<(), SessionError> {
        for part in self.parts.iter_mut().filter(|part| !part.is_over) {
            let machine = part.following.machine();
            let name = name_of(machine);
            if name == part.name || !site.machines.iter().any(|other| other.id == machine.id) {
                continue;
            }
            let plan = plan::plan(site, machine);
            let planned = plan.points.iter().flat_map(|point| &point.interfaces);
            let since = part.following.since(at);
            for (number, interface) in part.interfaces.iter_mut().enumerate() {
                let Some(interface) = interface else { continue };
                if let Some(now) = planned.clone().find(|other| key(other) == key(interface)) {
                    interface.label.clone_from(&now.label);
                }
                let number = part.first + number;
                self.session.rename(number, name.clone(), &interface.label, since)?;
            }
            part.name = name;
        }
        Ok(())
    }

    /// Records the interfaces of a machine that are not recorded yet.
    fn add_new(
        &mut self,
        site: &Site,
        machine: &Machine,
        said: &mut Vec<String>,
    ) -> Result<(), SessionError> {
        let plan = plan::plan(site, machine);
        let found = match self.wanted.place.choose(&plan, &machine.name) {
            Ok(found) => found,
            Err(error) => {
                self.complain(error.to_string(), said);
                return Ok(());
            }
        };
        // Nearly always its port on the host is only not known yet, and is in a moment: recorded at
        // both, its packets would be there twice.
        if found.kind == PointKind::Inside && machine.pid.is_none() {
            let text = format!("{} is not recorded while it has no port on the host", machine.name);
            self.complain(text, said);
            return Ok(());
        }
        let is_new = |interface: &Interface| !self.is_recorded(machine, interface);
        let new: Vec<Interface> = found.interfaces.into_iter().filter(is_new).collect();
        let mut added = Vec::new();
        let name = name_of(machine);
        let mut complaints = Vec::new();
        for interface in new {
            let one = point(found.kind, vec![interface.clone()]);
            match self.session.add(&request(&self.wanted, &one), &interface, Some(name.clone())) {
                Ok(()) => added.push(interface),
                // It may be going away in this moment.
                Err(SessionError::Open(error)) => {
                    complaints.push(format!("{} is not recorded: {error}", interface.label));
                }
                Err(error) => return Err(error),
            }
        }
        for complaint in complaints {
            self.complain(complaint, said);
        }
        if !added.is_empty() {
            let first = self.labels.len();
            self.labels.extend(added.iter().map(|interface| interface.label.clone()));
            said.extend(added.iter().map(|interface| format!("recording {}", interface.label)));
            let following = Following::new(machine, &point(found.kind, added.clone()), false);
            let interfaces = added.into_iter().map(Some).collect();
            self.parts.push(Part { following, name, first, interfaces, is_over: false });
        }
        Ok(())
    }

    fn is_recorded(&self, machine: &Machine, interface: &Interface) -> bool {
        self.parts
            .iter()
            .filter(|part| !part.is_over && part.following.machine().id == machine.id)
            .flat_map(|part| part.interfaces.iter().flatten())
            .any(|known| key(known) == key(interface))
    }

    /// An interface that is gone may come back, as another one.
    fn forget(&mut self, number: usize) {
        for part in &mut self.parts {
            if let Some(interface) =
                number.checked_sub(part.first).and_then(|at| part.interfaces.get_mut(at))
            {
                *interface = None;
            }
        }
    }

    /// Says a thing that may come again at every look only once.
    fn complain(&mut self, text: String, said: &mut Vec<String>) {
        if self.told.insert(text.clone()) {
            said.push(text);
        }
    }

    fn keep(&mut self, said: &[String]) {
        let now = Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
        // A recorder may run for years.
        let room = MOST_EVENTS.saturating_sub(self.events.len());
        self.events.extend(said.iter().take(room).map(|text| format!("{now}: {text}")));
    }
}

/// What a flight recorder did, for people (its text) and programs (its JSON).
#[derive(Debug, Clone, Serialize)]
pub struct RecordingReceipt {
    /// Version of the program.
    pub overtap: &'static str,
    /// What was selected.
    pub selection: String,
    /// The expression, as understood.
    pub filter: Option<String>,
    /// Most bytes kept of each packet.
    pub snaplen: u32,
    /// When it began, RFC 3339.
    pub began: String,
    /// When it ended, RFC 3339.
    pub ended: String,
    /// Why it ended, in words.
    pub end: String,
    /// The account of each point, in the order in which they came.
    pub points: Vec<PointReceipt>,
    /// All accounts together.
    pub total: Ledger,
    /// Packets not accounted for; anything but 0 is a fault of the program.
    pub unaccounted: i64,
    /// Packets that were asked for and are not in the store.
    pub lost: u64,
    /// Segments removed to stay within the budget.
    pub removed_segments: u64,
    /// What happened meanwhile.
    pub events: Vec<String>,
    /// The fences around the process that read the packets.
    pub sandbox: Sandbox,
}

/// The account of one recorded point.
#[derive(Debug, Clone, Serialize)]
pub struct PointReceipt {
    /// `web-01/net0 @ hv-1:vnet3`.
    pub label: String,
    /// What became of its packets.
    #[serde(flatten)]
    pub ledger: Ledger,
}

/// A machine as it is recorded.
fn name_of(machine: &Machine) -> MachineRef {
    MachineRef {
        id: machine.id.to_string(),
        name: machine.name.clone(),
        tenant: machine.tenant.clone(),
    }
}

/// What an interface is known by, whoever has it.
fn key(interface: &Interface) -> (&str, Option<u32>, Option<&String>) {
    (&interface.name, interface.ifindex, interface.namespace_path.as_ref())
}

fn point(kind: PointKind, interfaces: Vec<Interface>) -> Point {
    Point {
        kind,
        refusal: None,
        vnics: Vec::new(),
        interfaces,
        sees: String::new(),
        misses: Vec::new(),
        costs: String::new(),
        disturbs: String::new(),
    }
}

fn request<'a>(wanted: &'a RecordingWanted, point: &'a Point) -> Request<'a> {
    Request {
        mirrors: &[],
        point,
        filter: wanted.filter.as_ref().map(|(text, filter)| (text.as_str(), filter)),
        explained: wanted.explained.clone(),
        is_stripped: false,
        snaplen: wanted.snaplen,
        limits: wanted.limits,
        output: wanted.output.clone(),
        buffer_bytes: Some(wanted.buffer_bytes),
        comments: Vec::new(),
        ip_names: Vec::new(),
        mac_names: Vec::new(),
        tools: Vec::new(),
        owner: broker::Owner::Tenant(None),
        past: None,
    }
}

const MOST_EVENTS: usize = 1000;
