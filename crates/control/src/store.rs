//! What the controller must not forget: agents, tokens, users, grants, sessions, and the audit log.
//!
//! A store keeps small JSON documents by kind and key, and the chain of audit entries. Everything
//! that changes goes through [`Store::commit`]: some documents and their audit entries, all or
//! nothing, and only if no document was changed by somebody else meanwhile. So nothing happens that
//! is not in the log, and a token for one agent lets in one, whoever asks at the same time.
//!
//! [`SqliteStore`] is a file beside the controller and needs nothing else. [`PostgresStore`] is for
//! several controllers at once. [`MemoryStore`] forgets, and is for tests.

mod document;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use crate::audit::{Draft, Entry, Head};

pub use document::{Change, Document, Expected, Kind, Stored, Version, Versioned};
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresError, PostgresStore, Turn};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteError, SqliteStore};

/// Somewhere the controller keeps what it must not forget.
///
/// Calls wait for disk or network; async code makes them from a thread that may.
pub trait Store: Send + Sync {
    /// The document of `kind` with `key`.
    fn read(&self, kind: Kind, key: &str) -> Result<Option<Document>, StoreError>;

    /// All documents of `kind`, in the order of their keys' bytes.
    fn list(&self, kind: Kind) -> Result<Vec<Document>, StoreError>;

    /// Makes all `changes` and chains all `entries` to the audit log, or nothing of it.
    ///
    /// What is committed survives a crash of anything at the moment this returns.
    fn commit(&self, changes: &[Change], entries: &[Draft]) -> Result<Commit, StoreError>;

    /// The version of the last commit: while it stays the same, nothing has changed.
    fn version(&self) -> Result<Version, StoreError>;

    /// At most `most` audit entries from number `first` on, in order.
    fn audit(&self, first: u64, most: usize) -> Result<Vec<Entry>, StoreError>;

    /// How far the audit log goes.
    fn audit_head(&self) -> Result<Head, StoreError>;
}

impl dyn Store + '_ {
    /// The value with `key`, with its version.
    pub fn one<T: Stored>(&self, key: &str) -> Result<Option<Versioned<T>>, StoreError> {
        self.read(T::KIND, key)?.as_ref().map(Versioned::read).transpose()
    }

    /// All values of a kind, in the order of their keys.
    pub fn all<T: Stored>(&self) -> Result<Vec<Versioned<T>>, StoreError> {
        self.list(T::KIND)?.iter().map(Versioned::read).collect()
    }
}

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The version that every document it changed has now.
    pub version: Version,
    /// How far the audit log goes now.
    pub head: Head,
}

/// Why a store gives or takes nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed, made or removed the document. Read it again and decide again.
    #[error("the {kind} `{key}` was changed by somebody else at the same time; try again")]
    Conflict {
        /// What kind of document.
        kind: Kind,
        /// Its key.
        key: String,
    },
    /// A key that cannot be one.
    #[error("a key in the store has 1 to 512 bytes without control characters")]
    Key,
    /// A document that is too large.
    #[error("the {kind} `{key}` has {bytes} bytes, and a document has 1 MiB at most")]
    TooLarge {
        /// What kind of document.
        kind: Kind,
        /// Its key.
        key: String,
        /// Its size.
        bytes: usize,
    },
    /// A document that is not what its kind says, or a value that cannot become one.
    #[error("the {kind} `{key}` cannot be read or written: {because}")]
    Body {
        /// What kind of document.
        kind: Kind,
        /// Its key.
        key: String,
        /// Why.
        because: serde_json::Error,
    },
    /// No random numbers for what was to be made.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// An audit entry that cannot be written.
    #[error("an audit entry cannot be written: {0}")]
    Entry(serde_json::Error),
    /// An audit entry that cannot be read.
    #[error("audit entry {0} has no hash; the log was damaged, `overtap audit verify` says more")]
    Hash(u64),
    /// Made by a later release.
    #[error("the store has layout {found}, made by a newer overtap; this one knows {known}")]
    Newer {
        /// The layout it has.
        found: u32,
        /// The latest that this release knows.
        known: u32,
    },
    /// SQLite could not.
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    /// PostgreSQL could not.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

#[cfg(test)]
mod conformance;
