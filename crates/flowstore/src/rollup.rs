//! Sums by minute and by hour, kept beside the rows and longer than these.
//!
//! Sums are derived: a file of sums is made of one file of rows and has its name. Where a file of
//! rows has none, because the writer was killed in between or the file is small, the question is
//! answered from its rows; that is the same number, because both are added up by the same code.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::types::{Int32Type, TimestampMillisecondType};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int64Array, PrimitiveArray, RecordBatch, StringArray,
};
use arrow_schema::ArrowError;

use crate::adder::Adder;
use crate::column::{SUM_COLUMNS, sum_schema};
use crate::error::StoreError;
use crate::file::Writing;
use crate::filter::Filter;
use crate::ledger::{Entry, Ledger, Sum};
use crate::name::PartName;
use crate::scan::{self, Scanned, Wanted, longs, scan, texts, times};
use crate::subject::{Kind, Subject};
use crate::texts::{NO_TEXT, Table, TextNumber, Texts};
use crate::totals::{Totals, TotalsAdder};

/// What sums are kept of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rollup {
    /// Everything, each time in one row.
    Totals,
    /// Something of each flow.
    Of(Kind),
}

/// The length of the times that are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grain {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Rollup {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Totals,
        Self::Of(Kind::One(Subject::Vms)),
        Self::Of(Kind::One(Subject::Hosts)),
        Self::Of(Kind::One(Subject::Tenants)),
        Self::Of(Kind::One(Subject::Apps)),
        Self::Of(Kind::Pair(Subject::Vms)),
        Self::Of(Kind::Pair(Subject::Hosts)),
        Self::Of(Kind::Pair(Subject::Tenants)),
    ];

    /// The one that answers questions about this, if there is one.
    pub fn of(kind: Kind) -> Option<Self> {
        Self::ALL.into_iter().find(|rollup| *rollup == Self::Of(kind))
    }

    /// Its name, which is that of its folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Totals => "totals",
            Self::Of(Kind::One(Subject::Vms)) => "vms",
            Self::Of(Kind::One(Subject::Hosts)) => "hosts",
            Self::Of(Kind::One(Subject::Tenants)) => "tenants",
            Self::Of(Kind::One(Subject::Apps)) => "apps",
            Self::Of(Kind::One(Subject::Ports)) => "ports",
            Self::Of(Kind::One(Subject::Addresses)) => "addresses",
            Self::Of(Kind::Pair(Subject::Vms)) => "vm-pairs",
            Self::Of(Kind::Pair(Subject::Hosts)) => "host-pairs",
            Self::Of(Kind::Pair(Subject::Tenants)) => "tenant-pairs",
            Self::Of(Kind::Pair(_)) => "pairs",
        }
    }

    /// Where the sums of this are, in a store.
    pub(crate) fn folder(self, store: &Path, grain: Grain) -> PathBuf {
        store.join("sums").join(self.name()).join(grain.name())
    }
}

impl Grain {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// Its name, which is that of its folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }

    /// Its length in milliseconds.
    pub(crate) const fn ms(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }

    /// The most names, or pairs of names, of one time; what moves less is summed in a row without
    /// a name.
    const fn most(self) -> usize {
        match self {
            Self::Minute => 1 << 9,
            Self::Hour => 1 << 13,
        }
    }
}

/// Makes the sums of one file of rows.
///
/// Rows are added up by minute only, and of what has two ends only between two: hours are added up
/// from minutes and ends from pairs, of which there are fewer.
pub(crate) struct Summing {
    totals: TotalsAdder,
    adders: Vec<(Kind, Adder)>,
}

impl Summing {
    pub(crate) fn new() -> Self {
        let always = [0, i64::MAX];
        let minute = Grain::Minute.ms();
        let kinds = [
            Kind::One(Subject::Apps),
            Kind::Pair(Subject::Vms),
            Kind::Pair(Subject::Hosts),
            Kind::Pair(Subject::Tenants),
        ];
        Self {
            totals: TotalsAdder::new(always, minute),
            adders: kinds.map(|kind| (kind, Adder::new(kind, always, minute))).into(),
        }
    }

