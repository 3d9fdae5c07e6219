//! What grants allow: single cases by hand, and the rules that hold for all cases.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn user(role: Role) -> User {
    User {
        name: "ann".parse().unwrap(),
        role,
        is_enabled: true,
        made_by: "root".parse().unwrap(),
        made_at: at(0),
        note: String::new(),
    }
}

fn grant(machines: &[&str]) -> Grant {
    Grant {
        id: GrantId::random().unwrap(),
        to: "ann".parse().unwrap(),
        machines: machines.iter().map(|m| m.parse().unwrap()).collect(),
        purposes: BTreeSet::from([Purpose::Capture]),
        snaplen: Snaplen::WHOLE,
        longest: None,
        from: None,
        until: None,
        needs_reason: false,
        made_by: "root".parse().unwrap(),
        made_at: at(0),
        note: String::new(),
    }
}

fn machine(id: &str, name: &str, tenant: Option<&str>) -> MachineFacts {
    let id = format!("written:{id}").parse().unwrap();
    MachineFacts { id, name: name.to_owned(), tenant: tenant.map(str::to_owned) }
}

fn capture(machines: Vec<MachineFacts>) -> Ask {
    Ask {
        purpose: Purpose::Capture,
        asked: Asked::Machines(machines),
        snaplen: None,
        duration: None,
        past: None,
        reason: String::new(),
    }
}

fn growing(selection: &str, present: Vec<MachineFacts>) -> Ask {
    let selection = vec![selection.parse().unwrap()];
    Ask { asked: Asked::Growing { selection, present }, ..capture(vec![]) }
}

fn decide(grants: &[Grant], ask: &Ask, second: i64) -> Result<Permit, Refusal> {
    Grants::new(grants.to_vec()).decide(&user(Role::Operator), ask, at(second))
}

fn not_granted(what: &str) -> Refusal {
    Refusal::NotGranted { purpose: Purpose::Capture, what: vec![what.to_owned()] }
}

#[test]
fn without_a_grant_nobody_sees_anything() {
    let ask = capture(vec![machine("1", "web", Some("acme"))]);
    for role in Role::ALL.into_iter().filter(|role| role.may(Purpose::Capture)) {
        let refused = Grants::default().decide(&user(role), &ask, at(0));
        assert_eq!(refused, Err(not_granted("web")), "{role}");
    }
    let somebody_elses = Grant { to: "bob".parse().unwrap(), ..grant(&["all"]) };
    assert_eq!(decide(&[somebody_elses], &ask, 0), Err(not_granted("web")));
    assert_eq!(decide(&[grant(&["all"])], &capture(vec![]), 0), Err(Refusal::Nothing));
}

#[test]
fn one_machine_of_another_tenant_refuses_the_whole_ask() {
    let grants = [grant(&["tenant:acme"])];
    let own = machine("1", "web", Some("acme"));
    let other = machine("2", "db", Some("other"));
    assert!(decide(&grants, &capture(vec![own.clone()]), 0).is_ok());
    assert_eq!(decide(&grants, &capture(vec![own, other]), 0), Err(not_granted("db")));
}

#[test]
fn a_disabled_account_and_a_role_too_small_get_nothing() {
    let grants = Grants::new(vec![grant(&["all"])]);
    let web = machine("1", "web", None);
    let ask = capture(vec![web.clone()]);
    let viewer = user(Role::Viewer);
    let refusal = Refusal::Role { role: Role::Viewer, purpose: Purpose::Capture };
    assert_eq!(grants.decide(&viewer, &ask, at(0)), Err(refusal));
    assert!(grants.shows(&viewer, &web, at(0)), "who may capture it may find it");
    let disabled = User { is_enabled: false, ..user(Role::Admin) };
    let refusal = Refusal::Disabled(disabled.name.clone());
    assert_eq!(grants.decide(&disabled, &ask, at(0)), Err(refusal));
    assert!(!grants.shows(&disabled, &web, at(0)));
}

