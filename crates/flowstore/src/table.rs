//! Parquet files of what is printed: rows that have not been stored, and tables of sums.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;

use crate::batch::Batch;
use crate::column::{FLOW_COLUMNS, ROW_GROUP, flow_schema};
use crate::file::options;
use crate::row::Row;

/// Writes rows as one Parquet file, with the columns of a store.
pub struct RowWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    batch: Batch,
}

impl<W: Write + Send> RowWriter<W> {
    /// Into `out`.
    pub fn new(out: W) -> Result<Self, ParquetError> {
        let options = options(&FLOW_COLUMNS);
        let writer = ArrowWriter::try_new_with_options(out, flow_schema(), options)?;
        Ok(Self { writer, batch: Batch::default() })
    }

    /// Adds a row.
    pub fn add(&mut self, row: &Row<'_>) -> Result<(), ParquetError> {
        self.batch.push(row);
        if self.batch.len() >= ROW_GROUP { self.write() } else { Ok(()) }
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<(), ParquetError> {
        self.write()?;
        self.writer.close()?;
        Ok(())
    }

    fn write(&mut self) -> Result<(), ParquetError> {
        for rows in std::mem::take(&mut self.batch).groups(ROW_GROUP) {
            self.writer.write(&rows?)?;
        }
        Ok(())
    }
}

/// A column of a table of sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableColumn {
    /// Names.
    Texts(Vec<String>),
    /// Counts.
    Numbers(Vec<i64>),
}

/// Writes a table as a Parquet file.
pub fn write_table(
    out: impl Write + Send,
    columns: Vec<(String, TableColumn)>,
) -> Result<(), ParquetError> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (name, column) in columns {
        let (data_type, array): (_, ArrayRef) = match column {
            TableColumn::Texts(texts) => (DataType::Utf8, Arc::new(StringArray::from(texts))),
            TableColumn::Numbers(numbers) => (DataType::Int64, Arc::new(Int64Array::from(numbers))),
        };
        fields.push(Field::new(name, data_type, false));
        arrays.push(array);
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(out, rows.schema(), options)?;
    writer.write(&rows)?;
    writer.close()?;
    Ok(())
}
