//! The tenant guard: nobody sees a packet that is not the VM's.
//!
//! Default is deny. The decision is about the network and the MAC within it, never about an IP
//! address: tenants reuse both. Where the owner cannot be known the packet is refused under its
//! own name, [`DropReason::Undecidable`], and never guessed.

mod gate;

use std::collections::BTreeMap;

use wire::{
    Checksum, Direction, Layer, Layers, Level, Mac, Macs, Packet, StopReason, Tunnel, TunnelPorts,
    UdpTunnel, VlanId, Vni,
};

use crate::filter::has_vif;
use crate::{Datagram, DropReason, Encapsulation, Identity, OnWire, Ownership, Piece};

pub use self::gate::{Admitted, Claim, Entitled, Gate, ToolSet};

/// Decides whether a packet is the VM's. The only way to a [`Cleared`].
#[derive(Debug, Clone)]
pub struct Guard {
    rights: Rights,
}

#[derive(Debug, Clone)]
enum Rights {
    Whole,
    Shared(Networks),
}

impl Guard {
    /// A guard for one observation point.
    pub fn new(ownership: &Ownership) -> Self {
        Self {
            rights: match ownership {
                Ownership::Whole => Rights::Whole,
                Ownership::Shared(identities) => Rights::Shared(Networks::new(identities)),
            },
        }
    }

    /// Whether every packet of the point is the VM's, so that [`clear_whole`](Self::clear_whole)
    /// does and nothing needs to be decoded.
    pub const fn is_whole(&self) -> bool {
        matches!(self.rights, Rights::Whole)
    }

    /// Clears the packet, or says that it is somebody else's or that nobody can know.
    ///
    /// `layers` must come from the same bytes, decoded with at least the UDP ports of
    /// [`Ownership::add_tunnel_ports`]. On a shared wire the direction is set: what carries the
    /// VM's MAC as its source is from the VM.
    #[inline]
    pub fn clear<'p, 'a>(
        &self,
        packet: &'p mut Packet<'a>,
        layers: &Layers,
    ) -> Result<Cleared<'p, 'a>, DropReason> {
        let mut frame = OwnFrame::default();
        if let Rights::Shared(networks) = &self.rights {
            let (direction, found) = networks.judge(packet, layers)?;
            packet.direction = Some(direction);
            frame = found;
        }
        Ok(Cleared { packet, frame })
    }

    /// Clears a later fragment that shows no owner, because `grant` proves that the packet it is a
    /// piece of is the VM's. It is for whoever holds the grant to know that no other packet has
    /// the same name meanwhile.
    pub fn clear_piece<'p, 'a>(
        &self,
        packet: &'p mut Packet<'a>,
        layers: &Layers,
        grant: &Grant,
    ) -> Result<Cleared<'p, 'a>, DropReason> {
        let piece = Piece::of(packet, layers).last().filter(|piece| !piece.is_first());
        if piece.is_none_or(|piece| piece.datagram != grant.datagram) {
            return Err(DropReason::Undecidable);
        }
        packet.direction = grant.direction.or(packet.direction);
        Ok(Cleared { packet, frame: OwnFrame::default() })
    }

    /// Clears a packet of a point that is the VM's own. At any other nothing can be known without
    /// the headers.
    #[inline]
    pub fn clear_whole<'p, 'a>(
        &self,
        packet: &'p mut Packet<'a>,
    ) -> Result<Cleared<'p, 'a>, DropReason> {
        if self.is_whole() {
            Ok(Cleared { packet, frame: OwnFrame::default() })
        } else {
            Err(DropReason::Undecidable)
        }
    }
}

/// A packet whose owner was compared with what may be seen.
///
/// Only a [`Guard`] makes one, so a sink cannot be handed anything else. It holds the packet where
/// it is, and alone: what was cleared cannot be changed behind its back, and nothing is moved.
#[derive(Debug)]
pub struct Cleared<'p, 'a> {
    packet: &'p mut Packet<'a>,
    frame: OwnFrame,
}

