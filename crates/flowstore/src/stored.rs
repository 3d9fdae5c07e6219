//! Rows as they come out of a store.

use arrow_array::types::Int32Type;
use arrow_array::{Array, BooleanArray, PrimitiveArray, RecordBatch};
use arrow_schema::ArrowError;
use wire::Timestamp;

use crate::column::{Column, FLOW_COLUMNS, Shape};
use crate::scan::{Numbers, Words, flags, ints, longs, texts, times};

/// A row of a store.
#[derive(Debug, Clone, Copy)]
pub struct StoredRow<'b> {
    rows: &'b StoredRows<'b>,
    row: usize,
}

/// What a column holds in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'b> {
    /// Nothing.
    None,
    /// A time, to the millisecond.
    Time(Timestamp),
    /// A whole number.
    Number(i64),
    /// Text.
    Text(&'b str),
    /// Yes or no.
    Flag(bool),
}

impl<'b> StoredRow<'b> {
    /// Every column with its value, in the order of [`FLOW_COLUMNS`].
    pub fn values(&self) -> impl Iterator<Item = (&'static Column, Value<'b>)> {
        let (row, columns) = (self.row, &self.rows.columns);
        FLOW_COLUMNS.iter().zip(columns.iter().map(move |column| column.at(row)))
    }
}

/// Rows that were read together.
#[derive(Debug)]
pub(crate) struct StoredRows<'b> {
    columns: Vec<Values<'b>>,
    len: usize,
}

#[derive(Debug)]
enum Values<'b> {
    Times(&'b [i64]),
    Longs(Numbers<'b>),
    Ints(&'b PrimitiveArray<Int32Type>),
    Texts(Words<'b>),
    Flags(&'b BooleanArray),
}

impl<'b> StoredRows<'b> {
    /// Rows with all their columns.
    pub(crate) fn of(rows: &'b RecordBatch) -> Result<Self, ArrowError> {
        let columns = FLOW_COLUMNS.iter().map(|column| {
            Ok(match column.shape {
                Shape::Time => Values::Times(times(rows, column.name)?),
                Shape::Long => Values::Longs(longs(rows, column.name)?),
                Shape::Int => Values::Ints(ints(rows, column.name)?),
                Shape::Text => Values::Texts(texts(rows, column.name)?),
                Shape::Flag => Values::Flags(flags(rows, column.name)?),
            })
        });
        Ok(Self { columns: columns.collect::<Result<_, ArrowError>>()?, len: rows.num_rows() })
    }

    /// One of them.
    pub(crate) const fn row(&self, row: usize) -> StoredRow<'_> {
        StoredRow { rows: self, row }
    }

    /// Shows them by the time of their end.
    pub(crate) fn each(&self, each: &mut dyn FnMut(&StoredRow<'_>)) {
        let mut order: Vec<usize> = (0..self.len).collect();
        if let Some(Values::Times(ends)) = self.columns.get(END) {
            order.sort_by_key(|row| ends.get(*row).copied());
        }
        for row in order {
            each(&self.row(row));
        }
    }
}

impl<'b> Values<'b> {
    fn at(&self, row: usize) -> Value<'b> {
        match self {
            Self::Times(times) => times.get(row).map_or(Value::None, |ms| {
                Value::Time(Timestamp::from_nanos(ms.unsigned_abs().saturating_mul(1_000_000)))
            }),
            Self::Longs(numbers) => numbers.at(row).map_or(Value::None, Value::Number),
            Self::Ints(numbers) if numbers.is_valid(row) => {
                Value::Number(numbers.value(row).into())
            }
            Self::Ints(_) => Value::None,
            Self::Texts(words) => words.at(row).map_or(Value::None, Value::Text),
            Self::Flags(flags) => Value::Flag(flags.value(row)),
        }
    }
}

/// The place of the column `end`.
const END: usize = 1;
