//! Capture sessions as the controller knows them: what was asked for, which parts there are, what
//! happened.
//!
//! A session is orders for all agents; which of them has something to capture shows by itself.
//! Pure: time comes in as an argument, storing and sending is for the server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::document::{Note, Order, Orders, Part, Past, Session};
use inventory::{Machine, MachineId, MachineState};
use select::Resolved;
use serde::Deserialize;

use crate::clock::Moment;
use crate::fleet::{Fleet, Seat, sentence};
use crate::grants::Permit;

/// All sessions that are not forgotten.
#[derive(Debug, Default)]
pub struct Sessions {
    all: BTreeMap<String, Known>,
    revision: u64,
    /// Parts of all sessions.
    parts: usize,
    /// Bytes of the receipts of all sessions.
    receipt_bytes: usize,
    /// Sessions that became different since they were kept.
    unkept: BTreeSet<String>,
}

#[derive(Debug)]
struct Known {
    session: Session,
    /// How many follow it now.
    followers: usize,
    /// Agents that have looked for what was recorded for it.
    looked: BTreeSet<String>,
    /// Since when nobody does.
    left: Moment,
    /// The machines it is about, as far as they are known by name.
    whereabouts: BTreeMap<MachineId, Whereabouts>,
    /// Notes that each agent has made.
    notes_of: BTreeMap<String, usize>,
    /// Where the parts of each agent are in the list, by number.
    places: BTreeMap<String, BTreeMap<u32, usize>>,
    /// The bytes of each part's receipt.
    receipt_bytes: Vec<usize>,
}

/// What was said last of where a machine is.
#[derive(Debug)]
struct Whereabouts {
    name: String,
    place: Place,
    /// Since when it is where it is.
    since: Moment,
    /// How long it must be so before it is worth a word.
    grace: Duration,
    is_told: bool,
    /// The last host it ran on.
    last: Option<(String, MachineState)>,
    /// As it was when its networks were known last.
    seen: Option<Machine>,
}

/// What became of where a machine is.
enum Turn<'a> {
    /// It is told to be nowhere: what it exchanges with others is looked for, if this is known.
    Lost(Option<&'a Machine>),
    /// It is somewhere.
    Found,
    /// Nothing that matters.
    None,
}

/// Where a machine is, as far as agents say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Place {
    /// At no host.
    #[default]
    Nowhere,
    /// At this host, where it does not run.
    ShutOff(String),
    /// At these hosts.
    Hosts(Vec<String>),
    /// At this host when its agent spoke last.
    Away(String),
}

impl Sessions {
    /// Takes a session, new or from the store.
    pub fn add(&mut self, session: Session, now: Moment) {
        self.remove(&session.id);
        let mut known = Known {
            followers: 0,
            looked: BTreeSet::new(),
            left: now,
            whereabouts: BTreeMap::new(),
            notes_of: BTreeMap::new(),
            places: BTreeMap::new(),
            receipt_bytes: session.parts.iter().map(receipt_bytes).collect(),
            session,
        };
        if let Ok(permit) = Permit::deserialize(&known.session.permit) {
            let wish = &known.session.wish;
            for machine in permit.scope().machines() {
                let name = match wish.vms.as_slice() {
                    [name] => name.clone(),
                    _ => machine.to_string(),
                };
                known.whereabouts.insert(machine.clone(), Whereabouts::new(name, now));
            }
        }
        for (place, part) in known.session.parts.iter().enumerate() {
            known.places.entry(part.agent.clone()).or_default().insert(part.number, place);
            if let Ok(machine) = part.machine_id.parse() {
                known.whereabouts.insert(machine, Whereabouts::new(part.machine.clone(), now));
            }
        }
        self.parts += known.session.parts.len();
        self.receipt_bytes += known.receipt_bytes.iter().sum::<usize>();
        self.all.insert(known.session.id.clone(), known);
        self.revision += 1;
    }

    /// Forgets a session; agents remove its packets.
    pub fn remove(&mut self, id: &str) {
        self.unkept.remove(id);
        let Some(known) = self.all.remove(id) else { return };
        self.parts -= known.session.parts.len();
        self.receipt_bytes -= known.receipt_bytes.iter().sum::<usize>();
        self.revision += 1;
    }

    /// A session, as it is.
    pub fn session(&self, id: &str) -> Option<&Session> {
        self.all.get(id).map(|known| &known.session)
    }

