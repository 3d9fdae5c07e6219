//! Flows as rows of a table, as lines of JSON and as CSV.

use std::io::{self, Write};

use flows::{Counted, Flow, Whereabouts, community_id};
use serde_json::{Map, Value, json};
use wire::Timestamp;

use super::Form;
use super::gather::Sight;
use crate::commands::stat::json::rfc3339;
use crate::csv;
use crate::quantity::show_bytes;
use crate::table::Table;

/// Prints flows in one form.
pub(super) struct Printer {
    form: Form,
    table: Table,
    is_begun: bool,
    more: u64,
}

impl Printer {
    pub(super) fn new(form: Form) -> Self {
        let table = Table::new([
            "START", "SECONDS", "APP", "CLIENT", "SERVER", "NETWORK", "PACKETS", "SENT",
            "RECEIVED", "STATE", "SPLIT", "NOTE",
        ]);
        Self { form, table, is_begun: false, more: 0 }
    }

    /// Takes a flow; tables are printed in the end, because their columns are as wide as needed.
    pub(super) fn add(
        &mut self,
        out: &mut impl Write,
        flow: &Flow,
        counted: &[Counted; 2],
        sight: &Sight<'_>,
    ) -> io::Result<()> {
        match self.form {
            Form::Table if self.table.len() >= MOST_ROWS => self.more += 1,
            Form::Table => self.table.add(cells(flow, counted, sight)),
            Form::Json => {
                serde_json::to_writer(&mut *out, &Value::from(fields(flow, counted, sight)))?;
                out.write_all(b"\n")?;
            }
            Form::Csv => {
                let fields = fields(flow, counted, sight);
                if !self.is_begun {
                    csv::write(out, fields.keys().map(String::as_str))?;
                    self.is_begun = true;
                }
                csv::write_values(out, fields.values())?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(&self, out: &mut impl Write) -> io::Result<()> {
        if self.form == Form::Table {
            out.write_all(self.table.text().as_bytes())?;
            if self.more > 0 {
                let more = agent::grouped(self.more);
                writeln!(out, "and {more} more; see --output csv")?;
            }
        }
        Ok(())
    }
}

/// A row for people.
fn cells(flow: &Flow, counted: &[Counted; 2], sight: &Sight<'_>) -> [String; 12] {
    let (ends, split) = sight.of(flow);
    let [client, server] = [0, 1].map(|end| end_text(flow, end, &ends, sight));
    let [there, back] = flow.ways();
    let ratio = flow.rate.ratio;
    let length = flow.last().since(flow.start());
    let mut app = flow.application.name(flow.ends.protocol, flow.server_port()).into_owned();
    if let Some(name) = &flow.asked_for {
        app = format!("{app} {name}");
    }
    let copy_of = counted.iter().find_map(|way| way.copy_of);
    let is_copy = counted.iter().all(|way| way.packets == 0 && way.octets == 0);
    let note = match copy_of {
        Some(_) if !is_copy => "part of it is a copy".to_owned(),
        Some(point) => format!("copy of {}", point_name(point.0, sight)),
        None if flow.is_carrier => "tunnel".into(),
        None => String::new(),
    };
    [
        rfc3339(flow.start()).unwrap_or_else(|| flow.start().seconds().to_string()),
        format!("{}.{:03}", length.as_secs(), length.subsec_millis()),
        app,
        client,
        server,
        flow.network.to_string(),
        agent::grouped(ratio.scale(there.packets + back.packets)),
        show_bytes(ratio.scale(there.octets)),
        show_bytes(ratio.scale(back.octets)),
        flow.tcp.map_or("-", flows::TcpState::name).to_owned(),
        split.name().to_owned(),
        note,
    ]
}

/// An end: its machine, else its address, and the port.
fn end_text(flow: &Flow, end: usize, ends: &[Whereabouts<'_>; 2], sight: &Sight<'_>) -> String {
    let ([a, b], [p, q]) = (flow.ends.addresses, flow.ends.ports);
    let (address, port) = if end == 0 { (a, p) } else { (b, q) };
    let place = ends.get(end).and_then(|end| end.place());
    let name = place.map_or_else(|| address.to_string(), |place| sight.label(place).to_owned());
    let has_ports = matches!(flow.ends.protocol, 6 | 17 | 33 | 132 | 136);
    match (has_ports, address.is_ipv6() && place.is_none()) {
        (false, _) => name,
        (true, true) => format!("[{name}]:{port}"),
        (true, false) => format!("{name}:{port}"),
    }
}

/// Every column; docs/reference/flows.md says what each is.
fn fields(flow: &Flow, counted: &[Counted; 2], sight: &Sight<'_>) -> Map<String, Value> {
    let (ends, split) = sight.of(flow);
    let mut row = Map::new();
    let mut set = |name: &str, value: Value| _ = row.insert(name.into(), value);
    set("start", time(flow.start()));
    set("end", time(flow.last()));
    set("point", point_name(flow.point.0, sight).into());
    let overlay = flow.network.overlay;
    set("overlay", overlay.map(|overlay| overlay.kind.name()).into());
    set("overlay_number", overlay.map(|overlay| overlay.number).into());
    set("vlan", flow.network.vlan.map(wire::VlanId::value).into());
    set("protocol", flow.ends.protocol.into());
    let sides = ["client", "server"];
    for (end, side) in sides.into_iter().enumerate() {
        let ([a, b], [p, q]) = (flow.ends.addresses, flow.ends.ports);
        let [mac_a, mac_b] = flow.macs;
        let first = end == 0;
        let mac = if first { mac_a } else { mac_b };
        let found = ends.get(end).copied().unwrap_or(Whereabouts::Nobody);
        let place = found.place();
        let machine = place.and_then(|place| sight.places.machine(place.machine));
        set(&format!("{side}_ip"), (if first { a } else { b }).to_string().into());
        set(&format!("{side}_port"), (if first { p } else { q }).into());
        set(&format!("{side}_mac"), (!mac.is_zero()).then(|| mac.to_string()).into());
        set(&format!("{side}_vm"), machine.map(|machine| machine.label.clone()).into());
        set(&format!("{side}_tenant"), machine.and_then(|machine| machine.tenant.clone()).into());
        set(&format!("{side}_host"), place.map(|place| place.host.clone()).into());
        set(&format!("{side}_port_group"), place.and_then(|p| p.port_group.clone()).into());
        set(&format!("is_{side}_ambiguous"), (found == Whereabouts::Ambiguous).into());
    }
    set("split", split.name().into());
    for (side, way) in sides.into_iter().zip(flow.ways()) {
        set(&format!("{side}_packets"), way.packets.into());
        set(&format!("{side}_octets"), way.octets.into());
        set(&format!("{side}_tcp_flags"), way.tcp_flags.into());
        set(&format!("{side}_retransmitted"), way.retransmitted.into());
        set(&format!("{side}_out_of_order"), way.out_of_order.into());
        set(&format!("{side}_zero_windows"), way.zero_windows.into());
    }
    for (side, way) in sides.into_iter().zip(counted) {
        set(&format!("{side}_counted_packets"), way.packets.into());
        set(&format!("{side}_counted_octets"), way.octets.into());
        let copy_of = way.copy_of.map(|point| point_name(point.0, sight));
        set(&format!("{side}_copy_of"), copy_of.into());
    }
    set("is_carrier", flow.is_carrier.into());
    set("sampling_population", flow.rate.ratio.population.into());
    set("sampling_taken", flow.rate.ratio.taken.into());
    set("sampling_said_by", flow.rate.origin.name().into());
    set("tcp_state", flow.tcp.map(flows::TcpState::name).into());
    set("client_known_by", flow.client_basis.name().into());
    let micros = |time: Option<std::time::Duration>| {
        time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    };
    set("server_rtt_us", micros(flow.server_rtt).into());
    set("client_rtt_us", micros(flow.client_rtt).into());
    let port = flow.server_port();
    set("app", json!(flow.application.name(flow.ends.protocol, port)));
    set("is_app_seen", matches!(flow.application, flows::Application::Seen(_)).into());
    set("asked_for", flow.asked_for.as_deref().into());
    set("end_reason", flow.end.name().into());
    set("community_id", community_id(&flow.ends).into());
    row
}

fn point_name(number: u32, sight: &Sight<'_>) -> String {
    sight.points.get(number as usize).map_or_else(|| "?".into(), |point| point.name.clone())
}

fn time(time: Timestamp) -> Value {
    rfc3339(time).into()
}

/// Longer tables nobody reads.
const MOST_ROWS: usize = 100_000;
