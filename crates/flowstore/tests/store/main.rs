//! A store as its users see it: rows in, answers out, whatever happens in between.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test may fail this way"
)]

mod engines;
mod made;
mod seen;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use flows::By;
use flowstore::{
    Answer, Ask, FLOW_COLUMNS, Filter, Keep, Kept, Kind, Reader, Rollup, SUM_COLUMNS, Source,
    Store, StoreError, Subject,
};
use wire::Timestamp;

use crate::made::{DAY_S, row};

#[test]
fn sums_and_rows_give_the_same_answers_for_any_minutes() {
    let (_folder, store) = filled(60_000, 200);
    let reader = Reader::open(&store).unwrap();
    let minute = |minute: u64| Timestamp::from_parts(DAY_S + 60 * minute, 0);
    for [from, to] in [[0, 9000], [7, 133], [60, 120], [61, 62], [59, 60], [150, 9000]] {
        for rollup in Rollup::ALL {
            let Rollup::Of(kind) = rollup else { continue };
            let ask =
                |source| Ask { from: minute(from), to: minute(to), source, ..Ask::everything() };
            let [sums, rows] = [Source::Sums, Source::Rows]
                .map(|source| text(kind, &reader.sums(kind, &ask(source)).unwrap()));
            assert_eq!(sums, rows, "{kind:?} in minutes {from} to {to}");
        }
    }
}

#[test]
fn minutes_add_up_to_the_whole() {
    let (_folder, store) = filled(20_000, 300);
    let reader = Reader::open(&store).unwrap();
    let octets = |from: u64, to: u64| {
        let time = |minute| Timestamp::from_parts(DAY_S + 60 * minute, 0);
        let ask = Ask { from: time(from), to: time(to), ..Ask::everything() };
        let kind = Kind::One(Subject::Tenants);
        reader.sums(kind, &ask).unwrap().summary(By::Tenants, 10).totals().octets
    };
    let parts: u64 = (0..100).map(|minute| octets(minute, minute + 1)).sum();
    assert_eq!(parts, octets(0, 100));
}

#[test]
fn small_parts_are_merged_and_nothing_counts_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), &[], clock(0)).unwrap();
    // Every 11 s what waits is due: 30 parts in the first hour, 10 in the next.
    for number in 0..4000 {
        store.add(&row(number, 1200));
        if number % 100 == 0 {
            store.tick(clock(number / 100 * 11));
        }
    }
    store.tick(clock(9000));
    let report = store.close();
    assert_eq!((report.written, report.lost), (4000, 0), "{:?}", report.failures);
    assert!(report.merged > 20, "{} merged", report.merged);
    let flows = parquet_files(&folder.path().join("flows"));
    assert!(flows.len() < 25, "{flows:?}");
    let mut rows = 0;
    let reader = Reader::open(folder.path()).unwrap();
    reader.rows(&Ask::everything(), &mut |_| rows += 1).unwrap();
    assert_eq!(rows, 4000);
}

#[test]
fn what_is_too_old_goes_and_its_sums_stay() {
    let folder = tempfile::tempdir().unwrap();
    let flows: Kept = "flows".parse().unwrap();
    let keep = [(flows, Keep { age_s: 3600, bytes: u64::MAX })];
    let mut store = Store::open(folder.path(), &keep, clock(86_400)).unwrap();
    (0..20_000).for_each(|number| store.add(&row(number, 900)));
    let report = store.close();
    assert!(report.expired >= 3, "{report:?}");
    assert_eq!(parquet_files(&folder.path().join("flows")).len(), 2);
    let reader = Reader::open(folder.path()).unwrap();
    let summary = reader.sums(Kind::One(Subject::Vms), &Ask::everything()).unwrap();
    assert_eq!(summary.summary(By::Vms, 10).totals().flows, 20_000);
    // What was told is remembered: the next one removes nothing more and keeps no longer.
    let mut store = Store::open(folder.path(), &[], clock(86_400)).unwrap();
    store.add(&row(19_999, 900));
    assert_eq!(store.close().expired, 0);
}

