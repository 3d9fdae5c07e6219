//! Reading files of the store: only the columns, row groups and rows that a question is about.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{
    Array, ArrowPrimitiveType, BooleanArray, DictionaryArray, PrimitiveArray, RecordBatch,
    StringArray,
};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::filter::filter_record_batch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions,
    ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use crate::column::{SCHEMA_VERSION, VERSION_KEY};
use crate::error::StoreError;
use crate::filter::Filter;
use crate::sight::{self, Sight};

/// What is wanted of a file.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    /// The schema its columns are read as.
    pub(crate) schema: SchemaRef,
    /// Which columns, in the order of the schema.
    pub(crate) columns: &'a [&'static str],
    /// Only rows that begin before the second time and end at the first or later, both in
    /// milliseconds; of sums, rows of which the time is in it.
    pub(crate) span: Option<[i64; 2]>,
    /// Whether others may be among them.
    pub(crate) rows: Rows,
    /// Only these rows.
    pub(crate) filter: &'a Filter,
    /// Only what may be shown, and the rest of it hidden.
    pub(crate) sight: Option<&'a Arc<dyn Sight>>,
}

/// How exactly the time is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Row groups without a row of that time are passed over; whoever asks looks at the rest.
    Roughly,
    /// Only rows of that time are shown.
    Exactly,
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// All that was wanted was shown.
    ToTheEnd,
    /// It is there no more: it was merged, or has expired, since its folder was listed.
    Gone,
}

/// Shows the wanted rows of a file in batches.
pub(crate) fn scan(
    path: &Path,
    wanted: &Wanted<'_>,
    each: &mut dyn FnMut(&RecordBatch) -> Result<(), ArrowError>,
) -> Result<Scanned, StoreError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Scanned::Gone);
        }
        file => file.map_err(StoreError::io("read", path))?,
    };
    let failed = |error| StoreError::parquet("read", path)(error);
    let metadata = metadata(&file, path, &wanted.schema)?;
    // Names that are hidden are not compared either, so this is asked again once they are.
    let filter = match wanted.sight {
        None => wanted.filter.clone(),
        Some(_) => wanted.filter.before_hiding(),
    };
    let groups = groups(metadata.metadata(), wanted, &filter);
    if groups.is_empty() {
        return Ok(Scanned::ToTheEnd);
    }
    // A batch for each row group: it has one list of texts.
    let most = metadata.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).max();
    let batch_rows = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(1).max(1);
    let descriptor = metadata.parquet_schema().clone();
    let mask = |columns: &[&str]| ProjectionMask::columns(&descriptor, columns.iter().copied());
    let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
        .with_projection(mask(&columns(wanted)))
        .with_row_groups(groups)
        .with_batch_size(batch_rows);
    let mut predicates: Vec<Box<dyn ArrowPredicate>> = Vec::new();
    if let Some(sight) = wanted.sight.cloned() {
        let columns = mask(&sight::COLUMNS);
        let is_shown = move |rows| sight::rows_shown(&*sight, &rows);
        predicates.push(Box::new(ArrowPredicateFn::new(columns, is_shown)));
    }
    if !filter.is_everything() {
        let columns = mask(&filter.columns());
        predicates.push(Box::new(ArrowPredicateFn::new(columns, move |rows| filter.mask(&rows))));
    }
    if let (Rows::Exactly, Some(span)) = (wanted.rows, wanted.span) {
        let columns = mask(&["start", "end"]);
        predicates.push(Box::new(ArrowPredicateFn::new(columns, move |rows| within(&rows, span))));
    }
    if !predicates.is_empty() {
        builder = builder.with_row_filter(RowFilter::new(predicates));
    }
    for batch in builder.build().map_err(failed)? {
        let shown = batch.and_then(|batch| match wanted.sight {
            None => each(&batch),
            Some(sight) => {
                let hidden = sight::hide(&**sight, &batch)?;
                each(&filter_record_batch(&hidden, &wanted.filter.mask(&hidden)?)?)
            }
        });
        shown.map_err(StoreError::arrow("read", path))?;
    }
    Ok(Scanned::ToTheEnd)
}

