//! All agents and what their hosts look like: the inventory of every host, and where each VM is.
//!
//! Pure but for the words it is handed: lines to agents are kept by the server.

use std::collections::{BTreeMap, HashMap};

use api::document::{AgentStatus, Clock, HostFound};
use inventory::{History, Look, Machine, MachineId, Query, Since, Timeline};
use wire::Timestamp;

use crate::clock::{ClockWatch, Exchange};

/// Every agent ever heard, by id.
#[derive(Debug, Default)]
pub struct Fleet {
    seats: BTreeMap<String, Seat>,
}

/// What is known of one agent.
#[derive(Debug)]
pub struct Seat {
    /// The host it is on.
    pub host: String,
    /// Its version.
    pub version: String,
    /// The number of its line; `None` while it is away.
    pub line: Option<u64>,
    /// When it was heard last, by our clock.
    pub heard_ns: u64,
    /// What its sources complain of.
    pub problems: Vec<String>,
    timeline: Timeline,
    clock: ClockWatch,
}

impl Fleet {
    /// An agent has come by the line with this number. A line it had before is no more its own.
    pub fn arrived(&mut self, agent: &str, host: &str, version: &str, line: u64, now_ns: u64) {
        let seat = self.seats.entry(agent.to_owned()).or_insert_with(|| Seat {
            host: String::new(),
            version: String::new(),
            line: None,
            heard_ns: now_ns,
            problems: Vec::new(),
            timeline: Timeline::new(LOOKS_KEPT),
            clock: ClockWatch::default(),
        });
        (seat.host, seat.version) = (host.to_owned(), version.to_owned());
        (seat.line, seat.heard_ns) = (Some(line), now_ns);
        // Another machine may have taken over the identity; its clock is asked anew.
        seat.clock = ClockWatch::default();
    }

    /// A line was cut. Says whether that was the agent's own.
    pub fn left(&mut self, agent: &str, line: u64) -> bool {
        match self.seats.get_mut(agent) {
            Some(seat) if seat.line == Some(line) => {
                seat.line = None;
                true
            }
            _ => false,
        }
    }

    /// Forgets an agent.
    pub fn remove(&mut self, agent: &str) {
        self.seats.remove(agent);
    }

    /// The agent's seat, to note that it was heard.
    pub fn seat_mut(&mut self, agent: &str) -> Option<&mut Seat> {
        self.seats.get_mut(agent)
    }

    /// The agent's seat.
    pub fn seat(&self, agent: &str) -> Option<&Seat> {
        self.seats.get(agent)
    }

    /// Every seat, by the agents' ids.
    pub fn seats(&self) -> impl Iterator<Item = (&str, &Seat)> {
        self.seats.iter().map(|(id, seat)| (id.as_str(), seat))
    }

    /// Machines known on all hosts.
    pub fn machines(&self) -> impl Iterator<Item = (&Seat, &Machine)> {
        self.seats.values().flat_map(|seat| seat.timeline.now().map(move |machine| (seat, machine)))
    }

    /// The machines of all hosts that are called so, by host; all of them if nothing is asked for;
    /// and names that were perhaps meant. Only what `is_shown` allows is known at all.
    pub fn find(
        &self,
        what: &str,
        is_shown: impl Fn(&Machine) -> bool,
    ) -> (Vec<HostFound>, Vec<String>) {
        let known: Vec<(&Seat, &Machine)> =
            self.machines().filter(|(_, machine)| is_shown(machine)).collect();
        if what.trim().is_empty() {
            return (by_host(known), Vec::new());
        }
        // The same machine may be at two hosts, so it is told apart by where it is kept.
        let seats: HashMap<*const Machine, &Seat> =
            known.iter().map(|(seat, machine)| (std::ptr::from_ref(*machine), *seat)).collect();
        let machines: Vec<&Machine> = known.into_iter().map(|(_, machine)| machine).collect();
        let found = Query::parse(what).among(&machines);
        let matches = found.matches.iter();
        let matches = matches
            .filter_map(|m| Some((*seats.get(&std::ptr::from_ref(m.machine))?, m.machine)))
            .collect();
        (by_host(matches), found.suggestions.into_iter().map(str::to_owned).collect())
    }

