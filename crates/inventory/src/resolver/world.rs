//! The latest facts of all sources, indexed the way the resolver asks.
//!
//! Lookups only; nothing is decided here. Everything is sorted by name or number, so the order in
//! which a source lists its rows never shows in a site.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::facts::{
    LibvirtFacts, Link, LinkKind, NamespaceId, NetworkFacts, OvsBridge, OvsFacts, OvsInterface,
    OvsPort, ProcessFacts,
};

/// The latest facts of all sources.
#[derive(Default)]
pub(super) struct World<'a> {
    /// The namespace overtap runs in, which is also that of Open vSwitch and libvirt.
    pub(super) own: NamespaceId,
    pub(super) processes: Option<&'a ProcessFacts>,
    pub(super) libvirt: Option<&'a LibvirtFacts>,
    pub(super) ovs: Option<&'a OvsFacts>,
    /// Whether there is an Open vSwitch of which nothing could be read.
    pub(super) is_ovs_hidden: bool,
    networks: BTreeMap<NamespaceId, Network<'a>>,
    ovs_by_interface: HashMap<&'a str, OvsPlace<'a>>,
    /// From one end of a veth pair to the other, as far as either end names it.
    veth_peers: HashMap<(NamespaceId, u32), Device<'a>>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        networks: &[&'a NetworkFacts],
        processes: Option<&'a ProcessFacts>,
        libvirt: Option<&'a LibvirtFacts>,
        ovs: Option<&'a OvsFacts>,
    ) -> Self {
        let own = processes
            .map(|p| p.own_namespace)
            .or_else(|| networks.iter().find(|n| n.is_own).map(|n| n.namespace))
            .unwrap_or_default();
        let mut world = Self { own, processes, libvirt, ovs, ..Self::default() };
        for facts in networks {
            world.networks.insert(facts.namespace, Network::new(facts));
        }
        for bridge in ovs.iter().flat_map(|o| &o.bridges) {
            for port in &bridge.ports {
                for interface in &port.interfaces {
                    let place = OvsPlace { bridge, port, interface };
                    world.ovs_by_interface.insert(&interface.name, place);
                }
            }
        }
        world.pair_veths();
        world
    }

    fn pair_veths(&mut self) {
        let mut pairs = HashMap::new();
        for (namespace, network) in &self.networks {
            for link in &network.links {
                let LinkKind::Veth { peer: Some(peer), peer_namespace, is_peer_elsewhere } =
                    &link.kind
                else {
                    continue;
                };
                let there = match (peer_namespace, is_peer_elsewhere) {
                    (Some(there), _) => *there,
                    (None, false) => *namespace,
                    (None, true) => continue,
                };
                // One end alone may know the other (a namespace without an id for ours).
                let here = Device { namespace: *namespace, link };
                pairs.entry((there, *peer)).or_insert(here);
                if let Some(other) = self.link(there, *peer) {
                    pairs.insert((*namespace, link.index), other);
                }
            }
        }
        self.veth_peers = pairs;
    }

    pub(super) fn link(&self, namespace: NamespaceId, index: u32) -> Option<Device<'a>> {
        let link = self.networks.get(&namespace)?.by_index.get(&index)?;
        Some(Device { namespace, link })
    }

    pub(super) fn link_named(&self, namespace: NamespaceId, name: &str) -> Option<Device<'a>> {
        let link = self.networks.get(&namespace)?.by_name.get(name)?;
        Some(Device { namespace, link })
    }

    /// The tap of this name, if there is only one in all namespaces.
    pub(super) fn only_tap_named(&self, name: &str) -> Option<Device<'a>> {
        let mut found = self.networks.keys().filter_map(|ns| {
            self.link_named(*ns, name).filter(|d| matches!(d.link.kind, LinkKind::Tun { .. }))
        });
        let first = found.next()?;
        if found.next().is_none() { Some(first) } else { None }
    }

    /// The links of a namespace by index.
    pub(super) fn links(&self, namespace: NamespaceId) -> impl Iterator<Item = Device<'a>> + '_ {
        let links = self.networks.get(&namespace).map(|n| n.links.as_slice()).unwrap_or_default();
        links.iter().map(move |link| Device { namespace, link })
    }

    /// Whether the links of this namespace could be read.
    pub(super) fn has_network(&self, namespace: NamespaceId) -> bool {
        self.networks.contains_key(&namespace)
    }

    /// All namespaces whose links could be read.
    pub(super) fn networks(&self) -> impl Iterator<Item = &'a NetworkFacts> + '_ {
        self.networks.values().map(|n| n.facts)
    }

    /// The members of a bridge, bond or team, by index.
    pub(super) fn members(&self, master: Device<'_>) -> impl Iterator<Item = Device<'a>> + '_ {
        let namespace = master.namespace;
        let members = self
            .networks
            .get(&namespace)
            .and_then(|n| n.members.get(&master.link.index))
            .map(Vec::as_slice)
            .unwrap_or_default();
        members.iter().map(move |link| Device { namespace, link })
    }

    /// The bridge, bond or team a device belongs to.
    pub(super) fn master(&self, device: Device<'_>) -> Option<Device<'a>> {
        self.link(device.namespace, device.link.master?)
    }

    /// The Linux bridge a device is a port of.
    pub(super) fn bridge_of(&self, device: Device<'_>) -> Option<Device<'a>> {
        self.master(device).filter(|m| matches!(m.link.kind, LinkKind::Bridge { .. }))
    }

    /// The device a VLAN sub-interface or macvlan is stacked on.
    pub(super) fn lower(&self, device: Device<'_>) -> Option<Device<'a>> {
        match device.link.kind {
            LinkKind::Vlan { lower, lower_namespace, .. }
            | LinkKind::Macvlan { lower, lower_namespace } => {
                self.link(lower_namespace.unwrap_or(device.namespace), lower?)
            }
            _ => None,
        }
    }

    /// The other end of a veth pair.
    pub(super) fn peer(&self, device: Device<'_>) -> Option<Device<'a>> {
        self.veth_peers.get(&(device.namespace, device.link.index)).copied()
    }

    /// The port of Open vSwitch a kernel device of its namespace is, unless the kernel says that
    /// it belongs to another switch.
    pub(super) fn ovs_port_of(&self, device: Device<'_>) -> Option<OvsPlace<'a>> {
        if device.namespace != self.own || self.bridge_of(device).is_some() {
            return None;
        }
        self.ovs_interface(&device.link.name)
    }

    /// Whether a device is a port of a switch in its namespace. A switch in user space shows only
    /// by several devices that take every frame and have no address.
    pub(super) fn is_switch_port(&self, device: Device<'_>) -> bool {
        let listens = |link: &Link| {
            link.is_promiscuous && link.addresses.iter().all(|(ip, _)| is_link_local(*ip))
        };
        device.link.master.is_some()
            || listens(device.link)
                && self.links(device.namespace).filter(|d| listens(d.link)).count() > 1
    }

    pub(super) fn ovs_interface(&self, name: &str) -> Option<OvsPlace<'a>> {
        self.ovs_by_interface.get(name).copied()
    }

    /// All interfaces of Open vSwitch by bridge, port and name.
    pub(super) fn ovs_interfaces(&self) -> Vec<OvsPlace<'a>> {
        let mut all: Vec<_> = self.ovs_by_interface.values().copied().collect();
        all.sort_by(|a, b| a.key().cmp(&b.key()));
        all
    }

    /// The device packets to `remote` leave by, by the longest matching prefix.
    pub(super) fn route_to(&self, namespace: NamespaceId, remote: IpAddr) -> Option<Device<'a>> {
        let network = self.networks.get(&namespace)?;
        let routes = network.facts.routes.iter().filter_map(|route| {
            let matches = match route.destination {
                Some(prefix) => is_in_prefix(remote, prefix, route.prefix_len),
                None => route.prefix_len == 0,
            };
            matches.then_some((route.prefix_len, route.link))
        });
        let connected = network.links.iter().filter(|l| l.is_up).flat_map(|link| {
            link.addresses
                .iter()
                .filter(|(ip, len)| is_in_prefix(remote, *ip, *len))
                .map(|(_, len)| (*len, link.index))
        });
        // A connected prefix is also a route; on equal length the route of the table decides.
        let (_, index) = connected.chain(routes).max_by_key(|(len, _)| *len)?;
        self.link(namespace, index)
    }

    /// Where the forwarding entries of a VXLAN device send frames.
    pub(super) fn vxlan_ends(&self, device: Device<'_>) -> impl Iterator<Item = IpAddr> + '_ {
        let ends = self.networks.get(&device.namespace).map(|n| n.facts.vxlan_ends.as_slice());
        let index = device.link.index;
        ends.unwrap_or_default().iter().filter(move |(link, _)| *link == index).map(|(_, ip)| *ip)
    }

    /// The device that has this address.
    pub(super) fn holder_of(&self, namespace: NamespaceId, local: IpAddr) -> Option<Device<'a>> {
        self.links(namespace).find(|d| d.link.addresses.iter().any(|(ip, _)| *ip == local))
    }
}

/// A kernel device in its namespace.
#[derive(Clone, Copy)]
pub(super) struct Device<'a> {
    pub(super) namespace: NamespaceId,
    pub(super) link: &'a Link,
}

