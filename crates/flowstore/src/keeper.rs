//! The thread that writes the files of a store, merges small ones and removes old ones.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use wire::Timestamp;

use crate::batch::Batch;
use crate::column::{FLOW_COLUMNS, ROW_GROUP, flow_schema};
use crate::error::StoreError;
use crate::file::{Writing, remove_unfinished};
use crate::filter::Filter;
use crate::name::{Hour, Listing, Part, PartName};
use crate::rollup::{Grain, Rollup, Summing};
use crate::scan::{self, Scanned, Wanted, scan};
use crate::settings::{Kept, Settings};

/// What the keeper is to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Write the rows of an hour.
    Write(Hour, Box<Batch>),
    /// Merge what is small, remove what is old.
    Tidy(Timestamp),
}

/// What became of the rows of a store.
#[derive(Debug, Default)]
pub struct Report {
    /// Rows that are in files.
    pub written: u64,
    /// Rows that could not be written, and are lost.
    pub lost: u64,
    /// Files of rows that were merged into larger ones.
    pub merged: u64,
    /// Files that were removed because of their age, or for the room they took.
    pub expired: u64,
    /// What went wrong first, and last.
    pub failures: Vec<StoreError>,
}

/// Writes, merges and removes.
pub(crate) struct Keeper {
    folder: PathBuf,
    settings: Settings,
    next: u64,
    newest: Option<Hour>,
    now: Timestamp,
    report: Report,
}

impl Keeper {
    /// For a store whose lock is held.
    pub(crate) fn new(
        folder: PathBuf,
        settings: Settings,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut keeper =
            Self { folder, settings, next: 0, newest: None, now, report: Report::default() };
        for kept in Kept::all() {
            let folder = keeper.folder_of(kept);
            if folder.exists() {
                remove_unfinished(&folder).map_err(StoreError::io("tidy", &folder))?;
            }
            let listing = keeper.list(kept)?;
            for part in listing.parts.iter().chain(&listing.merged) {
                keeper.next = keeper.next.max(part.name.last + 1);
                keeper.newest = keeper.newest.max(Some(part.name.hour));
            }
        }
        Ok(keeper)
    }