    /// Adds rows, with all their columns.
    pub(crate) fn add(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        self.totals.add(rows)?;
        self.adders.iter_mut().try_for_each(|(_, adder)| adder.add(rows))
    }

    /// The sums of all rows.
    pub(crate) fn finish(self) -> Result<Made, ArrowError> {
        let mut made = Vec::new();
        for (kind, adder) in self.adders {
            let texts = adder.ledger.names.array();
            let mut whole = ByGrain::new(&texts);
            let mut ends = matches!(kind, Kind::Pair(_)).then(|| ByGrain::new(&texts));
            let mut of_ends = Tally::default();
            for (minute, sums) in adder.ledger.by_time() {
                if let Some(ends) = &mut ends {
                    sums.iter().for_each(|(entry, sum)| of_ends.add_ends(*entry, sum));
                    ends.add(minute, of_ends.drain());
                }
                whole.add(minute, sums);
            }
            let ends = ends.map(|ends| (Kind::One(kind.subject()), ends));
            for (kind, sums) in std::iter::once((kind, whole)).chain(ends) {
                for (grain, rows) in Grain::ALL.into_iter().zip(sums.finish()) {
                    made.push((Rollup::Of(kind), grain, rows.batch(&texts)?));
                }
            }
        }
        // Last: where there are totals, the sums of this file are all there.
        for grain in Grain::ALL {
            let mut rows = Rows::default();
            let mut by_time: BTreeMap<i64, Totals> = BTreeMap::new();
            for (minute, totals) in &self.totals.by_time {
                by_time.entry(whole(*minute, grain)).or_default().add(totals);
            }
            for (time, totals) in by_time {
                rows.add_totals(time, &totals);
            }
            made.push((Rollup::Totals, grain, rows.batch(&Texts::default().array())?));
        }
        Ok(Made(made))
    }
}

/// Sums of minutes, which come in their order, and those of the hours that they make.
struct ByGrain<'t> {
    texts: &'t StringArray,
    minutes: Rows,
    hours: Rows,
    /// The begin of the hour that is not over, in milliseconds, and its sums so far.
    hour: i64,
    of_hour: Tally,
}

impl<'t> ByGrain<'t> {
    fn new(texts: &'t StringArray) -> Self {
        let (minutes, hours) = (Rows::default(), Rows::default());
        Self { texts, minutes, hours, hour: 0, of_hour: Tally::default() }
    }

    fn add(&mut self, minute: u32, sums: Vec<(Entry, Sum)>) {
        let hour = whole(minute, Grain::Hour);
        if hour != self.hour {
            self.end_hour();
            self.hour = hour;
        }
        sums.iter().for_each(|(entry, sum)| self.of_hour.add(*entry, sum));
        self.minutes.add_largest(whole(minute, Grain::Minute), sums, Grain::Minute, self.texts);
    }

    fn end_hour(&mut self) {
        self.hours.add_largest(self.hour, self.of_hour.drain(), Grain::Hour, self.texts);
    }

    fn finish(mut self) -> [Rows; 2] {
        self.end_hour();
        [self.minutes, self.hours]
    }
}

/// Sums of one time.
#[derive(Debug, Default)]
struct Tally(Table<[TextNumber; 2], Sum>);

impl Tally {
    fn add(&mut self, entry: Entry, sum: &Sum) {
        self.0.entry([entry.one, entry.other]).or_default().add(sum);
    }

    /// Adds to each of two ends what is between them.
    fn add_ends(&mut self, Entry { one, other, .. }: Entry, sum: &Sum) {
        let turned = Sum { sent: sum.received, received: sum.sent, ..*sum };
        self.add(Entry::of(one), sum);
        self.add(Entry::of(other), &turned);
        // Of what goes from one to the same each packet is sent and received there, but the flow
        // is one.
        if one == other
            && let Some(both) = self.0.get_mut(&[one, NO_TEXT])
        {
            both.flows -= sum.flows;
        }
    }

