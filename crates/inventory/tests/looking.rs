//! Naming a machine, and asking what was where and when.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod bed;

use bed::{Bed, HOST, at, ip, mac, neighbour, uuid};
use inventory::facts::DomainState;
use inventory::{Look, MatchedBy, Past, Query, Since, Site, Timeline, What, changes};

const M1: &str = "52:54:00:00:00:01";
const M2: &str = "52:54:00:00:00:02";

fn two_vms() -> Bed {
    let mut bed = Bed::new();
    bed.bridge(5, "br0").addresses = vec![(ip("10.0.7.1"), 24)];
    bed.tap(10, "t0", Some(5));
    bed.tap(11, "t1", Some(5));
    bed.qemu(700, "web-1", Some(0x3f), &[(M1, "t0")]);
    bed.qemu(701, "web-10", Some(0x40), &[(M2, "t1")]);
    bed.network(HOST).neighbours = vec![neighbour(M1, "10.0.7.12", 5)];
    bed
}

fn found(site: &Site, text: &str) -> Vec<(String, MatchedBy)> {
    let found = site.find(&Query::parse(text));
    found.matches.iter().map(|m| (m.machine.name.clone(), m.by)).collect()
}

#[test]
fn a_machine_is_found_by_whatever_names_it() {
    let site = two_vms().site();
    for (text, by) in [
        ("web-1", MatchedBy::Name),
        ("3f3f3f3f-3f3f-3f3f-3f3f-3f3f3f3f3f3f", MatchedBy::Id),
        ("52-54-00-00-00-01", MatchedBy::Mac),
        ("10.0.7.12", MatchedBy::Ip),
        ("t0", MatchedBy::Device),
        ("3f3f3", MatchedBy::Prefix),
    ] {
        assert_eq!(found(&site, text), [("web-1".to_owned(), by)], "{text}");
    }
    let both = [("web-1".into(), MatchedBy::Prefix), ("web-10".into(), MatchedBy::Prefix)];
    assert_eq!(found(&site, "WEB"), both);
    assert_eq!(site.find(&Query::parse("wbe-1")).suggestions, ["web-1"]);
    assert!(found(&site, "").is_empty());
}

#[test]
fn what_is_captured_must_be_named_whole() {
    let mut bed = two_vms();
    let site = bed.site();
    assert_eq!(site.one("web-1").unwrap().id.to_string(), format!("uuid:{}", uuid(0x3f)));
    assert_eq!(site.one("3f3f").unwrap().name, "web-1");
    let message = |site: &Site, text| site.one(text).unwrap_err().to_string();
    // web-1 stopped: its name must not become web-10's.
    bed.stop(0);
    assert_eq!(message(&bed.site(), "web-1"), r#"no VM is called "web-1"; did you mean "web-10"?"#);
    assert_eq!(message(&site, "wbe-1"), r#"no VM is called "wbe-1"; did you mean "web-1"?"#);
    assert_eq!(message(&site, "10.9.9.9"), "no VM is known to have address 10.9.9.9");
    bed.qemu(800, "web-10", Some(0x41), &[(M2, "t0")]);
    assert_eq!(
        message(&bed.site(), "web-10"),
        format!(
            r#""web-10" is 2 machines: web-10 (uuid:{}), web-10 (uuid:{}); name one by its id"#,
            uuid(0x40),
            uuid(0x41)
        )
    );
}

#[test]
fn the_old_name_of_a_renamed_vm_is_weaker_than_the_name_of_a_new_one() {
    let mut bed = two_vms();
    bed.domain("blue", 0x3f, DomainState::Running, &[(M1, "t0")]);
    assert_eq!(found(&bed.site(), "web-1"), [("blue".to_owned(), MatchedBy::Alias)]);
    bed.qemu(900, "web-1", Some(7), &[]);
    assert_eq!(found(&bed.site(), "web-1"), [("web-1".to_owned(), MatchedBy::Name)]);
}

#[test]
fn changes_are_told_by_comparing() {
    let mut bed = two_vms();
    let before = bed.site();
    bed.domain("blue", 0x3f, DomainState::Paused, &[(M1, "t7")]);
    bed.network(HOST).links.retain(|l| l.name != "t0");
    bed.tap(12, "t7", Some(5));
    bed.hold(0, "t7");
    bed.stop(1);
    bed.network(HOST).neighbours = vec![neighbour(M1, "10.0.7.13", 5)];
    let after = bed.site();
    let told: Vec<String> =
        changes(at(9), &before.machines, &after.machines).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "web-10: vanished",
            "blue: renamed, was web-1",
            "blue: paused, was running",
            "blue: net0 moved from br0:t0 to br0:t7",
            "blue: net0 has address 10.0.7.13",
            "blue: net0 no longer seen with 10.0.7.12",
        ]
    );
    assert!(changes(at(9), &after.machines, &after.machines).is_empty());
}

#[test]
fn a_title_is_told_when_it_comes_and_when_it_goes() {
    let bed = two_vms();
    let before = bed.site();
    let mut after = before.clone();
    let web = after.machines.iter_mut().find(|machine| machine.name == "web-1").unwrap();
    web.aliases.push("Web shop".into());
    let told = |from: &Site, to: &Site| -> Vec<String> {
        let changes = changes(at(9), &from.machines, &to.machines);
        changes.iter().map(ToString::to_string).collect()
    };
    assert_eq!(told(&before, &after), ["web-1: also called Web shop"]);
    assert_eq!(told(&after, &before), ["web-1: no longer called Web shop"]);
}

