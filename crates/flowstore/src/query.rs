//! Questions to a store: sums by name and by pair, and rows.
//!
//! Sums come from the smallest files that can answer: whole hours from sums by hour, the minutes at
//! both ends of the time from sums by minute, and what has no sums, or is asked about some rows
//! only, from the rows. Every way gives the same numbers.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parquet::arrow::ArrowWriter;
use wire::Timestamp;

use crate::adder::{Adder, COUNT_COLUMNS, LONGEST_MS};
use crate::column::{FLOW_COLUMNS, flow_schema};
use crate::error::StoreError;
use crate::file::options;
use crate::filter::Filter;
use crate::keeper::folder_of;
use crate::ledger::{Entry, Sum};
use crate::name::{Hour, Listing, PartName};
use crate::rollup::{Grain, Rollup, add_sums, each_totals};
use crate::scan::{self, Scanned, Wanted, scan};
use crate::settings::{Kept, Settings};
use crate::sight::Sight;
use crate::stored::{StoredRow, StoredRows};
use crate::subject::{Kind, Subject};
use crate::texts::NO_TEXT;
use crate::totals::{Totals, TotalsAdder, totals_columns};

/// A store that is being read; that it is written meanwhile does not matter.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
}

/// What a question is about.
#[derive(Debug, Clone)]
pub struct Ask {
    /// From this time on. For sums, from the begin of the minute it is in.
    pub from: Timestamp,
    /// Up to this time. For sums, to the end of the minute it is in.
    pub to: Timestamp,
    /// Only these rows.
    pub filter: Filter,
    /// Where sums may come from.
    pub source: Source,
    /// Only what may be shown to whoever asks; everything where `None`.
    pub sight: Option<Arc<dyn Sight>>,
}

/// Where sums may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From the sums that are kept, where these can answer.
    Sums,
    /// From rows only.
    Rows,
}

impl Ask {
    /// About everything.
    pub const fn everything() -> Self {
        Self {
            from: Timestamp::ZERO,
            to: Timestamp::from_nanos(u64::MAX),
            filter: Filter::new(Vec::new()),
            source: Source::Sums,
            sight: None,
        }
    }

    /// Whether it is about every row, so that sums can answer it.
    pub(crate) fn is_about_all(&self) -> bool {
        self.filter.is_everything() && self.sight.is_none()
    }

    /// The time in milliseconds, in whole minutes.
    pub(crate) fn minutes(&self) -> [i64; 2] {
        let minute = Grain::Minute.ms().unsigned_abs();
        let [from, to] = [self.from, self.to].map(Timestamp::as_nanos);
        let (from, to) = (from / MS, to.div_ceil(MS));
        let [from, to] = [from / minute * minute, to.div_ceil(minute) * minute];
        [from, to.max(from + minute)].map(|time| i64::try_from(time).unwrap_or(i64::MAX))
    }
}

/// The answer to a question about sums.
#[derive(Debug)]
pub struct Answer {
    adder: Adder,
    totals: Totals,
    /// Whether the minutes at the ends of the time are no longer known, so that hours were taken
    /// whole.
    pub is_widened: bool,
}

