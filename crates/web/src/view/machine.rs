//! A machine and how it is attached: the words of `overtap find --output json`.

use std::net::IpAddr;

use api::document::HostFound;
use inventory::{MachineKind, MachineState, SwitchKind, UplinkChoice};
use serde::Serialize;
use utoipa::ToSchema;

use super::{time, time_if_any};

/// A machine, where it is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct MachineAt {
    /// The host.
    pub(crate) host: String,
    /// Whether the host's agent is there; if it is away, this is what was known last.
    pub(crate) host_state: HostState,
    /// As of when, by the host's clock.
    seen_at: Option<String>,
    /// The machine.
    pub(crate) machine: Machine,
}

/// Whether a host's agent is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HostState {
    /// It is connected.
    Connected,
    /// It is away; this is what was known last.
    Away,
}

impl HostState {
    pub(crate) const fn of(is_connected: bool) -> Self {
        if is_connected { Self::Connected } else { Self::Away }
    }
}

/// A VM, container or network namespace.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Machine {
    /// Who it is, whatever its name or place: `uuid:…`, `container:…`, `namespace:…`.
    pub(crate) id: String,
    /// Its UUID, if that is what it is known by.
    uuid: Option<String>,
    /// Its name now.
    pub(crate) name: String,
    /// Other names sources have for it.
    aliases: Vec<String>,
    /// `vm`, `container` or `namespace`.
    #[schema(value_type = String)]
    kind: MachineKind,
    /// `running`, `paused`, `incoming`, `outgoing` or `shutoff`.
    #[schema(value_type = String)]
    state: MachineState,
    /// Its owner, where known.
    tenant: Option<String>,
    /// Its network cards, in device order.
    vnics: Vec<Vnic>,
    /// Since when it is as it is, where known.
    since: Option<String>,
}

/// A network card of a machine.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Vnic {
    /// Its name.
    name: String,
    /// The guest's MAC, where known.
    mac: Option<String>,
    /// Addresses known for it.
    ips: Vec<KnownIp>,
    /// Where it is attached, while it is.
    attachment: Option<Attachment>,
    /// Since when it was seen so there.
    seen_since: Option<String>,
}

/// An address and who says so.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct KnownIp {
    /// The address.
    #[schema(value_type = String)]
    ip: IpAddr,
    /// Who says so.
    source: String,
}

/// Where a vNIC is attached and how its packets leave the host.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Attachment {
    /// Device on the host: tap, veth end, macvtap.
    device: Option<String>,
    /// vSwitch or bridge that the device is a port of.
    switch: Option<String>,
    /// `openvswitch`, `linux-bridge` or `macvtap`.
    #[schema(value_type = Option<String>)]
    switch_kind: Option<SwitchKind>,
    /// Port name on the switch.
    port: Option<String>,
    /// Port id of the management layer.
    port_id: Option<String>,
    /// Port group or libvirt network.
    port_group: Option<String>,
    /// The networks its frames are in when they leave the host, one for each way out.
    networks: Vec<Network>,
    /// Why there is no way out, or why one could not be resolved.
    notes: Vec<String>,
    /// Since when it is attached so, where known.
    since: Option<String>,
}

/// A network that carries a vNIC's frames off the host.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Network {
    /// VLAN on the uplink, where tagged.
    vlan: Option<u16>,
    /// Overlay number, where a tunnel carries the frames.
    vni: Option<u32>,
    /// Tunnel type: `vxlan`, `geneve`, `gre`.
    tunnel: Option<String>,
    /// UDP destination port of the tunnel.
    tunnel_port: Option<u16>,
    /// Remote tunnel end points, where configured.
    #[schema(value_type = Vec<String>)]
    remotes: Vec<IpAddr>,
    /// Physical cards that lead out.
    uplinks: Vec<Uplink>,
    /// The NIC team, where there is one.
    team: Option<String>,
}

/// A physical card that leads out of a vSwitch.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Uplink {
    /// Device name.
    device: String,
    /// Whether this VM's frames take it, and how that is known: `only`, `reported`, `standby`,
    /// `shared`, `computed` or `observed`.
    #[schema(value_type = String)]
    choice: UplinkChoice,
}

impl MachineAt {
    /// The machines of a host.
    pub(crate) fn all_of(found: HostFound) -> impl Iterator<Item = Self> {
        let HostFound { host, is_connected, at_ns, machines, since_ns, .. } = found;
        let mut since_ns = since_ns.into_iter();
        machines.into_iter().map(move |machine| Self {
            host: host.clone(),
            host_state: HostState::of(is_connected),
            seen_at: time_if_any(at_ns),
            machine: Machine::new(machine, &since_ns.next().unwrap_or_default()),
        })
    }
}

impl Machine {
    fn new(machine: inventory::Machine, since_ns: &[Option<u64>]) -> Self {
        let id = machine.id.to_string();
        let since = since_ns.iter().copied().chain(std::iter::repeat(None));
        let vnics = machine.vnics.into_iter().zip(since);
        Self {
            uuid: id.strip_prefix("uuid:").map(str::to_owned),
            id,
            name: machine.name,
            aliases: machine.aliases,
            kind: machine.kind,
            state: machine.state,
            tenant: machine.tenant,
            vnics: vnics.map(|(vnic, since)| Vnic::new(vnic, since)).collect(),
            since: machine.since.map(|since| time(since.as_nanos())),
        }
    }
}

impl Vnic {
    fn new(vnic: inventory::Vnic, since_ns: Option<u64>) -> Self {
        let known =
            |known: inventory::KnownIp| KnownIp { ip: known.ip, source: known.source.to_string() };
        Self {
            name: vnic.name,
            mac: vnic.mac.map(|mac| mac.to_string()),
            ips: vnic.ips.into_iter().map(known).collect(),
            attachment: vnic.attachment.map(Attachment::from),
            seen_since: since_ns.and_then(time_if_any),
        }
    }
}

impl From<inventory::Attachment> for Attachment {
    fn from(place: inventory::Attachment) -> Self {
        Self {
            device: place.device,
            switch: place.switch,
            switch_kind: place.switch_kind,
            port: place.port,
            port_id: place.port_id,
            port_group: place.port_group,
            networks: place.networks.into_iter().map(Network::from).collect(),
            notes: place.notes,
            since: place.since.map(|since| time(since.as_nanos())),
        }
    }
}

impl From<inventory::Network> for Network {
    fn from(network: inventory::Network) -> Self {
        let uplink =
            |uplink: inventory::Uplink| Uplink { device: uplink.device, choice: uplink.choice };
        Self {
            vlan: network.vlan.map(wire::VlanId::value),
            vni: network.vni.map(wire::Vni::value),
            tunnel: network.tunnel,
            tunnel_port: network.tunnel_port,
            remotes: network.remotes,
            uplinks: network.uplinks.into_iter().map(uplink).collect(),
            team: network.team,
        }
    }
}
