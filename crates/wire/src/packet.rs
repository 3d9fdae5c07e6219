//! A packet as an observation point saw it: bytes, time, place, direction.

use crate::Timestamp;

/// One captured packet, borrowed from the ring or file that holds its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// When the observation point saw it.
    pub time: Timestamp,
    /// Where it was seen.
    pub point: PointId,
    /// What the first byte of `data` belongs to.
    pub link: LinkType,
    /// The bytes we hold, at most `wire_len` of them unless the source lies.
    pub data: &'a [u8],
    /// How many bytes the frame had, without FCS unless the source says so.
    pub wire_len: u32,
    /// Which way it went as the VM sees it, where the point knows.
    pub direction: Option<Direction>,
    /// What the kernel knows of the transport checksum.
    pub checksum: Checksum,
    /// Packets of this point lost since the previous one, where the source counts them.
    pub lost_before: u64,
}

impl<'a> Packet<'a> {
    /// A packet of which nothing is known but its bytes.
    pub fn new(time: Timestamp, link: LinkType, data: &'a [u8], wire_len: u32) -> Self {
        Self {
            time,
            point: PointId(0),
            link,
            data,
            wire_len,
            direction: None,
            checksum: Checksum::Unknown,
            lost_before: 0,
        }
    }

    /// Whether bytes are missing at the end.
    pub fn is_sliced(&self) -> bool {
        self.data.len() < self.wire_len as usize
    }
}

/// The number of an observation point within one capture session or file, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PointId(pub u32);

/// Which way a packet goes, always as the VM sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The VM sent it.
    FromVm,
    /// It goes to the VM.
    ToVm,
}

/// What is known about the transport checksum of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// Nothing: it has to be calculated to know.
    #[default]
    Unknown,
    /// Not filled in yet, because a network card was to do it. Not an error.
    NotReady,
    /// Found correct by the network card or the kernel.
    Valid,
}

/// The outermost format of a frame, as the LINKTYPE_ registry of tcpdump.org numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: protocol family in the byte order of the writer.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// IPv4 or IPv6 at once, told apart by the first nibble.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: protocol family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture.
    pub const LINUX_SLL: Self = Self(113);
    /// IPv4 at once.
    pub const IPV4: Self = Self(228);
    /// IPv6 at once.
    pub const IPV6: Self = Self(229);
    /// Linux cooked capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
    /// PPP, with or without address and control.
    pub const PPP: Self = Self(9);
    /// Raw IP as some BSDs number it.
    pub const RAW_BSD: Self = Self(12);
    /// PPP with address and control, or Cisco HDLC.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE session frames without Ethernet.
    pub const PPPOE: Self = Self(51);
    /// Cisco HDLC.
    pub const CISCO_HDLC: Self = Self(104);
    /// IEEE 802.11.
    pub const IEEE802_11: Self = Self(105);
    /// Frame relay.
    pub const FRAME_RELAY: Self = Self(107);
    /// IEEE 802.11 behind a radiotap header.
    pub const RADIOTAP: Self = Self(127);
    /// Notes on the packet, then what they say.
    pub const PPI: Self = Self(192);
    /// PPP behind a byte that says which way it went.
    pub const PPP_WITH_DIRECTION: Self = Self(204);
    /// MPLS labels at once.
    pub const MPLS: Self = Self(219);
    /// Solaris IP observability.
    pub const IPNET: Self = Self(226);
    /// Linux netfilter log.
    pub const NFLOG: Self = Self(239);
    /// IP over InfiniBand behind a global routing header.
    pub const IPOIB: Self = Self(242);
    /// Apple's notes on interface and process, then what they say.
    pub const PKTAP: Self = Self(258);
    /// Ethernet behind the tag of a Broadcom switch.
    pub const BROADCOM_TAG_IN_FRONT: Self = Self(282);
    /// Token ring.
    pub const TOKEN_RING: Self = Self(6);
    /// ARCNET as BSD captures it.
    pub const ARCNET_BSD: Self = Self(7);
    /// FDDI.
    pub const FDDI: Self = Self(10);
    /// LLC over ATM (RFC 2684).
    pub const ATM_LLC: Self = Self(100);
    /// Raw IP as OpenBSD numbers it.
    pub const RAW_OPENBSD: Self = Self(14);
    /// IPv4 or IPv6 behind what OpenBSD says of its encapsulation.
    pub const ENC: Self = Self(109);
    /// Ethernet behind the notes of a Juniper router.
    pub const JUNIPER_ETHERNET: Self = Self(178);
    /// IPv4 or IPv6 behind the notes of the OpenBSD packet filter.
    pub const PFLOG: Self = Self(117);
    /// IEEE 802.11 behind a Prism header.
    pub const PRISM: Self = Self(119);
    /// IP over Fibre Channel (RFC 2625).
    pub const IP_OVER_FC: Self = Self(122);
    /// ATM behind 4 bytes of SunATM.
    pub const SUN_ATM: Self = Self(123);
    /// ARCNET as Linux captures it.
    pub const ARCNET_LINUX: Self = Self(129);
    /// IEEE 802.11 behind an AVS header.
    pub const AVS: Self = Self(163);
    /// Ethernet with the tag of a Broadcom switch behind the addresses.
    pub const BROADCOM_TAG: Self = Self(281);
    /// Ethernet with the tag of a Marvell switch behind the addresses.
    pub const DSA: Self = Self(284);
    /// The same with an EtherType before the tag.
    pub const DSA_WITH_ETHER_TYPE: Self = Self(285);
}