impl Reader {
    /// Opens the store in a folder.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        match Settings::read(folder)? {
            Some(_) => Ok(Self { folder: folder.into() }),
            None => Err(StoreError::Missing(folder.into())),
        }
    }

    /// The sums by `kind`.
    pub fn sums(&self, kind: Kind, ask: &Ask) -> Result<Answer, StoreError> {
        self.insistently(|| self.try_sums(kind, ask))
    }

    /// Asks again where a file is gone: it was merged or has expired since the folder was listed.
    pub(crate) fn insistently<T>(
        &self,
        mut ask: impl FnMut() -> Result<Option<T>, StoreError>,
    ) -> Result<T, StoreError> {
        for _ in 0..ATTEMPTS {
            if let Some(answer) = ask()? {
                return Ok(answer);
            }
        }
        Err(StoreError::Foreign {
            path: self.folder.clone(),
            what: "its files keep disappearing while they are read".into(),
        })
    }

    fn try_sums(&self, kind: Kind, ask: &Ask) -> Result<Option<Answer>, StoreError> {
        let span = ask.minutes();
        let mut adder = Adder::new(kind, span, 0);
        let mut totals = TotalsAdder::new(span, 0);
        let mut is_widened = false;
        let is_about_all = ask.is_about_all();
        let rollup = Rollup::of(kind).filter(|_| is_about_all && ask.source == Source::Sums);
        let steps = self.steps(rollup, Grain::Hour, span)?;
        for step in &steps {
            is_widened |= step.is_widened;
            let is_there = match step.from {
                From::Sums(_) => add_sums(&step.path, step.span, &mut adder.ledger)?,
                From::Rows => {
                    adder.set_span(step.span);
                    let columns = sum_columns(kind.subject());
                    self.rows_of(step, &columns, ask, &mut |rows| adder.add(rows))?
                }
            };
            if !is_there {
                return Ok(None);
            }
        }
        let mut sum = adder.totals;
        if is_about_all {
            sum = Totals::default();
            for step in &self.steps(Some(Rollup::Totals), Grain::Hour, span)? {
                let is_there = match step.from {
                    From::Sums(_) => {
                        each_totals(&step.path, step.span, &mut |_, more| sum.add(more))?
                    }
                    From::Rows => {
                        totals.set_span(step.span);
                        let columns = totals_columns();
                        self.rows_of(step, &columns, ask, &mut |rows| totals.add(rows))?
                    }
                };
                if !is_there {
                    return Ok(None);
                }
            }
            totals.by_time.values().for_each(|more| sum.add(more));
        }
        Ok(Some(Answer { adder, totals: sum, is_widened }))
    }

    /// Shows the rows of flows that were going on in the time asked about, about by their ends.
    pub fn rows(&self, ask: &Ask, each: &mut dyn FnMut(&StoredRow<'_>)) -> Result<(), StoreError> {
        self.row_groups(ask, &mut |rows| {
            let rows = StoredRows::of(rows)?;
            rows.each(each);
            Ok(())
        })
    }

    /// Writes these rows as a Parquet file.
    pub fn copy(&self, ask: &Ask, out: impl Write + Send) -> Result<(), StoreError> {
        let failed = |error| StoreError::parquet("write rows of", &self.folder)(error);
        let options = options(&FLOW_COLUMNS);
        let writer = ArrowWriter::try_new_with_options(out, flow_schema(), options);
        let mut writer = writer.map_err(failed)?;
        self.row_groups(ask, &mut |rows| Ok(writer.write(rows)?))?;
        writer.close().map_err(failed)?;
        Ok(())
    }

    pub(crate) fn row_groups(
        &self,
        ask: &Ask,
        each: &mut dyn FnMut(&RecordBatch) -> Result<(), ArrowError>,
    ) -> Result<(), StoreError> {
        let [from, to] = [ask.from, ask.to].map(Timestamp::as_nanos);
        let span = [from / MS, to.div_ceil(MS)].map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        for step in self.steps(None, Grain::Hour, span)? {
            let wanted = Wanted {
                schema: flow_schema(),
                columns: &FLOW_COLUMNS.map(|column| column.name),
                span: Some(span),
                rows: scan::Rows::Exactly,
                filter: &ask.filter,
                sight: ask.sight.as_ref(),
            };
            // What is gone was merged, or is too old.
            let _ = scan(&step.path, &wanted, each)?;
        }
        Ok(())
    }

    pub(crate) fn rows_of(
        &self,
        step: &Step,
        columns: &[&'static str],
        ask: &Ask,
        each: &mut dyn FnMut(&RecordBatch) -> Result<(), ArrowError>,
    ) -> Result<bool, StoreError> {
        let wanted = Wanted {
            schema: flow_schema(),
            columns,
            span: Some(step.span),
            rows: scan::Rows::Roughly,
            filter: &ask.filter,
            sight: ask.sight.as_ref(),
        };
        Ok(scan(&step.path, &wanted, each)? != Scanned::Gone)
    }

    /// Which files answer for which part of the time, with sums of hours only where times of that
    /// length, `coarsest`, are wanted.
    pub(crate) fn steps(
        &self,
        rollup: Option<Rollup>,
        coarsest: Grain,
        span: [i64; 2],
    ) -> Result<Vec<Step>, StoreError> {
        let list = |kept| {
            let folder = folder_of(&self.folder, kept);
            Listing::of(&folder).map_err(StoreError::io("read", folder))
        };
        let sums =
            |grain| rollup.map_or_else(|| Ok(Listing::default()), |r| list(Kept::Sums(r, grain)));
        let files = Files {
            rows: Paths::of(list(Kept::Flows)?),
            minutes: Paths::of(sums(Grain::Minute)?),
            hours: Paths::of(sums(Grain::Hour)?),
        };
        let mut names: BTreeSet<PartName> = BTreeSet::new();
        for listed in [&files.rows, &files.minutes, &files.hours] {
            names.extend(listed.0.keys());
        }
        let may_have = |name: &PartName| {
            let (begin, end) = (name.hour.begin_ms(), Hour(name.hour.0 + 1).begin_ms());
            end > span[0] && begin.saturating_sub(LONGEST_MS) < span[1]
        };
        let all: Vec<PartName> = names.into_iter().filter(may_have).collect();
        // Parts that were merged may still have sums of their own for a moment.
        let is_merged = |name: &PartName| all.iter().any(|o| o != name && o.holds(*name));
        let mut steps = Vec::new();
        for name in all.iter().filter(|name| !is_merged(name)) {
            files.steps(*name, span, rollup.map(|_| coarsest), &mut steps);
        }
        Ok(steps)
    }
}

/// The files of a store that may answer.
struct Files {
    rows: Paths,
    minutes: Paths,
    hours: Paths,
}

struct Paths(std::collections::BTreeMap<PartName, PathBuf>);

impl Paths {
    fn of(listing: Listing) -> Self {
        Self(listing.parts.into_iter().map(|part| (part.name, part.path)).collect())
    }
}

/// A file, and the time it answers for.
pub(crate) struct Step {
    pub(crate) from: From,
    pub(crate) path: PathBuf,
    pub(crate) span: [i64; 2],
    pub(crate) is_widened: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Rows,
    Sums(Grain),
}

impl Files {
    /// How a part answers for a time.
    fn steps(
        &self,
        name: PartName,
        [from, to]: [i64; 2],
        sums: Option<Grain>,
        steps: &mut Vec<Step>,
    ) {
        let has_sums = sums.is_some();
        let hour = Grain::Hour.ms();
        let rows = self.rows.0.get(&name).map(|path| (From::Rows, path));
        let sums_of = |paths: &'_ Paths, grain| {
            paths.0.get(&name).filter(|_| has_sums).cloned().map(|path| (From::Sums(grain), path))
        };
        let rows = rows.map(|(from, path)| (from, path.clone()));
        let minutes = sums_of(&self.minutes, Grain::Minute);
        let hours = sums_of(&self.hours, Grain::Hour);
        // Where hours are too coarse they answer only if nothing else is there.
        let is_finer = sums == Some(Grain::Minute) && (minutes.is_some() || rows.is_some());
        let hours = hours.filter(|_| !is_finer);
        if !has_sums || minutes.is_none() && hours.is_none() {
            steps.extend(rows.map(|(kind, path)| Step::of(kind, path, [from, to])));
            return;
        }
        let (begin, end) = (next(from, hour), to - to.rem_euclid(hour));
        let is_whole = begin < end;
        let edges = if is_whole { vec![[from, begin], [end, to]] } else { vec![[from, to]] };
        if is_whole {
            let best = hours.clone().or_else(|| minutes.clone()).or_else(|| rows.clone());
            steps.extend(best.map(|(kind, path)| Step::of(kind, path, [begin, end])));
        }
        for edge in edges.into_iter().filter(|[from, to]| from < to) {
            match minutes.clone().or_else(|| rows.clone()) {
                Some((kind, path)) => steps.push(Step::of(kind, path, edge)),
                None => {
                    let [from, to] = edge;
                    let span = [from - from.rem_euclid(hour), next(to, hour)];
                    let step = hours.clone().map(|(kind, path)| Step::of(kind, path, span));
                    steps.extend(step.map(|step| Step { is_widened: true, ..step }));
                }
            }
        }
    }
}

