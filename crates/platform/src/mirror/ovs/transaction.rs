//! The transactions of a mirror, and what is read back of it.
//!
//! Making one, all or nothing: wait that the switch has the mirrors and the sources the rows that
//! were looked at; insert Interface, Port and Mirror with our UUIDs and mark; hang both into the
//! Bridge; for RSPAN let it flood the VLAN; take out what is replaced; raise `next_cfg`. Then the
//! switch has to raise `cur_cfg` to it, which it does once it has acted.
//!
//! Removing one: take Mirror and Port out of the Bridge together, which makes the switch look at its
//! flows; the rows go as nothing refers to them. Again `next_cfg`, again the switch has to act.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use plan::mirror::Destination;
use serde_json::{Value, json};

use super::check::{self, Checked};
use super::client::{ACT_WITHIN, Client, Failure};
use super::switch::{INTERFACE_COLUMNS, Interface, PORT_COLUMNS, Port, SourcePort, one, rows, set};
use super::{OvsHandle, reference};
use crate::ovsdb::table::pairs;

/// Makes a mirror.
pub(super) fn make(
    client: &mut Client,
    checked: &Checked<'_>,
    handle: &OvsHandle,
    destination: &Destination,
    replaced: Option<&OvsHandle>,
) -> Result<(), Failure> {
    let old = match replaced.filter(|old| old.bridge == checked.bridge.name) {
        Some(old) => rows_of(client, old)?,
        None => OldRows::default(),
    };
    let operations = |chooses| make_operations(checked, handle, destination, &old, chooses);
    let results = match client.transact(operations(RowIds::Ours)) {
        // A server before 2.17 chooses the UUIDs itself; our mark finds the rows.
        Err(failure) if failure.is_of_version() => client.transact(operations(RowIds::Servers)),
        results => results,
    };
    let results = results.map_err(|failure| match failure {
        Failure::Refused { error, .. } if error == "timed out" => {
            Failure::Other("its ports or mirrors were changed meanwhile; try again".into())
        }
        failure => failure,
    })?;
    await_switch(client, &results)
}

/// Removes what the handle names; that it is not there is no error.
pub(super) fn remove(client: &mut Client, handle: &OvsHandle) -> Result<(), Failure> {
    let old = rows_of(client, handle)?;
    if old.mirrors.is_empty() && old.ports.is_empty() {
        return Ok(());
    }
    let mut mutations = old.mutations();
    if let Some(vlan) = handle.flooded_vlan.filter(|_| !old.is_vlan_shared) {
        mutations.push(json!(["flood_vlans", "delete", vlan]));
    }
    let bridge = json!([["name", "==", handle.bridge]]);
    let mut operations =
        vec![json!({ "op": "mutate", "table": "Bridge", "where": bridge, "mutations": mutations })];
    operations.extend(next_cfg());
    let results = client.transact(operations)?;
    await_switch(client, &results)
}

/// What is there of a mirror.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) mirror: Option<MirrorRow>,
    /// Why its output does not work.
    pub(super) output_problem: Option<String>,
}

/// The row of table Mirror.
#[derive(Debug)]
pub(super) struct MirrorRow {
    pub(super) has_output: bool,
    /// How many ports it mirrors in both directions.
    pub(super) selected: usize,
    /// Packets and bytes, once the switch has counted.
    pub(super) statistics: Option<(u64, u64)>,
}

/// Reads back what there is of a mirror.
pub(super) fn look(client: &mut Client, handle: &OvsHandle) -> Result<Found, Failure> {
    let marked = marked(handle);
    let select = |table: &str, columns: &[&str]| json!({ "op": "select", "table": table, "where": marked, "columns": columns });
    let results = client.transact(vec![
        select(
            "Mirror",
            &["output_port", "output_vlan", "select_src_port", "select_dst_port", "statistics"],
        ),
        select("Interface", &["name", "ofport", "error", "type"]),
    ])?;
    let mirrors = results.first().map(rows).unwrap_or_default();
    let mirror = mirrors.first().map(|row| {
        let (from, to) = (set(row, "select_src_port"), set(row, "select_dst_port"));
        let statistics = row.get("statistics").map(|map| pairs(map).collect::<Vec<_>>());
        let count = |key: &str| {
            let found = statistics.iter().flatten().find(|(known, _)| known == key);
            found.and_then(|(_, value)| value.parse().ok())
        };
        MirrorRow {
            has_output: !set(row, "output_port").is_empty() || !set(row, "output_vlan").is_empty(),
            selected: from.intersection(&to).count(),
            statistics: count("tx_packets").zip(count("tx_bytes")),
        }
    });
    let interfaces = results.get(1).map(rows).unwrap_or_default();
    // An anchor has no peer, and says so; that is what it is for.
    let outputs = interfaces.iter().filter(|row| one(row, "type") != ANCHOR_KIND);
    let output_problem = outputs.filter_map(output_problem).next();
    Ok(Found { mirror, output_problem })
}

