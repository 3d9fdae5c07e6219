//! An expression asked of a packet whose headers were found.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::{Layer, Layers, Level, Mac, Packet, Tunnel};

use super::expression::{Direction, Expression, IpFamily, Primitive, Scope, Transport, V4Family};
use super::members::Members;
use super::parser::ipv6_mask;
use super::resolver::Name;

/// Whether `expression` is true of the packet.
pub(super) fn matches(
    expression: &Expression,
    members: &BTreeMap<Name, Members>,
    packet: &Packet<'_>,
    layers: &Layers,
) -> bool {
    let mut levels = layers.levels(packet.data);
    let level = layers.innermost(packet.data);
    let outer = levels.nth_back(1);
    View { packet, members, layers, level, outer, is_scoped: false }.satisfies(expression)
}

/// A packet, seen at one of its levels.
struct View<'a> {
    packet: &'a Packet<'a>,
    members: &'a BTreeMap<Name, Members>,
    layers: &'a Layers,
    level: Level<'a>,
    /// The level around it.
    outer: Option<Level<'a>>,
    /// Whether the expression said where to look. If not, words for tunnels look at every level.
    is_scoped: bool,
}

impl<'a> View<'a> {
    fn satisfies(&self, expression: &Expression) -> bool {
        match expression {
            Expression::All(parts) => parts.iter().all(|part| self.satisfies(part)),
            Expression::Any(parts) => parts.iter().any(|part| self.satisfies(part)),
            Expression::Not(part) => !self.satisfies(part),
            Expression::Within(Scope::Outer, part) => {
                self.levels().next().is_some_and(|view| view.satisfies(part))
            }
            Expression::Within(Scope::Any, part) => self.levels().any(|view| view.satisfies(part)),
            Expression::Is(primitive) => self.is(primitive),
        }
    }

    /// The packet at each of its levels, outermost first.
    fn levels(&self) -> impl Iterator<Item = View<'a>> + use<'a> {
        let Self { packet, members, layers, .. } = *self;
        let mut around = None;
        layers.levels(packet.data).map(move |level| {
            let outer = around.replace(level);
            View { packet, members, layers, level, outer, is_scoped: true }
        })
    }

    fn is(&self, primitive: &Primitive) -> bool {
        match *primitive {
            Primitive::EtherType(number) => self.is_ether_type(number),
            Primitive::IpProtocol { family, number } => self.level.ip().is_some_and(|ip| {
                let is_family = match family {
                    IpFamily::Any => true,
                    IpFamily::V4 => ip.source.is_ipv4(),
                    IpFamily::V6 => ip.source.is_ipv6(),
                };
                is_family && (ip.protocol == number || ip.next_header == number)
            }),
            Primitive::Ether { direction, mac } => self.level.macs().is_some_and(|macs| {
                direction.holds(macs.source, macs.destination, |end| end == mac)
            }),
            Primitive::V4 { family, direction, address, mask } => {
                self.has_v4(family, direction, |end| end & mask == address)
            }
            Primitive::V6 { direction, address, prefix_len } => {
                let mask = Ipv6Addr::from_bits(ipv6_mask(prefix_len));
                self.has_v6(direction, |end| end & mask == address)
            }
            Primitive::Port { transport, direction, first, last } => {
                self.has_port(transport, direction, |port| (first..=last).contains(&port))
            }
            Primitive::EtherBroadcast => self.is_for(|mac| mac == Mac::BROADCAST),
            Primitive::EtherMulticast => self.is_for(Mac::is_group),
            // The mask of the network is not known, so only the two addresses that need none.
            Primitive::IpBroadcast => self.has_v4(V4Family::Ip, Direction::Destination, |end| {
                end.is_broadcast() || end.is_unspecified()
            }),
            Primitive::IpMulticast => self
                .has_v4(V4Family::Ip, Direction::Destination, |end| end.octets() >= [224, 0, 0, 0]),
            Primitive::Ip6Multicast => {
                self.has_v6(Direction::Destination, |end| end.is_multicast())
            }
            Primitive::Less(len) => self.wire_len() <= len,
            Primitive::Greater(len) => self.wire_len() >= len,
            ref tunnel if self.is_scoped => self.is_carried_as(tunnel),
            ref tunnel => self.levels().any(|view| view.is_carried_as(tunnel)),
        }
    }

