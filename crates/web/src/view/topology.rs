//! The site as a tree: hosts, vSwitches, port groups, vNICs; and the uplinks that lead out.

use std::collections::{BTreeMap, BTreeSet};

use api::document::HostFound;
use inventory::{Attachment, SwitchKind};
use serde::Serialize;
use utoipa::ToSchema;

use super::machine::HostState;

/// The site.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Topology {
    /// Its hosts, by name.
    pub(crate) hosts: Vec<HostNode>,
}

/// A host.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct HostNode {
    /// Its name.
    name: String,
    /// Whether its agent is there.
    state: HostState,
    /// Machines on it.
    machines: usize,
    /// Its vSwitches, by name.
    switches: Vec<SwitchNode>,
    /// vNICs at no vSwitch.
    unattached: Vec<VnicNode>,
}

/// A vSwitch.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SwitchNode {
    /// Its name.
    name: String,
    /// `openvswitch`, `linux-bridge` or `macvtap`.
    #[schema(value_type = Option<String>)]
    kind: Option<SwitchKind>,
    /// Its port groups.
    port_groups: Vec<PortGroupNode>,
    /// The ways out.
    uplinks: Vec<UplinkNode>,
}

/// Ports with one name and one network.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PortGroupNode {
    /// Its name; `None` for ports that are in no named group.
    name: Option<String>,
    /// The VLAN on the way out, where tagged.
    vlan: Option<u16>,
    /// The overlay, where there is one.
    vni: Option<u32>,
    /// How many vNICs are in it.
    vnic_count: usize,
    /// They; empty where only their number was asked for.
    vnics: Vec<VnicNode>,
}

/// A vNIC.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct VnicNode {
    /// The machine's name.
    machine: String,
    /// The machine's UUID, or its id where it has none.
    uuid: String,
    /// The vNIC's name.
    name: String,
    /// Its MAC.
    mac: Option<String>,
    /// Its addresses.
    ips: Vec<String>,
    /// The port it is at.
    port: Option<String>,
}

/// A way out of a vSwitch.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct UplinkNode {
    /// The NIC team, or the card where there is none.
    name: String,
    /// The cards.
    members: Vec<String>,
}

/// What makes a port group: its name and the first network out.
type Group = (Option<String>, Option<u16>, Option<u32>);

#[derive(Default)]
struct Switch {
    kind: Option<SwitchKind>,
    groups: BTreeMap<Group, Vec<VnicNode>>,
    uplinks: BTreeMap<String, BTreeSet<String>>,
}

impl Topology {
    /// Of what is known of each host; without the vNICs if only their number is wanted.
    pub(crate) fn new(found: Vec<HostFound>, has_vnics: bool) -> Self {
        let mut hosts: Vec<HostNode> =
            found.into_iter().map(|found| HostNode::new(found, has_vnics)).collect();
        hosts.sort_by(|one, other| one.name.cmp(&other.name));
        Self { hosts }
    }
}

impl HostNode {
    fn new(found: HostFound, has_vnics: bool) -> Self {
        let machines = found.machines.len();
        let mut switches: BTreeMap<String, Switch> = BTreeMap::new();
        let mut unattached = Vec::new();
        for machine in found.machines {
            let id = machine.id.to_string();
            let uuid = id.strip_prefix("uuid:").unwrap_or(&id);
            for vnic in machine.vnics {
                let node = VnicNode {
                    machine: machine.name.clone(),
                    uuid: uuid.to_owned(),
                    name: vnic.name,
                    mac: vnic.mac.map(|mac| mac.to_string()),
                    ips: vnic.ips.iter().map(|known| known.ip.to_string()).collect(),
                    port: vnic.attachment.as_ref().and_then(port_of),
                };
                match &vnic.attachment {
                    Some(place) if place.switch.is_some() => {
                        let name = place.switch.clone().unwrap_or_default();
                        switches.entry(name).or_default().take(place, node);
                    }
                    _ => unattached.push(node),
                }
            }
        }
        Self {
            name: found.host,
            state: HostState::of(found.is_connected),
            machines,
            switches: switches.into_iter().map(|(name, it)| it.node(name, has_vnics)).collect(),
            unattached,
        }
    }
}

impl Switch {
    fn take(&mut self, place: &Attachment, vnic: VnicNode) {
        self.kind = self.kind.or(place.switch_kind);
        let first = place.networks.first();
        let vlan = first.and_then(|network| network.vlan).map(wire::VlanId::value);
        let vni = first.and_then(|network| network.vni).map(wire::Vni::value);
        self.groups.entry((place.port_group.clone(), vlan, vni)).or_default().push(vnic);
        for network in &place.networks {
            let cards = || network.uplinks.iter().map(|uplink| uplink.device.clone());
            match &network.team {
                Some(team) => self.uplinks.entry(team.clone()).or_default().extend(cards()),
                None => {
                    for card in cards() {
                        self.uplinks.entry(card.clone()).or_default().insert(card);
                    }
                }
            }
        }
    }

    fn node(self, name: String, has_vnics: bool) -> SwitchNode {
        let group = |((name, vlan, vni), vnics): (Group, Vec<VnicNode>)| PortGroupNode {
            name,
            vlan,
            vni,
            vnic_count: vnics.len(),
            vnics: if has_vnics { vnics } else { Vec::new() },
        };
        let uplink = |(name, members): (String, BTreeSet<String>)| UplinkNode {
            name,
            members: members.into_iter().collect(),
        };
        SwitchNode {
            name,
            kind: self.kind,
            port_groups: self.groups.into_iter().map(group).collect(),
            uplinks: self.uplinks.into_iter().map(uplink).collect(),
        }
    }
}

fn port_of(place: &Attachment) -> Option<String> {
    place.port.clone().or_else(|| place.device.clone())
}
