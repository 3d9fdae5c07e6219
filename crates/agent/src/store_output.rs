//! The store of a flight recorder as the output of an engine.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use capture::RingCounters;
use pipeline::{Ledger, Sink};
use recorder::{Budget, MachineRef, PointInfo, Recorder, Settings};
use select::{Cleared, DropReason, Ownership};
use wire::{PointId, Timestamp};

use crate::orders::{End, Job, Outcome, PointOrder, StoreOrder};

/// A recorder that an engine feeds.
#[derive(Debug)]
pub(crate) struct StoreOutput {
    recorder: Recorder,
    expression: String,
    snaplen: u32,
    /// Why packets are dropped, as told last.
    told: Option<String>,
}

impl StoreOutput {
    pub(crate) fn open(job: &Job, order: &StoreOrder, now: Timestamp) -> Result<Self, String> {
        let settings = Settings {
            directory: job.output.path.clone().unwrap_or_default(),
            keys: order.keys.clone(),
            budget: Budget {
                bytes: order.max_bytes,
                age: order.max_age_s.map(Duration::from_secs),
            },
            min_free_bytes: job.output.min_free_bytes,
        };
        let recorder = Recorder::open(&settings, now).map_err(|error| error.to_string())?;
        let expression = job.expression.clone().unwrap_or_default();
        Ok(Self { recorder, expression, snaplen: job.snaplen, told: None })
    }

    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.recorder.directory()
    }

    /// Adds a point of a machine; everything of it was seen from `since` on.
    pub(crate) fn add_point(&mut self, point: &PointOrder, machine: MachineRef, since: Timestamp) {
        let info = PointInfo {
            machine,
            label: point.label.clone(),
            description: point.description.clone(),
            mac: point.mac,
            filter: self.expression.clone(),
            snaplen: self.snaplen,
            ownership: point.ownership.clone(),
            since,
        };
        self.recorder.add_point(info, since);
    }

    pub(crate) fn own(&mut self, number: usize, ownership: &Ownership) {
        self.recorder.own(number, ownership);
    }

    /// From `at` on a point is of a machine that is called so or belongs to this owner.
    pub(crate) fn rename(
        &mut self,
        number: usize,
        machine: MachineRef,
        label: String,
        at: Timestamp,
    ) {
        self.recorder.rename(number, machine, label, at);
    }

    pub(crate) fn end_point(&mut self, number: usize, now: Timestamp) {
        self.recorder.end_point(number, now);
    }

    pub(crate) fn note(&mut self, number: usize, now: Timestamp, text: &str) {
        self.recorder.note(number, now, text);
    }

    /// Why packets are dropped, or that they are not any more: when that has changed.
    pub(crate) fn news(&mut self) -> Option<String> {
        let problem = self.recorder.problem().map(ToOwned::to_owned);
        if problem == self.told {
            return None;
        }
        self.told.clone_from(&problem);
        Some(match problem {
            Some(problem) => format!("packets are dropped: {problem}"),
            None => "recording goes on".to_owned(),
        })
    }

    pub(crate) fn tick(&mut self, now: Timestamp, settled: Timestamp) {
        self.recorder.tick(now, settled);
    }

    pub(crate) fn count(&mut self, point: PointId, counters: RingCounters) {
        self.recorder.count(point.0 as usize, counters.kernel_dropped);
    }

    pub(crate) fn close(self, now: Timestamp, mut ledgers: Vec<Ledger>, end: End) -> Outcome {
        let summary = self.recorder.close(now);
        for (ledger, unwritten) in ledgers.iter_mut().zip(&summary.unwritten) {
            let unwritten = ledger.written.min(*unwritten);
            ledger.written -= unwritten;
            ledger.sink_failed += unwritten;
        }
        Outcome { ledgers, deleted_files: summary.removed, end, ..Outcome::default() }
    }
}

impl Sink for StoreOutput {
    #[inline]
    fn take(&mut self, packet: &Cleared<'_, '_>) -> Result<(), DropReason> {
        self.recorder.take(packet)
    }
}
