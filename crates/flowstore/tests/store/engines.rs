//! Other people's engines on our files: the queries of the reference, as they stand there.
//!
//! `scripts/deps engines` installs DuckDB. Where it is missing the test says so and judges nothing.

use std::path::PathBuf;
use std::process::Command;

use flows::By;
use flowstore::{Ask, Kind, Reader, Source, Subject};

use crate::filled;

#[test]
fn duckdb_gives_the_answers_we_give() {
    let Some(python) = python() else {
        eprintln!("not tried: no DuckDB; `scripts/deps engines` installs it");
        return;
    };
    let (_folder, store) = filled(60_000, 200);
    let reference = include_str!("../../../../docs/reference/flow-store.md");
    let queries: Vec<String> = reference
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().replace("flows.d", store.to_str().unwrap()))
        .collect();
    let answers: Vec<Vec<Vec<String>>> =
        queries.iter().map(|query| duckdb(&python, query)).collect();
    let [vms, pairs, splits] = &answers[..] else { panic!("not three queries") };
    let reader = Reader::open(&store).unwrap();
    for source in [Source::Sums, Source::Rows] {
        let ask = Ask { source, ..Ask::everything() };
        let summary = reader.sums(Kind::One(Subject::Vms), &ask).unwrap().summary(By::Vms, 100);
        let ours: Vec<Vec<String>> = (summary.rows().0.iter())
            .map(|(name, sums)| vec![(*name).to_owned(), sums.octets().to_string()])
            .collect();
        assert_eq!(&ours, vms);
        let matrix = reader.sums(Kind::Pair(Subject::Vms), &ask).unwrap().matrix(By::Vms, 100);
        let ours: Vec<Vec<String>> = (matrix.pairs().0.iter().take(20))
            .map(|([one, other], sums)| {
                let octets: u64 = sums.octets.iter().sum();
                vec![(*one).to_owned(), (*other).to_owned(), octets.to_string()]
            })
            .collect();
        assert_eq!(&ours, pairs);
        // All rows are of a client with a tenant, each in one split.
        let whole: u64 = splits.iter().map(|row| row[2].parse::<u64>().unwrap()).sum();
        assert_eq!(whole, summary.totals().octets);
        for (number, split) in flows::Split::ALL.iter().enumerate() {
            let theirs = splits.iter().filter(|row| row[1] == split.name());
            let theirs: u64 = theirs.map(|row| row[2].parse::<u64>().unwrap()).sum();
            assert_eq!(theirs, summary.totals().by_split[number], "{split:?}");
        }
    }
}

/// The answer to a query, as text.
fn duckdb(python: &PathBuf, query: &str) -> Vec<Vec<String>> {
    let script = "import duckdb, sys\n\
                  for row in duckdb.sql(sys.argv[1]).fetchall(): print(*row, sep='\\t')";
    let output = Command::new(python).args(["-c", script, query]).output().unwrap();
    assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// A Python that has DuckDB.
fn python() -> Option<PathBuf> {
    let cache = std::env::var_os("OVERTAP_LAB_CACHE").map(PathBuf::from).or_else(|| {
        let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        Some(caches.or(home)?.join("overtap-lab"))
    })?;
    let python = cache.join("engines/bin/python");
    python.exists().then_some(python)
}
