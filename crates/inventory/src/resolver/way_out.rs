//! The way a vNIC's frames take out of the host: from its port through switches, patch ports, veth
//! pairs and tunnels to the uplinks.
//!
//! A walk, with every (switch, VLAN) visited once. What OpenFlow rules do to a frame is not known
//! here; where they decide, a note says so.

mod tag;
mod tunnel;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use wire::{Mac, VlanId, Vni};

pub(super) use self::tag::Tag;
use self::tag::{
    PortMode, enter, enter_bridge, leave, leave_bridge, mode, tags_entering, tags_entering_bridge,
};
use self::tunnel::{TunnelKey, is_tunnel, ovs_keys, standard_port};
use super::world::{Device, OvsPlace, World, is_link_local, option};
use crate::facts::{LinkKind, NamespaceId, OvsBridge, OvsPort};
use crate::site::{Network, Uplink, UplinkChoice};

/// Where frames of a vNIC go on this host and how they leave it.
#[derive(Debug, Default)]
pub(super) struct WayOut {
    pub(super) networks: Vec<Network>,
    pub(super) notes: Vec<String>,
    /// The broadcast domain: every switch and VLAN its frames are in.
    pub(super) segments: BTreeSet<Segment>,
}

/// Frames with one tag inside one switch.
pub(super) type Segment = (SwitchKey, Tag);

/// A switch of this host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SwitchKey {
    OpenVSwitch(String),
    LinuxBridge(NamespaceId, u32),
}

/// Devices that belong to machines and therefore lead to no uplink.
pub(super) type Owned = BTreeSet<(NamespaceId, u32)>;

/// Finds the way out from a port of Open vSwitch.
pub(super) fn from_ovs(
    world: &World<'_>,
    owned: &Owned,
    place: OvsPlace<'_>,
    sender: Option<Mac>,
) -> WayOut {
    let mut walk = Walk::new(world, owned, Purpose::Frames, sender);
    for tag in tags_entering(place.port) {
        walk.through_ovs(place.bridge, tag, Some(&place.port.name));
    }
    let local_port = world.link_named(world.own, &place.bridge.name);
    walk.finish(&place.bridge.name, local_port)
}

/// Finds the way out from a member of a Linux bridge.
pub(super) fn from_bridge(
    world: &World<'_>,
    owned: &Owned,
    bridge: Device<'_>,
    port: Device<'_>,
    sender: Option<Mac>,
) -> WayOut {
    let mut walk = Walk::new(world, owned, Purpose::Frames, sender);
    for tag in tags_entering_bridge(bridge, port) {
        walk.through_bridge(bridge, tag, Some(port.link.index));
    }
    walk.finish(&bridge.link.name, Some(bridge))
}

/// Finds the way out through a device that is no switch: the lower device of a macvtap.
pub(super) fn from_device(
    world: &World<'_>,
    owned: &Owned,
    device: Device<'_>,
    sender: Option<Mac>,
) -> WayOut {
    let mut walk = Walk::new(world, owned, Purpose::Frames, sender);
    walk.by_device(device, Tag::Untagged);
    walk.finish(&device.link.name, None)
}

/// The segments a frame is in that the host itself sends by this device: a bridge, a VLAN on a
/// bridge, an internal port.
pub(super) fn segments_of_device(world: &World<'_>, device: Device<'_>) -> Vec<Segment> {
    let bridge_key = |d: Device<'_>| SwitchKey::LinuxBridge(d.namespace, d.link.index);
    match &device.link.kind {
        LinkKind::Bridge { is_vlan_aware } => {
            let tag = match device.link.pvid {
                Some(pvid) if *is_vlan_aware => Tag::Vlan(pvid),
                _ => Tag::Untagged,
            };
            vec![(bridge_key(device), tag)]
        }
        LinkKind::Vlan { id, .. } => {
            let bridge =
                world.lower(device).filter(|d| matches!(d.link.kind, LinkKind::Bridge { .. }));
            bridge.map(|b| (bridge_key(b), Tag::Vlan(*id))).into_iter().collect()
        }
        _ => world
            .ovs_port_of(device)
            .filter(|p| p.interface.kind == "internal")
            .and_then(|p| {
                let tag = enter(p.port, Tag::Untagged)?;
                Some((SwitchKey::OpenVSwitch(p.bridge.name.clone()), tag))
            })
            .into_iter()
            .collect(),
    }
}

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The VM's own frames.
    Frames,
    /// Tunnel packets of the host itself: tunnels are not followed again.
    Underlay,
    /// As `Underlay`, and a veth pair into any other namespace will do as an uplink.
    LenientUnderlay,
}

