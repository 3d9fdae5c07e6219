//! Mirrors of Open vSwitch, by its database.
//!
//! One transaction makes a mirror whole, one removes it whole (`transaction` says what is in them).
//! Three things about Open vSwitch shape this, all measured with 3.1:
//!
//! - A mirror that is only removed goes on copying running flows, whatever the version; one that is
//!   only changed does so before 3.4. A port that comes or goes makes the switch look at all flows
//!   again. So each mirror has a port of its own, which is born and dies in its transactions.
//! - An accepted transaction is no mirror yet: the switch may not run, may find the port's name
//!   taken or the tunnel twice, or may have 32 mirrors already. So all is read back.
//! - Export that leaves through what it mirrors ends the switch. So the way out is looked at first.

mod check;
mod client;
mod ovn;
mod switch;
mod transaction;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use inventory::MachineId;
use plan::mirror::{Destination, Source};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::Mac;

use self::check::Wanted;
pub use self::client::Address;
use self::client::Client;
pub(super) use self::client::Failure;
pub use self::ovn::OvnHandle;
pub(super) use self::ovn::{OvnMirror, remove as remove_of_ovn};
use self::switch::{SourcePort, Switch};
use super::register::Counts;
use super::session::Oversize;
use super::underlay::Underlay;
use super::{MirrorError, random_hex};

/// What names a mirror in a database, whoever reads it.
///
/// The UUIDs are ours to choose and written down before the rows exist. An Open vSwitch that does
/// not let a client choose has them under other UUIDs, but with our mark in `external_ids`, which
/// nobody can have by accident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OvsHandle {
    /// The database's socket.
    pub socket: PathBuf,
    /// The UUID of the database's only row of table Open_vSwitch: which database it is.
    pub database: String,
    /// The switch.
    pub bridge: String,
    /// `external_ids:overtap-mirror` of each row of ours.
    pub mark: String,
    /// The row of table Mirror.
    pub mirror: String,
    /// The row of table Port that is the output, or makes the switch look at its flows again.
    pub port: String,
    /// The row of table Interface of that port.
    pub interface: String,
    /// The same for a second port, where the output is a port that has no name of ours.
    pub anchor: Option<(String, String)>,
    /// A VLAN that the switch floods because of us.
    pub flooded_vlan: Option<u16>,
}

/// A mirror that is there.
#[derive(Debug)]
pub(super) struct OvsMirror {
    client: Client,
    handle: OvsHandle,
    ports: Vec<SourcePort>,
    is_bound_to_count: Instant,
    counts: Counts,
}

/// A vNIC, wherever it is plugged in.
pub(super) type VnicKey = (MachineId, Option<Mac>);

/// The network each vNIC was in when it was first mirrored, in words.
pub(super) type Networks = BTreeMap<VnicKey, String>;

/// What is found when a mirror is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    /// It mirrors.
    Well,
    /// It does not, or not all, for this reason; it may again.
    Ill(String),
    /// A source's port is not what it was: what is mirrored has to be found anew.
    Moved,
    /// A source's port is in another network.
    OtherNetwork(String),
    /// Somebody else has removed it.
    Removed,
}

impl OvsHandle {
    /// A new one; nothing has it yet.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(socket: PathBuf, database: String, bridge: String) -> std::io::Result<Self> {
        Ok(Self {
            socket,
            database,
            bridge,
            mark: random_hex(16)?,
            mirror: uuid()?,
            port: uuid()?,
            interface: uuid()?,
            anchor: None,
            flooded_vlan: None,
        })
    }

    /// A port name of at most 15 bytes, as the kernel has them.
    fn port_name(&self, ending: char) -> String {
        format!("ovt{}{ending}", self.mark.get(..10).unwrap_or_default())
    }
}

impl OvsMirror {
    /// Looks whether a mirror of these ports is possible, writes its handle down with `write_down`,
    /// makes it, and reads it back. `replaced` is removed in the same transaction.
    pub(super) fn make(
        sources: &[Source],
        destination: &Destination,
        oversize: Oversize,
        replaced: Option<&OvsHandle>,
        networks: &Networks,
        write_down: impl FnOnce(&OvsHandle) -> Result<(), MirrorError>,
    ) -> Result<Self, MirrorError> {
        let socket = crate::ovsdb::socket_path();
        let mut client = Client::connect(&socket).map_err(|failure| refused(&failure))?;
        let switch = Switch::read(&mut client).map_err(|failure| refused(&failure))?;
        let mut underlay = Underlay::open().map_err(|error| {
            MirrorError::Refused(format!("cannot ask the kernel about the underlay: {error}"))
        })?;
        let wanted = Wanted { sources, destination, oversize, replaced };
        let checked =
            check::check(&switch, &wanted, &mut underlay).map_err(MirrorError::Refused)?;
        let bridge = checked.bridge.name.clone();
        let mut handle = OvsHandle::new(socket, switch.root.clone(), bridge)
            .map_err(|error| MirrorError::Refused(error.to_string()))?;
        if !matches!(destination, Destination::Tunnel(_)) {
            let row = || uuid().map_err(|error| MirrorError::Refused(error.to_string()));
            handle.anchor = Some((row()?, row()?));
        }
        if let Destination::Vlan(vlan) = destination {
            let was_ours = replaced.and_then(|replaced| replaced.flooded_vlan);
            let is_ours = was_ours == Some(vlan.value()) || !checked.bridge.floods(*vlan);
            handle.flooded_vlan = is_ours.then_some(vlan.value());
        }
        write_down(&handle)?;
        let ports = checked.ports.clone();
        for (source, port) in sources.iter().zip(&ports) {
            same_network(networks, source, port)?;
        }
        transaction::make(&mut client, &checked, &handle, destination, replaced).map_err(
            |failure| {
                MirrorError::Failed(format!("Open vSwitch did not take the mirror: {failure}"))
            },
        )?;
        let mut mirror = Self {
            client,
            handle,
            ports,
            is_bound_to_count: Instant::now() + FIRST_COUNT_WITHIN,
            counts: Counts::default(),
        };
        match mirror.look() {
            Ok(Health::Well) => Ok(mirror),
            result => {
                let problem = match result {
                    Ok(Health::Ill(problem)) => problem,
                    Ok(health) => format!("it is not there as it was written ({health:?})"),
                    Err(failure) => failure.to_string(),
                };
                let left = mirror.remove().err();
                let left = left.map_or(String::new(), |error| format!("; and {error}"));
                Err(MirrorError::Failed(format!(
                    "Open vSwitch took the mirror, but it does not work: {problem}{left}"
                )))
            }
        }
    }

