//! What the sources of the inventory say, in their own words but in one shape.
//!
//! A report is the whole truth of its source at one time and replaces what the same source said
//! before: states are compared, events are never trusted (two changes may come as one, one change
//! may come twice).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::{Mac, Timestamp, VlanId, Vni};

/// What one source sees now; replaces its earlier report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who says so.
    pub source: Source,
    /// When it was seen.
    pub at: Timestamp,
    /// What is there, or why it could not be read (a sentence that says what to do).
    pub facts: Result<Facts, String>,
}

/// A source of facts. Two reports with equal source replace each other.
///
/// Its text is one word, `ovsdb` or `netlink:4026531840`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The kernel's links, neighbours, FDB and routes in one network namespace, by netlink.
    Netlink(NamespaceId),
    /// QEMU processes, containers and namespaces, by `/proc`.
    Proc,
    /// Open vSwitch's database.
    Ovsdb,
    /// libvirt.
    Libvirt,
    /// Frames seen on an observation point.
    Wire,
    /// An inventory file.
    File,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netlink(NamespaceId(inode)) => write!(f, "netlink:{inode}"),
            Self::Proc => f.write_str("proc"),
            Self::Ovsdb => f.write_str("ovsdb"),
            Self::Libvirt => f.write_str("libvirt"),
            Self::Wire => f.write_str("wire"),
            Self::File => f.write_str("file"),
        }
    }
}

impl FromStr for Source {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("netlink", inode) => {
                let inode = inode.parse().map_err(|_| UnknownWord)?;
                Ok(Self::Netlink(NamespaceId(inode)))
            }
            ("proc", "") => Ok(Self::Proc),
            ("ovsdb", "") => Ok(Self::Ovsdb),
            ("libvirt", "") => Ok(Self::Libvirt),
            ("wire", "") => Ok(Self::Wire),
            ("file", "") => Ok(Self::File),
            _ => Err(UnknownWord),
        }
    }
}

/// The facts of one report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Facts {
    /// One network namespace.
    Network(NetworkFacts),
    /// Processes and namespaces.
    Processes(ProcessFacts),
    /// Open vSwitch.
    OpenVSwitch(OvsFacts),
    /// libvirt.
    Libvirt(LibvirtFacts),
}

/// A network namespace, by the inode number of its nsfs file; unique on a host while it exists.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct NamespaceId(pub u64);

/// An IEEE/RFC 4122 UUID, compared by its 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, octet) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = UnknownWord;

    /// Reads 32 hexadecimal digits, grouped 8-4-4-4-12 by `-` or not at all, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        if !matches!(groups.as_slice(), [32] | [8, 4, 4, 4, 12]) {
            return Err(UnknownWord);
        }
        let mut octets = [0; 16];
        let mut digits = text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16));
        for octet in &mut octets {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(UnknownWord);
            };
            *octet = u8::try_from(high << 4 | low).map_err(|_| UnknownWord)?;
        }
        Ok(Self(octets))
    }
}

/// A text that is none of the words it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownWord;

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not one of the known forms")
    }
}

impl std::error::Error for UnknownWord {}

/// What netlink says of one network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFacts {
    /// Which namespace.
    pub namespace: NamespaceId,
    /// Whether it is the one overtap itself runs in.
    pub is_own: bool,
    /// All links.
    pub links: Vec<Link>,
    /// IPv4 and IPv6 neighbour entries with a usable MAC.
    pub neighbours: Vec<Neighbour>,
    /// Bridge forwarding entries that were learned, not configured.
    pub fdb: Vec<FdbEntry>,
    /// Where forwarding entries of VXLAN devices send frames, configured ones too: index of the
    /// device and other end.
    pub vxlan_ends: Vec<(u32, IpAddr)>,
    /// Unicast routes of the main table, enough to say which device an underlay address leaves by.
    pub routes: Vec<Route>,
}