struct Walk<'w, 'a> {
    world: &'w World<'a>,
    owned: &'w Owned,
    purpose: Purpose,
    /// The MAC that the frames come from.
    sender: Option<Mac>,
    out: WayOut,
}

impl<'w, 'a> Walk<'w, 'a> {
    fn new(world: &'w World<'a>, owned: &'w Owned, purpose: Purpose, sender: Option<Mac>) -> Self {
        Self { world, owned, purpose, sender, out: WayOut::default() }
    }

    /// Merges what differs only in the remote end, and says so if there is no way out of `switch`,
    /// to which the host itself is attached by `local`.
    fn finish(self, switch: &str, local: Option<Device<'_>>) -> WayOut {
        let WayOut { networks, mut notes, segments } = self.out;
        let mut merged: Vec<Network> = Vec::new();
        for network in networks {
            let same = merged.iter_mut().find(|m| {
                (m.vlan, m.vni, &m.tunnel, m.tunnel_port)
                    == (network.vlan, network.vni, &network.tunnel, network.tunnel_port)
                    && m.uplinks == network.uplinks
            });
            match same {
                Some(known) => {
                    for remote in network.remotes {
                        if !known.remotes.contains(&remote) {
                            known.remotes.push(remote);
                        }
                    }
                }
                None => merged.push(network),
            }
        }
        for network in &mut merged {
            network.remotes.sort_unstable();
        }
        if merged.is_empty() && notes.is_empty() {
            let address = local.and_then(|d| {
                d.link.addresses.iter().map(|(ip, _)| *ip).find(|ip| !is_link_local(*ip))
            });
            let routed = address.map(|ip| format!("; the host ({ip}) may route for it"));
            notes.push(format!(
                "internal only: no uplink leads out of {switch}{}",
                routed.unwrap_or_default()
            ));
        }
        WayOut { networks: merged, notes, segments }
    }

    fn note(&mut self, note: String) {
        if !self.out.notes.contains(&note) {
            self.out.notes.push(note);
        }
    }

    fn visit(&mut self, key: SwitchKey, tag: Tag) -> bool {
        self.out.segments.len() < MAX_SEGMENTS && self.out.segments.insert((key, tag))
    }

    fn through_ovs(&mut self, bridge: &'a OvsBridge, tag: Tag, entry: Option<&str>) {
        if !self.visit(SwitchKey::OpenVSwitch(bridge.name.clone()), tag) {
            return;
        }
        let mut ports: Vec<&OvsPort> = bridge.ports.iter().collect();
        ports.sort_by(|a, b| a.name.cmp(&b.name));
        for port in ports {
            if Some(port.name.as_str()) == entry || port.is_mirror_output {
                continue;
            }
            if let Some(on_wire) = leave(port, tag) {
                self.by_ovs_port(bridge, port, tag, on_wire);
            }
        }
    }

