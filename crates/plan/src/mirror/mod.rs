//! From "these VMs to that tool" to the means that can copy their packets there, best first.
//!
//! Like a plan of observation points, it says of each means what it misses, costs and disturbs, and
//! of one that cannot be used why.

mod destination;

use inventory::{Machine, MachineId, MachineState, SwitchKind, Vnic};
use serde::Serialize;
use wire::{Mac, VlanId};

pub use destination::{Destination, Encapsulation, NoDestination, Tunnel};

/// What makes the copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// A mirror of Open vSwitch, written into its database.
    #[serde(rename = "ovs")]
    OpenVSwitch,
    /// A mirror of OVN, written into its northbound database.
    Ovn,
    /// A virtual tap: a kernel program at the VM's own port, by traffic control.
    #[serde(rename = "tc")]
    TrafficControl,
}

impl Means {
    /// The word for it on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OpenVSwitch => "ovs",
            Self::Ovn => "ovn",
            Self::TrafficControl => "tc",
        }
    }
}

impl std::fmt::Display for Means {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OpenVSwitch => "mirror of Open vSwitch",
            Self::Ovn => "mirror of OVN",
            Self::TrafficControl => "virtual tap in the kernel",
        })
    }
}

/// One means, judged for these VMs and this destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// What makes the copies.
    pub means: Means,
    /// Why it cannot be used, with the remedy where there is one; `None` if it can.
    pub refusal: Option<String>,
    /// The ports whose packets are copied.
    pub sources: Vec<Source>,
    /// What the tool gets, and in which shape.
    pub sees: String,
    /// What it does not get, one sentence each.
    pub misses: Vec<String>,
    /// What the host pays.
    pub costs: String,
    /// Whom it disturbs.
    pub disturbs: String,
}

/// A vNIC's own port: where its packets are copied. Two sources are the same only if all of it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Whose it is.
    #[serde(serialize_with = "as_text")]
    pub machine: MachineId,
    /// The VM's name, and the vNIC's: `web-01/net0`.
    pub label: String,
    /// The VM's owner, where a source knows it.
    pub tenant: Option<String>,
    /// The vNIC's MAC, where it is known.
    #[serde(serialize_with = "as_text_or_null")]
    pub mac: Option<Mac>,
    /// Device on the host.
    pub device: String,
    /// Its interface index.
    pub ifindex: Option<u32>,
    /// A path to enter the namespace it is in; `None` for overtap's own.
    pub namespace_path: Option<String>,
    /// The vSwitch or bridge it is a port of.
    pub switch: Option<String>,
    /// Its name there.
    pub port: Option<String>,
    /// Port id of the management layer.
    pub port_id: Option<String>,
    /// The networks it is in: VLAN and overlay number of each way out.
    #[serde(skip)]
    pub networks: Vec<(Option<VlanId>, Option<wire::Vni>)>,
}

impl Source {
    /// Where it is: what has to be the same for a mirror to stay as it is. The networks that lead
    /// out of its switch are not in it.
    pub fn place(&self) -> impl PartialEq + '_ {
        let Self { machine, label, mac, device, ifindex, namespace_path, .. } = self;
        (
            machine,
            label,
            mac,
            device,
            ifindex,
            namespace_path,
            &self.switch,
            &self.port,
            &self.port_id,
        )
    }
}

/// The means for these VMs: usable ones first.
pub fn ways(machines: &[&Machine], destination: &Destination) -> Vec<Way> {
    let mut ways = vec![
        open_vswitch(machines, destination),
        traffic_control(machines, destination),
        ovn(machines, destination),
    ];
    ways.sort_by_key(|way| way.refusal.is_some());
    ways
}

fn open_vswitch(machines: &[&Machine], destination: &Destination) -> Way {
    let (sources, mut misses) = sources(machines, |vnic| {
        let place = vnic.attachment.as_ref()?;
        (place.switch_kind == Some(SwitchKind::OpenVSwitch)).then_some(place)?;
        place.port.as_ref().or(place.device.as_ref()).map(|_| ())
    });
    let mut bridges: Vec<_> =
        sources.iter().filter_map(|source| source.switch.as_deref()).collect();
    bridges.sort_unstable();
    bridges.dedup();
    let refusal = match bridges.as_slice() {
        [] => Some("none of their ports is on Open vSwitch".to_owned()),
        [_] => None,
        several => Some(format!(
            "their ports are on several switches ({}), and a mirror is of one; make one for the \
             VMs of each",
            several.join(", ")
        )),
    };
    misses.push("frames to the VM that the switch drops before they reach its port".into());
    if matches!(destination, Destination::Vlan(_)) {
        misses.push(
            "the VLAN the frames had: the mirror's takes its place; reserved multicast".into(),
        );
    }
    Way {
        means: Means::OpenVSwitch,
        refusal,
        sources,
        sees: "every frame the VM sends or receives, with the VLAN tag it has within the switch"
            .to_owned(),
        misses,
        costs:
            "one of the 32 mirrors of the switch and one port; each frame of the VM is sent twice"
                .to_owned(),
        disturbs: match destination {
            Destination::Port(name) => {
                format!(
                    "{name} becomes a port of the switch for this alone: what it sends is dropped"
                )
            }
            Destination::Vlan(vlan) => format!(
                "VLAN {vlan}: every switch that carries it must flood it and learn nothing in it"
            ),
            Destination::Tunnel(_) => "nobody; the copies share the underlay".to_owned(),
        },
    }
}