    /// The networks of these sources, in the order they were given.
    pub(super) fn networks<'a>(
        &'a self,
        sources: &'a [Source],
    ) -> impl Iterator<Item = (VnicKey, String)> + 'a {
        sources.iter().zip(&self.ports).map(|(source, port)| (key(source), port.network()))
    }

    /// What it is called in the database.
    pub(super) const fn handle(&self) -> &OvsHandle {
        &self.handle
    }

    /// What the switch has counted. It counts copies before they are sent, also those that are not.
    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Reads it back: whether all of it is as it was written, and what it has copied.
    pub(super) fn look(&mut self) -> Result<Health, Failure> {
        let found = transaction::look(&mut self.client, &self.handle)?;
        let Some(row) = found.mirror else { return Ok(Health::Removed) };
        if let Some((packets, bytes)) = row.statistics
            && (self.counts.at_ms == 0
                || (packets, bytes) != (self.counts.packets, self.counts.bytes))
        {
            let at_ms = crate::clock::now().as_nanos() / 1_000_000;
            self.counts = Counts { packets, bytes, failed: None, at_ms };
        }
        if !row.has_output {
            return Ok(Health::Ill("its output port was removed".into()));
        }
        let ports = transaction::sources(&mut self.client, &self.ports)?;
        if ports != self.ports {
            let elsewhere = self.ports.iter().find_map(|old| {
                let new = ports.iter().find(|new| new.uuid == old.uuid)?;
                (new.network() != old.network()).then(|| {
                    format!(
                        "{} is in {} now, not in {}",
                        old.port.name,
                        new.network(),
                        old.network()
                    )
                })
            });
            return Ok(elsewhere.map_or(Health::Moved, Health::OtherNetwork));
        }
        if row.selected != self.ports.len() {
            return Ok(Health::Ill("a port it mirrors was removed".into()));
        }
        if let Some(problem) = found.output_problem {
            return Ok(Health::Ill(problem));
        }
        if row.statistics.is_none() && Instant::now() > self.is_bound_to_count {
            return Ok(Health::Ill(
                "the switch does not count it: it may have 32 mirrors already".into(),
            ));
        }
        Ok(Health::Well)
    }

    /// Removes it, and waits until the switch has done so.
    pub(super) fn remove(&mut self) -> Result<(), Failure> {
        match transaction::remove(&mut self.client, &self.handle) {
            // The server was restarted meanwhile, or we have not spoken for long.
            Err(failure) if failure.is_of_connection() => remove(&self.handle),
            result => result,
        }
    }
}

/// Removes what a handle names, if it is there: it is looked for in its own database only.
pub(super) fn remove(handle: &OvsHandle) -> Result<(), Failure> {
    let mut client = Client::connect(&handle.socket)?;
    let root = switch::root(&mut client)?;
    if root != handle.database {
        return Err(Failure::Other(format!(
            "{} is of another Open vSwitch than the mirror's",
            handle.socket.display()
        )));
    }
    transaction::remove(&mut client, handle)
}

/// Refuses a vNIC that is in another network than when it was first mirrored.
fn same_network(
    networks: &Networks,
    source: &Source,
    port: &SourcePort,
) -> Result<(), MirrorError> {
    let now = port.network();
    match networks.get(&key(source)).filter(|known| **known != now) {
        None => Ok(()),
        Some(known) => Err(MirrorError::OtherNetwork(format!(
            "{} is in {now} now, not in {known}",
            source.label
        ))),
    }
}

fn key(source: &Source) -> VnicKey {
    (source.machine.clone(), source.mac)
}

fn refused(failure: &Failure) -> MirrorError {
    MirrorError::Refused(failure.to_string())
}

/// A UUID of version 4 (RFC 9562, section 5.4).
fn uuid() -> std::io::Result<String> {
    let hex = random_hex(16)?;
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    Ok(format!(
        "{}-{}-4{}-a{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    ))
}

/// A UUID as OVSDB writes it (RFC 7047, section 5.1).
fn reference(uuid: &str) -> Value {
    serde_json::json!(["uuid", uuid])
}

/// The switch counts every 5 s (`other_config:stats-update-interval`); after three times that a
/// mirror without counts is none.
const FIRST_COUNT_WITHIN: Duration = Duration::from_secs(15);