impl<'a> Cleared<'_, 'a> {
    /// The packet.
    pub const fn packet(&self) -> &Packet<'a> {
        self.packet
    }

    /// What it proves about the other pieces of each packet that it is the first piece of,
    /// outermost first. `layers` must come from the same bytes.
    pub fn grants(&self, layers: &Layers) -> Vec<Grant> {
        let direction = self.packet.direction;
        let firsts = Piece::of(self.packet, layers).filter(Piece::is_first);
        firsts.map(|piece| Grant { datagram: piece.datagram, direction }).collect()
    }

    /// Leaves the frame as it is at the VM's own port: without the tunnel or the tag that names its
    /// network on a shared wire. What the VM itself has put around its packets stays. So does the
    /// tunnel of a packet in pieces, which only together make what was in it.
    ///
    /// A tag in the middle of the bytes can only go by copying the rest, into `scratch`.
    pub fn strip(&mut self, scratch: &'a mut Vec<u8>) {
        let OwnFrame { start, has_tag } = std::mem::take(&mut self.frame);
        if start == 0 && !has_tag {
            return;
        }
        let packet = &mut *self.packet;
        packet.data = packet.data.get(start as usize..).unwrap_or_default();
        packet.wire_len = packet.wire_len.saturating_sub(start);
        if start > 0 && packet.checksum == Checksum::Valid {
            // That was the outer one.
            packet.checksum = Checksum::Unknown;
        }
        if let Some((macs, rest)) = packet.data.split_at_checked(MACS_LEN)
            && let Some(untagged) = rest.get(usize::from(TAG_LEN)..).filter(|_| has_tag)
        {
            scratch.clear();
            scratch.extend_from_slice(macs);
            scratch.extend_from_slice(untagged);
            packet.data = scratch;
            packet.wire_len = packet.wire_len.saturating_sub(u32::from(TAG_LEN));
        }
    }

    /// At most the first `snaplen` bytes; how long the packet was stays known.
    #[inline]
    pub fn slice(&mut self, snaplen: usize) {
        self.packet.data = self.packet.data.get(..snaplen).unwrap_or(self.packet.data);
    }
}

/// The proof that a fragmented packet is the VM's, made of its first piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    datagram: Datagram,
    direction: Option<Direction>,
}

/// Where in a packet the VM's own frame is.
#[derive(Debug, Clone, Copy, Default)]
struct OwnFrame {
    /// Offset of its first byte.
    start: u32,
    /// Whether the tag behind its MACs is the network's, not the VM's.
    has_tag: bool,
}

impl Ownership {
    /// Makes a decoder see the tunnels that the identities are in, at whatever port they are.
    pub fn add_tunnel_ports(&self, ports: &mut TunnelPorts) {
        let Self::Shared(identities) = self else { return };
        for Identity { network, .. } in identities {
            let OnWire::Overlay { tunnel, .. } = network else { continue };
            let udp_tunnel = match tunnel {
                Encapsulation::Vxlan => UdpTunnel::Vxlan,
                Encapsulation::Geneve => UdpTunnel::Geneve,
                Encapsulation::Gre
                | Encapsulation::Nvgre
                | Encapsulation::Erspan
                | Encapsulation::VnTag => continue,
            };
            if let Some(port) = network.udp_port()
                && ports.at(port) != Some(udp_tunnel)
            {
                ports.add(port, udp_tunnel);
            }
        }
    }
}

/// The VM's MACs in each of its networks.
#[derive(Debug, Clone, Default)]
struct Networks {
    members: BTreeMap<Network, Vec<Member>>,
    has_udp_tunnel: bool,
    has_gre_tunnel: bool,
    has_vntag: bool,
    has_plain: bool,
}

/// A network as a packet names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Network {
    /// Tunnel, UDP port where it has one, number.
    Overlay(Encapsulation, Option<u16>, Vni),
    /// The only VLAN; `None` without one.
    Plain(Option<VlanId>),
}

