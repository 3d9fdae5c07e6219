//! What one rtnetlink message says: a link, an address, a neighbour, a route, a namespace number.
//!
//! Layouts and numbers are those of `linux/if_link.h`, `linux/rtnetlink.h` and
//! `linux/neighbour.h`, which the kernel never changes.

use std::net::IpAddr;

use inventory::facts::{FdbEntry, Link, LinkKind, Neighbour, Route};
use wire::{VlanId, Vni};

use super::message::{
    Attributes, Message, read_i32, read_ip, read_mac, read_text, read_u16, read_u32,
};

/// A link, before the namespace of its other end is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawLink {
    /// All that the message itself says.
    pub(super) link: Link,
    /// The number this namespace has for the one its peer or lower device is in, where that is
    /// another one; negative where the kernel has no number.
    pub(super) other_namespace: Option<i32>,
}

impl RawLink {
    /// Reads `RTM_NEWLINK`; `None` if it is cut or has no name.
    pub(super) fn decode(message: &Message<'_>) -> Option<Self> {
        let (device_type, index, flags) = link_header(message)?;
        let mut link = Link {
            index,
            name: String::new(),
            mac: None,
            is_up: flags & IFF_UP != 0,
            has_carrier: flags & IFF_LOWER_UP != 0,
            is_promiscuous: flags & IFF_PROMISC != 0,
            mtu: 0,
            kind: LinkKind::Physical,
            master: None,
            pvid: None,
            vlans: Vec::new(),
            addresses: Vec::new(),
        };
        let mut lower = None;
        let mut other_namespace = None;
        let mut linkinfo: &[u8] = &[];
        for (kind, value) in message.attributes(IFINFOMSG_LEN) {
            match kind {
                IFLA_IFNAME => link.name = read_text(value),
                IFLA_ADDRESS if device_type == ARPHRD_ETHER => link.mac = read_mac(value),
                IFLA_MTU => link.mtu = read_u32(value).unwrap_or(0),
                IFLA_LINK => lower = read_u32(value).filter(|index| *index != 0),
                IFLA_LINK_NETNSID => other_namespace = read_i32(value),
                IFLA_MASTER => link.master = read_u32(value).filter(|index| *index != 0),
                IFLA_CARRIER => link.has_carrier = value.first() == Some(&1),
                IFLA_LINKINFO => linkinfo = value,
                _ => {}
            }
        }
        link.kind = if flags & IFF_LOOPBACK != 0 {
            LinkKind::Loopback
        } else {
            decode_kind(linkinfo, lower, device_type)
        };
        if link.name.is_empty() { None } else { Some(Self { link, other_namespace }) }
    }
}

/// The VLANs of a port of a VLAN-aware bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PortVlans {
    pub(super) pvid: Option<VlanId>,
    /// First and last of each range.
    pub(super) allowed: Vec<(VlanId, VlanId)>,
}

/// The VLANs of an `AF_BRIDGE` `RTM_NEWLINK` by interface index; `None` if it says nothing of them.
pub(super) fn decode_port_vlans(message: &Message<'_>) -> Option<(u32, PortVlans)> {
    let (_, index, _) = link_header(message)?;
    let mut specs = message.attributes(IFINFOMSG_LEN).filter(|(kind, _)| *kind == IFLA_AF_SPEC);
    let (_, spec) = specs.next()?;
    let mut vlans = PortVlans::default();
    let mut begin = None;
    for (kind, value) in Attributes::new(spec) {
        let vid = value.get(2..).and_then(read_u16).and_then(VlanId::new);
        let (IFLA_BRIDGE_VLAN_INFO, Some(flags), Some(vid)) = (kind, read_u16(value), vid) else {
            continue;
        };
        if flags & BRIDGE_VLAN_INFO_PVID != 0 {
            vlans.pvid = Some(vid);
        }
        if flags & BRIDGE_VLAN_INFO_RANGE_BEGIN != 0 {
            begin = Some(vid);
            continue;
        }
        let is_end = flags & BRIDGE_VLAN_INFO_RANGE_END != 0;
        vlans.allowed.push((begin.take().filter(|_| is_end).unwrap_or(vid), vid));
    }
    if vlans == PortVlans::default() { None } else { Some((index, vlans)) }
}

