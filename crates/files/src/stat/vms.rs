//! Whose packets they are: the VMs of an inventory, by MAC within their networks.

use std::collections::HashMap;

use pipeline::{Network, NetworkName, OverlayKind};
use wire::{Layer, Layers, Mac, Packet, Timestamp};

use super::counts::{RowKey, Table};

/// A VM as a shared wire knows it.
#[derive(Debug, Clone)]
pub struct VmOnWire {
    /// What it is called.
    pub name: String,
    /// Its MACs, each in one network and for a time.
    pub members: Vec<VmMember>,
}

/// A MAC that means a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmMember {
    /// The MAC.
    pub mac: Mac,
    /// In which network; `None` is in frames that name none.
    pub network: Option<NetworkName>,
    /// From when on.
    pub from: Timestamp,
    /// The first moment at which it is not any more.
    pub until: Option<Timestamp>,
}

/// Finds the VMs of a packet.
#[derive(Debug)]
pub(super) struct Vms {
    members: HashMap<(Mac, Option<NetworkName>), Vec<Owned>>,
    pub(super) names: Vec<String>,
    pub(super) table: Table<VmNumber>,
}

/// From when on, until when, and which VM's.
type Owned = (Timestamp, Option<Timestamp>, u32);

/// The number of a VM among those of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VmNumber(pub(super) u32);

impl Vms {
    pub(super) fn new(vms: Vec<VmOnWire>) -> Self {
        let mut members: HashMap<_, Vec<_>> = HashMap::new();
        let mut names = Vec::new();
        for (number, vm) in (0..).zip(vms) {
            for VmMember { mac, network, from, until } in vm.members {
                members.entry((mac, network)).or_default().push((from, until, number));
            }
            names.push(vm.name);
        }
        Self { members, names, table: Table::new() }
    }

    /// Counts the packet for who sent it and whom it is for; one that is for the whole network
    /// counts for its sender only.
    pub(super) fn add(&mut self, packet: &Packet<'_>, layers: &Layers, network: &Network) {
        let own = layers.innermost(packet.data).headers();
        let Some(macs) = own
            .iter()
            .find(|header| header.layer == Layer::Ethernet)
            .and_then(|header| packet.data.get(header.offset as usize..)?.first_chunk::<12>())
        else {
            return;
        };
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = *macs;
        let source = self.find(Mac([s0, s1, s2, s3, s4, s5]), network, packet.time);
        let destination = self.find(Mac([d0, d1, d2, d3, d4, d5]), network, packet.time);
        for vm in source.into_iter().chain(destination.filter(|vm| Some(*vm) != source)) {
            self.table.add(VmNumber(vm), packet);
        }
    }

    fn find(&self, mac: Mac, network: &Network, time: Timestamp) -> Option<u32> {
        let (name, other) = names(network)?;
        let find = |name| {
            self.members.get(&(mac, name))?.iter().find_map(|&(from, until, vm)| {
                (from <= time && until.is_none_or(|until| time < until)).then_some(vm)
            })
        };
        find(name).or_else(|| find(Some(other?)))
    }
}

/// How an inventory may call a network; `None` if it has no word for it.
fn names(network: &Network) -> Option<(Option<NetworkName>, Option<NetworkName>)> {
    let Some(overlay) = network.overlay else {
        // A second tag makes another network of it.
        return match u16::try_from(network.vlans) {
            Ok(0) => Some((None, None)),
            Ok(vlan) if vlan < 4096 => Some((Some(NetworkName::Vlan(vlan)), None)),
            _ => None,
        };
    };
    let number = overlay.number;
    match overlay.kind {
        OverlayKind::Vxlan => Some((Some(NetworkName::Vxlan(number)), None)),
        OverlayKind::Geneve => Some((Some(NetworkName::Geneve(number)), None)),
        OverlayKind::Gre => {
            Some((Some(NetworkName::Gre(number)), Some(NetworkName::Nvgre(number >> 8))))
        }
        _ => None,
    }
}

impl RowKey for VmNumber {
    fn hash(&self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}
