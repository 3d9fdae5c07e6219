//! Capture sessions as the controller knows them: what was asked for, which parts there are, what
//! happened.
//!
//! A session is orders for all agents; which of them has something to capture shows by itself.
//! Pure: time comes in as an argument, storing and sending is for the server.

use std::collections::BTreeMap;
use std::time::Duration;

use api::document::{Note, Order, Orders, Part, Session};
use inventory::{MachineId, MachineState};
use select::Resolved;

use crate::fleet::Fleet;

/// All sessions that are not forgotten.
#[derive(Debug, Default)]
pub struct Sessions {
    all: BTreeMap<String, Known>,
    revision: u64,
}

#[derive(Debug)]
struct Known {
    session: Session,
    /// How many follow it now.
    followers: usize,
    /// Since when nobody does.
    left_ns: u64,
    whereabouts: BTreeMap<String, Whereabouts>,
}

/// What was said last of where a machine is.
#[derive(Debug, Default)]
struct Whereabouts {
    hosts: Vec<String>,
    /// Since when it is where it is.
    since_ns: u64,
    is_told: bool,
    /// The last host it ran on.
    last: Option<(String, MachineState)>,
}

impl Sessions {
    /// Takes a session, new or from the store.
    pub fn add(&mut self, session: Session, now_ns: u64) {
        let known = Known { session, followers: 0, left_ns: now_ns, whereabouts: BTreeMap::new() };
        self.all.insert(known.session.id.clone(), known);
        self.revision += 1;
    }

    /// Forgets a session; agents remove its packets.
    pub fn remove(&mut self, id: &str) {
        self.all.remove(id);
        self.revision += 1;
    }

    /// A session, as it is.
    pub fn session(&self, id: &str) -> Option<&Session> {
        self.all.get(id).map(|known| &known.session)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.all.values().map(|known| &known.session)
    }

    /// Somebody follows it now, or does not any more.
    pub fn follow(&mut self, id: &str, comes: bool, now_ns: u64) {
        if let Some(known) = self.all.get_mut(id) {
            known.followers =
                if comes { known.followers + 1 } else { known.followers.saturating_sub(1) };
            known.left_ns = now_ns;
        }
    }

    /// Ends a session. Says whether it was running.
    pub fn end(&mut self, id: &str, why: &str, now_ns: u64) -> bool {
        let Some(known) = self.all.get_mut(id).filter(|known| known.session.ended.is_none()) else {
            return false;
        };
        known.session.ended = Some(why.to_owned());
        known.session.ended_ns = Some(now_ns);
        known.session.revision += 1;
        self.revision += 1;
        true
    }

    /// Other packets are asked for from now on. Says whether the session was running.
    pub fn refilter(&mut self, id: &str, expression: &str, explained: Resolved) -> bool {
        let Some(known) = self.all.get_mut(id).filter(|known| known.session.ended.is_none()) else {
            return false;
        };
        expression.clone_into(&mut known.session.wish.expression);
        known.session.explained = explained;
        known.session.revision += 1;
        self.revision += 1;
        true
    }

    /// Takes what an agent says of a part. Says whether that is worth keeping: a part that is new,
    /// or one that has ended.
    pub fn take_part(&mut self, agent: &str, mut part: Part) -> bool {
        let Some(known) = self.all.get_mut(&part.session) else { return false };
        agent.clone_into(&mut part.agent);
        known.session.revision += 1;
        let parts = &mut known.session.parts;
        let has_room = parts.len() < MOST_PARTS;
        match parts.iter_mut().find(|p| p.agent == agent && p.number == part.number) {
            Some(before) => {
                let is_news = before.ended != part.ended;
                *before = part;
                is_news
            }
            None if has_room => {
                parts.push(part);
                true
            }
            None => false,
        }
    }

    /// Takes what somebody says about a session. Says whether it is new.
    pub fn take_note(&mut self, note: Note) -> bool {
        let Some(known) = self.all.get_mut(&note.session) else { return false };
        let notes = &mut known.session.notes;
        // A line that was cut is told everything again.
        if notes.contains(&note) || notes.len() >= MOST_NOTES {
            return false;
        }
        notes.push(note);
        known.session.revision += 1;
        true
    }

    /// Sessions whose time is over or whose follower is gone, and why.
    pub fn overdue(&self, now_ns: u64) -> Vec<(String, String)> {
        let lease_ns = u64::try_from(LEASE.as_nanos()).unwrap_or(u64::MAX);
        let running = self.all.values().filter(|known| known.session.ended.is_none());
        running
            .filter_map(|known| {
                let is_left = known.session.wish.is_attached
                    && known.followers == 0
                    && now_ns.saturating_sub(known.left_ns) > lease_ns;
                let why = match () {
                    () if now_ns >= known.session.until_ns => "its time was over",
                    () if is_left => "whoever asked for it is gone",
                    () => return None,
                };
                Some((known.session.id.clone(), why.to_owned()))
            })
            .collect()
    }

