//! Exporters as a table.

use std::fmt::Write as _;

use collector::Counters;
use wire::Timestamp;
use wire::export::{Collector, Exporter, Fault, Protocol, Ratio};

use super::json::lost_unit;
use crate::commands::stat::json::rfc3339;
use crate::table::Table;

/// All exporters, and below them what somebody should do something about.
pub(crate) fn of(collector: &Collector) -> String {
    let mut table = Table::new([
        "EXPORTER",
        "PROTOCOL",
        "DOMAIN",
        "RECORDS",
        "SAMPLES",
        "SAMPLING",
        "TEMPLATES",
        "LOST",
        "CLOCK",
        "LAST SEEN",
    ]);
    for exporter in collector.exporters() {
        table.add(row(exporter));
    }
    let mut text = if table.is_empty() { "no exporters\n".to_owned() } else { table.text() };
    for exporter in collector.exporters() {
        notes(&mut text, exporter);
    }
    for (count, what) in [
        (collector.unrecognised(), "datagrams are no export"),
        (collector.refused(), "datagrams of exporters for which there was no room"),
        (collector.expired(), "exporters forgotten because they were silent"),
    ] {
        self::count(&mut text, count, what);
    }
    text
}

/// What became of what was received before anybody decoded it.
pub(super) fn live(text: &mut String, counters: &Counters) {
    match counters.kernel_drops {
        None => text.push_str("the kernel does not say how many datagrams it dropped\n"),
        Some(drops) => count(text, drops, "datagrams dropped by the kernel: it had no room"),
    }
    for (number, what) in [
        (counters.connections, "connections"),
        (counters.connections_refused, "connections refused: there were too many"),
        (counters.connections_not_ipfix, "connections closed: what came was no IPFIX"),
    ] {
        count(text, number, what);
    }
}

/// A line, if there is something to say.
pub(super) fn count(text: &mut String, count: u64, what: &str) {
    if count > 0 {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{} {what}", agent::grouped(count));
    }
}

fn row(exporter: &Exporter) -> [String; 10] {
    let number = agent::grouped;
    let account = &exporter.account;
    let sequence = exporter.sequence();
    [
        name(exporter),
        exporter.key.protocol.to_string(),
        exporter.key.domain.to_string(),
        number(account.records),
        number(account.flow_samples + account.discard_samples),
        sampling(exporter),
        number(exporter.templates().count() as u64),
        sequence.lost().map_or("not known".into(), |lost| {
            let unit = if lost > 0 { lost_unit(exporter.key.protocol) } else { "" };
            format!("{} {unit}", number(lost)).trim_end().to_owned()
        }),
        clock(exporter.clock_ahead_ms),
        rfc3339(Timestamp::from_parts(exporter.last_seen.seconds(), 0)).unwrap_or_default(),
    ]
}

fn name(exporter: &Exporter) -> String {
    match exporter.key.protocol {
        Protocol::Sflow => exporter.key.address.to_string(),
        _ => std::net::SocketAddr::new(exporter.key.address, exporter.key.port).to_string(),
    }
}

/// How far its clock is from ours; a second is what headers in whole seconds leave open.
fn clock(ahead_ms: i64) -> String {
    match ahead_ms {
        -2000..=2000 => "right".into(),
        ms if ms > 0 => format!("{} s ahead", ms / 1000),
        ms => format!("{} s behind", ms / -1000),
    }
}

/// The rates that were stated, each once, with who stated them.
fn sampling(exporter: &Exporter) -> String {
    let options = exporter.samplers.rates().map(|(origin, _, ratio)| (ratio, origin.name()));
    let sources = exporter
        .sources()
        .filter_map(|(_, source)| Some((Ratio::one_in(u64::from(source.interval))?, "source")));
    let header = exporter.header_rate().map(|ratio| (ratio, "header"));
    let mut rates: Vec<String> = options
        .chain(sources)
        .chain(header)
        .map(|(ratio, origin)| format!("{ratio} ({origin})"))
        .collect();
    rates.sort_unstable();
    rates.dedup();
    match rates.len() {
        0 => "unknown".into(),
        1..=3 => rates.join(", "),
        _ => format!("{} rates", rates.len()),
    }
}

fn notes(text: &mut String, exporter: &Exporter) {
    let mut note = |what: String| {
        let (name, domain) = (name(exporter), exporter.key.domain);
        let _ = writeln!(text, "{name} domain {domain}: {what}");
    };
    let number = agent::grouped;
    for fault in Fault::ALL {
        let count = exporter.account.faults(fault);
        if count > 0 {
            note(format!("{} x {}", number(count), fault.name().replace('_', " ")));
        }
    }
    if !exporter.missing.is_empty() {
        let ids: Vec<String> = exporter.missing.keys().map(ToString::to_string).collect();
        note(format!("no template came for {}", ids.join(", ")));
    }
    for (count, what) in [
        (exporter.account.not_sent_packets.unwrap_or_default(), "packets it says it did not send"),
        (exporter.account.not_sent_flows.unwrap_or_default(), "flows it says it did not send"),
        (exporter.account.ignored_packets.unwrap_or_default(), "packets it says it ignored"),
        (exporter.agent_drops(), "samples it says it lost"),
        (exporter.account.sets_without_template, "sets whose template had not come"),
        (exporter.account.sets_decoded_late, "of these decoded when it came"),
        (exporter.sequence().restarts(), "times it began to number anew"),
        (exporter.account.templates_replaced, "templates it gave another layout"),
    ] {
        if count > 0 {
            note(format!("{} {what}", number(count)));
        }
    }
}
