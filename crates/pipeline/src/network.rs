//! Which network a packet says it is in: the names from which its tenant is known.

use std::fmt;

use wire::header::{
    Erspan2, Erspan3, Geneve, Gre, Gtpu, L2tp, Lisp, Mpls, Pbb, Tzsp, Vlan, Vxlan, VxlanGpe,
    ethertype,
};
use wire::{Cursor, Header, Layer, Layers, VlanId};

/// The names a packet gives its network: an overlay number, VLAN tags, both or neither.
///
/// Only what surrounds the innermost frame counts. The tags of the underlay say nothing about the
/// tenant, and neither does what a mirror puts around a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Network {
    /// The overlay, `None` if no tunnel names one.
    pub overlay: Option<Overlay>,
    /// The VLANs of the innermost frame: the outer tag times 4096 plus the inner one, 0 if there
    /// is no tag. Where a mirror has taken the tag away, its header says it.
    pub vlans: u32,
}

/// An overlay network: what kind of number, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Overlay {
    /// Numbers of different kinds never mean the same network by themselves.
    pub kind: OverlayKind,
    /// The number as the packet has it. Of tunnels in tunnels, one made of all their numbers.
    pub number: u32,
}

/// The kinds of numbers overlays are named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OverlayKind {
    /// The VNI of VXLAN or VXLAN-GPE.
    Vxlan,
    /// The VNI of GENEVE.
    Geneve,
    /// The whole key of GRE; NVGRE has its VSID in the upper 24 bits.
    Gre,
    /// The label next to the frame.
    Mpls,
    /// The service instance of provider backbone bridging.
    Pbb,
    /// The tunnel end point of GTP-U.
    Gtpu,
    /// The instance of LISP.
    Lisp,
    /// Tunnel and session of L2TP.
    L2tp,
    /// Several tunnels in each other.
    Nested,
}

/// How the names of two packets' networks stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// The names are equal.
    Same,
    /// One says less than the other and nothing else.
    Unsaid,
    /// They name different networks.
    Different,
    /// They are known to be those of two tenants.
    OtherTenant,
}

impl Network {
    pub(crate) fn relation(&self, other: &Self) -> Relation {
        if self == other {
            return Relation::Same;
        }
        let says_less = |less: &Self, more: &Self| {
            (less.overlay.is_none() || less.overlay == more.overlay)
                && (less.vlans == 0 || less.vlans == more.vlans)
        };
        if says_less(self, other) || says_less(other, self) {
            Relation::Unsaid
        } else {
            Relation::Different
        }
    }

    /// Whether the packet names no network at all.
    pub const fn is_unnamed(&self) -> bool {
        self.overlay.is_none() && self.vlans == 0
    }
}

impl Network {
    /// What a packet says of its network, and the mirror it came in. `layers` must be those of
    /// `data`.
    #[inline]
    pub fn of(data: &[u8], layers: &Layers) -> (Self, Option<Mirror>) {
        let innermost = layers.innermost(data).headers();
        let around = Around::of(data, layers, innermost, usize::MAX);
        (around.network, around.mirror)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(overlay) = self.overlay {
            overlay.fmt(f)?;
        }
        match (self.overlay, self.vlans) {
            (None, 0) => f.write_str("untagged"),
            (Some(_), 0) => Ok(()),
            (overlay, vlans) => {
                f.write_str(if overlay.is_some() { ", VLAN " } else { "VLAN " })?;
                if vlans >> 12 != 0 {
                    write!(f, "{}.", vlans >> 12)?;
                }
                write!(f, "{}", vlans & 0xfff)
            }
        }
    }
}

impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        match self.kind {
            OverlayKind::Vxlan => write!(f, "VXLAN {number}"),
            OverlayKind::Geneve => write!(f, "GENEVE {number}"),
            OverlayKind::Gre => write!(f, "GRE key {number}"),
            OverlayKind::Mpls => write!(f, "MPLS label {number}"),
            OverlayKind::Pbb => write!(f, "PBB {number}"),
            OverlayKind::Gtpu => write!(f, "GTP-U {number:#x}"),
            OverlayKind::Lisp => write!(f, "LISP {number}"),
            OverlayKind::L2tp => write!(f, "L2TP {}/{}", number >> 16, number & 0xffff),
            OverlayKind::Nested => write!(f, "tunnels in tunnels {number:#x}"),
        }
    }
}

/// The stream of a mirror a packet came in: another place, although the interface is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mirror {
    /// ERSPAN type II or III.
    Erspan {
        /// The mirror session, 10 bits.
        session: u16,
        /// Type III says which way the packet went; `None` in type II.
        is_egress: Option<bool>,
    },
    /// ERSPAN type I, which says nothing of itself.
    Erspan1,
    /// VMware's mirror: Ethernet in GRE, whose key is one of two.
    Vmware {
        /// Whether the mirrored VM sent the packet.
        is_from_vm: bool,
    },
    /// TZSP.
    Tzsp,
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Erspan { session, is_egress: None } => write!(f, "ERSPAN {session}"),
            Self::Erspan { session, is_egress: Some(true) } => write!(f, "ERSPAN {session} egress"),
            Self::Erspan { session, .. } => write!(f, "ERSPAN {session} ingress"),
            Self::Erspan1 => f.write_str("ERSPAN"),
            Self::Vmware { is_from_vm: true } => f.write_str("mirror, from the VM"),
            Self::Vmware { is_from_vm: false } => f.write_str("mirror, to the VM"),
            Self::Tzsp => f.write_str("TZSP"),
        }
    }
}

/// What stands around the innermost frame of a packet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Around {
    pub(crate) network: Network,
    pub(crate) mirror: Option<Mirror>,
    /// Made of the kinds of all headers up to the innermost IP header: equal where a packet is
    /// carried the same way.
    pub(crate) shape: u32,
    /// The VLAN a mirror's header says, in case the frame itself has no tag left.
    mirrored_vlan: u32,
}

impl Around {
    /// `own` are the headers of the frame that is compared, the last of `layers` that could be
    /// read, and `until` is where what is compared begins.
    #[inline]
    pub(crate) fn of(data: &[u8], layers: &Layers, own: &[Header], until: usize) -> Self {
        // Where nothing could be read of the innermost frame, all is around it.
        let start = own.first().map_or(u32::MAX, |header| header.offset);
        let mut around = Self::default();
        for header in layers.headers() {
            if header.offset as usize >= until {
                break;
            }
            around.shape =
                (around.shape.rotate_left(5) ^ header.layer as u32).wrapping_mul(0x9e37_79b1);
            if header.offset < start {
                if header.layer.is_tunnel() || header.layer == Layer::Mpls {
                    around.enter(data, *header);
                }
            } else if header.layer == Layer::Vlan {
                around.add_tag(data, *header);
            } else if header.layer == Layer::Mpls {
                around.enter(data, *header);
            }
        }
        if around.network.vlans == 0 {
            around.network.vlans = around.mirrored_vlan;
        }
        around
    }

    fn add_tag(&mut self, data: &[u8], header: Header) {
        let Ok(tag) = Vlan::decode(&mut Cursor::at(data, header.offset as usize)) else { return };
        // A tag with priority only names no VLAN.
        if tag.id.value() != 0 {
            self.network.vlans = (self.network.vlans & 0xfff) << 12 | u32::from(tag.id.value());
        }
    }

