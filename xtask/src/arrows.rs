//! Which crate may use which: the table of ARCHITECTURE.md against the manifests.

use std::collections::BTreeMap;

use anyhow::{Context, bail};

use crate::Fault;
use crate::tree::{Crate, Tree};

/// Uses of one of our crates by another that the table does not allow, and rows without a crate.
pub(crate) fn faults(tree: &Tree) -> anyhow::Result<Vec<Fault>> {
    let names: Vec<&str> = tree.crates.iter().map(|c| c.name.as_str()).collect();
    let table = table(&tree.architecture, &names)?;
    let mut faults = Vec::new();
    for row in table.keys().filter(|row| !names.contains(&row.as_str())) {
        faults.push(Fault {
            place: "ARCHITECTURE.md".into(),
            what: format!("has a row for `{row}`, which is no crate"),
        });
    }
    for user in &tree.crates {
        let place = format!("crates/{}/Cargo.toml", user.name);
        let Some(allowed) = table.get(&user.name) else {
            faults.push(Fault { place, what: "has no row in ARCHITECTURE.md's table".into() });
            continue;
        };
        for used in used(user, &names) {
            if !allowed.contains(&used) {
                let what = format!("`{}` may not use `{used}` (ARCHITECTURE.md)", user.name);
                faults.push(Fault { place: place.clone(), what });
            }
        }
    }
    Ok(faults)
}

/// Rows of the form "| `wire` | what it is | nothing of ours |", by crate.
fn table(text: &str, names: &[&str]) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut rows = BTreeMap::new();
    let body = text.split("| crate | what it is | may use |").nth(1);
    for line in body.context("ARCHITECTURE.md has no table of crates")?.lines().skip(2) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, _, uses, _] = cells[..] else { break };
        let allowed = match uses {
            "all" => names.iter().map(ToString::to_string).collect(),
            "nothing of ours" => Vec::new(),
            list => list.split(", ").map(|used| used.trim_matches('`').to_owned()).collect(),
        };
        rows.insert(name.trim_matches('`').to_owned(), allowed);
    }
    if rows.is_empty() {
        bail!("ARCHITECTURE.md's table of crates is empty");
    }
    Ok(rows)
}

/// Our crates that a crate uses, in its program or its build; its tests may use any.
fn used(user: &Crate, names: &[&str]) -> Vec<String> {
    ["dependencies", "build-dependencies"]
        .iter()
        .filter_map(|section| user.manifest.get(*section)?.as_table())
        .flat_map(|section| section.keys())
        .filter(|name| names.contains(&name.as_str()))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_as_it_is_written() {
        let text = "x\n| crate | what it is | may use |\n|---|---|---|\n\
                    | `wire` | bytes | nothing of ours |\n| `plan` | plans | `wire`, `select` |\n\
                    | `overtap` | words | all |\n\nafter\n";
        let table = table(text, &["wire", "plan", "overtap"]).unwrap();
        assert_eq!(table["wire"], Vec::<String>::new());
        assert_eq!(table["plan"], ["wire", "select"]);
        assert_eq!(table["overtap"].len(), 3);
    }
}