/// web-1 moves from t0 to t7 between second 20 and 30 and is gone between 40 and 50.
fn moved() -> (Timeline, Vec<Look>) {
    let mut timeline = Timeline::new(100);
    let mut looks = Vec::new();
    let mut bed = two_vms();
    let mut look = |timeline: &mut Timeline, second, bed: &Bed| {
        looks.extend(timeline.record(at(second), &bed.site()).0);
    };
    look(&mut timeline, 1000, &bed);
    look(&mut timeline, 1020, &bed);
    bed.tap(12, "t7", Some(5));
    bed.hold(0, "t7");
    look(&mut timeline, 1030, &bed);
    look(&mut timeline, 1040, &bed);
    bed.stop(0);
    look(&mut timeline, 1050, &bed);
    (timeline, looks)
}

fn tap(past: &Past) -> String {
    let place = past.machine().unwrap().vnics[0].attachment.clone();
    place.and_then(|a| a.device).unwrap()
}

fn past_of_web_1(timeline: &Timeline, second: u64) -> Option<Past> {
    timeline.past(at(second)).into_iter().find(|p| p.machine().unwrap().name == "web-1")
}

#[test]
fn only_looks_that_found_something_are_kept() {
    let (timeline, looks) = moved();
    let kept: Vec<_> = looks.iter().map(|l| (l.at, l.previous, l.is_whole)).collect();
    assert_eq!(
        kept,
        [
            (at(1000), None, true),
            (at(1030), Some(at(1020)), false),
            (at(1050), Some(at(1040)), false)
        ]
    );
    assert_eq!(timeline.last(), Some(at(1050)));
    assert_eq!(looks[2].gone.len(), 1);
}

#[test]
fn the_past_says_between_which_looks_it_lies() {
    let (timeline, looks) = moved();
    let read_back = looks.iter().map(|l| Look::decode(&l.encode().unwrap()).unwrap());
    let read_back = Timeline::from_looks(read_back.rev(), 100);
    for timeline in [timeline, read_back] {
        let seen = past_of_web_1(&timeline, 1010).unwrap();
        assert!(
            matches!(seen, Past::Seen { from, until, .. } if from == at(1000) && until == at(1020))
        );
        assert_eq!(tap(&seen), "t0");
        let Some(Past::Changed { before, seen, after, noticed }) = past_of_web_1(&timeline, 1025)
        else {
            panic!()
        };
        assert_eq!((seen, noticed), (at(1020), at(1030)));
        assert!(before.is_some() && after.is_some());
        assert_eq!(tap(&past_of_web_1(&timeline, 1035).unwrap()), "t7");
        let leaving = past_of_web_1(&timeline, 1045).unwrap();
        assert!(matches!(leaving, Past::Changed { before: Some(_), after: None, .. }));
        assert_eq!(past_of_web_1(&timeline, 1055), None);
        assert_eq!(timeline.at(at(1055)).unwrap().machines.len(), 1);
        assert_eq!(timeline.at(at(999)), None);
    }
}

#[test]
fn before_the_first_look_only_the_process_knows() {
    let (timeline, _) = moved();
    let past = past_of_web_1(&timeline, 900).unwrap();
    assert!(matches!(&past, Past::BeforeFirstLook { first, .. } if *first == at(1000)));
    assert_eq!(past.machine().unwrap().since, Some(at(700)));
}

#[test]
fn a_bounded_timeline_begins_later() {
    let (_, looks) = moved();
    let timeline = Timeline::from_looks(looks, 2);
    assert_eq!((timeline.folded(), timeline.first()), (1, Some(at(1030))));
    assert_eq!(tap(&past_of_web_1(&timeline, 1035).unwrap()), "t7");
    assert!(matches!(past_of_web_1(&timeline, 1010), Some(Past::BeforeFirstLook { .. })));
    let web_10 = timeline.past(at(1060));
    assert_eq!(web_10.len(), 1, "the one that never changed is still known");
}

#[test]
fn since_when_is_exact_only_while_somebody_watched() {
    let mut timeline = Timeline::new(100);
    let mut bed = two_vms();
    timeline.record(at(1000), &bed.site());
    let since = |timeline: &Timeline, bed: &Bed| timeline.attached_since(&bed.machine("web-1"))[0];
    assert_eq!(since(&timeline, &bed), Some(Since::Before(at(1000))));
    bed.tap(12, "t7", Some(5));
    bed.hold(0, "t7");
    timeline.seen_at(at(1029));
    let (_, changes) = timeline.record(at(1030), &bed.site());
    assert!(matches!(&changes[0].what, What::Moved { to, .. } if to == "br0:t7"));
    assert_eq!(since(&timeline, &bed), Some(Since::At(at(1030))));
    // An address learned later is no new attachment.
    bed.network(HOST).neighbours = vec![neighbour(M1, "10.0.7.99", 5)];
    timeline.record(at(1500), &bed.site());
    assert_eq!(since(&timeline, &bed), Some(Since::At(at(1030))));
    assert_eq!(bed.machine("web-1").vnics[0].mac, Some(mac(M1)));
}