fn ovn(machines: &[&Machine], destination: &Destination) -> Way {
    let (sources, mut misses) = sources(machines, |vnic| {
        let place = vnic.attachment.as_ref()?;
        (place.switch_kind == Some(SwitchKind::OpenVSwitch)).then_some(place)?;
        // By this OVN knows it, if it does.
        place.port_id.as_ref().map(|_| ())
    });
    let refusal = match destination {
        _ if sources.is_empty() => {
            Some("none of their ports is on Open vSwitch with an iface-id".to_owned())
        }
        Destination::Tunnel(Tunnel {
            encapsulation: Encapsulation::Gre | Encapsulation::ErspanII { index: 0 },
            ..
        }) => None,
        _ => Some("OVN mirrors into gre:// and erspan:// of type II only".to_owned()),
    };
    misses.push("frames to the VM that the switch drops before they reach its port".into());
    misses.push(
        "one number for both directions: what goes to the VM has the next one; with ERSPAN the \
         index is the number read as hexadecimal"
            .into(),
    );
    Way {
        means: Means::Ovn,
        refusal,
        sources,
        sees: "every frame the VM sends or receives, with the VLAN tag it has within the switch"
            .to_owned(),
        misses,
        costs: "two of the 32 mirrors of the switch and two ports; each frame of the VM is sent \
                twice; a change of OVN's northbound database, which all its hosts look at"
            .to_owned(),
        disturbs: "nobody; the copies share the underlay. OVN takes it along when the VM moves, \
                   until its watcher sees that it has gone"
            .to_owned(),
    }
}

fn traffic_control(machines: &[&Machine], destination: &Destination) -> Way {
    let (sources, misses) = sources(machines, |vnic| {
        let place = vnic.attachment.as_ref()?;
        place.device.as_ref().map(|_| ())
    });
    let is_macvtap = machines.iter().flat_map(|machine| &machine.vnics).any(|vnic| {
        vnic.attachment.as_ref().is_some_and(|at| at.switch_kind == Some(SwitchKind::Macvtap))
    });
    let refusal = match destination {
        _ if sources.is_empty() => Some("none of their ports is a device of this host".to_owned()),
        _ if is_macvtap => Some(
            "a macvtap hands its frames past traffic control; nothing of them would be copied"
                .to_owned(),
        ),
        _ if sources.iter().any(|source| source.namespace_path.is_some()) => {
            Some("a port is in another network namespace than the destination".to_owned())
        }
        Destination::Vlan(_) => Some(
            "the kernel cannot put copies into a VLAN of a switch by itself; give a VLAN device: \
             --to port:IFACE"
                .to_owned(),
        ),
        Destination::Tunnel(tunnel) if !matches!(tunnel.encapsulation, Encapsulation::Vxlan) => {
            Some(format!(
                "{} devices are not made by this means yet; use vxlan://, or make the device \
                 yourself and give it as --to port:IFACE",
                tunnel.encapsulation.word()
            ))
        }
        _ => None,
    };
    Way {
        means: Means::TrafficControl,
        refusal,
        sources,
        sees: "every frame at the VM's own port, as the VM sends or receives it; frames may be up \
               to 64 KiB long"
            .to_owned(),
        misses,
        costs: "a kernel program for each frame at the port, and the sending of its copy"
            .to_owned(),
        disturbs: "nobody: the guest cannot notice, the switch neither".to_owned(),
    }
}

/// The ports of machines that run here, and a sentence for each vNIC that has none of this kind.
fn sources(
    machines: &[&Machine],
    is_usable: impl Fn(&Vnic) -> Option<()>,
) -> (Vec<Source>, Vec<String>) {
    let (mut sources, mut misses) = (Vec::new(), Vec::new());
    for machine in machines.iter().filter(|machine| machine.state != MachineState::Shutoff) {
        for vnic in &machine.vnics {
            let label = format!("{}/{}", machine.name, vnic.name);
            match is_usable(vnic).and_then(|()| source(machine, vnic, &label)) {
                Some(source) => sources.push(source),
                None => misses.push(format!("all of {label}: its port is none of this means")),
            }
        }
    }
    (sources, misses)
}

fn source(machine: &Machine, vnic: &Vnic, label: &str) -> Option<Source> {
    let place = vnic.attachment.as_ref()?;
    Some(Source {
        machine: machine.id.clone(),
        label: label.to_owned(),
        tenant: machine.tenant.clone(),
        mac: vnic.mac,
        device: place.device.clone().or_else(|| place.port.clone())?,
        ifindex: place.ifindex,
        namespace_path: place.namespace_path.clone(),
        switch: place.switch.clone(),
        port: place.port.clone(),
        port_id: place.port_id.clone(),
        networks: place.networks.iter().map(|network| (network.vlan, network.vni)).collect(),
    })
}