    /// A tunnel begins: what it says of the network.
    fn enter(&mut self, data: &[u8], header: Header) {
        let mut cursor = Cursor::at(data, header.offset as usize);
        let cursor = &mut cursor;
        let name = match header.layer {
            Layer::Vxlan => Vxlan::decode(cursor).ok().map(|h| (OverlayKind::Vxlan, h.vni.value())),
            Layer::VxlanGpe => {
                let vni = VxlanGpe::decode(cursor).ok().and_then(|header| header.vni);
                vni.map(|vni| (OverlayKind::Vxlan, vni.value()))
            }
            Layer::Geneve => {
                Geneve::decode(cursor).ok().map(|h| (OverlayKind::Geneve, h.vni.value()))
            }
            Layer::Gre => self.enter_gre(cursor),
            Layer::Mpls => {
                let label = Mpls::decode(cursor).ok().map(|header| header.label);
                // Of a stack the label next to the frame is the service, the others the way there.
                if let Some(Overlay { kind: OverlayKind::Mpls, number }) = &mut self.network.overlay
                {
                    *number = label.unwrap_or(*number);
                    return;
                }
                label.map(|label| (OverlayKind::Mpls, label))
            }
            Layer::Pbb => Pbb::decode(cursor).ok().map(|h| (OverlayKind::Pbb, h.isid)),
            Layer::Gtpu => Gtpu::decode(cursor).ok().map(|h| (OverlayKind::Gtpu, h.teid)),
            Layer::Lisp => {
                let instance = Lisp::decode(cursor).ok().and_then(|header| header.instance);
                instance.map(|instance| (OverlayKind::Lisp, instance))
            }
            Layer::L2tp => L2tp::decode(cursor)
                .ok()
                .map(|header| (OverlayKind::L2tp, header.tunnel.rotate_left(16) ^ header.session)),
            Layer::Erspan2 => {
                if let Ok(Erspan2 { session, vlan, .. }) = Erspan2::decode(cursor) {
                    self.enter_mirror(Mirror::Erspan { session, is_egress: None }, vlan);
                }
                None
            }
            Layer::Erspan3 => {
                if let Ok(Erspan3 { session, vlan, is_egress, .. }) = Erspan3::decode(cursor) {
                    let is_egress = Some(is_egress);
                    self.enter_mirror(Mirror::Erspan { session, is_egress }, vlan);
                }
                None
            }
            Layer::Tzsp => {
                self.mirror = Tzsp::decode(cursor).ok().map(|_| Mirror::Tzsp);
                None
            }
            _ => None,
        };
        if let Some((kind, number)) = name {
            self.mirrored_vlan = 0;
            self.network.overlay = Some(match self.network.overlay {
                None => Overlay { kind, number },
                Some(outer) => Overlay {
                    kind: OverlayKind::Nested,
                    number: (outer.number.rotate_left(13) ^ ((outer.kind as u32) << 28) ^ number)
                        .wrapping_mul(0x9e37_79b1),
                },
            });
        }
    }

    /// What is mirrored is a world of its own: no name around the mirror is that of the frame.
    fn enter_mirror(&mut self, mirror: Mirror, vlan: VlanId) {
        self.mirror = Some(mirror);
        self.network = Network::default();
        self.mirrored_vlan = u32::from(vlan.value());
    }

    fn enter_gre(&mut self, cursor: &mut Cursor<'_>) -> Option<(OverlayKind, u32)> {
        let gre = Gre::decode(cursor).ok()?;
        match (gre.protocol, gre.key) {
            (ethertype::ERSPAN, _) if gre.sequence.is_none() => {
                self.mirror = Some(Mirror::Erspan1);
                None
            }
            // VMware's mirror has no other keys, and what it means by them is a direction.
            (ethertype::ETHERNET, Some(key @ (0 | VMWARE_FROM_VM))) => {
                self.mirror = Some(Mirror::Vmware { is_from_vm: key == VMWARE_FROM_VM });
                None
            }
            (ethertype::ERSPAN | ethertype::ERSPAN3, _) => None,
            (_, key) => key.map(|key| (OverlayKind::Gre, key)),
        }
    }
}

const VMWARE_FROM_VM: u32 = 0x0200_0000;