    fn by_ovs_port(&mut self, bridge: &'a OvsBridge, port: &'a OvsPort, tag: Tag, on_wire: Tag) {
        if port.interfaces.len() > 1 {
            let (uplinks, team) = self.ovs_team(port, tag);
            self.leave_by(on_wire, uplinks, Some(team));
            return;
        }
        let Some(interface) = port.interfaces.first() else { return };
        let place = OvsPlace { bridge, port, interface };
        match interface.kind.as_str() {
            "internal" => {
                // The local port of a bridge leads to the host itself, unless it is a port of
                // another switch as well.
                let device = self.world.link_named(self.world.own, &interface.name);
                if let Some(device) = device
                    && let Some(master) = self.world.bridge_of(device)
                    && !self.owned.contains(&device.key())
                {
                    self.by_bridge_port(master, device, on_wire);
                }
            }
            "patch" => self.by_patch(place, on_wire),
            kind if is_tunnel(kind) => self.by_ovs_tunnel(place, tag),
            // Where mirrors put their copies, not a way for frames.
            "erspan" | "ip6erspan" => {}
            _ if place.has_claim() => {}
            _ => match self.world.link_named(self.world.own, &interface.name) {
                Some(device) => self.by_port(device, on_wire),
                None if interface.kind.starts_with("dpdkvhost") => {}
                // dpdk and the like: no kernel device, but a card all the same.
                None if !matches!(interface.kind.as_str(), "" | "system") => {
                    let uplink = Uplink {
                        device: interface.name.clone(),
                        ifindex: None,
                        choice: UplinkChoice::Only,
                    };
                    self.leave_by(on_wire, vec![uplink], None);
                }
                // Without netlink the database alone is believed, with it the kernel.
                None if !self.world.has_network(self.world.own) => {
                    let uplink = Uplink {
                        device: interface.name.clone(),
                        ifindex: interface.ifindex,
                        choice: UplinkChoice::Only,
                    };
                    self.leave_by(on_wire, vec![uplink], None);
                }
                None => {}
            },
        }
    }

    fn ovs_team(&self, port: &OvsPort, tag: Tag) -> (Vec<Uplink>, String) {
        // No `bond_mode` means active-backup (ovs-vswitchd.conf.db(5), table Port).
        let is_active_backup =
            port.bond_mode.as_deref().unwrap_or("active-backup") == "active-backup";
        let computed =
            self.sender.zip(port.spread.as_ref()).and_then(|(sender, spread)| match tag {
                Tag::Untagged => spread.member(sender, 0),
                Tag::Vlan(vlan) => spread.member(sender, vlan.value()),
                Tag::Any => None,
            });
        let mut uplinks: Vec<Uplink> = port
            .interfaces
            .iter()
            .map(|interface| {
                let link = self.world.link_named(self.world.own, &interface.name).map(|d| d.link);
                let mac: Option<Mac> = interface.mac_in_use.or(link.and_then(|l| l.mac));
                let choice = match port.bond_active {
                    _ if computed == Some(&interface.name) => UplinkChoice::Computed,
                    _ if computed.is_some() => UplinkChoice::Standby,
                    Some(active) if is_active_backup && mac == Some(active) => {
                        UplinkChoice::Reported
                    }
                    Some(_) if is_active_backup => UplinkChoice::Standby,
                    _ => UplinkChoice::Shared,
                };
                let ifindex = link.map(|l| l.index).or(interface.ifindex);
                Uplink { device: interface.name.clone(), ifindex, choice }
            })
            .collect();
        uplinks.sort_by(|a, b| a.device.cmp(&b.device));
        (uplinks, port.name.clone())
    }

    fn by_patch(&mut self, place: OvsPlace<'a>, on_wire: Tag) {
        let Some(peer) = option(place.interface, "peer") else { return };
        let Some(there) = self.world.ovs_interface(peer) else {
            self.note(format!("patch port {} has no other end", place.interface.name));
            return;
        };
        if let Some(tag) = enter(there.port, on_wire) {
            self.through_ovs(there.bridge, tag, Some(&there.port.name));
        }
    }

