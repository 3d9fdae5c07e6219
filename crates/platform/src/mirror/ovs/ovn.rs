//! Mirrors of OVN, by its northbound database: its controllers make them in Open vSwitch, wherever
//! the VM's port is bound, and take them along when it moves.
//!
//! A mirror of OVN 23.03 has one direction, so there are two: what the VM sends has the number that
//! was asked for, what goes to it the next one. Each becomes a mirror and a tunnel port in Open
//! vSwitch, both born and removed in one transaction, so nothing is copied on when it ends.
//!
//! What stands in the northbound database is a wish. Whether it came true is read from the Open
//! vSwitch of this host.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use plan::mirror::{Destination, Encapsulation, Source, Tunnel};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{self, Wanted};
use super::client::{Address, Client, Failure, Server};
use super::switch::{SourcePort, Switch, one, rows, set};
use super::transaction::{self, output_problem};
use super::{Health, Networks, reference, refused, same_network};
use crate::mirror::register::Counts;
use crate::mirror::session::Oversize;
use crate::mirror::underlay::Underlay;
use crate::mirror::{MirrorError, random_hex};
use crate::ovsdb::table::pairs;

/// What names a mirror in a northbound database. Rows get their UUIDs from the server; our mark in
/// their `external_ids`, which is written down before, finds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OvnHandle {
    /// Where the northbound database is.
    pub address: Address,
    /// The UUID of the only row of table NB_Global: which database it is.
    pub database: String,
    /// `external_ids:overtap-mirror` of each row of ours.
    pub mark: String,
    /// The socket of this host's Open vSwitch.
    pub switch: PathBuf,
}

/// A mirror that is there.
#[derive(Debug)]
pub(in crate::mirror) struct OvnMirror {
    north: Client,
    switch: Client,
    handle: OvnHandle,
    ports: Vec<SourcePort>,
    counts: Counts,
}

/// The two directions: what OVN calls them, and the end of their names.
const DIRECTIONS: [(&str, char); 2] = [("from-lport", 'f'), ("to-lport", 't')];

impl OvnHandle {
    fn new(address: Address, database: String, switch: PathBuf) -> std::io::Result<Self> {
        Ok(Self { address, database, mark: random_hex(16)?, switch })
    }

    /// What the mirror of a direction is called, in both databases. Its port there is `ovn-` and
    /// this, at most 15 bytes.
    fn name(&self, ending: char) -> String {
        format!("ovt{}{ending}", self.mark.get(..7).unwrap_or_default())
    }

    fn names(&self) -> [String; 2] {
        DIRECTIONS.map(|(_, ending)| self.name(ending))
    }
}

impl OvnMirror {
    /// Looks whether a mirror of these ports is possible, writes its handle down with `write_down`,
    /// makes it, and waits until Open vSwitch has it.
    pub(in crate::mirror) fn make(
        address: &Address,
        sources: &[Source],
        destination: &Destination,
        oversize: Oversize,
        networks: &Networks,
        write_down: impl FnOnce(&OvnHandle) -> Result<(), MirrorError>,
    ) -> Result<Self, MirrorError> {
        let (tunnel, next) = tunnels(destination)?;
        let socket = crate::ovsdb::socket_path();
        let mut switch = Client::connect(&socket).map_err(|failure| refused(&failure))?;
        let found = Switch::read(&mut switch).map_err(|failure| refused(&failure))?;
        let mut underlay = Underlay::open().map_err(|error| {
            MirrorError::Refused(format!("cannot ask the kernel about the underlay: {error}"))
        })?;
        let mut ports = Vec::new();
        for tunnel in [tunnel, next] {
            let destination = &Destination::Tunnel(tunnel);
            let wanted = Wanted { sources, destination, oversize, replaced: None };
            let checked =
                check::check(&found, &wanted, &mut underlay).map_err(MirrorError::Refused)?;
            ports = checked.ports;
        }
        for (source, port) in sources.iter().zip(&ports) {
            same_network(networks, source, port)?;
        }
        let mut north = connect(address).map_err(|failure| refused(&failure))?;
        let database = root(&mut north).map_err(|failure| refused(&failure))?;
        let logical = logical_ports(&mut north, sources)?;
        let handle = OvnHandle::new(address.clone(), database, socket)
            .map_err(|error| MirrorError::Refused(error.to_string()))?;
        write_down(&handle)?;
        north.transact(make_operations(&handle, [&tunnel, &next], &logical)).map_err(
            |failure| MirrorError::Failed(format!("OVN did not take the mirror: {failure}")),
        )?;
        let mut mirror = Self { north, switch, handle, ports, counts: Counts::default() };
        match mirror.await_switch() {
            Ok(()) => Ok(mirror),
            Err(problem) => {
                let left = mirror.remove().err();
                let left = left.map_or(String::new(), |error| format!("; and {error}"));
                Err(MirrorError::Failed(format!(
                    "OVN took the mirror, but it does not work: {problem}{left}"
                )))
            }
        }
    }

