//! The site as overtap believes it to be: machines, their vNICs, and the way of their packets out.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::{Mac, Timestamp, VlanId, Vni};

use crate::facts::{NamespaceId, Source, UnknownWord, Uuid};
use crate::text;

/// One host's machines and how each of them is attached, at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The host all of it is about.
    pub host: Host,
    /// Machines by name, then id.
    pub machines: Vec<Machine>,
    /// Which sources answered, which did not and why.
    pub sources: Vec<SourceState>,
}

/// A physical machine that runs VMs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
}

/// Whether a source could be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// Which.
    #[serde(with = "text::word")]
    pub source: Source,
    /// When it last spoke.
    #[serde(with = "text::time")]
    pub at: Timestamp,
    /// Why it could not be read, with the remedy; `None` when it could.
    pub problem: Option<String>,
}

/// A VM, container or network namespace: whatever a person names to see its packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Who it is, whatever its name or place.
    #[serde(with = "text::word")]
    pub id: MachineId,
    /// Its name now.
    pub name: String,
    /// Other names sources have for it: the one it was started with, its title, its domain id.
    pub aliases: Vec<String>,
    /// What it is.
    pub kind: MachineKind,
    /// What it does now.
    pub state: MachineState,
    /// Owner, where a source knows it.
    pub tenant: Option<String>,
    /// Its network cards, in device order.
    pub vnics: Vec<Vnic>,
    /// A process of it: QEMU, or one in the namespace.
    pub pid: Option<u32>,
    /// By what the network namespace that it is can be entered; `None` for a VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_path: Option<String>,
    /// Since when it is as it is here, where known.
    #[serde(with = "text::optional_time")]
    pub since: Option<Timestamp>,
    /// Why we believe so: one line for each fact and source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// The identity of a machine: never its name, never an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineId {
    /// A VM by its UUID.
    Uuid(Uuid),
    /// A container by its runtime's id.
    Container(String),
    /// A network namespace by its inode.
    Namespace(NamespaceId),
    /// A QEMU process without UUID.
    Process(u32),
    /// What a vSwitch port says is attached, when nothing else knows it.
    Port(String),
    /// A VM of an inventory file that gives no UUID: `acme/web-01`, or `web-01` without a tenant.
    Written(String),
}

impl fmt::Display for MachineId {
    /// One word, `uuid:3f2a…`, `container:ab12…`, `namespace:4026532001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => write!(f, "uuid:{uuid}"),
            Self::Container(id) => write!(f, "container:{id}"),
            Self::Namespace(NamespaceId(inode)) => write!(f, "namespace:{inode}"),
            Self::Process(pid) => write!(f, "process:{pid}"),
            Self::Port(id) => write!(f, "port:{id}"),
            Self::Written(name) => write!(f, "written:{name}"),
        }
    }
}

impl FromStr for MachineId {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let (kind, id) = text.split_once(':').ok_or(UnknownWord)?;
        match kind {
            "uuid" => id.parse().map(Self::Uuid),
            "container" => Ok(Self::Container(id.to_owned())),
            "namespace" => {
                id.parse().map(|i| Self::Namespace(NamespaceId(i))).map_err(|_| UnknownWord)
            }
            "process" => id.parse().map(Self::Process).map_err(|_| UnknownWord),
            "port" => Ok(Self::Port(id.to_owned())),
            "written" => Ok(Self::Written(id.to_owned())),
            _ => Err(UnknownWord),
        }
    }
}

/// What kind of machine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineKind {
    /// A virtual machine.
    Vm,
    /// A container.
    Container,
    /// A plain network namespace.
    Namespace,
}

/// What a machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineState {
    /// It runs here.
    Running,
    /// It is paused here.
    Paused,
    /// It is arriving by migration.
    Incoming,
    /// It is leaving by migration.
    Outgoing,
    /// It is known here but does not run.
    Shutoff,
}

impl fmt::Display for MachineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vm => "VM",
            Self::Container => "container",
            Self::Namespace => "namespace",
        })
    }
}

