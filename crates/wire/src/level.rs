//! One level of encapsulation: the headers between two tunnel headers, read on demand.

use std::net::IpAddr;

use crate::header::{
    Ah, Arp, ETag, Erspan2, Erspan3, Ethernet, FabricPath, Geneve, Gre, Gtpu, Icmp, Ipv4, Ipv6,
    Ipv6Extension, Ipv6Fragment, L2tp, Lisp, Mpls, Nsh, Pbb, Ports, Pppoe, Stt, Tcp, Trill, Vlan,
    VnTag, Vxlan, VxlanGpe, Wlan, ethertype,
};
use crate::{Cursor, Header, Layer, Mac, Stop, VlanId, Vni};

/// The headers between two tunnel headers: one frame as its sender saw it.
///
/// Empty if a tunnel was found but nothing in it could be read.
#[derive(Debug, Clone, Copy)]
pub struct Level<'a> {
    data: &'a [u8],
    before: &'a [Header],
    own: &'a [Header],
    is_guessed: bool,
}

impl<'a> Level<'a> {
    #[inline]
    pub(crate) fn new(
        data: &'a [u8],
        headers: &'a [Header],
        start: usize,
        len: usize,
        is_guessed: bool,
    ) -> Self {
        let (before, rest) = headers.split_at_checked(start).unwrap_or((headers, &[]));
        Self { data, before, own: rest.get(..len).unwrap_or(rest), is_guessed }
    }

