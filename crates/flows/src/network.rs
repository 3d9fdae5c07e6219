//! Networks: the names that packets and records have for where they are, from which the tenant is
//! known.
//!
//! Only names that both directions of a flow share count. Labels of MPLS, end points of GTP-U and
//! sessions of L2TP are the receiver's, so nothing is told apart by them here.

use std::fmt;

use wire::header::ethertype;
use wire::{Tunnel, VlanId};

/// The network a flow is in: two tenants use the same addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Network {
    /// The overlay network.
    pub overlay: Option<Overlay>,
    /// The VLAN, within the overlay if there is one.
    pub vlan: Option<VlanId>,
}

impl Network {
    /// Neither.
    pub const NONE: Self = Self { overlay: None, vlan: None };

    /// Whether nothing names it.
    pub const fn is_unnamed(self) -> bool {
        self.overlay.is_none() && self.vlan.is_none()
    }

    /// In one word for a hash: different networks, different words.
    #[inline]
    pub(crate) fn bits(self) -> u64 {
        let overlay = self
            .overlay
            .map_or(0, |overlay| (overlay.kind as u64 + 1) << 32 | u64::from(overlay.number));
        overlay << 12 | u64::from(self.vlan.map_or(0, VlanId::value))
    }
}

impl fmt::Display for Network {
    /// `vxlan 5001`, `vlan 7`, both or `-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.overlay, self.vlan) {
            (Some(overlay), Some(vlan)) => write!(f, "{overlay} vlan {vlan}"),
            (Some(overlay), None) => overlay.fmt(f),
            (None, Some(vlan)) => write!(f, "vlan {vlan}"),
            (None, None) => f.write_str("-"),
        }
    }
}

/// An overlay network: what kind of number, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Overlay {
    /// Equal numbers of different kinds are different networks.
    pub kind: OverlayKind,
    /// The number, as the kind has it.
    pub number: u32,
}

/// The kinds of numbers overlays are named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OverlayKind {
    /// The VNI of VXLAN or VXLAN-GPE.
    Vxlan,
    /// The VNI of GENEVE.
    Geneve,
    /// The whole key of GRE.
    Gre,
    /// The virtual subnet of NVGRE, where somebody said that it is NVGRE.
    Nvgre,
    /// The session of ERSPAN.
    Erspan,
    /// A VNI of which the exporter does not say the kind.
    Unsaid,
}

impl OverlayKind {
    /// Its name; of the last the word people use for the number.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Gre => "gre",
            Self::Nvgre => "nvgre",
            Self::Erspan => "erspan",
            Self::Unsaid => "vni",
        }
    }

    /// The kind with this name, as an inventory writes it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Vxlan, Self::Geneve, Self::Gre, Self::Nvgre, Self::Erspan]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.number)
    }
}

impl Overlay {
    /// What a tunnel names, and the VLAN that it says beside.
    pub(crate) fn of(tunnel: Tunnel, nvgre: &NvgreSubnets) -> (Option<Self>, Option<VlanId>) {
        let named = |kind, number| Some(Self { kind, number });
        match tunnel {
            Tunnel::Vxlan { vni, .. } | Tunnel::VxlanGpe { vni: Some(vni) } => {
                (named(OverlayKind::Vxlan, vni.value()), None)
            }
            Tunnel::Geneve { vni } => (named(OverlayKind::Geneve, vni.value()), None),
            Tunnel::Gre { key: Some(key), protocol, .. } => {
                // The lower byte of NVGRE's key is the flow's (RFC 7637, section 3.2).
                let is_nvgre = protocol == ethertype::ETHERNET && nvgre.has(key >> 8);
                let overlay = match is_nvgre {
                    true => named(OverlayKind::Nvgre, key >> 8),
                    false => named(OverlayKind::Gre, key),
                };
                (overlay, None)
            }
            Tunnel::Erspan { session: Some(session), vlan, .. } => {
                (named(OverlayKind::Erspan, u32::from(session)), vlan)
            }
            _ => (None, None),
        }
    }

    /// Whether both may be one network.
    pub(crate) fn may_be(self, other: Self) -> bool {
        use OverlayKind::{Geneve, Unsaid, Vxlan};
        let is_kind = match (self.kind, other.kind) {
            (Unsaid, Unsaid | Vxlan | Geneve) | (Vxlan | Geneve, Unsaid) => true,
            (one, other) => one == other,
        };
        is_kind && self.number == other.number
    }
}

/// The virtual subnets that are known to be NVGRE's: nothing in a packet tells it from GRE.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NvgreSubnets(Vec<u32>);

impl NvgreSubnets {
    /// These.
    pub fn new(subnets: impl IntoIterator<Item = u32>) -> Self {
        let mut subnets: Vec<u32> = subnets.into_iter().collect();
        subnets.sort_unstable();
        subnets.dedup();
        Self(subnets)
    }

    fn has(&self, subnet: u32) -> bool {
        self.0.binary_search(&subnet).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_called_as_people_call_them() {
        let overlay = Some(Overlay { kind: OverlayKind::Vxlan, number: 5001 });
        let vlan = VlanId::new(7);
        assert_eq!(Network { overlay, vlan }.to_string(), "vxlan 5001 vlan 7");
        assert_eq!(Network { overlay: None, vlan }.to_string(), "vlan 7");
        assert_eq!(Network::NONE.to_string(), "-");
    }

    #[test]
    fn the_byte_of_the_flow_in_a_key_counts_unless_it_is_nvgre() {
        let gre =
            |key| Tunnel::Gre { protocol: ethertype::ETHERNET, key: Some(key), sequence: None };
        let of = |key, nvgre: &NvgreSubnets| Overlay::of(gre(key), nvgre).0;
        let plain = NvgreSubnets::default();
        assert_ne!(of(0x138901, &plain), of(0x138902, &plain));
        let nvgre = NvgreSubnets::new([0x1389]);
        assert_eq!(of(0x138901, &nvgre), of(0x138902, &nvgre));
    }
}