    /// The networks of these sources, in the order they were given.
    pub(in crate::mirror) fn networks<'a>(
        &'a self,
        sources: &'a [Source],
    ) -> impl Iterator<Item = (super::VnicKey, String)> + 'a {
        sources.iter().zip(&self.ports).map(|(source, port)| (super::key(source), port.network()))
    }

    /// What Open vSwitch has counted, before sending.
    pub(in crate::mirror) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Reads it back, at both ends.
    pub(in crate::mirror) fn look(&mut self) -> Result<Health, Failure> {
        let wished = self.north.transact(vec![select_marked(&self.handle)])?;
        if wished.first().map(rows).unwrap_or_default().len() < DIRECTIONS.len() {
            return Ok(Health::Removed);
        }
        let ports = transaction::sources(&mut self.switch, &self.ports)?;
        if ports != self.ports {
            return Ok(Health::Moved);
        }
        let made = made(&mut self.switch, &self.handle, &self.ports)?;
        if (made.packets, made.bytes) != (self.counts.packets, self.counts.bytes) {
            let at_ms = crate::clock::now().as_nanos() / 1_000_000;
            let Made { packets, bytes, .. } = made;
            self.counts = Counts { packets, bytes, failed: None, at_ms };
        }
        Ok(made.problem.map_or(Health::Well, Health::Ill))
    }

    /// Removes it, and waits until Open vSwitch has nothing of it.
    pub(in crate::mirror) fn remove(&mut self) -> Result<(), Failure> {
        // What has gone by since it was looked at last; it is only a figure.
        let _ = self.look();
        match remove_from(&mut self.north, &self.handle) {
            Err(failure) if failure.is_of_connection() => remove(&self.handle),
            result => result,
        }
    }

    /// Waits until what was wished for is there.
    fn await_switch(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + ACT_WITHIN;
        loop {
            let made = made(&mut self.switch, &self.handle, &self.ports);
            let problem = match made.map_err(|failure| failure.to_string())?.problem {
                None => return Ok(()),
                Some(problem) => problem,
            };
            if Instant::now() > deadline {
                return Err(format!(
                    "{problem}, {} s after it was asked for",
                    ACT_WITHIN.as_secs()
                ));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Removes what a handle names, if it is there: it is looked for in its own database only.
pub(in crate::mirror) fn remove(handle: &OvnHandle) -> Result<(), Failure> {
    let mut north = connect(&handle.address)?;
    if root(&mut north)? != handle.database {
        return Err(Failure::Other(format!(
            "{} is of another OVN than the mirror's",
            handle.address
        )));
    }
    remove_from(&mut north, handle)
}

fn remove_from(north: &mut Client, handle: &OvnHandle) -> Result<(), Failure> {
    // Ports refer to it weakly: they forget it by themselves.
    let delete = json!({ "op": "delete", "table": "Mirror", "where": marked(handle) });
    north.transact(vec![delete])?;
    let mut switch = Client::connect(&handle.switch)?;
    let deadline = Instant::now() + ACT_WITHIN;
    loop {
        let operations = handle.names().into_iter().flat_map(|name| {
            let port = format!("ovn-{name}");
            [select("Mirror", &name, &["_uuid"]), select("Port", &port, &["_uuid"])]
        });
        let results = switch.transact(operations.collect())?;
        if results.iter().all(|result| rows(result).is_empty()) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::Other(
                "OVN has forgotten the mirror, but ovn-controller has not removed it from Open \
                 vSwitch; does it run?"
                    .into(),
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The tunnel that was asked for, and the one for what goes to the VM.
fn tunnels(destination: &Destination) -> Result<(Tunnel, Tunnel), MirrorError> {
    let refuse = |text: &str| Err(MirrorError::Refused(text.to_owned()));
    let Destination::Tunnel(tunnel) = destination else {
        return refuse("OVN mirrors into tunnels only: gre://IP?key=N or erspan://IP?session=N");
    };
    let most = match tunnel.encapsulation {
        Encapsulation::Gre => i32::MAX.unsigned_abs(),
        Encapsulation::ErspanII { index: 0 } => 0x3ff,
        Encapsulation::ErspanII { .. } => return refuse("OVN chooses the index of ERSPAN itself"),
        _ => return refuse("OVN mirrors into GRE and ERSPAN II only"),
    };
    if tunnel.number >= most {
        return Err(MirrorError::Refused(format!(
            "OVN needs the number {} for what goes to the VM as well, and they end at {most}",
            u64::from(tunnel.number) + 1
        )));
    }
    Ok((*tunnel, Tunnel { number: tunnel.number + 1, ..*tunnel }))
}

fn connect(address: &Address) -> Result<Client, Failure> {
    let server = Server { database: "OVN_Northbound".to_owned(), address: address.clone() };
    Client::connect_to(server)
}

/// Which database this is.
fn root(north: &mut Client) -> Result<String, Failure> {
    let select = json!({ "op": "select", "table": "NB_Global", "where": [], "columns": ["_uuid"] });
    let results = north.transact(vec![select])?;
    let root = results.first().map(rows).unwrap_or_default().first().map(|row| one(row, "_uuid"));
    root.ok_or_else(|| Failure::Other("OVN's northbound database is empty".into()))
}

/// The logical ports of these sources: UUID and name.
fn logical_ports(
    north: &mut Client,
    sources: &[Source],
) -> Result<Vec<(String, String)>, MirrorError> {
    let mut names = Vec::new();
    for source in sources {
        let name = source.port_id.clone().ok_or_else(|| {
            let text = format!("{} has no iface-id, by which OVN would know it", source.label);
            MirrorError::Refused(text)
        })?;
        names.push((name, source));
    }
    let operations = names.iter().map(|(name, _)| {
        select("Logical_Switch_Port", name, &["_uuid", "addresses", "port_security"])
    });
    let results = north.transact(operations.collect()).map_err(|failure| refused(&failure))?;
    let mut found = Vec::new();
    for ((name, source), result) in names.into_iter().zip(&results) {
        let rows = rows(result);
        let row = rows.first().ok_or_else(|| {
            let text = format!("OVN has no logical port {name}, which is that of {}", source.label);
            MirrorError::Refused(text)
        })?;
        // Of a port with addresses the VM's must be one: else the name means another's.
        let macs = macs(row);
        if source.mac.is_some_and(|mac| !macs.is_empty() && !macs.contains(&mac)) {
            return Err(MirrorError::Refused(format!(
                "{name} is another VM's port in OVN, not that of {}",
                source.label
            )));
        }
        found.push((one(row, "_uuid"), name));
    }
    Ok(found)
}

/// The MACs that a logical port has; `dynamic` and `unknown` are none.
fn macs(row: &Value) -> BTreeSet<wire::Mac> {
    let texts = [set(row, "addresses"), set(row, "port_security")];
    let first = |text: &String| text.split_whitespace().next()?.parse().ok();
    texts.iter().flatten().filter_map(first).collect()
}

/// Makes both rows and hangs them into the ports, or does nothing.
fn make_operations(
    handle: &OvnHandle,
    tunnels: [&Tunnel; 2],
    logical: &[(String, String)],
) -> Vec<Value> {
    let mut operations = Vec::new();
    for (uuid, name) in logical {
        // The transaction fails if the port is gone by now.
        operations.push(json!({
            "op": "wait", "timeout": 0, "table": "Logical_Switch_Port", "until": "==",
            "where": [["_uuid", "==", reference(uuid)]],
            "columns": ["name"], "rows": [{ "name": name }],
        }));
    }
    for ((filter, ending), tunnel) in DIRECTIONS.into_iter().zip(tunnels) {
        operations.push(json!({
            "op": "insert", "table": "Mirror", "uuid-name": format!("mirror_{ending}"),
            "row": {
                "name": handle.name(ending),
                "filter": filter,
                "type": tunnel.encapsulation.word(),
                "sink": tunnel.remote.to_string(),
                "index": tunnel.number,
                "external_ids": ["map", [[MARK, handle.mark]]],
            },
        }));
    }
    let both = DIRECTIONS.map(|(_, ending)| json!(["named-uuid", format!("mirror_{ending}")]));
    for (uuid, _) in logical {
        operations.push(json!({
            "op": "mutate", "table": "Logical_Switch_Port",
            "where": [["_uuid", "==", reference(uuid)]],
            "mutations": [["mirror_rules", "insert", ["set", both]]],
        }));
    }
    operations
}

/// What Open vSwitch has of it.
struct Made {
    /// Why not all of it works.
    problem: Option<String>,
    packets: u64,
    bytes: u64,
}

fn made(switch: &mut Client, handle: &OvnHandle, ports: &[SourcePort]) -> Result<Made, Failure> {
    let operations = handle.names().into_iter().flat_map(|name| {
        let interface = format!("ovn-{name}");
        let columns = ["select_src_port", "select_dst_port", "output_port", "statistics"];
        let output = ["name", "ofport", "error", "type"];
        [select("Mirror", &name, &columns), select("Interface", &interface, &output)]
    });
    let results = switch.transact(operations.collect())?;
    let wanted: BTreeSet<String> = ports.iter().map(|port| port.uuid.clone()).collect();
    let mut made = Made { problem: None, packets: 0, bytes: 0 };
    let columns = ["select_src_port", "select_dst_port"];
    for (pair, column) in results.chunks(2).zip(columns) {
        let mut found = pair.iter().map(rows);
        let (mirror, output) = (found.next().unwrap_or_default(), found.next().unwrap_or_default());
        let problem = match (mirror.first(), output.first()) {
            (None, _) => Some("ovn-controller has not made it here".to_owned()),
            (_, None) => Some("its output port is missing".to_owned()),
            (Some(mirror), _) if set(mirror, column) != wanted => {
                Some("not all of its ports are mirrored, or others are".to_owned())
            }
            (Some(mirror), _) if set(mirror, "output_port").is_empty() => {
                Some("its output port was removed".to_owned())
            }
            (_, Some(output)) => output_problem(output),
        };
        made.problem = made.problem.or(problem);
        let statistics = mirror.first().and_then(|row| row.get("statistics"));
        let statistics: Vec<_> = statistics.map(|map| pairs(map).collect()).unwrap_or_default();
        let count = |key: &str| {
            let found = statistics.iter().find(|(known, _)| known == key);
            found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        made.packets += count("tx_packets");
        made.bytes += count("tx_bytes");
    }
    Ok(made)
}

fn select(table: &str, name: &str, columns: &[&str]) -> Value {
    json!({ "op": "select", "table": table, "where": [["name", "==", name]], "columns": columns })
}

fn select_marked(handle: &OvnHandle) -> Value {
    json!({ "op": "select", "table": "Mirror", "where": marked(handle), "columns": ["_uuid"] })
}

fn marked(handle: &OvnHandle) -> Value {
    json!([["external_ids", "includes", ["map", [[MARK, handle.mark]]]]])
}

const MARK: &str = "overtap-mirror";
/// How long OVN may take: its northd, its southbound database, the controller, the switch.
const ACT_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_are_needed_and_only_some_tunnels_are_made() {
        let of = |text: &str| tunnels(&text.parse().unwrap());
        let numbers = |text: &str| of(text).map(|(one, two)| (one.number, two.number)).unwrap();
        assert_eq!(numbers("gre://10.0.0.9?key=101"), (101, 102));
        assert_eq!(numbers("erspan://10.0.0.9?session=1022"), (1022, 1023));
        for (text, why) in [
            ("erspan://10.0.0.9?session=1023", "1024 for what goes to the VM"),
            ("gre://10.0.0.9?key=4294967295", "4294967296 for what goes"),
            ("erspan://10.0.0.9?session=1&index=7", "index of ERSPAN itself"),
            ("erspan://10.0.0.9?session=1&type=3", "GRE and ERSPAN II only"),
            ("vxlan://10.0.0.9?vni=1", "GRE and ERSPAN II only"),
            ("vlan:7", "tunnels only"),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn names_fit_the_kernel_and_tell_the_directions() {
        let handle =
            OvnHandle::new("unix:/x".parse().unwrap(), String::new(), PathBuf::new()).unwrap();
        let [from, to] = handle.names();
        assert!(from != to && format!("ovn-{from}").len() <= 15, "{from}");
        assert_eq!(
            "tcp:10.0.0.1:6641,tcp:10.0.0.2:6641".parse::<Address>().unwrap().to_string(),
            "tcp:10.0.0.1:6641"
        );
        assert!("ssl:10.0.0.1:6641".parse::<Address>().is_err());
    }
}
