//! Flows as rows of a table, as lines of JSON and as CSV.

use std::io::{self, Write};

use flows::{Row, RowSink, Whereabouts, community_id};
use serde_json::{Map, Value, json};
use wire::Timestamp;

use super::Form;
use crate::commands::stat::json::rfc3339;
use crate::csv;
use crate::quantity::show_bytes;
use crate::table::Table;

/// Prints flows in one form.
pub(crate) struct Printer {
    form: Form,
    table: Table,
    is_begun: bool,
    more: u64,
}

impl Printer {
    pub(crate) fn new(form: Form) -> Self {
        let table = Table::new([
            "START", "SECONDS", "APP", "CLIENT", "SERVER", "NETWORK", "PACKETS", "SENT",
            "RECEIVED", "STATE", "SPLIT", "NOTE",
        ]);
        Self { form, table, is_begun: false, more: 0 }
    }

    /// Takes a flow; tables are printed in the end, because their columns are as wide as needed.
    pub(super) fn add(&mut self, out: &mut impl Write, row: &Row<'_>) -> io::Result<()> {
        self.add_made(out, || cells(row), || fields(row))
    }

    /// Takes a flow by its cells for people and its fields for programs.
    pub(crate) fn add_made(
        &mut self,
        out: &mut impl Write,
        cells: impl FnOnce() -> [String; 12],
        fields: impl FnOnce() -> Map<String, Value>,
    ) -> io::Result<()> {
        match self.form {
            Form::Table if self.table.len() >= MOST_ROWS => self.more += 1,
            Form::Table => self.table.add(cells()),
            Form::Json => {
                serde_json::to_writer(&mut *out, &Value::from(fields()))?;
                out.write_all(b"\n")?;
            }
            Form::Csv | Form::Parquet => {
                let fields = fields();
                if !self.is_begun {
                    csv::write(out, fields.keys().map(String::as_str))?;
                    self.is_begun = true;
                }
                csv::write_values(out, fields.values())?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(&self, out: &mut impl Write) -> io::Result<()> {
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
fn cells(row: &Row<'_>) -> [String; 12] {
    let Row { flow, counted, split, .. } = row;
    let [client, server] = [0, 1].map(|end| end_text(row, end));
    let [there, back] = flow.ways();
    let ratio = flow.rate.ratio;
    let length = flow.last().since(flow.start());
    let mut app = flow.application.name(flow.ends.protocol, flow.server_port()).into_owned();
    if let Some(name) = &flow.asked_for {
        app = format!("{app} {name}");
    }
    let copy_of = [0, 1].into_iter().find_map(|way| row.counted_at(way));
    let is_copy = counted.iter().all(|way| way.packets == 0 && way.octets == 0);
    let note = match copy_of {
        Some(_) if !is_copy => "part of it is a copy".to_owned(),
        Some(point) => format!("copy of {}", point.name),
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
fn end_text(row: &Row<'_>, end: usize) -> String {
    let flow = row.flow;
    let ([a, b], [p, q]) = (flow.ends.addresses, flow.ends.ports);
    let (address, port) = if end == 0 { (a, p) } else { (b, q) };
    let machine = row.machines().into_iter().nth(end).flatten();
    let name = machine.map_or_else(|| address.to_string(), |(machine, _)| machine.label.clone());
    let has_ports = matches!(flow.ends.protocol, 6 | 17 | 33 | 132 | 136);
    match (has_ports, address.is_ipv6() && machine.is_none()) {
        (false, _) => name,
        (true, true) => format!("[{name}]:{port}"),
        (true, false) => format!("{name}:{port}"),
    }
}

/// Every column; docs/reference/flows.md says what each is.
fn fields(row: &Row<'_>) -> Map<String, Value> {
    let Row { flow, counted, ends, split, .. } = row;
    let machines = row.machines();
    let mut map = Map::new();
    let mut set = |name: &str, value: Value| _ = map.insert(name.into(), value);
    set("start", time(flow.start()));
    set("end", time(flow.last()));
    set("point", row.point().map_or("?", |point| point.name.as_str()).into());
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
        let (machine, place) = machines.get(end).copied().flatten().unzip();
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
    for ((side, way), number) in sides.into_iter().zip(counted).zip(0..) {
        set(&format!("{side}_counted_packets"), way.packets.into());
        set(&format!("{side}_counted_octets"), way.octets.into());
        let copy_of = row.counted_at(number).map(|point| point.name.as_str());
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
    map
}

/// A sink of rows that writes each as a line of JSON.
pub(crate) struct JsonLines<W>(pub(crate) W);

impl<W: Write> RowSink for JsonLines<W> {
    type Error = io::Error;

    fn take(&mut self, row: &Row<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, &Value::from(fields(row)))?;
        self.0.write_all(b"\n")
    }

    fn tick(&mut self, _now: Timestamp) -> io::Result<()> {
        self.0.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn time(time: Timestamp) -> Value {
    rfc3339(time).into()
}

/// Longer tables nobody reads.
const MOST_ROWS: usize = 100_000;
