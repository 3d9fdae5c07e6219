//! What is said to the server.

use ::postgres::{Client, GenericClient, Row, Transaction};

use crate::audit::{Draft, Entry, Head};
use crate::store::postgres::PostgresError;
use crate::store::{Change, Commit, Document, Kind, StoreError, Version};

type Asked<T> = Result<T, StoreError>;

pub(super) fn read(client: &mut Client, kind: Kind, key: &str) -> Asked<Option<Document>> {
    let sql = "SELECT key, version, body FROM overtap.document WHERE kind = $1 AND key = $2";
    let found = client.query_opt(sql, &[&kind.word(), &key]).map_err(PostgresError::Engine)?;
    found.map(|row| document(kind, &row)).transpose()
}

pub(super) fn list(client: &mut Client, kind: Kind) -> Asked<Vec<Document>> {
    let sql = "SELECT key, version, body FROM overtap.document WHERE kind = $1 ORDER BY key";
    let found = client.query(sql, &[&kind.word()]).map_err(PostgresError::Engine)?;
    found.iter().map(|row| document(kind, row)).collect()
}

pub(super) fn commit(client: &mut Client, changes: &[Change], drafts: &[Draft]) -> Asked<Commit> {
    let mut transaction = client.transaction().map_err(PostgresError::Engine)?;
    // Holds the one row until the end, so what is read from here on is what stays.
    let sql = "UPDATE overtap.counter SET commits = commits + 1 RETURNING commits";
    let row = transaction.query_one(sql, &[]).map_err(PostgresError::Engine)?;
    let version = Version(number(&row, 0)?);
    for change in changes {
        make(&mut transaction, change, version)?;
    }
    let mut head = head(&mut transaction)?;
    for draft in drafts {
        let entry = draft.chain(head).map_err(StoreError::Entry)?;
        append(&mut transaction, &entry)?;
        head = entry.head();
    }
    transaction.commit().map_err(PostgresError::Engine)?;
    Ok(Commit { version, head })
}

pub(super) fn version(client: &mut Client) -> Asked<Version> {
    let row = client.query_one("SELECT commits FROM overtap.counter", &[]);
    number(&row.map_err(PostgresError::Engine)?, 0).map(Version)
}

pub(super) fn audit(client: &mut Client, first: u64, most: usize) -> Asked<Vec<Entry>> {
    let sql = "SELECT seq, hash, body FROM overtap.audit WHERE seq >= $1 ORDER BY seq LIMIT $2";
    let first = i64::try_from(first).unwrap_or(i64::MAX);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = client.query(sql, &[&first, &most]).map_err(PostgresError::Engine)?;
    rows.iter().map(entry).collect()
}

pub(super) fn head(client: &mut impl GenericClient) -> Asked<Head> {
    let sql = "SELECT seq, hash, body FROM overtap.audit ORDER BY seq DESC LIMIT 1";
    let last = client.query_opt(sql, &[]).map_err(PostgresError::Engine)?;
    last.map_or(Ok(Head::EMPTY), |row| entry(&row).map(|entry| entry.head()))
}

/// Brings the layout up to date, in one transaction; controllers that start at once take turns.
pub(super) fn prepare(client: &mut Client) -> Asked<()> {
    let mut transaction = client.transaction().map_err(PostgresError::Engine)?;
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK})");
    transaction.batch_execute(&lock).map_err(PostgresError::Engine)?;
    let sql = "SELECT to_regclass('overtap.layout') IS NOT NULL";
    let row = transaction.query_one(sql, &[]).map_err(PostgresError::Engine)?;
    let found: i32 = if row.try_get(0).map_err(PostgresError::Engine)? {
        let row = transaction.query_one("SELECT step FROM overtap.layout", &[]);
        row.and_then(|row| row.try_get(0)).map_err(PostgresError::Engine)?
    } else {
        0
    };
    let found = u32::try_from(found).map_err(|_| PostgresError::Number)?;
    let known = u32::try_from(LAYOUT.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    if found == known {
        return Ok(());
    }
    for script in LAYOUT.iter().skip(found.try_into().unwrap_or(usize::MAX)) {
        transaction.batch_execute(script).map_err(PostgresError::Engine)?;
    }
    let step = format!("UPDATE overtap.layout SET step = {known}");
    transaction.batch_execute(&step).map_err(PostgresError::Engine)?;
    transaction.commit().map_err(PostgresError::Engine)?;
    Ok(())
}

