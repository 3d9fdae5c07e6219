//! All agents and what their hosts look like: the inventory of every host, and where each VM is.
//!
//! Pure but for the words it is handed: lines to agents are kept by the server.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::document::{AgentStatus, Clock, HostFound};
use inventory::{History, Look, Machine, MachineId, Query, Since, Timeline};
use wire::Timestamp;

use crate::clock::{ClockWatch, Exchange};

/// Every agent ever heard, by id.
#[derive(Debug, Default)]
pub struct Fleet {
    seats: BTreeMap<String, Seat>,
    /// The agents that have a machine now.
    places: HashMap<MachineId, BTreeSet<String>>,
    /// About how many bytes the looks of all hosts take.
    remembered: usize,
    /// How often something has changed.
    changes: u64,
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
    looks: usize,
    /// About how many bytes the looks take.
    remembered: usize,
    clock: ClockWatch,
}

/// Why a look at a host is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// Nobody is known by this name, or it speaks by another line now.
    #[error("it is not the agent's line any more")]
    Stranger,
    /// More machines than a host can have.
    #[error("it speaks of more than {MOST_MACHINES} machines")]
    Machines,
    /// There is no room for what it says.
    #[error("there is no room for what it says")]
    Room,
}

impl Fleet {
    /// An agent has come by the line with this number. A line it had before is no more its own, and
    /// is returned. What it says about itself is cut to the length of a name.
    pub fn arrived(
        &mut self,
        agent: &str,
        host: &str,
        version: &str,
        line: u64,
        now_ns: u64,
    ) -> Option<u64> {
        self.changes += 1;
        let seat = self.seats.entry(agent.to_owned()).or_insert_with(|| Seat {
            host: String::new(),
            version: String::new(),
            line: None,
            heard_ns: now_ns,
            problems: Vec::new(),
            timeline: Timeline::new(LOOKS_KEPT),
            looks: 0,
            remembered: 0,
            clock: ClockWatch::default(),
        });
        (seat.host, seat.version) = (name(host), name(version));
        seat.heard_ns = now_ns;
        // Another machine may have taken over the identity; its clock is asked anew.
        seat.clock = ClockWatch::default();
        seat.line.replace(line)
    }

    /// A line was cut. Says whether that was the agent's own.
    pub fn left(&mut self, agent: &str, line: u64) -> bool {
        match self.seats.get_mut(agent) {
            Some(seat) if seat.line == Some(line) => {
                seat.line = None;
                self.changes += 1;
                true
            }
            _ => false,
        }
    }

    /// Forgets an agent.
    pub fn remove(&mut self, agent: &str) {
        if let Some(seat) = self.seats.remove(agent) {
            self.changes += 1;
            self.remembered -= seat.remembered;
            for machine in seat.timeline.now() {
                vacate(&mut self.places, &machine.id, agent);
            }
        }
    }

    /// Takes a look at an agent's host, by the line it has now. To make room for it, the oldest
    /// changes of the host with the longest past are forgotten.
    ///
    /// # Errors
    /// When it is not taken: what is known of the host is as it was.
    pub fn look(&mut self, agent: &str, line: u64, look: Look) -> Result<(), Untaken> {
        let seat = self.seats.get_mut(agent).filter(|seat| seat.line == Some(line));
        let seat = seat.ok_or(Untaken::Stranger)?;
        let before = if look.is_whole { 0 } else { seat.timeline.now().count() };
        if before + look.machines.len() > MOST_MACHINES + look.gone.len() {
            return Err(Untaken::Machines);
        }
        let weight = weight(&look);
        if weight > MOST_OF_ONE {
            return Err(Untaken::Room);
        }
        if seat.looks >= LOOKS_KEPT || seat.remembered + weight > MOST_OF_ONE {
            self.remembered -= seat.remembered;
            seat.halve();
            self.remembered += seat.remembered;
            if seat.remembered + weight > MOST_OF_ONE && !look.is_whole {
                return Err(Untaken::Room);
            }
        }
        if look.is_whole {
            for machine in seat.timeline.now() {
                vacate(&mut self.places, &machine.id, agent);
            }
        }
        for id in &look.gone {
            vacate(&mut self.places, id, agent);
        }
        for machine in &look.machines {
            self.places.entry(machine.id.clone()).or_default().insert(agent.to_owned());
        }
        seat.timeline.push(look);
        self.changes += 1;
        (seat.looks, seat.remembered) = (seat.looks + 1, seat.remembered + weight);
        self.remembered += weight;
        self.make_room();
        Ok(())
    }