    fn drain(&mut self) -> Vec<(Entry, Sum)> {
        self.0.drain().map(|([one, other], sum)| (Entry::pair(one, other), sum)).collect()
    }
}

/// The sums of one file of rows.
pub(crate) struct Made(Vec<(Rollup, Grain, RecordBatch)>);

impl Made {
    /// Writes the files of sums that belong to the file of rows of this name.
    pub(crate) fn write(&self, store: &Path, name: PartName) -> Result<(), StoreError> {
        self.0.iter().try_for_each(|(rollup, grain, rows)| {
            let folder = rollup.folder(store, *grain);
            let mut file = Writing::begin(&folder, name.file(), sum_schema(), &SUM_COLUMNS)?;
            // Groups of some minutes, so that others can be passed over.
            for start in (0..rows.num_rows()).step_by(SUM_ROW_GROUP) {
                file.add(&rows.slice(start, SUM_ROW_GROUP.min(rows.num_rows() - start)))?;
            }
            file.finish().map(|_| ())
        })
    }
}

/// The begin of the time of a minute, in milliseconds.
fn whole(minute: u32, grain: Grain) -> i64 {
    let time = i64::from(minute) * Grain::Minute.ms();
    time - time.rem_euclid(grain.ms())
}

/// Rows of a file of sums.
#[derive(Debug, Default)]
struct Rows {
    times: Vec<i64>,
    names: [Vec<TextNumber>; 2],
    counts: [Vec<i64>; 14],
}

impl Rows {
    /// Adds the largest sums of a time, names that came first in the rows first; what is beyond is
    /// one row.
    fn add_largest(
        &mut self,
        time: i64,
        mut sums: Vec<(Entry, Sum)>,
        grain: Grain,
        texts: &StringArray,
    ) {
        let text = |number: TextNumber| match number {
            NO_TEXT => "",
            number => texts.value(number as usize),
        };
        let mut rest = Sum::default();
        if sums.len() > grain.most() {
            sums.select_nth_unstable_by_key(grain.most(), |(_, sum)| Reverse(sum.octets()));
            sums.drain(grain.most()..).for_each(|(_, sum)| rest.add(&sum));
        }
        sums.sort_unstable_by_key(|(entry, _)| *entry);
        // The larger name last, as it is for people.
        for (entry, sum) in &mut sums {
            if entry.other != NO_TEXT && text(entry.other) < text(entry.one) {
                (entry.one, entry.other) = (entry.other, entry.one);
                (sum.sent, sum.received) = (sum.received, sum.sent);
            }
        }
        for (entry, sum) in &sums {
            self.add(time, [entry.one, entry.other], sum);
        }
        if rest != Sum::default() {
            self.add(time, [NO_TEXT; 2], &rest);
        }
    }

    fn add(&mut self, time: i64, names: [TextNumber; 2], sum: &Sum) {
        let Sum { flows, packets, sent, received, by_split: [a, b, c, d, e, f] } = *sum;
        let counts = [flows, packets, sent, received, a, b, c, d, e, f, 0, 0, 0, 0];
        self.push(time, names, counts);
    }

    fn add_totals(&mut self, time: i64, totals: &Totals) {
        let Totals { flows, copies, packets, octets, by_split, copied, carried, unknown_rates } =
            *totals;
        let [a, b, c, d, e, f] = by_split;
        let beside = [copies, copied, carried, unknown_rates];
        let [copies, copied, carried, unknown] = beside;
        let counts =
            [flows, packets, octets, 0, a, b, c, d, e, f, copies, copied, carried, unknown];
        self.push(time, [NO_TEXT; 2], counts);
    }

