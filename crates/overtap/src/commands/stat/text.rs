//! The counts as tables.

use std::fmt::Write as _;

use files::{Counts, InterfaceReport, Quality, Rows, StatReport};
use wire::{Layer, LinkType, Timestamp};

use super::By;
use crate::quantity::show_bytes;

/// All tables that were asked for, each with at most `top` rows.
pub(super) fn of(report: &StatReport, by: &[By], top: usize) -> Result<String, std::fmt::Error> {
    let is_wanted = |table| by.is_empty() || by.contains(&table);
    let top = if top == 0 { usize::MAX } else { top };
    let mut text = String::new();
    if by.is_empty() {
        whole(&mut text, report)?;
    }
    if is_wanted(By::Interface) {
        interfaces(&mut text, report, top)?;
    }
    if is_wanted(By::Network) {
        let rows = &report.networks;
        let others = Some(&rows.others);
        table(&mut text, "NETWORK", named(rows, ToString::to_string), others, top)?;
    }
    if by.contains(&By::Vni) {
        let rows = report.overlays();
        let rows = rows.iter().map(|(overlay, counts)| (overlay.to_string(), *counts)).collect();
        table(&mut text, "OVERLAY", rows, Some(&report.networks.others), top)?;
    }
    if by.contains(&By::Vlan) {
        let rows = report.vlans();
        let name = |vlans: u32| match vlans >> 12 {
            0 => vlans.to_string(),
            outer => format!("{outer}.{}", vlans & 0xfff),
        };
        let rows = rows.iter().map(|(vlans, counts)| (name(*vlans), *counts)).collect();
        table(&mut text, "VLAN", rows, Some(&report.networks.others), top)?;
    }
    if is_wanted(By::Tunnel) {
        let rows = &report.tunnels;
        let name = |tunnel: &files::TunnelKey| {
            let [one, other] = tunnel.ends;
            format!("{} {one} - {other}", kind(tunnel.kind))
        };
        table(&mut text, "TUNNEL", named(rows, name), Some(&rows.others), top)?;
    }
    if is_wanted(By::Mirror) {
        text += &crate::mirrors::table(&report.mirrors, by.contains(&By::Mirror), top)?;
    }
    if is_wanted(By::Vm) {
        match &report.vms {
            Some(rows) => {
                table(&mut text, "VM", named(rows, String::clone), Some(&rows.others), top)?;
            }
            None if by.contains(&By::Vm) => {
                writeln!(text, "no VMs are known; give --inventory FILE")?;
            }
            None => {}
        }
    }
    if let Some(copies) = &report.copies {
        writeln!(text, "{} packets are copies of others", agent::grouped(copies.copies))?;
        text += &crate::copies::text(copies)?;
    }
    Ok(text)
}

/// What a tunnel is called; IP in IP has no header of its own.
pub(super) fn kind(layer: Layer) -> &'static str {
    match layer {
        Layer::Ipv4 => "ipip",
        Layer::Ipv6 => "ip6ip",
        layer => layer.name(),
    }
}

fn whole(text: &mut String, report: &StatReport) -> std::fmt::Result {
    let number = agent::grouped;
    for (account, format) in &report.inputs {
        let format = format.map_or("nothing", super::json::format);
        let path = account.path.display();
        writeln!(text, "{path}: {format}, {} packets", number(account.read))?;
    }
    let whole = &report.whole;
    let (packets, bytes) = (number(whole.packets), number(whole.bytes));
    write!(text, "{packets} packets, {bytes} bytes on the wire")?;
    if whole.captured_bytes != whole.bytes {
        write!(text, ", {} of them in the file", number(whole.captured_bytes))?;
    }
    writeln!(text)?;
    if whole.packets > 0 {
        let (first, last) = (time(whole.first), time(whole.last));
        let took = whole.last.since(whole.first);
        write!(text, "{first} to {last}, {}.{:06} s", took.as_secs(), took.subsec_micros())?;
        if let (Some(packets), Some(bits)) = (whole.packet_rate(), whole.bit_rate()) {
            write!(text, ": {} packets/s, {}", rate(packets), bits_rate(bits))?;
        }
        writeln!(text)?;
    }
    let Quality { truncated, out_of_order, step_back_ns, non_ip, fragments, .. } = report.quality;
    let Quality { undecidable, lost_before, .. } = report.quality;
    for (count, what) in [
        (truncated, "truncated when they were captured"),
        (non_ip, "not IP in their innermost frame"),
        (fragments, "with a fragment of an IP packet"),
        (undecidable, "whose innermost frame cannot be reached"),
        (lost_before, "more were lost before others, as the file says"),
    ] {
        if count > 0 {
            writeln!(text, "{:>15} {what}", number(count))?;
        }
    }
    if out_of_order > 0 {
        let count = number(out_of_order);
        let (seconds, micros) = (step_back_ns / 1_000_000_000, step_back_ns / 1000 % 1_000_000);
        writeln!(
            text,
            "{count:>15} older than one before them in the file, by {seconds}.{micros:06} s at most"
        )?;
    }
    writeln!(text)
}