    /// Forgets the older half of the longest pasts until there is room.
    fn make_room(&mut self) {
        while self.remembered > MOST_OF_ALL {
            let longest = self.seats.values_mut().filter(|seat| seat.looks > 1);
            let Some(seat) = longest.max_by_key(|seat| seat.remembered) else { return };
            self.remembered -= seat.remembered;
            seat.halve();
            self.remembered += seat.remembered;
        }
    }

    /// The agent's seat, to note that it was heard.
    pub fn seat_mut(&mut self, agent: &str) -> Option<&mut Seat> {
        self.seats.get_mut(agent)
    }

    /// The agent's seat.
    pub fn seat(&self, agent: &str) -> Option<&Seat> {
        self.seats.get(agent)
    }

    /// Counts up whenever a host looks different or an agent comes or goes.
    pub const fn changes(&self) -> u64 {
        self.changes
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
        let machines: Vec<&Machine> = known.into_iter().map(|(_, machine)| machine).collect();
        let found = Query::parse(what).among(&machines);
        let matches =
            found.matches.iter().filter_map(|m| Some((self.seat_of(m.machine)?, m.machine)));
        (by_host(matches.collect()), found.suggestions.into_iter().map(str::to_owned).collect())
    }

    /// The seat that keeps this very machine: the same one may be at two hosts.
    fn seat_of(&self, machine: &Machine) -> Option<&Seat> {
        let seats = self.seats_of(&machine.id);
        seats.into_iter().find_map(|(seat, kept)| std::ptr::eq(kept, machine).then_some(seat))
    }