/// The columns that are read: those that are wanted, and those that say what may be shown of them.
fn columns(wanted: &Wanted<'_>) -> Vec<&'static str> {
    let mut columns = wanted.columns.to_vec();
    if wanted.sight.is_some() {
        columns.extend(sight::COLUMNS);
        columns.extend(wanted.filter.columns());
    }
    columns
}

/// Which rows begin before the second time and end at the first or later.
fn within(rows: &RecordBatch, [from, to]: [i64; 2]) -> Result<BooleanArray, ArrowError> {
    let (starts, ends) = (times(rows, "start")?, times(rows, "end")?);
    let is_within = |(start, end): (&i64, &i64)| Some(*start < to && *end >= from);
    Ok(starts.iter().zip(ends).map(is_within).collect())
}

/// What a file says of itself, read as `schema` has it.
pub(crate) fn metadata(
    file: &File,
    path: &Path,
    schema: &SchemaRef,
) -> Result<ArrowReaderMetadata, StoreError> {
    let plain = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let loaded = ArrowReaderMetadata::load(file, plain.clone())
        .map_err(StoreError::parquet("read", path))?;
    check_version(loaded.metadata(), path)?;
    let options = plain.with_schema(schema.clone());
    ArrowReaderMetadata::try_new(loaded.metadata().clone(), options)
        .map_err(|error| StoreError::Foreign { path: path.into(), what: error.to_string() })
}

fn check_version(metadata: &ParquetMetaData, path: &Path) -> Result<(), StoreError> {
    let said = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let version = said.filter(|said| said.key == VERSION_KEY).find_map(|said| said.value.as_ref());
    match version.and_then(|version| version.parse::<u32>().ok()) {
        Some(found) if found > SCHEMA_VERSION => {
            Err(StoreError::Newer { path: path.into(), found, known: SCHEMA_VERSION })
        }
        Some(_) => Ok(()),
        None => Err(StoreError::Foreign {
            path: path.into(),
            what: "it does not say which version of the schema it has".into(),
        }),
    }
}

/// The row groups in which wanted rows may be.
fn groups(metadata: &ParquetMetaData, wanted: &Wanted<'_>, filter: &Filter) -> Vec<usize> {
    let groups = metadata.row_groups().iter().enumerate();
    let may_have = |group: &RowGroupMetaData| {
        let bounds = |name: &str| {
            let mut columns = group.columns().iter();
            columns.find(|column| column.column_path().string() == name)?.statistics()
        };
        let least = |name| bounds(name).and_then(least_and_most).map(|[least, _]| least);
        let most = |name| bounds(name).and_then(least_and_most).map(|[_, most]| most);
        let is_in_time = wanted.span.is_none_or(|[from, to]| {
            let first = least("start").or_else(|| least("time"));
            let last = most("end").or_else(|| most("time"));
            first.is_none_or(|first| first < to) && last.is_none_or(|last| last >= from)
        });
        is_in_time && filter.may_be_in(|name| bounds(name).cloned())
    };
    groups.filter(|(_, group)| may_have(group)).map(|(number, _)| number).collect()
}

fn least_and_most(statistics: &Statistics) -> Option<[i64; 2]> {
    match statistics {
        Statistics::Int64(values) => Some([*values.min_opt()?, *values.max_opt()?]),
        _ => None,
    }
}

/// The column of this name as whole numbers of 64 bits.
pub(crate) fn longs<'b>(rows: &'b RecordBatch, name: &str) -> Result<Numbers<'b>, ArrowError> {
    let values = primitive::<Int64Type>(rows, name)?;
    Ok(Numbers { values: values.values(), array: values })
}

/// The column of this name as times, in milliseconds.
pub(crate) fn times<'b>(rows: &'b RecordBatch, name: &str) -> Result<&'b [i64], ArrowError> {
    Ok(primitive::<TimestampMillisecondType>(rows, name)?.values())
}

/// The column of this name as whole numbers of 32 bits.
pub(crate) fn ints<'b>(
    rows: &'b RecordBatch,
    name: &str,
) -> Result<&'b PrimitiveArray<Int32Type>, ArrowError> {
    primitive::<Int32Type>(rows, name)
}

/// Numbers of which some may be missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers<'b> {
    pub(crate) values: &'b [i64],
    array: &'b PrimitiveArray<Int64Type>,
}

impl Numbers<'_> {
    /// The number in a row.
    pub(crate) fn at(&self, row: usize) -> Option<i64> {
        self.values.get(row).copied().filter(|_| self.array.is_valid(row))
    }
}

/// The column of this name as yes and no.
pub(crate) fn flags<'b>(rows: &'b RecordBatch, name: &str) -> Result<&'b BooleanArray, ArrowError> {
    downcast(rows, name)
}

/// The column of this name as texts.
pub(crate) fn texts<'b>(rows: &'b RecordBatch, name: &str) -> Result<Words<'b>, ArrowError> {
    let array: &DictionaryArray<Int32Type> = downcast(rows, name)?;
    let words = array.values().as_any().downcast_ref::<StringArray>();
    let words = words.ok_or_else(|| wrong_type(name))?;
    Ok(Words { keys: array.keys(), words })
}

/// Texts, each different one once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'b> {
    keys: &'b PrimitiveArray<Int32Type>,
    words: &'b StringArray,
}

impl<'b> Words<'b> {
    /// The number of the text of a row among the different ones.
    #[inline]
    pub(crate) fn key(&self, row: usize) -> Option<usize> {
        let key = *self.keys.values().get(row)?;
        if self.keys.is_valid(row) { usize::try_from(key).ok() } else { None }
    }

    /// The text with this number.
    pub(crate) fn word(&self, key: usize) -> &'b str {
        if key < self.words.len() { self.words.value(key) } else { "" }
    }

    /// The text of a row.
    pub(crate) fn at(&self, row: usize) -> Option<&'b str> {
        self.key(row).map(|key| self.word(key))
    }

    /// Whether any row has one.
    pub(crate) fn has_any(&self) -> bool {
        self.keys.null_count() < self.keys.len()
    }

    /// How many different texts there are.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }
}

fn primitive<'b, T: ArrowPrimitiveType>(
    rows: &'b RecordBatch,
    name: &str,
) -> Result<&'b PrimitiveArray<T>, ArrowError> {
    downcast(rows, name)
}

fn downcast<'b, A: 'static>(rows: &'b RecordBatch, name: &str) -> Result<&'b A, ArrowError> {
    let column = rows.column_by_name(name);
    let array = column.and_then(|column| column.as_any().downcast_ref::<A>());
    array.ok_or_else(|| wrong_type(name))
}

fn wrong_type(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("the column `{name}` is missing or of another type"))
}