    /// Does what it is told until nobody can tell it more.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) -> Report {
        for (job, number) in jobs.iter().zip(1_u64..) {
            match &job {
                Job::Write(hour, batch) => self.write(*hour, batch),
                Job::Tidy(now) => self.now = *now,
            }
            // A replay has no other time to do it.
            if matches!(job, Job::Tidy(_)) || number.is_multiple_of(TIDY_EVERY) {
                let done = self.merge().and_then(|()| self.expire());
                self.note(done);
            }
        }
        self.report
    }

    fn write(&mut self, hour: Hour, batch: &Batch) {
        let name = PartName::new(hour, self.next);
        self.next += 1;
        self.newest = self.newest.max(Some(hour));
        let mut done = self.write_file(name, batch);
        if done.is_err() {
            // Perhaps the disk is full: what is too old makes room.
            done = self.expire().and(done.or_else(|_| self.write_file(name, batch)));
        }
        match done {
            Ok(()) => self.report.written += batch.len() as u64,
            Err(error) => {
                self.report.lost += batch.len() as u64;
                self.note(Err(error));
            }
        }
    }

    /// Writes rows, then their sums. Rows without sums are no fault: sums are a short cut.
    fn write_file(&mut self, name: PartName, batch: &Batch) -> Result<(), StoreError> {
        let folder = self.folder_of(Kept::Flows);
        let path = folder.join(name.file());
        let has_sums = batch.len() >= ROWS_WITH_SUMS;
        let (rows, sums) = std::thread::scope(|scope| {
            let (send, receive) = std::sync::mpsc::sync_channel(1);
            let summing = scope.spawn(move || {
                let mut summing = Summing::new();
                receive.into_iter().try_for_each(|rows| summing.add(&rows))?;
                summing.finish()
            });
            let write = || {
                let mut file = Writing::begin(&folder, name.file(), flow_schema(), &FLOW_COLUMNS)?;
                for rows in batch.groups(ROW_GROUP) {
                    let rows = rows.map_err(StoreError::arrow("write", &path))?;
                    if has_sums {
                        // It fails only if the other side has, which is said below.
                        let _ = send.send(rows.clone());
                    }
                    file.add(&rows)?;
                }
                file.finish()
            };
            let rows = write();
            drop(send);
            (rows, summing.join())
        });
        rows?;
        if let (true, Ok(sums)) = (has_sums, sums) {
            let written = sums
                .map_err(StoreError::arrow("sum up", &path))
                .and_then(|sums| sums.write(&self.folder, name));
            self.note(written);
        }
        Ok(())
    }

    /// Merges small files of an hour that follow one another: of hours that are over any two, of
    /// the others so many that no row is written often.
    fn merge(&mut self) -> Result<(), StoreError> {
        let listing = self.list(Kept::Flows)?;
        self.remove(listing.merged)?;
        let open =
            self.newest.map_or(0, |newest| newest.0.min(Hour::of(self.now).0)).saturating_sub(1);
        let mut by_hour: BTreeMap<Hour, Vec<Part>> = BTreeMap::new();
        for part in listing.parts {
            by_hour.entry(part.name.hour).or_default().push(part);
        }
        for (hour, parts) in by_hour {
            let least = if hour.0 < open { 2 } else { OPEN_PARTS };
            for run in runs(parts) {
                if run.len() >= least {
                    self.merge_run(run)?;
                }
            }
        }
        self.sum_up_before(Hour(open))
    }

    /// Makes the sums that files of hours that are over do not have: rows go before their sums do.
    fn sum_up_before(&self, open: Hour) -> Result<(), StoreError> {
        let totals = self.list(Kept::Sums(Rollup::Totals, Grain::Hour))?;
        let has_sums: HashSet<PartName> = totals.parts.iter().map(|part| part.name).collect();
        for part in self.list(Kept::Flows)?.parts {
            if part.name.hour >= open || has_sums.contains(&part.name) {
                continue;
            }
            let mut summing = Summing::new();
            if each_row_group(&part.path, &mut |rows| summing.add(rows))? {
                let made = summing.finish().map_err(StoreError::arrow("sum up", &part.path))?;
                made.write(&self.folder, part.name)?;
            }
        }
        Ok(())
    }

    fn merge_run(&mut self, parts: Vec<Part>) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Ok(()) };
        let name =
            PartName { hour: first.name.hour, first: first.name.first, last: last.name.last };
        let mut batch = Batch::default();
        for part in &parts {
            if !each_row_group(&part.path, &mut |rows| batch.append(rows))? {
                return Ok(());
            }
        }
        self.write_file(name, &batch)?;
        self.report.merged += parts.len() as u64;
        self.remove(parts)
    }

    /// Removes files that are too old, and the oldest of what is too much.
    fn expire(&mut self) -> Result<(), StoreError> {
        // By the newest row, so that an old capture may be stored; never by one of the future.
        let Some(newest) = self.newest else { return Ok(()) };
        let newest = newest.min(Hour::of(self.now));
        for kept in Kept::all() {
            let keep = self.settings.keep(kept);
            let hours = u32::try_from(keep.age_s.div_ceil(3600)).unwrap_or(u32::MAX);
            let oldest = Hour(newest.0.saturating_sub(hours));
            let listing = self.list(kept)?;
            self.remove(listing.merged)?;
            let mut bytes = 0;
            // The newest first: what no longer fits is the oldest.
            let mut gone: Vec<Part> = listing.parts.into_iter().rev().collect();
            gone.retain(|part| {
                bytes += part.bytes;
                part.name.hour < oldest || bytes > keep.bytes
            });
            self.report.expired += gone.len() as u64;
            self.remove(gone)?;
        }
        Ok(())
    }

    fn remove(&mut self, parts: Vec<Part>) -> Result<(), StoreError> {
        for part in parts {
            match fs::remove_file(&part.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", part.path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note(&mut self, done: Result<(), StoreError>) {
        if let Err(error) = done {
            self.report.failures.truncate(1);
            self.report.failures.push(error);
        }
    }

    fn list(&self, kept: Kept) -> Result<Listing, StoreError> {
        let folder = self.folder_of(kept);
        Listing::of(&folder).map_err(StoreError::io("read", folder))
    }

    fn folder_of(&self, kept: Kept) -> PathBuf {
        folder_of(&self.folder, kept)
    }
}

/// Where files of this kind are.
pub(crate) fn folder_of(store: &Path, kept: Kept) -> PathBuf {
    match kept {
        Kept::Flows => store.join("flows"),
        Kept::Sums(rollup, grain) => rollup.folder(store, grain),
    }
}

/// Shows a file of rows, whole. Says whether it was there.
fn each_row_group(
    path: &Path,
    each: &mut dyn FnMut(&RecordBatch) -> Result<(), ArrowError>,
) -> Result<bool, StoreError> {
    let everything = Filter::default();
    let wanted = Wanted {
        schema: flow_schema(),
        columns: &FLOW_COLUMNS.map(|column| column.name),
        span: None,
        rows: scan::Rows::Roughly,
        filter: &everything,
        sight: None,
    };
    Ok(scan(path, &wanted, each)? != Scanned::Gone)
}

/// Small files that follow one another, as many together as make one of a good size.
fn runs(parts: Vec<Part>) -> Vec<Vec<Part>> {
    let mut runs = vec![Vec::new()];
    let mut bytes = 0;
    for part in parts {
        let is_small = part.bytes < SMALL_BYTES;
        if !is_small || bytes + part.bytes > MERGED_BYTES {
            runs.push(Vec::new());
            bytes = 0;
        }
        if is_small {
            bytes += part.bytes;
            if let Some(run) = runs.last_mut() {
                run.push(part);
            }
        }
    }
    runs
}

/// Files of fewer rows have no sums: reading them costs as little.
const ROWS_WITH_SUMS: usize = 1 << 14;
/// Smaller files are merged.
const SMALL_BYTES: u64 = 4 << 20;
/// Files are merged up to this size.
const MERGED_BYTES: u64 = 12 << 20;
/// Without being told, files are merged and removed after writing so many.
const TIDY_EVERY: u64 = 16;
/// So many small files of the newest hours are merged: of a quiet collector some two minutes.
const OPEN_PARTS: usize = 12;