/// A link of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index, unique in its namespace, never reused for a renamed link.
    pub index: u32,
    /// Name now.
    pub name: String,
    /// The link's own MAC, not the VM's.
    pub mac: Option<Mac>,
    /// Administratively up.
    pub is_up: bool,
    /// Carrier present.
    pub has_carrier: bool,
    /// Takes frames of any address (`IFF_PROMISC`): ports of user-space switches do.
    pub is_promiscuous: bool,
    /// Largest packet in bytes without link header.
    pub mtu: u32,
    /// What it is.
    pub kind: LinkKind,
    /// The bridge, bond or team it belongs to, by index.
    pub master: Option<u32>,
    /// Port VLAN of a VLAN-aware bridge (untagged PVID), where set.
    pub pvid: Option<VlanId>,
    /// VLANs a port of a VLAN-aware bridge lets pass, first and last of each range, the PVID
    /// included; empty where unknown.
    pub vlans: Vec<(VlanId, VlanId)>,
    /// Its own addresses with prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// What kind of link it is, with what its kind knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// A physical or paravirtual network card (no link kind).
    Physical,
    /// Loopback.
    Loopback,
    /// tun/tap device; `is_tap` is false for layer-3 tun.
    Tun {
        /// Whether it carries Ethernet frames.
        is_tap: bool,
    },
    /// One end of a veth pair.
    Veth {
        /// Index of the peer in its namespace, where known.
        peer: Option<u32>,
        /// Namespace of the peer, where it is not this one and could be resolved.
        peer_namespace: Option<NamespaceId>,
        /// Whether the peer is in another namespace, resolvable or not.
        is_peer_elsewhere: bool,
    },
    /// A Linux bridge.
    Bridge {
        /// Whether it filters VLANs.
        is_vlan_aware: bool,
    },
    /// A kernel VXLAN device.
    Vxlan {
        /// Its network; `None` for external (collect metadata) mode.
        vni: Option<Vni>,
        /// UDP destination port.
        port: u16,
        /// Underlay source address.
        local: Option<IpAddr>,
        /// Remote VTEP or multicast group.
        remote: Option<IpAddr>,
        /// Index of the underlay device, where bound.
        lower: Option<u32>,
    },
    /// A kernel GENEVE device.
    Geneve {
        /// Its network; `None` for external mode.
        vni: Option<Vni>,
        /// UDP destination port.
        port: u16,
        /// Remote VTEP.
        remote: Option<IpAddr>,
    },
    /// A Linux bond or team.
    Bond {
        /// Index of the active member in active-backup mode.
        active: Option<u32>,
    },
    /// A VLAN sub-interface.
    Vlan {
        /// Its tag.
        id: VlanId,
        /// Index of the lower device, in `lower_namespace`.
        lower: Option<u32>,
        /// Namespace of the lower device, where it is not this one and could be resolved.
        lower_namespace: Option<NamespaceId>,
    },
    /// macvlan or macvtap on a lower device.
    Macvlan {
        /// Index of the lower device, in `lower_namespace`; `None` where it is in a namespace
        /// that could not be resolved.
        lower: Option<u32>,
        /// Namespace of the lower device, where it is not this one and could be resolved.
        lower_namespace: Option<NamespaceId>,
    },
    /// Anything else, by the kernel's name (`openvswitch`, `dummy`, `gretap` ...).
    Other(String),
}

/// A neighbour (ARP or ND) entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub ip: IpAddr,
    /// Its MAC.
    pub mac: Mac,
    /// Index of the link it was learned on.
    pub link: u32,
}

/// A learned forwarding entry of a bridge or VXLAN device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdbEntry {
    /// Where frames to this MAC go.
    pub mac: Mac,
    /// Index of the bridge port.
    pub link: u32,
    /// VLAN of a VLAN-aware bridge.
    pub vlan: Option<VlanId>,
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination prefix; `None` with length 0 is the default route.
    pub destination: Option<IpAddr>,
    /// Prefix length in bits.
    pub prefix_len: u8,
    /// Index of the device it leaves by.
    pub link: u32,
}