impl fmt::Display for MachineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Incoming => "incoming",
            Self::Outgoing => "outgoing",
            Self::Shutoff => "shut off",
        })
    }
}

/// A network card of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vnic {
    /// Its name: the guest's device for namespaces, else `net0`, `net1` ... in device order.
    pub name: String,
    /// The guest's MAC.
    #[serde(with = "text::optional_word")]
    pub mac: Option<Mac>,
    /// Addresses known for it.
    pub ips: Vec<KnownIp>,
    /// Where it is attached, while it is.
    pub attachment: Option<Attachment>,
}

/// An address and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownIp {
    /// The address.
    pub ip: IpAddr,
    /// Who says so.
    #[serde(with = "text::word")]
    pub source: Source,
}

/// Where a vNIC is attached and how its packets leave the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Host side device: tap, veth end, macvtap; `None` where there is none (SR-IOV, vhost-user).
    pub device: Option<String>,
    /// Its interface index.
    pub ifindex: Option<u32>,
    /// The namespace the device is in.
    pub namespace: NamespaceId,
    /// A path to enter that namespace by; `None` when it is overtap's own.
    pub namespace_path: Option<String>,
    /// vSwitch or bridge the device is a port of.
    pub switch: Option<String>,
    /// What that switch is.
    pub switch_kind: Option<SwitchKind>,
    /// Port name on the switch.
    pub port: Option<String>,
    /// Port id of the management layer (Neutron port, libvirt interface id).
    pub port_id: Option<String>,
    /// Port group or libvirt network.
    pub port_group: Option<String>,
    /// The networks its frames are in when they leave the host, one for each way out.
    pub networks: Vec<Network>,
    /// Why there is no way out, or why one could not be resolved; empty when all is known.
    pub notes: Vec<String>,
    /// Since when it is attached so, where known.
    #[serde(with = "text::optional_time")]
    pub since: Option<Timestamp>,
}

/// A network that carries a vNIC's frames off the host, and the uplinks they take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// VLAN on the uplink (or on the vSwitch, for an overlay), where tagged.
    #[serde(with = "text::optional_number")]
    pub vlan: Option<VlanId>,
    /// Overlay number, when a tunnel carries the frames.
    #[serde(with = "text::optional_number")]
    pub vni: Option<Vni>,
    /// Tunnel type: `vxlan`, `geneve`, `gre`; `None` without a tunnel.
    pub tunnel: Option<String>,
    /// UDP destination port of the tunnel, where it has one.
    pub tunnel_port: Option<u16>,
    /// Remote tunnel end points, where configured.
    pub remotes: Vec<IpAddr>,
    /// Physical cards that lead out, all members of a NIC team.
    pub uplinks: Vec<Uplink>,
    /// The NIC team, where there is one.
    pub team: Option<String>,
}

/// A physical card that leads out of a vSwitch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Device name.
    pub device: String,
    /// Its interface index.
    pub ifindex: Option<u32>,
    /// Whether this VM's frames take it, and how we know.
    pub choice: UplinkChoice,
}

/// How it is known whether a NIC-team member carries a VM's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UplinkChoice {
    /// The only uplink.
    Only,
    /// The switch reports it as the active member.
    Reported,
    /// The switch reports another member as active.
    Standby,
    /// Any member may carry it: the team spreads flows.
    Shared,
    /// Calculated: the member to which the switch has put the hash of the VM's MAC and VLAN.
    Computed,
}

/// What a switch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchKind {
    /// Open vSwitch.
    #[serde(rename = "openvswitch")]
    OpenVSwitch,
    /// A bridge of the Linux kernel.
    LinuxBridge,
    /// macvtap on a lower device.
    Macvtap,
}

impl fmt::Display for SwitchKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenVSwitch => "Open vSwitch",
            Self::LinuxBridge => "Linux bridge",
            Self::Macvtap => "macvtap",
        })
    }
}

/// One line of why the resolver believes something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What is believed, a sentence: `tap vnet0 belongs to it`.
    pub claim: String,
    /// Who says so.
    #[serde(with = "text::word")]
    pub source: Source,
}
