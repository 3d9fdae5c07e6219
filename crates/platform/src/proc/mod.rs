//! VMs, containers and network namespaces by `/proc`, `/run` and the runtimes' files.
//!
//! The kernel announces new processes only to the privileged, so `/proc` is listed four times a
//! second. What can be waited for is: the end of a VM or of a namespace's oldest process, a
//! change of links, a new file where libvirt and the runtimes keep their state.

mod process;
mod qemu;
mod runtime;
mod scan;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use inventory::facts::{Facts, NamespaceId, ProcessFacts, Source};
use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use self::scan::{Depth, Scanner};
use crate::netlink::{Target, Targets};
use crate::watch::{Shared, Waker, wait};

/// Reads everything once, below `root`.
pub(crate) fn read_once(root: &Path) -> Result<ProcessFacts, String> {
    Scanner::new(root).scan(Depth::Taps).map_err(|error| refusal(&error))
}

/// The namespaces to read links in: the own one and each that holds a machine or may.
pub(crate) fn targets(facts: &ProcessFacts) -> Vec<Target> {
    let others = facts.namespaces.iter().map(|namespace| Target {
        id: namespace.id,
        path: namespace.path.clone().into(),
        name: namespace.name.clone(),
        is_own: false,
    });
    std::iter::once(own_target(facts.own_namespace)).chain(others).collect()
}

fn own_target(id: NamespaceId) -> Target {
    Target { id, path: "/proc/thread-self/ns/net".into(), name: "this host".into(), is_own: true }
}

/// Watches until `shared` is stopped; tells `targets` which namespaces there are. Woken, it
/// looks at everything.
pub(crate) fn watch(shared: &Shared, targets: &Targets, waker: &Waker) {
    let mut watch = Watch {
        scanner: Scanner::new(Path::new("/")),
        ends: BTreeMap::new(),
        files: watch_files(),
        last_all: None,
        earliest: Instant::now(),
    };
    let mut depth = Depth::Taps;
    while !shared.is_stopped() {
        match watch.scan(depth) {
            Ok(facts) => {
                let found = self::targets(&facts);
                shared.mailbox.put(Source::Proc, Ok(Facts::Processes(facts)));
                targets.set(found);
            }
            Err(error) => shared.mailbox.put(Source::Proc, Err(refusal(&error))),
        }
        depth = watch.wait(waker);
    }
}

struct Watch {
    scanner: Scanner,
    /// Readable when the process has ended.
    ends: BTreeMap<u32, OwnedFd>,
    /// Readable when a file came or went where state is kept.
    files: Option<OwnedFd>,
    last_all: Option<Instant>,
    /// No scan before this, whatever happens: looking takes at most a tenth of the time.
    earliest: Instant,
}

impl Watch {
    fn scan(&mut self, depth: Depth) -> io::Result<ProcessFacts> {
        let begin = Instant::now();
        let facts = self.scanner.scan(depth);
        if depth != Depth::New {
            self.last_all = Some(begin);
        }
        self.earliest = begin + (begin.elapsed() * 10).clamp(COALESCE, TICK);
        let holders = self.scanner.holders();
        self.ends.retain(|pid, _| holders.contains(pid));
        for pid in holders {
            if !self.ends.contains_key(&pid)
                && let Some(end) = end_of(pid)
            {
                self.ends.insert(pid, end);
            }
        }
        facts
    }

    /// Waits for a reason to look again and says how far.
    fn wait(&mut self, waker: &Waker) -> Depth {
        let tick = Instant::now() + TICK;
        let mut fds: Vec<BorrowedFd<'_>> = vec![waker.as_fd()];
        fds.extend(self.files.as_ref().map(AsFd::as_fd));
        fds.extend(self.ends.values().map(AsFd::as_fd));
        let ready = match wait(&fds, Some(tick)) {
            Ok(ready) => ready,
            Err(_) => {
                std::thread::sleep(TICK);
                return Depth::All;
            }
        };
        if !ready.contains(&true) {
            let is_due = self.last_all.is_none_or(|last| last.elapsed() >= ALL_AFTER);
            return if is_due { Depth::All } else { Depth::New };
        }
        // What comes within this time is seen by the same scan.
        std::thread::sleep(self.earliest.saturating_duration_since(Instant::now()).max(GATHER));
        // Links changed: that is what others wake us for.
        let depth = if ready.first() == Some(&true) { Depth::Taps } else { Depth::All };
        waker.clear();
        if let Some(files) = &self.files {
            drain(files);
        }
        self.forget_ended();
        depth
    }

    /// Lets go of processes that ended: their descriptors would be ready for ever.
    fn forget_ended(&mut self) {
        let pids: Vec<u32> = self.ends.keys().copied().collect();
        let fds: Vec<BorrowedFd<'_>> = self.ends.values().map(AsFd::as_fd).collect();
        let Ok(ready) = wait(&fds, Some(Instant::now())) else { return };
        for (pid, _) in pids.iter().zip(ready).filter(|(_, is_ready)| *is_ready) {
            self.ends.remove(pid);
        }
    }
}

/// A descriptor that says when a process ends; `None` if it has.
fn end_of(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::NONBLOCK).ok()
}

/// Watches the directories where a new file means a new machine. Without them, and without the
/// right to watch, the rescan finds it a quarter of a second later.
fn watch_files() -> Option<OwnedFd> {
    use inotify::{CreateFlags, WatchFlags};
    let files = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let flags = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::ONLYDIR;
    for directory in STATE_DIRECTORIES {
        let _ = inotify::add_watch(&files, directory, flags);
    }
    Some(files)
}

/// Reads and forgets what a descriptor has to say.
fn drain(files: &OwnedFd) {
    let mut events = [0; 4096];
    while matches!(rustix::io::read(files, &mut events), Ok(len) if len > 0) {}
}

fn refusal(error: &io::Error) -> String {
    format!("cannot read processes in /proc: {error}")
}

/// How often `/proc` is listed.
const TICK: Duration = Duration::from_millis(250);
/// How often each process is looked at although nothing happened.
const ALL_AFTER: Duration = Duration::from_millis(700);
/// Triggers closer together than this are one.
const COALESCE: Duration = Duration::from_millis(50);
/// `ip netns add` makes its file first and mounts the namespace on it then.
const GATHER: Duration = Duration::from_millis(5);
const STATE_DIRECTORIES: [&str; 3] = ["/run/netns", "/run/docker/netns", "/run/libvirt/qemu"];

#[cfg(test)]
mod tests;