    /// The headers of this level, outermost first.
    #[inline]
    pub const fn headers(&self) -> &'a [Header] {
        self.own
    }

    /// Whether something up to this level was guessed because no field says what it is.
    #[inline]
    pub const fn is_guessed(&self) -> bool {
        self.is_guessed
    }

    /// What carried this level; `None` for the outermost.
    ///
    /// Where one packet has several tunnel headers in a row, it is the one that names the mirror
    /// session or network: ERSPAN of GRE and ERSPAN, VXLAN-GPE of VXLAN-GPE and NSH.
    pub fn tunnel(&self) -> Option<Tunnel> {
        let last = *self.before.last()?;
        if !last.layer.is_tunnel() {
            return self.tunnel_without_header(last);
        }
        let carriers = self.before.iter().rev().take_while(|header| header.layer.is_tunnel());
        let named = carriers.clone().find_map(|header| match header.layer {
            Layer::Nsh | Layer::PwControlWord => None,
            _ => self.tunnel_of(*header),
        });
        named.or_else(|| carriers.clone().find_map(|header| self.tunnel_of(*header)))
    }

    /// Whether [`tunnel`](Self::tunnel) says anything, of a level with a header that was read.
    #[inline]
    pub(crate) fn is_carried(&self) -> bool {
        let is_carried = self.before.last().is_some_and(|last| last.layer != Layer::Capture);
        debug_assert_eq!(is_carried, self.tunnel().is_some(), "{:?} {:?}", self.before, self.own);
        is_carried
    }

    /// What carried this level where it follows `last`, a header of the level around it.
    fn tunnel_without_header(&self, last: Header) -> Option<Tunnel> {
        let first = self.own.first().copied();
        match (last.layer, first.map(|header| header.layer)) {
            // Notes of the capturing device: this is the outermost level.
            (Layer::Capture, _) => None,
            (Layer::Mpls, _) => self.tunnel_of(last),
            (_, Some(Layer::Mpls)) => self.tunnel_of(first?),
            // A later piece of an STT frame, which has no header.
            (Layer::Tcp, None) => Some(Tunnel::Stt { context: None }),
            (Layer::Udp, _) => Some(Tunnel::Gue),
            (last, Some(Layer::Ethernet)) if !is_ip(last) => Some(Tunnel::Bridged),
            _ => Some(Tunnel::IpInIp),
        }
    }

    /// The addresses of the Ethernet header, or of the IEEE 802.11 data frame.
    #[inline]
    pub fn macs(&self) -> Option<Macs> {
        if let Some(header) = self.read(Layer::Ethernet, Ethernet::decode) {
            return Some(Macs { source: header.source, destination: header.destination });
        }
        let is_in_capwap = self.before.last().is_some_and(|last| last.layer == Layer::Capwap);
        let decode = if is_in_capwap { Wlan::decode_in_capwap } else { Wlan::decode };
        let header = self.read(Layer::Wlan, decode).filter(|wlan| wlan.carries_packet)?;
        Some(Macs { source: header.source, destination: header.destination })
    }

    /// The VLAN tags, outermost first.
    #[inline]
    pub fn vlans(&self) -> impl Iterator<Item = VlanTag> + use<'a> {
        let data = self.data;
        self.all(Layer::Vlan).filter_map(move |header| {
            let tag = Vlan::decode(&mut Cursor::at(data, header.offset as usize)).ok()?;
            let tpid = *Cursor::at(data, (header.offset as usize).checked_sub(2)?)
                .take::<2>(Layer::Vlan)
                .ok()?;
            Some(VlanTag { tpid: u16::from_be_bytes(tpid), pcp: tag.pcp, dei: tag.dei, id: tag.id })
        })
    }

    /// The VN-Tag.
    pub fn vntag(&self) -> Option<VnTag> {
        self.read(Layer::VnTag, VnTag::decode)
    }

    /// The E-Tag.
    pub fn etag(&self) -> Option<ETag> {
        self.read(Layer::ETag, ETag::decode)
    }

    /// The MPLS labels, outermost first.
    pub fn mpls(&self) -> impl Iterator<Item = Mpls> + use<'a> {
        let data = self.data;
        self.all(Layer::Mpls).filter_map(move |header| {
            Mpls::decode(&mut Cursor::at(data, header.offset as usize)).ok()
        })
    }

    /// The PPPoE session.
    pub fn pppoe(&self) -> Option<Pppoe> {
        self.read(Layer::Pppoe, Pppoe::decode)
    }

    /// The ARP or RARP packet; the EtherType is 0x8035 for RARP, its operations are 3 and 4.
    #[inline]
    pub fn arp(&self) -> Option<Arp> {
        self.read(Layer::Arp, Arp::decode)
    }

    /// The IP header and what its extensions say.
    #[inline]
    pub fn ip(&self) -> Option<Ip> {
        let index = self.own.iter().position(|header| is_ip(header.layer))?;
        let (_, rest) = self.own.split_at_checked(index)?;
        let (header, after) = rest.split_first()?;
        let offset = header.offset as usize;
        let mut cursor = Cursor::at(self.data, offset);
        let mut ip = if header.layer == Layer::Ipv4 {
            Ip::from_v4(&Ipv4::decode(&mut cursor).ok()?, offset)
        } else {
            Ip::from_v6(&Ipv6::decode(&mut cursor).ok()?, offset)
        };
        for extension in after.iter().take_while(|header| header.layer.is_ip_extension()) {
            self.add_extension(&mut ip, *extension);
        }
        Some(ip)
    }

    /// The transport header: TCP, UDP, UDP-Lite, SCTP, DCCP, ICMP, ICMPv6, IGMP or another that
    /// stands directly behind IP. Later fragments have none.
    #[inline]
    pub fn transport(&self) -> Option<Transport> {
        let index = self.own.iter().position(|header| is_ip(header.layer))?;
        let header =
            self.own.get(index + 1..)?.iter().find(|header| !header.layer.is_ip_extension())?;
        let mut cursor = Cursor::at(self.data, header.offset as usize);
        let ports = match header.layer {
            Layer::Tcp | Layer::Udp | Layer::UdpLite | Layer::Sctp | Layer::Dccp => {
                Ports::decode(&mut cursor, header.layer).ok()
            }
            _ => None,
        };
        Some(Transport { layer: header.layer, offset: header.offset as usize, ports })
    }

    /// The TCP header; `None` also if it is cut or malformed.
    #[inline]
    pub fn tcp(&self) -> Option<Tcp> {
        self.read(Layer::Tcp, Tcp::decode)
    }

    /// Kind and code of the ICMP or ICMPv6 message.
    pub fn icmp(&self) -> Option<Icmp> {
        self.read(Layer::Icmp, |cursor| Icmp::decode(cursor, Layer::Icmp))
            .or_else(|| self.read(Layer::Icmpv6, |cursor| Icmp::decode(cursor, Layer::Icmpv6)))
    }

    /// Whether this level has a header of kind `layer`.
    #[inline]
    pub fn has(&self, layer: Layer) -> bool {
        self.own.iter().any(|header| header.layer == layer)
    }

    /// What the first header of kind `layer` says.
    #[inline]
    fn read<T>(
        &self,
        layer: Layer,
        decode: impl FnOnce(&mut Cursor<'a>) -> Result<T, Stop>,
    ) -> Option<T> {
        let header = self.own.iter().find(|header| header.layer == layer)?;
        decode(&mut Cursor::at(self.data, header.offset as usize)).ok()
    }

    #[inline]
    fn all(&self, layer: Layer) -> impl Iterator<Item = Header> + use<'a> {
        self.own.iter().copied().filter(move |header| header.layer == layer)
    }

    fn add_extension(&self, ip: &mut Ip, header: Header) {
        let mut cursor = Cursor::at(self.data, header.offset as usize);
        match header.layer {
            Layer::Ipv6Fragment => {
                if let Ok(fragment) = Ipv6Fragment::decode(&mut cursor) {
                    ip.protocol = fragment.next_header;
                    // An atomic fragment (RFC 6946) is a whole packet.
                    if fragment.has_more || fragment.offset != 0 {
                        ip.fragment = Some(Fragment {
                            offset: fragment.offset,
                            has_more: fragment.has_more,
                            id: fragment.id,
                        });
                    }
                }
            }
            Layer::Ah => {
                if let Ok(ah) = Ah::decode(&mut cursor) {
                    ip.protocol = ah.next_header;
                }
            }
            layer => {
                if let Ok(extension) = Ipv6Extension::decode(&mut cursor, layer) {
                    ip.protocol = extension.next_header;
                }
            }
        }
    }

    /// An L2TP header, which begins differently behind UDP and behind IP.
    fn l2tp(&self, header: Header) -> Option<L2tp> {
        let before = self.before.iter().rev().find(|before| before.offset < header.offset)?;
        let cursor = &mut Cursor::at(self.data, header.offset as usize);
        if before.layer == Layer::Udp { L2tp::decode(cursor) } else { L2tp::decode_in_ip(cursor) }
            .ok()
    }

    /// The tunnel that one header makes.
    fn tunnel_of(&self, header: Header) -> Option<Tunnel> {
        let mut cursor = Cursor::at(self.data, header.offset as usize);
        let cursor = &mut cursor;
        Some(match header.layer {
            Layer::Vxlan => {
                let Vxlan { vni, gbp, .. } = Vxlan::decode(cursor).ok()?;
                Tunnel::Vxlan { vni, gbp }
            }
            Layer::VxlanGpe => Tunnel::VxlanGpe { vni: VxlanGpe::decode(cursor).ok()?.vni },
            Layer::Geneve => Tunnel::Geneve { vni: Geneve::decode(cursor).ok()?.vni },
            Layer::Gre => {
                let gre = Gre::decode(cursor).ok()?;
                if gre.protocol == ethertype::ERSPAN && gre.sequence.is_none() {
                    return Some(Tunnel::Erspan {
                        version: 1,
                        session: None,
                        vlan: None,
                        is_truncated: false,
                    });
                }
                Tunnel::Gre { protocol: gre.protocol, key: gre.key, sequence: gre.sequence }
            }
            Layer::Erspan2 => {
                let Erspan2 { session, vlan, is_truncated, .. } = Erspan2::decode(cursor).ok()?;
                Tunnel::Erspan {
                    version: 2,
                    session: Some(session),
                    vlan: Some(vlan),
                    is_truncated,
                }
            }
            Layer::Erspan3 => {
                let Erspan3 { session, vlan, is_truncated, .. } = Erspan3::decode(cursor).ok()?;
                Tunnel::Erspan {
                    version: 3,
                    session: Some(session),
                    vlan: Some(vlan),
                    is_truncated,
                }
            }
            Layer::Gtpu => Tunnel::Gtpu { teid: Gtpu::decode(cursor).ok()?.teid },
            Layer::Mpls => Tunnel::Mpls { label: Mpls::decode(cursor).ok()?.label },
            // The labels stand right before the control word.
            Layer::PwControlWord => {
                let label = Cursor::at(self.data, (header.offset as usize).checked_sub(4)?);
                Tunnel::Mpls { label: Mpls::decode(&mut label.clone()).ok()?.label }
            }
            Layer::EtherIp => Tunnel::EtherIp,
            Layer::Pbb => Tunnel::Pbb { isid: Pbb::decode(cursor).ok()?.isid },
            Layer::FabricPath => Tunnel::FabricPath { ftag: FabricPath::decode(cursor).ok()?.ftag },
            Layer::Nsh => {
                let Nsh { path, index, .. } = Nsh::decode(cursor).ok()?;
                Tunnel::Nsh { path, index }
            }
            Layer::L2tp => {
                let L2tp { tunnel, session, .. } = self.l2tp(header)?;
                Tunnel::L2tp { tunnel, session }
            }
            Layer::Lisp => Tunnel::Lisp { instance: Lisp::decode(cursor).ok()?.instance },
            Layer::Trill => {
                let Trill { egress, ingress } = Trill::decode(cursor).ok()?;
                Tunnel::Trill { egress, ingress }
            }
            Layer::Stt => Tunnel::Stt { context: Some(Stt::decode(cursor).ok()?.context) },
            Layer::Teredo => Tunnel::Teredo,
            Layer::Capwap => Tunnel::Capwap,
            Layer::Gue => Tunnel::Gue,
            Layer::Tzsp => Tunnel::Tzsp,
            _ => return None,
        })
    }
}

