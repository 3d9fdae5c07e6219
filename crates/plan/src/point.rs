//! A place where packets can be seen.

use std::fmt;

use inventory::UplinkChoice;
use select::Ownership;
use serde::{Serialize, Serializer};
use wire::Mac;

/// A place where a machine's packets can be seen, with all the interfaces that make it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// What place it is.
    pub kind: PointKind,
    /// Why it cannot be used, with the remedy where there is one; `None` if it can.
    pub refusal: Option<String>,
    /// The vNICs that are seen here.
    pub vnics: Vec<String>,
    /// Where to listen; empty if the point is refused.
    pub interfaces: Vec<Interface>,
    /// What is seen, and in which shape.
    pub sees: String,
    /// What is not seen, one sentence each.
    pub misses: Vec<String>,
    /// What the host pays.
    pub costs: String,
    /// Whom it disturbs.
    pub disturbs: String,
}

impl Point {
    /// Whether packets can be captured here.
    pub const fn is_usable(&self) -> bool {
        self.refusal.is_none()
    }
}

/// What place an observation point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointKind {
    /// The vNIC's own port on the host: tap, macvtap, or the host's end of a veth pair.
    Port,
    /// The vNIC itself, within the machine's network namespace.
    Inside,
    /// The physical cards by which the frames leave the host.
    Uplink,
    /// The uplinks of a host where the machine is not, which show what it exchanges with machines
    /// there.
    Peer,
    /// An interface where a mirror's packets come to this host.
    Mirror,
}

impl PointKind {
    /// The word for it on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Port => "tap",
            Self::Inside => "inside",
            Self::Uplink => "uplink",
            Self::Peer => "peer",
            Self::Mirror => "mirror",
        }
    }
}

impl fmt::Display for PointKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Port => "own port",
            Self::Inside => "own interface, inside",
            Self::Uplink => "uplink",
            Self::Peer => "uplink of a peer",
            Self::Mirror => "mirror",
        })
    }
}

/// One interface of an observation point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Device name.
    pub name: String,
    /// Its interface index in its namespace; `None` where it is only known by name.
    pub ifindex: Option<u32>,
    /// A path to enter the namespace it is in; `None` for overtap's own.
    pub namespace_path: Option<String>,
    /// The vNIC, or several with commas on an uplink.
    pub vnic: String,
    /// The vNIC's MAC; `None` on a shared wire, and where it is not known.
    #[serde(serialize_with = "as_text")]
    pub mac: Option<Mac>,
    /// Name for people and for the file: `web-01/net0 @ hv-1:vnet3`.
    pub label: String,
    /// One sentence about it, for the file.
    pub description: String,
    /// Which frames there are the machine's.
    pub ownership: Ownership,
    /// Which end of the vNIC it is, which decides what "outgoing" means there.
    pub side: Side,
    /// Whether the machine's frames take this uplink, and how that is known; empty for a port.
    #[serde(serialize_with = "as_word")]
    pub choice: Option<UplinkChoice>,
}

/// How the label of a point begins that is one vNIC's own; the device follows.
pub(crate) fn vnic_label(machine: &str, vnic: &str, host: &str) -> String {
    format!("{machine}/{vnic} @ {host}:")
}

/// How the label of a point begins that shows all of a machine; the device follows.
pub(crate) fn machine_label(machine: &str, host: &str) -> String {
    format!("{machine} @ {host}:")
}

/// Which end of a vNIC an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The host's: what the kernel sends there goes to the VM (tap, veth).
    Host,
    /// The guest's: what the kernel sends there comes from the VM (veth in the namespace; macvtap,
    /// which hands the VM's frames to the kernel as if they were sent).
    Guest,
    /// Neither: a wire shared with others, where only MACs tell the direction.
    Shared,
}

fn as_text<S: Serializer>(mac: &Option<Mac>, serializer: S) -> Result<S::Ok, S::Error> {
    mac.map(|mac| mac.to_string()).serialize(serializer)
}

fn as_word<S: Serializer>(choice: &Option<UplinkChoice>, serializer: S) -> Result<S::Ok, S::Error> {
    choice.map(choice_word).serialize(serializer)
}

/// How sure it is that a machine's frames take an uplink.
pub(crate) const fn choice_word(choice: UplinkChoice) -> &'static str {
    match choice {
        UplinkChoice::Only => "only",
        UplinkChoice::Reported => "reported",
        UplinkChoice::Standby => "standby",
        UplinkChoice::Shared => "shared",
        UplinkChoice::Computed => "computed",
    }
}
