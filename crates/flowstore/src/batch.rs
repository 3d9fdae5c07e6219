//! Rows of one hour in memory, column by column, until they become a file.

use std::sync::Arc;

use arrow_array::types::{Int32Type, TimestampMillisecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, PrimitiveArray,
    RecordBatch, StringArray,
};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::ArrowError;
use wire::{Timestamp, VlanId};

use crate::column::{Column, FLOW_COLUMNS, Shape, flow_schema};
use crate::row::{End, Row};
use crate::scan;
use crate::texts::{NO_TEXT, TextNumber, Texts};

/// Rows, column by column.
#[derive(Debug)]
pub(crate) struct Batch {
    texts: Texts,
    columns: Vec<Values>,
    len: usize,
}

/// The values of one column.
#[derive(Debug)]
enum Values {
    /// Whole numbers and times; nothing is [`NO_LONG`].
    Long(Vec<i64>),
    /// Whole numbers; nothing is [`NO_INT`].
    Int(Vec<i32>),
    Text(Vec<TextNumber>),
    Flag(Vec<bool>),
}

const NO_LONG: i64 = i64::MIN;
const NO_INT: i32 = i32::MIN;

impl Default for Batch {
    fn default() -> Self {
        let columns = FLOW_COLUMNS.iter().map(|column| match column.shape {
            Shape::Time | Shape::Long => Values::Long(Vec::new()),
            Shape::Int => Values::Int(Vec::new()),
            Shape::Text => Values::Text(Vec::new()),
            Shape::Flag => Values::Flag(Vec::new()),
        });
        Self { texts: Texts::default(), columns: columns.collect(), len: 0 }
    }
}

impl Batch {
    /// Adds a row.
    pub(crate) fn push(&mut self, row: &Row<'_>) {
        let Self { texts, columns, len } = self;
        let mut row_of = Filler { columns: columns.iter_mut(), texts };
        row_of.time(row.start);
        row_of.time(row.end);
        row_of.text(Some(row.point));
        let overlay = row.network.overlay;
        row_of.text(overlay.map(|overlay| overlay.kind.name()));
        row_of.long(overlay.map_or(NO_LONG, |overlay| overlay.number.into()));
        row_of.int(row.network.vlan.map(VlanId::value).map_or(NO_INT, i32::from));
        row_of.int(row.protocol.into());
        for end in &row.ends {
            row_of.end(end);
        }
        row_of.text(Some(row.split.name()));
        for (way, counted) in row.ways.iter().zip(&row.counted) {
            // What is seen is nearly always what counts, and would be there twice.
            row_of.count_unless(way.packets, counted.packets);
            row_of.count_unless(way.octets, counted.octets);
            row_of.int(way.tcp_flags.into());
            row_of.long(way.retransmitted.into());
            row_of.long(way.out_of_order.into());
            row_of.long(way.zero_windows.into());
        }
        for way in &row.counted {
            row_of.count(way.packets);
            row_of.count(way.octets);
            row_of.text(way.copy_of);
        }
        row_of.flag(row.is_carrier);
        row_of.long(row.rate.ratio.population.into());
        row_of.long(row.rate.ratio.taken.into());
        row_of.text(Some(row.rate.origin.name()));
        row_of.text(row.tcp.map(flows::TcpState::name));
        row_of.text(Some(row.client_basis.name()));
        for rtt in row.rtts {
            let micros = rtt.map(|rtt| i64::try_from(rtt.as_micros()).unwrap_or(i64::MAX));
            row_of.long(micros.unwrap_or(NO_LONG));
        }
        row_of.text(Some(&row.app));
        row_of.flag(row.is_app_seen);
        row_of.text(row.asked_for);
        row_of.text(Some(row.end_reason.name()));
        debug_assert!(row_of.columns.next().is_none(), "a row fills every column");
        *len += 1;
    }

    /// Adds rows of a file, with all their columns.
    pub(crate) fn append(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        let Self { texts, columns, len } = self;
        for (values, column) in columns.iter_mut().zip(&FLOW_COLUMNS) {
            match values {
                Values::Long(values) if column.shape == Shape::Time => {
                    values.extend(scan::times(rows, column.name)?);
                }
                Values::Long(values) => {
                    let numbers = scan::longs(rows, column.name)?;
                    let rows = 0..rows.num_rows();
                    values.extend(rows.map(|row| numbers.at(row).unwrap_or(NO_LONG)));
                }
                Values::Int(values) => {
                    let numbers = scan::ints(rows, column.name)?;
                    values.extend(numbers.iter().map(|number| number.unwrap_or(NO_INT)));
                }
                Values::Text(numbers) => {
                    let words = scan::texts(rows, column.name)?;
                    let known: Vec<TextNumber> =
                        (0..words.len()).map(|key| texts.number(words.word(key))).collect();
                    let rows = 0..rows.num_rows();
                    numbers.extend(rows.map(|row| {
                        words.key(row).and_then(|key| known.get(key)).copied().unwrap_or(NO_TEXT)
                    }));
                }
                Values::Flag(values) => {
                    let flags = scan::flags(rows, column.name)?;
                    values.extend(flags.values().iter());
                }
            }
        }
        *len += rows.num_rows();
        Ok(())
    }

    /// How many rows there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// About how much memory they take.
    pub(crate) const fn bytes(&self) -> usize {
        self.len * ROW_BYTES + self.texts.bytes()
    }

