//! Sums as tables, JSON and CSV.

use std::collections::BTreeMap;

use flows::{Matrix, PairSums, Split, Summary, Sums, Totals};
use serde_json::{Map, Value, json};

use super::Shape;
use crate::commands::flows::Form;
use crate::csv;
use crate::exit::Exit;
use crate::quantity::show_bytes;
use crate::table::Table;

/// Rows of one thing each.
pub(super) fn summary(summary: &Summary, heading: &str, shape: &Shape) -> anyhow::Result<Vec<u8>> {
    let (rows, others) = summary.rows();
    let shown = shape.take(&rows);
    match shape.output {
        Form::Table => {
            let heading = heading.to_uppercase();
            let mut table = Table::new([
                &heading,
                "BYTES",
                "SENT",
                "RECEIVED",
                "PACKETS",
                "FLOWS",
                "INTRA-HOST",
                "INTER-HOST",
                "PHYSICAL",
                "OTHER",
            ]);
            for (name, sums) in shown {
                table.add(cells(name, sums));
            }
            let more = more(rows.len(), shown.len(), others.octets());
            Ok((table.text() + &more + &totals(summary.totals())).into())
        }
        Form::Json => {
            let rows: Vec<Value> =
                shown.iter().map(|(name, sums)| Value::from(row(name, sums))).collect();
            let document = json!({
                "rows": rows,
                "rows_total": summary.rows().0.len(),
                "others": row("", &others),
                "totals": totals_json(summary.totals()),
            });
            Ok((serde_json::to_string_pretty(&document)? + "\n").into())
        }
        Form::Csv => to_csv(shown.iter().map(|(name, sums)| row(name, sums))),
        Form::Parquet => to_parquet(shown.iter().map(|(name, sums)| row(name, sums))),
    }
}

/// Rows of two ends each.
pub(super) fn pairs(matrix: &Matrix, shape: &Shape) -> anyhow::Result<Vec<u8>> {
    let (pairs, others) = matrix.pairs();
    let shown = shape.take(&pairs);
    match shape.output {
        Form::Table => {
            let mut table = Table::new([
                "ONE",
                "OTHER",
                "BYTES",
                "ONE TO OTHER",
                "OTHER TO ONE",
                "PACKETS",
                "FLOWS",
                "SPLIT",
            ]);
            for ([one, other], sums) in shown {
                let [there, back] = sums.octets;
                table.add([
                    (*one).to_owned(),
                    (*other).to_owned(),
                    show_bytes(there + back),
                    show_bytes(there),
                    show_bytes(back),
                    agent::grouped(sums.packets),
                    agent::grouped(sums.flows),
                    splits(&sums.by_split),
                ]);
            }
            let rest = others.octets.iter().sum();
            let more = more(pairs.len(), shown.len(), rest);
            Ok((table.text() + &more + &totals(matrix.totals())).into())
        }
        Form::Json => {
            let rows: Vec<Value> =
                shown.iter().map(|(ends, sums)| Value::from(pair(*ends, sums))).collect();
            let document = json!({
                "pairs": rows,
                "pairs_total": pairs.len(),
                "others": pair(["", ""], &others),
                "totals": totals_json(matrix.totals()),
            });
            Ok((serde_json::to_string_pretty(&document)? + "\n").into())
        }
        Form::Csv => to_csv(shown.iter().map(|(ends, sums)| pair(*ends, sums))),
        Form::Parquet => to_parquet(shown.iter().map(|(ends, sums)| pair(*ends, sums))),
    }
}