/// Reads `RTM_NEWADDR`: (interface index, address, prefix length).
pub(super) fn decode_address(message: &Message<'_>) -> Option<(u32, IpAddr, u8)> {
    let prefix_len = *message.body.get(1)?;
    let index = read_u32(message.body.get(4..)?)?;
    let mut ip = None;
    for (kind, value) in message.attributes(IFADDRMSG_LEN) {
        match kind {
            // On a point-to-point link IFA_ADDRESS is the other end; IFA_LOCAL is ours then.
            IFA_LOCAL => ip = read_ip(value).or(ip),
            IFA_ADDRESS if ip.is_none() => ip = read_ip(value),
            _ => {}
        }
    }
    Some((index, ip?, prefix_len))
}

/// Reads `RTM_NEWNEIGH` of an IP family; `None` if there is no MAC in it that can be used.
pub(super) fn decode_neighbour(message: &Message<'_>) -> Option<Neighbour> {
    let (link, state, _) = neighbour_header(message)?;
    if state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT) == 0 {
        return None;
    }
    let mut ip = None;
    let mut mac = None;
    for (kind, value) in message.attributes(NDMSG_LEN) {
        match kind {
            NDA_DST => ip = read_ip(value),
            NDA_LLADDR => mac = read_mac(value),
            _ => {}
        }
    }
    let mac = mac.filter(|mac| !mac.is_zero() && !mac.is_group())?;
    Some(Neighbour { ip: ip?, mac, link })
}

/// Reads where an `RTM_NEWNEIGH` of `AF_BRIDGE` sends frames: the device and the other end of its
/// tunnel; `None` if that is none.
pub(super) fn decode_tunnel_end(message: &Message<'_>) -> Option<(u32, IpAddr)> {
    let (link, ..) = neighbour_header(message)?;
    let mut ends = message.attributes(NDMSG_LEN).filter(|(kind, _)| *kind == NDA_DST);
    let end = ends.find_map(|(_, value)| read_ip(value)).filter(|ip| !ip.is_unspecified())?;
    Some((link, end))
}

/// Reads `RTM_NEWNEIGH` of `AF_BRIDGE`; `None` if the entry was configured, not learned.
pub(super) fn decode_fdb(message: &Message<'_>) -> Option<FdbEntry> {
    let (link, state, flags) = neighbour_header(message)?;
    let is_configured = state & (NUD_PERMANENT | NUD_NOARP) != 0;
    // What a routing daemon learned (EVPN) is marked so and has a configured entry's state.
    if is_configured && flags & NTF_EXT_LEARNED == 0 {
        return None;
    }
    let mut mac = None;
    let mut vlan = None;
    for (kind, value) in message.attributes(NDMSG_LEN) {
        match kind {
            NDA_LLADDR => mac = read_mac(value),
            NDA_VLAN => vlan = read_u16(value).and_then(VlanId::new),
            _ => {}
        }
    }
    let mac = mac.filter(|mac| !mac.is_zero() && !mac.is_group())?;
    Some(FdbEntry { mac, link, vlan })
}

/// Reads `RTM_NEWROUTE`: the routes by each next hop with their metric, if they are unicast
/// routes of the main table.
pub(super) fn decode_routes(message: &Message<'_>) -> Vec<(u32, Route)> {
    let Some(&[_, prefix_len, _, _, table, _, _, route_type]) = message.body.first_chunk() else {
        return Vec::new();
    };
    let flags = message.body.get(8..).and_then(read_u32).unwrap_or(0);
    let mut table = u32::from(table);
    let mut destination = None;
    let mut metric = 0;
    let mut links = Vec::new();
    for (kind, value) in message.attributes(RTMSG_LEN) {
        match kind {
            RTA_DST => destination = read_ip(value),
            RTA_OIF => links.extend(read_u32(value)),
            RTA_PRIORITY => metric = read_u32(value).unwrap_or(0),
            RTA_MULTIPATH => links.extend(next_hops(value)),
            RTA_TABLE => table = read_u32(value).unwrap_or(table),
            _ => {}
        }
    }
    if route_type != RTN_UNICAST || table != RT_TABLE_MAIN || flags & RTM_F_CLONED != 0 {
        return Vec::new();
    }
    links.into_iter().map(|link| (metric, Route { destination, prefix_len, link })).collect()
}

/// Reads the number in the answer to `RTM_GETNSID`; `None` if that namespace has none here.
pub(super) fn decode_namespace_number(message: &Message<'_>) -> Option<i32> {
    message
        .attributes(4)
        .find(|(kind, _)| *kind == NETNSA_NSID)
        .and_then(|(_, value)| read_i32(value))
        .filter(|number| *number >= 0)
}

