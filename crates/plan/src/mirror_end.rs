//! The end of a mirror: which of the frames that come there are a machine's.

use inventory::{Machine, Site};
use select::{Identity, OnWire, Ownership};

use crate::uplink::on_wire;

/// What names a machine's frames in a mirror of its vSwitch: its MACs in the networks they have on
/// wires, and without a tag, as its port has them, where no other machine has the MAC.
pub fn mirrored(site: &Site, machine: &Machine) -> Ownership {
    let mut identities = Vec::new();
    for vnic in &machine.vnics {
        let Some(mac) = vnic.mac else { continue };
        let networks = vnic.attachment.iter().flat_map(|place| &place.networks);
        let tagged = networks.filter_map(|network| on_wire(network).ok());
        let others = site.machines.iter().filter(|other| other.id != machine.id);
        let is_shared = others.flat_map(|other| &other.vnics).any(|other| other.mac == Some(mac));
        let untagged = (!is_shared).then_some(OnWire::Untagged);
        for network in tagged.chain(untagged) {
            let identity = Identity { mac, network };
            let is_anothers = is_shared && network == OnWire::Untagged;
            if !is_anothers && !identities.contains(&identity) {
                identities.push(identity);
            }
        }
    }
    Ownership::Shared(identities)
}
