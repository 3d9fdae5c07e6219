//! Writing a store: rows come in, files go out.
//!
//! Rows wait in memory by the hour they ended in. They become a file when there are many, when they
//! have waited for [`Store::PATIENCE`], and at the end; another thread writes them, so whoever
//! collects waits only if the disk is slower for long. What a crash takes is what waits.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use flows::RowSink;
use rustix::fs::FlockOperation;
use wire::Timestamp;

use crate::batch::Batch;
use crate::error::StoreError;
use crate::keeper::{Job, Keeper, Report};
use crate::name::Hour;
use crate::row::Row;
use crate::settings::{FILE, Keep, Kept, Settings};

/// A store that is being written. Only one may do that at a time.
#[derive(Debug)]
pub struct Store {
    waiting: BTreeMap<Hour, Waiting>,
    rows: usize,
    jobs: Option<SyncSender<Job>>,
    reports: Receiver<Report>,
    keeper: Option<JoinHandle<()>>,
    report: Report,
    now: Timestamp,
    /// Held until this is closed.
    lock: Option<File>,
}

/// Rows of one hour that are not yet in a file.
#[derive(Debug)]
struct Waiting {
    since: Timestamp,
    batch: Batch,
}

impl Store {
    /// How long rows wait in memory at most, if [`Store::tick`] is called often enough: what a
    /// crash takes.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Opens the store in a folder, or makes one of an empty folder or of none. What is told of
    /// how long to keep what is remembered. `now` is the time on the clock of this machine.
    pub fn open(folder: &Path, keep: &[(Kept, Keep)], now: Timestamp) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io("make", folder))?;
        let known = Settings::read(folder)?;
        if known.is_none() && !is_empty(folder)? {
            return Err(StoreError::NotAStore(folder.into()));
        }
        let lock = lock(folder)?;
        let mut settings = known.clone().unwrap_or_default();
        for (kept, keep) in keep {
            settings.set(*kept, *keep);
        }
        if known.as_ref() != Some(&settings) {
            settings.write(folder)?;
        }
        let keeper = Keeper::new(folder.to_owned(), settings, now)?;
        let (jobs, to_do) = sync_channel(1);
        let (done, reports) = sync_channel(1);
        let keeper = std::thread::Builder::new()
            .name("flow store".into())
            .spawn(move || {
                let report = keeper.run(&to_do);
                // Nobody waits for it if the store was dropped.
                let _ = done.send(report);
            })
            .map_err(StoreError::io("write", folder))?;
        Ok(Self {
            waiting: BTreeMap::new(),
            rows: 0,
            jobs: Some(jobs),
            reports,
            keeper: Some(keeper),
            report: Report::default(),
            now,
            lock: Some(lock),
        })
    }

    /// Takes a row.
    pub fn add(&mut self, row: &Row<'_>) {
        let (hour, now) = (Hour::of(row.end), self.now);
        let waiting = self
            .waiting
            .entry(hour)
            .or_insert_with(|| Waiting { since: now, batch: Batch::default() });
        waiting.batch.push(row);
        self.rows += 1;
        if self.rows >= MOST_ROWS || waiting.batch.bytes() >= MOST_BYTES {
            self.write_fullest();
        }
    }

    /// Writes what has waited for long enough. To be called every second or so.
    pub fn tick(&mut self, now: Timestamp) {
        self.now = now;
        let is_due = |waiting: &Waiting| now.since(waiting.since) >= Self::PATIENCE;
        let due: Vec<Hour> =
            self.waiting.iter().filter(|(_, w)| is_due(w)).map(|(hour, _)| *hour).collect();
        for hour in due {
            self.write(hour);
        }
        self.send(Job::Tidy(now));
    }

    /// Writes everything, and says what became of it. Rows that come later are lost.
    pub fn close(&mut self) -> &Report {
        let hours: Vec<Hour> = self.waiting.keys().copied().collect();
        for hour in hours {
            self.write(hour);
        }
        self.send(Job::Tidy(self.now));
        self.jobs = None;
        if let Ok(report) = self.reports.recv() {
            self.report = report;
        }
        let _ = self.keeper.take().map(JoinHandle::join);
        self.lock = None;
        &self.report
    }

    /// The oldest hour, if it holds its share: rows come about in the order of time, so that it is
    /// the one to which least will be added. Else the fullest.
    fn write_fullest(&mut self) {
        let is_full = |waiting: &Waiting| waiting.batch.len() >= MOST_ROWS / 4;
        let mut hours = self.waiting.iter();
        let oldest = hours.find(|(_, waiting)| is_full(waiting)).map(|(hour, _)| *hour);
        let fullest = self.waiting.iter().max_by_key(|(_, w)| w.batch.len()).map(|(hour, _)| *hour);
        if let Some(hour) = oldest.or(fullest) {
            self.write(hour);
        }
    }

    fn write(&mut self, hour: Hour) {
        if let Some(Waiting { batch, .. }) = self.waiting.remove(&hour) {
            self.rows -= batch.len();
            self.send(Job::Write(hour, Box::new(batch)));
        }
    }

    fn send(&mut self, job: Job) {
        // It fails only if the keeper is gone; then nothing is in the report.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(job));
    }
}

impl RowSink for Store {
    /// Rows that cannot be written are counted; the others are still taken.
    type Error = StoreError;

    fn take(&mut self, row: &flows::Row<'_>) -> Result<(), StoreError> {
        self.add(&Row::of(row));
        Ok(())
    }

    fn tick(&mut self, now: Timestamp) -> Result<(), StoreError> {
        Self::tick(self, now);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        self.close();
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.keeper.is_some() {
            self.close();
        }
    }
}

/// Keeps others from writing the store; the system takes the lock away when the process ends.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(StoreError::io("write", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse(folder.into())),
        Err(error) => Err(StoreError::io("lock", path)(error.into())),
    }
}

/// Whether nothing is in a folder but what a store that was killed at its birth has left.
fn is_empty(folder: &Path) -> Result<bool, StoreError> {
    let entries = fs::read_dir(folder).map_err(StoreError::io("read", folder))?;
    let ours = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        name == LOCK || name.starts_with(&format!(".{FILE}"))
    };
    let mut others = entries.filter(|entry| !entry.as_ref().is_ok_and(|entry| ours(entry.path())));
    Ok(others.next().is_none())
}

const LOCK: &str = ".lock";
/// Rows that wait in memory at most: some 150 MB.
const MOST_ROWS: usize = 1 << 19;
/// The same in bytes, for rows with unusually many different texts.
const MOST_BYTES: usize = 256 << 20;
