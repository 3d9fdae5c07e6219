//! Builds the facts of a host the way its sources report them, for scenarios.

#![allow(dead_code, reason = "each test file uses its part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::IpAddr;

use inventory::facts::{
    Domain, DomainNic, DomainState, Facts, FdbEntry, LibvirtFacts, Link, LinkKind, Namespace,
    NamespaceId, Neighbour, NetworkFacts, OvsBridge, OvsFacts, OvsInterface, OvsPort, ProcessFacts,
    QemuNic, QemuProcess, Report, Route, Source, Uuid,
};
use inventory::{Machine, Resolver, Site};
use wire::{Mac, Timestamp, VlanId, Vni};

/// The namespace of the host itself.
pub(crate) const HOST: NamespaceId = NamespaceId(4_026_531_840);

/// One host: what its sources would say now.
#[derive(Clone, Default)]
pub(crate) struct Bed {
    pub(crate) networks: Vec<NetworkFacts>,
    pub(crate) processes: ProcessFacts,
    pub(crate) ovs: Option<OvsFacts>,
    pub(crate) libvirt: Option<LibvirtFacts>,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let mut bed = Self {
            networks: Vec::new(),
            processes: ProcessFacts {
                hostname: "hv-1".into(),
                own_namespace: HOST,
                ..ProcessFacts::default()
            },
            ovs: None,
            libvirt: None,
        };
        bed.network(HOST);
        bed
    }

    pub(crate) fn network(&mut self, namespace: NamespaceId) -> &mut NetworkFacts {
        let at = self.networks.iter().position(|n| n.namespace == namespace).unwrap_or_else(|| {
            self.networks.push(NetworkFacts {
                namespace,
                is_own: namespace == HOST,
                ..NetworkFacts::default()
            });
            self.networks.len() - 1
        });
        &mut self.networks[at]
    }

    /// Adds a link to the host's namespace and returns it for changes.
    pub(crate) fn link(&mut self, index: u32, name: &str, kind: LinkKind) -> &mut Link {
        self.link_in(HOST, index, name, kind)
    }

    pub(crate) fn link_in(
        &mut self,
        namespace: NamespaceId,
        index: u32,
        name: &str,
        kind: LinkKind,
    ) -> &mut Link {
        let links = &mut self.network(namespace).links;
        links.push(Link {
            index,
            name: name.into(),
            mac: None,
            is_up: true,
            has_carrier: true,
            is_promiscuous: false,
            mtu: 1500,
            kind,
            master: None,
            pvid: None,
            vlans: Vec::new(),
            addresses: Vec::new(),
        });
        links.last_mut().unwrap()
    }

    pub(crate) fn tap(&mut self, index: u32, name: &str, master: Option<u32>) -> &mut Link {
        let link = self.link(index, name, LinkKind::Tun { is_tap: true });
        link.master = master;
        link
    }

    pub(crate) fn physical(&mut self, index: u32, name: &str, master: Option<u32>) -> &mut Link {
        let link = self.link(index, name, LinkKind::Physical);
        link.master = master;
        link
    }

    pub(crate) fn bridge(&mut self, index: u32, name: &str) -> &mut Link {
        self.link(index, name, LinkKind::Bridge { is_vlan_aware: false })
    }

    pub(crate) fn qemu(&mut self, pid: u32, name: &str, id: Option<u8>, nics: &[(&str, &str)]) {
        self.processes.qemus.push(QemuProcess {
            pid,
            started: at(u64::from(pid)),
            name: Some(name.into()),
            uuid: id.map(uuid),
            namespace: HOST,
            is_incoming: false,
            nics: nics
                .iter()
                .map(|(address, tap)| QemuNic {
                    id: None,
                    mac: Some(mac(address)),
                    tap: Some((*tap).into()),
                    backend: "tap".into(),
                })
                .collect(),
        });
    }

    /// Ends a QEMU process: its taps lose their carrier.
    pub(crate) fn stop(&mut self, number: usize) {
        for nic in self.processes.qemus.remove(number).nics {
            self.let_go(nic.tap.as_deref());
        }
    }

    /// Gives the first card of a QEMU process another tap.
    pub(crate) fn hold(&mut self, number: usize, tap: &str) {
        let nic = &mut self.processes.qemus[number].nics[0];
        let old = nic.tap.replace(tap.into());
        self.let_go(old.as_deref());
    }

    fn let_go(&mut self, tap: Option<&str>) {
        for link in self.network(HOST).links.iter_mut().filter(|l| Some(l.name.as_str()) == tap) {
            link.has_carrier = false;
        }
    }

    pub(crate) fn domain(&mut self, name: &str, id: u8, state: DomainState, nics: &[(&str, &str)]) {
        let libvirt = self.libvirt.get_or_insert_default();
        libvirt.domains.push(Domain {
            name: name.into(),
            uuid: uuid(id),
            id: (state != DomainState::Shutoff).then_some(i32::from(id)),
            state,
            title: None,
            tenant: None,
            nics: nics
                .iter()
                .map(|(address, tap)| DomainNic {
                    mac: mac(address),
                    tap: Some((*tap).into()),
                    source: Some("br-int".into()),
                    port_group: None,
                    interface_id: None,
                    vlan: None,
                    alias: None,
                    kind: "bridge".into(),
                    ips: Vec::new(),
                })
                .collect(),
        });
    }

    pub(crate) fn namespace(&mut self, id: u64, name: &str) {
        self.processes.namespaces.push(Namespace {
            id: NamespaceId(id),
            name: name.into(),
            runtime: "netns".into(),
            runtime_id: None,
            pid: None,
            path: format!("/run/netns/{name}"),
            started: None,
        });
        self.network(NamespaceId(id));
    }

    /// A veth pair: `outside` on the host, `inside` in namespace `id`.
    pub(crate) fn cable(&mut self, outside: (u32, &str), id: u64, inside: (u32, &str, &str)) {
        let there = NamespaceId(id);
        self.link(outside.0, outside.1, veth(inside.0, Some(there)));
        self.link_in(there, inside.0, inside.1, veth(outside.0, Some(HOST))).mac =
            Some(mac(inside.2));
    }

    pub(crate) fn ovs_bridge(&mut self, name: &str, ports: Vec<OvsPort>) {
        let ovs = self.ovs.get_or_insert_default();
        ovs.bridges.push(OvsBridge { name: name.into(), datapath: "netdev".into(), ports });
    }

    /// The reports all sources would make at this second.
    pub(crate) fn reports(&self, second: u64) -> Vec<Report> {
        let report = |source, facts| Report { source, at: at(second), facts: Ok(facts) };
        let mut reports: Vec<Report> = self
            .networks
            .iter()
            .map(|n| report(Source::Netlink(n.namespace), Facts::Network(n.clone())))
            .collect();
        reports.push(report(Source::Proc, Facts::Processes(self.processes.clone())));
        reports
            .extend(self.ovs.iter().map(|o| report(Source::Ovsdb, Facts::OpenVSwitch(o.clone()))));
        reports.extend(
            self.libvirt.iter().map(|l| report(Source::Libvirt, Facts::Libvirt(l.clone()))),
        );
        reports
    }

    pub(crate) fn site(&self) -> Site {
        let mut resolver = Resolver::new();
        for report in self.reports(1) {
            resolver.apply(report);
        }
        resolver.site()
    }

    /// The machine of this name; there must be only one.
    pub(crate) fn machine(&self, name: &str) -> Machine {
        let site = self.site();
        let mut found = site.machines.iter().filter(|m| m.name == name);
        let machine = found.next().unwrap_or_else(|| {
            let names: Vec<_> = site.machines.iter().map(|m| &m.name).collect();
            panic!("no machine {name} in {names:?}")
        });
        assert!(found.next().is_none(), "more than one machine {name}");
        machine.clone()
    }
}