    /// A session as it is kept: of many parts without their receipts, and of very many none at
    /// all. Agents have them and say them again when they come back.
    pub fn to_keep(&self, id: &str) -> Option<Session> {
        let known = self.all.get(id)?;
        let session = &known.session;
        if session.parts.len() <= WHOLE_PARTS_KEPT {
            return Some(session.clone());
        }
        let parts = if session.parts.len() <= PARTS_KEPT { session.parts.as_slice() } else { &[] };
        let parts = parts.iter().map(|part| Part {
            session: part.session.clone(),
            agent: part.agent.clone(),
            host: part.host.clone(),
            machine_id: part.machine_id.clone(),
            machine: part.machine.clone(),
            point: part.point.clone(),
            ended: part.ended.clone(),
            recorded: part.recorded.clone(),
            receipt: None,
            ..*part
        });
        let notes = session.notes.iter().take(NOTES_KEPT).cloned();
        Some(Session {
            id: session.id.clone(),
            owner: session.owner.clone(),
            wish: session.wish.clone(),
            ended: session.ended.clone(),
            parts: parts.collect(),
            notes: notes.collect(),
            permit: session.permit.clone(),
            explained: session.explained.clone(),
            elsewhere: session.elsewhere.clone(),
            awaited: Vec::new(),
            ..*session
        })
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.all.values().map(|known| &known.session)
    }

    /// Somebody follows it now. Says whether they may: each is told everything.
    pub fn follow(&mut self, id: &str) -> bool {
        match self.all.get_mut(id) {
            Some(known) if known.followers >= MOST_FOLLOWERS => false,
            Some(known) => {
                known.followers += 1;
                true
            }
            None => true,
        }
    }

    /// Somebody does not follow it any more.
    pub fn unfollow(&mut self, id: &str, now: Moment) {
        if let Some(known) = self.all.get_mut(id) {
            known.followers = known.followers.saturating_sub(1);
            known.left = now;
        }
    }

    /// Whether somebody who has so many sessions may have another one.
    pub fn has_room_for(&self, owner: &str) -> bool {
        let own = self.iter().filter(|session| session.owner == owner);
        self.all.len() < MOST_SESSIONS && own.count() < MOST_OF_ONE_OWNER
    }

    /// The sessions that became different since this was asked last, and are to be kept.
    pub fn take_unkept(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.unkept)
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
        self.unkept.insert(id.to_owned());
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

    /// Takes what an agent says of a part; its clock is what the controller has measured. Words are cut to what a person reads, receipts beyond
    /// all measure are left out, and so are parts beyond all measure, which is noted. Says whether
    /// anybody must be told.
    pub fn take_part(&mut self, agent: &str, mut part: Part, now: Moment) -> bool {
        let Some(known) = self.all.get_mut(&part.session) else { return false };
        bound(&mut part);
        agent.clone_into(&mut part.agent);
        let parts = &mut known.session.parts;
        let own = known.places.entry(agent.to_owned()).or_default();
        let place = own.get(&part.number).copied();
        if place.is_none()
            && (parts.len() >= MOST_PARTS
                || self.parts >= MOST_PARTS_OF_ALL
                || own.len() >= MOST_PARTS_OF_AGENT)
        {
            let text = format!("there are more parts from {agent} than can be listed");
            let is_said = known.session.notes.iter().any(|note| note.text == text);
            return !is_said && self.take_note(about(&part.session, text, now));
        }
        let before = place.and_then(|place| known.receipt_bytes.get(place)).copied();
        let others = self.receipt_bytes - before.unwrap_or_default();
        let mut bytes = receipt_bytes(&part);
        if bytes > LARGEST_RECEIPT || others + bytes > MOST_RECEIPT_BYTES {
            (part.receipt, bytes) = (None, 0);
        }
        self.receipt_bytes = others + bytes;
        if let Ok(machine) = part.machine_id.parse() {
            let whereabouts = known.whereabouts.entry(machine);
            let name = part.machine.clone();
            let whereabouts = whereabouts.or_insert_with(|| Whereabouts::new(name, now));
            if part.ended.is_none() {
                part.machine.clone_into(&mut whereabouts.name);
            }
        }
        let before = place.and_then(|place| parts.get_mut(place));
        if before.as_ref().is_none_or(|before| before.ended != part.ended) {
            self.unkept.insert(part.session.clone());
        }
        known.session.revision += 1;
        match before {
            Some(before) => {
                // An agent that is back says again what had ended long ago.
                let is_old = before.ended.is_some() && before.clock.is_some();
                part.clock = if is_old { before.clock } else { part.clock.or(before.clock) };
                *before = part;
                let place = place.and_then(|place| known.receipt_bytes.get_mut(place));
                place.into_iter().for_each(|before| *before = bytes);
            }
            None => {
                own.insert(part.number, parts.len());
                parts.push(part);
                known.receipt_bytes.push(bytes);
                self.parts += 1;
            }
        }
        true
    }