    /// Sessions that ended so long ago that their packets are not kept any longer.
    pub fn forgotten(&self, now_ns: u64) -> Vec<String> {
        let kept_ns = u64::try_from(KEPT_FOR.as_nanos()).unwrap_or(u64::MAX);
        let is_old = |session: &&Session| {
            session.ended_ns.is_some_and(|ended| now_ns.saturating_sub(ended) > kept_ns)
        };
        self.iter().filter(is_old).map(|session| session.id.clone()).collect()
    }

    /// What every agent has to do now.
    pub fn orders(&self) -> Orders {
        let (mut sessions, mut kept) = (Vec::new(), Vec::new());
        for session in self.iter() {
            if session.ended.is_some() {
                kept.push(session.id.clone());
            } else {
                sessions.push(order(session));
            }
        }
        Orders { revision: self.revision, sessions, kept }
    }

    /// Compares where the machines of running sessions are with what was said last, and says what
    /// nobody else can: that one is nowhere, or at two places.
    pub fn look_around(&mut self, fleet: &Fleet, now_ns: u64) -> Vec<Note> {
        let mut notes = Vec::new();
        for known in self.all.values_mut().filter(|known| known.session.ended.is_none()) {
            let machines: Vec<(String, String)> = {
                let parts = known.session.parts.iter();
                parts.map(|part| (part.machine_id.clone(), part.machine.clone())).collect()
            };
            for (id, name) in machines {
                let Ok(machine) = id.parse::<MachineId>() else { continue };
                let now = fleet.hosts_of(&machine);
                let whereabouts = known.whereabouts.entry(id).or_default();
                if let Some(text) = whereabouts.update(&name, &now, now_ns) {
                    notes.push(Note {
                        session: known.session.id.clone(),
                        host: String::new(),
                        at_ns: now_ns,
                        text,
                        is_refusal: false,
                        is_in_part: false,
                    });
                }
            }
        }
        notes
    }
}

impl Whereabouts {
    fn update(
        &mut self,
        name: &str,
        now: &[(&crate::fleet::Seat, &inventory::Machine)],
        now_ns: u64,
    ) -> Option<String> {
        let present = now.iter().filter(|(_, machine)| machine.state != MachineState::Shutoff);
        let mut hosts: Vec<String> = present.map(|(seat, _)| seat.host.clone()).collect();
        hosts.sort();
        if hosts != self.hosts {
            let was_nowhere = self.hosts.is_empty() && self.is_told;
            (self.hosts, self.since_ns, self.is_told) = (hosts, now_ns, false);
            if was_nowhere && !self.hosts.is_empty() {
                return Some(format!("{name} is back, on {}", self.hosts.join(" and ")));
            }
        }
        if let [(seat, machine)] = now {
            self.last = Some((seat.host.clone(), machine.state));
        }
        let grace_ns = u64::try_from(GRACE.as_nanos()).unwrap_or(u64::MAX);
        if self.is_told || now_ns.saturating_sub(self.since_ns) < grace_ns {
            return None;
        }
        let text = match (self.hosts.len(), &self.last) {
            (0, Some((host, MachineState::Outgoing))) => format!(
                "{name} has left {host} by migration for a host without an agent: its packets are \
                 not captured until it comes back to one that has"
            ),
            (0, Some((host, _))) => format!(
                "{name} is gone from {host} and no host with an agent has it: its packets are not \
                 captured until one has"
            ),
            (0, None) => format!("{name} is on no host with an agent"),
            (1, _) => return None,
            _ => format!(
                "{} claim {name} at once; it is captured at each of them",
                self.hosts.join(" and ")
            ),
        };
        // A migration is two hosts for some seconds, and not worth a word.
        if self.hosts.len() > 1 && now_ns.saturating_sub(self.since_ns) < 10 * grace_ns {
            return None;
        }
        self.is_told = true;
        Some(text)
    }
}

fn order(session: &Session) -> Order {
    let wish = &session.wish;
    let mut limits = wish.limits;
    // An agent that hears nothing of the end must end by itself.
    limits.until = Some(limits.until.unwrap_or(u64::MAX).min(session.until_ns));
    let reason = if wish.reason.is_empty() { "no reason given" } else { &wish.reason };
    Order {
        session: session.id.clone(),
        permit: session.permit.clone(),
        expression: wish.expression.clone(),
        explained: session.explained.clone(),
        point: wish.point.clone(),
        snaplen: wish.snaplen,
        is_stripped: wish.is_stripped,
        limits,
        spool_bytes: wish.spool_bytes,
        comment: format!("overtap session {} of {} ({reason})", session.id, session.owner),
    }
}

/// How long an attached session waits for its follower to come back.
const LEASE: Duration = Duration::from_secs(60);

/// How long the packets of a session that has ended are kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long a machine may be nowhere before that is said.
const GRACE: Duration = Duration::from_secs(2);

const MOST_PARTS: usize = 10_000;
const MOST_NOTES: usize = 10_000;