fn as_text<S: serde::Serializer, T: ToString>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn as_text_or_null<S: serde::Serializer>(
    mac: &Option<Mac>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    mac.map(|mac| mac.to_string()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use inventory::facts::NamespaceId;
    use inventory::{Attachment, MachineKind};

    use super::*;

    fn machine(name: &str, switch: &str, kind: SwitchKind) -> Machine {
        let attachment = Attachment {
            device: Some(format!("tap-{name}")),
            ifindex: Some(3),
            namespace: NamespaceId(1),
            namespace_path: None,
            switch: Some(switch.into()),
            switch_kind: Some(kind),
            port: Some(format!("tap-{name}")),
            port_id: None,
            port_group: None,
            networks: Vec::new(),
            notes: Vec::new(),
            since: None,
        };
        let vnic =
            Vnic { name: "net0".into(), mac: None, ips: Vec::new(), attachment: Some(attachment) };
        Machine {
            id: MachineId::Written(name.into()),
            name: name.into(),
            aliases: Vec::new(),
            kind: MachineKind::Vm,
            state: MachineState::Running,
            tenant: None,
            vnics: vec![vnic],
            pid: None,
            namespace_path: None,
            since: None,
            evidence: Vec::new(),
        }
    }

    /// The means in their order, and whether each can be used.
    fn order(machines: &[&Machine], to: &str) -> Vec<(Means, bool)> {
        let ways = ways(machines, &to.parse().unwrap());
        let all = ways.iter().map(|way| (way.means, way.refusal.is_none()));
        all.filter(|(means, _)| *means != Means::Ovn).collect()
    }

    #[test]
    fn the_switch_is_first_where_it_can() {
        use Means::{OpenVSwitch, TrafficControl};
        let ovs = machine("web", "br-int", SwitchKind::OpenVSwitch);
        let bridge = machine("db", "br0", SwitchKind::LinuxBridge);
        let vxlan = "vxlan://10.0.0.9?vni=7";
        assert_eq!(order(&[&ovs], vxlan), [(OpenVSwitch, true), (TrafficControl, true)]);
        assert_eq!(order(&[&bridge], vxlan), [(TrafficControl, true), (OpenVSwitch, false)]);
        assert_eq!(order(&[&ovs], "vlan:9"), [(OpenVSwitch, true), (TrafficControl, false)]);
        assert_eq!(order(&[&bridge], "vlan:9"), [(OpenVSwitch, false), (TrafficControl, false)]);
        let macvtap = machine("mac", "eth0", SwitchKind::Macvtap);
        assert_eq!(order(&[&macvtap], vxlan), [(OpenVSwitch, false), (TrafficControl, false)]);
        assert_eq!(order(&[], vxlan), [(OpenVSwitch, false), (TrafficControl, false)]);
    }

    #[test]
    fn ovn_mirrors_ports_it_knows_into_the_tunnels_it_has() {
        let refusal = |machine: &Machine, to: &str| {
            let ways = ways(&[machine], &to.parse().unwrap());
            ways.into_iter().find(|way| way.means == Means::Ovn).unwrap().refusal
        };
        let mut web = machine("web", "br-int", SwitchKind::OpenVSwitch);
        assert!(refusal(&web, "gre://10.0.0.9?key=7").unwrap().contains("iface-id"));
        web.vnics[0].attachment.as_mut().unwrap().port_id = Some("web".into());
        assert_eq!(refusal(&web, "gre://10.0.0.9?key=7"), None);
        assert_eq!(refusal(&web, "erspan://10.0.0.9?session=7"), None);
        for to in ["vxlan://10.0.0.9?vni=7", "erspan://10.0.0.9?session=7&type=3", "vlan:9"] {
            assert!(refusal(&web, to).is_some(), "{to}");
        }
    }

    #[test]
    fn a_mirror_is_of_one_switch_and_says_what_it_misses() {
        let one = machine("web", "br-int", SwitchKind::OpenVSwitch);
        let other = machine("db", "br-ext", SwitchKind::OpenVSwitch);
        let apart = machine("far", "br0", SwitchKind::LinuxBridge);
        let destination = "vxlan://10.0.0.9?vni=7".parse().unwrap();
        let all = ways(&[&one, &other], &destination);
        let refused = all.iter().find(|way| way.means == Means::OpenVSwitch).unwrap();
        assert!(refused.refusal.as_ref().unwrap().contains("br-ext, br-int"), "{refused:?}");
        let all = ways(&[&one, &apart], &destination);
        assert!(all[0].misses[0].contains("all of far/net0"), "{:?}", all[0].misses);
    }

    #[test]
    fn a_vm_that_does_not_run_has_no_source() {
        let mut web = machine("web", "br-int", SwitchKind::OpenVSwitch);
        web.state = MachineState::Shutoff;
        assert!(ways(&[&web], &"vlan:9".parse().unwrap()).iter().all(|w| w.sources.is_empty()));
    }
}
