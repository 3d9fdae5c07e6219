//! Frames as they stand on the wire: an inner packet, and what is put around it at each place.

use crate::site::{Carrier, Network};

/// How a network's frame looks at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As it travels between hosts.
    Carried,
    /// With the network's 802.1Q tag: on a host's vSwitch, or between hosts for VLAN networks.
    Tagged,
    /// With a VN-Tag and, behind it, the 802.1Q tag.
    VnTag,
    /// Mirrored in ERSPAN type II, with the tag kept in the frame or moved to the header.
    Erspan2 { is_tag_kept: bool },
    /// Mirrored in ERSPAN type III.
    Erspan3 { is_tag_kept: bool },
    /// Without any tag.
    Plain,
}

/// A layer-3 packet and the Ethernet header it has inside its network.
#[derive(Debug, Clone)]
pub struct Inner {
    pub destination: [u8; 6],
    pub source: [u8; 6],
    pub ethertype: u16,
    /// From the first byte of IPv4, IPv6 or ARP.
    pub packet: Vec<u8>,
}

impl Inner {
    /// The same packet one router further: other MACs, one hop less, its checksum right again.
    pub fn routed(&self, destination: [u8; 6], source: [u8; 6]) -> Self {
        let mut next = Self { destination, source, ..self.clone() };
        if self.ethertype == IPV4 {
            next.packet[8] -= 1;
            set_ipv4_checksum(&mut next.packet);
        } else {
            next.packet[7] -= 1;
        }
        next
    }
}

/// A whole frame and where the inner one is in it.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub bytes: Vec<u8>,
    /// Offset of the innermost Ethernet header.
    pub inner: u8,
    /// Bytes of tags between its MACs and its own EtherType.
    pub tags: u8,
}

/// The underlay's side of a frame: what counts up from packet to packet.
#[derive(Debug, Default)]
pub struct Underlay {
    packets: u32,
    mirrored: u32,
}

/// Which way a frame goes under the overlay.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Host that sends it, 0 or 1; the other receives.
    pub from: u8,
    /// Something that is equal for all packets of a flow.
    pub hash: u16,
    /// Virtual interface of the sending VM, 1 to 1000; 0 if the sender is none.
    pub from_vif: u16,
    /// Virtual interface of the receiving VM.
    pub to_vif: u16,
}

impl Underlay {
    /// Puts around `inner` what it has in `network` in the given shape.
    pub fn wrap(&mut self, inner: &Inner, network: Network, shape: Shape, route: Route) -> Frame {
        self.packets = self.packets.wrapping_add(1);
        let mut frame =
            Frame { bytes: Vec::with_capacity(inner.packet.len() + 128), inner: 0, tags: 0 };
        let vlan = network.vlan();
        match (shape, network.carrier()) {
            (Shape::Plain, _) => frame.put_inner(inner, None, None),
            (Shape::Tagged, _) | (Shape::Carried, Carrier::Vlan) => {
                frame.put_inner(inner, None, Some(vlan));
            }
            (Shape::VnTag, _) => frame.put_inner(inner, Some(vntag(route)), Some(vlan)),
            (Shape::Carried, carrier) => self.carry(&mut frame, inner, network, carrier, route),
            (Shape::Erspan2 { is_tag_kept }, _) => {
                self.mirror(&mut frame, 0x88be, inner, network, is_tag_kept, route);
            }
            (Shape::Erspan3 { is_tag_kept }, _) => {
                self.mirror(&mut frame, 0x22eb, inner, network, is_tag_kept, route);
            }
        }
        frame
    }