    fn by_ovs_tunnel(&mut self, place: OvsPlace<'a>, tag: Tag) {
        if self.purpose != Purpose::Frames {
            return;
        }
        let interface = place.interface;
        let remote: Option<IpAddr> = option(interface, "remote_ip").and_then(|r| r.parse().ok());
        let local: Option<IpAddr> = option(interface, "local_ip").and_then(|l| l.parse().ok());
        let given_port = option(interface, "dst_port").and_then(|p| p.parse().ok());
        // What the VM tags itself and an access port lets out is in the VLAN of that port.
        let tag = match (tag, mode(place.port)) {
            (Tag::Any, PortMode::Access(vlan)) => Tag::Vlan(vlan),
            _ => tag,
        };
        // As the packet goes: by the route to the other end; the own address only where there
        // is no one other end (`remote_ip=flow`).
        let world = self.world;
        let lower = remote
            .and_then(|r| world.route_to(world.own, r))
            .or_else(|| local.and_then(|l| world.holder_of(world.own, l)));
        for key in ovs_keys(interface) {
            if key == Some(TunnelKey::Flow) {
                self.note(format!(
                    "OpenFlow rules of {} choose the VNI (port {})",
                    place.bridge.name, interface.name
                ));
            }
            if let Some(TunnelKey::Large(key)) = key {
                self.note(format!("port {} has key {key}, more than 24 bits", interface.name));
            }
            let tunnel = Tunnel {
                kind: interface.kind.clone(),
                vni: if let Some(TunnelKey::Number(vni)) = key { Some(vni) } else { None },
                port: given_port.or_else(|| standard_port(&interface.kind)),
                remote,
            };
            self.by_tunnel(&interface.name, tunnel, tag, lower);
        }
    }

    fn through_bridge(&mut self, bridge: Device<'a>, tag: Tag, entry: Option<u32>) {
        if !self.visit(SwitchKey::LinuxBridge(bridge.namespace, bridge.link.index), tag) {
            return;
        }
        let members: Vec<Device<'a>> = self.world.members(bridge).collect();
        for member in members {
            if Some(member.link.index) == entry {
                continue;
            }
            if let Some(on_wire) = leave_bridge(bridge, member, tag) {
                // Inside the tunnel is what the bridge holds; on a wire what leaves the port.
                let kind = &member.link.kind;
                let is_tunnel = matches!(kind, LinkKind::Vxlan { .. } | LinkKind::Geneve { .. });
                self.by_port(member, if is_tunnel { tag } else { on_wire });
            }
        }
    }

    fn by_bridge_port(&mut self, bridge: Device<'a>, port: Device<'a>, on_wire: Tag) {
        if let Some(tag) = enter_bridge(bridge, port, on_wire) {
            self.through_bridge(bridge, tag, Some(port.link.index));
        }
    }

    /// Frames leave a switch by one of its ports.
    fn by_port(&mut self, device: Device<'a>, on_wire: Tag) {
        if !self.owned.contains(&device.key()) {
            self.by_device(device, on_wire);
        }
    }

    fn by_device(&mut self, device: Device<'a>, on_wire: Tag) {
        let here = device.namespace;
        let lower_of = |lower: &Option<u32>| lower.and_then(|i| self.world.link(here, i));
        match &device.link.kind {
            LinkKind::Physical => self.leave_by_device(device, on_wire),
            LinkKind::Bond { active } => self.by_bond(device, *active, on_wire),
            LinkKind::Vlan { .. } | LinkKind::Macvlan { .. } => match self.world.lower(device) {
                Some(below) => self.by_device(below, tag_below(device, on_wire)),
                None => self.note(format!("the device below {} is not known", device.link.name)),
            },
            LinkKind::Vxlan { vni, port, local, remote, lower } => {
                let world = self.world;
                let bound = lower_of(lower)
                    .or_else(|| local.and_then(|l| world.holder_of(device.namespace, l)));
                let mut ends: Vec<Option<IpAddr>> = remote.iter().copied().map(Some).collect();
                ends.extend(world.vxlan_ends(device).filter(|e| Some(*e) != *remote).map(Some));
                if ends.is_empty() {
                    ends.push(None);
                }
                for end in ends {
                    let tunnel = Tunnel {
                        kind: "vxlan".to_owned(),
                        vni: *vni,
                        port: Some(*port),
                        remote: end,
                    };
                    // As the packet goes, unless the device is bound to another; to a group only
                    // if nothing else is known.
                    let route = || end.and_then(|e| world.route_to(device.namespace, e));
                    let below = match end {
                        Some(end) if !end.is_multicast() => {
                            lower_of(lower).or_else(route).or(bound)
                        }
                        _ => bound.or_else(route),
                    };
                    self.by_tunnel(&device.link.name, tunnel, on_wire, below);
                }
            }
            LinkKind::Geneve { vni, port, remote } => {
                let tunnel = Tunnel {
                    kind: "geneve".to_owned(),
                    vni: *vni,
                    port: Some(*port),
                    remote: *remote,
                };
                let below = remote.and_then(|r| self.world.route_to(device.namespace, r));
                self.by_tunnel(&device.link.name, tunnel, on_wire, below);
            }
            LinkKind::Veth { .. } => self.by_veth(device, on_wire),
            LinkKind::Bridge { .. } => {
                if let Some(tag) = enter_bridge(device, device, on_wire) {
                    self.through_bridge(device, tag, None);
                }
            }
            LinkKind::Loopback => {}
            LinkKind::Tun { .. } | LinkKind::Other(_) => self.by_other(device, on_wire),
        }
    }