#[test]
fn a_vm_that_changes_hands_in_mid_session_is_out_at_once() {
    let web = machine("1", "web", Some("acme"));
    let sold = machine("1", "web", Some("other"));
    let orphan = machine("1", "web", None);
    for machines in ["tenant:acme", "vm:*/web", "id:written:1", "all"] {
        let permit = decide(&[grant(&[machines])], &capture(vec![web.clone()]), 0).unwrap();
        assert_eq!(permit.covers(&web, at(1)), Ok(Snaplen::WHOLE));
        assert_eq!(permit.covers(&sold, at(1)), Err(Uncovered::OtherOwner), "{machines}");
        assert_eq!(permit.covers(&orphan, at(1)), Err(Uncovered::OtherOwner), "{machines}");
    }
}

#[test]
fn a_vm_renamed_out_of_its_grant_is_out() {
    let permit = decide(&[grant(&["vm:web-*"])], &capture(vec![machine("1", "web-1", None)]), 0);
    let renamed = machine("1", "db-1", None);
    assert_eq!(permit.unwrap().covers(&renamed, at(1)), Err(Uncovered::NotGranted));
}

#[test]
fn a_growing_selection_takes_what_comes_and_loses_what_goes() {
    let grants = [grant(&["tenant:acme"])];
    let permit = decide(&grants, &growing("vm:acme/web-*", vec![]), 0).unwrap();
    assert_eq!(permit.covers(&machine("7", "web-7", Some("acme")), at(9)), Ok(Snaplen::WHOLE));
    for other in [
        machine("7", "web-7", Some("other")),
        machine("7", "web-7", None),
        machine("8", "db-8", Some("acme")),
    ] {
        assert_eq!(permit.covers(&other, at(9)), Err(Uncovered::NotAsked), "{other:?}");
    }
}

#[test]
fn a_machine_named_by_id_is_out_when_it_changes_hands_among_growing_ones_too() {
    let grants = [grant(&["id:written:1", "tenant:acme"])];
    let own = machine("1", "web", Some("lab"));
    let selection = ["id:written:1", "tenant:acme"].map(|s| s.parse().unwrap()).to_vec();
    let asked = Asked::Growing { selection, present: vec![own.clone()] };
    let permit = decide(&grants, &Ask { asked, ..capture(vec![]) }, 0).unwrap();
    assert_eq!(permit.covers(&own, at(1)), Ok(Snaplen::WHOLE));
    let sold = machine("1", "web", Some("other"));
    assert_eq!(permit.covers(&sold, at(1)), Err(Uncovered::OtherOwner));
    assert_eq!(permit.covers(&machine("2", "db", Some("acme")), at(1)), Ok(Snaplen::WHOLE));
}

#[test]
fn a_growing_selection_must_lie_within_a_grant_even_while_it_is_empty() {
    let grants = [grant(&["tenant:acme", "vm:lab-*"])];
    for selection in ["tenant:other", "all", "vm:*/web-*", "vm:*", "id:written:1"] {
        let refused = decide(&grants, &growing(selection, vec![]), 0);
        assert_eq!(refused, Err(not_granted(selection)));
    }
    let foreign = machine("2", "web", Some("other"));
    let refused = decide(&grants, &growing("tenant:acme", vec![foreign]), 0);
    assert_eq!(refused, Err(not_granted("web")));
}

#[test]
fn headers_of_one_and_whole_packets_of_another_are_not_mixed() {
    let headers = Grant { snaplen: Snaplen::HEADERS, ..grant(&["tenant:acme"]) };
    let whole = grant(&["vm:acme/web"]);
    let (web, db) = (machine("1", "web", Some("acme")), machine("2", "db", Some("acme")));
    let grants = [headers, whole];
    let permit = decide(&grants, &capture(vec![web.clone(), db.clone()]), 0).unwrap();
    assert_eq!(permit.covers(&web, at(1)), Ok(Snaplen::WHOLE));
    assert_eq!(permit.covers(&db, at(1)), Ok(Snaplen::HEADERS));
    let wide = Ask { snaplen: Some(Snaplen::WHOLE), ..capture(vec![web, db]) };
    let refusal = Refusal::TooMuch {
        purpose: Purpose::Capture,
        machine: "db".to_owned(),
        most: vec!["128 bytes of each packet".to_owned()],
    };
    assert_eq!(decide(&grants, &wide, 0), Err(refusal));
}

