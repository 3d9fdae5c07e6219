//! The kinds of headers a frame can hold.

use std::fmt;

/// One kind of header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
// As wide as an offset, so that noting a header is two stores, and reading it back two loads.
#[repr(u32)]
pub enum Layer {
    /// No header of its own: the frame begins with an IP packet.
    Raw,
    /// Ethernet: destination, source, EtherType or length (IEEE 802.3).
    Ethernet,
    /// An 802.1Q or 802.1ad tag.
    Vlan,
    /// A Cisco VN-Tag.
    VnTag,
    /// An 802.1BR E-Tag.
    ETag,
    /// The I-TAG of provider backbone bridging (IEEE 802.1ah).
    Pbb,
    /// The Cisco FabricPath tag between outer and inner Ethernet.
    FabricPath,
    /// Cisco metadata with a security group tag.
    CiscoMetadata,
    /// The Cisco TTag, a time stamp in front of the EtherType.
    Ttag,
    /// Logical link control, with SNAP where present (IEEE 802.2).
    Llc,
    /// One MPLS label (RFC 3032).
    Mpls,
    /// The control word of an Ethernet pseudowire over MPLS (RFC 4448).
    PwControlWord,
    /// ARP or RARP (RFC 826, RFC 903).
    Arp,
    /// IPv4 (RFC 791).
    Ipv4,
    /// IPv6 (RFC 8200).
    Ipv6,
    /// IPv6 hop-by-hop options.
    Ipv6HopByHop,
    /// IPv6 destination options.
    Ipv6Destination,
    /// An IPv6 routing header.
    Ipv6Routing,
    /// The IPv6 fragment header.
    Ipv6Fragment,
    /// An IPv6 mobility header (RFC 6275) or Shim6 (RFC 5533).
    Ipv6Mobility,
    /// IP authentication header (RFC 4302).
    Ah,
    /// IP encapsulating security payload (RFC 4303).
    Esp,
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
    /// UDP-Lite (RFC 3828).
    UdpLite,
    /// SCTP (RFC 9260).
    Sctp,
    /// DCCP (RFC 4340).
    Dccp,
    /// ICMP (RFC 792).
    Icmp,
    /// ICMPv6 (RFC 4443).
    Icmpv6,
    /// IGMP (RFC 3376).
    Igmp,
    /// OSPF (RFC 2328, RFC 5340).
    Ospf,
    /// EIGRP (RFC 7868).
    Eigrp,
    /// PIM (RFC 7761).
    Pim,
    /// VRRP (RFC 9568).
    Vrrp,
    /// RSVP (RFC 2205).
    Rsvp,
    /// VXLAN (RFC 7348).
    Vxlan,
    /// VXLAN generic protocol extension (draft-ietf-nvo3-vxlan-gpe).
    VxlanGpe,
    /// GENEVE (RFC 8926).
    Geneve,
    /// GRE (RFC 2784, RFC 2890, RFC 2637, RFC 7637).
    Gre,
    /// ERSPAN type II (draft-foschiano-erspan).
    Erspan2,
    /// ERSPAN type III (draft-foschiano-erspan).
    Erspan3,
    /// GTP-U (3GPP TS 29.281).
    Gtpu,
    /// Ethernet in IP (RFC 3378).
    EtherIp,
    /// Network service header (RFC 8300).
    Nsh,
    /// L2TP over UDP or IP (RFC 2661, RFC 3931).
    L2tp,
    /// Teredo: IPv6 in UDP through address translation (RFC 4380).
    Teredo,
    /// CAPWAP data (RFC 5415).
    Capwap,
    /// Generic UDP encapsulation (draft-ietf-intarea-gue).
    Gue,
    /// LISP data (RFC 9300).
    Lisp,
    /// TZSP, the mirror format of wireless sniffers and MikroTik.
    Tzsp,
    /// A PPPoE session header (RFC 2516).
    Pppoe,
    /// PPPoE discovery (RFC 2516).
    PppoeDiscovery,
    /// PPP: address, control and protocol (RFC 1661, RFC 1662).
    Ppp,
    /// Cisco HDLC: address, control and EtherType.
    ChdlcCisco,
    /// Frame relay with its network layer identifier (RFC 2427).
    FrameRelay,
    /// BSD loopback: the protocol family.
    Null,
    /// Linux cooked capture.
    Sll,
    /// Linux cooked capture, version 2.
    Sll2,
    /// IP over InfiniBand (RFC 4391), behind a global routing header.
    Ipoib,
    /// What a capturing device put before the frame: radio, direction, process.
    Capture,
    /// IEEE 802.11.
    Wlan,
    /// LLDP (IEEE 802.1AB).
    Lldp,
    /// Slow protocols: LACP, marker, OAM (IEEE 802.3, annex 57).
    Slow,
    /// EAP over LAN (IEEE 802.1X).
    Eapol,
    /// MACsec (IEEE 802.1AE).
    Macsec,
    /// Configuration test protocol, the loopback of old Ethernet.
    Loop,
    /// Spanning tree (IEEE 802.1D).
    Stp,
    /// Cisco discovery protocol.
    Cdp,
    /// The header of a channel beside a pseudowire (RFC 5586).
    PwAch,
    /// GTP-C of version 1 (3GPP TS 29.060), which carries no packet.
    Gtpc,
    /// TRILL (RFC 6325).
    Trill,
    /// STT, Ethernet in what looks like TCP (draft-davie-stt).
    Stt,
    /// The redundancy tag of IEEE 802.1CB.
    RTag,
    /// The tag of high-availability seamless redundancy (IEC 62439-3).
    Hsr,
    /// What a WCCP router says of a redirected packet, in GRE.
    Wccp,
    /// IGRP, the predecessor of EIGRP.
    Igrp,
    /// NHRP (RFC 2332).
    Nhrp,
    /// IP payload compression (RFC 3173).
    Ipcomp,
    /// PGM (RFC 3208).
    Pgm,
    /// HIP (RFC 7401).
    Hip,
    /// The tag of a switch chip behind the MAC addresses: DSA, EtherType DSA, Broadcom.
    SwitchTag,
    /// FDDI (ISO 9314-2).
    Fddi,
    /// Token ring (IEEE 802.5), with its source route.
    TokenRing,
    /// ARCNET (RFC 1201, RFC 1051).
    Arcnet,
}