/// A vNIC in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    mac: Mac,
    /// The only VLAN its frames may have inside a tunnel; `None` allows all.
    inner_vlan: Option<VlanId>,
}

impl Networks {
    fn new(identities: &[Identity]) -> Self {
        let mut networks = Self::default();
        for identity in identities {
            let (network, member) = placed(identity);
            match network {
                Network::Overlay(tunnel, ..) => {
                    networks.has_udp_tunnel |= tunnel.is_in_udp();
                    networks.has_vntag |= tunnel == Encapsulation::VnTag;
                    networks.has_gre_tunnel |=
                        !tunnel.is_in_udp() && tunnel != Encapsulation::VnTag;
                }
                Network::Plain(_) => networks.has_plain = true,
            }
            networks.members.entry(network).or_default().push(member);
        }
        for members in networks.members.values_mut() {
            members.sort_unstable();
        }
        networks
    }

    fn judge(
        &self,
        packet: &Packet<'_>,
        layers: &Layers,
    ) -> Result<(Direction, OwnFrame), DropReason> {
        let mut levels = layers.levels(packet.data);
        let Some(outer) = levels.next() else { return Err(DropReason::Undecidable) };
        // Of a tag that is cut nobody knows which VLAN it names.
        let is_tag_cut = is_tag_cut(layers);
        // Only the tunnel that stands directly on the underlay names the network. One further in
        // was made by a tenant, who may write into it whatever number and MAC he likes.
        let inner = levels.next();
        let plain = self.in_plain_network(&outer).filter(|_| inner.is_some() || !is_tag_cut);
        if let Some(direction) = plain {
            return Ok((direction, OwnFrame { start: 0, has_tag: is_tagged(&outer) }));
        }
        if let Some((direction, _)) = self.at_vif(&outer, is_tag_cut) {
            return Ok((direction, OwnFrame::default()));
        }
        if let Some(inner) = &inner
            && let Some((direction, member)) = self.in_overlay(&outer, inner, is_tag_cut)
        {
            if layers.has_fragment() && outer.ip().is_some_and(|ip| ip.fragment.is_some()) {
                return Ok((direction, OwnFrame::default()));
            }
            let start = inner.headers().first().map_or(0, |header| header.offset);
            let has_tag = member.inner_vlan.is_some() && is_tagged(inner);
            return Ok((direction, OwnFrame { start, has_tag }));
        }
        if self.is_hidden(layers, &outer, inner.as_ref()) {
            Err(DropReason::Undecidable)
        } else {
            Err(DropReason::OtherTenant)
        }
    }

    fn in_plain_network(&self, outer: &Level<'_>) -> Option<Direction> {
        if !self.has_plain {
            return None;
        }
        let macs = outer.macs()?;
        let mut vlans = outer.vlans().map(|tag| tag.id).filter(|id| !is_priority_only(*id));
        let vlan = vlans.next();
        // A second tag makes another network of it.
        if vlans.next().is_some() {
            return None;
        }
        let members = self.members.get(&Network::Plain(vlan))?;
        let (direction, _) = direction(members, macs, |_| true)?;
        // What no bridge forwards stays between the switches: LACP, LLDP, spanning tree.
        let is_between_bridges = is_never_forwarded(macs.destination);
        (direction == Direction::FromVm || !is_between_bridges).then_some(direction)
    }

    fn in_overlay(
        &self,
        outer: &Level<'_>,
        inner: &Level<'_>,
        is_tag_cut: bool,
    ) -> Option<(Direction, &Member)> {
        let macs = inner.macs()?;
        let moved = moved_tag(inner);
        overlays(outer, inner).find_map(|network| {
            direction(self.members.get(&network)?, macs, |member| {
                is_in_vlan(member, inner, moved, is_tag_cut)
            })
        })
    }