#[test]
fn the_time_of_one_grant_is_not_mixed_with_the_snaplen_of_another() {
    let brief = Grant { longest: Some(SignedDuration::from_secs(10)), ..grant(&["all"]) };
    let headers = Grant { snaplen: Snaplen::HEADERS, until: Some(at(100)), ..grant(&["all"]) };
    let grants = [brief, headers];
    let web = machine("1", "web", None);
    let ask = |snaplen, seconds| {
        let duration = Some(SignedDuration::from_secs(seconds));
        decide(&grants, &Ask { snaplen, duration, ..capture(vec![web.clone()]) }, 0)
    };
    assert!(ask(Some(Snaplen::WHOLE), 10).is_ok());
    assert!(ask(Some(Snaplen::HEADERS), 100).is_ok());
    assert!(ask(None, 101).is_err());
    let error = ask(Some(Snaplen::WHOLE), 11).unwrap_err().to_string();
    assert_eq!(
        error,
        "no grant lets you capture web so far; the most is: whole packets for 10s, \
         128 bytes of each packet until 1970-01-01T00:01:40Z"
    );
    // As much as may be, as long as may be: whole packets first, headers after.
    let permit = decide(&grants, &capture(vec![web.clone()]), 0).unwrap();
    assert_eq!(permit.until(), Some(at(100)));
    let seen = [9, 10, 99, 100].map(|second| permit.covers(&web, at(second)));
    let headers = Ok(Snaplen::HEADERS);
    assert_eq!(seen, [Ok(Snaplen::WHOLE), headers, headers, Err(Uncovered::Over)]);
}

#[test]
fn a_grant_begins_and_ends_at_its_times() {
    let grants = [Grant { from: Some(at(10)), until: Some(at(20)), ..grant(&["all"]) }];
    let ask = capture(vec![machine("1", "web", None)]);
    let is_granted = [9, 10, 19, 20].map(|second| decide(&grants, &ask, second).is_ok());
    assert_eq!(is_granted, [false, true, true, false]);
    assert_eq!(decide(&grants, &ask, 15).unwrap().until(), Some(at(20)));
}

#[test]
fn the_past_goes_no_further_back_than_a_grant() {
    let brief = Grant { longest: Some(SignedDuration::from_secs(10)), ..grant(&["all"]) };
    let young = Grant { from: Some(at(95)), snaplen: Snaplen::HEADERS, ..grant(&["all"]) };
    let web = machine("1", "web", None);
    let ask = |grants: &[Grant], seconds| {
        let past = Some(SignedDuration::from_secs(seconds));
        decide(grants, &Ask { past, ..capture(vec![web.clone()]) }, 100)
    };
    let is_granted =
        |grant: &Grant| [5, 6, 10, 11].map(|s| ask(std::slice::from_ref(grant), s).is_ok());
    assert_eq!(is_granted(&brief), [true, true, true, false]);
    assert_eq!(is_granted(&young), [true, false, false, false]);
    // A grant that does not go so far has no part in the permit.
    let permit = ask(&[brief, young, grant(&["id:written:1"])], 60).unwrap();
    assert_eq!(permit.grants().count(), 1);
    let acme = machine("1", "web", Some("acme"));
    assert_eq!(permit.covers(&acme, at(100)), Err(Uncovered::OtherOwner), "it was acme's then");
}

#[test]
fn a_reason_is_given_where_it_must_be() {
    let careful = Grant { needs_reason: true, ..grant(&["all"]) };
    let headers = Grant { snaplen: Snaplen::HEADERS, ..grant(&["all"]) };
    let web = machine("1", "web", None);
    let ask = |reason: &str| Ask { reason: reason.to_owned(), ..capture(vec![web.clone()]) };
    let refusal = Refusal::NeedsReason { purpose: Purpose::Capture, machine: "web".to_owned() };
    assert_eq!(decide(std::slice::from_ref(&careful), &ask(" \t"), 0), Err(refusal));
    let grants = [careful, headers];
    let width = |reason| decide(&grants, &ask(reason), 0).unwrap().covers(&web, at(1));
    assert_eq!(width(""), Ok(Snaplen::HEADERS), "a grant that wants a reason adds nothing");
    assert_eq!(width("ticket 7"), Ok(Snaplen::WHOLE));
}