    fn push(&mut self, time: i64, names: [TextNumber; 2], counts: [u64; 14]) {
        self.times.push(time);
        for (column, name) in self.names.iter_mut().zip(names) {
            column.push(name);
        }
        for (column, count) in self.counts.iter_mut().zip(counts) {
            column.push(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn batch(self, texts: &Arc<StringArray>) -> Result<RecordBatch, ArrowError> {
        let times = PrimitiveArray::<TimestampMillisecondType>::from(self.times);
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(times.with_timezone("UTC"))];
        for numbers in self.names {
            let keys: PrimitiveArray<Int32Type> =
                numbers.into_iter().map(|number| i32::try_from(number).ok()).collect();
            arrays.push(Arc::new(DictionaryArray::try_new(
                keys,
                Arc::clone(texts) as Arc<dyn Array>,
            )?));
        }
        arrays.extend(self.counts.map(|counts| Arc::new(Int64Array::from(counts)) as ArrayRef));
        RecordBatch::try_new(sum_schema(), arrays)
    }
}

/// Adds the sums of a file that are in `span` to a ledger. Says whether the file was there.
pub(crate) fn add_sums(
    path: &Path,
    span: [i64; 2],
    ledger: &mut Ledger,
) -> Result<bool, StoreError> {
    each_batch(path, span, &mut |rows| {
        let counts = columns(rows)?;
        let [one, other] = [texts(rows, "one")?, texts(rows, "other")?];
        let mut known: [HashMap<usize, TextNumber>; 2] = Default::default();
        for (row, time) in times(rows, "time")?.iter().enumerate() {
            if !(span[0]..span[1]).contains(time) {
                continue;
            }
            let [known_one, known_other] = &mut known;
            let [one, other] = [(one, known_one), (other, known_other)].map(|(words, known)| {
                let Some(key) = words.key(row) else { return NO_TEXT };
                *known.entry(key).or_insert_with(|| ledger.names.number(words.word(key)))
            });
            let [flows, packets, sent, received, a, b, c, d, e, f, ..] = at(&counts, row);
            let mut sum = Sum { flows, packets, sent, received, by_split: [a, b, c, d, e, f] };
            let mut entry = Entry::pair(one, other);
            if other != NO_TEXT && other < one {
                entry = Entry::pair(other, one);
                (sum.sent, sum.received) = (sum.received, sum.sent);
            }
            ledger.add_sum(entry, &sum);
        }
        Ok(())
    })
}

/// Shows the totals of a file that are in `span`, each with its time in milliseconds. Says whether
/// the file was there.
pub(crate) fn each_totals(
    path: &Path,
    span: [i64; 2],
    each: &mut dyn FnMut(i64, &Totals),
) -> Result<bool, StoreError> {
    each_batch(path, span, &mut |rows| {
        let counts = columns(rows)?;
        for (row, time) in times(rows, "time")?.iter().enumerate() {
            if !(span[0]..span[1]).contains(time) {
                continue;
            }
            let [flows, packets, octets, _, a, b, c, d, e, f, copies, copied, carried, unknown] =
                at(&counts, row);
            let by_split = [a, b, c, d, e, f];
            let unknown_rates = unknown;
            let totals =
                Totals { flows, copies, packets, octets, by_split, copied, carried, unknown_rates };
            each(*time, &totals);
        }
        Ok(())
    })
}

fn each_batch(
    path: &Path,
    span: [i64; 2],
    each: &mut dyn FnMut(&RecordBatch) -> Result<(), ArrowError>,
) -> Result<bool, StoreError> {
    let everything = Filter::default();
    let wanted = Wanted {
        schema: sum_schema(),
        columns: &SUM_COLUMNS.map(|column| column.name),
        span: Some(span),
        rows: scan::Rows::Roughly,
        filter: &everything,
        sight: None,
    };
    Ok(scan(path, &wanted, each)? != Scanned::Gone)
}

fn columns(rows: &RecordBatch) -> Result<Vec<&[i64]>, ArrowError> {
    let counts = SUM_COLUMNS.iter().skip(3);
    counts.map(|column| Ok(longs(rows, column.name)?.values)).collect()
}

fn at(counts: &[&[i64]], row: usize) -> [u64; 14] {
    let mut values = [0; 14];
    for (value, column) in values.iter_mut().zip(counts) {
        *value = column.get(row).map_or(0, |count| count.unsigned_abs());
    }
    values
}

/// Rows of a row group of sums.
const SUM_ROW_GROUP: usize = 1 << 14;