    /// A frame of a vNIC that a VN-Tag names.
    fn at_vif(&self, outer: &Level<'_>, is_tag_cut: bool) -> Option<(Direction, &Member)> {
        if !self.has_vntag {
            return None;
        }
        let (tag, macs) = (outer.vntag()?, outer.macs()?);
        [tag.source, tag.destination].into_iter().find_map(|vif| {
            let vif = Vni::new(vif.into()).filter(|vif| has_vif(&tag, *vif))?;
            let members = self.members.get(&Network::Overlay(Encapsulation::VnTag, None, vif))?;
            direction(members, macs, |member| is_in_vlan(member, outer, None, is_tag_cut))
        })
    }

    /// Whether the frame may be the VM's but does not show enough to tell.
    fn is_hidden(&self, layers: &Layers, outer: &Level<'_>, inner: Option<&Level<'_>>) -> bool {
        if let Some(inner) = inner {
            let is_wanted = overlays(outer, inner).any(|n| self.members.contains_key(&n));
            let is_cut = layers.stop().is_some_and(|stop| is_cut(stop.reason));
            return is_wanted && is_cut && (is_tag_cut(layers) || inner.headers().is_empty());
        }
        if let Some(ip) = outer.ip()
            && ip.fragment.is_some_and(|fragment| fragment.offset > 0)
        {
            return match ip.protocol {
                UDP => self.has_udp_tunnel,
                GRE => self.has_gre_tunnel,
                _ => false,
            };
        }
        let Some(stop) = layers.stop().filter(|stop| is_cut(stop.reason)) else { return false };
        let has_tunnel = self.has_udp_tunnel || self.has_gre_tunnel;
        match stop.layer {
            Layer::Ethernet | Layer::Vlan => true,
            Layer::Udp | Layer::Vxlan | Layer::Geneve => self.has_udp_tunnel,
            Layer::Gre => self.has_gre_tunnel,
            Layer::Ipv4 | Layer::Ipv6 | Layer::Mpls => has_tunnel,
            extension => has_tunnel && extension.is_ip_extension(),
        }
    }
}

/// The network of an identity as packets name it, and who it is there.
fn placed(identity: &Identity) -> (Network, Member) {
    let Identity { mac, network } = *identity;
    let (key, inner_vlan) = match network {
        OnWire::Overlay { vni, tunnel, vlan, .. } => {
            (Network::Overlay(tunnel, network.udp_port(), vni), vlan)
        }
        OnWire::Vlan(vlan) => (Network::Plain(Some(vlan)), None),
        OnWire::Untagged => (Network::Plain(None), None),
    };
    (key, Member { mac, inner_vlan })
}

/// The tag that the switch of a mirror may have moved into its own header.
fn moved_tag(inner: &Level<'_>) -> Option<VlanId> {
    match inner.tunnel() {
        Some(Tunnel::Erspan { vlan, .. }) => vlan.filter(|id| !is_priority_only(*id)),
        _ => None,
    }
}

/// The networks that `inner` may be in, if `outer` carries it as a host's vSwitch would: a GRE key
/// may be all a network's number or NVGRE's.
fn overlays(outer: &Level<'_>, inner: &Level<'_>) -> impl Iterator<Item = Network> {
    let udp_port = || {
        let ports = outer.transport().filter(|t| t.layer == Layer::Udp)?.ports?;
        Some(ports.destination)
    };
    let is_gre = || outer.ip().is_some_and(|ip| ip.protocol == GRE);
    let of_gre = |tunnel, number| {
        Some(Network::Overlay(tunnel, None, Vni::new(number)?)).filter(|_| is_gre())
    };
    let networks = match inner.tunnel() {
        Some(Tunnel::Vxlan { vni, .. }) => {
            [udp_port().map(|port| Network::Overlay(Encapsulation::Vxlan, Some(port), vni)), None]
        }
        Some(Tunnel::Geneve { vni }) => {
            [udp_port().map(|port| Network::Overlay(Encapsulation::Geneve, Some(port), vni)), None]
        }
        Some(tunnel @ Tunnel::Gre { protocol: TRANSPARENT_ETHERNET, key: Some(key), .. }) => [
            of_gre(Encapsulation::Gre, key),
            tunnel.nvgre_vsid().and_then(|vsid| of_gre(Encapsulation::Nvgre, vsid)),
        ],
        Some(Tunnel::Erspan { session: Some(session), .. }) => {
            [of_gre(Encapsulation::Erspan, session.into()), None]
        }
        _ => [None, None],
    };
    networks.into_iter().flatten()
}