impl Step {
    const fn of(from: From, path: PathBuf, span: [i64; 2]) -> Self {
        Self { from, path, span, is_widened: false }
    }
}

/// The first whole one at `time` or later.
const fn next(time: i64, length: i64) -> i64 {
    let past = time.rem_euclid(length);
    if past == 0 { time } else { time.saturating_add(length - past) }
}

fn sum_columns(subject: Subject) -> Vec<&'static str> {
    COUNT_COLUMNS.iter().chain(subject.columns()).copied().collect()
}

impl Answer {
    /// The sums by one thing, the `most` largest of them as rows.
    pub fn summary(&self, by: flows::By, most: usize) -> flows::Summary {
        let mut summary = flows::Summary::new(by);
        let (sums, others, _) = self.adder.ledger.largest(most);
        let texts = self.adder.ledger.names.array();
        for (Entry { one, .. }, sum) in &sums {
            summary.add_sums(texts.value(*one as usize), &sums_of(sum));
        }
        summary.add_others(&sums_of(&others));
        summary.set_totals(totals_of(&self.totals));
        summary
    }

    /// The sums by pairs, the `most` largest of them as rows.
    pub fn matrix(&self, by: flows::By, most: usize) -> flows::Matrix {
        let mut matrix = flows::Matrix::new(by);
        let (sums, others, _) = self.adder.ledger.largest(most);
        let texts = self.adder.ledger.names.array();
        for (Entry { one, other, .. }, sum) in &sums {
            let name =
                |number: u32| if number == NO_TEXT { "-" } else { texts.value(number as usize) };
            matrix.add_sums([name(*one), name(*other)], &pair_sums_of(sum));
        }
        matrix.add_others(&pair_sums_of(&others));
        matrix.set_totals(totals_of(&self.totals));
        matrix
    }
}

const fn sums_of(sum: &Sum) -> flows::Sums {
    let Sum { flows, packets, sent, received, by_split } = *sum;
    flows::Sums { flows, packets, sent, received, by_split }
}

const fn pair_sums_of(sum: &Sum) -> flows::PairSums {
    let Sum { flows, packets, sent, received, by_split } = *sum;
    flows::PairSums { flows, packets, octets: [sent, received], by_split }
}

const fn totals_of(totals: &Totals) -> flows::Totals {
    let Totals { flows, copies, packets, octets, by_split, copied, carried, unknown_rates } =
        *totals;
    flows::Totals { flows, copies, packets, octets, by_split, copied, carried, unknown_rates }
}

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;
/// How often a question begins anew because files have gone meanwhile.
const ATTEMPTS: usize = 5;
