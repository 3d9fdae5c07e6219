//! Where the duty and the line to the controller meet: the newest state of everything, and a bell.
//!
//! Nothing here is a queue of events: whoever was away reads the state and has missed nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::document::{Note, Orders, Part};
use inventory::Site;
use pipeline::Ledger;
use recorder::KeptHalf;
use tokio::sync::watch;
use wire::Timestamp;

use crate::spool::kept_bytes;

/// The board.
#[derive(Debug)]
pub(crate) struct Board {
    state: Mutex<State>,
    bell: watch::Sender<u64>,
}

/// What is on it.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// What is to be done; `None` before a controller has said anything.
    pub(crate) orders: Option<Arc<Orders>>,
    /// The host's site, and as of when.
    pub(crate) site: Arc<Site>,
    /// As of when.
    pub(crate) seen_at: Timestamp,
    /// The parts by session and number.
    pub(crate) parts: BTreeMap<(String, u32), Posted>,
    /// How far each part was fetched and is not needed any more, until that is seen to.
    pub(crate) released: BTreeMap<(String, u32), u64>,
    /// What people must know, oldest first, bounded.
    pub(crate) notes: Vec<Note>,
    /// Sessions for which what was recorded was looked for, and is among the parts.
    pub(crate) looked: BTreeSet<String>,
    /// The controller's half of the recorder's key, once it has said it.
    pub(crate) kept_half: Option<KeptHalf>,
    /// How far this host's clock is ahead of the controller's, about, in nanoseconds.
    pub(crate) ahead_ns: i64,
    /// What became of all packets.
    pub(crate) account: Account,
    /// Whether the controller is there.
    pub(crate) is_attending: bool,
    /// Until when the agent's certificate is good, where that can be read.
    pub(crate) certificate_until: Option<jiff::Timestamp>,
}

/// What became of all packets since the agent began, also of parts that are gone.
#[derive(Debug, Default)]
pub(crate) struct Account {
    ended: Ledger,
    running: BTreeMap<(String, u32), Ledger>,
}

/// A part.
#[derive(Debug)]
pub(crate) struct Posted {
    /// As it is now.
    pub(crate) part: Part,
    /// Its packets.
    pub(crate) path: PathBuf,
    /// How far they can be read.
    pub(crate) reached: watch::Sender<Reached>,
    /// Which ring of the bell changed it.
    pub(crate) changed: u64,
}

impl Account {
    /// All parts together.
    pub(crate) fn total(&self) -> Ledger {
        self.running.values().fold(self.ended, Ledger::plus)
    }
}

/// How far the packets of a part can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Bytes that are in the file.
    pub(crate) bytes: u64,
    /// No packet older than this comes after them, ns since 1970.
    pub(crate) settled_ns: u64,
    /// Nothing comes after them.
    pub(crate) is_last: bool,
}

impl Board {
    /// With the parts of earlier times.
    pub(crate) fn new(recovered: Vec<(Part, PathBuf)>) -> Self {
        let board = Self { state: Mutex::default(), bell: watch::Sender::new(0) };
        for (part, path) in recovered {
            let reached = Reached { bytes: part.bytes, settled_ns: u64::MAX, is_last: true };
            board.post(part, path, reached);
        }
        board
    }

    /// Everything on it. To be held shortly.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings at every change.
    pub(crate) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Changes something and rings the bell.
    pub(crate) fn change(&self, act: impl FnOnce(&mut State)) {
        act(&mut self.state());
        self.bell.send_modify(|rings| *rings += 1);
    }

    /// Puts a part on it, or says how it is now.
    pub(crate) fn post(&self, part: Part, path: PathBuf, reached: Reached) {
        let changed = *self.bell.borrow() + 1;
        self.change(|state| {
            let key = (part.session.clone(), part.number);
            let posted = state.parts.entry(key).or_insert_with(|| Posted {
                part: part.clone(),
                path,
                reached: watch::Sender::new(reached),
                changed,
            });
            posted.part = part;
            posted.changed = changed;
            posted.reached.send_if_modified(|before| {
                let is_new = *before != reached;
                *before = reached;
                is_new
            });
        });
    }

    /// Bytes that the parts of a session take, as far as they were told.
    pub(crate) fn kept_bytes(&self, session: &str) -> u64 {
        self.kept_bytes_if(session, |_| true)
    }

    /// Bytes that those of its parts take which have ended.
    pub(crate) fn ended_bytes(&self, session: &str) -> u64 {
        self.kept_bytes_if(session, |part| part.ended.is_some())
    }

    fn kept_bytes_if(&self, session: &str, is_meant: impl Fn(&Part) -> bool) -> u64 {
        let state = self.state();
        let parts = state.parts.iter().filter(|((of, _), _)| of == session);
        let meant = parts.map(|(_, posted)| &posted.part).filter(|part| is_meant(part));
        meant.map(kept_bytes).fold(0, u64::saturating_add)
    }

    /// What may be forgotten of each part, since this was asked last.
    pub(crate) fn take_released(&self) -> BTreeMap<(String, u32), u64> {
        std::mem::take(&mut self.state().released)
    }

    /// Counts what became of the packets of a part so far; `ledger` takes the place of what it had
    /// before, and is `None` if nothing better is known.
    pub(crate) fn count(&self, part: &Part, ledger: Option<Ledger>, has_ended: bool) {
        let account = &mut self.state().account;
        let key = (part.session.clone(), part.number);
        let known = account.running.remove(&key).unwrap_or_default();
        let ledger = ledger.unwrap_or(known);
        if has_ended {
            account.ended = account.ended.plus(&ledger);
        } else {
            account.running.insert(key, ledger);
        }
    }

    /// Says something that people must know.
    pub(crate) fn note(&self, note: Note) {
        self.change(|state| {
            if state.notes.len() >= MOST_NOTES {
                state.notes.remove(0);
            }
            state.notes.push(note);
        });
    }
}

/// More notes than anybody reads.
const MOST_NOTES: usize = 2000;
