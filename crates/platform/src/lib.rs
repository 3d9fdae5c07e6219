//! Reads the site: Linux, Open vSwitch, libvirt.
//!
//! Each source says what it sees as plain facts ([`inventory::facts`]); nothing is resolved,
//! joined or believed here. Nothing on the host is changed but by [`mirror`], and no library of the
//! platforms is linked: netlink, OVSDB and libvirt are spoken over their sockets.

mod clock;
mod libvirt;
mod live;
pub mod mirror;
mod netlink;
mod ovsdb;
mod proc;
mod stream;
mod watch;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use inventory::facts::{Facts, Report, Source};

pub use self::live::LiveSite;

use self::netlink::Targets;
use self::watch::{Shared, Waker};

/// Reads every source once; each that fails reports why, each that is not installed is absent.
/// Sources are read in parallel threads; one that has not answered after `deadline` is reported
/// so, and its thread is left to end by itself.
pub fn read_once(deadline: Duration) -> Vec<Report> {
    let end = Instant::now() + deadline;
    let (sender, answers) = mpsc::channel();
    let mut silent = Vec::new();
    let mut reports = Vec::new();
    for (source, read) in READERS {
        let sender = Outbox { source: source.clone(), sender: sender.clone() };
        match spawn(&format!("read {source:?}"), move || read(&sender, end)) {
            Ok(_) => silent.push(source),
            Err(error) => {
                let facts = Err(format!("cannot start a thread: {error}"));
                reports.push(Report { source, at: clock::now(), facts });
            }
        }
    }
    drop(sender);
    while !silent.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        match answers.recv_timeout(left) {
            Ok(Answer::Report(report)) => reports.push(report),
            Ok(Answer::Done(source)) => silent.retain(|s| *s != source),
            Err(_) => break,
        }
    }
    for source in silent {
        let facts = Err(format!("did not answer within {deadline:?}; it may hang"));
        reports.push(Report { source, at: clock::now(), facts });
    }
    reports
}

/// Keeps reading: a thread for each source, each change a new whole report of its source.
///
/// A network namespace that is gone reports one last time, with no links at all.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<()>>,
}

impl Watcher {
    /// Starts reading; the first reports arrive at once. Fails only for want of threads or
    /// descriptors: a source that cannot be read reports that.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (netlink, proc) = (Waker::new()?, Waker::new()?);
        let (ovsdb, libvirt) = (Waker::new()?, Waker::new()?);
        let wakers = vec![netlink.clone(), proc.clone(), ovsdb.clone(), libvirt.clone()];
        // Made first, so that the threads that did start end if another does not.
        let mut watcher = Self { shared, wakers, threads: Vec::new() };
        let targets = Arc::new(Targets::new(netlink));
        watcher.spawn("watch netlink", {
            let (targets, proc) = (Arc::clone(&targets), proc.clone());
            move |shared| netlink::watch(shared, &targets, &proc)
        })?;
        watcher.spawn("watch proc", move |shared| proc::watch(shared, &targets, &proc))?;
        watcher.spawn("watch ovsdb", move |shared| {
            ovsdb::watch(&ovsdb::socket_path(), shared, &ovsdb);
        })?;
        watcher.spawn("watch libvirt", move |shared| {
            libvirt::watch(&libvirt::Place::default(), shared, &libvirt);
        })?;
        Ok(watcher)
    }

    /// The next report, waiting at most `timeout` for it. Whoever calls too seldom gets only the
    /// newest of each source.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Report> {
        self.shared.mailbox.take(timeout)
    }

    /// How often the kernel lost events and everything was read again.
    pub fn overruns_total(&self) -> u64 {
        self.shared.overruns.load(Ordering::Relaxed)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(&Shared) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.threads.push(spawn(name, move || work(&shared))?);
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop();
        for waker in &self.wakers {
            waker.wake();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

/// What a reader says to [`read_once`].
enum Answer {
    Report(Report),
    Done(Source),
}

/// Where a reader puts its reports; dropped, it says that there are no more.
struct Outbox {
    source: Source,
    sender: Sender<Answer>,
}

impl Outbox {
    fn put(&self, source: Source, facts: Result<Facts, String>) {
        // After the deadline nobody listens.
        let _ = self.sender.send(Answer::Report(Report { source, at: clock::now(), facts }));
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let _ = self.sender.send(Answer::Done(self.source.clone()));
    }
}

/// Reads a source, at most until then.
type Read = fn(&Outbox, Instant);

/// The sources of a host and how each is read.
const READERS: [(Source, Read); 3] =
    [(Source::Proc, read_kernel), (Source::Ovsdb, read_ovsdb), (Source::Libvirt, read_libvirt)];

/// Processes first: they say in which namespaces there is something to read.
fn read_kernel(outbox: &Outbox, _end: Instant) {
    let processes = proc::read_once(Path::new("/"));
    let targets = processes.as_ref().map(proc::targets).unwrap_or_default();
    outbox.put(Source::Proc, processes.map(Facts::Processes));
    for (source, facts) in netlink::read_once(targets) {
        outbox.put(source, facts);
    }
}

fn read_ovsdb(outbox: &Outbox, end: Instant) {
    if let Some(facts) = ovsdb::read_once(&ovsdb::socket_path(), end) {
        outbox.put(Source::Ovsdb, facts.map(Facts::OpenVSwitch));
    }
}

fn read_libvirt(outbox: &Outbox, end: Instant) {
    if let Some(facts) = libvirt::read_once(&libvirt::Place::default(), end) {
        outbox.put(Source::Libvirt, facts.map(Facts::Libvirt));
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}
