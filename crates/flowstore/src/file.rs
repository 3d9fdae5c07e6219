//! Files that are there whole or not at all.
//!
//! Written beside their place under a name that no reader looks at, forced to the disk, then
//! renamed. A file that a reader sees can be read, whenever the writer was killed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;

use crate::column::{Column, ROW_GROUP, properties};
use crate::error::StoreError;

/// A Parquet file that is being written.
pub(crate) struct Writing {
    writer: ArrowWriter<File>,
    folder: PathBuf,
    name: String,
}

impl Writing {
    /// Begins the file `name` in `folder`, which is made if need be.
    pub(crate) fn begin(
        folder: &Path,
        name: String,
        schema: SchemaRef,
        columns: &[Column],
    ) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io("make", folder))?;
        let path = beside(folder, &name);
        let file = File::create(&path).map_err(StoreError::io("write", &path))?;
        let writer = ArrowWriter::try_new_with_options(file, schema, options(columns));
        match writer {
            Ok(writer) => Ok(Self { writer, folder: folder.to_owned(), name }),
            Err(error) => Err(discarded(&path, StoreError::parquet("write", &path)(error))),
        }
    }

    /// Adds a row group.
    pub(crate) fn add(&mut self, rows: &RecordBatch) -> Result<(), StoreError> {
        let path = beside(&self.folder, &self.name);
        self.writer
            .write(rows)
            .and_then(|()| self.writer.flush())
            .map_err(|error| discarded(&path, StoreError::parquet("write", &path)(error)))
    }

    /// Ends the file and puts it in its place.
    pub(crate) fn finish(self) -> Result<PathBuf, StoreError> {
        let Self { writer, folder, name } = self;
        let (from, to) = (beside(&folder, &name), folder.join(name));
        let done = || -> Result<(), StoreError> {
            let file = writer.into_inner().map_err(StoreError::parquet("write", &from))?;
            file.sync_all().map_err(StoreError::io("write", &from))?;
            fs::rename(&from, &to).map_err(StoreError::io("write", &to))?;
            sync_folder(&folder).map_err(StoreError::io("write", &folder))
        };
        done().map_err(|error| discarded(&from, error))?;
        Ok(to)
    }
}

/// How files of these columns are written. Types of Arrow are nobody else's business: the columns
/// are plain ones.
pub(crate) fn options(columns: &[Column]) -> ArrowWriterOptions {
    let properties = properties(columns, ROW_GROUP);
    ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true)
}

/// Writes a small file whole, as a Parquet file is.
pub(crate) fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let (from, to) = (beside(folder, name), folder.join(name));
    let write = || {
        let mut file = File::create(&from)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&from, &to)?;
        sync_folder(folder)
    };
    write().map_err(|error| discarded(&from, StoreError::io("write", &to)(error)))
}

/// Removes what a writer that was killed has left half-written in a folder.
pub(crate) fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Where a file is until it is whole.
fn beside(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.{UNFINISHED}"))
}

/// The error, and its file gone: on a full disk its space is needed.
fn discarded(path: &Path, error: StoreError) -> StoreError {
    let _ = fs::remove_file(path);
    error
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

const UNFINISHED: &str = "unfinished";