/// Whether the tags of a frame are those that a member's frames have in its network. `moved` is a
/// tag that was taken off it and is told elsewhere.
fn is_in_vlan(member: &Member, frame: &Level<'_>, moved: Option<VlanId>, is_tag_cut: bool) -> bool {
    let mut named = frame.vlans().map(|tag| tag.id).filter(|id| !is_priority_only(*id));
    member.inner_vlan.is_none_or(|vlan| {
        !is_tag_cut
            && named.next().or(moved).is_none_or(|first| first == vlan)
            && named.next().is_none()
    })
}

/// Which way a frame goes that concerns one of `members`, and which one; `None` if it concerns
/// none.
fn direction(
    members: &[Member],
    macs: Macs,
    is_in_network: impl Fn(&Member) -> bool,
) -> Option<(Direction, &Member)> {
    let with = |mac: Mac| {
        let start = members.partition_point(|member| member.mac < mac);
        members.iter().skip(start).take_while(move |member| member.mac == mac)
    };
    if let Some(member) = with(macs.source).find(|member| is_in_network(member)) {
        return Some((Direction::FromVm, member));
    }
    // What the port delivers to the VM is the VM's: ARP requests, DHCP offers, router
    // advertisements.
    let receiver = if macs.destination.is_group() {
        members.iter().find(|member| is_in_network(member))
    } else {
        with(macs.destination).find(|member| is_in_network(member))
    };
    receiver.map(|member| (Direction::ToVm, member))
}

/// Whether a tag that names a VLAN stands directly behind the MACs.
fn is_tagged(level: &Level<'_>) -> bool {
    level.headers().get(1).is_some_and(|header| header.layer == Layer::Vlan)
        && level.vlans().next().is_some_and(|tag| !is_priority_only(tag.id))
}

/// IEEE 802.1Q-2022, section 9.6: VLAN 0 says that a tag has priority only.
fn is_priority_only(id: VlanId) -> bool {
    id.value() == 0
}

/// IEEE 802.1Q-2022, table 8-1: bridges do not forward frames to these.
fn is_never_forwarded(destination: Mac) -> bool {
    matches!(destination, Mac([0x01, 0x80, 0xc2, 0x00, 0x00, 0x00..=0x0f]))
}

fn is_tag_cut(layers: &Layers) -> bool {
    layers.stop().is_some_and(|stop| stop.layer == Layer::Vlan && is_cut(stop.reason))
}

/// Whether more bytes would have said more.
fn is_cut(reason: StopReason) -> bool {
    matches!(reason, StopReason::Truncated | StopReason::BeyondLength | StopReason::Fragment)
}