/// `struct ifinfomsg`: device type, index, flags.
fn link_header(message: &Message<'_>) -> Option<(u16, u32, u32)> {
    let body = message.body;
    Some((read_u16(body.get(2..)?)?, read_u32(body.get(4..)?)?, read_u32(body.get(8..)?)?))
}

/// `struct ndmsg`: link, state, flags.
fn neighbour_header(message: &Message<'_>) -> Option<(u32, u16, u8)> {
    let body = message.body;
    Some((read_u32(body.get(4..)?)?, read_u16(body.get(8..)?)?, *body.get(10)?))
}

/// What the link is, by `IFLA_LINKINFO`.
fn decode_kind(linkinfo: &[u8], lower: Option<u32>, device_type: u16) -> LinkKind {
    let mut name = String::new();
    let mut data: &[u8] = &[];
    for (kind, value) in Attributes::new(linkinfo) {
        match kind {
            IFLA_INFO_KIND => name = read_text(value),
            IFLA_INFO_DATA => data = value,
            _ => {}
        }
    }
    let field = |wanted: u16| Attributes::new(data).find(|(kind, _)| *kind == wanted);
    let number = |wanted: u16| field(wanted).and_then(|(_, value)| read_u32(value));
    match name.as_str() {
        "" => LinkKind::Physical,
        "tun" => LinkKind::Tun {
            is_tap: field(IFLA_TUN_TYPE)
                .map_or(device_type == ARPHRD_ETHER, |(_, value)| value.first() == Some(&IFF_TAP)),
        },
        "veth" => LinkKind::Veth { peer: lower, peer_namespace: None, is_peer_elsewhere: false },
        "bridge" => LinkKind::Bridge {
            is_vlan_aware: field(IFLA_BR_VLAN_FILTERING)
                .is_some_and(|(_, value)| value.first() == Some(&1)),
        },
        "vxlan" => LinkKind::Vxlan {
            vni: number(IFLA_VXLAN_ID).and_then(Vni::new).filter(|_| {
                field(IFLA_VXLAN_COLLECT_METADATA)
                    .is_none_or(|(_, value)| value.first() == Some(&0))
            }),
            port: field(IFLA_VXLAN_PORT).map_or(0, |(_, value)| read_port(value)),
            local: address(field(IFLA_VXLAN_LOCAL)).or(address(field(IFLA_VXLAN_LOCAL6))),
            remote: address(field(IFLA_VXLAN_GROUP)).or(address(field(IFLA_VXLAN_GROUP6))),
            lower: number(IFLA_VXLAN_LINK).filter(|index| *index != 0),
        },
        "geneve" => LinkKind::Geneve {
            vni: number(IFLA_GENEVE_ID)
                .and_then(Vni::new)
                .filter(|_| field(IFLA_GENEVE_COLLECT_METADATA).is_none()),
            port: field(IFLA_GENEVE_PORT).map_or(0, |(_, value)| read_port(value)),
            remote: address(field(IFLA_GENEVE_REMOTE)).or(address(field(IFLA_GENEVE_REMOTE6))),
        },
        "bond" => {
            LinkKind::Bond { active: number(IFLA_BOND_ACTIVE_SLAVE).filter(|index| *index != 0) }
        }
        "team" => LinkKind::Bond { active: None },
        "vlan" => {
            let id = field(IFLA_VLAN_ID).and_then(|(_, value)| read_u16(value));
            match id.and_then(VlanId::new) {
                Some(id) => LinkKind::Vlan { id, lower, lower_namespace: None },
                None => LinkKind::Other(name),
            }
        }
        "macvlan" | "macvtap" => LinkKind::Macvlan { lower, lower_namespace: None },
        _ => LinkKind::Other(name),
    }
}

/// An address that is set: the kernel writes zeroes for "none".
fn address(field: Option<(u16, &[u8])>) -> Option<IpAddr> {
    field.and_then(|(_, value)| read_ip(value)).filter(|ip| !ip.is_unspecified())
}

/// A port number, which is in network byte order.
fn read_port(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |b| u16::from_be_bytes(*b))
}

