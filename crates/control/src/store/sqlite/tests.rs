//! What is particular to a file: layouts, other people's files, and `kill -9`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use super::*;
use crate::audit::{Action, Answer, Who, verify};
use crate::store::{Expected, conformance};

#[test]
fn the_sqlite_store_conforms() {
    conformance::run(|_, case| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        case(&|| Box::new(SqliteStore::open(&path).unwrap()));
    });
}

#[test]
fn the_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = SqliteStore::open(&path).unwrap();
    store.commit(&[], &[]).unwrap();
    for file in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn the_audit_log_cannot_be_changed_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = SqliteStore::open(&path).unwrap();
    store.commit(&[], &[draft(1)]).unwrap();
    for sql in ["DELETE FROM audit", "UPDATE audit SET body = ''"] {
        let error = store.connection().execute(sql, []).unwrap_err().to_string();
        assert_eq!(error, "the audit log is only added to", "{sql}");
    }
}

#[test]
fn an_older_layout_is_brought_up_to_date_and_a_newer_one_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let layout = [LAYOUT[0], "ALTER TABLE counter ADD COLUMN spare INTEGER"];
    let first = SqliteStore::open(&path).unwrap().commit(&[change(1)], &[draft(1)]).unwrap();
    let broken = [LAYOUT[0], "CREATE TABLE half (x); no sql"];
    assert!(SqliteStore::open_with(&path, &broken).is_err());
    let old = SqliteStore::open(&path).expect("a step that failed left nothing behind");
    assert_eq!(old.version().unwrap(), first.version);
    let store = SqliteStore::open_with(&path, &layout).unwrap();
    assert_eq!(store.list(Kind::Setting).unwrap().len(), 1);
    assert_eq!(store.audit_head().unwrap(), first.head);
    drop(store);
    let refused = SqliteStore::open(&path);
    assert!(matches!(refused, Err(StoreError::Newer { found: 2, known: 1 })), "{refused:?}");
}

#[test]
fn a_file_of_something_else_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let bytes = fs::read(&path).unwrap();
    let refused = SqliteStore::open(&path);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let is_foreign = |r| matches!(r, Err(StoreError::Sqlite(SqliteError::Foreign(p))) if p == path);
    assert!(is_foreign(refused));
    fs::write(&path, "no database ".repeat(100)).unwrap();
    assert!(is_foreign(SqliteStore::open(&path)));
    let nowhere = SqliteStore::open(&folder.path().join("none/store"));
    assert!(matches!(nowhere, Err(StoreError::Sqlite(SqliteError::File(..)))));
}

#[test]
fn what_was_committed_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut last = 0;
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["store::sqlite::tests::commits_until_it_is_killed", "--exact", "--ignored"])
            .arg("--nocapture")
            .env("OVERTAP_TEST_STORE", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let versions = lines.filter_map(|l| l.unwrap().strip_prefix("made ")?.parse().ok());
        // The pipe may hold more than was asked for; all that was said must be there.
        last = versions.take(50).last().expect("the child commits");
        child.kill().unwrap();
        child.wait().unwrap();
        let store = SqliteStore::open(&path).unwrap();
        assert!(store.version().unwrap() >= Version(last));
        let entries = store.audit(1, usize::MAX).unwrap();
        let documents = store.list(Kind::Setting).unwrap();
        assert_eq!(entries.len(), documents.len(), "a commit is whole");
        assert_eq!(entries.len() as u64, store.version().unwrap().0);
        verify(&entries, &[store.audit_head().unwrap()]).unwrap();
    }
    assert!(last >= 150);
}

/// No test by itself: the one above starts this binary again with this name, to kill it.
#[test]
#[ignore = "the child of what_was_committed_survives_kill_9"]
fn commits_until_it_is_killed() {
    let path = std::env::var_os("OVERTAP_TEST_STORE").unwrap();
    let store = SqliteStore::open(path.as_ref()).unwrap();
    for _ in 0..100_000 {
        let number = store.version().unwrap().0 + 1;
        store.commit(&[change(number)], &[draft(number)]).unwrap();
        println!("made {number}");
    }
}

fn change(number: u64) -> Change {
    let key = format!("{number:08}");
    Change::write(Kind::Setting, key, number.to_string(), Expected::Absent).unwrap()
}

fn draft(number: u64) -> Draft {
    Draft {
        at: jiff::Timestamp::UNIX_EPOCH,
        who: Who::Controller,
        from: "local".to_owned(),
        action: Action::Setting,
        subject: number.to_string(),
        machines: vec![],
        answer: Answer::Granted,
        reason: String::new(),
    }
}
