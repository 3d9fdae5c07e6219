//! Rows of a store as the rows of `overtap flows`.

use std::io::{self, Write};

use flowstore::{Ask, Reader};
use serde_json::{Map, Value};

use crate::commands::flows::Form;
use crate::commands::flows::rows::Printer;
use crate::quantity::show_bytes;

/// Prints the rows that are asked for.
pub(super) fn print(
    reader: &Reader,
    ask: &Ask,
    is_once: bool,
    form: Form,
    out: impl Write,
) -> anyhow::Result<()> {
    let mut printing = Printing::new(form, out);
    reader.rows(ask, &mut |row| {
        if printing.is_good() && !(is_once && row.is_copy()) {
            printing.add(&row.fields());
        }
    })?;
    printing.finish()
}

/// Rows as they are printed, until that fails.
pub(super) struct Printing<W> {
    printer: Printer,
    out: W,
    failure: Option<io::Error>,
}

impl<W: Write> Printing<W> {
    pub(super) fn new(form: Form, out: W) -> Self {
        Self { printer: Printer::new(form), out, failure: None }
    }

    /// Whether more is of use.
    pub(super) const fn is_good(&self) -> bool {
        self.failure.is_none()
    }

    pub(super) fn add(&mut self, row: &Map<String, Value>) {
        let cells = || cells(row);
        self.failure = self.printer.add_made(&mut self.out, cells, || row.clone()).err();
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        if let Some(failure) = self.failure {
            return Err(failure.into());
        }
        self.printer.finish(&mut self.out)?;
        Ok(self.out.flush()?)
    }
}

fn is_copy(row: &Map<String, Value>) -> bool {
    let counts = ["packets", "octets"].map(|what| {
        number(row, &format!("client_counted_{what}"))
            + number(row, &format!("server_counted_{what}"))
    });
    counts == [0, 0]
}

/// A row for people.
fn cells(row: &Map<String, Value>) -> [String; 12] {
    let scaled = |name: &str| {
        let count = u128::from(number(row, name));
        let [population, taken] = ["sampling_population", "sampling_taken"]
            .map(|name| u128::from(number(row, name).max(1)));
        u64::try_from(count * population / taken).unwrap_or(u64::MAX)
    };
    let app = match text(row, "asked_for") {
        "" => text(row, "app").to_owned(),
        name => format!("{} {name}", text(row, "app")),
    };
    let copy_of = [text(row, "client_copy_of"), text(row, "server_copy_of")];
    let note = match copy_of.into_iter().find(|name| !name.is_empty()) {
        Some(_) if !is_copy(row) => "part of it is a copy".to_owned(),
        Some(point) => format!("copy of {point}"),
        None if row.get("is_carrier") == Some(&Value::Bool(true)) => "tunnel".into(),
        None => String::new(),
    };
    [
        text(row, "start").to_owned(),
        seconds(row),
        app,
        end_text(row, "client"),
        end_text(row, "server"),
        network(row),
        agent::grouped(scaled("client_packets") + scaled("server_packets")),
        show_bytes(scaled("client_octets")),
        show_bytes(scaled("server_octets")),
        Some(text(row, "tcp_state")).filter(|state| !state.is_empty()).unwrap_or("-").to_owned(),
        text(row, "split").to_owned(),
        note,
    ]
}

/// How long it went on.
fn seconds(row: &Map<String, Value>) -> String {
    let time = |name| text(row, name).parse::<jiff::Timestamp>().ok();
    let length = time("end").zip(time("start")).map(|(end, start)| end.duration_since(start));
    length.map_or_else(String::new, |length| {
        format!("{}.{:03}", length.as_secs(), length.subsec_millis())
    })
}

/// An end: its machine, else its address, and the port.
fn end_text(row: &Map<String, Value>, side: &str) -> String {
    let (vm, ip) = (text(row, &format!("{side}_vm")), text(row, &format!("{side}_ip")));
    let port = number(row, &format!("{side}_port"));
    let has_ports = matches!(number(row, "protocol"), 6 | 17 | 33 | 132 | 136);
    match (has_ports, vm.is_empty()) {
        (false, true) => ip.to_owned(),
        (false, false) => vm.to_owned(),
        (true, true) if ip.contains(':') => format!("[{ip}]:{port}"),
        (true, true) => format!("{ip}:{port}"),
        (true, false) => format!("{vm}:{port}"),
    }
}

fn network(row: &Map<String, Value>) -> String {
    let overlay = Some(text(row, "overlay")).filter(|kind| !kind.is_empty());
    let overlay = overlay.map(|kind| format!("{kind} {}", number(row, "overlay_number")));
    let vlan = row.get("vlan").and_then(Value::as_u64).map(|vlan| format!("vlan {vlan}"));
    match (overlay, vlan) {
        (Some(overlay), Some(vlan)) => format!("{overlay} {vlan}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "-".into(),
    }
}

fn text<'r>(row: &'r Map<String, Value>, name: &str) -> &'r str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(row: &Map<String, Value>, name: &str) -> u64 {
    row.get(name).and_then(Value::as_u64).unwrap_or_default()
}
