//! Which packet a fragment is a piece of.
//!
//! Only the first piece of a fragmented IP packet shows what the packet is: its ports, and the
//! frame in it if it is a tunnel's. The others have the name of the packet in common with it.
//! Nothing is remembered here; `pipeline` does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use wire::{Fragment, Layer, Layers, Level, Packet, PointId, Tunnel};

/// The name that all pieces of one packet have (RFC 791, section 3.2; RFC 8200, section 4.5), at
/// one observation point and in one network: tenants use the same addresses and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Datagram {
    point: PointId,
    source: IpAddr,
    destination: IpAddr,
    /// 0 in IPv6, where it is no part of the name.
    protocol: u8,
    id: u32,
    /// A hash of what names the network around the IP header: tags, labels, tunnels and the
    /// addresses of their ends.
    around: u64,
}

impl Datagram {
    /// Where it was seen.
    pub const fn point(&self) -> PointId {
        self.point
    }
}

/// One fragment: which part of which packet it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The packet.
    pub datagram: Datagram,
    /// The first byte of the packet's payload that is in it, and the one behind the last. From 0
    /// to 65535 and seldom beyond: a broken piece may end behind what a packet can have.
    pub start: u32,
    /// See `start`.
    pub end: u32,
    /// Whether pieces follow behind it.
    pub has_more: bool,
    /// How long the packet's payload is, where the first piece says so: the length of UDP.
    pub total: Option<u32>,
    /// Where its bytes begin in the frame, and the one behind the last captured.
    bytes: (usize, usize),
}

impl Piece {
    /// The pieces that a frame is, outermost first: each level of it may be one. Only the last can
    /// be a later piece, as nothing behind that can be read. `layers` must come from the same
    /// bytes.
    pub fn of<'a>(
        packet: &'a Packet<'_>,
        layers: &'a Layers,
    ) -> impl Iterator<Item = Self> + use<'a> {
        let mut around = DefaultHasher::new();
        packet.link.hash(&mut around);
        layers.levels(packet.data).filter_map(move |level| {
            add_network(&mut around, &level);
            let network = around.finish();
            let ip = level.ip()?;
            (ip.source, ip.destination).hash(&mut around);
            let Fragment { offset, has_more, id } = ip.fragment?;
            let datagram = Datagram {
                point: packet.point,
                source: ip.source,
                destination: ip.destination,
                protocol: if ip.source.is_ipv4() { ip.protocol } else { 0 },
                id,
                around: network,
            };
            let begin = payload(packet.data, &level)?;
            let limit = ip.total_len.map_or(packet.data.len(), |total| ip.offset + total);
            let len = u32::try_from(limit.checked_sub(begin)?).ok()?;
            let start = u32::from(offset);
            Some(Self {
                datagram,
                start,
                end: start + len,
                has_more,
                total: if offset == 0 { udp_len(packet.data, &level) } else { None },
                bytes: (begin, limit.min(packet.data.len())),
            })
        })
    }

    /// Whether it is the piece that shows what the packet is.
    pub const fn is_first(&self) -> bool {
        self.start == 0
    }

    /// Its bytes in `data`, those of the frame it was found in, as far as they were captured.
    pub fn bytes<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        let (start, end) = self.bytes;
        data.get(start..end).unwrap_or_default()
    }
}

/// The first byte behind the IP header and what stands before every piece's own part: in IPv6 all
/// extension headers up to the fragment header.
fn payload(data: &[u8], level: &Level<'_>) -> Option<usize> {
    let ip = level.headers().iter().position(|h| matches!(h.layer, Layer::Ipv4 | Layer::Ipv6))?;
    let ip = *level.headers().get(ip)?;
    if ip.layer == Layer::Ipv4 {
        let first = *data.get(ip.offset as usize)?;
        return Some(ip.offset as usize + usize::from(first & 0x0f) * 4);
    }
    let fragment = level.headers().iter().find(|h| h.layer == Layer::Ipv6Fragment)?;
    Some(fragment.offset as usize + FRAGMENT_HEADER)
}

/// What the length field of UDP says, where UDP follows right behind the IP header or fragment
/// header; 0 there says nothing.
fn udp_len(data: &[u8], level: &Level<'_>) -> Option<u32> {
    let transport = level.transport().filter(|transport| transport.layer == Layer::Udp)?;
    if Some(transport.offset) != payload(data, level) {
        return None;
    }
    let field = data.get(transport.offset + 4..)?.first_chunk().copied()?;
    Some(u32::from(u16::from_be_bytes(field))).filter(|len| *len > 0)
}

/// Adds what a level says of its network. What may differ between the pieces of one packet is left
/// out: priorities, sequence numbers, marks that a switch sets, labels that spread the load.
fn add_network(around: &mut DefaultHasher, level: &Level<'_>) {
    match level.tunnel() {
        Some(Tunnel::Gre { protocol, key, .. }) => (protocol, key).hash(around),
        Some(Tunnel::Vxlan { vni, .. }) => vni.hash(around),
        Some(Tunnel::Erspan { version, session, vlan, .. }) => {
            (version, session, vlan).hash(around);
        }
        other => other.hash(around),
    }
    for tag in level.vlans().filter(|tag| tag.id.value() != 0) {
        tag.id.hash(around);
    }
    if let Some(tag) = level.vntag() {
        (tag.source, tag.destination).hash(around);
    }
    // RFC 6790, section 4.2: label 7 says that the next one is made of a hash of the flow, whose
    // ports a later piece does not show.
    let mut labels = level.mpls().map(|mpls| mpls.label);
    while let Some(label) = labels.next() {
        label.hash(around);
        if label == ENTROPY_LABEL_FOLLOWS {
            labels.next();
        }
    }
}

