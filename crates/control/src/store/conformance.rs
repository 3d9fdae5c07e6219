//! What every store must do, run against each of them.

use jiff::Timestamp;

use super::*;
use crate::audit::{Action, Answer, Who, verify};

/// Opens one more handle on the same storage: another thread, process or controller.
pub(super) type Open<'a> = &'a dyn Fn() -> Box<dyn Store>;

/// One thing a store must do.
type Case = fn(Open<'_>);

/// Runs every case on a storage of its own.
pub(super) fn run(mut with_storage: impl FnMut(&str, &dyn Fn(Open<'_>))) {
    let cases: [(&str, Case); 9] = [
        ("empty", an_empty_store_has_nothing),
        ("documents", documents_are_kept_by_kind_and_key),
        ("expected", a_change_is_made_only_if_the_document_is_as_expected),
        ("atomic", a_commit_is_made_whole_or_not_at_all),
        ("versions", versions_never_come_back),
        ("chain", entries_are_chained_across_handles),
        ("race", of_many_who_change_one_document_at_once_one_succeeds),
        ("text", text_is_kept_to_the_byte),
        ("bounds", what_is_too_large_is_refused_before_it_is_stored),
    ];
    for (name, case) in cases {
        with_storage(name, &|open| case(open));
    }
}

#[test]
fn the_memory_store_conforms() {
    run(|_, case| {
        let store = MemoryStore::default();
        case(&|| Box::new(store.clone()));
    });
}

fn put(key: &str, body: &str, expected: Expected) -> Change {
    Change::write(Kind::Session, key.to_owned(), body.to_owned(), expected).unwrap()
}

fn draft(subject: &str) -> Draft {
    Draft {
        at: Timestamp::UNIX_EPOCH,
        who: Who::Controller,
        from: "local".to_owned(),
        action: Action::Session,
        subject: subject.to_owned(),
        machines: vec![],
        answer: Answer::Granted,
        reason: String::new(),
    }
}

fn body(store: &dyn Store, key: &str) -> Option<String> {
    store.read(Kind::Session, key).unwrap().map(|document| document.body)
}

fn is_conflict<T>(result: Result<T, StoreError>, about: &str) -> bool {
    matches!(result, Err(StoreError::Conflict { kind: Kind::Session, key }) if key == about)
}

fn an_empty_store_has_nothing(open: Open<'_>) {
    let store = open();
    for kind in Kind::ALL {
        assert_eq!(store.list(kind).unwrap(), []);
        assert_eq!(store.read(kind, "a").unwrap(), None);
    }
    assert_eq!(store.version().unwrap(), Version(0));
    assert_eq!(store.audit_head().unwrap(), Head::EMPTY);
    assert_eq!(store.audit(0, 10).unwrap(), []);
}

fn documents_are_kept_by_kind_and_key(open: Open<'_>) {
    let store = open();
    let other = Change::write(Kind::Agent, "b".into(), "{}".into(), Expected::Anything).unwrap();
    let changes = [
        put("b", "1", Expected::Anything),
        put("a", "2", Expected::Anything),
        put("B", "3", Expected::Anything),
        put("ä", "4", Expected::Anything),
        other,
    ];
    let version = store.commit(&changes, &[]).unwrap().version;
    let again = open();
    assert_eq!(again.version().unwrap(), version);
    let found: Vec<_> = again.list(Kind::Session).unwrap();
    let keys: Vec<_> = found.iter().map(|d| (d.key.as_str(), d.body.as_str())).collect();
    assert_eq!(keys, [("B", "3"), ("a", "2"), ("b", "1"), ("ä", "4")], "in the order of bytes");
    assert!(found.iter().all(|document| document.version == version));
    assert_eq!(again.list(Kind::Agent).unwrap().len(), 1);
    let gone = Change::remove(Kind::Session, "a".into(), Expected::Anything).unwrap();
    again.commit(std::slice::from_ref(&gone), &[]).unwrap();
    assert_eq!(body(&*store, "a"), None);
    store.commit(&[gone], &[]).expect("to remove what is not there is no fault");
}

fn a_change_is_made_only_if_the_document_is_as_expected(open: Open<'_>) {
    let store = open();
    let first = store.commit(&[put("a", "1", Expected::Absent)], &[]).unwrap().version;
    assert!(is_conflict(store.commit(&[put("a", "2", Expected::Absent)], &[]), "a"));
    let second = store.commit(&[put("a", "2", Expected::Version(first))], &[]).unwrap().version;
    let late = store.commit(&[put("a", "3", Expected::Version(first))], &[]);
    assert!(is_conflict(late, "a"));
    let remove = |version| {
        let expected = Expected::Version(version);
        Change::remove(Kind::Session, "a".into(), expected).unwrap()
    };
    assert!(is_conflict(store.commit(&[remove(first)], &[]), "a"));
    assert_eq!(body(&*store, "a").as_deref(), Some("2"));
    store.commit(&[remove(second)], &[]).unwrap();
    assert!(is_conflict(store.commit(&[remove(second)], &[]), "a"));
    assert!(is_conflict(store.commit(&[put("b", "1", Expected::Version(second))], &[]), "b"));
}

fn a_commit_is_made_whole_or_not_at_all(open: Open<'_>) {
    let store = open();
    store.commit(&[put("a", "1", Expected::Absent)], &[draft("first")]).unwrap();
    let (version, head) = (store.version().unwrap(), store.audit_head().unwrap());
    let changes = [put("b", "1", Expected::Absent), put("a", "2", Expected::Absent)];
    assert!(is_conflict(store.commit(&changes, &[draft("second")]), "a"));
    assert_eq!(body(&*store, "b"), None);
    assert_eq!((store.version().unwrap(), store.audit_head().unwrap()), (version, head));
    // Within a commit later changes see earlier ones.
    let changes = [put("c", "1", Expected::Absent), put("c", "2", Expected::Absent)];
    assert!(is_conflict(store.commit(&changes, &[]), "c"));
}

fn versions_never_come_back(open: Open<'_>) {
    let store = open();
    let first = store.commit(&[put("a", "1", Expected::Absent)], &[]).unwrap().version;
    let gone = Change::remove(Kind::Session, "a".into(), Expected::Anything).unwrap();
    let removed = store.commit(&[gone], &[]).unwrap().version;
    let again = open().commit(&[put("a", "1", Expected::Absent)], &[]).unwrap().version;
    assert!(first < removed && removed < again);
    assert!(is_conflict(store.commit(&[put("a", "2", Expected::Version(first))], &[]), "a"));
}

fn entries_are_chained_across_handles(open: Open<'_>) {
    let (left, right) = (open(), open());
    for number in 0..5 {
        let drafts = [draft(&format!("l{number}")), draft(&format!("L{number}"))];
        left.commit(&[], &drafts).unwrap();
        let commit = right.commit(&[], &[draft(&format!("r{number}"))]).unwrap();
        assert_eq!(left.audit_head().unwrap(), commit.head);
    }
    let entries = left.audit(1, 100).unwrap();
    let found = verify(&entries, &[right.audit_head().unwrap()]).unwrap();
    assert_eq!((found.head.seq, found.vouched), (15, 15));
    let page: Vec<u64> = right.audit(4, 3).unwrap().iter().map(|entry| entry.seq).collect();
    assert_eq!(page, [4, 5, 6]);
    assert_eq!(right.audit(16, 3).unwrap(), []);
}

fn of_many_who_change_one_document_at_once_one_succeeds(open: Open<'_>) {
    let first = open().commit(&[put("a", "0", Expected::Absent)], &[]).unwrap().version;
    let stores: Vec<_> = (0..4).map(|_| open()).collect();
    let change = |store: &dyn Store, number: usize| {
        let change = put("a", &number.to_string(), Expected::Version(first));
        let done = store.commit(&[change], &[draft(&number.to_string())]);
        assert!(done.is_ok() || is_conflict(done, "a"));
    };
    std::thread::scope(|scope| {
        for (number, store) in stores.iter().enumerate() {
            scope.spawn(move || change(&**store, number));
        }
    });
    let store = open();
    let winner = body(&*store, "a").unwrap();
    let entries = store.audit(1, 10).unwrap();
    assert_eq!(entries.len(), 1, "who lost left no entry");
    assert_eq!(entries[0].read().unwrap().subject, winner);
    assert_eq!(store.version().unwrap(), Version(first.0 + 1));
}

fn text_is_kept_to_the_byte(open: Open<'_>) {
    let store = open();
    let text = "{\"x\" :  \"\\u0000 ü \\n\"}";
    store.commit(&[put("a b/c:*%_'\"", text, Expected::Absent)], &[draft("ü\0\n'")]).unwrap();
    let again = open();
    assert_eq!(body(&*again, "a b/c:*%_'\"").as_deref(), Some(text));
    let entries = again.audit(1, 1).unwrap();
    assert_eq!(entries[0].read().unwrap().subject, "ü\0\n'");
    verify(&entries, &[]).unwrap();
}

fn what_is_too_large_is_refused_before_it_is_stored(open: Open<'_>) {
    let new = |key: &str, len: usize| {
        let body = format!("\"{}\"", "x".repeat(len - 2));
        Change::write(Kind::Setting, key.to_owned(), body, Expected::Anything)
    };
    let large = new(&"k".repeat(512), 1 << 20).unwrap();
    open().commit(&[large], &[]).unwrap();
    assert!(matches!(new("k", (1 << 20) + 1), Err(StoreError::TooLarge { .. })));
    for key in ["", "a\nb", "\0", &"k".repeat(513)] {
        assert!(matches!(new(key, 2), Err(StoreError::Key)), "{key:?}");
    }
}