/// The devices of a multipath route whose next hop is not dead.
fn next_hops(mut bytes: &[u8]) -> Vec<u32> {
    let mut links = Vec::new();
    // struct rtnexthop: u16 length, u8 flags, u8 hops, i32 ifindex; then attributes.
    while let Some(&[a, b, flags, _, index @ ..]) = bytes.first_chunk::<8>() {
        let len = usize::from(u16::from_ne_bytes([a, b]));
        if len < 8 {
            break;
        }
        if flags & RTNH_F_DEAD == 0 {
            links.push(u32::from_ne_bytes(index));
        }
        bytes = bytes.get((len + 3) & !3..).unwrap_or_default();
    }
    links
}

pub(super) const IFINFOMSG_LEN: usize = 16;
const IFADDRMSG_LEN: usize = 8;
const NDMSG_LEN: usize = 12;
const RTMSG_LEN: usize = 12;

const ARPHRD_ETHER: u16 = 1;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 1 << 3;
const IFF_PROMISC: u32 = 1 << 8;
const IFF_LOWER_UP: u32 = 1 << 16;
/// Value of `IFLA_TUN_TYPE` for a device that carries Ethernet frames.
const IFF_TAP: u8 = 2;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
pub(super) const IFLA_EXT_MASK: u16 = 29;
const IFLA_CARRIER: u16 = 33;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_TUN_TYPE: u16 = 3;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_GROUP: u16 = 2;
const IFLA_VXLAN_LINK: u16 = 3;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_GROUP6: u16 = 16;
const IFLA_VXLAN_LOCAL6: u16 = 17;
const IFLA_VXLAN_COLLECT_METADATA: u16 = 25;
const IFLA_GENEVE_ID: u16 = 1;
const IFLA_GENEVE_REMOTE: u16 = 2;
const IFLA_GENEVE_PORT: u16 = 5;
const IFLA_GENEVE_COLLECT_METADATA: u16 = 6;
const IFLA_GENEVE_REMOTE6: u16 = 7;
const IFLA_BOND_ACTIVE_SLAVE: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
const BRIDGE_VLAN_INFO_PVID: u16 = 1 << 1;
const BRIDGE_VLAN_INFO_RANGE_BEGIN: u16 = 1 << 3;
const BRIDGE_VLAN_INFO_RANGE_END: u16 = 1 << 4;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_VLAN: u16 = 5;
const NTF_EXT_LEARNED: u8 = 0x10;
const NUD_REACHABLE: u16 = 0x02;
const NUD_STALE: u16 = 0x04;
const NUD_DELAY: u16 = 0x08;
const NUD_PROBE: u16 = 0x10;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTN_UNICAST: u8 = 1;
const RT_TABLE_MAIN: u32 = 254;
const RTM_F_CLONED: u32 = 0x200;
const RTNH_F_DEAD: u8 = 1;