    /// Whether this very level has the tag or label, or was carried by the tunnel.
    fn is_carried_as(&self, primitive: &Primitive) -> bool {
        let level = &self.level;
        match *primitive {
            Primitive::Vlan(wanted) => {
                level.vlans().any(|tag| wanted.is_none_or(|wanted| tag.id == wanted))
            }
            Primitive::Mpls(wanted) => {
                let mut labels = level.mpls().map(|mpls| mpls.label).chain(match level.tunnel() {
                    Some(Tunnel::Mpls { label }) => Some(label),
                    _ => None,
                });
                labels.any(|label| wanted.is_none_or(|wanted| label == wanted))
            }
            Primitive::Vni(wanted) => level.tunnel().and_then(Tunnel::vni) == Some(wanted),
            Primitive::Vxlan(wanted) => match level.tunnel() {
                Some(Tunnel::Vxlan { vni, .. }) => wanted.is_none_or(|wanted| vni == wanted),
                Some(Tunnel::VxlanGpe { vni }) => wanted.is_none() || vni == wanted,
                _ => false,
            },
            Primitive::Geneve(wanted) => match level.tunnel() {
                Some(Tunnel::Geneve { vni }) => wanted.is_none_or(|wanted| vni == wanted),
                _ => false,
            },
            Primitive::Gre { key: wanted } => match level.tunnel() {
                Some(Tunnel::Gre { key, .. }) => wanted.is_none() || key == wanted,
                // ERSPAN is carried in GRE.
                Some(Tunnel::Erspan { .. }) => wanted.is_none(),
                _ => false,
            },
            Primitive::Erspan { session: wanted } => match level.tunnel() {
                Some(Tunnel::Erspan { session, .. }) => wanted.is_none() || session == wanted,
                _ => false,
            },
            Primitive::Named { direction, ref name } => {
                let Some(members) = self.members.get(name) else { return false };
                let is_member =
                    |mac| members.has(mac, self.packet.time, level, self.outer.as_ref());
                level
                    .macs()
                    .is_some_and(|macs| direction.holds(macs.source, macs.destination, is_member))
            }
            _ => false,
        }
    }

    fn is_ether_type(&self, number: u16) -> bool {
        if let Some(ether_type) = self.ether_type() {
            return ether_type == number;
        }
        // Behind other links, labels and tags the headers themselves say what they are.
        match number {
            IPV4 => self.has_ip(IpAddr::is_ipv4),
            IPV6 => self.has_ip(IpAddr::is_ipv6),
            ARP => self.level.arp().is_some_and(|arp| arp.operation < REVERSE_REQUEST),
            RARP => self.level.arp().is_some_and(|arp| arp.operation >= REVERSE_REQUEST),
            _ => false,
        }
    }

    /// What the Ethernet header says that follows, after the VLAN tags; `None` if there is no
    /// such header or what follows is a tag or label of another kind.
    fn ether_type(&self) -> Option<u16> {
        let mut found = None;
        for header in self.level.headers() {
            let offset = header.offset as usize;
            found = match header.layer {
                Layer::Ethernet => self.u16_at(offset + 12),
                Layer::Vlan => self.u16_at(offset + 2),
                Layer::VnTag
                | Layer::ETag
                | Layer::CiscoMetadata
                | Layer::Ttag
                | Layer::Macsec
                | Layer::Mpls
                | Layer::Pppoe => return None,
                _ => return found,
            };
        }
        found
    }

    fn u16_at(&self, offset: usize) -> Option<u16> {
        self.packet.data.get(offset..)?.first_chunk().copied().map(u16::from_be_bytes)
    }

    fn has_ip(&self, is_version: impl Fn(&IpAddr) -> bool) -> bool {
        self.level.ip().is_some_and(|ip| is_version(&ip.source))
    }

    fn has_v4(
        &self,
        family: V4Family,
        direction: Direction,
        is_meant: impl Fn(Ipv4Addr) -> bool,
    ) -> bool {
        if matches!(family, V4Family::Any | V4Family::Ip)
            && let Some(ip) = self.level.ip()
        {
            let (IpAddr::V4(source), IpAddr::V4(destination)) = (ip.source, ip.destination) else {
                return false;
            };
            return direction.holds(source, destination, is_meant);
        }
        let Some(arp) = self.level.arp() else { return false };
        let is_family = match family {
            V4Family::Any => true,
            V4Family::Ip => false,
            V4Family::Arp => self.is_ether_type(ARP),
            V4Family::Rarp => self.is_ether_type(RARP),
        };
        is_family && direction.holds(arp.sender_ip, arp.target_ip, is_meant)
    }

    fn has_v6(&self, direction: Direction, is_meant: impl Fn(Ipv6Addr) -> bool) -> bool {
        self.level.ip().is_some_and(|ip| match (ip.source, ip.destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                direction.holds(source, destination, is_meant)
            }
            _ => false,
        })
    }

    fn has_port(
        &self,
        wanted: Option<Transport>,
        direction: Direction,
        is_meant: impl Fn(u16) -> bool,
    ) -> bool {
        self.level.transport().is_some_and(|transport| {
            let found = match transport.layer {
                Layer::Tcp => Transport::Tcp,
                Layer::Udp => Transport::Udp,
                Layer::Sctp => Transport::Sctp,
                _ => return false,
            };
            wanted.is_none_or(|wanted| wanted == found)
                && transport
                    .ports
                    .is_some_and(|ports| direction.holds(ports.source, ports.destination, is_meant))
        })
    }

    fn is_for(&self, is_meant: impl Fn(Mac) -> bool) -> bool {
        self.level.macs().is_some_and(|macs| is_meant(macs.destination))
    }

    /// How long the frame is that begins with this level.
    fn wire_len(&self) -> u32 {
        let start = self.level.headers().first().map_or(0, |header| header.offset);
        self.packet.wire_len.saturating_sub(start)
    }
}

impl Direction {
    fn holds<T>(self, source: T, destination: T, is_meant: impl Fn(T) -> bool) -> bool {
        match self {
            Self::Either => is_meant(source) || is_meant(destination),
            Self::Source => is_meant(source),
            Self::Destination => is_meant(destination),
            Self::Both => is_meant(source) && is_meant(destination),
        }
    }
}

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
const IPV6: u16 = 0x86dd;
/// The first ARP operation that is RARP's (RFC 903).
const REVERSE_REQUEST: u16 = 3;