fn make(to: &mut Transaction<'_>, change: &Change, version: Version) -> Asked<()> {
    let (kind, key) = (change.kind().word(), change.key());
    let sql = "SELECT version FROM overtap.document WHERE kind = $1 AND key = $2";
    let found = to.query_opt(sql, &[&kind, &key]).map_err(PostgresError::Engine)?;
    change.check(found.map(|row| number(&row, 0)).transpose()?.map(Version))?;
    let version = i64::try_from(version.0).map_err(|_| PostgresError::Number)?;
    let made = match change.body() {
        Some(body) => to.execute(
            "INSERT INTO overtap.document (kind, key, version, body) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (kind, key) DO UPDATE SET version = $3, body = $4",
            &[&kind, &key, &version, &body],
        ),
        None => {
            to.execute("DELETE FROM overtap.document WHERE kind = $1 AND key = $2", &[&kind, &key])
        }
    };
    made.map_err(PostgresError::Engine)?;
    Ok(())
}

fn append(to: &mut Transaction<'_>, entry: &Entry) -> Asked<()> {
    let seq = i64::try_from(entry.seq).map_err(|_| PostgresError::Number)?;
    let sql = "INSERT INTO overtap.audit (seq, hash, body) VALUES ($1, $2, $3)";
    let hash = entry.hash.to_string();
    to.execute(sql, &[&seq, &hash, &entry.body]).map_err(PostgresError::Engine)?;
    Ok(())
}

fn document(kind: Kind, row: &Row) -> Asked<Document> {
    let (key, body) = (text(row, 0)?, text(row, 2)?);
    Ok(Document { kind, key, version: Version(number(row, 1)?), body })
}

fn entry(row: &Row) -> Asked<Entry> {
    let seq = number(row, 0)?;
    let hash = text(row, 1)?.parse().map_err(|_| StoreError::Hash(seq))?;
    Ok(Entry { seq, hash, body: text(row, 2)? })
}

fn text(row: &Row, column: usize) -> Asked<String> {
    Ok(row.try_get(column).map_err(PostgresError::Engine)?)
}

fn number(row: &Row, column: usize) -> Asked<u64> {
    let found: i64 = row.try_get(column).map_err(PostgresError::Engine)?;
    Ok(u64::try_from(found).map_err(|_| PostgresError::Number)?)
}

/// Names the lock that a controller holds while it changes the layout: `ovtp`.
const LOCK: u32 = u32::from_be_bytes(*b"ovtp");

/// Step by step what every database went through. A released step is never changed.
///
/// Keys are ordered by their bytes, whatever the database's language.
const LAYOUT: [&str; 1] = ["
CREATE SCHEMA IF NOT EXISTS overtap;
CREATE TABLE overtap.layout (step integer NOT NULL);
INSERT INTO overtap.layout VALUES (0);
CREATE TABLE overtap.counter (commits bigint NOT NULL);
INSERT INTO overtap.counter VALUES (0);
CREATE TABLE overtap.document (
    kind text NOT NULL,
    key text COLLATE \"C\" NOT NULL,
    version bigint NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE TABLE overtap.audit (seq bigint PRIMARY KEY, hash text NOT NULL, body text NOT NULL);
CREATE FUNCTION overtap.only_added_to() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit log is only added to'; END $$;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON overtap.audit
    EXECUTE FUNCTION overtap.only_added_to();
"];