impl Device<'_> {
    /// What tells it from every other device of the host.
    pub(super) fn key(&self) -> (NamespaceId, u32) {
        (self.namespace, self.link.index)
    }
}

/// An interface of Open vSwitch with the port and bridge it is in.
#[derive(Clone, Copy)]
pub(super) struct OvsPlace<'a> {
    pub(super) bridge: &'a OvsBridge,
    pub(super) port: &'a OvsPort,
    pub(super) interface: &'a OvsInterface,
}

impl<'a> OvsPlace<'a> {
    fn key(&self) -> (&'a str, &'a str, &'a str) {
        (&self.bridge.name, &self.port.name, &self.interface.name)
    }

    /// Whether the management layer names a machine behind it.
    pub(super) fn has_claim(&self) -> bool {
        let interface = self.interface;
        interface.attached_mac.is_some()
            || interface.iface_id.is_some()
            || interface.vm_id.is_some()
    }
}

/// The value of one of an interface's `options`.
pub(super) fn option<'a>(interface: &'a OvsInterface, key: &str) -> Option<&'a str> {
    interface.options.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

struct Network<'a> {
    facts: &'a NetworkFacts,
    links: Vec<&'a Link>,
    by_index: HashMap<u32, &'a Link>,
    by_name: HashMap<&'a str, &'a Link>,
    members: HashMap<u32, Vec<&'a Link>>,
}