/// The rows of these sources as they are now; one that is gone is missing.
pub(super) fn sources(
    client: &mut Client,
    known: &[SourcePort],
) -> Result<Vec<SourcePort>, Failure> {
    let select = |table: &str, uuid: &str, columns: &[&str]| {
        let condition = json!([["_uuid", "==", reference(uuid)]]);
        json!({ "op": "select", "table": table, "where": condition, "columns": columns })
    };
    let operations = known.iter().flat_map(|source| {
        [
            select("Port", &source.uuid, PORT_COLUMNS),
            select("Interface", &source.interface_uuid, INTERFACE_COLUMNS),
        ]
    });
    let results = client.transact(operations.collect())?;
    let found = known.iter().zip(results.chunks(2)).filter_map(|(source, pair)| {
        let mut pair = pair.iter().map(rows);
        let (ports, interfaces) = (pair.next()?, pair.next()?);
        Some(SourcePort {
            uuid: source.uuid.clone(),
            port: Port::of(ports.first()?),
            interface_uuid: source.interface_uuid.clone(),
            external_ids: Interface::of(interfaces.first()?).external_ids,
        })
    });
    Ok(found.collect())
}

/// Who chooses the UUIDs of new rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowIds {
    Ours,
    Servers,
}

fn make_operations(
    checked: &Checked<'_>,
    handle: &OvsHandle,
    destination: &Destination,
    old: &OldRows,
    ids: RowIds,
) -> Vec<Value> {
    let Checked { bridge, ports } = checked;
    let insert = |table: &str, uuid: &str, name: &str, row: Value| {
        let mut operation =
            json!({ "op": "insert", "table": table, "uuid-name": name, "row": row });
        if let (RowIds::Ours, Some(members)) = (ids, operation.as_object_mut()) {
            members.insert("uuid".into(), json!(uuid));
        }
        operation
    };
    let named = |name: &str| json!(["named-uuid", name]);
    let ours = json!(["map", [[MARK, handle.mark]]]);
    let mut operations = unchanged(checked);

    let mut new_ports = Vec::new();
    let mut mirror = json!({
        "name": format!("overtap-{}", handle.mark.get(..8).unwrap_or_default()),
        "select_src_port": references(ports.iter().map(|port| &port.uuid)),
        "select_dst_port": references(ports.iter().map(|port| &port.uuid)),
        "external_ids": ours,
    });
    let mut set_output = |column: &str, value: Value| {
        if let Some(members) = mirror.as_object_mut() {
            members.insert(column.into(), value);
        }
    };
    if let Destination::Vlan(vlan) = destination {
        set_output("output_vlan", json!(vlan.value()));
    }
    if let Some((name, interface)) = output_interface(destination, handle, &ours) {
        operations.push(insert("Interface", &handle.interface, "interface", interface));
        let port = json!({ "name": name, "interfaces": named("interface"), "external_ids": ours });
        operations.push(insert("Port", &handle.port, "port", port));
        new_ports.push(named("port"));
        set_output("output_port", named("port"));
    }
    if let Some((port, interface)) = &handle.anchor {
        let name = handle.port_name('a');
        // A patch to nowhere: it makes no device on the host, and nothing leaves by it.
        let row = json!({
            "name": name,
            "type": ANCHOR_KIND,
            "options": ["map", [["peer", handle.port_name('n')]]],
            "external_ids": ours,
        });
        operations.push(insert("Interface", interface, "anchor_interface", row));
        let row =
            json!({ "name": name, "interfaces": named("anchor_interface"), "external_ids": ours });
        operations.push(insert("Port", port, "anchor", row));
        new_ports.push(named("anchor"));
    }
    operations.push(insert("Mirror", &handle.mirror, "mirror", mirror));

    let mut mutations = old.mutations();
    mutations.push(json!(["ports", "insert", ["set", new_ports]]));
    mutations.push(json!(["mirrors", "insert", ["set", [named("mirror")]]]));
    if let Some(vlan) = handle.flooded_vlan {
        mutations.push(json!(["flood_vlans", "insert", vlan]));
    }
    let this = json!([["_uuid", "==", reference(&bridge.uuid)]]);
    operations
        .push(json!({ "op": "mutate", "table": "Bridge", "where": this, "mutations": mutations }));
    operations.extend(next_cfg());
    operations
}

/// Fails the transaction if somebody else has changed what was looked at.
fn unchanged(Checked { bridge, ports }: &Checked<'_>) -> Vec<Value> {
    let mirrors = json!({ "mirrors": references(bridge.mirrors.iter()) });
    let mut operations = vec![wait("Bridge", &bridge.uuid, &mirrors)];
    for port in ports {
        let ids: Vec<(&String, &String)> = port.external_ids.iter().collect();
        let ids = json!({ "external_ids": ["map", ids] });
        operations.push(wait("Interface", &port.interface_uuid, &ids));
        let tag = port.port.tag.as_ref().and_then(|tag| tag.parse::<u16>().ok());
        let tags: Vec<u16> = tag.into_iter().collect();
        operations.push(wait("Port", &port.uuid, &json!({ "tag": ["set", tags] })));
    }
    operations
}