    fn by_other(&mut self, device: Device<'a>, on_wire: Tag) {
        // By name alone: an internal port may be a member of a Linux bridge as well.
        if device.namespace == self.world.own
            && let Some(place) = self.world.ovs_interface(&device.link.name)
            && place.interface.kind == "internal"
        {
            if let Some(tag) = enter(place.port, on_wire) {
                self.through_ovs(place.bridge, tag, Some(&place.port.name));
            }
            return;
        }
        match &device.link.kind {
            LinkKind::Other(kind) if matches!(kind.as_str(), "gretap" | "ip6gretap") => {
                self.note(format!(
                    "{} is a GRE tunnel; where it leads is not known",
                    device.link.name
                ));
            }
            LinkKind::Other(kind) if !DEAD_ENDS.contains(&kind.as_str()) => {
                self.leave_by_device(device, on_wire);
            }
            // A tap as the underlay is a VPN's; as a port of a switch it is somebody's VM.
            LinkKind::Tun { .. } if self.purpose != Purpose::Frames => {
                self.leave_by_device(device, on_wire);
            }
            _ => {}
        }
    }

    fn by_veth(&mut self, device: Device<'a>, on_wire: Tag) {
        let world = self.world;
        let LinkKind::Veth { is_peer_elsewhere, .. } = device.link.kind else { return };
        let Some(peer) = world.peer(device) else {
            // Nobody claims it and its other end cannot be seen: taken for a cable.
            if is_peer_elsewhere {
                self.leave_by_device(device, on_wire);
            }
            return;
        };
        let is_home = peer.namespace == device.namespace || peer.namespace == world.own;
        let bridge = world.bridge_of(peer);
        let ovs = world.ovs_port_of(peer);
        if is_home {
            if let Some(bridge) = bridge {
                self.by_bridge_port(bridge, peer, on_wire);
            } else if let Some(place) = ovs
                && let Some(tag) = enter(place.port, on_wire)
            {
                self.through_ovs(place.bridge, tag, Some(&place.port.name));
            } else if self.purpose == Purpose::LenientUnderlay && peer.namespace != device.namespace
            {
                self.leave_by_device(device, on_wire);
            } else if self.purpose == Purpose::Frames && peer.namespace != device.namespace {
                self.note(format!(
                    "{} is a port of no switch: the host routes what comes out of it",
                    peer.link.name
                ));
            }
            return;
        }
        // The other end is in another namespace: a switch there is the next hop of a cable, a
        // machine there is a neighbour.
        if world.is_switch_port(peer) || self.purpose == Purpose::LenientUnderlay {
            self.leave_by_device(device, on_wire);
        }
    }

    fn by_bond(&mut self, bond: Device<'a>, active: Option<u32>, on_wire: Tag) {
        let mut uplinks: Vec<Uplink> = self
            .world
            .members(bond)
            .map(|member| Uplink {
                device: member.link.name.clone(),
                ifindex: Some(member.link.index),
                choice: match active {
                    Some(index) if index == member.link.index => UplinkChoice::Reported,
                    Some(_) => UplinkChoice::Standby,
                    None => UplinkChoice::Shared,
                },
            })
            .collect();
        if let [only] = uplinks.as_mut_slice() {
            only.choice = UplinkChoice::Only;
        }
        if uplinks.is_empty() {
            self.note(format!("NIC team {} has no members", bond.link.name));
            return;
        }
        self.leave_by(on_wire, uplinks, Some(bond.link.name.clone()));
    }

