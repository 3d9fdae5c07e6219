//! What the reading threads share: where reports go, how threads wait and how they are ended.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inventory::facts::{Facts, Report, Source};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::clock;

/// Shared by the watcher and its threads.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Where reports go.
    pub(crate) mailbox: Mailbox,
    /// How often events were lost and everything was read again.
    pub(crate) overruns: AtomicU64,
    is_stopped: AtomicBool,
}

impl Shared {
    /// Asks the threads to end; they see it when they are woken.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
    }

    /// Whether the threads should end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }
}

/// The newest unread report of each source: a slow reader costs no memory and misses only what
/// was already replaced.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    state: Mutex<Letters>,
    arrived: Condvar,
}

impl Mailbox {
    /// Reports what `source` sees now, unless it is what it said last.
    pub(crate) fn put(&self, source: Source, facts: Result<Facts, String>) {
        let mut letters = self.lock();
        if letters.last.get(&source) == Some(&facts) {
            return;
        }
        letters.last.insert(source.clone(), facts.clone());
        letters.post(Report { source, at: clock::now(), facts });
        drop(letters);
        self.arrived.notify_all();
    }

    /// Reports a source's last words; it will not be compared with them when it comes back.
    pub(crate) fn put_last(&self, source: Source, facts: Facts) {
        let mut letters = self.lock();
        if letters.last.remove(&source).is_none() {
            return;
        }
        letters.post(Report { source, at: clock::now(), facts: Ok(facts) });
        drop(letters);
        self.arrived.notify_all();
    }

    /// Whether `source` has reported and not said its last words.
    pub(crate) fn has_heard(&self, source: &Source) -> bool {
        self.lock().last.contains_key(source)
    }

    /// The oldest unread report, waiting at most `timeout` for one.
    pub(crate) fn take(&self, timeout: Duration) -> Option<Report> {
        let deadline = Instant::now().checked_add(timeout);
        let mut letters = self.lock();
        loop {
            if let Some(report) = letters.unread.pop_front() {
                return Some(report);
            }
            // A timeout beyond the clock's end is for ever; it is waited for in pieces.
            let left = deadline
                .map_or(Duration::from_secs(3600), |d| d.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            letters =
                self.arrived.wait_timeout(letters, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        // Nothing in here can be left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Letters {
    unread: VecDeque<Report>,
    last: BTreeMap<Source, Result<Facts, String>>,
}

impl Letters {
    /// Replaces the unread report of the same source, or is the newest.
    fn post(&mut self, report: Report) {
        match self.unread.iter_mut().find(|unread| unread.source == report.source) {
            Some(unread) => *unread = report,
            None => self.unread.push_back(report),
        }
    }
}

/// Wakes a thread that waits in [`wait`].
#[derive(Debug, Clone)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A new one, not woken.
    pub(crate) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(fd)))
    }

    /// Wakes the thread now or at its next wait.
    pub(crate) fn wake(&self) {
        // It can only fail because it was woken 2^64 - 2 times and nobody looked.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Forgets that it was woken.
    pub(crate) fn clear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.0, &mut count);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of `fds` has something to read (or is at its end), or until `deadline`.
/// Answers for each whether it has.
pub(crate) fn wait(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    loop {
        let timeout = deadline
            .map(|deadline| {
                // Rounded up: waking early would only mean to wait again.
                let left = deadline.saturating_duration_since(Instant::now());
                Timespec::try_from(left).map_err(io::Error::other)
            })
            .transpose()?;
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => return Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use inventory::facts::OvsFacts;

    use super::*;

    fn facts(hostname: &str) -> Result<Facts, String> {
        Ok(Facts::OpenVSwitch(OvsFacts { hostname: Some(hostname.into()), bridges: vec![] }))
    }

    #[test]
    fn a_report_that_says_nothing_new_is_not_given_again() {
        let mailbox = Mailbox::default();
        mailbox.put(Source::Ovsdb, facts("a"));
        assert_eq!(mailbox.take(Duration::ZERO).unwrap().facts, facts("a"));
        mailbox.put(Source::Ovsdb, facts("a"));
        assert_eq!(mailbox.take(Duration::ZERO), None);
    }

    #[test]
    fn an_unread_report_is_replaced_by_a_newer_one_of_its_source() {
        let mailbox = Mailbox::default();
        mailbox.put(Source::Ovsdb, facts("a"));
        mailbox.put(Source::Libvirt, Err("no".into()));
        mailbox.put(Source::Ovsdb, facts("b"));
        assert_eq!(mailbox.take(Duration::ZERO).unwrap().facts, facts("b"));
        assert_eq!(mailbox.take(Duration::ZERO).unwrap().source, Source::Libvirt);
        assert_eq!(mailbox.take(Duration::ZERO), None);
    }

    #[test]
    fn waiting_ends_when_woken_and_at_the_deadline() {
        let waker = Waker::new().unwrap();
        let soon = || Some(Instant::now() + Duration::from_millis(5));
        assert_eq!(wait(&[waker.as_fd()], soon()).unwrap(), [false]);
        waker.wake();
        assert_eq!(wait(&[waker.as_fd()], None).unwrap(), [true]);
        waker.clear();
        assert_eq!(wait(&[waker.as_fd()], soon()).unwrap(), [false]);
    }
}