    /// VXLAN, GENEVE or GRE on the underlay.
    fn carry(
        &self,
        frame: &mut Frame,
        inner: &Inner,
        network: Network,
        carrier: Carrier,
        route: Route,
    ) {
        let [_, n0, n1, n2] = network.number().to_be_bytes();
        let mut tunnel = Vec::with_capacity(40);
        let mut udp = None;
        match carrier {
            Carrier::Vxlan => {
                udp = Some(4789);
                tunnel.extend([0x08, 0, 0, 0, n0, n1, n2, 0]);
            }
            Carrier::Geneve => {
                udp = Some(6081);
                let words = network.geneve_option_words();
                let critical = if words > 0 { 0x40 } else { 0 };
                tunnel.extend([words, critical, 0x65, 0x58, n0, n1, n2, 0]);
                if words > 0 {
                    // The logical ports of OVN: class 0x0102, type 0x80, one word.
                    tunnel.extend([0x01, 0x02, 0x80, 1, 0, 5, 0, route.hash as u8]);
                }
                if words > 2 {
                    tunnel.extend([0x01, 0x04, 0x03, 2, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4]);
                }
            }
            Carrier::Gre => {
                tunnel.extend([0x20, 0, 0x65, 0x58]);
                tunnel.extend(network.number().to_be_bytes());
            }
            Carrier::Nvgre => {
                tunnel.extend([0x20, 0, 0x65, 0x58, n0, n1, n2, (route.hash >> 8) as u8]);
            }
            Carrier::Vlan => {}
        }
        let inner_len = tunnel.len() + 14 + inner.packet.len();
        self.put_underlay(frame, network, udp, inner_len, route);
        frame.bytes.extend(&tunnel);
        frame.put_inner(inner, None, None);
    }

    /// GRE with a sequence number and an ERSPAN header. A mirror has the underlay of its own tool,
    /// not of the network it shows.
    fn mirror(
        &mut self,
        frame: &mut Frame,
        protocol: u16,
        inner: &Inner,
        network: Network,
        is_tag_kept: bool,
        route: Route,
    ) {
        self.mirrored = self.mirrored.wrapping_add(1);
        let is_third = protocol == 0x22eb;
        let version: u16 = if is_third { 2 } else { 1 };
        let (vlan, session) = (network.vlan(), network.mirror_session());
        let mut tunnel = Vec::with_capacity(40);
        tunnel.extend([0x10, 0]);
        tunnel.extend(protocol.to_be_bytes());
        tunnel.extend(self.mirrored.to_be_bytes());
        tunnel.extend((version << 12 | vlan).to_be_bytes());
        // Type II says what became of the tag: 2 it was removed, 3 it is in the frame. The same
        // bits of type III say whether the frame was bad.
        let tag: u16 = if is_third {
            0
        } else if is_tag_kept {
            3
        } else {
            2
        };
        tunnel.extend((tag << 11 | session).to_be_bytes());
        if is_third {
            let has_sub_header = route.hash & 1 == 1;
            tunnel.extend(self.packets.to_be_bytes());
            tunnel.extend([0, 0, 0x80, u8::from(has_sub_header)]);
            if has_sub_header {
                // Platform 3: switch id and port index, then the upper half of the time.
                tunnel.extend([0x0c, 0x01, 0x00, 0x07, 0, 0, 0, 1]);
            }
        } else {
            tunnel.extend(u32::from(session).to_be_bytes());
        }
        let tag_len = if is_tag_kept { 4 } else { 0 };
        let inner_len = tunnel.len() + 14 + tag_len + inner.packet.len();
        self.put_underlay(frame, Network(0), None, inner_len, route);
        frame.bytes.extend(&tunnel);
        frame.put_inner(inner, None, is_tag_kept.then_some(vlan));
    }