/// What `/proc` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Running QEMU processes.
    pub qemus: Vec<QemuProcess>,
    /// Containers and network namespaces other than the own one.
    pub namespaces: Vec<Namespace>,
    /// This host's name.
    pub hostname: String,
    /// The namespace overtap runs in.
    pub own_namespace: NamespaceId,
    /// What could not be read for want of rights, one sentence each with the remedy.
    pub gaps: Vec<String>,
}

/// A QEMU process and the vNICs on its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuProcess {
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// `-name guest=`.
    pub name: Option<String>,
    /// `-uuid`.
    pub uuid: Option<Uuid>,
    /// Its network namespace.
    pub namespace: NamespaceId,
    /// Whether it waits for an incoming migration (`-incoming`) or was told to start paused.
    ///
    /// The word stays on the command line after the VM has arrived, so a source that can see
    /// that the guest has run (CPU time of its vCPU threads) says false.
    pub is_incoming: bool,
    /// Its network cards in device order; a tap held open without a card to it on the command
    /// line (hotplug) is one without `mac` and `id`.
    pub nics: Vec<QemuNic>,
}

/// A network card of a QEMU process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuNic {
    /// QEMU's device id (`net0`), where given.
    pub id: Option<String>,
    /// The guest's MAC, where given.
    pub mac: Option<Mac>,
    /// Tap or macvtap name from `ifname=` or fdinfo.
    pub tap: Option<String>,
    /// Back end of `-netdev` when it is not a tap (`vhost-user`, `user`, `socket` ...).
    pub backend: String,
}

/// A network namespace with something in it that counts as a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Which.
    pub id: NamespaceId,
    /// Name by its runtime, its file in `/run/netns`, or its host name; never empty.
    pub name: String,
    /// Who gave the name: `docker`, `podman`, `containerd`, `netns`, `hostname` ...
    pub runtime: String,
    /// The runtime's id, where there is one.
    pub runtime_id: Option<String>,
    /// A process in it, to enter by, where there is one.
    pub pid: Option<u32>,
    /// Path of its nsfs file to enter by.
    pub path: String,
    /// When its oldest process started, where known.
    pub started: Option<Timestamp>,
}

/// What Open vSwitch's database says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OvsFacts {
    /// `external_ids:hostname` of the switch.
    pub hostname: Option<String>,
    /// Bridges with their ports.
    pub bridges: Vec<OvsBridge>,
}

/// A bridge of Open vSwitch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OvsBridge {
    /// Its name.
    pub name: String,
    /// `datapath_type`: empty or `system` for the kernel's, `netdev` for user space.
    pub datapath: String,
    /// Its ports.
    pub ports: Vec<OvsPort>,
}

/// A port of Open vSwitch: one interface, or several in a bond.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OvsPort {
    /// Its name.
    pub name: String,
    /// Access VLAN, or native VLAN of a trunk.
    pub tag: Option<VlanId>,
    /// Allowed VLANs of a trunk; empty means all.
    pub trunks: Vec<VlanId>,
    /// `vlan_mode`, where set: `access`, `trunk`, `native-tagged`, `native-untagged` ...
    pub vlan_mode: Option<String>,
    /// Whether a mirror of the bridge puts its copies here: such a port carries nothing else.
    pub is_mirror_output: bool,
    /// `bond_mode`, where set.
    pub bond_mode: Option<String>,
    /// MAC of the active member, where the switch reports it.
    pub bond_active: Option<Mac>,
    /// How a team that balances by source spreads senders now, where the switch tells.
    pub spread: Option<OvsSpread>,
    /// Its interfaces; more than one is a bond.
    pub interfaces: Vec<OvsInterface>,
}

/// How a team of Open vSwitch in mode `balance-slb` spreads senders over its members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OvsSpread {
    /// `other_config:bond-hash-basis`.
    pub basis: u32,
    /// The member that carries the senders with a hash; without load no hash is told.
    pub members: BTreeMap<u8, String>,
}