const MACS_LEN: usize = 12;
const TAG_LEN: u8 = 4;
const UDP: u8 = 17;
const GRE: u8 = 47;
/// The protocol type of an Ethernet frame in GRE (RFC 7637, section 3.2).
const TRANSPARENT_ETHERNET: u16 = 0x6558;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::{LinkType, Timestamp};

    use super::*;
    use crate::bpf::{self, Auxiliary, TagPlace};
    use crate::frames::{self, Frame, Inner, Ip, Payload, Transport, mac, overlay, vlan};

    fn judge(bytes: &[u8], identities: &[Identity]) -> Result<Option<Direction>, DropReason> {
        let ownership = Ownership::Shared(identities.to_vec());
        let mut ports = TunnelPorts::default();
        ownership.add_tunnel_ports(&mut ports);
        let len = u32::try_from(bytes.len()).unwrap();
        let mut packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, bytes, len);
        let layers = Layers::decode(packet.link, packet.data, &ports);
        Guard::new(&ownership).clear(&mut packet, &layers).map(|cleared| cleared.packet().direction)
    }

    fn vxlan(vni: u32, inner: Inner) -> Frame {
        let tunnel = frames::UdpTunnel::Vxlan { flags: 8, vni, inner };
        Frame {
            macs: macs(9, 8),
            metadata: None,
            tags: vec![],
            payload: Payload::Ip {
                header: Ip::V4 { option_words: 0, fragment_offset: 0, has_more: false },
                transport: Transport::Udp { port: 4789, tunnel },
            },
        }
    }

    fn inner(destination: u8, source: u8) -> Inner {
        Inner { macs: macs(destination, source), tags: vec![] }
    }

    fn macs(destination: u8, source: u8) -> frames::Macs {
        frames::Macs { destination: mac(destination), source: mac(source) }
    }

    const WEB: u8 = 1;

    fn web() -> [Identity; 1] {
        [Identity { mac: mac(WEB), network: overlay(10, Encapsulation::Vxlan) }]
    }

    #[test]
    fn a1_the_same_mac_in_another_network_is_another_tenant() {
        assert_eq!(judge(&vxlan(10, inner(2, WEB)).bytes(), &web()), Ok(Some(Direction::FromVm)));
        assert_eq!(judge(&vxlan(11, inner(2, WEB)).bytes(), &web()), Err(DropReason::OtherTenant));
        let mut geneve = web();
        geneve[0].network = overlay(10, Encapsulation::Geneve);
        assert_eq!(judge(&vxlan(10, inner(2, WEB)).bytes(), &geneve), Err(DropReason::OtherTenant));
    }

    #[test]
    fn a1_the_same_number_at_another_udp_port_is_another_network() {
        let mut elsewhere = vxlan(10, inner(2, WEB));
        if let Payload::Ip { transport: Transport::Udp { port, .. }, .. } = &mut elsewhere.payload {
            *port = 8472;
        }
        assert_eq!(judge(&elsewhere.bytes(), &web()), Err(DropReason::OtherTenant));
    }

    #[test]
    fn b5_what_the_port_delivers_to_the_vm_is_the_vms() {
        let mut to_all = vxlan(10, inner(WEB, 2));
        assert_eq!(judge(&to_all.bytes(), &web()), Ok(Some(Direction::ToVm)));
        if let Payload::Ip {
            transport: Transport::Udp { tunnel: frames::UdpTunnel::Vxlan { inner, .. }, .. },
            ..
        } = &mut to_all.payload
        {
            inner.macs.destination = Mac::BROADCAST;
        }
        assert_eq!(judge(&to_all.bytes(), &web()), Ok(Some(Direction::ToVm)));
        assert_eq!(judge(&vxlan(10, inner(2, 3)).bytes(), &web()), Err(DropReason::OtherTenant));
    }

    #[test]
    fn a_tunnel_within_a_foreign_tunnel_names_no_network() {
        // A tenant in VNI 11 wraps a frame in VNI 10 with the VM's MAC.
        let forged = vxlan(10, inner(2, WEB)).bytes();
        let mut bytes = vxlan(11, inner(2, 3)).bytes();
        bytes.truncate(14 + 20 + 8 + 8);
        bytes.extend(&forged);
        let udp_len = u16::try_from(bytes.len() - 34).unwrap();
        bytes[38..40].copy_from_slice(&udp_len.to_be_bytes());
        bytes[16..18].copy_from_slice(&(udp_len + 20).to_be_bytes());
        assert_eq!(judge(&forged, &web()), Ok(Some(Direction::FromVm)));
        assert_eq!(judge(&bytes, &web()), Err(DropReason::OtherTenant));
    }

    #[test]
    fn a_later_fragment_of_a_tunnel_packet_is_undecidable_and_of_others_foreign() {
        let mut frame = vxlan(10, inner(2, WEB));
        let Payload::Ip { header, .. } = &mut frame.payload else { unreachable!() };
        *header = Ip::V4 { option_words: 0, fragment_offset: 185, has_more: false };
        assert_eq!(judge(&frame.bytes(), &web()), Err(DropReason::Undecidable));
        let Payload::Ip { transport, .. } = &mut frame.payload else { unreachable!() };
        *transport = Transport::Tcp;
        assert_eq!(judge(&frame.bytes(), &web()), Err(DropReason::OtherTenant));
    }

    #[test]
    fn a_frame_cut_before_the_inner_macs_is_undecidable_and_cut_behind_them_is_not() {
        let whole = vxlan(10, inner(2, WEB)).bytes();
        let foreign = vxlan(11, inner(2, WEB)).bytes();
        let inner_frame = 14 + 20 + 8 + 8;
        for len in 0..whole.len() {
            let verdict = judge(&whole[..len], &web());
            if len < inner_frame + 14 {
                assert_eq!(verdict, Err(DropReason::Undecidable), "cut to {len}");
            } else {
                assert_eq!(verdict, Ok(Some(Direction::FromVm)), "cut to {len}");
            }
            // Once the VNI is seen to be another's, the rest does not matter.
            if len >= inner_frame {
                assert_eq!(judge(&foreign[..len], &web()), Err(DropReason::OtherTenant), "{len}");
            }
        }
    }

    #[test]
    fn exactly_one_vlan_or_none_names_a_plain_network() {
        let frame = |tags: &[u16]| Frame {
            macs: macs(2, WEB),
            metadata: None,
            tags: tags.iter().map(|tci| (0x8100, *tci)).collect(),
            payload: Payload::Ip {
                header: Ip::V4 { option_words: 0, fragment_offset: 0, has_more: false },
                transport: Transport::Tcp,
            },
        };
        let in_vlan = [Identity { mac: mac(WEB), network: OnWire::Vlan(vlan(100)) }];
        let untagged = [Identity { mac: mac(WEB), network: OnWire::Untagged }];
        let (seen, other) = (Ok(Some(Direction::FromVm)), Err(DropReason::OtherTenant));
        for (tags, with_vlan, without) in [
            (&[][..], other, seen),
            (&[100], seen, other),
            (&[0xe064], seen, other),
            (&[101], other, other),
            (&[0xe000], other, seen),
            (&[0, 100], seen, other),
            (&[100, 200], other, other),
        ] {
            assert_eq!(judge(&frame(tags).bytes(), &in_vlan), with_vlan, "{tags:x?}");
            assert_eq!(judge(&frame(tags).bytes(), &untagged), without, "{tags:x?}");
        }
    }

    #[test]
    fn what_bridges_say_to_each_other_is_nobodys_vm() {
        let mut lacp = Frame {
            macs: macs(2, 3),
            metadata: None,
            tags: vec![],
            payload: Payload::Other(0x8809),
        };
        lacp.macs.destination = Mac([0x01, 0x80, 0xc2, 0, 0, 2]);
        let untagged = [Identity { mac: mac(WEB), network: OnWire::Untagged }];
        assert_eq!(judge(&lacp.bytes(), &untagged), Err(DropReason::OtherTenant));
        assert_eq!(judge(&lacp.bytes(), &web()), Err(DropReason::OtherTenant));
    }

    #[test]
    fn a_shared_wire_is_never_cleared_unseen() {
        let mut packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, &[], 0);
        let guard = Guard::new(&Ownership::Shared(vec![]));
        assert_eq!(guard.clear_whole(&mut packet).map(|_| ()), Err(DropReason::Undecidable));
        assert!(Guard::new(&Ownership::Whole).clear_whole(&mut packet).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        /// The verdict is the one that follows from how the frame was made.
        #[test]
        fn the_guard_clears_the_vms_packets_and_no_others(
            frame in frames::frames(), identities in frames::identities(),
        ) {
            let verdict = match judge(&frame.bytes_with_all_tags(), &identities) {
                Ok(_) => Some(true),
                Err(DropReason::OtherTenant) => Some(false),
                Err(_) => None,
            };
            prop_assert_eq!(verdict, frame.belongs_to(&identities));
        }

        /// A2: whatever the guard clears, the kernel has let through, cut or not.
        #[test]
        fn what_the_guard_clears_the_kernel_has_let_through(
            frame in frames::frames(),
            identities in frames::identities(),
            limit in prop_oneof![Just(4096_usize), 20_usize..120],
            kept in 1_usize..160,
        ) {
            let bytes = frame.bytes_with_all_tags();
            let cut = &bytes[..bytes.len().min(kept)];
            let ownership = Ownership::Shared(identities.clone());
            let program = bpf::prefilter_within(&ownership, 0, TagPlace::Bytes, limit);
            for data in [&bytes[..], cut] {
                if judge(data, &identities).is_ok() {
                    let kept = bpf::run(&program, data, &Auxiliary::default());
                    prop_assert!(kept > 0, "{program}");
                }
            }
        }
    }

    fn stripped(bytes: &[u8], identity: Identity) -> Vec<u8> {
        let ownership = Ownership::Shared(vec![identity]);
        let len = u32::try_from(bytes.len()).unwrap();
        let mut scratch = Vec::new();
        let mut packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, bytes, len);
        let layers = Layers::decode(packet.link, packet.data, &TunnelPorts::default());
        let mut cleared = Guard::new(&ownership).clear(&mut packet, &layers).unwrap();
        cleared.strip(&mut scratch);
        assert_eq!(cleared.packet().wire_len as usize, cleared.packet().data.len());
        cleared.packet().data.to_vec()
    }

    /// MACs, VLAN tag 100, and something that no decoder knows.
    const TAGGED: [u8; 22] = [
        0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01, // to 2, from 1
        0x81, 0x00, 0x00, 0x64, // 802.1Q, VLAN 100
        0x88, 0xb5, 1, 2, 3, 4, // local experimental EtherType
    ];

    #[test]
    fn stripping_takes_the_tag_that_names_the_network() {
        let vlan = OnWire::Vlan(VlanId::new(100).unwrap());
        let identity = Identity { mac: Mac([2, 0, 0, 0, 0, 1]), network: vlan };
        let expected = [&TAGGED[..12], &TAGGED[16..]].concat();
        assert_eq!(stripped(&TAGGED, identity), expected);
    }

    #[test]
    fn stripping_takes_the_tunnel_and_leaves_the_tags_of_the_vm() {
        let outer: [u8; 50] = [
            0x02, 0, 0, 0, 0, 9, 0x02, 0, 0, 0, 0, 8, 0x08, 0x00, // underlay MACs, IPv4
            0x45, 0, 0, 58, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // UDP
            0xc0, 0x00, 0x12, 0xb5, 0, 38, 0, 0, // to port 4789
            0x08, 0, 0, 0, 0, 0, 42, 0, // VXLAN, VNI 42
        ];
        let frame = [&outer[..], &TAGGED].concat();
        let network = OnWire::Overlay {
            vni: Vni::new(42).unwrap(),
            tunnel: Encapsulation::Vxlan,
            udp_port: None,
            vlan: None,
        };
        let identity = Identity { mac: Mac([2, 0, 0, 0, 0, 1]), network };
        assert_eq!(stripped(&frame, identity), TAGGED);
        // The VLAN that the network has inside the tunnel is not on the VM's port.
        let network = OnWire::Overlay {
            vni: Vni::new(42).unwrap(),
            tunnel: Encapsulation::Vxlan,
            udp_port: None,
            vlan: VlanId::new(100),
        };
        let identity = Identity { mac: Mac([2, 0, 0, 0, 0, 1]), network };
        assert_eq!(stripped(&frame, identity), [&TAGGED[..12], &TAGGED[16..]].concat());
    }
}