    /// Ethernet, IP and, where the tunnel has a port, UDP of the underlay.
    fn put_underlay(
        &self,
        frame: &mut Frame,
        network: Network,
        udp: Option<u16>,
        inner_len: usize,
        route: Route,
    ) {
        let (source, destination) = (11 + route.from % 2, 12 - route.from % 2);
        let bytes = &mut frame.bytes;
        bytes.extend([0x02, 0x11, 0x22, 0x33, 0x44, destination]);
        bytes.extend([0x02, 0x11, 0x22, 0x33, 0x44, source]);
        if let Some(vlan) = network.underlay_vlan() {
            bytes.extend(VLAN.to_be_bytes());
            bytes.extend(vlan.to_be_bytes());
        }
        let protocol = if udp.is_some() { 17 } else { 47 };
        let len = inner_len + if udp.is_some() { 8 } else { 0 };
        if network.is_over_ipv6() {
            bytes.extend(IPV6.to_be_bytes());
            put_ipv6(bytes, protocol, 64, len, v6(0xaa, source), v6(0xaa, destination));
        } else {
            bytes.extend(IPV4.to_be_bytes());
            let id = self.packets as u16;
            let (source, destination) = ([192, 168, 0, source], [192, 168, 0, destination]);
            put_ipv4(bytes, protocol, 64, id, len, source, destination);
        }
        if let Some(port) = udp {
            // Without a checksum: RFC 7348 wants that, RFC 6935 allows it over IPv6.
            let source = 0xc000 | route.hash & 0x3fff;
            for word in [source, port, (inner_len + 8) as u16, 0] {
                bytes.extend(word.to_be_bytes());
            }
        }
    }
}

impl Frame {
    fn put_inner(&mut self, inner: &Inner, vntag: Option<u32>, vlan: Option<u16>) {
        self.inner = self.bytes.len() as u8;
        self.bytes.extend(inner.destination);
        self.bytes.extend(inner.source);
        if let Some(vntag) = vntag {
            self.bytes.extend(VNTAG.to_be_bytes());
            self.bytes.extend(vntag.to_be_bytes());
        }
        if let Some(vlan) = vlan {
            self.bytes.extend(VLAN.to_be_bytes());
            self.bytes.extend(vlan.to_be_bytes());
        }
        self.tags = self.bytes.len() as u8 - self.inner - 12;
        self.bytes.extend(inner.ethertype.to_be_bytes());
        self.bytes.extend(&inner.packet);
    }

    /// The frame without tunnel and tags, as the VM sent it.
    #[cfg(test)]
    pub fn stripped(&self) -> Vec<u8> {
        let inner = &self.bytes[usize::from(self.inner)..];
        [&inner[..12], &inner[12 + usize::from(self.tags)..]].concat()
    }
}

/// What a fabric extender writes: where the frame comes from, or where it goes.
fn vntag(route: Route) -> u32 {
    if route.from_vif > 0 {
        u32::from(route.from_vif)
    } else {
        1 << 31 | u32::from(route.to_vif) << 16
    }
}

/// An IPv4 header for `len` more bytes.
pub fn put_ipv4(
    bytes: &mut Vec<u8>,
    protocol: u8,
    ttl: u8,
    id: u16,
    len: usize,
    source: [u8; 4],
    destination: [u8; 4],
) {
    let start = bytes.len();
    bytes.extend([0x45, 0]);
    bytes.extend((len as u16 + 20).to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend([0x40, 0, ttl, protocol, 0, 0]);
    bytes.extend(source);
    bytes.extend(destination);
    set_ipv4_checksum(&mut bytes[start..]);
}

/// An IPv6 header for `len` more bytes.
pub fn put_ipv6(
    bytes: &mut Vec<u8>,
    protocol: u8,
    hops: u8,
    len: usize,
    source: [u8; 16],
    destination: [u8; 16],
) {
    bytes.extend([0x60, 0, 0, 0]);
    bytes.extend((len as u16).to_be_bytes());
    bytes.extend([protocol, hops]);
    bytes.extend(source);
    bytes.extend(destination);
}

/// fd00:NET::HOST.
pub fn v6(net: u8, host: u8) -> [u8; 16] {
    [0xfd, 0, 0, net, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]
}

fn set_ipv4_checksum(header: &mut [u8]) {
    header[10..12].copy_from_slice(&[0, 0]);
    let sum = !folded(sum(&header[..20]));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of 16-bit words that the Internet checksum is the complement of.
pub fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let last = words.remainder().first().map_or(0, |byte| u64::from(*byte) << 8);
    words.map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u64>() + last
}

pub fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const VNTAG: u16 = 0x8926;