#[test]
fn the_oldest_go_when_there_is_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let flows: Kept = "flows".parse().unwrap();
    let keep = [(flows, Keep { age_s: u64::MAX, bytes: 200_000 })];
    let mut store = Store::open(folder.path(), &keep, clock(86_400)).unwrap();
    (0..40_000).for_each(|number| store.add(&row(number, 900)));
    store.close();
    let files = parquet_files(&folder.path().join("flows"));
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(bytes <= 200_000 && !files.is_empty(), "{bytes}");
    let newest = files.iter().max().unwrap().file_name().unwrap().to_owned();
    assert!(newest.to_str().unwrap().starts_with("2026-11-21T09"), "{newest:?}");
}

#[test]
fn a_writer_that_is_killed_leaves_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let mut child = child("writes_until_killed", folder.path(), &[]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let last = lines.by_ref().map_while(Result::ok).nth(20).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(last.contains("added"), "{last}");
        let reader = Reader::open(folder.path()).unwrap();
        let mut rows = 0_u64;
        reader.rows(&Ask::everything(), &mut |_| rows += 1).unwrap();
        assert!(rows > 0);
        let answer = reader.sums(Kind::One(Subject::Apps), &Ask::everything()).unwrap();
        assert_eq!(answer.summary(By::Apps, 10).totals().flows, rows);
    }
    let mut store = Store::open(folder.path(), &[], clock(0)).unwrap();
    assert_eq!(store.close().failures.len(), 0);
    let unfinished = all_files(folder.path())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "unfinished"));
    assert_eq!(unfinished.count(), 0);
}

#[test]
#[ignore = "the child that a_writer_that_is_killed_leaves_whole_files kills"]
fn writes_until_killed() {
    let Some(folder) = std::env::var_os("OVERTAP_TEST_STORE") else { return };
    let mut store = Store::open(Path::new(&folder), &[], clock(0)).unwrap();
    for number in 0.. {
        store.add(&row(number, 50));
        if number % 500 == 0 {
            store.tick(clock(number / 500 * 11));
            println!("added {number}");
        }
    }
}

#[test]
fn a_full_disk_costs_rows_that_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=400k none {}", folder.path().display());
    let is_possible = Command::new("unshare").args(["-m", "sh", "-c", &mount]).status();
    if !is_possible.is_ok_and(|status| status.success()) {
        eprintln!("not tried: a small disk of its own needs root");
        return;
    }
    let child = child("fills_its_disk", folder.path(), &["unshare", "-m", "sh", "-c", &mount]);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("all is well"), "{said}");
}

#[test]
#[ignore = "the child of a_full_disk_costs_rows_that_are_counted, on a disk of its own"]
fn fills_its_disk() {
    let Some(folder) = std::env::var_os("OVERTAP_TEST_STORE") else { return };
    let folder = Path::new(&folder);
    let mut store = Store::open(folder, &[], clock(0)).unwrap();
    for number in 0..60_000 {
        store.add(&row(number, 200));
        if number % 6000 == 0 {
            store.tick(clock(number));
        }
    }
    let report = store.close();
    assert_eq!(report.written + report.lost, 60_000);
    assert!(report.lost > 0 && report.written > 0, "{report:?}");
    assert!(report.failures[0].to_string().contains("No space left"), "{report:?}");
    let mut rows = 0;
    let reader = Reader::open(folder).unwrap();
    reader.rows(&Ask::everything(), &mut |_| rows += 1).unwrap();
    assert_eq!(rows, report.written);
    println!("all is well");
}

#[test]
fn what_a_newer_program_wrote_is_refused() {
    let (_folder, store) = filled(10, 1000);
    let settings = fs::read_to_string(store.join("store.json")).unwrap();
    fs::write(store.join("store.json"), settings.replace("\"version\": 1", "\"version\": 2"))
        .unwrap();
    let said = Reader::open(&store).unwrap_err().to_string();
    assert!(said.contains("was written by a newer overtap (version 2 of the schema"), "{said}");
    let said = Store::open(&store, &[], clock(0)).unwrap_err().to_string();
    assert!(said.contains("newer overtap"), "{said}");
    fs::write(store.join("store.json"), settings).unwrap();
    // A single file: its version is a text in its footer, of one digit.
    let file = parquet_files(&store.join("flows")).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let key = b"overtap.flow_store.version";
    let at = bytes.windows(key.len()).rposition(|window| window == key).unwrap() + key.len();
    let digit = at + bytes[at..].iter().position(|byte| *byte == b'1').unwrap();
    bytes[digit] = b'9';
    fs::write(&file, bytes).unwrap();
    let reader = Reader::open(&store).unwrap();
    let said = reader.rows(&Ask::everything(), &mut |_| {}).unwrap_err();
    assert!(matches!(said, StoreError::Newer { found: 9, .. }), "{said}");
}

