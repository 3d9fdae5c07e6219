//! What somebody sees who may see the machines of one tenant, and the flows behind a number.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use flows::By;
use flowstore::{Ask, Filter, Kind, Rank, Reader, Shown, Sight, Source, StoredRow, Subject, Value};
use wire::Timestamp;

use crate::filled;
use crate::made::{DAY_S, row};

/// All of one tenant, headers of another.
#[derive(Debug)]
struct Only(&'static str, Option<&'static str>);

impl Sight for Only {
    fn of(&self, tenant: Option<&str>, vm: &str) -> Shown {
        assert!(tenant.is_none_or(|tenant| vm.starts_with(tenant)));
        match tenant {
            Some(tenant) if tenant == self.0 => Shown::Whole,
            tenant if tenant.is_some() && tenant == self.1 => Shown::Headers,
            _ => Shown::Nothing,
        }
    }
}

fn seen_by(sight: Only) -> Ask {
    Ask { sight: Some(Arc::new(sight)), ..Ask::everything() }
}

fn text(row: &StoredRow<'_>, name: &str) -> Option<String> {
    let value = row.values().find(|(column, _)| column.name == name).unwrap().1;
    match value {
        Value::Text(text) => Some(text.to_owned()),
        Value::None => None,
        value => panic!("{name} is {value:?}"),
    }
}

#[test]
fn flows_of_others_are_not_there_and_their_names_neither() {
    let (_folder, store) = filled(20_000, 200);
    let reader = Reader::open(&store).unwrap();
    let (mut shown, mut hidden) = (0, 0);
    reader
        .rows(&seen_by(Only("acme", None)), &mut |row| {
            shown += 1;
            let ends = ["client", "server"].map(|end| {
                let names =
                    ["vm", "tenant", "host"].map(|what| text(row, &format!("{end}_{what}")));
                assert!(names.iter().flatten().all(|name| !name.contains("blue")));
                (names, text(row, &format!("{end}_ip")).unwrap())
            });
            let ours = ends.iter().filter(|(names, _)| names[0].is_some()).count();
            assert!(ours > 0, "{ends:?}");
            for (names, ip) in &ends {
                let is_blue = ["10.0.0.3", "10.0.0.4", "10.0.0.5"].contains(&ip.as_str());
                if is_blue {
                    hidden += 1;
                    assert_eq!(names, &[None, None, None]);
                    assert_eq!(text(row, "split").unwrap(), "unknown");
                    assert_eq!(text(row, "point").unwrap(), "-");
                }
            }
        })
        .unwrap();
    let expected = (0..20_000)
        .map(|number| row(number, 200))
        .filter(|row| row.ends.iter().any(|end| end.tenant == Some("acme")));
    assert_eq!(shown, expected.count());
    assert!(hidden > 1000, "{hidden}");
}

#[test]
fn nobody_learns_a_name_by_asking_for_it() {
    let (_folder, store) = filled(20_000, 200);
    let reader = Reader::open(&store).unwrap();
    let count = |condition: &str| {
        let filter = Filter::new(vec![condition.parse().unwrap()]);
        let mut rows = 0_u64;
        let ask = Ask { filter, ..seen_by(Only("acme", None)) };
        reader.rows(&ask, &mut |_| rows += 1).unwrap();
        rows
    };
    for guess in ["vm=blue/web", "tenant=blue", "host=hv-3", "server=blue/db", "client=blue/db"] {
        assert_eq!(count(guess), 0, "{guess}");
    }
    assert!(count("vm=acme/web") > 0 && count("address=10.0.0.4") > 0);
    assert!(count("split=unknown") > 0 && count("split=intra-host") > 0);
}

#[test]
fn sums_are_of_what_is_shown_by_whatever_name_it_has_then() {
    let (_folder, store) = filled(20_000, 200);
    let reader = Reader::open(&store).unwrap();
    let sum = |ask: &Ask| {
        let answer = reader.sums(Kind::One(Subject::Vms), ask).unwrap();
        answer.summary(By::Vms, 100)
    };
    let summary = sum(&seen_by(Only("acme", None)));
    let (rows, _) = summary.rows();
    let names: BTreeSet<&str> = rows.iter().map(|(name, _)| *name).collect();
    assert!(names.contains("acme/web") && names.contains("10.0.0.4"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("blue")), "{names:?}");
    let expected: u64 = (0..20_000)
        .map(|number| row(number, 200))
        .filter(|row| row.ends.iter().any(|end| end.tenant == Some("acme")) && !row.is_carrier)
        .map(|row| row.counted.iter().map(|way| way.octets).sum::<u64>())
        .sum();
    assert_eq!(summary.totals().octets, expected);
    assert_eq!(sum(&seen_by(Only("nobody", None))).totals().octets, 0);
}

#[test]
fn times_add_up_to_the_whole_from_sums_and_from_rows() {
    let (_folder, store) = filled(60_000, 200);
    let reader = Reader::open(&store).unwrap();
    let time = |minute: u64| Timestamp::from_parts(DAY_S + 60 * minute, 0);
    for step_s in [60, 300, 3600, 7200] {
        let series = |source| {
            let ask = Ask { from: time(3), to: time(190), source, ..Ask::everything() };
            reader.series(&ask, Duration::from_secs(step_s)).unwrap()
        };
        let (sums, rows) = (series(Source::Sums), series(Source::Rows));
        assert_eq!(sums, rows, "{step_s}");
        assert_eq!(sums.step, Duration::from_secs(step_s));
        let ask = Ask { from: time(3), to: time(190), ..Ask::everything() };
        let whole = reader.sums(Kind::One(Subject::Apps), &ask).unwrap();
        let whole = whole.summary(By::Apps, 1).totals().octets;
        assert_eq!(sums.moments.iter().map(|moment| moment.octets).sum::<u64>(), whole);
        let split = |moment: &flowstore::Moment| moment.by_split.iter().sum::<u64>();
        assert!(sums.moments.iter().all(|moment| split(moment) == moment.octets));
    }
}

#[test]
fn the_largest_flows_come_page_by_page_each_once() {
    let (_folder, store) = filled(5000, 200);
    let reader = Reader::open(&store).unwrap();
    let octets = |row: &StoredRow<'_>| {
        let number = |name| match row.values().find(|(column, _)| column.name == name).unwrap().1 {
            Value::Number(number) => number.unsigned_abs(),
            value => panic!("{value:?}"),
        };
        number("client_counted_octets") + number("server_counted_octets")
    };
    let (mut all, mut after) = (Vec::new(), None::<Rank>);
    loop {
        let page = reader.largest(&Ask::everything(), 700, after, octets).unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(last.to_string().parse().unwrap());
        all.extend(page.into_iter().map(|(_, octets)| octets));
    }
    let mut expected: Vec<u64> = (0..5000)
        .map(|number| row(number, 200))
        .filter(|row| !row.is_carrier)
        .map(|row| row.counted.iter().map(|way| way.octets).sum())
        .filter(|octets| *octets > 0)
        .collect();
    expected.sort_by_key(|octets| std::cmp::Reverse(*octets));
    assert_eq!(all, expected);
}