/// What carries a level, and what it calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// VXLAN.
    Vxlan {
        /// The overlay network.
        vni: Vni,
        /// Group of the sender, where the group policy extension is in use.
        gbp: Option<u16>,
    },
    /// VXLAN with generic protocol extension.
    VxlanGpe {
        /// The overlay network, where the packet names one.
        vni: Option<Vni>,
    },
    /// GENEVE.
    Geneve {
        /// The overlay network.
        vni: Vni,
    },
    /// GRE; also NVGRE and VMware's mirror, which differ from it by configuration only.
    Gre {
        /// EtherType of what is carried.
        protocol: u16,
        /// Key, where there is one; [`Tunnel::nvgre_vsid`] reads it as NVGRE does.
        key: Option<u32>,
        /// Number of the packet, where there is one.
        sequence: Option<u32>,
    },
    /// ERSPAN in GRE.
    Erspan {
        /// 1 to 3 for types I to III.
        version: u8,
        /// Mirror session, 10 bits; type I has none.
        session: Option<u16>,
        /// VLAN the frame was seen in; type I does not say.
        vlan: Option<VlanId>,
        /// Whether the switch cut the frame.
        is_truncated: bool,
    },
    /// GTP-U.
    Gtpu {
        /// Tunnel end point identifier of the receiver.
        teid: u32,
    },
    /// IP or Ethernet right behind IP: IP-in-IP, 6in4, 4in6, Ethernet in SRv6.
    IpInIp,
    /// An MPLS pseudowire, or MPLS in IP or UDP.
    Mpls {
        /// The label next to the inner frame, 20 bits; of MPLS in IP and UDP the first one.
        label: u32,
    },
    /// Ethernet in IP.
    EtherIp,
    /// Provider backbone bridging.
    Pbb {
        /// Backbone service instance, 24 bits.
        isid: u32,
    },
    /// Cisco FabricPath.
    FabricPath {
        /// Forwarding tag, 10 bits.
        ftag: u16,
    },
    /// A network service header with nothing around it but Ethernet.
    Nsh {
        /// Service path, 24 bits.
        path: u32,
        /// Where on the path.
        index: u8,
    },
    /// L2TP.
    L2tp {
        /// The tunnel; 0 in version 3.
        tunnel: u32,
        /// The session within the tunnel.
        session: u32,
    },
    /// LISP.
    Lisp {
        /// Which of the receiver's networks, 24 bits, where the packet says.
        instance: Option<u32>,
    },
    /// TRILL.
    Trill {
        /// The bridge the frame leaves by, or the tree it is spread along.
        egress: u16,
        /// The bridge the frame came in by.
        ingress: u16,
    },
    /// STT.
    Stt {
        /// The network, as the end points agree; a segment not first in its frame does not say.
        context: Option<u64>,
    },
    /// Teredo.
    Teredo,
    /// CAPWAP.
    Capwap,
    /// Generic UDP encapsulation.
    Gue,
    /// TZSP.
    Tzsp,
    /// Ethernet right inside a link layer.
    Bridged,
}

