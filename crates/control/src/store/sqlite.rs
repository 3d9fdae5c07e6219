//! The store of one controller: a SQLite file that anyone can open, and that needs no server.
//!
//! Commits are written ahead (WAL) and synced before they return. Triggers keep the audit log from
//! being changed by accident; against intent there are its hashes.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params,
};

use crate::audit::{Draft, Entry, Head};
use crate::store::{Change, Commit, Document, Kind, Store, StoreError, Version};

/// A store in a SQLite file.
///
/// One connection, so one writer in this process; other processes wait for their turn.
#[derive(Debug)]
pub struct SqliteStore(Mutex<Connection>);

impl SqliteStore {
    /// Opens the file, or makes it for its owner alone; brings an older layout up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, &LAYOUT)
    }

    /// `layout` has one script for each step from an empty file on.
    fn open_with(path: &Path, layout: &[&str]) -> Result<Self, StoreError> {
        let made = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        made.map_err(|error| SqliteError::File(path.to_owned(), error))?;
        let mut connection = Connection::open(path).map_err(SqliteError::Engine)?;
        connection.busy_timeout(BUSY).map_err(SqliteError::Engine)?;
        // Half a key that was revoked shall not lie about in pages that are free.
        connection.pragma_update(None, "secure_delete", true).map_err(SqliteError::Engine)?;
        update_layout(&mut connection, path, layout)?;
        Ok(Self(Mutex::new(connection)))
    }

    /// A panic in a transaction rolls it back, so what is behind the lock is whole.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for SqliteStore {
    fn read(&self, kind: Kind, key: &str) -> Result<Option<Document>, StoreError> {
        let connection = self.connection();
        let sql = "SELECT key, version, body FROM document WHERE kind = ?1 AND key = ?2";
        let mut statement = connection.prepare_cached(sql).map_err(SqliteError::Engine)?;
        let found = statement.query_row([kind.word(), key], |row| document(kind, row));
        Ok(found.optional().map_err(SqliteError::Engine)?)
    }

    fn list(&self, kind: Kind) -> Result<Vec<Document>, StoreError> {
        let connection = self.connection();
        let sql = "SELECT key, version, body FROM document WHERE kind = ?1 ORDER BY key";
        let mut statement = connection.prepare_cached(sql).map_err(SqliteError::Engine)?;
        let rows = statement.query_map([kind.word()], |row| document(kind, row));
        Ok(rows.and_then(Iterator::collect).map_err(SqliteError::Engine)?)
    }

    fn commit(&self, changes: &[Change], entries: &[Draft]) -> Result<Commit, StoreError> {
        let mut connection = self.connection();
        // Immediate: what is read for the checks cannot change before it is written.
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(SqliteError::Engine)?;
        let sql = "UPDATE counter SET commits = commits + 1 RETURNING commits";
        let version = transaction.query_row(sql, [], |row| row.get(0).map(Version));
        let version = version.map_err(SqliteError::Engine)?;
        for change in changes {
            make(&transaction, change, version)?;
        }
        let mut head = head(&transaction)?;
        for draft in entries {
            let entry = draft.chain(head).map_err(StoreError::Entry)?;
            append(&transaction, &entry).map_err(SqliteError::Engine)?;
            head = entry.head();
        }
        transaction.commit().map_err(SqliteError::Engine)?;
        if changes.iter().any(|change| change.kind() == Kind::RecorderKey) {
            // The log must not remember it either. While another process reads it cannot be cut;
            // the next commit of that kind, or the end of the controller, does it then.
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            let _ = connection.query_row(sql, [], |_| Ok(()));
        }
        Ok(Commit { version, head })
    }

    fn version(&self) -> Result<Version, StoreError> {
        let sql = "SELECT commits FROM counter";
        let version = self.connection().query_row(sql, [], |row| row.get(0).map(Version));
        Ok(version.map_err(SqliteError::Engine)?)
    }

    fn audit(&self, first: u64, most: usize) -> Result<Vec<Entry>, StoreError> {
        let connection = self.connection();
        let sql = "SELECT seq, hash, body FROM audit WHERE seq >= ?1 ORDER BY seq LIMIT ?2";
        let mut statement = connection.prepare_cached(sql).map_err(SqliteError::Engine)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![first, most], parts).map_err(SqliteError::Engine)?;
        rows.map(|row| entry(row.map_err(SqliteError::Engine)?)).collect()
    }

    fn audit_head(&self) -> Result<Head, StoreError> {
        head(&self.connection())
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// It cannot be opened or made.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, #[source] io::Error),
    /// It is no store of overtap.
    #[error("{} is a database of something else", .0.display())]
    Foreign(PathBuf),
    /// SQLite says no.
    #[error("the store: {0}")]
    Engine(#[source] rusqlite::Error),
}

fn make(to: &Transaction<'_>, change: &Change, version: Version) -> Result<(), StoreError> {
    let (kind, key) = (change.kind().word(), change.key());
    let sql = "SELECT version FROM document WHERE kind = ?1 AND key = ?2";
    let found = to.query_row(sql, [kind, key], |row| row.get(0).map(Version)).optional();
    change.check(found.map_err(SqliteError::Engine)?)?;
    let made = match change.body() {
        Some(body) => to.execute(
            "INSERT OR REPLACE INTO document (kind, key, version, body) VALUES (?1, ?2, ?3, ?4)",
            params![kind, key, version.0, body],
        ),
        None => to.execute("DELETE FROM document WHERE kind = ?1 AND key = ?2", [kind, key]),
    };
    made.map_err(SqliteError::Engine)?;
    Ok(())
}

fn append(to: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let sql = "INSERT INTO audit (seq, hash, body) VALUES (?1, ?2, ?3)";
    to.execute(sql, params![entry.seq, entry.hash.to_string(), entry.body]).map(drop)
}

fn head(from: &Connection) -> Result<Head, StoreError> {
    let sql = "SELECT seq, hash, body FROM audit ORDER BY seq DESC LIMIT 1";
    let last = from.query_row(sql, [], parts).optional().map_err(SqliteError::Engine)?;
    last.map_or(Ok(Head::EMPTY), |last| entry(last).map(|entry| entry.head()))
}

fn document(kind: Kind, row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document { kind, key: row.get(0)?, version: Version(row.get(1)?), body: row.get(2)? })
}