pub(crate) fn at(second: u64) -> Timestamp {
    Timestamp::from_parts(1_800_000_000 + second, 0)
}

pub(crate) fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn uuid(n: u8) -> Uuid {
    Uuid([n; 16])
}

pub(crate) fn vlan(n: u16) -> VlanId {
    VlanId::new(n).unwrap()
}

pub(crate) fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

pub(crate) fn veth(peer: u32, namespace: Option<NamespaceId>) -> LinkKind {
    LinkKind::Veth {
        peer: Some(peer),
        peer_namespace: namespace,
        is_peer_elsewhere: namespace.is_some(),
    }
}

/// One end of a veth pair whose other end cannot be seen.
pub(crate) fn blind_veth() -> LinkKind {
    LinkKind::Veth { peer: None, peer_namespace: None, is_peer_elsewhere: true }
}

pub(crate) fn vxlan(id: u32, remote: &str, lower: Option<u32>) -> LinkKind {
    LinkKind::Vxlan { vni: Some(vni(id)), port: 4789, local: None, remote: Some(ip(remote)), lower }
}

pub(crate) fn port(name: &str, tag: Option<u16>) -> OvsPort {
    OvsPort {
        name: name.into(),
        tag: tag.map(vlan),
        interfaces: vec![OvsInterface {
            name: name.into(),
            is_up: true,
            ..OvsInterface::default()
        }],
        ..OvsPort::default()
    }
}

pub(crate) fn port_of(
    name: &str,
    tag: Option<u16>,
    kind: &str,
    options: &[(&str, &str)],
) -> OvsPort {
    let mut port = port(name, tag);
    port.interfaces[0].kind = kind.into();
    port.interfaces[0].options = options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    port
}

pub(crate) fn claimed(
    name: &str,
    tag: Option<u16>,
    address: &str,
    vm_id: &str,
    iface: &str,
) -> OvsPort {
    let mut port = port(name, tag);
    port.interfaces[0].attached_mac = Some(mac(address));
    port.interfaces[0].vm_id = Some(vm_id.into());
    port.interfaces[0].iface_id = Some(iface.into());
    port
}

pub(crate) fn fdb(address: &str, link: u32) -> FdbEntry {
    FdbEntry { mac: mac(address), link, vlan: None }
}

pub(crate) fn neighbour(address: &str, host: &str, link: u32) -> Neighbour {
    Neighbour { ip: ip(host), mac: mac(address), link }
}

pub(crate) fn route(prefix: &str, prefix_len: u8, link: u32) -> Route {
    let destination = (prefix_len > 0).then(|| ip(prefix));
    Route { destination, prefix_len, link }
}
