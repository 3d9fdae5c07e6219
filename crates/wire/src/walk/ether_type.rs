//! What follows an Ethernet header or stands where an EtherType says: tags, LLC, and the rarer
//! EtherTypes.

use crate::header::{
    Arp, CiscoMetadata, ETag, FabricPath, Llc, Macsec, Pbb, Pppoe, Snap, Trill, Ttag, VnTag,
    ethertype,
};
use crate::{Layer, Stop, StopReason};

use super::guess::may_be_ethernet;
use super::{Next, Walk};

impl Walk<'_, '_> {
    pub(super) fn type_or_length(&mut self, value: u16) -> Result<Next, Stop> {
        if value >= ethertype::FIRST {
            return self.ether_type(value);
        }
        if value > ethertype::LAST_LENGTH {
            return Err(self.unknown(StopReason::UnknownEtherType(value)));
        }
        self.cursor.limit(usize::from(value), StopReason::BeyondLength);
        Ok(Next::Llc)
    }

    pub(super) fn ether_type(&mut self, value: u16) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        match value {
            ethertype::IPV4 => Ok(Next::Ipv4),
            ethertype::IPV6 => Ok(Next::Ipv6),
            ethertype::VLAN
            | ethertype::SERVICE_VLAN
            | ethertype::OLD_OUTER_VLAN
            | ethertype::OLD_OUTER_VLAN_2 => Ok(Next::Vlan),
            ethertype::ARP | ethertype::RARP => Ok(Next::Arp),
            ethertype::ETHERNET => Ok(Next::Ethernet),
            ethertype::MPLS | ethertype::MPLS_UPSTREAM => Ok(Next::Mpls),
            ethertype::PPP => Ok(Next::Ppp),
            ethertype::NSH => Ok(Next::Nsh),
            ethertype::VN_TAG => {
                let tag = VnTag::decode(&mut self.cursor)?;
                self.push(Layer::VnTag, offset)?;
                Ok(Next::TypeOrLength(tag.type_or_length))
            }
            ethertype::E_TAG => {
                let tag = ETag::decode(&mut self.cursor)?;
                self.push(Layer::ETag, offset)?;
                Ok(Next::TypeOrLength(tag.type_or_length))
            }
            ethertype::CISCO_METADATA => {
                let in_gre = self.last() == Layer::Gre;
                let metadata = if in_gre {
                    CiscoMetadata::decode_in_gre(&mut self.cursor)?
                } else {
                    CiscoMetadata::decode(&mut self.cursor)?
                };
                self.push(Layer::CiscoMetadata, offset)?;
                Ok(Next::TypeOrLength(metadata.type_or_length))
            }
            ethertype::TTAG => {
                let tag = Ttag::decode(&mut self.cursor)?;
                self.push(Layer::Ttag, offset)?;
                Ok(Next::TypeOrLength(tag.type_or_length))
            }
            ethertype::PBB => {
                Pbb::decode(&mut self.cursor)?;
                self.push(Layer::Pbb, offset)?;
                Ok(Next::Ethernet)
            }
            ethertype::FABRIC_PATH => {
                FabricPath::decode(&mut self.cursor)?;
                self.push(Layer::FabricPath, offset)?;
                Ok(Next::Ethernet)
            }
            ethertype::TRILL => {
                Trill::decode(&mut self.cursor)?;
                self.push(Layer::Trill, offset)?;
                Ok(Next::Ethernet)
            }
            // Both: 16 bits of path or reserve, a sequence number, the EtherType that follows.
            ethertype::HSR | ethertype::R_TAG => {
                let layer = if value == ethertype::HSR { Layer::Hsr } else { Layer::RTag };
                let [.., t0, t1] = *self.cursor.take::<6>(layer)?;
                self.push(layer, offset)?;
                Ok(Next::TypeOrLength(u16::from_be_bytes([t0, t1])))
            }
            ethertype::PPPOE => {
                let pppoe = Pppoe::decode(&mut self.cursor)?;
                self.push(Layer::Pppoe, offset)?;
                self.cursor.limit(usize::from(pppoe.len), StopReason::BeyondLength);
                if pppoe.code == 0 { Ok(Next::Ppp) } else { Ok(Next::Payload) }
            }
            ethertype::PPPOE_DISCOVERY => self.leaf(Layer::PppoeDiscovery),
            ethertype::LLDP => self.leaf(Layer::Lldp),
            ethertype::SLOW => self.leaf(Layer::Slow),
            ethertype::EAPOL => self.leaf(Layer::Eapol),
            ethertype::LOOP => self.leaf(Layer::Loop),
            ethertype::MACSEC => self.macsec(),
            _ => Err(self.unknown(StopReason::UnknownEtherType(value))),
        }
    }

    pub(super) fn arp(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        Arp::decode(&mut self.cursor)?;
        self.push(Layer::Arp, offset)?;
        // What fills the frame up is no payload.
        self.cursor.limit(0, StopReason::BeyondLength);
        Ok(Next::Payload)
    }

    pub(super) fn macsec(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let tag = Macsec::decode(&mut self.cursor)?;
        self.push(Layer::Macsec, offset)?;
        if tag.is_encrypted {
            return Err(self.cursor.stop(Layer::Macsec, StopReason::Encrypted));
        }
        let len = match usize::from(tag.short_len) {
            0 => self.cursor.ahead().len().saturating_sub(Macsec::ICV_LEN),
            len => len,
        };
        self.cursor.limit(len, StopReason::BeyondLength);
        let value = u16::from_be_bytes(*self.cursor.take::<2>(Layer::Macsec)?);
        Ok(Next::TypeOrLength(value))
    }

    pub(super) fn llc(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let llc = Llc::decode(&mut self.cursor)?;
        self.push(Layer::Llc, offset)?;
        match (llc.snap, llc.destination) {
            (Some(snap), _) => self.snap_payload(snap),
            (None, SAP_IP) => Ok(Next::Ipv4),
            (None, SAP_STP) => self.leaf(Layer::Stp),
            (None, SAP_OSI) if llc.source == SAP_OSI => match self.cursor.ahead() {
                [nlpid @ (0xcc | 0x8e | 0xcf), ..] => {
                    self.cursor.take::<1>(Layer::Llc)?;
                    self.network_layer(*nlpid)
                }
                _ => Ok(Next::Payload),
            },
            (None, _) => Ok(Next::Payload),
        }
    }

    /// A SNAP header without LLC before it, as frame relay has it (RFC 2427, section 4).
    pub(super) fn snap(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let snap = Snap::decode(&mut self.cursor)?;
        self.push(Layer::Llc, offset)?;
        self.snap_payload(snap)
    }

    fn snap_payload(&mut self, snap: Snap) -> Result<Next, Stop> {
        // 0x0000f8: EtherTypes bridged between media (IEEE 802.1H); 0x00000c: Cisco.
        match (snap.organisation, snap.protocol) {
            (0x00_000c, 0x2000) => self.leaf(Layer::Cdp),
            (0x00_000c, 0x010b) => self.leaf(Layer::Stp),
            (0x00_0000 | 0x00_00f8, protocol) => Ok(Next::EtherType(protocol)),
            // RFC 2684, section 5.2: bridged frames, on ATM behind two bytes of padding.
            (0x00_80c2, 0x0001 | 0x0007) => {
                if let [0, 0, frame @ ..] = self.cursor.ahead()
                    && may_be_ethernet(frame)
                {
                    self.cursor.take::<2>(Layer::Llc)?;
                }
                Ok(Next::Ethernet)
            }
            (_, protocol) => Err(self.unknown(StopReason::UnknownEtherType(protocol))),
        }
    }

    /// What a network layer identifier names (ISO/IEC TR 9577; RFC 2427, section 3).
    pub(super) fn network_layer(&self, nlpid: u8) -> Result<Next, Stop> {
        match nlpid {
            0xcc => Ok(Next::Ipv4),
            0x8e => Ok(Next::Ipv6),
            0xcf => Ok(Next::Ppp),
            _ => Err(self.unknown(StopReason::Unsupported)),
        }
    }
}

/// LLC service access points (IEEE 802, appendix of assigned addresses).
const SAP_IP: u8 = 0x06;
const SAP_STP: u8 = 0x42;
const SAP_OSI: u8 = 0xfe;
