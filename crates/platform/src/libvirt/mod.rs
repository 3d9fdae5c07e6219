//! libvirt: domains, running or not, their cards, and where they are in a migration.
//!
//! A client of our own for the daemon's unix socket; a read-only connection is enough. libvirt's
//! own library would bring its licence and its build into ours.

mod domain;
mod lease;
mod rpc;
mod session;
mod xdr;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inventory::facts::{Facts, LibvirtFacts, Source};
use rustix::fs::inotify;
use wire::Mac;

use self::rpc::Failure;
use self::session::{ANSWER_TIMEOUT, Session};
use crate::clock;
use crate::stream::BackOff;
use crate::watch::{Mailbox, Shared, Waker, wait};

/// Where libvirt is and what it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The daemons' sockets, the most modest first.
    sockets: Vec<PathBuf>,
    uri: String,
    leases: PathBuf,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            sockets: SOCKETS.iter().map(|name| Path::new("/run/libvirt").join(name)).collect(),
            uri: "qemu:///system".into(),
            leases: "/var/lib/libvirt/dnsmasq".into(),
        }
    }
}

/// Reads everything once; `None` if libvirt is not installed here.
pub(crate) fn read_once(place: &Place, deadline: Instant) -> Option<Result<LibvirtFacts, String>> {
    let read = || {
        let waker = Waker::new().map_err(|error| (PathBuf::new(), error.into()))?;
        let (path, mut session) = open(place, &waker, deadline)?;
        session.refresh(waker.as_fd(), deadline).map_err(|failure| (path, failure))?;
        Ok(with_leases(&session, place))
    };
    match read() {
        Ok(facts) => Some(Ok(facts)),
        Err((_, failure)) if is_absence(&failure) => None,
        Err((path, failure)) => Some(Err(sentence(&path, &failure))),
    }
}

/// Watches until `shared` is stopped and `waker` woken.
pub(crate) fn watch(place: &Place, shared: &Shared, waker: &Waker) {
    let leases = watch_leases(&place.leases);
    let mut back_off = BackOff::new();
    let mut down_since = None;
    while !shared.is_stopped() {
        let result = follow(place, shared, waker, leases.as_ref(), &mut || {
            back_off = BackOff::new();
            down_since = None;
        });
        let Err((path, failure)) = result else { return };
        let since = *down_since.get_or_insert_with(Instant::now);
        report_failure(&path, &failure, since, &shared.mailbox);
        let _ = wait(&[waker.as_fd()], Some(back_off.next()));
    }
}

/// One connection, until it breaks or we are stopped. Calls `on_facts` when there are some.
fn follow(
    place: &Place,
    shared: &Shared,
    waker: &Waker,
    leases: Option<&OwnedFd>,
    on_facts: &mut dyn FnMut(),
) -> Result<(), (PathBuf, Failure)> {
    let (path, mut session) = open(place, waker, Instant::now() + ANSWER_TIMEOUT)?;
    let mut follow = || {
        let mut others = vec![waker.as_fd()];
        others.extend(leases.map(AsFd::as_fd));
        let mut due = Some(Instant::now());
        while !shared.is_stopped() {
            if due.is_some_and(|due| due <= Instant::now()) {
                due = None;
                session.refresh(waker.as_fd(), Instant::now() + ANSWER_TIMEOUT)?;
                on_facts();
                let facts = Facts::Libvirt(with_leases(&session, place));
                shared.mailbox.put(Source::Libvirt, Ok(facts));
            } else {
                session.wait(&others, due)?;
            }
            if session.is_stale() || leases.is_some_and(has_news) {
                let soon = Instant::now() + COALESCE;
                due = Some(due.map_or(soon, |due| due.min(soon)));
            } else if due.is_none() {
                due = session.looks_again();
            }
        }
        Ok(())
    };
    match follow() {
        Ok(()) | Err(Failure::Stopped) => Ok(()),
        Err(failure) => Err((path, failure)),
    }
}

/// Opens the first daemon that lets us; else the most telling of the failures.
fn open(
    place: &Place,
    waker: &Waker,
    deadline: Instant,
) -> Result<(PathBuf, Session), (PathBuf, Failure)> {
    let mut worst: Option<(PathBuf, Failure)> = None;
    for path in &place.sockets {
        match Session::open(path, &place.uri, waker.as_fd(), deadline) {
            Ok(session) => return Ok((path.clone(), session)),
            Err(failure) if worst.as_ref().is_none_or(|(_, worst)| is_absence(worst)) => {
                worst = Some((path.clone(), failure));
            }
            Err(_) => {}
        }
    }
    Err(worst.unwrap_or_else(|| (PathBuf::new(), Failure::Io(io::ErrorKind::NotFound.into()))))
}

fn with_leases(session: &Session, place: &Place) -> LibvirtFacts {
    let mut facts = session.facts();
    let leases: HashMap<Mac, _> = lease::read(&place.leases, clock::now());
    for nic in facts.domains.iter_mut().flat_map(|domain| &mut domain.nics) {
        nic.ips = leases.get(&nic.mac).cloned().unwrap_or_default();
    }
    facts
}

/// A restart takes a second or two, during which the last report holds.
fn report_failure(path: &Path, failure: &Failure, since: Instant, mailbox: &Mailbox) {
    let is_lasting = since.elapsed() >= GRACE;
    if is_absence(failure) {
        if is_lasting {
            mailbox.put_last(Source::Libvirt, Facts::Libvirt(LibvirtFacts::default()));
        }
    } else if is_lasting || !mailbox.has_heard(&Source::Libvirt) {
        mailbox.put(Source::Libvirt, Err(sentence(path, failure)));
    }
}

/// Whether there is simply no libvirt on this host.
fn is_absence(failure: &Failure) -> bool {
    matches!(failure, Failure::Io(error) if error.kind() == io::ErrorKind::NotFound)
}

fn sentence(path: &Path, failure: &Failure) -> String {
    let path = path.display();
    let kind = if let Failure::Io(error) = failure { Some(error.kind()) } else { None };
    match kind {
        Some(io::ErrorKind::PermissionDenied) => format!(
            "cannot ask libvirt at {path}: {failure}; run as root or join the group that owns the \
             socket"
        ),
        Some(io::ErrorKind::ConnectionRefused) => {
            format!("cannot ask libvirt at {path}: {failure}; start libvirtd or virtqemud")
        }
        Some(io::ErrorKind::UnexpectedEof) => {
            format!("cannot ask libvirt at {path}: the daemon hung up")
        }
        _ => format!("cannot ask libvirt at {path}: {failure}"),
    }
}

/// Watches the directory of lease files; without it there are no leases to watch.
fn watch_leases(directory: &Path) -> Option<OwnedFd> {
    use inotify::{CreateFlags, WatchFlags};
    let files = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
    inotify::add_watch(&files, directory, flags).ok()?;
    Some(files)
}

/// Whether a lease file changed since the last time this was asked.
fn has_news(files: &OwnedFd) -> bool {
    let mut events = [0; 4096];
    let mut has_news = false;
    while matches!(rustix::io::read(files, &mut events), Ok(len) if len > 0) {
        has_news = true;
    }
    has_news
}

/// Read-only first; the second pair is of the modular daemons.
const SOCKETS: [&str; 4] =
    ["libvirt-sock-ro", "virtqemud-sock-ro", "libvirt-sock", "virtqemud-sock"];
const COALESCE: Duration = Duration::from_millis(20);
/// How long a daemon may be away, as in a restart, before that is reported.
const GRACE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