/// The interface that copies leave by, and its name; a VLAN needs none.
fn output_interface(
    destination: &Destination,
    handle: &OvsHandle,
    ours: &Value,
) -> Option<(String, Value)> {
    match destination {
        Destination::Vlan(_) => None,
        Destination::Port(name) => {
            Some((name.clone(), json!({ "name": name, "external_ids": ours })))
        }
        Destination::Tunnel(tunnel) => {
            let name = handle.port_name('t');
            let row = json!({
                "name": name,
                "type": tunnel.encapsulation.word(),
                "options": ["map", check::options(tunnel)],
                "external_ids": ours,
            });
            Some((name, row))
        }
    }
}

fn references<'a>(uuids: impl Iterator<Item = &'a String>) -> Value {
    let all: Vec<Value> = uuids.map(|uuid| reference(uuid)).collect();
    json!(["set", all])
}

/// The transaction fails unless the row is as we know it.
fn wait(table: &str, uuid: &str, row: &Value) -> Value {
    let columns: Vec<String> =
        row.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
    json!({
        "op": "wait",
        "timeout": 0,
        "table": table,
        "where": [["_uuid", "==", reference(uuid)]],
        "columns": columns,
        "until": "==",
        "rows": [row],
    })
}

/// The rows that a handle names.
#[derive(Debug, Default)]
struct OldRows {
    mirrors: BTreeSet<String>,
    ports: BTreeSet<String>,
    /// Whether another mirror has its VLAN, too.
    is_vlan_shared: bool,
}

impl OldRows {
    /// Takes them out of their bridge.
    fn mutations(&self) -> Vec<Value> {
        let references = |uuids: &BTreeSet<String>| {
            let all: Vec<Value> = uuids.iter().map(|uuid| reference(uuid)).collect();
            json!(["set", all])
        };
        vec![
            json!(["mirrors", "delete", references(&self.mirrors)]),
            json!(["ports", "delete", references(&self.ports)]),
        ]
    }
}

/// Finds what a handle names, by our mark: it is there whoever chose the UUIDs.
fn rows_of(client: &mut Client, handle: &OvsHandle) -> Result<OldRows, Failure> {
    let select = |table: &str, condition: Value| json!({ "op": "select", "table": table, "where": condition, "columns": ["_uuid"] });
    let vlan: Vec<u16> = handle.flooded_vlan.into_iter().collect();
    let results = client.transact(vec![
        select("Mirror", marked(handle)),
        select("Port", marked(handle)),
        select("Mirror", json!([["output_vlan", "==", ["set", vlan]]])),
    ])?;
    let found = |at: usize| -> BTreeSet<String> {
        let found = results.get(at).map(rows).unwrap_or_default();
        found.iter().map(|row| one(row, "_uuid")).collect()
    };
    let mirrors = found(0);
    let is_vlan_shared = handle.flooded_vlan.is_some() && found(2).difference(&mirrors).count() > 0;
    Ok(OldRows { mirrors, ports: found(1), is_vlan_shared })
}

fn marked(handle: &OvsHandle) -> Value {
    json!([["external_ids", "includes", ["map", [[MARK, handle.mark]]]]])
}

/// Asks the switch to say when it has done what stands here.
fn next_cfg() -> [Value; 2] {
    [
        json!({ "op": "mutate", "table": "Open_vSwitch", "where": [],
                "mutations": [["next_cfg", "+=", 1]] }),
        json!({ "op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"] }),
    ]
}

/// Waits until the switch has acted on a transaction that ends with [`next_cfg`].
fn await_switch(client: &mut Client, results: &[Value]) -> Result<(), Failure> {
    let number = |result: Option<&Value>, column: &str| {
        let rows = result.map(rows).unwrap_or_default();
        rows.first().and_then(|row| one(row, column).parse::<i64>().ok())
    };
    let Some(wanted) = number(results.last(), "next_cfg") else { return Err(Failure::Idle) };
    let deadline = Instant::now() + ACT_WITHIN;
    loop {
        let select =
            json!({ "op": "select", "table": "Open_vSwitch", "where": [], "columns": ["cur_cfg"] });
        let results = client.transact(vec![select])?;
        if number(results.first(), "cur_cfg").is_some_and(|current| current >= wanted) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::Idle);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(super) fn output_problem(row: &Value) -> Option<String> {
    let name = one(row, "name");
    let error = one(row, "error");
    let is_attached = one(row, "ofport").parse::<i64>().is_ok_and(|ofport| ofport > 0);
    match is_attached {
        _ if !error.is_empty() => Some(format!("its output port {name}: {error}")),
        false => Some(format!("its output port {name} is not attached")),
        true => None,
    }
}

const MARK: &str = "overtap-mirror";
const ANCHOR_KIND: &str = "patch";