#[test]
fn a_permit_with_a_word_from_the_future_is_no_permit() {
    let permit = decide(&[grant(&["all"])], &capture(vec![machine("1", "web", None)]), 0).unwrap();
    let text = serde_json::to_string(&permit).unwrap();
    assert_eq!(serde_json::from_str::<Permit>(&text).unwrap(), permit);
    let newer = text.replacen('{', r#"{"only_on_sundays":true,"#, 1);
    assert!(serde_json::from_str::<Permit>(&newer).is_err());
}

fn any_machine() -> impl Strategy<Value = MachineFacts> {
    let tenants = select(vec![None, Some("a"), Some("b")]);
    (select(vec!["1", "2", "3"]), select(vec!["web-1", "web-2", "db"]), tenants)
        .prop_map(|(id, name, tenant)| machine(id, name, tenant))
}

const SELECTORS: [&str; 10] = [
    "all",
    "tenant:a",
    "tenant:b",
    "vm:web-*",
    "vm:a/web-*",
    "vm:*/db",
    "vm:b/*",
    "id:written:1",
    "id:written:2",
    "vm:a/web-?",
];

fn any_time() -> impl Strategy<Value = Option<i64>> {
    proptest::option::of(0..40_i64)
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let snaplen = select(vec![Snaplen::new(64).unwrap(), Snaplen::HEADERS, Snaplen::WHOLE]);
    let machines = subsequence(SELECTORS.to_vec(), 0..3);
    let purposes = subsequence(Purpose::ALL.to_vec(), 0..3);
    let who = select(vec!["ann", "bob"]);
    (machines, purposes, snaplen, any_time(), any_time(), any_time(), any::<bool>(), who).prop_map(
        |(machines, purposes, snaplen, longest, from, until, needs_reason, to)| Grant {
            purposes: purposes.into_iter().collect(),
            snaplen,
            longest: longest.map(SignedDuration::from_secs),
            from: from.map(at),
            until: until.map(at),
            needs_reason,
            to: to.parse().unwrap(),
            ..grant(&machines)
        },
    )
}

fn any_ask() -> impl Strategy<Value = Ask> {
    let machines = proptest::collection::vec(any_machine(), 0..3);
    let growing = subsequence(SELECTORS.to_vec(), 1..3);
    let asked =
        (machines, proptest::option::weighted(0.3, growing)).prop_map(|(machines, words)| {
            let Some(words) = words else { return Asked::Machines(machines) };
            let selection: Vec<Selector> = words.iter().map(|w| w.parse().unwrap()).collect();
            let is_selected = |m: &MachineFacts| selection.iter().any(|s| s.matches(m));
            let present = machines.into_iter().filter(is_selected).collect();
            Asked::Growing { selection, present }
        });
    let snaplens = vec![None, Snaplen::new(64), Some(Snaplen::WHOLE)];
    (select(Purpose::ALL.to_vec()), asked, select(snaplens), any_time(), select(vec!["", "why"]))
        .prop_map(|(purpose, asked, snaplen, duration, reason)| Ask {
            purpose,
            asked,
            snaplen,
            duration: duration.map(SignedDuration::from_secs),
            past: None,
            reason: reason.to_owned(),
        })
}

/// The widest that one grant alone gives of a machine, by the words of the reference.
fn widest(
    grants: &[Grant],
    ask: &Ask,
    asked_at: i64,
    m: &MachineFacts,
    now: i64,
) -> Option<Snaplen> {
    let gives = |grant: &&Grant| {
        let is_for = grant.purposes.contains(&ask.purpose)
            || (ask.purpose == Purpose::Find && !grant.purposes.is_empty());
        grant.to.as_str() == "ann"
            && is_for
            && grant.machines.iter().any(|s| s.matches(m))
            && grant.from.is_none_or(|from| from <= at(asked_at))
            && grant.until.is_none_or(|until| at(asked_at.max(now)) < until)
            && grant.longest.is_none_or(|most| at(now) < at(asked_at) + most)
            && (!grant.needs_reason || !ask.reason.is_empty())
    };
    grants.iter().filter(gives).map(|grant| grant.snaplen).max()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A permit gives of each machine exactly the widest of its own grants, and never more than
    /// what was asked for.
    #[test]
    fn a_permit_gives_each_machine_its_own_grants_and_nothing_else(
        grants in proptest::collection::vec(any_grant(), 0..5),
        ask in any_ask(), asked_at in 0..20_i64, later in 0..30_i64, m in any_machine(),
    ) {
        let Ok(permit) = decide(&grants, &ask, asked_at) else { return Ok(()) };
        let now = asked_at + later;
        let is_asked = match &ask.asked {
            Asked::Machines(machines) =>
                machines.iter().any(|a| (&a.id, &a.tenant) == (&m.id, &m.tenant)),
            Asked::Growing { selection, present } => selection.iter().any(|s| match s {
                Selector::Id(id) => present.iter().any(|p| {
                    (&p.id, &p.tenant) == (&m.id, &m.tenant) && p.id == *id
                }),
                other => other.matches(&m),
            }),
        };
        let is_in_time = ask.duration.is_none_or(|asked| at(now) < at(asked_at) + asked);
        // A machine renamed after the ask finds only the grants that had a part in it then.
        let is_as_asked = match &ask.asked {
            Asked::Machines(machines) => machines.contains(&m),
            Asked::Growing { .. } => true,
        };
        let most = widest(&grants, &ask, asked_at, &m, now)
            .map(|widest| widest.min(ask.snaplen.unwrap_or(Snaplen::WHOLE)));
        let expected = most.filter(|_| is_asked && is_in_time);
        let given = permit.covers(&m, at(now)).ok();
        if is_as_asked {
            prop_assert_eq!(given, expected);
        } else {
            prop_assert!(given <= expected);
        }
    }

    #[test]
    fn whatever_was_asked_for_and_granted_is_given_when_it_begins(
        grants in proptest::collection::vec(any_grant(), 0..5),
        ask in any_ask(), now in 0..20_i64,
    ) {
        prop_assume!(ask.duration != Some(SignedDuration::ZERO));
        let grants: Vec<Grant> =
            grants.into_iter().filter(|g| g.longest != Some(SignedDuration::ZERO)).collect();
        let Ok(permit) = decide(&grants, &ask, now) else { return Ok(()) };
        let machines = match &ask.asked {
            Asked::Machines(machines) | Asked::Growing { present: machines, .. } => machines,
        };
        for machine in machines {
            let given = permit.covers(machine, at(now));
            prop_assert!(given.is_ok_and(|given| ask.snaplen.is_none_or(|asked| given == asked)));
        }
    }

    #[test]
    fn a_grant_more_takes_nothing_away(
        grants in proptest::collection::vec(any_grant(), 0..4), more in any_grant(),
        ask in any_ask(), now in 0..20_i64, later in 0..30_i64, m in any_machine(),
    ) {
        let Ok(before) = decide(&grants, &ask, now) else { return Ok(()) };
        let mut grants = grants;
        grants.push(more);
        let after = decide(&grants, &ask, now).expect("still granted");
        let later = at(now + later);
        prop_assert!(before.covers(&m, later).ok() <= after.covers(&m, later).ok());
    }

    #[test]
    fn grants_of_one_tenant_never_give_a_packet_of_another(
        words in subsequence(vec!["tenant:a", "vm:a/web-*", "vm:a/*"], 0..3),
        ask in any_ask(), now in 0..20_i64, later in 0..30_i64, m in any_machine(),
    ) {
        let grants = [Grant { purposes: Purpose::ALL.into(), ..grant(&words) }];
        let Ok(permit) = decide(&grants, &ask, now) else { return Ok(()) };
        if permit.covers(&m, at(now + later)).is_ok() {
            prop_assert_eq!(m.tenant.as_deref(), Some("a"));
        }
    }

    #[test]
    fn each_machine_that_is_granted_alone_is_granted_with_others(
        grants in proptest::collection::vec(any_grant(), 0..5),
        ask in any_ask(), now in 0..20_i64,
    ) {
        let Asked::Machines(machines) = &ask.asked else { return Ok(()) };
        let alone = machines.iter().all(|machine| {
            let asked = Asked::Machines(vec![machine.clone()]);
            decide(&grants, &Ask { asked, ..ask.clone() }, now).is_ok()
        });
        prop_assert_eq!(decide(&grants, &ask, now).is_ok(), alone && !machines.is_empty());
    }

    #[test]
    fn a_permit_says_the_same_after_it_was_stored(
        grants in proptest::collection::vec(any_grant(), 0..5), ask in any_ask(),
    ) {
        let Ok(permit) = decide(&grants, &ask, 0) else { return Ok(()) };
        let text = serde_json::to_string(&permit).unwrap();
        prop_assert_eq!(serde_json::from_str::<Permit>(&text).unwrap(), permit);
    }
}

#[test]
fn a_grant_to_capture_shows_flows_to_users_of_every_role() {
    let all = |grant: Grant| Grants::new(vec![grant]);
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        let seen = all(grant(&["tenant:acme"])).traffic(&user(role), at(5)).unwrap();
        assert_eq!(seen.shows(Some("acme"), "web"), Some(true));
        assert_eq!(seen.shows(Some("other"), "web"), None);
        assert_eq!(seen.shows(None, "web"), None);
        assert!(!seen.is_everything());
    }
    let none = [
        Grant { needs_reason: true, ..grant(&["all"]) },
        Grant { purposes: BTreeSet::from([Purpose::Find, Purpose::Mirror]), ..grant(&["all"]) },
        Grant { until: Some(at(5)), ..grant(&["all"]) },
        Grant { to: "bob".parse().unwrap(), ..grant(&["all"]) },
    ];
    for grant in none {
        assert_eq!(all(grant).traffic(&user(Role::Admin), at(5)), None);
    }
    let disabled = User { is_enabled: false, ..user(Role::Admin) };
    assert_eq!(all(grant(&["all"])).traffic(&disabled, at(5)), None);
}