impl Tunnel {
    /// The overlay network of VXLAN, VXLAN-GPE and GENEVE.
    pub const fn vni(self) -> Option<Vni> {
        match self {
            Self::Vxlan { vni, .. } | Self::Geneve { vni } => Some(vni),
            Self::VxlanGpe { vni } => vni,
            _ => None,
        }
    }

    /// The virtual subnet, if this is NVGRE (RFC 7637, section 3.2), which only the configuration
    /// of its end points can tell; `None` if it cannot be.
    pub const fn nvgre_vsid(self) -> Option<u32> {
        match self {
            Self::Gre { protocol: ethertype::ETHERNET, key: Some(key), sequence: None } => {
                Some(key >> 8)
            }
            _ => None,
        }
    }
}

/// The two addresses of an Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Macs {
    /// Who sent the frame.
    pub source: Mac,
    /// Who it is for.
    pub destination: Mac,
}

/// A VLAN tag with the identifier that made it one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// Tag protocol identifier: 0x8100 for 802.1Q, 0x88a8 for 802.1ad.
    pub tpid: u16,
    /// Priority code point, 0 to 7.
    pub pcp: u8,
    /// Drop eligible indicator.
    pub dei: bool,
    /// The VLAN; 0 is a tag with priority only.
    pub id: VlanId,
}