/// Bytes of the fragment header (RFC 8200, section 4.5).
const FRAGMENT_HEADER: usize = 8;
const ENTROPY_LABEL_FOLLOWS: u32 = 7;

#[cfg(test)]
mod tests {
    use wire::{LinkType, Timestamp, TunnelPorts};

    use super::*;

    fn pieces(bytes: &[u8]) -> Vec<Piece> {
        let len = u32::try_from(bytes.len()).unwrap();
        let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, bytes, len);
        let layers = Layers::decode(packet.link, packet.data, &TunnelPorts::default());
        let pieces: Vec<_> = Piece::of(&packet, &layers).collect();
        assert_eq!(layers.has_fragment(), !pieces.is_empty());
        pieces
    }

    fn ethernet(tags: &[u16], ether_type: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in tags {
            bytes.extend([0x81, 0x00]);
            bytes.extend(tag.to_be_bytes());
        }
        bytes.extend(ether_type.to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn ipv4(id: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(20 + payload.len()).unwrap();
        let mut bytes = vec![0x45, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend(id.to_be_bytes());
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend(payload);
        bytes
    }

    fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, u8::try_from(rest.len()).unwrap(), next, 64];
        bytes.extend([0x20; 32]);
        bytes.extend(rest);
        bytes
    }

    const UDP_OF_40: [u8; 16] = [0xc0, 1, 0, 53, 0, 40, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn pieces_of_ipv4_say_where_they_belong() {
        let first = pieces(&ethernet(&[], 0x0800, &ipv4(7, 0x2000, &UDP_OF_40)));
        let [first] = first[..] else { panic!("{first:?}") };
        assert_eq!((first.start, first.end, first.has_more, first.total), (0, 16, true, Some(40)));
        let mut padded = ethernet(&[], 0x0800, &ipv4(7, 2, &[9; 24]));
        padded.extend([0; 6]);
        let [last] = pieces(&padded)[..] else { panic!() };
        assert_eq!((last.start, last.end, last.has_more, last.total), (16, 40, false, None));
        assert_eq!(last.bytes(&padded), [9; 24], "what pads the frame is not the packet's");
        assert_eq!(last.datagram, first.datagram);
    }

    #[test]
    fn pieces_of_ipv6_begin_behind_their_fragment_header() {
        let hop_by_hop = [44, 0, 1, 4, 0, 0, 0, 0];
        let piece = |field: u16, payload: &[u8]| {
            let fragment = [&[17, 0][..], &field.to_be_bytes(), &[0, 1, 0, 9], payload].concat();
            pieces(&ethernet(&[], 0x86dd, &ipv6(0, &[&hop_by_hop[..], &fragment].concat())))
        };
        let [first] = piece(1, &UDP_OF_40)[..] else { panic!() };
        assert_eq!((first.start, first.end, first.has_more, first.total), (0, 16, true, Some(40)));
        let [last] = piece(16, &[9; 24])[..] else { panic!() };
        assert_eq!((last.start, last.end, last.has_more), (16, 40, false));
        assert_eq!(last.datagram, first.datagram);
        assert_eq!(piece(0, &UDP_OF_40), [], "an atomic fragment is a whole packet");
    }

    #[test]
    fn the_same_number_in_another_network_is_another_packet() {
        let frame = ipv4(7, 2, &[9; 24]);
        let name = |tags: &[u16]| pieces(&ethernet(tags, 0x0800, &frame))[0].datagram;
        assert_ne!(name(&[]), name(&[100]));
        assert_ne!(name(&[100]), name(&[200]));
        assert_eq!(name(&[]), name(&[0xe000]), "a tag with priority only names no network");
        assert_eq!(name(&[0x6064]), name(&[100]), "a priority is no name");
    }

    #[test]
    fn each_level_may_be_a_piece() {
        let inner = ethernet(&[], 0x0800, &ipv4(8, 2, &[9; 24]));
        let vxlan = |vni: u8| {
            let len = u16::try_from(16 + inner.len()).unwrap().to_be_bytes();
            let head = [0xc0, 1, 0x12, 0xb5, len[0], len[1], 0, 0, 8, 0, 0, 0, 0, 0, vni, 0];
            pieces(&ethernet(&[], 0x0800, &ipv4(7, 0x2000, &[&head[..], &inner].concat())))
        };
        let [outer, later] = vxlan(5)[..] else { panic!() };
        assert!(outer.is_first() && !later.is_first());
        let [same_outer, other] = vxlan(6)[..] else { panic!() };
        assert_eq!(outer.datagram, same_outer.datagram);
        assert_ne!(later.datagram, other.datagram, "in another overlay");
    }
}
