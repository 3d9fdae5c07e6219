//! Open vSwitch's database: bridges, ports, NIC teams, tunnels and whose port is whose.
//!
//! A client of our own for the JSON-RPC of ovsdb-server on its unix socket (RFC 7047 and
//! ovsdb-server(7)). It monitors and never writes.

pub(crate) mod frame;
mod spread;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inventory::facts::{Facts, OvsBridge, OvsFacts, OvsInterface, OvsPort, OvsSpread, Source};
use serde_json::{Value, json};
use wire::VlanId;

use self::frame::{Framer, Unframed};
use self::table::{Database, Row};
use crate::stream::{Arrival, BackOff, Stream};
use crate::watch::{Mailbox, Shared, Waker};

/// The database's socket: `db.sock` in `OVS_RUNDIR` or in `/run/openvswitch`.
pub(crate) fn socket_path() -> PathBuf {
    let directory = std::env::var_os("OVS_RUNDIR").unwrap_or("/run/openvswitch".into());
    Path::new(&directory).join("db.sock")
}

/// Reads everything once; `None` if Open vSwitch is not installed here.
pub(crate) fn read_once(path: &Path, deadline: Instant) -> Option<Result<OvsFacts, String>> {
    let read = || {
        let waker = Waker::new()?;
        let mut session = Session::connect(path)?;
        session.monitor()?;
        loop {
            match session.receive(&waker, Some(deadline))? {
                Received::Changed => return Ok(complete(session.facts(), path)),
                Received::Nothing => {}
                Received::Deadline | Received::Woken => return Err(Failure::Silent),
            }
        }
    };
    match read() {
        Ok(facts) => Some(Ok(facts)),
        Err(failure) if failure.is_absence() => None,
        Err(failure) => Some(Err(failure.sentence(path))),
    }
}

/// Watches until `shared` is stopped and `waker` woken.
pub(crate) fn watch(path: &Path, shared: &Shared, waker: &Waker) {
    let mut back_off = BackOff::new();
    let mut down_since = None;
    while !shared.is_stopped() {
        let failure = match follow(path, shared, waker, &mut || {
            back_off = BackOff::new();
            down_since = None;
        }) {
            Ok(()) => return,
            Err(failure) => failure,
        };
        let since = *down_since.get_or_insert_with(Instant::now);
        report_failure(&failure, path, since, &shared.mailbox);
        let _ = crate::watch::wait(&[waker.as_fd()], Some(back_off.next()));
    }
}

/// One connection, until it breaks or we are stopped. Calls `on_facts` when there are some.
fn follow(
    path: &Path,
    shared: &Shared,
    waker: &Waker,
    on_facts: &mut dyn FnMut(),
) -> Result<(), Failure> {
    let mut session = Session::connect(path)?;
    session.monitor()?;
    let mut due: Option<Instant> = None;
    let mut told: Option<OvsFacts> = None;
    // Until the first answer, silence is a failure; after it, it is just quiet.
    let mut patience = Some(Instant::now() + ANSWER_TIMEOUT);
    while !shared.is_stopped() {
        match session.receive(waker, due.or(patience))? {
            // A new port's `ofport` and `ifindex` come in a second update: taken together.
            Received::Changed => {
                let soon = Instant::now() + COALESCE;
                due = Some(due.map_or(soon, |due| due.min(soon)));
                patience = None;
            }
            Received::Deadline if due.is_none() => return Err(Failure::Silent),
            Received::Nothing | Received::Deadline | Received::Woken => {}
        }
        if due.is_some_and(|due| due <= Instant::now()) {
            on_facts();
            let facts = complete(session.facts(), path);
            // The database does not tell when a team is balanced anew.
            due = spread::is_told(&facts).then(|| Instant::now() + BALANCED_EVERY);
            if told.as_ref() != Some(&facts) {
                shared.mailbox.put(Source::Ovsdb, Ok(Facts::OpenVSwitch(facts.clone())));
                told = Some(facts);
            }
        }
    }
    Ok(())
}

/// What the database says, and what only the daemon beside it knows.
fn complete(mut facts: OvsFacts, path: &Path) -> OvsFacts {
    if let Some(directory) = path.parent() {
        spread::complete(&mut facts, directory);
    }
    facts
}