    fn seats_of(&self, id: &MachineId) -> Vec<(&Seat, &Machine)> {
        let agents = self.places.get(id).into_iter().flatten();
        let seats = agents.filter_map(|agent| self.seats.get(agent));
        seats.filter_map(|seat| Some((seat, seat.timeline.machine(id)?))).collect()
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

    /// The hosts where a machine is now, as far as their agents have said.
    pub fn hosts_of(&self, machine: &MachineId) -> Vec<(&Seat, &Machine)> {
        self.seats_of(machine)
    }

    /// Whether another machine has one of its MACs in one of its overlays: then nobody can tell
    /// their packets apart.
    pub fn has_twin(&self, machine: &Machine) -> bool {
        let names = |machine: &Machine| -> BTreeSet<_> {
            let vnics = machine.vnics.iter().filter_map(|v| Some((v.mac?, v.attachment.as_ref()?)));
            let networks = vnics.flat_map(|(mac, place)| {
                let vnis = place.networks.iter().filter_map(|network| network.vni);
                vnis.map(move |vni| (mac, vni))
            });
            networks.collect()
        };
        let own = names(machine);
        self.machines().any(|(_, other)| other.id != machine.id && !own.is_disjoint(&names(other)))
    }

    /// About how many bytes all that is remembered of the hosts takes.
    pub fn remembered_bytes(&self) -> usize {
        self.remembered
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
    /// Its machines, as it was seen last.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.timeline.now()
    }

    /// When it was seen last, by its host's clock.
    pub fn looked(&self) -> Option<Timestamp> {
        self.timeline.last()
    }

    /// Takes what its sources complain of, as much of it as a person reads.
    pub fn complain(&mut self, problems: &[String]) {
        self.problems = problems.iter().take(MOST_PROBLEMS).map(|text| sentence(text)).collect();
    }

    /// Forgets the older half of what became different at the host.
    fn halve(&mut self) {
        self.timeline.halve();
        self.looks = self.timeline.looks().count();
        self.remembered = self.timeline.looks().map(weight).sum();
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

/// Notes that a machine is not at this agent any more.
fn vacate(places: &mut HashMap<MachineId, BTreeSet<String>>, id: &MachineId, agent: &str) {
    if let Some(agents) = places.get_mut(id) {
        agents.remove(agent);
        if agents.is_empty() {
            places.remove(id);
        }
    }
}

fn by_host(known: Vec<(&Seat, &Machine)>) -> Vec<HostFound> {
    let mut hosts: HashMap<*const Seat, HostFound> = HashMap::new();
    for (seat, machine) in known {
        let since = seat.timeline.attached_since(machine).into_iter();
        let since = since.map(|since| match since {
            Some(Since::At(time) | Since::Before(time)) => Some(time.as_nanos()),
            None => None,
        });
        let found = hosts.entry(std::ptr::from_ref(seat)).or_insert_with(|| seat.found());
        found.machines.push(machine.clone());
        found.since_ns.push(since.collect());
    }
    let mut found: Vec<HostFound> = hosts.into_values().collect();
    found.sort_by(|a, b| a.host.cmp(&b.host));
    found
}

/// About how many bytes a look takes.
fn weight(look: &Look) -> usize {
    let machines: usize = look.machines.iter().map(machine_weight).sum();
    let gone: usize = look.gone.iter().map(|_| size_of::<MachineId>() + 40).sum();
    size_of::<Look>() + machines + gone + look.unread.iter().map(String::len).sum::<usize>()
}

fn machine_weight(machine: &Machine) -> usize {
    let words = |all: &[String]| all.iter().map(|word| size_of::<String>() + word.len()).sum();
    let vnics: usize = machine
        .vnics
        .iter()
        .map(|vnic| {
            let place = vnic.attachment.as_ref().map_or(0, |place| {
                let names = [
                    &place.device,
                    &place.namespace_path,
                    &place.switch,
                    &place.port,
                    &place.port_id,
                    &place.port_group,
                ];
                let names: usize = names.into_iter().flatten().map(String::len).sum();
                let notes: usize = words(&place.notes);
                let networks = place.networks.iter().map(|network| {
                    let uplinks = network.uplinks.iter();
                    let uplinks: usize = uplinks.map(|u| size_of_val(u) + u.device.len()).sum();
                    size_of_val(network) + uplinks + size_of_val(network.remotes.as_slice()) + 32
                });
                names + notes + networks.sum::<usize>()
            });
            size_of_val(vnic) + vnic.name.len() + size_of_val(vnic.ips.as_slice()) + place
        })
        .sum();
    let evidence: usize = machine.evidence.iter().map(|e| size_of_val(e) + e.claim.len()).sum();
    let aliases: usize = words(&machine.aliases);
    let id = match &machine.id {
        MachineId::Container(id) | MachineId::Port(id) | MachineId::Written(id) => id.len(),
        MachineId::Uuid(_) | MachineId::Namespace(_) | MachineId::Process(_) => 0,
    };
    let tenant = machine.tenant.as_ref().map_or(0, String::len);
    size_of_val(machine) + id + machine.name.len() + tenant + aliases + vnics + evidence
}

/// What an agent says it is called, if that is no longer than a name can be.
fn name(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MOST_NAME).collect()
}

/// A sentence of an agent, no longer than a person reads.
pub(crate) fn sentence(text: &str) -> String {
    match text.char_indices().nth(MOST_SENTENCE) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

/// Changes of one host that are remembered.
const LOOKS_KEPT: usize = 2000;

/// Machines of one host.
const MOST_MACHINES: usize = 10_000;

/// Bytes that the looks at one host may take: the largest whole look, and a past.
const MOST_OF_ONE: usize = 32 << 20;

/// Bytes that the looks at all hosts may take together: with about 1 KB for each change this is
/// 200 000 changes, a day of 100 migrations a minute.
const MOST_OF_ALL: usize = 192 << 20;

const MOST_PROBLEMS: usize = 32;
const MOST_NAME: usize = 255;
const MOST_SENTENCE: usize = 1000;