impl<'a> Network<'a> {
    fn new(facts: &'a NetworkFacts) -> Self {
        let mut links: Vec<&Link> = facts.links.iter().collect();
        links.sort_by_key(|l| l.index);
        let mut members: HashMap<u32, Vec<&Link>> = HashMap::new();
        for link in &links {
            if let Some(master) = link.master {
                members.entry(master).or_default().push(link);
            }
        }
        Self {
            facts,
            by_index: links.iter().map(|l| (l.index, *l)).collect(),
            by_name: links.iter().map(|l| (l.name.as_str(), *l)).collect(),
            links,
            members,
        }
    }
}

/// Whether this is an address every device gives itself.
pub(super) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether `ip` is in the prefix of `len` bits that `prefix` is in.
fn is_in_prefix(ip: IpAddr, prefix: IpAddr, len: u8) -> bool {
    match (ip, prefix) {
        (IpAddr::V4(ip), IpAddr::V4(prefix)) => {
            let differing = ip.to_bits() ^ prefix.to_bits();
            differing.checked_shr(32_u32.saturating_sub(len.into())).unwrap_or(0) == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(prefix)) => {
            let differing = ip.to_bits() ^ prefix.to_bits();
            differing.checked_shr(128_u32.saturating_sub(len.into())).unwrap_or(0) == 0
        }
        _ => false,
    }
}
