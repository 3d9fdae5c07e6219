//! The part of a database that decides whether a mirror is possible, read in one piece.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use wire::VlanId;

use super::client::{Client, Failure};
use crate::ovsdb::table::{atoms, pairs};

/// The database of a host, as of one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Switch {
    /// UUID of its only row of table Open_vSwitch.
    pub(super) root: String,
    pub(super) bridges: Vec<Bridge>,
    /// By UUID.
    pub(super) ports: BTreeMap<String, Port>,
    /// By UUID.
    pub(super) interfaces: BTreeMap<String, Interface>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bridge {
    pub(super) uuid: String,
    pub(super) name: String,
    /// Whether it forwards in its own process, not in the kernel.
    pub(super) is_userspace: bool,
    pub(super) ports: BTreeSet<String>,
    pub(super) mirrors: BTreeSet<String>,
    pub(super) flood_vlans: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) tag: Option<String>,
    pub(super) trunks: BTreeSet<String>,
    pub(super) interfaces: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) mtu: Option<u32>,
    pub(super) external_ids: BTreeMap<String, String>,
    pub(super) options: BTreeMap<String, String>,
}

/// A port that is mirrored: if any of it changes, it may be somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourcePort {
    /// Row of table Port.
    pub(super) uuid: String,
    pub(super) port: Port,
    /// Row of table Interface.
    pub(super) interface_uuid: String,
    pub(super) external_ids: BTreeMap<String, String>,
}

impl SourcePort {
    /// The network it is in, in words.
    pub(super) fn network(&self) -> String {
        let trunks: Vec<&str> = self.port.trunks.iter().map(String::as_str).collect();
        match &self.port.tag {
            Some(tag) if trunks.is_empty() => format!("VLAN {tag}"),
            Some(tag) => format!("VLAN {tag} and {}", trunks.join(", ")),
            None if trunks.is_empty() => "all VLANs".to_owned(),
            None => format!("VLANs {}", trunks.join(", ")),
        }
    }
}

impl Switch {
    /// Reads it.
    pub(super) fn read(client: &mut Client) -> Result<Self, Failure> {
        let select = |table: &str, columns: &[&str]| json!({ "op": "select", "table": table, "where": [], "columns": columns });
        let results = client.transact(vec![
            select("Open_vSwitch", &["_uuid"]),
            select(
                "Bridge",
                &["_uuid", "name", "datapath_type", "ports", "mirrors", "flood_vlans"],
            ),
            select("Port", PORT_COLUMNS),
            select("Interface", INTERFACE_COLUMNS),
        ])?;
        let mut tables = results.iter().map(rows);
        let mut table = || tables.next().unwrap_or_default();
        Ok(Self {
            root: table().first().map(|row| one(row, "_uuid")).unwrap_or_default(),
            bridges: table().iter().map(Bridge::of).collect(),
            ports: table().iter().map(|row| (one(row, "_uuid"), Port::of(row))).collect(),
            interfaces: table().iter().map(|row| (one(row, "_uuid"), Interface::of(row))).collect(),
        })
    }

    /// The bridge that has a port of this name.
    pub(super) fn bridge_with(&self, port: &str) -> Option<(&Bridge, &str)> {
        self.bridges.iter().find_map(|bridge| {
            let is_it = |uuid: &&String| {
                self.ports.get(*uuid).is_some_and(|found| {
                    found.name == port || self.interfaces_of(found).any(|i| i.name == port)
                })
            };
            bridge.ports.iter().find(is_it).map(|uuid| (bridge, uuid.as_str()))
        })
    }

    /// The bridges that frames of this one can get to by patch ports, itself among them.
    pub(super) fn reached_from<'a>(&'a self, bridge: &'a Bridge) -> Vec<&'a Bridge> {
        let mut reached = vec![bridge];
        let mut looked_at = 0;
        while let Some(from) = reached.get(looked_at).copied() {
            looked_at += 1;
            let ports = from.ports.iter().filter_map(|uuid| self.ports.get(uuid));
            for interface in ports.flat_map(|port| self.interfaces_of(port)) {
                let peer = interface.options.get("peer").filter(|_| interface.kind == "patch");
                let Some((other, _)) = peer.and_then(|peer| self.bridge_with(peer)) else {
                    continue;
                };
                if !reached.iter().any(|known| known.uuid == other.uuid) {
                    reached.push(other);
                }
            }
        }
        reached
    }

    pub(super) fn interfaces_of<'a>(
        &'a self,
        port: &'a Port,
    ) -> impl Iterator<Item = &'a Interface> {
        port.interfaces.iter().filter_map(|uuid| self.interfaces.get(uuid))
    }
}

impl Bridge {
    fn of(row: &Value) -> Self {
        Self {
            uuid: one(row, "_uuid"),
            name: one(row, "name"),
            is_userspace: one(row, "datapath_type") == "netdev",
            ports: set(row, "ports"),
            mirrors: set(row, "mirrors"),
            flood_vlans: set(row, "flood_vlans"),
        }
    }

    pub(super) fn floods(&self, vlan: VlanId) -> bool {
        self.flood_vlans.contains(&vlan.to_string())
    }
}

impl Port {
    pub(super) fn of(row: &Value) -> Self {
        Self {
            name: one(row, "name"),
            tag: set(row, "tag").into_iter().next(),
            trunks: set(row, "trunks"),
            interfaces: set(row, "interfaces"),
        }
    }

    /// Whether frames of this VLAN, 0 for untagged ones, get in and out here.
    pub(super) fn carries(&self, vlan: &str) -> bool {
        match &self.tag {
            Some(tag) => tag == vlan,
            None => self.trunks.is_empty() || self.trunks.contains(vlan),
        }
    }
}

impl Interface {
    pub(super) fn of(row: &Value) -> Self {
        Self {
            name: one(row, "name"),
            kind: one(row, "type"),
            mtu: set(row, "mtu").first().and_then(|mtu| mtu.parse().ok()),
            external_ids: row
                .get("external_ids")
                .map(|ids| pairs(ids).collect())
                .unwrap_or_default(),
            options: row.get("options").map(|map| pairs(map).collect()).unwrap_or_default(),
        }
    }
}

/// Which database this is.
pub(super) fn root(client: &mut Client) -> Result<String, Failure> {
    let select =
        json!({ "op": "select", "table": "Open_vSwitch", "where": [], "columns": ["_uuid"] });
    let results = client.transact(vec![select])?;
    let root = results.first().map(rows).unwrap_or_default().first().map(|row| one(row, "_uuid"));
    root.ok_or_else(|| Failure::Other("Open vSwitch's database is empty".into()))
}

/// The rows of a select.
pub(super) fn rows(result: &Value) -> Vec<Value> {
    result.get("rows").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The only atom of a column, or nothing.
pub(super) fn one(row: &Value, column: &str) -> String {
    row.get(column).and_then(|value| atoms(value).next()).unwrap_or_default()
}

/// The atoms of a column.
pub(super) fn set(row: &Value, column: &str) -> BTreeSet<String> {
    row.get(column).map(|value| atoms(value).collect()).unwrap_or_default()
}

pub(super) const PORT_COLUMNS: &[&str] = &["_uuid", "name", "tag", "trunks", "interfaces"];
pub(super) const INTERFACE_COLUMNS: &[&str] =
    &["_uuid", "name", "type", "mtu", "external_ids", "options"];