fn interfaces(text: &mut String, report: &StatReport, top: usize) -> std::fmt::Result {
    let mut interfaces: Vec<&InterfaceReport> = report.interfaces.iter().collect();
    interfaces.sort_by_key(|interface| std::cmp::Reverse(interface.counts.bytes));
    let has_many = report.inputs.len() > 1;
    let mut rows = vec![vec![
        "INTERFACE".to_owned(),
        "LINK".into(),
        "SNAPLEN".into(),
        "PACKETS".into(),
        "BYTES".into(),
        "TRUNCATED".into(),
        "DISORDER".into(),
        "IF DROPS".into(),
        "OS DROPS".into(),
        "LOST".into(),
    ]];
    for interface in interfaces.iter().take(top) {
        let file = report.inputs.get(interface.input);
        let file = file.map(|(account, _)| account.path.display().to_string());
        let name = match (interface.name.as_str(), has_many) {
            ("", false) => "-".to_owned(),
            ("", true) => file.unwrap_or_default(),
            (name, false) => name.to_owned(),
            (name, true) => format!("{}: {name}", file.unwrap_or_default()),
        };
        let optional = |count: Option<u64>| count.map_or("-".to_owned(), agent::grouped);
        let quality = &interface.quality;
        rows.push(vec![
            name,
            link_name(interface.link),
            if interface.snaplen == 0 { "-".into() } else { interface.snaplen.to_string() },
            agent::grouped(interface.counts.packets),
            show_bytes(interface.counts.bytes),
            agent::grouped(quality.truncated),
            agent::grouped(quality.out_of_order),
            optional(interface.interface_dropped),
            optional(interface.os_dropped),
            agent::grouped(quality.lost_before),
        ]);
    }
    align(text, &rows)?;
    let hidden = interfaces.len().saturating_sub(top) as u64 + report.other_interfaces;
    if hidden > 0 {
        writeln!(text, "and {} more; see --top", agent::grouped(hidden))?;
    }
    writeln!(text)
}

fn named<T>(rows: &Rows<T>, name: impl Fn(&T) -> String) -> Vec<(String, Counts)> {
    rows.rows.iter().map(|(key, counts)| (name(key), *counts)).collect()
}

fn table(
    text: &mut String,
    title: &str,
    rows: Vec<(String, Counts)>,
    others: Option<&Counts>,
    top: usize,
) -> std::fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let hidden = rows.len().saturating_sub(top);
    let mut lines = vec![vec![
        title.to_owned(),
        "PACKETS".into(),
        "BYTES".into(),
        "PACKETS/S".into(),
        "BITS/S".into(),
        "FIRST".into(),
        "LAST".into(),
    ]];
    for (name, counts) in rows.into_iter().take(top) {
        lines.push(vec![
            name,
            agent::grouped(counts.packets),
            show_bytes(counts.bytes),
            counts.packet_rate().map_or("-".into(), rate),
            counts.bit_rate().map_or("-".into(), bits_rate),
            time(counts.first),
            time(counts.last),
        ]);
    }
    align(text, &lines)?;
    if hidden > 0 {
        writeln!(text, "and {} more; see --top", agent::grouped(hidden as u64))?;
    }
    if let Some(others) = others.filter(|others| others.packets > 0) {
        writeln!(
            text,
            "others: {} packets, {}, of those that came after the first {}",
            agent::grouped(others.packets),
            show_bytes(others.bytes),
            agent::grouped(Rows::<()>::MOST as u64),
        )?;
    }
    writeln!(text)
}

/// What people call a link type; its number in the registry if it is a rare one.
fn link_name(link: LinkType) -> String {
    match link {
        LinkType::ETHERNET => "Ethernet".into(),
        LinkType::RAW => "IP".into(),
        LinkType::LINUX_SLL => "Linux SLL".into(),
        LinkType::LINUX_SLL2 => "Linux SLL2".into(),
        LinkType::IEEE802_11 | LinkType::RADIOTAP => "802.11".into(),
        LinkType::NULL | LinkType::LOOP => "loopback".into(),
        LinkType(number) => number.to_string(),
    }
}

/// Columns side by side: the first to the left, numbers to the right.
fn align(text: &mut String, rows: &[Vec<String>]) -> std::fmt::Result {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    for row in rows {
        for (number, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if number == 0 {
                write!(text, "{cell:<width$}")?;
            } else {
                write!(text, "  {cell:>width$}")?;
            }
        }
        writeln!(text)?;
    }
    Ok(())
}

fn time(time: Timestamp) -> String {
    super::json::rfc3339(time).unwrap_or_else(|| format!("{} s", time.seconds()))
}

fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.2}") } else { format!("{rate:.0}") }
}

fn bits_rate(rate: f64) -> String {
    match rate {
        rate if rate >= 1e9 => format!("{:.2} Gbit/s", rate / 1e9),
        rate if rate >= 1e6 => format!("{:.2} Mbit/s", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.2} kbit/s", rate / 1e3),
        rate => format!("{rate:.0} bit/s"),
    }
}