const NETNSA_NSID: u16 = 1;
pub(super) const NETNSA_FD: u16 = 3;

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use proptest::prelude::*;
    use wire::Mac;

    use super::*;

    fn message(kind: u16, body: &[u8]) -> Message<'_> {
        Message { kind, flags: 0, sequence: 0, body }
    }

    #[test]
    fn a_vxlan_link_is_read_with_number_ports_and_addresses() {
        let body = [
            0, 0, 1, 0, 9, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0, // ether, 9, UP|LOWER_UP
            10, 0, 3, 0, b'v', b'x', b'4', b'2', 0, 0, 0, 0, // IFLA_IFNAME, padded
            10, 0, 1, 0, 0x52, 0x54, 0, 0, 0, 1, 0, 0, // IFLA_ADDRESS
            8, 0, 4, 0, 0xaa, 0x05, 0, 0, // IFLA_MTU 1450
            8, 0, 10, 0, 4, 0, 0, 0, // IFLA_MASTER 4
            60, 0, 18, 0, // IFLA_LINKINFO
            10, 0, 1, 0, b'v', b'x', b'l', b'a', b'n', 0, 0, 0, // kind
            44, 0, 2, 0x80, // data, nested flag set
            8, 0, 1, 0, 42, 0, 0, 0, // VNI
            8, 0, 2, 0, 10, 0, 0, 2, // remote
            8, 0, 4, 0, 10, 0, 0, 1, // local
            8, 0, 3, 0, 2, 0, 0, 0, // lower device
            6, 0, 15, 0, 0x12, 0xb5, 0, 0, // port 4789
        ];
        let raw = RawLink::decode(&message(16, &body)).unwrap();
        assert_eq!(raw.other_namespace, None);
        assert_eq!(
            raw.link,
            Link {
                index: 9,
                name: "vx42".into(),
                mac: Some(Mac([0x52, 0x54, 0, 0, 0, 1])),
                is_up: true,
                has_carrier: true,
                is_promiscuous: false,
                mtu: 1450,
                kind: LinkKind::Vxlan {
                    vni: Vni::new(42),
                    port: 4789,
                    local: Some([10, 0, 0, 1].into()),
                    remote: Some([10, 0, 0, 2].into()),
                    lower: Some(2),
                },
                master: Some(4),
                pvid: None,
                vlans: vec![],
                addresses: vec![],
            }
        );
        // Cut anywhere, it is a link with less known or none, never a panic.
        for cut in 0..body.len() {
            let _ = RawLink::decode(&message(16, &body[..cut]));
        }
    }

    #[test]
    fn a_veth_whose_peer_is_elsewhere_carries_the_number_of_that_namespace() {
        let body = [
            0, 0, 1, 0, 5, 0, 0, 0, 0x43, 0x10, 0, 0, 0, 0, 0,
            0, // ether, index 5, no carrier
            7, 0, 3, 0, b'v', b'0', 0, 0, // name
            8, 0, 5, 0, 2, 0, 0, 0, // IFLA_LINK 2
            8, 0, 37, 0, 3, 0, 0, 0, // IFLA_LINK_NETNSID 3
            5, 0, 33, 0, 0, 0, 0, 0, // IFLA_CARRIER 0
            13, 0, 18, 0, 9, 0, 1, 0, b'v', b'e', b't', b'h', 0, 0, 0, 0, // kind veth
        ];
        let raw = RawLink::decode(&message(16, &body)).unwrap();
        assert_eq!(raw.other_namespace, Some(3));
        assert!(!raw.link.has_carrier);
        assert_eq!(
            raw.link.kind,
            LinkKind::Veth { peer: Some(2), peer_namespace: None, is_peer_elsewhere: false }
        );
    }

    /// `IFLA_LINKINFO` of this kind with these bytes of data.
    fn linkinfo(kind: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, value) in [(1_u16, kind.as_bytes()), (2, data)] {
            bytes.extend_from_slice(&u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            bytes.extend_from_slice(&number.to_ne_bytes());
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn kinds_this_kernel_may_lack_are_read_from_their_bytes() {
        let kind = |name: &str, data: &[u8]| decode_kind(&linkinfo(name, data), Some(3), 1);
        let geneve = [
            8, 0, 1, 0, 7, 0, 0, 0, // VNI 7
            8, 0, 2, 0, 10, 0, 0, 3, // remote
            6, 0, 5, 0, 0x17, 0xc1, 0, 0, // port 6081
        ];
        let expected =
            LinkKind::Geneve { vni: Vni::new(7), port: 6081, remote: Some([10, 0, 0, 3].into()) };
        assert_eq!(kind("geneve", &geneve), expected);
        // With collect metadata the device has no network of its own.
        let metadata = [&geneve[..], &[4, 0, 6, 0]].concat();
        assert!(matches!(kind("geneve", &metadata), LinkKind::Geneve { vni: None, .. }));
        let vlan =
            LinkKind::Vlan { id: VlanId::new(100).unwrap(), lower: Some(3), lower_namespace: None };
        assert_eq!(kind("vlan", &[6, 0, 1, 0, 100, 0, 0, 0]), vlan);
        let bond = [5, 0, 1, 0, 1, 0, 0, 0, 8, 0, 2, 0, 4, 0, 0, 0];
        assert_eq!(kind("bond", &bond), LinkKind::Bond { active: Some(4) });
        assert_eq!(kind("team", &[]), LinkKind::Bond { active: None });
        let bridge = [5, 0, 7, 0, 1, 0, 0, 0];
        assert_eq!(kind("bridge", &bridge), LinkKind::Bridge { is_vlan_aware: true });
        assert_eq!(kind("tun", &[5, 0, 3, 0, 1, 0, 0, 0]), LinkKind::Tun { is_tap: false });
        let macvlan = LinkKind::Macvlan { lower: Some(3), lower_namespace: None };
        assert_eq!(kind("macvtap", &[]), macvlan);
        assert_eq!(kind("openvswitch", &[]), LinkKind::Other("openvswitch".into()));
    }

    #[test]
    fn port_vlans_are_ranges_and_the_one_with_the_pvid_flag() {
        let body = [
            7, 0, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // AF_BRIDGE, index 5
            36, 0, 26, 0, // IFLA_AF_SPEC
            8, 0, 2, 0, 4, 0, 10, 0, // VLAN 10, untagged only
            8, 0, 2, 0, 6, 0, 20, 0, // VLAN 20, PVID and untagged
            8, 0, 2, 0, 8, 0, 30, 0, // from VLAN 30
            8, 0, 2, 0, 16, 0, 39, 0, // to VLAN 39
        ];
        let vlan = |id| VlanId::new(id).unwrap();
        let vlans = PortVlans {
            pvid: Some(vlan(20)),
            allowed: vec![(vlan(10), vlan(10)), (vlan(20), vlan(20)), (vlan(30), vlan(39))],
        };
        assert_eq!(decode_port_vlans(&message(16, &body)), Some((5, vlans)));
    }

    #[test]
    fn a_learned_fdb_entry_is_kept_and_a_permanent_one_is_not() {
        let mut body = [
            7, 0, 0, 0, 5, 0, 0, 0, 0x02, 0, 0, 0, // AF_BRIDGE, link 5, REACHABLE
            10, 0, 2, 0, 0x52, 0x54, 0, 0, 0, 9, 0, 0, // NDA_LLADDR
            6, 0, 5, 0, 20, 0, 0, 0, // NDA_VLAN 20
        ];
        let entry = FdbEntry { mac: Mac([0x52, 0x54, 0, 0, 0, 9]), link: 5, vlan: VlanId::new(20) };
        assert_eq!(decode_fdb(&message(28, &body)), Some(entry));
        body[8] = 0x80;
        assert_eq!(decode_fdb(&message(28, &body)), None);
    }

    #[test]
    fn a_flooding_entry_of_a_tunnel_names_its_other_end() {
        let mut body = [
            7, 0, 0, 0, 5, 0, 0, 0, 0x80, 0, 2, 0, // AF_BRIDGE, link 5, PERMANENT, self
            10, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, // NDA_LLADDR
            8, 0, 1, 0, 10, 0, 0, 2, // NDA_DST
        ];
        assert_eq!(decode_tunnel_end(&message(28, &body)), Some((5, [10, 0, 0, 2].into())));
        assert_eq!(decode_fdb(&message(28, &body)), None);
        body[26] = 9;
        assert_eq!(decode_tunnel_end(&message(28, &body)), None);
    }

    #[test]
    fn a_failed_neighbour_is_no_neighbour() {
        let mut body = [
            2, 0, 0, 0, 5, 0, 0, 0, 0x04, 0, 0, 1, // AF_INET, link 5, STALE
            8, 0, 1, 0, 10, 0, 0, 7, // NDA_DST
            10, 0, 2, 0, 0x52, 0x54, 0, 0, 0, 9, 0, 0, // NDA_LLADDR
        ];
        let neighbour =
            Neighbour { ip: [10, 0, 0, 7].into(), mac: Mac([0x52, 0x54, 0, 0, 0, 9]), link: 5 };
        assert_eq!(decode_neighbour(&message(28, &body)), Some(neighbour));
        body[8] = 0x20;
        assert_eq!(decode_neighbour(&message(28, &body)), None);
    }

    #[test]
    fn a_multipath_default_route_leaves_by_each_living_next_hop() {
        let body = [
            2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0, // AF_INET, /0, main, unicast
            8, 0, 6, 0, 100, 0, 0, 0, // metric 100
            36, 0, 9, 0, // RTA_MULTIPATH
            16, 0, 0, 0, 3, 0, 0, 0, 8, 0, 5, 0, 10, 0, 0, 254, // by link 3
            16, 0, 1, 0, 4, 0, 0, 0, 8, 0, 5, 0, 10, 0, 0, 253, // by link 4, dead
        ];
        let route = Route { destination: None, prefix_len: 0, link: 3 };
        assert_eq!(decode_routes(&message(24, &body)), [(100, route)]);
    }

    #[test]
    fn a_route_of_another_table_is_not_ours() {
        let body = [2, 0, 0, 0, 255, 3, 0, 1, 0, 0, 0, 0, 8, 0, 4, 0, 3, 0, 0, 0];
        assert_eq!(decode_routes(&message(24, &body)), []);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            let message = message(16, &body);
            let _ = RawLink::decode(&message);
            let _ = decode_port_vlans(&message);
            let _ = decode_address(&message);
            let _ = decode_neighbour(&message);
            let _ = decode_fdb(&message);
            let _ = decode_routes(&message);
            let _ = decode_namespace_number(&message);
        }
    }
}
