//! What is true of each packet of a mix: 16 bytes a packet, in the order of the capture.
//!
//! ```text
//! source VM 2 | destination VM 2 | network 1 | kind 1 | inner offset 1 | tag bytes 1 |
//! number of the packet it is a copy of 4 | shape 1 | point 1 | is group 1 | zero 1
//! ```
//! Little-endian; all ones is "none". Packets are counted from 0.

use std::io;
use std::path::Path;

use crate::site::{Network, Vm};

/// What is true of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truth {
    /// The VM whose MAC, in its own network, is the source.
    pub source: Option<Vm>,
    /// The VM whose MAC, in its own network, is the destination.
    pub destination: Option<Vm>,
    /// The tenant network the frame is in.
    pub network: Option<Network>,
    pub kind: Kind,
    /// Offset of the innermost Ethernet header.
    pub inner: u8,
    /// Bytes of tags between its MACs and its own EtherType.
    pub tags: u8,
    /// Set for a copy: the packet that stays when copies are removed.
    pub kept: Option<u32>,
    /// Index of [`SHAPES`].
    pub shape: u8,
    /// Index of the observation point.
    pub point: u8,
    /// Whether it is for everyone in its network.
    pub is_group: bool,
}

/// How a packet came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sent, and seen for the first or another time.
    First,
    /// Sent once more: a retransmission or a repeated datagram, and never a duplicate of the first.
    Again,
    /// A copy later than any window: stays.
    Late,
    /// The same bytes in another tenant: stays.
    Twin,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::First, Self::Again, Self::Late, Self::Twin];
    pub const WORDS: [&'static str; 4] = ["first", "again", "late", "twin"];
}

/// Whose a frame is that goes to everyone in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// Of every VM in it: what a port delivers to the VM is the VM's.
    OfAll,
    /// Of its sender only: it has the MAC of no other.
    OfSender,
}

/// How a frame looks, by `Truth::shape`.
pub const SHAPES: [&str; 9] =
    ["vxlan", "geneve", "gre", "nvgre", "vlan", "vntag", "erspan2", "erspan3", "plain"];

/// From here on it is the VLAN that names the network.
const SHAPE_VLAN: u8 = 4;

impl Truth {
    pub const LEN: usize = 16;

    pub fn new(
        kind: Kind,
        network: Option<Network>,
        source: Option<Vm>,
        destination: Option<Vm>,
    ) -> Self {
        Self {
            source,
            destination,
            network,
            kind,
            inner: 0,
            tags: 0,
            kept: None,
            shape: 0,
            point: 0,
            is_group: false,
        }
    }

    /// Whether the packet is the VM's: it sends it or gets it.
    pub fn is_of(&self, vm: Vm, groups: Groups) -> bool {
        let is_for_all = self.is_group && groups == Groups::OfAll;
        self.source == Some(vm)
            || self.destination == Some(vm)
            || (is_for_all && self.network == Some(vm.network()))
    }

    /// All VMs that the packet is of.
    pub fn vms(&self, groups: Groups) -> impl Iterator<Item = Vm> {
        let network = self.network.filter(|_| self.is_group && groups == Groups::OfAll);
        let receivers = network.into_iter().flat_map(Network::vms);
        let receivers = receivers.filter(move |vm| self.source != Some(*vm));
        self.source.into_iter().chain(self.destination).chain(receivers)
    }

    /// The network as a frame of this shape names it: its tunnel and number, or its VLAN.
    pub fn named_network(&self) -> (&'static str, u32) {
        match self.network {
            None => ("none", 0),
            Some(network) if self.shape < SHAPE_VLAN => {
                (SHAPES[usize::from(self.shape)], network.number())
            }
            Some(network) => (SHAPES[usize::from(SHAPE_VLAN)], u32::from(network.vlan())),
        }
    }

    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let vm = |vm: Option<Vm>| vm.map_or(u16::MAX, |vm| vm.0).to_le_bytes();
        let ([s0, s1], [d0, d1]) = (vm(self.source), vm(self.destination));
        let network = self.network.map_or(u8::MAX, |network| network.0);
        let [k0, k1, k2, k3] = self.kept.unwrap_or(u32::MAX).to_le_bytes();
        let (kind, group) = (self.kind as u8, u8::from(self.is_group));
        let (inner, tags) = (self.inner, self.tags);
        [
            s0, s1, d0, d1, network, kind, inner, tags, k0, k1, k2, k3, self.shape, self.point,
            group, 0,
        ]
    }

    fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [s0, s1, d0, d1, network, kind, inner, tags, k0, k1, k2, k3, shape, point, group, _] =
            bytes;
        let vm = |bytes| Some(u16::from_le_bytes(bytes)).filter(|vm| *vm != u16::MAX).map(Vm);
        Self {
            source: vm([s0, s1]),
            destination: vm([d0, d1]),
            network: Some(network).filter(|number| *number != u8::MAX).map(Network),
            kind: Kind::ALL[usize::from(kind)],
            inner,
            tags,
            kept: Some(u32::from_le_bytes([k0, k1, k2, k3])).filter(|kept| *kept != u32::MAX),
            shape,
            point,
            is_group: group != 0,
        }
    }

    /// The truth about a whole mix.
    pub fn read(path: &Path) -> io::Result<Vec<Self>> {
        let bytes = std::fs::read(path)?;
        let (whole, _) = bytes.as_chunks::<{ Self::LEN }>();
        Ok(whole.iter().map(|bytes| Self::from_bytes(*bytes)).collect())
    }
}
