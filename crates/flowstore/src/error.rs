//! What can go wrong with a store, as whoever runs it is told.

use std::io;
use std::path::PathBuf;

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

/// Why a store cannot be used, or a file of it not read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else writes it.
    #[error("{} is being written by another overtap; only one may write a store", .0.display())]
    InUse(PathBuf),
    /// A directory with other things in it.
    #[error("{} is no flow store and not empty; name a new or an empty directory", .0.display())]
    NotAStore(PathBuf),
    /// There is none.
    #[error("there is no flow store in {}; `overtap collect --store` makes one", .0.display())]
    Missing(PathBuf),
    /// Written by a newer program.
    #[error(
        "{} was written by a newer overtap (version {found} of the schema, this one knows up to \
         {known}); use that one to read it", path.display()
    )]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// A file that says nothing of what it is, or something else.
    #[error("{} is no file of a flow store: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system did not let us.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is damaged, or could not be written.
    #[error("cannot {what} {}: {source}", path.display())]
    Parquet {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the library says.
        source: ParquetError,
    },
}

impl StoreError {
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn parquet(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(ParquetError) -> Self {
        let path = path.into();
        move |source| Self::Parquet { what, path, source }
    }

    pub(crate) fn arrow(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(ArrowError) -> Self {
        let path = path.into();
        move |source| Self::Parquet { what, path, source: source.into() }
    }
}