    /// The rows as Arrow has them, as many at a time as a row group holds: by the time of their
    /// end, and within a row group by who talks to whom, which packs best.
    pub(crate) fn groups(
        &self,
        row_group: usize,
    ) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
        let mut order: Vec<u32> = (0..u32::try_from(self.len).unwrap_or(u32::MAX)).collect();
        let ends = self.longs("end");
        order.sort_by_key(|row| ends.get(*row as usize).copied().unwrap_or_default());
        let (clients, servers) = (self.numbers("client_ip"), self.numbers("server_ip"));
        for group in order.chunks_mut(row_group) {
            group.sort_by_cached_key(|row| {
                let number = |numbers: &[u32]| numbers.get(*row as usize).copied().unwrap_or(0);
                u64::from(number(clients)) << 32 | u64::from(number(servers))
            });
        }
        let texts = self.texts.array();
        let starts = (0..order.len()).step_by(row_group);
        starts.map(move |start| {
            let end = order.len().min(start + row_group);
            let rows = order.get(start..end).unwrap_or_default();
            let columns = self.columns.iter().zip(&FLOW_COLUMNS);
            let arrays: Result<Vec<ArrayRef>, ArrowError> =
                columns.map(|(values, column)| values.gather(rows, column, &texts)).collect();
            RecordBatch::try_new(flow_schema(), arrays?)
        })
    }

    fn longs(&self, name: &str) -> &[i64] {
        match self.values(name) {
            Some(Values::Long(values)) => values,
            _ => &[],
        }
    }

    fn numbers(&self, name: &str) -> &[TextNumber] {
        match self.values(name) {
            Some(Values::Text(values)) => values,
            _ => &[],
        }
    }

    fn values(&self, name: &str) -> Option<&Values> {
        let mut columns = FLOW_COLUMNS.iter().zip(&self.columns);
        columns.find(|(column, _)| column.name == name).map(|(_, values)| values)
    }
}

/// Fills one row, column after column.
struct Filler<'b> {
    columns: std::slice::IterMut<'b, Values>,
    texts: &'b mut Texts,
}

impl Filler<'_> {
    fn end(&mut self, end: &End<'_>) {
        let ip = self.texts.address(end.ip);
        self.number(ip);
        self.int(end.port.into());
        let mac = self.texts.mac(end.mac);
        self.number(mac);
        self.text(end.vm);
        self.text(end.tenant);
        self.text(end.host);
        self.text(end.port_group);
        self.flag(end.is_ambiguous);
    }

    fn time(&mut self, time: Timestamp) {
        self.long(i64::try_from(time.as_nanos() / 1_000_000).unwrap_or(i64::MAX));
    }

    fn count(&mut self, count: u64) {
        self.long(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn count_unless(&mut self, count: u64, same: u64) {
        if count == same { self.long(NO_LONG) } else { self.count(count) }
    }

    fn text(&mut self, text: Option<&str>) {
        let number = text.map_or(NO_TEXT, |text| self.texts.number(text));
        self.number(number);
    }

    fn number(&mut self, number: TextNumber) {
        if let Some(Values::Text(values)) = self.columns.next() {
            values.push(number);
        }
    }

    fn long(&mut self, value: i64) {
        if let Some(Values::Long(values)) = self.columns.next() {
            values.push(value);
        }
    }

    fn int(&mut self, value: i32) {
        if let Some(Values::Int(values)) = self.columns.next() {
            values.push(value);
        }
    }

    fn flag(&mut self, value: bool) {
        if let Some(Values::Flag(values)) = self.columns.next() {
            values.push(value);
        }
    }
}

impl Values {
    /// The values of these rows as Arrow has them.
    fn gather(
        &self,
        rows: &[u32],
        column: &Column,
        texts: &Arc<StringArray>,
    ) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Long(values) => {
                let values = picked(values, rows);
                let nulls = nulls(column, values.iter().map(|value| *value != NO_LONG));
                if column.shape == Shape::Time {
                    let times =
                        PrimitiveArray::<TimestampMillisecondType>::try_new(values.into(), nulls)?;
                    Arc::new(times.with_timezone("UTC"))
                } else {
                    Arc::new(Int64Array::try_new(values.into(), nulls)?)
                }
            }
            Self::Int(values) => {
                let values = picked(values, rows);
                let nulls = nulls(column, values.iter().map(|value| *value != NO_INT));
                Arc::new(Int32Array::try_new(values.into(), nulls)?)
            }
            Self::Text(numbers) => {
                let numbers = picked(numbers, rows);
                let nulls = nulls(column, numbers.iter().map(|number| *number != NO_TEXT));
                let keys: Vec<i32> =
                    numbers.into_iter().map(|n| i32::try_from(n).unwrap_or_default()).collect();
                let keys = PrimitiveArray::<Int32Type>::try_new(keys.into(), nulls)?;
                Arc::new(DictionaryArray::try_new(keys, Arc::clone(texts) as Arc<dyn Array>)?)
            }
            Self::Flag(values) => Arc::new(BooleanArray::from(picked(values, rows))),
        })
    }
}

fn picked<T: Copy + Default>(values: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter().map(|row| values.get(*row as usize).copied().unwrap_or_default()).collect()
}

/// Which values there are, if some may be missing.
fn nulls(column: &Column, is_there: impl Iterator<Item = bool>) -> Option<NullBuffer> {
    let nulls = column.is_nullable.then(|| NullBuffer::new(is_there.collect::<BooleanBuffer>()));
    nulls.filter(|nulls| nulls.null_count() > 0)
}

/// What the columns of a row take: 17 of 8 bytes and more, 23 texts and 8 numbers of 4, 5 flags.
const ROW_BYTES: usize = 300;
