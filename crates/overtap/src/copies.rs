//! What is said about copies: by `extract --dedup` and `stat --dedup`.

use std::fmt::Write as _;

use files::CopiesReport;
use serde_json::{Value, json};

/// For people, a line for each pair of points and each thing to know.
pub(crate) fn text(report: &CopiesReport) -> Result<String, std::fmt::Error> {
    let number = |count: u64| agent::grouped(count);
    let mut text = String::new();
    for pair in report.pairs.iter().take(SHOWN_PAIRS) {
        let delay = pair.delay_ns;
        writeln!(
            text,
            "{:>15} copies, first at {}, then at {}: after {} to {}, half of them within {}",
            number(pair.copies),
            pair.first,
            pair.second,
            show_delay(delay.min),
            show_delay(delay.max),
            show_delay(delay.median),
        )?;
    }
    let more: u64 = report.pairs.iter().skip(SHOWN_PAIRS).map(|pair| pair.copies).sum();
    let more = more + report.copies_of_other_pairs;
    if more > 0 {
        let copies = number(more);
        writeln!(text, "{copies:>15} copies between other points")?;
    }
    for apart in report.kept_apart.iter().take(SHOWN_APART) {
        let (packets, first, second) = (number(apart.packets), apart.first, apart.second);
        writeln!(text, "{packets:>15} packets of {first} equal one of {second}; all were kept")?;
    }
    if report.kept_apart.len() > SHOWN_APART {
        writeln!(
            text,
            "{:>15} more such pairs of networks",
            report.kept_apart.len() - SHOWN_APART
        )?;
    }
    if !report.kept_apart.is_empty() {
        writeln!(
            text,
            "networks with different names count as two tenants'; if they are one: --tenant-map"
        )?;
    }
    if report.incomparable > 0 {
        let packets = number(report.incomparable);
        writeln!(text, "{packets:>15} packets are cut too short to be compared; all were kept")?;
    }
    if report.overflowed > 0 {
        let packets = number(report.overflowed);
        writeln!(
            text,
            "{packets:>15} packets were forgotten before the window was over, because there were \
             too many; copies of them were kept"
        )?;
    }
    Ok(text)
}

/// For programs.
pub(crate) fn json(report: &CopiesReport) -> Value {
    let pairs: Vec<Value> = report
        .pairs
        .iter()
        .map(|pair| {
            json!({
                "first": pair.first,
                "second": pair.second,
                "copies": pair.copies,
                "delay_ns": {
                    "min": pair.delay_ns.min,
                    "median": pair.delay_ns.median,
                    "max": pair.delay_ns.max,
                },
            })
        })
        .collect();
    let apart: Vec<Value> = report
        .kept_apart
        .iter()
        .map(|apart| {
            json!({
                "networks": [apart.first.to_string(), apart.second.to_string()],
                "packets": apart.packets,
            })
        })
        .collect();
    json!({
        "copies": report.copies,
        "pairs": pairs,
        "copies_of_other_pairs": report.copies_of_other_pairs,
        "kept_apart": apart,
        "incomparable": report.incomparable,
        "forgotten": report.overflowed,
    })
}

/// A time between two sightings, in the unit that fits.
fn show_delay(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let size = nanos.unsigned_abs();
    match size {
        0..1000 => format!("{sign}{size} ns"),
        1000..1_000_000 => format!("{sign}{}.{} µs", size / 1000, size % 1000 / 100),
        1_000_000..1_000_000_000 => {
            format!("{sign}{}.{:02} ms", size / 1_000_000, size % 1_000_000 / 10_000)
        }
        _ => format!("{sign}{}.{:03} s", size / 1_000_000_000, size % 1_000_000_000 / 1_000_000),
    }
}

/// Pairs of points that are shown to people, most copies first.
const SHOWN_PAIRS: usize = 20;
/// Pairs of networks that are shown to people.
const SHOWN_APART: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_shown_in_the_unit_that_fits() {
        assert_eq!(show_delay(999), "999 ns");
        assert_eq!(show_delay(-12_345), "-12.3 µs");
        assert_eq!(show_delay(4_560_000), "4.56 ms");
        assert_eq!(show_delay(1_002_000_000), "1.002 s");
    }
}
