//! Ports of a switch that nothing speaks for: the VM behind one is hidden (in another PID namespace,
//! without external ids, behind a veth whose other end cannot be seen), its packets are not.
//!
//! Such a port is a machine with the name of its device, so that it can be found and captured.

use std::collections::BTreeSet;

use super::draft::{Card, Draft, UNSEEN_TAP};
use super::world::{Device, World};
use crate::facts::{LinkKind, NamespaceId, Source};
use crate::site::{MachineId, MachineKind, MachineState};

/// Adds a machine for each port that has somebody behind it whom no source names.
pub(super) fn add_machines(world: &World<'_>, drafts: &mut Vec<Draft>) {
    // Before processes and namespaces were read, or without the right to, nothing can be said to
    // be nobody's.
    if world.processes.is_none() {
        return;
    }
    let cards = || drafts.iter().flat_map(|d| &d.cards);
    let has_unseen_taps = cards().any(|c| c.notes.iter().any(|n| n == UNSEEN_TAP));
    let has_unread_namespaces =
        drafts.iter().filter_map(|d| d.namespace).any(|n| !world.has_network(n));
    let known: BTreeSet<(NamespaceId, &str)> = cards()
        .filter_map(|c| Some((c.namespace, c.device.as_deref()?)))
        .chain(cards().filter_map(|c| Some((world.own, c.ovs_interface.as_deref()?))))
        .collect();
    let is_nobodys = |device: &Device<'_>| {
        let is_unread = match device.link.kind {
            LinkKind::Tun { .. } => has_unseen_taps,
            _ => has_unread_namespaces,
        };
        !is_unread
            && device.link.has_carrier
            && !known.contains(&(device.namespace, device.link.name.as_str()))
            && is_machines_port(world, *device)
    };
    let found: Vec<Draft> =
        world.links(world.own).filter(is_nobodys).map(|device| machine(world, device)).collect();
    drafts.extend(found);
}

fn machine(world: &World<'_>, device: Device<'_>) -> Draft {
    let link = device.link;
    // The index stays when the device is renamed.
    let mut draft = Draft::new(MachineId::Port(format!("link-{}", link.index)), MachineKind::Vm);
    draft.name.clone_from(&link.name);
    draft.state = MachineState::Running;
    let source = Source::Netlink(device.namespace);
    draft.because(
        source.clone(),
        format!("something is behind port {}, and no source says what", link.name),
    );
    draft.cards.push(Card {
        device: Some(link.name.clone()),
        namespace: world.own,
        device_source: Some(source),
        ..Card::default()
    });
    draft
}

/// Whether somebody's machine is behind this port of a switch, not a cable or the host itself.
fn is_machines_port(world: &World<'_>, device: Device<'_>) -> bool {
    let place = world.ovs_port_of(device);
    match place {
        Some(place) => {
            let is_device = matches!(place.interface.kind.as_str(), "" | "system");
            if !is_device || place.port.is_mirror_output || place.port.interfaces.len() > 1 {
                return false;
            }
        }
        None if world.bridge_of(device).is_none() => return false,
        None => {}
    }
    match device.link.kind {
        LinkKind::Tun { is_tap } => is_tap,
        LinkKind::Veth { is_peer_elsewhere, .. } => {
            is_peer_elsewhere && world.peer(device).is_none() && !is_cable(world, device)
        }
        _ => false,
    }
}

/// Whether a veth whose other end cannot be seen is rather a cable to the next switch than a
/// machine's: nothing but its name and what else the bridge leads to can tell.
fn is_cable(world: &World<'_>, device: Device<'_>) -> bool {
    let name = device.link.name.as_str();
    if MACHINE_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return false;
    }
    let Some(bridge) = world.bridge_of(device) else { return true };
    // A bridge that has another way out has its machines at the other ports.
    !world.members(bridge).any(|member| {
        matches!(
            member.link.kind,
            LinkKind::Physical
                | LinkKind::Bond { .. }
                | LinkKind::Vlan { .. }
                | LinkKind::Vxlan { .. }
                | LinkKind::Geneve { .. }
        )
    })
}

/// How hypervisors and container runtimes call the host's end of a machine's card.
const MACHINE_PREFIXES: [&str; 8] = ["tap", "vnet", "veth", "vif", "qvo", "lxc", "cali", "fwpr"];