/// A restart takes a second or two, during which the last report holds.
fn report_failure(failure: &Failure, path: &Path, since: Instant, mailbox: &Mailbox) {
    let is_lasting = since.elapsed() >= GRACE;
    if failure.is_absence() {
        // Never installed: nothing to say. Removed: nothing is there any more.
        if is_lasting {
            mailbox.put_last(Source::Ovsdb, Facts::OpenVSwitch(OvsFacts::default()));
        }
    } else if is_lasting || !mailbox.has_heard(&Source::Ovsdb) {
        mailbox.put(Source::Ovsdb, Err(failure.sentence(path)));
    }
}

/// A connection and what it has told so far.
#[derive(Debug)]
struct Session {
    stream: Stream,
    framer: Framer,
    database: Database,
    method: &'static str,
}

/// What came of waiting for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Received {
    /// The database changed, or was read for the first time.
    Changed,
    /// Something that does not concern the database.
    Nothing,
    Deadline,
    Woken,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Unframed(#[from] Unframed),
    #[error("a message is no JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("the server refused to be monitored: {0}")]
    Refused(String),
    #[error("no answer")]
    Silent,
}

impl Session {
    fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self {
            stream: Stream::connect(path)?,
            framer: Framer::default(),
            database: Database::default(),
            method: MONITOR_SINCE,
        })
    }

    /// Asks for all rows and for every change from now on.
    fn monitor(&mut self) -> io::Result<()> {
        let is_conditional = self.method == MONITOR_SINCE;
        let mut parameters = json!([DATABASE, DATABASE, Database::requests(is_conditional)]);
        if let (true, Some(parameters)) = (is_conditional, parameters.as_array_mut()) {
            // No history: only clustered servers keep one, and a host's is not.
            parameters.push(json!("00000000-0000-0000-0000-000000000000"));
        }
        let request = json!({ "method": self.method, "params": parameters, "id": self.method });
        self.stream.write(request.to_string().as_bytes())
    }

    /// Waits for the next message and takes it.
    fn receive(&mut self, waker: &Waker, deadline: Option<Instant>) -> Result<Received, Failure> {
        loop {
            if let Some(object) = self.framer.next()? {
                return self.take(&serde_json::from_slice(&object)?);
            }
            match self.stream.read(self.framer.bytes(), &[waker.as_fd()], deadline)? {
                Arrival::Bytes => {}
                Arrival::Deadline => return Ok(Received::Deadline),
                Arrival::Woken => return Ok(Received::Woken),
            }
        }
    }

    fn take(&mut self, message: &Value) -> Result<Received, Failure> {
        let parameters = message.get("params").unwrap_or(&Value::Null);
        match message.get("method").and_then(Value::as_str) {
            Some("echo") => {
                let id = message.get("id").unwrap_or(&Value::Null);
                let reply = json!({ "result": parameters, "error": null, "id": id });
                self.stream.write(reply.to_string().as_bytes())?;
                return Ok(Received::Nothing);
            }
            Some("update3") => self.database.apply_differences(element(parameters, 2)),
            Some("update2") => self.database.apply_differences(element(parameters, 1)),
            Some("update") => self.database.apply_rows(element(parameters, 1)),
            Some(_) => return Ok(Received::Nothing),
            None => return self.take_reply(message),
        }
        Ok(Received::Changed)
    }

    fn take_reply(&mut self, message: &Value) -> Result<Received, Failure> {
        if message.get("id").and_then(Value::as_str) != Some(self.method) {
            return Ok(Received::Nothing);
        }
        let error = message.get("error").filter(|error| !error.is_null());
        let result = message.get("result").unwrap_or(&Value::Null);
        match (error, self.method) {
            // Open vSwitch before 2.12 does not know the method.
            (Some(_), MONITOR_SINCE) => {
                self.method = MONITOR;
                self.monitor()?;
                return Ok(Received::Nothing);
            }
            (Some(error), _) => return Err(Failure::Refused(error.to_string())),
            (None, MONITOR_SINCE) => self.database.apply_differences(element(result, 2)),
            (None, _) => self.database.apply_rows(result),
        }
        Ok(Received::Changed)
    }

    fn facts(&self) -> OvsFacts {
        let switch = self.database.rows("Open_vSwitch").next();
        let bridges = switch.into_iter().flat_map(|switch| {
            self.database.referenced("Bridge", switch, "bridges").map(|row| self.bridge(row))
        });
        let mut bridges: Vec<OvsBridge> = bridges.collect();
        bridges.sort_by(|a, b| a.name.cmp(&b.name));
        let hostname = switch.and_then(|switch| switch.key("external_ids", "hostname"));
        OvsFacts { hostname: hostname.map(str::to_owned), bridges }
    }

    fn bridge(&self, row: &Row) -> OvsBridge {
        let ports = self.database.referenced("Port", row, "ports").map(|row| self.port(row));
        let mut ports: Vec<OvsPort> = ports.collect();
        ports.sort_by(|a, b| a.name.cmp(&b.name));
        OvsBridge { name: text(row, "name"), datapath: text(row, "datapath_type"), ports }
    }

    fn port(&self, row: &Row) -> OvsPort {
        let interfaces = self.database.referenced("Interface", row, "interfaces").map(interface);
        let mut interfaces: Vec<OvsInterface> = interfaces.collect();
        interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        let mut trunks: Vec<VlanId> = row.set("trunks").filter_map(vlan).collect();
        trunks.sort_unstable();
        let basis = row.key("other_config", "bond-hash-basis");
        OvsPort {
            name: text(row, "name"),
            tag: row.one("tag").and_then(vlan),
            trunks,
            vlan_mode: row.one("vlan_mode").map(str::to_owned),
            is_mirror_output: self.is_mirror_output(row),
            bond_mode: row.one("bond_mode").map(str::to_owned),
            bond_active: row.one("bond_active_slave").and_then(|mac| mac.parse().ok()),
            spread: (row.one("bond_mode") == Some("balance-slb")).then(|| OvsSpread {
                basis: basis.and_then(|basis| basis.parse().ok()).unwrap_or(0),
                members: BTreeMap::new(),
            }),
            interfaces,
        }
    }

    fn is_mirror_output(&self, port: &Row) -> bool {
        let mirrors = self.database.rows("Mirror");
        let mut outputs =
            mirrors.flat_map(|mirror| self.database.referenced("Port", mirror, "output_port"));
        outputs.any(|output| std::ptr::eq(output, port))
    }
}