    fn by_tunnel(&mut self, name: &str, tunnel: Tunnel, tag: Tag, lower: Option<Device<'a>>) {
        if self.purpose != Purpose::Frames {
            return;
        }
        let mut network = Network {
            vlan: tag.vlan(),
            vni: tunnel.vni,
            tunnel: Some(tunnel.kind),
            tunnel_port: tunnel.port,
            remotes: tunnel.remote.into_iter().collect(),
            uplinks: Vec::new(),
            team: None,
        };
        match lower {
            Some(device) => {
                let (uplinks, team, vlan) = self.underlay(device);
                if uplinks.is_empty() {
                    self.note(format!(
                        "no uplink found for tunnel {name}, which leaves by {}",
                        device.link.name
                    ));
                }
                if let Some(vlan) = vlan {
                    self.note(format!("tunnel {name} has VLAN {vlan} on the uplink"));
                }
                network.uplinks = uplinks;
                network.team = team;
            }
            None => self.note(format!("no route known for tunnel {name}")),
        }
        self.out.networks.push(network);
    }

    /// The uplinks tunnel packets take that the host sends by `device`, and their VLAN there.
    fn underlay(&self, device: Device<'a>) -> (Vec<Uplink>, Option<String>, Option<VlanId>) {
        for purpose in [Purpose::Underlay, Purpose::LenientUnderlay] {
            let mut walk = Walk::new(self.world, self.owned, purpose, device.link.mac);
            walk.by_device(device, Tag::Untagged);
            let mut uplinks: BTreeMap<String, Uplink> = BTreeMap::new();
            let (mut team, mut vlan) = (None, None);
            for network in walk.out.networks {
                team = team.or(network.team);
                vlan = vlan.or(network.vlan);
                for uplink in network.uplinks {
                    uplinks.entry(uplink.device.clone()).or_insert(uplink);
                }
            }
            if !uplinks.is_empty() {
                return (uplinks.into_values().collect(), team, vlan);
            }
        }
        // A veth as the device itself: whatever is at its other end, packets go there.
        if matches!(device.link.kind, LinkKind::Veth { .. }) {
            return (vec![only(device)], None, None);
        }
        (Vec::new(), None, None)
    }

    fn leave_by_device(&mut self, device: Device<'_>, on_wire: Tag) {
        self.leave_by(on_wire, vec![only(device)], None);
    }

    fn leave_by(&mut self, on_wire: Tag, uplinks: Vec<Uplink>, team: Option<String>) {
        self.out.networks.push(Network {
            vlan: on_wire.vlan(),
            vni: None,
            tunnel: None,
            tunnel_port: None,
            remotes: Vec::new(),
            uplinks,
            team,
        });
    }
}

/// What the source says of a tunnel.
struct Tunnel {
    kind: String,
    vni: Option<Vni>,
    port: Option<u16>,
    remote: Option<IpAddr>,
}

/// The tag a frame has below a device that is stacked on another.
fn tag_below(device: Device<'_>, on_wire: Tag) -> Tag {
    if let LinkKind::Vlan { id, .. } = device.link.kind { Tag::Vlan(id) } else { on_wire }
}

fn only(device: Device<'_>) -> Uplink {
    Uplink {
        device: device.link.name.clone(),
        ifindex: Some(device.link.index),
        choice: UplinkChoice::Only,
    }
}

/// Kinds of kernel devices that lead nowhere.
const DEAD_ENDS: [&str; 14] = [
    "dummy",
    "ifb",
    "nlmon",
    "sit",
    "ip6tnl",
    "ipip",
    "gre",
    "ip6gre",
    "erspan",
    "ip6erspan",
    "vti",
    "vti6",
    "vrf",
    "openvswitch",
];

/// Switches and VLANs one walk visits at most; a host with more is not believed.
const MAX_SEGMENTS: usize = 256;
