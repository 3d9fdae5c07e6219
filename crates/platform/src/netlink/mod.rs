//! The kernel's links, neighbours, forwarding tables and routes, in every network namespace that
//! may hold a machine.
//!
//! Each namespace has a socket that listens and one that asks. Events are never applied, they
//! only say which table to dump again: what was lost or merged does not matter. Nothing is
//! changed in any namespace; but a socket keeps its namespace alive, so it is closed as soon as
//! the last process or file of the namespace is gone.

mod entry;
pub(crate) mod message;
mod namespace;
mod socket;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use inventory::facts::{Facts, NamespaceId, NetworkFacts, Source};

use self::namespace::Reader;
pub(crate) use self::namespace::Target;
pub(crate) use self::socket::{Asking, asking, inside};
use crate::watch::{Shared, Waker, wait};

/// Reads each of `targets` once.
pub(crate) fn read_once(targets: Vec<Target>) -> Vec<(Source, Result<Facts, String>)> {
    let mut answers = Vec::new();
    let mut readers = Vec::new();
    for target in targets {
        match Reader::open(target.clone()) {
            Ok(reader) => readers.push(reader),
            Err(error) if is_gone(&error) => {}
            Err(error) => answers.push((Source::Netlink(target.id), Err(refusal(&target, &error)))),
        }
    }
    for number in 0..readers.len() {
        let (before, rest) = readers.split_at_mut(number);
        let Some((reader, after)) = rest.split_first_mut() else { break };
        let others = before.iter().chain(after.iter());
        let known: Vec<_> = likeliest_first(others.map(|r| (r.target(), r.handle())));
        let facts = match reader.refresh(&known) {
            Ok(()) => Ok(Facts::Network(reader.facts())),
            Err(error) => Err(refusal(reader.target(), &error)),
        };
        answers.push((Source::Netlink(reader.target().id), facts));
    }
    answers
}

/// The namespaces to watch, set by whoever finds them.
#[derive(Debug)]
pub(crate) struct Targets {
    list: Mutex<Vec<Target>>,
    waker: Waker,
}

impl Targets {
    /// None yet.
    pub(crate) fn new(waker: Waker) -> Self {
        Self { list: Mutex::default(), waker }
    }

    /// Watches these from now on.
    pub(crate) fn set(&self, targets: Vec<Target>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if *list != targets {
            *list = targets;
            drop(list);
            self.waker.wake();
        }
    }

    fn list(&self) -> Vec<Target> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Watches the namespaces of `targets` until `shared` is stopped; wakes `on_links` when links
/// changed somewhere.
pub(crate) fn watch(shared: &Shared, targets: &Targets, on_links: &Waker) {
    let mut watch = Watch { shared, watched: BTreeMap::new() };
    watch.follow(targets.list());
    while !shared.is_stopped() {
        let ready = match watch.wait(&targets.waker) {
            Ok(ready) => ready,
            // Only for want of memory or descriptors; trying at once would make it worse.
            Err(_) => {
                std::thread::sleep(RETRY_AFTER);
                continue;
            }
        };
        if ready.is_woken {
            targets.waker.clear();
            watch.follow(targets.list());
        }
        if watch.drain(&ready.namespaces) {
            on_links.wake();
        }
        watch.refresh_due();
    }
}

struct Watch<'a> {
    shared: &'a Shared,
    watched: BTreeMap<NamespaceId, Watched>,
}

/// A namespace under watch, or one that could not be entered.
struct Watched {
    target: Target,
    reader: Option<Reader>,
    /// When to read again (or to try to enter again), if anything is to be read.
    due: Option<Instant>,
    /// Not before this: reading takes at most a tenth of the time.
    earliest: Instant,
}

struct Ready {
    is_woken: bool,
    namespaces: Vec<NamespaceId>,
}

