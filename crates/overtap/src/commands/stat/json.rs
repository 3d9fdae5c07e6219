//! The counts as one JSON document; docs/reference/stat.md says what is in it.

use files::{Counts, InterfaceReport, Quality, Rows, StatReport, TunnelKey};
use pipeline::{Network, OverlayKind};
use serde_json::{Map, Value, json};
use wire::Timestamp;
use wire::file::Format;

use crate::commands::extract::said::damages;

/// The document, with at most `top` rows in each table.
pub(super) fn of(report: &StatReport, top: usize) -> Value {
    let inputs: Vec<Value> = report
        .inputs
        .iter()
        .map(|(account, found)| {
            json!({
                "path": account.path.display().to_string(),
                "format": found.map(format),
                "packets": account.read,
                "damages": damages(account),
                "damages_total": account.damages_total,
                "failure": account.failure,
            })
        })
        .collect();
    let mut document = counts(&report.whole);
    add_quality(&mut document, &report.quality);
    document.insert("inputs".into(), inputs.into());
    let interfaces = report.interfaces.iter().map(interface);
    document.insert("interfaces".into(), interfaces.collect::<Vec<_>>().into());
    document.insert("other_interfaces".into(), report.other_interfaces.into());
    add_rows(&mut document, "networks", &report.networks, top, network);
    add_rows(&mut document, "tunnels", &report.tunnels, top, tunnel);
    if let Some(vms) = &report.vms {
        add_rows(&mut document, "vms", vms, top, |name, row| {
            row.insert("name".into(), name.as_str().into());
        });
    }
    document.insert("mirrors".into(), crate::mirrors::json(&report.mirrors).into());
    document.insert("copies".into(), report.copies.as_ref().map(crate::copies::json).into());
    document.insert("complete".into(), report.is_whole().into());
    document.into()
}

/// What a format is called.
pub(super) const fn format(format: Format) -> &'static str {
    match format {
        Format::Pcapng => "pcapng",
        Format::Pcap => "pcap",
        Format::ModifiedPcap => "modified pcap",
        Format::IxiaPcap => "Ixia pcap",
    }
}

/// A time as text; `None` if no calendar has it.
pub(crate) fn rfc3339(time: Timestamp) -> Option<String> {
    let nanos = i128::from(time.as_nanos());
    Some(jiff::Timestamp::from_nanosecond(nanos).ok()?.to_string())
}

fn interface(interface: &InterfaceReport) -> Value {
    let mut row = counts(&interface.counts);
    row.insert("input".into(), interface.input.into());
    row.insert("name".into(), interface.name.as_str().into());
    row.insert("link_type".into(), interface.link.0.into());
    row.insert("snaplen".into(), interface.snaplen.into());
    row.insert("received".into(), interface.received.into());
    row.insert("interface_dropped".into(), interface.interface_dropped.into());
    row.insert("os_dropped".into(), interface.os_dropped.into());
    add_quality(&mut row, &interface.quality);
    row.into()
}

fn network(network: &Network, row: &mut Map<String, Value>) {
    if let Some(overlay) = network.overlay {
        row.insert(overlay_word(overlay.kind).into(), overlay.number.into());
    }
    if network.vlans != 0 {
        row.insert("vlan".into(), (network.vlans & 0xfff).into());
    }
    if network.vlans >> 12 != 0 {
        row.insert("outer_vlan".into(), (network.vlans >> 12).into());
    }
}

const fn overlay_word(kind: OverlayKind) -> &'static str {
    match kind {
        OverlayKind::Vxlan => "vxlan",
        OverlayKind::Geneve => "geneve",
        OverlayKind::Gre => "gre",
        OverlayKind::Mpls => "mpls",
        OverlayKind::Pbb => "pbb",
        OverlayKind::Gtpu => "gtpu",
        OverlayKind::Lisp => "lisp",
        OverlayKind::L2tp => "l2tp",
        OverlayKind::Nested => "nested",
    }
}

fn tunnel(tunnel: &TunnelKey, row: &mut Map<String, Value>) {
    row.insert("kind".into(), super::text::kind(tunnel.kind).into());
    row.insert("ends".into(), json!(tunnel.ends));
}

fn add_rows<T>(
    document: &mut Map<String, Value>,
    name: &str,
    rows: &Rows<T>,
    top: usize,
    describe: impl Fn(&T, &mut Map<String, Value>),
) {
    let top = if top == 0 { usize::MAX } else { top };
    let shown = rows.rows.iter().take(top).map(|(key, found)| {
        let mut row = counts(found);
        describe(key, &mut row);
        Value::from(row)
    });
    document.insert(name.into(), shown.collect::<Vec<_>>().into());
    document.insert(format!("{name}_total"), rows.rows.len().into());
    document.insert(format!("other_{name}"), counts(&rows.others).into());
}

fn counts(counts: &Counts) -> Map<String, Value> {
    let time = |time| (counts.packets > 0).then(|| rfc3339(time)).flatten();
    let mut row = Map::new();
    row.insert("packets".into(), counts.packets.into());
    row.insert("bytes".into(), counts.bytes.into());
    row.insert("captured_bytes".into(), counts.captured_bytes.into());
    row.insert("first".into(), time(counts.first).into());
    row.insert("last".into(), time(counts.last).into());
    row.insert("packets_per_s".into(), counts.packet_rate().into());
    row.insert("bits_per_s".into(), counts.bit_rate().into());
    row
}

fn add_quality(row: &mut Map<String, Value>, quality: &Quality) {
    for (name, count) in [
        ("truncated", quality.truncated),
        ("out_of_order", quality.out_of_order),
        ("step_back_ns", quality.step_back_ns),
        ("non_ip", quality.non_ip),
        ("fragments", quality.fragments),
        ("undecidable", quality.undecidable),
        ("lost_before", quality.lost_before),
    ] {
        row.insert(name.into(), count.into());
    }
}
