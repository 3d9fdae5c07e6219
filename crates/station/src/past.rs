//! What this host's recorder has for a session: looked for once, on a thread of its own, and judged
//! by the session's permit for each name and owner that a machine had when it was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::recorder::{DamageReason, KeptHalf, KeyRing, MachineRef, Store, ask_to_flush};
use agent::PastOrder;
use api::document::{Order, Recorded};
use control::grants::{MachineFacts, Permit, Uncovered};
use serde::Deserialize;
use wire::Timestamp;

use crate::part::now_ns;
use crate::recorder::RecorderSettings;

/// The pasts of all sessions that began in the past.
#[derive(Debug, Default)]
pub(crate) struct Pasts {
    recorder: Option<RecorderSettings>,
    sessions: BTreeMap<String, State>,
}

/// How far the looking for one session is.
#[derive(Debug)]
enum State {
    Looking(JoinHandle<Result<Found, String>>),
    /// What no part has begun with yet, by the machine's id.
    Known(BTreeMap<String, Past>),
}

/// What there is of one machine.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    /// For the engine.
    pub(crate) order: PastOrder,
    /// How much of each packet may be seen.
    pub(crate) snaplen: u32,
    /// From when to when it was recorded.
    pub(crate) recorded: Recorded,
}

/// What a look has found.
#[derive(Debug, Default)]
struct Found {
    pasts: BTreeMap<String, Past>,
    /// What may not be seen, in sentences.
    withheld: Vec<String>,
    /// What cannot be read, in a sentence.
    unreadable: Option<String>,
}

/// What a look has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Something is kept from the session's owner.
    Withheld(String),
    /// Something cannot be read.
    Unreadable(String),
}

impl Pasts {
    /// Of the recorder of this host, if it has one.
    pub(crate) const fn new(recorder: Option<RecorderSettings>) -> Self {
        Self { recorder, sessions: BTreeMap::new() }
    }

    /// Whether it is known what there is for a session; looks for it if nobody has. A host whose
    /// clock is `ahead_ns` of the controller's has recorded by its own.
    pub(crate) fn is_known(
        &mut self,
        order: &Order,
        kept: Option<&KeptHalf>,
        ahead_ns: i64,
    ) -> bool {
        let Some(past) = order.past else { return true };
        if let Some(state) = self.sessions.get(&order.session) {
            return matches!(state, State::Known(_));
        }
        let from = Timestamp::from_nanos(past.from_ns.saturating_add_signed(ahead_ns));
        let state = self.recorder.as_ref().map(|recorder| {
            let (recorder, keys) = (recorder.clone(), recorder.keys(kept));
            let permit = order.permit.clone();
            let look = move || look(&recorder, &keys?, &permit, from);
            thread::Builder::new().name("past".into()).spawn(look)
        });
        let state = match state {
            Some(Ok(thread)) => State::Looking(thread),
            // Without a thread there is no past; a host in such need says so all over.
            Some(Err(_)) | None => State::Known(BTreeMap::new()),
        };
        let is_known = matches!(state, State::Known(_));
        self.sessions.insert(order.session.clone(), state);
        is_known
    }

    /// Whether a look has come to its end that nobody has heard of yet.
    pub(crate) fn is_any_found(&self) -> bool {
        let mut states = self.sessions.values();
        states.any(|state| matches!(state, State::Looking(thread) if thread.is_finished()))
    }

    /// Takes what finished looks have found. Machines of which an earlier agent has written all
    /// already are passed over. Returns what is to be said, by session.
    pub(crate) fn take_found(
        &mut self,
        is_written: &dyn Fn(&str, &str) -> bool,
    ) -> Vec<(String, Told)> {
        let mut told = Vec::new();
        for (session, state) in &mut self.sessions {
            if !matches!(state, State::Looking(thread) if thread.is_finished()) {
                continue;
            }
            let before = std::mem::replace(state, State::Known(BTreeMap::new()));
            let State::Looking(thread) = before else { continue };
            let gone = || Err("the look into it was broken off".to_owned());
            let mut found = match thread.join().unwrap_or_else(|_| gone()) {
                Ok(found) => found,
                Err(error) => {
                    let text = format!("what was recorded here cannot be read: {error}");
                    told.push((session.clone(), Told::Unreadable(text)));
                    continue;
                }
            };
            found.pasts.retain(|machine, _| !is_written(session, machine));
            *state = State::Known(found.pasts);
            let withheld = found.withheld.into_iter().map(Told::Withheld);
            let unreadable = found.unreadable.into_iter().map(Told::Unreadable);
            told.extend(withheld.chain(unreadable).map(|told| (session.clone(), told)));
        }
        told
    }

    /// What a part of a machine may begin with, if no part has yet.
    pub(crate) fn of(&self, session: &str, machine: &str) -> Option<&Past> {
        match self.sessions.get(session)? {
            State::Known(pasts) => pasts.get(machine),
            State::Looking(_) => None,
        }
    }