impl Watch<'_> {
    /// Enters new namespaces and leaves those that are gone.
    fn follow(&mut self, targets: Vec<Target>) {
        let gone: Vec<NamespaceId> = self
            .watched
            .keys()
            .filter(|id| !targets.iter().any(|target| target.id == **id))
            .copied()
            .collect();
        for id in gone {
            self.leave(id);
        }
        let mut is_new = false;
        for target in targets {
            if let Some(watched) = self.watched.get_mut(&target.id) {
                watched.target = target;
                continue;
            }
            is_new = true;
            let now = Instant::now();
            let watched = Watched { target, reader: None, due: Some(now), earliest: now };
            self.watched.insert(watched.target.id, watched);
        }
        if is_new {
            // All are entered before the first is read, so that each finds its peers.
            for watched in self.watched.values_mut() {
                watched.enter(self.shared);
            }
            for watched in self.watched.values_mut() {
                if let Some(reader) = &mut watched.reader {
                    reader.reconsider_peers();
                    watched.plan();
                }
            }
        }
    }

    /// Reports an empty namespace, which no namespace that exists is, and closes its sockets.
    fn leave(&mut self, id: NamespaceId) {
        self.watched.remove(&id);
        let facts = NetworkFacts { namespace: id, ..NetworkFacts::default() };
        self.shared.mailbox.put_last(Source::Netlink(id), Facts::Network(facts));
    }

    fn wait(&self, waker: &Waker) -> io::Result<Ready> {
        let mut fds: Vec<BorrowedFd<'_>> = vec![waker.as_fd()];
        let mut ids = Vec::new();
        for (id, watched) in &self.watched {
            if let Some(reader) = &watched.reader {
                fds.push(reader.listening().as_fd());
                ids.push(*id);
            }
        }
        let due = self.watched.values().filter_map(|watched| watched.due).min();
        let mut ready = wait(&fds, due)?.into_iter();
        let is_woken = ready.next().unwrap_or(false);
        let namespaces = ids.into_iter().zip(ready).filter(|(_, r)| *r).map(|(id, _)| id);
        Ok(Ready { is_woken, namespaces: namespaces.collect() })
    }

    /// Takes the waiting events. Returns whether any link changed.
    fn drain(&mut self, namespaces: &[NamespaceId]) -> bool {
        let mut has_links = false;
        for id in namespaces {
            let Some(watched) = self.watched.get_mut(id) else { continue };
            let Some(reader) = &mut watched.reader else { continue };
            match reader.drain() {
                Ok(is_overrun) => {
                    if is_overrun {
                        self.shared.overruns.fetch_add(1, Ordering::Relaxed);
                    }
                    has_links |= reader.stale().has_links();
                    watched.plan();
                }
                Err(error) => watched.fail(self.shared, &error),
            }
        }
        has_links
    }

    /// Reads what is due and reports it.
    fn refresh_due(&mut self) {
        let now = Instant::now();
        let due: Vec<NamespaceId> = self
            .watched
            .iter()
            .filter(|(_, watched)| watched.due.is_some_and(|due| due <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            // Taken out, so that the others can be asked for while it is changed.
            let Some(mut watched) = self.watched.remove(&id) else { continue };
            watched.enter(self.shared);
            let others = self
                .watched
                .values()
                .filter_map(|other| other.reader.as_ref().map(|r| (r.target(), r.handle())));
            watched.refresh(self.shared, &likeliest_first(others));
            self.watched.insert(id, watched);
        }
    }
}

impl Watched {
    /// Opens the sockets, unless they are open.
    fn enter(&mut self, shared: &Shared) {
        if self.reader.is_some() {
            return;
        }
        match Reader::open(self.target.clone()) {
            Ok(reader) => self.reader = Some(reader),
            Err(error) => self.fail(shared, &error),
        }
    }

    fn refresh(&mut self, shared: &Shared, known: &[(NamespaceId, &OwnedFd)]) {
        let Some(reader) = &mut self.reader else { return };
        self.due = None;
        let begin = Instant::now();
        match reader.refresh(known) {
            Ok(()) => {
                let facts = Facts::Network(reader.facts());
                shared.mailbox.put(Source::Netlink(self.target.id), Ok(facts));
                let cost = begin.elapsed();
                self.earliest = begin + (cost * 10).min(LATEST);
            }
            Err(error) => self.fail(shared, &error),
        }
    }

    /// Plans the next reading if anything is stale: late enough to take a burst in one.
    fn plan(&mut self) {
        if self.due.is_none() && self.reader.as_ref().is_some_and(|r| r.stale().is_any()) {
            self.due = Some(self.earliest.max(Instant::now() + COALESCE));
        }
    }

    /// Reports why it cannot be read, and plans to try again.
    fn fail(&mut self, shared: &Shared, error: &io::Error) {
        self.reader = None;
        self.due = Some(Instant::now() + RETRY_AFTER);
        // Whoever lists the targets will notice that it is gone; that is no problem to report.
        if !is_gone(error) {
            let sentence = refusal(&self.target, error);
            shared.mailbox.put(Source::Netlink(self.target.id), Err(sentence));
        }
    }
}

/// The own namespace holds the other ends of nearly all veth pairs.
fn likeliest_first<'a>(
    others: impl Iterator<Item = (&'a Target, &'a OwnedFd)>,
) -> Vec<(NamespaceId, &'a OwnedFd)> {
    let mut others: Vec<_> = others.collect();
    others.sort_by_key(|(target, _)| !target.is_own);
    others.into_iter().map(|(target, handle)| (target.id, handle)).collect()
}

/// Whether the namespace ended between being listed and being entered.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Why a namespace could not be read, and what to do.
fn refusal(target: &Target, error: &io::Error) -> String {
    let Target { name, path, is_own, .. } = target;
    let path = path.display();
    match error.kind() {
        _ if *is_own => format!("cannot read links by netlink: {error}"),
        io::ErrorKind::PermissionDenied => format!(
            "cannot enter the network namespace of {name} ({path}): {error}; run as root or grant \
             cap_sys_admin and cap_sys_ptrace"
        ),
        _ => format!("cannot read the network namespace of {name} ({path}): {error}"),
    }
}

/// How long events are gathered before tables are read.
const COALESCE: Duration = Duration::from_millis(20);
/// However long reading takes, changes are seen after this.
const LATEST: Duration = Duration::from_millis(400);
const RETRY_AFTER: Duration = Duration::from_secs(2);