impl OvsSpread {
    /// The hash of a sender: its MAC, and the VLAN inside the switch or 0.
    ///
    /// As `bond_hash_src` of Open vSwitch does it with the hash of its portable builds (MurmurHash3);
    /// others are told by asking the switch for one (`bond/hash`, ovs-vswitchd(8)).
    pub fn hash(mac: Mac, vlan: u16, basis: u32) -> u8 {
        let [a, b, c, d, e, f] = mac.0;
        let low = u32::from_be_bytes([c, d, e, f]);
        let high = u32::from(vlan) << 16 | u32::from(u16::from_be_bytes([a, b]));
        let mut hash = [low, high].into_iter().fold(basis, |hash, word| {
            let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
            (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
        });
        // The length in bytes.
        hash ^= 8;
        hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        let [.., last] = (hash ^ hash >> 16).to_be_bytes();
        last
    }

    /// The member that carries a sender's frames now.
    pub fn member(&self, mac: Mac, vlan: u16) -> Option<&str> {
        self.members.get(&Self::hash(mac, vlan, self.basis)).map(String::as_str)
    }
}

/// An interface of Open vSwitch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OvsInterface {
    /// Its name, for system devices also the kernel's.
    pub name: String,
    /// `type`: empty or `system`, `internal`, `patch`, `vxlan`, `geneve`, `gre`, `erspan` ...
    pub kind: String,
    /// OpenFlow port number, where assigned.
    pub ofport: Option<u32>,
    /// Kernel interface index; 0 and absent for tunnels.
    pub ifindex: Option<u32>,
    /// The device's own MAC.
    pub mac_in_use: Option<Mac>,
    /// `external_ids:attached-mac`: the guest's MAC.
    pub attached_mac: Option<Mac>,
    /// `external_ids:iface-id`: Neutron port, OVN logical port or libvirt interface id.
    pub iface_id: Option<String>,
    /// `external_ids:vm-id` (or `xs-vm-uuid`, `container_id`): the machine's id.
    pub vm_id: Option<String>,
    /// `options`: `remote_ip`, `local_ip`, `key`, `dst_port`, `peer` ...
    pub options: Vec<(String, String)>,
    /// `link_state` is up.
    pub is_up: bool,
}

/// What libvirt says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LibvirtFacts {
    /// Host name of the connection.
    pub hostname: Option<String>,
    /// Domains, running or not.
    pub domains: Vec<Domain>,
}

/// A domain of libvirt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// Its name now.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// libvirt's id while it runs.
    pub id: Option<i32>,
    /// What it does.
    pub state: DomainState,
    /// `title` of its XML.
    pub title: Option<String>,
    /// Its owner, where its metadata names one (`nova:project`).
    pub tenant: Option<String>,
    /// Its network cards.
    pub nics: Vec<DomainNic>,
}

/// What a domain does, as its lifecycle events and state say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainState {
    /// It runs.
    Running,
    /// It is paused by someone.
    Paused,
    /// It arrives by migration and does not run here yet.
    Incoming,
    /// It has left by migration or is leaving: suspended here for the switch-over.
    Outgoing,
    /// It is defined but not started.
    Shutoff,
}

/// A network card of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainNic {
    /// The guest's MAC.
    pub mac: Mac,
    /// `target@dev`: the tap, while it runs.
    pub tap: Option<String>,
    /// `source@bridge`, `@network` or `@dev`.
    pub source: Option<String>,
    /// `source@portgroup`.
    pub port_group: Option<String>,
    /// `virtualport/parameters@interfaceid`: OVS iface-id, Neutron port.
    pub interface_id: Option<String>,
    /// `vlan/tag@id`, the first.
    pub vlan: Option<VlanId>,
    /// `alias@name` (`net0`).
    pub alias: Option<String>,
    /// `interface@type`: `bridge`, `network`, `direct`, `hostdev`, `vhostuser` ...
    pub kind: String,
    /// Addresses libvirt knows (leases, agent).
    pub ips: Vec<IpAddr>,
}