    /// All that no part has begun with.
    pub(crate) fn left(&self, session: &str) -> Vec<Past> {
        match self.sessions.get(session) {
            Some(State::Known(pasts)) => pasts.values().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// A part has begun with it.
    pub(crate) fn begun(&mut self, session: &str, machine: &str) {
        if let Some(State::Known(pasts)) = self.sessions.get_mut(session) {
            pasts.remove(machine);
        }
    }

    /// Forgets all sessions but these.
    pub(crate) fn keep(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.sessions.retain(|session, _| is_kept(session));
    }
}

impl Past {
    /// The machine, by its name when it was recorded last.
    pub(crate) fn machine(&self) -> Option<&MachineRef> {
        self.order.machines.last()
    }

    /// Whether all of it may still be seen.
    pub(crate) fn is_covered(machines: &[MachineRef], permit: &Permit) -> bool {
        let covers = |machine| permit.covers(&machine, jiff::Timestamp::now()).is_ok();
        machines.iter().filter_map(facts).all(covers)
    }
}

/// Looks for what was recorded from `from` on of the machines of a permit.
fn look(
    recorder: &RecorderSettings,
    keys: &KeyRing,
    permit: &serde_json::Value,
    from: Timestamp,
) -> Result<Found, String> {
    let permit = Permit::deserialize(permit).map_err(|error| format!("the permit: {error}"))?;
    let directory = &recorder.directory;
    if !directory.exists() {
        // Nothing was ever recorded here.
        return Ok(Found::default());
    }
    ask_to_flush(directory);
    let store =
        Store::open_since(directory, keys.clone(), from).map_err(|error| error.to_string())?;
    let now = Timestamp::from_nanos(now_ns());
    let mut found = Found { unreadable: unreadable(&store), ..Found::default() };
    let mut covered: BTreeMap<String, (Vec<MachineRef>, u32)> = BTreeMap::new();
    let mut refused: BTreeMap<String, Uncovered> = BTreeMap::new();
    for machine in store.names() {
        let Some(facts) = facts(&machine) else { continue };
        match permit.covers(&facts, jiff::Timestamp::now()) {
            Err(Uncovered::NotAsked) => {}
            _ if !is_recorded(&store, &machine, from) => {}
            Ok(snaplen) => {
                let bytes = snaplen.bytes();
                let (names, least) =
                    covered.entry(machine.id.clone()).or_insert((Vec::new(), bytes));
                names.push(machine);
                *least = bytes.min(*least);
            }
            Err(refusal) => _ = refused.insert(machine.id, refusal),
        }
    }
    for (machine, refusal) in refused {
        let known = covered.get(&machine).and_then(|(names, _)| names.last());
        // What it was called by somebody else is not the asker's business.
        let name = known.map_or(machine.as_str(), |known| known.name.as_str());
        found.withheld.push(format!("some of what was recorded of {name} is withheld: {refusal}"));
    }
    for (machine, (mut machines, snaplen)) in covered {
        // The one it has now is the last.
        machines.sort_by_key(|name| store.spans(std::slice::from_ref(name)).last().copied());
        let order = PastOrder {
            directory: directory.clone(),
            keys: keys.clone(),
            from,
            is_live: false,
            // Other hosts may have seen what is missing here.
            are_gaps_said: false,
            machines,
        };
        let recorded =
            Recorded { spans_ns: spans(&store, &order.machines, from, now), ..Recorded::default() };
        found.pasts.insert(machine, Past { order, snaplen, recorded });
    }
    Ok(found)
}

/// Segments for which the host has no key any more, in a sentence.
fn unreadable(store: &Store) -> Option<String> {
    let is_keyless = |reason: &DamageReason| matches!(reason, DamageReason::UnknownKey(_));
    let segments: BTreeSet<&String> = store
        .damages()
        .filter(|damage| is_keyless(&damage.reason))
        .map(|damage| &damage.segment)
        .collect();
    (!segments.is_empty()).then(|| {
        format!(
            "{} segments of the recorder cannot be read: their key was revoked or is lost",
            segments.len()
        )
    })
}

fn is_recorded(store: &Store, machine: &MachineRef, from: Timestamp) -> bool {
    store.spans(std::slice::from_ref(machine)).iter().any(|span| span.to > from)
}

/// From when to when the machines were recorded; one that is recorded now, to the end of time.
fn spans(
    store: &Store,
    machines: &[MachineRef],
    from: Timestamp,
    now: Timestamp,
) -> Vec<(u64, u64)> {
    let is_going_on = store.settled(machines).is_some_and(|settled| now.since(settled) < STALE);
    let spans = store.spans(machines).into_iter().filter(|span| span.to > from);
    let mut spans: Vec<(u64, u64)> =
        spans.map(|span| (span.from.as_nanos(), span.to.as_nanos())).collect();
    if let Some((_, to)) = spans.last_mut().filter(|_| is_going_on) {
        *to = u64::MAX;
    }
    spans
}

fn facts(machine: &MachineRef) -> Option<MachineFacts> {
    Some(MachineFacts {
        id: machine.id.parse().ok()?,
        name: machine.name.clone(),
        tenant: machine.tenant.clone(),
    })
}

/// A recorder gives a sign of life each second.
const STALE: Duration = Duration::from_secs(4);
