//! What the meter wants to know of a packet, read in one pass over the headers of its innermost
//! frame.

use std::net::IpAddr;

use wire::header::{Ipv4, Ipv6, Ports, Tcp};
use wire::{Cursor, Header, Layer, Layers, Level, Mac, Packet, VlanId};

use crate::application::{Application, Seen};
use crate::key::Ends;
use crate::network::{Network, NvgreSubnets, Overlay, OverlayKind};

/// A packet of a flow.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) network: Network,
    pub(crate) ends: Ends,
    pub(crate) macs: [Mac; 2],
    /// Bytes of the IP packet.
    pub(crate) octets: u32,
    pub(crate) tcp: Option<Tcp>,
    /// Bytes of TCP payload as the IP header says, which may not all be here.
    pub(crate) tcp_payload_len: u32,
    /// Whether something stands behind the transport header.
    pub(crate) has_payload: bool,
    /// What the first bytes of that say of the flow, if they are such as begin one.
    pub(crate) seen: Option<Seen>,
    /// Which piece of a packet it is, if it is one: (first piece, identification).
    pub(crate) piece: Option<(bool, u32)>,
}

/// Why a packet belongs to no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoFlow {
    /// Its innermost frame is not IP.
    NotIp,
    /// Its innermost frame could not be reached or read.
    Hidden,
}

impl Facts {
    /// Takes the place of what was here: that is cheaper than to make another one and move it.
    #[inline]
    pub(crate) fn read(
        &mut self,
        packet: &Packet<'_>,
        layers: &Layers,
        nvgre: &NvgreSubnets,
    ) -> Result<(), NoFlow> {
        let data = packet.data;
        let all = layers.headers();
        let level = layers.innermost(data);
        let own = level.headers();
        let first = own.first().ok_or(NoFlow::Hidden)?;
        let mut network = Network::default();
        let mut said_beside = None;
        if let Some(carrier) = all.iter().rev().find(|header| header.offset < first.offset) {
            (network.overlay, said_beside) = overlay(data, carrier, &level, nvgre);
        }
        let mut macs = [Mac::default(); 2];
        let mut rest = own.iter();
        let ip = loop {
            let Some(header) = rest.next() else {
                return Err(if layers.is_innermost_hidden() {
                    NoFlow::Hidden
                } else {
                    NoFlow::NotIp
                });
            };
            match header.layer {
                Layer::Ethernet => macs = read_macs(data, header).unwrap_or_default(),
                Layer::Vlan if network.vlan.is_none() => {
                    network.vlan = read_vlan(data, header);
                }
                Layer::Ipv4 | Layer::Ipv6 => break header,
                _ => {}
            }
        };
        // A mirror may have taken the tag off, and says it in its own header.
        network.vlan = network.vlan.or(said_beside);
        (self.network, self.macs) = (network, macs);
        self.ends.ports = [0; 2];
        (self.tcp, self.tcp_payload_len, self.has_payload) = (None, 0, false);
        (self.seen, self.piece) = (None, None);
        let whole = packet.wire_len.max(u32::try_from(data.len()).unwrap_or(u32::MAX));
        let room = whole.saturating_sub(ip.offset);
        self.read_ip(data, ip, room).ok_or(NoFlow::Hidden)?;
        let mut transport = None;
        for header in rest {
            match header.layer {
                Layer::Ipv6Fragment => self.read_piece(data, header),
                layer if layer.is_ip_extension() => {}
                _ => {
                    transport = Some(header);
                    break;
                }
            }
        }
        if let Some(header) = transport {
            self.read_transport(data, ip, header, layers);
        }
        Ok(())
    }

    #[inline]
    fn read_ip(&mut self, data: &[u8], header: &Header, room: u32) -> Option<()> {
        let mut cursor = Cursor::at(data, header.offset as usize);
        if header.layer == Layer::Ipv4 {
            let ip = Ipv4::decode(&mut cursor).ok()?;
            self.ends.addresses = [IpAddr::V4(ip.source), IpAddr::V4(ip.destination)];
            self.ends.protocol = ip.protocol;
            // 0 stands in packets that a card was to cut, and in those too large to say.
            self.octets = if ip.total_len == 0 { room } else { u32::from(ip.total_len) };
            if ip.has_more_fragments || ip.fragment_offset != 0 {
                self.piece = Some((ip.fragment_offset == 0, u32::from(ip.id)));
            }
        } else {
            let ip = Ipv6::decode(&mut cursor).ok()?;
            self.ends.addresses = [IpAddr::V6(ip.source), IpAddr::V6(ip.destination)];
            self.ends.protocol = ip.next_header;
            let len = u32::from(ip.payload_len) + u32::try_from(Ipv6::LEN).unwrap_or_default();
            self.octets = if ip.payload_len == 0 { room } else { len };
        }
        Some(())
    }