    /// As [`find`](Self::find), as it was at `at`.
    pub fn find_at(
        &self,
        what: &str,
        at: Timestamp,
        is_shown: impl Fn(&Machine) -> bool,
    ) -> (Vec<HostFound>, Vec<String>) {
        let mut found = Vec::new();
        let mut suggestions = Vec::new();
        let query = (!what.trim().is_empty()).then(|| Query::parse(what));
        for seat in self.seats.values() {
            let Some(site) = seat.timeline.at(at) else { continue };
            let shown: Vec<&Machine> = site.machines.iter().filter(|m| is_shown(m)).collect();
            let machines: Vec<Machine> = match &query {
                None => shown.into_iter().cloned().collect(),
                Some(query) => {
                    let among = query.among(&shown);
                    suggestions.extend(among.suggestions.into_iter().map(str::to_owned));
                    among.matches.into_iter().map(|m| m.machine.clone()).collect()
                }
            };
            if !machines.is_empty() {
                found.push(HostFound { machines, at_ns: at.as_nanos(), ..seat.found() });
            }
        }
        (found, suggestions)
    }

    /// The hosts where a machine is now.
    pub fn hosts_of(&self, machine: &MachineId) -> Vec<(&Seat, &Machine)> {
        self.machines().filter(|(_, known)| known.id == *machine).collect()
    }

    /// Who was where and when, of what `is_shown` allows.
    pub fn history(&self, is_shown: impl Fn(&Machine) -> bool) -> History {
        let all = self.seats.values().map(|seat| History::from(&seat.timeline));
        let episodes: Vec<_> = all
            .flat_map(|history| history.episodes().to_vec())
            .filter(|episode| is_shown(&episode.machine))
            .collect();
        History::new(episodes)
    }

    /// How the agents are.
    pub fn status(&self, now_ns: u64) -> Vec<AgentStatus> {
        let status = |(id, seat): (&String, &Seat)| AgentStatus {
            id: id.clone(),
            host: seat.host.clone(),
            version: seat.version.clone(),
            is_connected: seat.line.is_some(),
            heard_ns: seat.heard_ns,
            clock: seat.clock(now_ns),
            machines: seat.timeline.now().count(),
            parts: 0,
            lost: 0,
            problems: seat.problems.clone(),
        };
        self.seats.iter().map(status).collect()
    }
}

impl Seat {
    /// Takes a look at the host.
    pub fn look(&mut self, look: Look) {
        self.timeline.push(look);
    }

    /// Takes an answer about its clock.
    pub fn exchange(&mut self, exchange: Exchange) {
        self.clock.take(exchange);
    }

    /// How its clock differs from ours.
    pub fn clock(&self, now_ns: u64) -> Option<Clock> {
        self.clock.clock(now_ns)
    }

    fn found(&self) -> HostFound {
        HostFound {
            host: self.host.clone(),
            is_connected: self.line.is_some(),
            at_ns: self.timeline.last().unwrap_or_default().as_nanos(),
            machines: Vec::new(),
            since_ns: Vec::new(),
            sources: Vec::new(),
        }
    }
}

fn by_host(known: Vec<(&Seat, &Machine)>) -> Vec<HostFound> {
    let mut hosts: Vec<(&Seat, HostFound)> = Vec::new();
    for (seat, machine) in known {
        let since = seat.timeline.attached_since(machine).into_iter();
        let since = since.map(|since| match since {
            Some(Since::At(time) | Since::Before(time)) => Some(time.as_nanos()),
            None => None,
        });
        let place = hosts.iter_mut().find(|(other, _)| std::ptr::eq(*other, seat));
        let found = match place {
            Some((_, found)) => found,
            None => {
                hosts.push((seat, seat.found()));
                let Some((_, found)) = hosts.last_mut() else { continue };
                found
            }
        };
        found.machines.push(machine.clone());
        found.since_ns.push(since.collect());
    }
    let mut found: Vec<HostFound> = hosts.into_iter().map(|(_, found)| found).collect();
    found.sort_by(|a, b| a.host.cmp(&b.host));
    found
}

/// Changes of one host that are remembered.
const LOOKS_KEPT: usize = 2000;
