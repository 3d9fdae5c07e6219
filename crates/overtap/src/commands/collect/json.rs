//! Exporters as one JSON document; docs/reference/collect.md says what is in it.

use collector::Counters;
use files::{DatagramReport, InputAccount};
use serde_json::{Map, Value, json};
use wire::Timestamp;
use wire::export::{Collector, Exporter, Fault, Protocol, Rate, RateOrigin, Ratio};

use crate::commands::stat::json::rfc3339;

/// The document of a replay.
pub(super) fn of(collector: &Collector, report: &DatagramReport) -> Value {
    let mut document = whole(collector);
    for (name, value) in [
        ("udp_datagrams", report.datagrams.into()),
        ("udp_fragments", report.fragments.into()),
        ("truncated_datagrams", report.truncated.into()),
        ("inputs", report.inputs.iter().map(input).collect()),
    ] {
        document.insert(name.into(), value);
    }
    document.into()
}

/// The document of what was received.
pub(super) fn live(collector: &Collector, counters: &Counters) -> Value {
    let mut document = whole(collector);
    for (name, value) in [
        ("kernel_drops", counters.kernel_drops.into()),
        ("connections", counters.connections.into()),
        ("connections_refused", counters.connections_refused.into()),
        ("connections_not_ipfix", counters.connections_not_ipfix.into()),
    ] {
        document.insert(name.into(), value);
    }
    document.into()
}

/// The document of what a collector remembers.
pub(crate) fn remembered(collector: &Collector, written: Timestamp) -> Value {
    let exporters: Vec<Value> = collector.exporters().iter().map(exporter).collect();
    json!({ "written": time(written), "exporters": exporters })
}

fn whole(collector: &Collector) -> Map<String, Value> {
    let exporters: Vec<Value> = collector.exporters().iter().map(exporter).collect();
    let mut document = Map::new();
    document.insert("exporters".into(), exporters.into());
    for (name, count) in [
        ("unrecognised_datagrams", collector.unrecognised()),
        ("refused_datagrams", collector.refused()),
        ("expired_exporters", collector.expired()),
    ] {
        document.insert(name.into(), count.into());
    }
    document
}

fn input(input: &InputAccount) -> Value {
    json!({
        "path": input.path.display().to_string(),
        "packets": input.read,
        "failure": input.failure,
    })
}

/// One exporter.
pub(crate) fn exporter(exporter: &Exporter) -> Value {
    let account = &exporter.account;
    let mut row = Map::new();
    let key = exporter.key;
    let port = (key.protocol != Protocol::Sflow).then_some(key.port);
    row.insert("address".into(), key.address.to_string().into());
    row.insert("port".into(), port.into());
    row.insert("protocol".into(), key.protocol.name().into());
    row.insert("domain".into(), key.domain.into());
    for (name, count) in [
        ("datagrams", account.datagrams),
        ("bytes", account.bytes),
        ("messages", account.messages),
        ("records", account.records),
        ("option_records", account.option_records),
        ("flow_samples", account.flow_samples),
        ("counter_samples", account.counter_samples),
        ("discard_samples", account.discard_samples),
        ("unknown_samples", account.unknown_samples),
        ("agent_drops", exporter.agent_drops()),
        ("templates", account.templates),
        ("templates_repeated", account.templates_repeated),
        ("templates_replaced", account.templates_replaced),
        ("templates_adopted", account.templates_adopted),
        ("withdrawals", account.withdrawals),
        ("sets_without_template", account.sets_without_template),
        ("sets_decoded_late", account.sets_decoded_late),
        ("sets_given_up", account.sets_given_up),
        ("wrong_counts", account.wrong_counts),
        ("malformed", account.malformed()),
    ] {
        row.insert(name.into(), count.into());
    }
    let faults = Fault::ALL.iter().filter(|fault| account.faults(**fault) > 0);
    let faults: Map<String, Value> =
        faults.map(|fault| (fault.name().to_owned(), account.faults(*fault).into())).collect();
    row.insert("faults".into(), faults.into());
    let missing = exporter.missing.iter().map(|(id, sets)| json!({ "id": id, "sets": sets }));
    row.insert("missing_templates".into(), missing.collect::<Vec<_>>().into());
    let sequence = exporter.sequence();
    row.insert("lost".into(), sequence.lost().unwrap_or_default().into());
    row.insert("is_loss_known".into(), sequence.lost().is_some().into());
    row.insert("lost_unit".into(), lost_unit(key.protocol).into());
    row.insert("out_of_order".into(), sequence.out_of_order().into());
    row.insert("restarts".into(), sequence.restarts().into());
    row.insert("not_sent_packets".into(), account.not_sent_packets.into());
    row.insert("not_sent_flows".into(), account.not_sent_flows.into());
    row.insert("ignored_packets".into(), account.ignored_packets.into());
    row.insert("sampling".into(), rates(exporter).into());
    row.insert("templates_known".into(), exporter.templates().count().into());
    row.insert("active_timeout_s".into(), exporter.timeouts_s.0.into());
    row.insert("idle_timeout_s".into(), exporter.timeouts_s.1.into());
    row.insert("clock_ahead_ms".into(), exporter.clock_ahead_ms.into());
    row.insert("first_seen".into(), time(exporter.first_seen));
    row.insert("last_seen".into(), time(exporter.last_seen));
    row.into()
}

/// What a loss is counted in.
pub(super) const fn lost_unit(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::NetflowV5 | Protocol::Ipfix => "records",
        Protocol::NetflowV9 | Protocol::Sflow => "datagrams",
    }
}

/// A rate, and who stated it.
pub(crate) fn rate(rate: Rate) -> Value {
    let Rate { ratio, origin } = rate;
    if origin == RateOrigin::Unknown {
        return Value::Null;
    }
    json!({ "population": ratio.population, "taken": ratio.taken, "said_by": origin.name() })
}

fn rates(exporter: &Exporter) -> Vec<Value> {
    let row = |said_by: &str, id: u64, ratio: Ratio| {
        json!({
            "population": ratio.population, "taken": ratio.taken, "said_by": said_by, "id": id,
        })
    };
    let options =
        exporter.samplers.rates().map(|(origin, id, ratio)| row(origin.name(), id, ratio));
    let sources = exporter.sources().filter_map(|((kind, index), source)| {
        let ratio = Ratio::one_in(u64::from(source.interval))?;
        Some(row("source", u64::from(kind) << 32 | u64::from(index), ratio))
    });
    let header = exporter.header_rate().map(|ratio| row("header", 0, ratio));
    options.chain(sources).chain(header).collect()
}

/// A time, or nothing for those no calendar has.
pub(crate) fn time(time: Timestamp) -> Value {
    rfc3339(time).into()
}