impl Failure {
    /// Whether there is simply no Open vSwitch on this host.
    fn is_absence(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    fn sentence(&self, path: &Path) -> String {
        let path = path.display();
        let kind = if let Self::Io(error) = self { Some(error.kind()) } else { None };
        match kind {
            Some(io::ErrorKind::PermissionDenied) => format!(
                "cannot read Open vSwitch's database at {path}: {self}; run as root or join the \
                 group that owns the socket"
            ),
            Some(io::ErrorKind::ConnectionRefused) => {
                format!("cannot read Open vSwitch's database at {path}: {self}; start ovsdb-server")
            }
            Some(io::ErrorKind::UnexpectedEof) => {
                format!("cannot read Open vSwitch's database at {path}: the server hung up")
            }
            _ => format!("cannot read Open vSwitch's database at {path}: {self}"),
        }
    }
}

fn interface(row: &Row) -> OvsInterface {
    let external_id = |key: &str| row.key("external_ids", key);
    // libvirt and Neutron, XenServer, ovs-docker.
    let vm_id = ["vm-id", "xs-vm-uuid", "container_id"].iter().find_map(|key| external_id(key));
    let number = |column: &str| row.one(column).and_then(|n| n.parse().ok()).filter(|n| *n != 0);
    OvsInterface {
        name: text(row, "name"),
        kind: text(row, "type"),
        // -1 says that the interface could not be attached.
        ofport: number("ofport"),
        ifindex: number("ifindex"),
        mac_in_use: row.one("mac_in_use").and_then(|mac| mac.parse().ok()),
        attached_mac: external_id("attached-mac").and_then(|mac| mac.parse().ok()),
        iface_id: external_id("iface-id").map(str::to_owned),
        vm_id: vm_id.map(str::to_owned),
        options: row.map("options").map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        is_up: row.one("link_state") == Some("up"),
    }
}

fn text(row: &Row, column: &str) -> String {
    row.one(column).unwrap_or_default().to_owned()
}

fn vlan(text: &str) -> Option<VlanId> {
    text.parse().ok().and_then(VlanId::new)
}

/// An element of an array; null if there is none.
fn element(array: &Value, at: usize) -> &Value {
    array.get(at).unwrap_or(&Value::Null)
}

const DATABASE: &str = "Open_vSwitch";
const MONITOR_SINCE: &str = "monitor_cond_since";
const MONITOR: &str = "monitor";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const COALESCE: Duration = Duration::from_millis(20);
/// A team is balanced every 10 s, if nobody has said otherwise (ovs-vswitchd.conf.db(5)).
const BALANCED_EVERY: Duration = Duration::from_secs(3);
/// How long a daemon may be away, as in a restart, before that is reported.
const GRACE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