/// A square: rows send, columns receive.
pub(super) fn square(matrix: &Matrix, shape: &Shape) -> anyhow::Result<Vec<u8>> {
    let (pairs, _) = matrix.pairs();
    let mut sent: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for ([one, other], pair) in &pairs {
        let [there, back] = pair.octets;
        *sent.entry((one, other)).or_default() += there;
        *sent.entry((other, one)).or_default() += back;
        *sums.entry(one).or_default() += there + back;
        *sums.entry(other).or_default() += there + back;
    }
    let mut names: Vec<&str> = sums.keys().copied().collect();
    names.sort_by_key(|name| std::cmp::Reverse(sums.get(name).copied().unwrap_or_default()));
    let all = names.len();
    names.truncate(if shape.top == 0 { usize::MAX } else { shape.top });
    let cell = |from: &str, to: &str| sent.get(&(from, to)).copied().unwrap_or_default();
    match shape.output {
        Form::Json => {
            let rows: Map<String, Value> = names
                .iter()
                .map(|from| {
                    let row: Map<String, Value> =
                        names.iter().map(|to| ((*to).to_owned(), cell(from, to).into())).collect();
                    ((*from).to_owned(), row.into())
                })
                .collect();
            let document = json!({ "sent": rows, "totals": totals_json(matrix.totals()) });
            Ok((serde_json::to_string_pretty(&document)? + "\n").into())
        }
        Form::Parquet => {
            let cells = names.iter().flat_map(|from| names.iter().map(move |to| (*from, *to)));
            let row = |(from, to): (&str, &str)| {
                let mut row = Map::new();
                row.insert("sender".into(), from.into());
                row.insert("receiver".into(), to.into());
                row.insert("octets".into(), cell(from, to).into());
                row
            };
            to_parquet(cells.map(row))
        }
        form => {
            let heading: Vec<String> = std::iter::once("FROM \\ TO".to_owned())
                .chain(names.iter().map(|name| (*name).to_owned()))
                .collect();
            let row = |from: &&str, show: &dyn Fn(u64) -> String| -> Vec<String> {
                std::iter::once((*from).to_owned())
                    .chain(names.iter().map(|to| show(cell(from, to))))
                    .collect()
            };
            if form == Form::Csv {
                let mut out = Vec::new();
                csv::write(&mut out, heading.iter().map(String::as_str))?;
                for from in &names {
                    let cells = row(from, &|octets| octets.to_string());
                    csv::write(&mut out, cells.iter().map(String::as_str))?;
                }
                return Ok(out);
            }
            let mut table = Table::of(heading);
            for from in &names {
                table.add(row(from, &|octets| {
                    if octets == 0 { "-".into() } else { show_bytes(octets) }
                }));
            }
            Ok((table.text() + &more(all, names.len(), 0) + &totals(matrix.totals())).into())
        }
    }
}

impl Shape {
    fn take<'a, T>(&self, rows: &'a [T]) -> &'a [T] {
        if self.top == 0 { rows } else { rows.get(..self.top).unwrap_or(rows) }
    }
}

fn cells(name: &str, sums: &Sums) -> [String; 10] {
    let other = [Split::Group, Split::Outside, Split::Unknown];
    [
        name.to_owned(),
        show_bytes(sums.octets()),
        show_bytes(sums.sent),
        show_bytes(sums.received),
        agent::grouped(sums.packets),
        agent::grouped(sums.flows),
        show_bytes(sums.of(Split::IntraHost)),
        show_bytes(sums.of(Split::InterHost)),
        show_bytes(sums.of(Split::VmToPhysical)),
        show_bytes(other.iter().map(|split| sums.of(*split)).sum()),
    ]
}

fn row(name: &str, sums: &Sums) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("name".into(), name.into());
    row.insert("octets".into(), sums.octets().into());
    row.insert("sent".into(), sums.sent.into());
    row.insert("received".into(), sums.received.into());
    row.insert("packets".into(), sums.packets.into());
    row.insert("flows".into(), sums.flows.into());
    add_splits(&mut row, &sums.by_split);
    row
}