/// What the IP header and its extensions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ip {
    /// Who sent the packet.
    pub source: IpAddr,
    /// Who it is for.
    pub destination: IpAddr,
    /// Protocol number behind all extension headers that were read.
    pub protocol: u8,
    /// Protocol or next header field of the IP header itself.
    pub next_header: u8,
    /// Routers the packet may still pass.
    pub ttl: u8,
    /// Differentiated services field or traffic class.
    pub tos: u8,
    /// Which piece of a packet this is; `None` if it is whole.
    pub fragment: Option<Fragment>,
    /// First byte of the IP header, counted from the start of the frame.
    pub offset: usize,
    /// Bytes of the packet with this header, as the header says; `None` in packets larger than
    /// 65535 bytes, which it cannot say of.
    pub total_len: Option<usize>,
}

impl Ip {
    #[inline]
    fn from_v4(header: &Ipv4, offset: usize) -> Self {
        let is_fragment = header.has_more_fragments || header.fragment_offset != 0;
        Self {
            source: IpAddr::V4(header.source),
            destination: IpAddr::V4(header.destination),
            protocol: header.protocol,
            next_header: header.protocol,
            ttl: header.ttl,
            tos: header.tos,
            fragment: is_fragment.then(|| Fragment {
                offset: header.fragment_offset,
                has_more: header.has_more_fragments,
                id: u32::from(header.id),
            }),
            offset,
            total_len: (header.total_len != 0).then_some(usize::from(header.total_len)),
        }
    }

    #[inline]
    fn from_v6(header: &Ipv6, offset: usize) -> Self {
        Self {
            source: IpAddr::V6(header.source),
            destination: IpAddr::V6(header.destination),
            protocol: header.next_header,
            next_header: header.next_header,
            ttl: header.hop_limit,
            tos: header.class,
            fragment: None,
            offset,
            total_len: (header.payload_len != 0)
                .then(|| Ipv6::LEN + usize::from(header.payload_len)),
        }
    }
}

/// Which piece of a fragmented IP packet this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Where it belongs in its packet, in bytes; 0 is the first piece.
    pub offset: u16,
    /// Whether pieces follow behind it.
    pub has_more: bool,
    /// The same in all pieces of a packet; 16 bits in IPv4.
    pub id: u32,
}

/// The header behind IP and its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transport {
    /// What it is: TCP, UDP, ICMP and so on.
    pub layer: Layer,
    /// Its first byte, counted from the start of the frame.
    pub offset: usize,
    /// The ports, where the protocol has them.
    pub ports: Option<Ports>,
}

#[inline]
const fn is_ip(layer: Layer) -> bool {
    matches!(layer, Layer::Ipv4 | Layer::Ipv6)
}
