//! What ports do to the VLAN tag of a frame: those of Open vSwitch and those of Linux bridges.

use wire::VlanId;

use super::super::world::Device;
use crate::facts::{LinkKind, OvsPort};

/// Which VLAN a frame is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::resolver) enum Tag {
    Untagged,
    Vlan(VlanId),
    /// Whatever the VM itself puts on it: its port is a trunk.
    Any,
}

impl Tag {
    pub(super) fn vlan(self) -> Option<VlanId> {
        if let Self::Vlan(vlan) = self { Some(vlan) } else { None }
    }
}

/// What a port does to tags (ovs-vswitchd.conf.db(5), table Port, "VLAN Configuration").
pub(super) enum PortMode {
    /// Every frame belongs to this VLAN.
    Access(VlanId),
    /// Frames keep their tags; untagged ones belong to the native VLAN, if there is one.
    Trunk { native: Option<VlanId>, is_native_tagged: bool },
}

pub(super) fn mode(port: &OvsPort) -> PortMode {
    match (port.vlan_mode.as_deref(), port.tag) {
        (Some("trunk"), _) | (None, None) => {
            PortMode::Trunk { native: None, is_native_tagged: false }
        }
        (Some("native-tagged"), native) => PortMode::Trunk { native, is_native_tagged: true },
        (Some("native-untagged"), native) => PortMode::Trunk { native, is_native_tagged: false },
        // `tag` without `vlan_mode` is an access port, whatever `trunks` says. The outer tag of a
        // dot1q-tunnel is as an access VLAN to everybody else.
        (_, Some(tag)) => PortMode::Access(tag),
        (Some(_), None) => PortMode::Trunk { native: None, is_native_tagged: false },
    }
}

fn is_trunked(port: &OvsPort, vlan: VlanId) -> bool {
    port.trunks.is_empty() || port.trunks.contains(&vlan)
}

fn passes_untagged(port: &OvsPort) -> bool {
    port.trunks.is_empty() || port.trunks.iter().any(|v| v.value() == 0)
}

/// The tags frames of a VM behind this port have inside the bridge.
pub(super) fn tags_entering(port: &OvsPort) -> Vec<Tag> {
    match mode(port) {
        PortMode::Access(vlan) => vec![Tag::Vlan(vlan)],
        PortMode::Trunk { native, .. } => {
            let mut tags: Vec<Tag> = native.map(Tag::Vlan).into_iter().collect();
            if port.trunks.is_empty() && native.is_none() {
                // A port nobody configured is a trunk too, but what it carries is untagged.
                let is_asked_for = port.vlan_mode.is_some();
                tags.push(if is_asked_for { Tag::Any } else { Tag::Untagged });
            }
            for vlan in &port.trunks {
                let tag = if vlan.value() == 0 { Tag::Untagged } else { Tag::Vlan(*vlan) };
                if !tags.contains(&tag) {
                    tags.push(tag);
                }
            }
            tags
        }
    }
}

/// The tag a frame has inside the bridge after it came in by this port.
pub(super) fn enter(port: &OvsPort, on_wire: Tag) -> Option<Tag> {
    match (mode(port), on_wire) {
        (PortMode::Access(vlan), Tag::Untagged | Tag::Any) => Some(Tag::Vlan(vlan)),
        (PortMode::Access(_), Tag::Vlan(_)) => None,
        (PortMode::Trunk { native: Some(native), .. }, Tag::Untagged) => Some(Tag::Vlan(native)),
        (PortMode::Trunk { .. }, Tag::Untagged) => passes_untagged(port).then_some(Tag::Untagged),
        (PortMode::Trunk { native, .. }, Tag::Vlan(vlan)) => {
            (is_trunked(port, vlan) || native == Some(vlan)).then_some(Tag::Vlan(vlan))
        }
        (PortMode::Trunk { .. }, Tag::Any) => Some(Tag::Any),
    }
}

/// The tag a frame has on the far side of this port, if the port lets it out.
pub(super) fn leave(port: &OvsPort, tag: Tag) -> Option<Tag> {
    match (mode(port), tag) {
        (PortMode::Access(own), Tag::Vlan(vlan)) => (own == vlan).then_some(Tag::Untagged),
        // Only what the VM tags with this VLAN itself.
        (PortMode::Access(_), Tag::Any) => Some(Tag::Untagged),
        (PortMode::Access(_), Tag::Untagged) => None,
        (PortMode::Trunk { native: Some(native), is_native_tagged: false }, Tag::Vlan(vlan))
            if native == vlan =>
        {
            Some(Tag::Untagged)
        }
        (PortMode::Trunk { native, .. }, Tag::Vlan(vlan)) => {
            (is_trunked(port, vlan) || native == Some(vlan)).then_some(tag)
        }
        (PortMode::Trunk { .. }, Tag::Untagged) => passes_untagged(port).then_some(tag),
        (PortMode::Trunk { .. }, Tag::Any) => Some(Tag::Any),
    }
}

fn is_vlan_aware(bridge: Device<'_>) -> bool {
    matches!(bridge.link.kind, LinkKind::Bridge { is_vlan_aware: true })
}

fn is_allowed(port: Device<'_>, vlan: VlanId) -> bool {
    let vlans = &port.link.vlans;
    vlans.is_empty() || vlans.iter().any(|(first, last)| (*first..=*last).contains(&vlan))
}

/// The tags frames of a VM behind this port have inside a Linux bridge.
pub(super) fn tags_entering_bridge(bridge: Device<'_>, port: Device<'_>) -> Vec<Tag> {
    if !is_vlan_aware(bridge) {
        return vec![Tag::Untagged];
    }
    let pvid = port.link.pvid;
    let mut tags: Vec<Tag> = pvid.map(Tag::Vlan).into_iter().collect();
    let others = port.link.vlans.iter().flat_map(|(first, last)| first.value()..=last.value());
    for vlan in others.filter_map(VlanId::new).filter(|v| Some(*v) != pvid) {
        if tags.len() == MAX_TRUNKED_VLANS {
            // A trunk of thousands of VLANs is one way, not thousands.
            return pvid.map(Tag::Vlan).into_iter().chain([Tag::Any]).collect();
        }
        tags.push(Tag::Vlan(vlan));
    }
    if tags.is_empty() { vec![Tag::Untagged] } else { tags }
}

/// The tag a frame has inside a Linux bridge after it came in by this port (or, with the bridge
/// itself as port, from the host).
pub(super) fn enter_bridge(bridge: Device<'_>, port: Device<'_>, on_wire: Tag) -> Option<Tag> {
    if !is_vlan_aware(bridge) {
        return Some(on_wire);
    }
    match on_wire {
        Tag::Untagged => Some(port.link.pvid.map_or(Tag::Untagged, Tag::Vlan)),
        Tag::Vlan(vlan) => is_allowed(port, vlan).then_some(on_wire),
        Tag::Any => Some(Tag::Any),
    }
}

/// The tag a frame has on the far side of this port, if the port lets it out.
pub(super) fn leave_bridge(bridge: Device<'_>, port: Device<'_>, tag: Tag) -> Option<Tag> {
    if !is_vlan_aware(bridge) {
        return Some(tag);
    }
    match tag {
        Tag::Vlan(vlan) if port.link.pvid == Some(vlan) => Some(Tag::Untagged),
        Tag::Vlan(vlan) => is_allowed(port, vlan).then_some(tag),
        Tag::Untagged => port.link.pvid.is_none().then_some(tag),
        Tag::Any => Some(tag),
    }
}

/// VLANs a trunk port may allow and still be walked one by one.
const MAX_TRUNKED_VLANS: usize = 16;