#[test]
fn only_one_writes_a_store_and_never_into_others_things() {
    let (_folder, store) = filled(10, 1000);
    let first = Store::open(&store, &[], clock(0)).unwrap();
    assert!(matches!(Store::open(&store, &[], clock(0)), Err(StoreError::InUse(_))));
    drop(first);
    Store::open(&store, &[], clock(0)).unwrap();
    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("thesis.txt"), "x").unwrap();
    assert!(matches!(Store::open(foreign.path(), &[], clock(0)), Err(StoreError::NotAStore(_))));
    assert!(matches!(Reader::open(foreign.path()), Err(StoreError::Missing(_))));
}

#[test]
fn a_condition_takes_the_rows_it_names() {
    let (_folder, store) = filled(20_000, 300);
    let reader = Reader::open(&store).unwrap();
    let filter = Filter::new(vec!["vm=acme/web".parse().unwrap(), "app=tls".parse().unwrap()]);
    let ask = Ask { filter, ..Ask::everything() };
    let mut found = 0;
    reader.rows(&ask, &mut |_| found += 1).unwrap();
    let wanted = (0..20_000)
        .map(|number| row(number, 300))
        .filter(|row| row.app == "tls" && row.ends.iter().any(|end| end.vm == Some("acme/web")));
    assert_eq!(found, wanted.count());
    let summary = reader.sums(Kind::Pair(Subject::Vms), &ask).unwrap().matrix(By::Vms, 100);
    assert!(summary.pairs().0.iter().all(|(ends, _)| ends.contains(&"acme/web")));
}

#[test]
fn the_reference_lists_every_column() {
    let reference = include_str!("../../../../docs/reference/flow-store.md");
    for column in FLOW_COLUMNS.iter().chain(&SUM_COLUMNS) {
        let null = if column.is_nullable { ", null" } else { "" };
        let line = format!("| `{}` | {}{null} |", column.name, column.shape.name());
        assert!(reference.contains(&line), "no line {line}");
    }
}

fn filled(rows: u64, step_ms: u64) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut store = Store::open(&path, &[], clock(0)).unwrap();
    (0..rows).for_each(|number| store.add(&row(number, step_ms)));
    let report = store.close();
    assert_eq!((report.written, report.lost), (rows, 0), "{:?}", report.failures);
    (folder, path)
}

fn clock(seconds: u64) -> Timestamp {
    Timestamp::from_parts(DAY_S, 0).saturating_add(Duration::from_secs(seconds))
}

/// An answer as text, everything in it.
fn text(kind: Kind, answer: &Answer) -> String {
    match kind {
        Kind::One(_) => {
            let summary = answer.summary(By::Vms, 1000);
            format!("{:#?}{:#?}", summary.rows(), summary.totals())
        }
        Kind::Pair(_) => {
            let matrix = answer.matrix(By::Vms, 1000);
            format!("{:#?}{:#?}", matrix.pairs(), matrix.totals())
        }
    }
}

/// A test of this file as a process of its own.
fn child(test: &str, store: &Path, before: &[&str]) -> std::process::Child {
    let own = std::env::current_exe().unwrap();
    let words = ["--ignored", "--exact", test, "--nocapture"];
    let mut command = match before {
        [] => Command::new(own),
        [program, words @ .., script] => {
            let mut command = Command::new(program);
            command.args(words).arg(format!("{script} && exec \"$0\" \"$@\"")).arg(own);
            command
        }
        [program] => Command::new(program),
    };
    command.args(words).env("OVERTAP_TEST_STORE", store).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    let files = all_files(folder).into_iter();
    files.filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).collect()
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(all_files(&path)) } else { found.push(path) }
    }
    found
}