    /// Takes what an agent says about a session; it cannot speak for another host, nor so much
    /// that nobody else is heard. Says whether it is new.
    pub fn take_note_of(&mut self, agent: &str, note: Note) -> bool {
        let session = note.session.clone();
        let Some(known) = self.all.get(&session) else { return false };
        if known.notes_of.get(agent).is_some_and(|count| *count >= MOST_NOTES_OF_AGENT) {
            return false;
        }
        let is_new = self.take_note(note);
        if is_new && let Some(known) = self.all.get_mut(&session) {
            let count = known.notes_of.entry(agent.to_owned()).or_default();
            *count += 1;
            if *count == MOST_NOTES_OF_AGENT {
                let at_ns = known.session.notes.last().map_or(0, |note| note.at_ns);
                let text = format!("{agent} has more to say than can be noted");
                let now = Moment { wall_ns: at_ns, steady_ns: 0 };
                self.take_note(about(&session, text, now));
            }
        }
        is_new
    }

    /// Takes what is to be said about a session. Says whether it is new.
    pub fn take_note(&mut self, mut note: Note) -> bool {
        let Some(known) = self.all.get_mut(&note.session) else { return false };
        note.text = sentence(&note.text);
        note.host = sentence(&note.host);
        let notes = &mut known.session.notes;
        // A line that was cut is told everything again.
        if notes.len() >= MOST_NOTES || notes.contains(&note) {
            return false;
        }
        if notes.len() + 1 == MOST_NOTES {
            note = Note { text: "more has happened than can be noted".into(), ..note };
        }
        self.unkept.insert(note.session.clone());
        notes.push(note);
        known.session.revision += 1;
        true
    }

    /// An agent has looked for what was recorded for a session, and has said what there is. Says
    /// whether that is new.
    pub fn take_looked(&mut self, agent: &str, session: &str) -> bool {
        let Some(known) = self.all.get_mut(session) else { return false };
        let is_new = known.session.wish.last_s > 0 && known.looked.insert(agent.to_owned());
        known.session.revision += u64::from(is_new);
        is_new
    }

    /// Hosts whose agents are there and have not said yet what they have recorded for a session
    /// that began in the past.
    pub fn awaited(&self, session: &str, fleet: &Fleet) -> Vec<String> {
        let known = self.all.get(session).filter(|known| known.session.wish.last_s > 0);
        let Some(known) = known else { return Vec::new() };
        let is_awaited =
            |(id, seat): &(&str, &Seat)| seat.line.is_some() && !known.looked.contains(*id);
        fleet.seats().filter(is_awaited).map(|(_, seat)| seat.host.clone()).collect()
    }

    /// Sessions that end with what was recorded and of which all that is there.
    pub fn past_over(&self, fleet: &Fleet, now: Moment) -> Vec<String> {
        let running = self.iter().filter(|session| session.ended.is_none());
        let is_over = |session: &&Session| {
            // An agent of an earlier release never says that it has looked.
            let waited_ns = now.wall_ns.saturating_sub(session.began_ns);
            let is_enough = u128::from(waited_ns) >= LONGEST_LOOK.as_nanos();
            session.wish.is_past_only
                && session.parts.iter().all(|part| part.ended.is_some())
                && (is_enough || self.awaited(&session.id, fleet).is_empty())
        };
        running.filter(is_over).map(|session| session.id.clone()).collect()
    }