fn pair([one, other]: [&str; 2], sums: &PairSums) -> Map<String, Value> {
    let [there, back] = sums.octets;
    let mut row = Map::new();
    row.insert("one".into(), one.into());
    row.insert("other".into(), other.into());
    row.insert("octets".into(), (there + back).into());
    row.insert("octets_one_to_other".into(), there.into());
    row.insert("octets_other_to_one".into(), back.into());
    row.insert("packets".into(), sums.packets.into());
    row.insert("flows".into(), sums.flows.into());
    add_splits(&mut row, &sums.by_split);
    row
}

fn add_splits(row: &mut Map<String, Value>, by_split: &[u64; Split::ALL.len()]) {
    for (split, octets) in Split::ALL.iter().zip(by_split) {
        row.insert(format!("octets_{}", split.name().replace('-', "_")), (*octets).into());
    }
}

fn totals_json(totals: &Totals) -> Value {
    let mut row = Map::new();
    row.insert("flows".into(), totals.flows.into());
    row.insert("copies".into(), totals.copies.into());
    row.insert("packets".into(), totals.packets.into());
    row.insert("octets".into(), totals.octets.into());
    add_splits(&mut row, &totals.by_split);
    row.insert("octets_copied".into(), totals.copied.into());
    row.insert("octets_carried".into(), totals.carried.into());
    row.insert("flows_of_unknown_rate".into(), totals.unknown_rates.into());
    row.into()
}

/// The splits with bytes, each with its share if there are several.
fn splits(by_split: &[u64; Split::ALL.len()]) -> String {
    let whole: u64 = by_split.iter().sum();
    let some: Vec<(&str, u64)> = Split::ALL
        .iter()
        .zip(by_split)
        .filter(|(_, octets)| **octets > 0)
        .map(|(split, octets)| (split.name(), *octets))
        .collect();
    match some.as_slice() {
        [] => "-".into(),
        [(one, _)] => (*one).to_owned(),
        several => {
            let percent = |octets: u64| u128::from(octets) * 100 / u128::from(whole.max(1));
            let parts: Vec<String> = several
                .iter()
                .map(|(name, octets)| format!("{name} {} %", percent(*octets)))
                .collect();
            parts.join(", ")
        }
    }
}

/// What is below the rows.
fn totals(totals: &Totals) -> String {
    let mut text = format!(
        "{} in {} packets, each counted once: {}\n",
        show_bytes(totals.octets),
        agent::grouped(totals.packets),
        splits(&totals.by_split),
    );
    for (octets, what) in [
        (totals.copied, "seen once more at other points"),
        (totals.carried, "of tunnels, with what they carry"),
    ] {
        if octets > 0 {
            text += &format!("{} {what}\n", show_bytes(octets));
        }
    }
    if totals.unknown_rates > 0 {
        text += &format!(
            "{} flows of which nobody says how they were sampled, taken as they are\n",
            agent::grouped(totals.unknown_rates)
        );
    }
    text
}

fn more(all: usize, shown: usize, others: u64) -> String {
    let mut text = String::new();
    if all > shown {
        text += &format!("and {} more; see --top\n", agent::grouped((all - shown) as u64));
    }
    if others > 0 {
        text += &format!("{} of rows for which there was no room\n", show_bytes(others));
    }
    text
}

fn to_csv(rows: impl Iterator<Item = Map<String, Value>>) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    for (number, row) in rows.enumerate() {
        if number == 0 {
            csv::write(&mut out, row.keys().map(String::as_str))?;
        }
        csv::write_values(&mut out, row.values())?;
    }
    Ok(out)
}

/// Rows as one Parquet file, its columns those of CSV.
fn to_parquet(rows: impl Iterator<Item = Map<String, Value>>) -> anyhow::Result<Vec<u8>> {
    crate::commands::store::table_file(&rows.collect::<Vec<_>>())
}

/// Prints what a store has answered.
pub(super) fn print(answer: &[u8]) -> anyhow::Result<Exit> {
    crate::commands::print_out(answer).map(|()| Exit::Done)
}