fn parts(row: &Row<'_>) -> rusqlite::Result<(u64, String, String)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn entry((seq, hash, body): (u64, String, String)) -> Result<Entry, StoreError> {
    Ok(Entry { seq, hash: hash.parse().map_err(|_| StoreError::Hash(seq))?, body })
}

/// All steps in one transaction: after a crash the file has the old layout or the new one.
fn update_layout(
    connection: &mut Connection,
    path: &Path,
    layout: &[&str],
) -> Result<(), StoreError> {
    let engine = |error| StoreError::Sqlite(SqliteError::Engine(error));
    // Before anything is written: the file may be somebody else's.
    if !is_ours_or_empty(connection).map_err(engine)? {
        return Err(SqliteError::Foreign(path.to_owned()).into());
    }
    connection.pragma_update(None, "journal_mode", "wal").map_err(engine)?;
    connection.pragma_update(None, "synchronous", "full").map_err(engine)?;
    let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let transaction = begun.map_err(engine)?;
    let found = transaction.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0));
    let found = found.map_err(engine)?;
    let known = u32::try_from(layout.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for script in layout.iter().skip(found.try_into().unwrap_or(usize::MAX)) {
        transaction.execute_batch(script).map_err(engine)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION).map_err(engine)?;
    transaction.pragma_update(None, "user_version", known).map_err(engine)?;
    transaction.commit().map_err(engine)
}

fn is_ours_or_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let found = connection.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0));
    let application = match found {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            return Ok(false);
        }
        found => found?,
    };
    let sql = "SELECT count(*) FROM sqlite_schema";
    let tables: u32 = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(application == APPLICATION || tables == 0)
}

/// What `file` shows, and what tells our files from those of others: `ovtp`.
const APPLICATION: i32 = i32::from_be_bytes(*b"ovtp");

/// How long another process may hold the file before a commit fails.
const BUSY: Duration = Duration::from_secs(10);

/// Step by step what every file went through. A released step is never changed.
const LAYOUT: [&str; 1] = ["
CREATE TABLE counter (commits INTEGER NOT NULL) STRICT;
INSERT INTO counter VALUES (0);
CREATE TABLE document (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE audit (seq INTEGER PRIMARY KEY, hash TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT raise(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
    BEGIN SELECT raise(ABORT, 'the audit log is only added to'); END;
"];

#[cfg(test)]
mod tests;