    /// Sessions whose time is over or whose follower is gone, and why.
    pub fn overdue(&self, now: Moment) -> Vec<(String, String)> {
        let running = self.all.values().filter(|known| known.session.ended.is_none());
        running
            .filter_map(|known| {
                let is_left = known.session.wish.is_attached
                    && known.followers == 0
                    && now.since(known.left) > LEASE;
                let why = match () {
                    () if now.wall_ns >= known.session.until_ns => "its time was over",
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

    /// Counts up whenever the orders change.
    pub const fn revision(&self) -> u64 {
        self.revision
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
    pub fn look_around(&mut self, fleet: &Fleet, now: Moment) -> Vec<Note> {
        let mut notes = Vec::new();
        for known in self.all.values_mut().filter(|known| known.session.ended.is_none()) {
            let mut is_new = false;
            for (machine, whereabouts) in &mut known.whereabouts {
                let claims = fleet.hosts_of(machine);
                let text = whereabouts.update(&claims, now);
                let elsewhere = &mut known.session.elsewhere;
                let count = elsewhere.len();
                match whereabouts.turn(&claims, text.is_some(), now) {
                    Turn::Lost(Some(seen)) if !fleet.has_twin(seen) => elsewhere.push(seen.clone()),
                    // A session of the store may have it already.
                    Turn::Found => elsewhere.retain(|other| other.id != *machine),
                    Turn::Lost(_) | Turn::None => {}
                }
                is_new |= elsewhere.len() != count;
                if let Some(mut text) = text {
                    if elsewhere.len() > count {
                        text += BUT_AT_PEERS;
                    }
                    notes.push(about(&known.session.id, text, now));
                }
            }
            if is_new {
                known.session.revision += 1;
                self.revision += 1;
                self.unkept.insert(known.session.id.clone());
            }
        }
        notes
    }
}

impl Whereabouts {
    fn new(name: String, now: Moment) -> Self {
        let (place, last) = (Place::default(), None);
        // After a start of the controller agents come back one after the other.
        Self { name, place, since: now, grace: ARRIVAL, is_told: false, last, seen: None }
    }

    fn update(&mut self, claims: &[(&Seat, &Machine)], now: Moment) -> Option<String> {
        let place = Place::of(claims);
        if place != self.place {
            let was_missed =
                self.is_told && matches!(self.place, Place::Nowhere | Place::ShutOff(_));
            (self.place, self.since, self.is_told) = (place, now, false);
            self.grace = match &self.place {
                // A migration is two hosts for some seconds, and not worth a word.
                Place::Hosts(hosts) if hosts.len() > 1 => 10 * GRACE,
                // A line that was cut is back in some seconds, too.
                Place::Away(_) => ARRIVAL,
                _ => GRACE,
            };
            if let (true, Place::Hosts(hosts)) = (was_missed, &self.place) {
                return Some(format!("{} is back, on {}", self.name, hosts.join(" and ")));
            }
        }
        for (_, machine) in claims.iter().filter(|(_, machine)| is_networked(machine)) {
            if self.seen.as_ref() != Some(machine) {
                self.seen = Some((*machine).clone());
            }
        }
        if let [(seat, machine)] = claims {
            if let Some(seen) = self.seen.as_mut().filter(|seen| seen.tenant != machine.tenant) {
                // Whose it is is known to the last, even when its ports are gone.
                seen.tenant.clone_from(&machine.tenant);
            }
            self.last = Some((seat.host.clone(), machine.state));
            machine.name.clone_into(&mut self.name);
        }
        if self.is_told || now.since(self.since) < self.grace {
            return None;
        }
        let text = self.text()?;
        self.is_told = true;
        Some(text)
    }

    /// Whether it is somewhere, or was just told to be nowhere.
    fn turn(&self, claims: &[(&Seat, &Machine)], is_told_now: bool, now: Moment) -> Turn<'_> {
        match (&self.place, &self.last) {
            (Place::Nowhere, Some(_)) if is_told_now => Turn::Lost(self.seen.as_ref()),
            (Place::Nowhere, _) => Turn::None,
            // While it is on its way it runs where it was; at first not all sources say so.
            _ if now.since(self.since) < GRACE => Turn::None,
            _ if claims.iter().all(|(_, machine)| !runs(machine)) => Turn::None,
            _ => Turn::Found,
        }
    }

    /// What people must know of where it is, if anything.
    fn text(&self) -> Option<String> {
        let name = &self.name;
        Some(match (&self.place, &self.last) {
            (Place::Nowhere, Some((host, MachineState::Outgoing))) => format!(
                "{name} has left {host} by migration for a host without an agent: its packets are \
                 not captured until it comes back to one that has"
            ),
            (Place::Nowhere, Some((host, _))) => format!(
                "{name} is gone from {host} and no host with an agent has it: its packets are not \
                 captured until one has"
            ),
            (Place::Nowhere, None) => format!("{name} is on no host with an agent"),
            (Place::ShutOff(host), _) => {
                format!("{name} is shut off on {host}: there is nothing to capture until it runs")
            }
            (Place::Away(host), _) => format!(
                "the agent of {host}, where {name} was last, is away: what it captures is there \
                 when it is back"
            ),
            (Place::Hosts(hosts), _) if hosts.len() > 1 => {
                format!(
                    "{} claim {name} at once; it is captured at each of them",
                    hosts.join(" and ")
                )
            }
            (Place::Hosts(_), _) => return None,
        })
    }
}

impl Place {
    /// Of an agent that is away only what it said last is known, so others are believed first.
    fn of(claims: &[(&Seat, &Machine)]) -> Self {
        let runs = |claim: &&(&Seat, &Machine)| claim.1.state != MachineState::Shutoff;
        let running: Vec<_> = claims.iter().filter(runs).collect();
        let there = running.iter().filter(|(seat, _)| seat.line.is_some());
        let mut hosts: Vec<String> = there.map(|(seat, _)| seat.host.clone()).collect();
        hosts.sort();
        if !hosts.is_empty() {
            return Self::Hosts(hosts);
        }
        match (running.first(), claims.first()) {
            (Some((seat, _)), _) => Self::Away(seat.host.clone()),
            (None, Some((seat, _))) => Self::ShutOff(seat.host.clone()),
            (None, None) => Self::Nowhere,
        }
    }
}

/// Whether a machine is at a host, and not only known there or on its way.
fn runs(machine: &Machine) -> bool {
    !matches!(machine.state, MachineState::Shutoff | MachineState::Incoming)
}

/// Whether something of a machine is in an overlay, in which others see it, too.
fn is_networked(machine: &Machine) -> bool {
    let mut vnics = machine.vnics.iter().filter(|vnic| vnic.mac.is_some());
    vnics.any(|vnic| {
        let networks = vnic.attachment.iter().flat_map(|place| &place.networks);
        networks.into_iter().any(|network| network.vni.is_some())
    })
}

/// A note of the controller's own.
fn about(session: &str, text: String, now: Moment) -> Note {
    Note {
        session: session.to_owned(),
        host: String::new(),
        at_ns: now.wall_ns,
        text,
        is_refusal: false,
        is_in_part: false,
    }
}

/// Cuts the words of a part to what a person reads, and its numbers to what there can be.
fn bound(part: &mut Part) {
    if let Some(recorded) = &mut part.recorded {
        recorded.spans_ns.truncate(MOST_SPANS);
    }
    let words = [&mut part.host, &mut part.machine_id, &mut part.machine, &mut part.point];
    for word in words.into_iter().chain(&mut part.ended) {
        *word = sentence(word);
    }
    // The sum of all parts there can be must fit.
    let numbers = [
        &mut part.bytes,
        &mut part.freed_bytes,
        &mut part.packets,
        &mut part.kernel_dropped,
        &mut part.failed,
    ];
    for number in numbers {
        *number = (*number).min(MOST_COUNTED);
    }
}

fn receipt_bytes(part: &Part) -> usize {
    part.receipt.as_ref().map_or(0, |receipt| receipt.to_string().len())
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
        when_full: wish.when_full,
        comment: format!("overtap session {} of {} ({reason})", session.id, session.owner),
        elsewhere: session.elsewhere.clone(),
        past: (wish.last_s > 0).then(|| Past {
            from_ns: session.began_ns.saturating_sub(wish.last_s.saturating_mul(1_000_000_000)),
            is_all: wish.is_past_only,
        }),
    }
}

/// What is said of a machine that is nowhere, where others may see it.
const BUT_AT_PEERS: &str = "; until then, what it exchanges in its overlay with machines on hosts \
                            with agents is captured at the uplinks of these, and nothing else";

/// How long an attached session waits for its follower to come back.
const LEASE: Duration = Duration::from_secs(60);

/// How long the packets of a session that has ended are kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long agents may look for what was recorded.
const LONGEST_LOOK: Duration = Duration::from_secs(15);

/// How long a machine may be nowhere before that is said.
const GRACE: Duration = Duration::from_secs(2);

/// How long agents may take to come back, and then to say what they have.
const ARRIVAL: Duration = Duration::from_secs(8);

/// Sessions that are not forgotten, of all owners and of one.
const MOST_SESSIONS: usize = 10_000;
const MOST_OF_ONE_OWNER: usize = 1000;

/// Parts of one session, of all sessions, and of one session at one agent.
const MOST_PARTS: usize = 20_000;
const MOST_PARTS_OF_ALL: usize = 200_000;
const MOST_PARTS_OF_AGENT: usize = 5000;

/// Bytes of a receipt, as JSON, and of all of them.
const LARGEST_RECEIPT: usize = 64 << 10;
const MOST_RECEIPT_BYTES: usize = 64 << 20;

/// Parts of a session that are kept with their receipts, parts that are kept at all, and notes
/// that are kept beside many parts.
const WHOLE_PARTS_KEPT: usize = 50;
const PARTS_KEPT: usize = 1000;
const NOTES_KEPT: usize = 500;

/// Times that one part can tell of in which its host has recorded.
const MOST_SPANS: usize = 1000;

/// What a part can have at most of anything that is counted.
const MOST_COUNTED: u64 = 1 << 44;

/// Notes of one session, and those of them that one agent may make.
const MOST_NOTES: usize = 10_000;
const MOST_NOTES_OF_AGENT: usize = 2000;

/// Who follow one session.
const MOST_FOLLOWERS: usize = 32;
