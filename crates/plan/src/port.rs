//! The vNIC's own port, and its other end within a namespace.

use inventory::{Attachment, Machine, MachineKind, Site, SwitchKind, Vnic};
use select::Ownership;

use crate::point::{Interface, Point, PointKind, Side, vnic_label};

/// Each vNIC's own port on the host.
pub(crate) fn port(site: &Site, machine: &Machine) -> Point {
    let mut interfaces = Vec::new();
    let mut vnics = Vec::new();
    let mut missing = Vec::new();
    for vnic in &machine.vnics {
        match device(vnic) {
            Some((device, place)) => {
                vnics.push(vnic.name.clone());
                interfaces.push(interface(site, machine, vnic, device, place));
            }
            None => missing.push(format!("all of {}: {}", vnic.name, without_device(vnic))),
        }
    }
    let refusal = match (machine.vnics.as_slice(), interfaces.as_slice()) {
        ([], _) => Some(format!("no vNIC of {} is known", machine.name)),
        (_, []) => Some(missing.join("; ")),
        _ => None,
    };
    if refusal.is_none() {
        missing.push(
            "what became of a frame behind the port: the switch may drop or change it".to_owned(),
        );
    }
    let costs = format!(
        "ring memory for {}; no packet of anybody else is touched",
        count(interfaces.len(), "interface")
    );
    Point {
        kind: PointKind::Port,
        refusal,
        vnics,
        interfaces,
        sees: "every frame the machine sends or receives, also within the host, before any \
               tunnel; frames may be up to 64 KiB long and have checksums not yet filled in"
            .to_owned(),
        misses: missing,
        costs,
        disturbs: "nobody: not promiscuous, and the guest cannot notice".to_owned(),
    }
}

/// The vNICs within the namespace of a container; `None` for a VM, whose inside is its own kernel.
pub(crate) fn inside(site: &Site, machine: &Machine) -> Option<Point> {
    if machine.kind == MachineKind::Vm || machine.vnics.is_empty() {
        return None;
    }
    let by_process = || machine.pid.map(|pid| format!("/proc/{pid}/ns/net"));
    let path = machine.namespace_path.clone().or_else(by_process);
    let interfaces: Vec<_> = machine
        .vnics
        .iter()
        .map(|vnic| Interface {
            name: vnic.name.clone(),
            ifindex: None,
            namespace_path: path.clone(),
            vnic: vnic.name.clone(),
            mac: vnic.mac,
            label: vnic_label(&machine.name, &vnic.name, &site.host.name) + "inside",
            description: format!("{} within the namespace of {}", vnic.name, machine.name),
            ownership: Ownership::Whole,
            side: Side::Guest,
            choice: None,
        })
        .collect();
    let refusal = path.is_none().then(|| {
        format!("nothing of {} is known by which its namespace could be entered", machine.name)
    });
    Some(Point {
        kind: PointKind::Inside,
        vnics: machine.vnics.iter().map(|vnic| vnic.name.clone()).collect(),
        interfaces: if refusal.is_some() { Vec::new() } else { interfaces },
        refusal,
        sees: "every frame at the machine's own end, as its kernel sees it".to_owned(),
        misses: vec![
            "what is lost between the two ends of the veth pair".to_owned(),
            "what the machine's own packet filter drops on its way out".to_owned(),
        ],
        costs: format!("ring memory for {}", count(machine.vnics.len(), "interface")),
        disturbs: "the machine can see that somebody listens (/proc/net/packet)".to_owned(),
    })
}

fn device(vnic: &Vnic) -> Option<(&str, &Attachment)> {
    let place = vnic.attachment.as_ref()?;
    Some((place.device.as_deref()?, place))
}

fn interface(
    site: &Site,
    machine: &Machine,
    vnic: &Vnic,
    device: &str,
    place: &Attachment,
) -> Interface {
    let mut description = format!("own port of {}/{}", machine.name, vnic.name);
    if let Some(switch) = &place.switch {
        description += &format!(" on {switch}");
    }
    if let Some(group) = &place.port_group {
        description += &format!(", port group {group}");
    }
    Interface {
        name: device.to_owned(),
        ifindex: place.ifindex,
        namespace_path: place.namespace_path.clone(),
        vnic: vnic.name.clone(),
        mac: vnic.mac,
        label: vnic_label(&machine.name, &vnic.name, &site.host.name) + device,
        description,
        ownership: Ownership::Whole,
        side: match place.switch_kind {
            Some(SwitchKind::Macvtap) => Side::Guest,
            _ => Side::Host,
        },
        choice: None,
    }
}

fn without_device(vnic: &Vnic) -> String {
    match &vnic.attachment {
        None => "it is attached nowhere on this host".to_owned(),
        Some(place) if place.notes.is_empty() => {
            "it has no device on the host (SR-IOV, vhost-user); its packets can be seen on an \
             uplink or in the guest"
                .to_owned()
        }
        Some(place) => place.notes.join("; "),
    }
}

/// `1 interface`, `2 interfaces`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
