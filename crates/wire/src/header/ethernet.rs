//! Ethernet: who the frame is for, who sent it, and what it carries.
//!
//! The preamble is never captured; a frame check sequence only where the source says so, so none
//! is looked for here.

use crate::{Cursor, Layer, Mac, Stop};

/// An Ethernet header (IEEE 802.3-2022, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ethernet {
    /// Who the frame is for.
    pub destination: Mac,
    /// Who sent it.
    pub source: Mac,
    /// From 0x0600 on an EtherType, below the length of what follows, in bytes.
    pub type_or_length: u16,
}

impl Ethernet {
    /// Reads the header at `cursor` and leaves `cursor` behind type or length.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let header = cursor.take::<14>(Layer::Ethernet)?;
        let [destination @ .., _, _, _, _, _, _, _, _] = *header;
        let [_, _, _, _, _, _, source @ .., high, low] = *header;
        Ok(Self {
            destination: Mac(destination),
            source: Mac(source),
            type_or_length: u16::from_be_bytes([high, low]),
        })
    }
}

/// EtherTypes, as the IEEE registry and, where it is silent, the vendors number them.
pub mod ethertype {
    /// The smallest EtherType; a smaller value is a length (IEEE 802.3-2022, section 3.2.6).
    pub const FIRST: u16 = 0x0600;
    /// The largest length.
    pub const LAST_LENGTH: u16 = 1500;
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// RARP.
    pub const RARP: u16 = 0x8035;
    /// Ethernet in something: transparent Ethernet bridging.
    pub const ETHERNET: u16 = 0x6558;
    /// An 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// An 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// An outer tag before 802.1ad.
    pub const OLD_OUTER_VLAN: u16 = 0x9100;
    /// An outer tag before 802.1ad, of other vendors.
    pub const OLD_OUTER_VLAN_2: u16 = 0x9200;
    /// TRILL.
    pub const TRILL: u16 = 0x22f3;
    /// The tag of high-availability seamless redundancy (IEC 62439-3).
    pub const HSR: u16 = 0x892f;
    /// The redundancy tag (IEEE 802.1CB).
    pub const R_TAG: u16 = 0xf1c1;
    /// Connectivity fault management (IEEE 802.1ag).
    pub const CFM: u16 = 0x8902;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// Slow protocols.
    pub const SLOW: u16 = 0x8809;
    /// PPP, under GRE.
    pub const PPP: u16 = 0x880b;
    /// MPLS, unicast or downstream-assigned label.
    pub const MPLS: u16 = 0x8847;
    /// MPLS, upstream-assigned label.
    pub const MPLS_UPSTREAM: u16 = 0x8848;
    /// PPPoE discovery.
    pub const PPPOE_DISCOVERY: u16 = 0x8863;
    /// PPPoE session.
    pub const PPPOE: u16 = 0x8864;
    /// EAP over LAN.
    pub const EAPOL: u16 = 0x888e;
    /// ERSPAN types I and II, under GRE.
    pub const ERSPAN: u16 = 0x88be;
    /// ERSPAN type III, under GRE.
    pub const ERSPAN3: u16 = 0x22eb;
    /// LLDP.
    pub const LLDP: u16 = 0x88cc;
    /// MACsec.
    pub const MACSEC: u16 = 0x88e5;
    /// A provider backbone bridging I-TAG.
    pub const PBB: u16 = 0x88e7;
    /// Cisco FabricPath.
    pub const FABRIC_PATH: u16 = 0x8903;
    /// Cisco metadata.
    pub const CISCO_METADATA: u16 = 0x8909;
    /// Cisco VN-Tag.
    pub const VN_TAG: u16 = 0x8926;
    /// An 802.1BR E-Tag.
    pub const E_TAG: u16 = 0x893f;
    /// Network service header.
    pub const NSH: u16 = 0x894f;
    /// Cisco TTag.
    pub const TTAG: u16 = 0x8988;
    /// Configuration test protocol.
    pub const LOOP: u16 = 0x9000;
}