    /// An IPv6 fragment header: next header, reserved, offset and flag, identification.
    fn read_piece(&mut self, data: &[u8], header: &Header) {
        let mut cursor = Cursor::at(data, header.offset as usize);
        if let Ok([next, _, o0, o1, id @ ..]) = cursor.take::<8>(header.layer).copied() {
            self.ends.protocol = next;
            let field = u16::from_be_bytes([o0, o1]);
            // One piece that is all is none (RFC 6946).
            if field & 0xfff9 != 0 {
                self.piece = Some((field & 0xfff8 == 0, u32::from_be_bytes(id)));
            }
        }
    }

    #[inline]
    fn read_transport(&mut self, data: &[u8], ip: &Header, header: &Header, layers: &Layers) {
        let mut cursor = Cursor::at(data, header.offset as usize);
        let ends = &mut self.ends;
        match header.layer {
            Layer::Tcp => {
                ends.protocol = 6;
                if let Ok(tcp) = Tcp::decode(&mut cursor) {
                    ends.ports = [tcp.ports.source, tcp.ports.destination];
                    let before = header.offset - ip.offset;
                    let header_len = u32::try_from(tcp.header_len).unwrap_or_default();
                    self.tcp_payload_len = self.octets.saturating_sub(before + header_len);
                    self.tcp = Some(tcp);
                } else if let Ok(ports) = Ports::decode(&mut cursor, header.layer) {
                    ends.ports = [ports.source, ports.destination];
                }
            }
            Layer::Udp | Layer::UdpLite | Layer::Sctp | Layer::Dccp => {
                ends.protocol = protocol(header.layer).unwrap_or(ends.protocol);
                if let Ok(ports) = Ports::decode(&mut cursor, header.layer) {
                    ends.ports = [ports.source, ports.destination];
                }
            }
            Layer::Icmp | Layer::Icmpv6 => {
                ends.protocol = protocol(header.layer).unwrap_or(ends.protocol);
                if let Ok([kind, code]) = cursor.take::<2>(header.layer).copied() {
                    ends.set_icmp(kind, code);
                }
            }
            layer => ends.protocol = protocol(layer).unwrap_or(ends.protocol),
        }
        let (from, to) = (layers.payload_offset(), layers.payload_end());
        let payload = data.get(from..to).unwrap_or_default();
        self.has_payload = !payload.is_empty();
        self.seen = Application::seen(self.ends.protocol, self.ends.ports, payload);
    }
}

/// Protocol numbers of transports, which an IPv6 header with extensions does not say itself.
const fn protocol(layer: Layer) -> Option<u8> {
    Some(match layer {
        Layer::Tcp => 6,
        Layer::Udp => 17,
        Layer::UdpLite => 136,
        Layer::Sctp => 132,
        Layer::Dccp => 33,
        Layer::Icmp => 1,
        Layer::Icmpv6 => 58,
        Layer::Esp => 50,
        _ => return None,
    })
}

/// The overlay that the header before the innermost level names.
#[inline]
fn overlay(
    data: &[u8],
    carrier: &Header,
    level: &Level<'_>,
    nvgre: &NvgreSubnets,
) -> (Option<Overlay>, Option<VlanId>) {
    if carrier.layer == Layer::Vxlan {
        // Nearly every tunnel, so not by way of the general question.
        let bytes = data.get(carrier.offset as usize + 4..).and_then(|bytes| bytes.first_chunk());
        let number = bytes.map(|[a, b, c]| u32::from_be_bytes([0, *a, *b, *c]));
        return (number.map(|number| Overlay { kind: OverlayKind::Vxlan, number }), None);
    }
    level.tunnel().map_or((None, None), |tunnel| {
        let (overlay, vlan) = Overlay::of(tunnel, nvgre);
        (overlay, vlan.filter(|vlan| vlan.value() != 0))
    })
}

#[inline]
fn read_macs(data: &[u8], header: &Header) -> Option<[Mac; 2]> {
    let bytes = data.get(header.offset as usize..)?.first_chunk::<12>()?;
    let [destination @ .., _, _, _, _, _, _] = *bytes;
    let [_, _, _, _, _, _, source @ ..] = *bytes;
    Some([Mac(source), Mac(destination)])
}

#[inline]
fn read_vlan(data: &[u8], header: &Header) -> Option<VlanId> {
    let tci = data.get(header.offset as usize..)?.first_chunk::<2>()?;
    Some(VlanId::from_tci(u16::from_be_bytes(*tci))).filter(|vlan| vlan.value() != 0)
}