impl Layer {
    /// The short word for this layer, as Wireshark says it where Wireshark knows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ethernet => "eth",
            Self::Vlan => "vlan",
            Self::VnTag => "vntag",
            Self::ETag => "etag",
            Self::Pbb => "pbb",
            Self::FabricPath => "fabricpath",
            Self::CiscoMetadata => "cmd",
            Self::Ttag => "ttag",
            Self::Llc => "llc",
            Self::Mpls => "mpls",
            Self::PwControlWord => "pwcw",
            Self::Arp => "arp",
            Self::Ipv4 => "ip",
            Self::Ipv6 => "ipv6",
            Self::Ipv6HopByHop => "ipv6.hopopts",
            Self::Ipv6Destination => "ipv6.dstopts",
            Self::Ipv6Routing => "ipv6.routing",
            Self::Ipv6Fragment => "ipv6.fraghdr",
            Self::Ipv6Mobility => "ipv6.mobility",
            Self::Ah => "ah",
            Self::Esp => "esp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::UdpLite => "udplite",
            Self::Sctp => "sctp",
            Self::Dccp => "dccp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
            Self::Igmp => "igmp",
            Self::Ospf => "ospf",
            Self::Eigrp => "eigrp",
            Self::Pim => "pim",
            Self::Vrrp => "vrrp",
            Self::Rsvp => "rsvp",
            Self::Vxlan => "vxlan",
            Self::VxlanGpe => "vxlan-gpe",
            Self::Geneve => "geneve",
            Self::Gre => "gre",
            Self::Erspan2 => "erspan2",
            Self::Erspan3 => "erspan3",
            Self::Gtpu => "gtpu",
            Self::EtherIp => "etherip",
            Self::Nsh => "nsh",
            Self::L2tp => "l2tp",
            Self::Teredo => "teredo",
            Self::Capwap => "capwap",
            Self::Gue => "gue",
            Self::Lisp => "lisp",
            Self::Tzsp => "tzsp",
            Self::Pppoe => "pppoes",
            Self::PppoeDiscovery => "pppoed",
            Self::Ppp => "ppp",
            Self::ChdlcCisco => "chdlc",
            Self::FrameRelay => "fr",
            Self::Null => "null",
            Self::Sll => "sll",
            Self::Sll2 => "sll2",
            Self::Ipoib => "ipoib",
            Self::Capture => "capture",
            Self::Wlan => "wlan",
            Self::Lldp => "lldp",
            Self::Slow => "slow",
            Self::Eapol => "eapol",
            Self::Macsec => "macsec",
            Self::Loop => "loop",
            Self::Stp => "stp",
            Self::Cdp => "cdp",
            Self::PwAch => "pwach",
            Self::Gtpc => "gtp",
            Self::Trill => "trill",
            Self::Stt => "stt",
            Self::RTag => "rtag",
            Self::Hsr => "hsr",
            Self::Wccp => "wccp",
            Self::Igrp => "igrp",
            Self::Nhrp => "nhrp",
            Self::Ipcomp => "ipcomp",
            Self::Pgm => "pgm",
            Self::Hip => "hip",
            Self::SwitchTag => "switchtag",
            Self::Fddi => "fddi",
            Self::TokenRing => "tr",
            Self::Arcnet => "arcnet",
            Self::Raw => "raw",
        }
    }

    /// Whether such a header begins a frame, with the MACs of who sent it and whom it is for.
    #[inline]
    pub const fn has_macs(self) -> bool {
        matches!(self, Self::Ethernet | Self::Wlan)
    }

    /// Whether this header carries a frame or packet of somebody else.
    ///
    /// MPLS labels, IP and Ethernet carry frames too, but only by what follows them.
    #[inline]
    pub const fn is_tunnel(self) -> bool {
        matches!(
            self,
            Self::Pbb
                | Self::FabricPath
                | Self::PwControlWord
                | Self::Vxlan
                | Self::VxlanGpe
                | Self::Geneve
                | Self::Gre
                | Self::Erspan2
                | Self::Erspan3
                | Self::Gtpu
                | Self::EtherIp
                | Self::Nsh
                | Self::L2tp
                | Self::Teredo
                | Self::Capwap
                | Self::Gue
                | Self::Lisp
                | Self::Tzsp
                | Self::Trill
                | Self::Stt
        )
    }

    /// Whether this is an extension header between IP and its payload.
    #[inline]
    pub const fn is_ip_extension(self) -> bool {
        matches!(
            self,
            Self::Ipv6HopByHop
                | Self::Ipv6Destination
                | Self::Ipv6Routing
                | Self::Ipv6Fragment
                | Self::Ipv6Mobility
                | Self::Ah
        )
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
