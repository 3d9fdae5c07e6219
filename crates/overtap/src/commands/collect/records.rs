//! Records and samples, one JSON object a line, with every field they have.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};
use wire::export::{Element, Event, Exporter, FlowSample, Record};
use wire::{Layers, TunnelPorts};

use super::json;

/// Writes one line for `event`.
pub(super) fn write(out: &mut impl Write, event: Event<'_>, ports: &TunnelPorts) -> io::Result<()> {
    let (exporter, kind, mut row) = match event {
        Event::Flow(exporter, record) => (exporter, "flow", of_record(&record)),
        Event::Options(exporter, record) => (exporter, "options", of_record(&record)),
        Event::Sample(exporter, sample) => (exporter, "sample", of_sample(&sample, ports)),
        Event::Counters(exporter, sample) => {
            let mut row = Map::new();
            row.insert("source".into(), json!([sample.source.0, sample.source.1]));
            row.insert("name".into(), sample.port_name().into());
            let octets = sample.octets().map(|(input, output)| json!([input, output]));
            row.insert("octets".into(), octets.into());
            (exporter, "counters", row)
        }
        Event::Discard(exporter, sample) => {
            let mut row = Map::new();
            row.insert("source".into(), json!([sample.source.0, sample.source.1]));
            row.insert("reason".into(), sample.reason.into());
            (exporter, "discard", row)
        }
    };
    row.insert("kind".into(), kind.into());
    row.insert("exporter".into(), name(exporter).into());
    serde_json::to_writer(&mut *out, &Value::from(row))?;
    out.write_all(b"\n")
}

/// Address, port, protocol and domain in one word.
fn name(exporter: &Exporter) -> String {
    let key = exporter.key;
    format!("{}/{}/{}/{}", key.protocol, key.address, key.port, key.domain)
}

fn of_record(record: &Record<'_>) -> Map<String, Value> {
    let mut fields: Vec<Value> = Vec::new();
    for (element, bytes) in record.fields() {
        fields.push(json!([element.to_string(), value(element, bytes)]));
    }
    let span = record.span();
    let mut row = Map::new();
    row.insert("template".into(), record.template().id().into());
    row.insert("start".into(), json::time(span.start));
    row.insert("end".into(), json::time(span.end));
    row.insert("rate".into(), json::rate(record.rate()));
    row.insert("fields".into(), fields.into());
    row
}

/// A value as people read it, by the kind of its element.
fn value(element: Element, bytes: &[u8]) -> Value {
    if element.is_text() {
        return String::from_utf8_lossy(bytes).trim_end_matches('\0').into();
    }
    let name = element.name().unwrap_or_default().to_ascii_lowercase();
    match bytes {
        [a, b, c, d] if name.contains("ipv4") && !name.contains("length") => {
            Ipv4Addr::new(*a, *b, *c, *d).to_string().into()
        }
        bytes if name.contains("mac") && bytes.len() == 6 => {
            let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            pairs.join(":").into()
        }
        bytes if bytes.len() <= 8 => {
            bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)).into()
        }
        bytes => match <[u8; 16]>::try_from(bytes) {
            Ok(address) if name.contains("ipv6") => {
                IpAddr::from(Ipv6Addr::from(address)).to_string().into()
            }
            _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        },
    }
}

fn of_sample(sample: &FlowSample<'_>, ports: &TunnelPorts) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("source".into(), json!([sample.source.0, sample.source.1]));
    row.insert("rate".into(), json::rate(sample.rate()));
    row.insert("input".into(), sample.input.index().into());
    row.insert("output".into(), sample.output.index().into());
    row.insert("time".into(), json::time(sample.time));
    if let Some(header) = sample.header() {
        let layers = Layers::decode(header.link, header.bytes, ports);
        let key = layers.key(header.bytes);
        row.insert("frame_len".into(), header.frame_len.into());
        row.insert("vni".into(), key.network.map(wire::Vni::value).into());
        let addresses = key
            .addresses
            .map(|(source, destination)| json!([source.to_string(), destination.to_string()]));
        row.insert("addresses".into(), addresses.into());
        let ports = key.ports.map(|ports| json!([ports.source, ports.destination]));
        row.insert("ports".into(), ports.into());
    }
    row
}