#[test]
fn the_widest_grant_of_a_machine_says_how_much_of_its_flows_is_shown() {
    let headers = Grant { snaplen: Snaplen::HEADERS, ..grant(&["all"]) };
    let both = Grants::new(vec![headers.clone(), grant(&["vm:acme/web-*"])]);
    let seen = both.traffic(&user(Role::Viewer), at(5)).unwrap();
    assert_eq!(seen.shows(Some("acme"), "web-1"), Some(true));
    assert_eq!(seen.shows(Some("acme"), "db-1"), Some(false));
    assert!(!seen.is_everything(), "headers of all machines are not everything");
}

#[test]
fn a_machine_granted_by_its_id_is_shown_by_names_that_nobody_else_has() {
    let granted = Grants::new(vec![grant(&["id:written:1"])]);
    let mut seen = granted.traffic(&user(Role::Viewer), at(5)).unwrap();
    assert!(seen.has_ids());
    assert_eq!(seen.shows(Some("acme"), "web"), None, "not by guessing");
    seen.learn(&BTreeSet::from([
        machine("1", "web", Some("acme")),
        machine("1", "web-old", Some("acme")),
        machine("1", "shared", Some("acme")),
        machine("2", "shared", Some("acme")),
        machine("3", "web", Some("other")),
    ]));
    let shown = |tenant, name| seen.shows(Some(tenant), name);
    assert_eq!([shown("acme", "web"), shown("acme", "web-old")], [Some(true); 2]);
    assert_eq!([shown("acme", "shared"), shown("other", "web")], [None; 2]);
}
