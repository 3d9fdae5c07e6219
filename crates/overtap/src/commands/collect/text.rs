//! Exporters as a table.

use std::fmt::Write as _;

use wire::export::{Collector, Exporter, Fault, Protocol};

use super::json::lost_unit;
use crate::table::Table;

/// All exporters, and below them what somebody should do something about.
pub(super) fn of(collector: &Collector) -> String {
    let mut table = Table::new([
        "EXPORTER",
        "PROTOCOL",
        "DOMAIN",
        "RECORDS",
        "OPTIONS",
        "SAMPLES",
        "COUNTERS",
        "SAMPLING",
        "NO TEMPLATE",
        "MALFORMED",
        "LOST",
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
        if count > 0 {
            // Writing into a string does not fail.
            let _ = writeln!(text, "{} {what}", agent::grouped(count));
        }
    }
    text
}

fn row(exporter: &Exporter) -> [String; 11] {
    let number = agent::grouped;
    let account = &exporter.account;
    let sequence = exporter.sequence();
    [
        name(exporter),
        exporter.key.protocol.to_string(),
        exporter.key.domain.to_string(),
        number(account.records),
        number(account.option_records),
        number(account.flow_samples + account.discard_samples),
        number(account.counter_samples),
        sampling(exporter),
        number(account.sets_without_template),
        number(account.malformed()),
        sequence.lost().map_or("not known".into(), |lost| {
            let unit = if lost > 0 { lost_unit(exporter.key.protocol) } else { "" };
            format!("{} {unit}", number(lost)).trim_end().to_owned()
        }),
    ]
}

fn name(exporter: &Exporter) -> String {
    match exporter.key.protocol {
        Protocol::Sflow => exporter.key.address.to_string(),
        _ => std::net::SocketAddr::new(exporter.key.address, exporter.key.port).to_string(),
    }
}

/// The rates that were stated, each once.
fn sampling(exporter: &Exporter) -> String {
    let options = exporter.samplers.rates().map(|(_, _, ratio)| ratio);
    let sources = exporter.sources();
    let sources =
        sources.filter_map(|(_, source)| wire::export::Ratio::one_in(u64::from(source.interval)));
    let mut rates: Vec<String> = options
        .chain(sources)
        .chain(exporter.header_rate())
        .map(|ratio| ratio.to_string())
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
        (exporter.sequence().restarts(), "times it began to number anew"),
        (exporter.account.templates_replaced, "templates it gave another layout"),
    ] {
        if count > 0 {
            note(format!("{} {what}", number(count)));
        }
    }
}
