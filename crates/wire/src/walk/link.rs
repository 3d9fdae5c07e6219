//! The first header of captures that do not begin with Ethernet.

use crate::header::{Null, Prefix, Sll, Sll2, Wlan, ethertype};
use crate::{Layer, LinkType, Stop, StopReason};

use super::{Next, Walk};

impl Walk<'_, '_> {
    /// The first header of a link type other than Ethernet.
    pub(super) fn link(&mut self, link: LinkType) -> Result<Next, Stop> {
        match link {
            LinkType::ETHERNET => Ok(Next::Ethernet),
            LinkType::RAW => Ok(Next::Ip),
            LinkType::IPV4 => Ok(Next::Ipv4),
            LinkType::IPV6 => Ok(Next::Ipv6),
            LinkType::NULL | LinkType::LOOP => self.null(),
            LinkType::LINUX_SLL => self.sll(),
            LinkType::LINUX_SLL2 => self.sll2(),
            _ => self.rare_link(link),
        }
    }

    pub(super) fn rare_link(&mut self, link: LinkType) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        if let Some(prefix) = Prefix::decode(&mut self.cursor, link) {
            let prefix = prefix?;
            // Notes within notes end here, for every one of them is a header.
            self.push(Layer::Capture, offset)?;
            return Ok(Next::Link(prefix.link));
        }
        match link {
            LinkType::RAW_BSD => Ok(Next::Ip),
            LinkType::MPLS => Ok(Next::Mpls),
            LinkType::PPPOE => Ok(Next::EtherType(ethertype::PPPOE)),
            LinkType::IEEE802_11 => Ok(Next::Wlan),
            // RFC 1547, section 4.3.1: Cisco's addresses are 0x0f and 0x8f, PPP's is 0xff.
            LinkType::PPP_HDLC | LinkType::PPP
                if matches!(self.cursor.ahead(), [0x0f | 0x8f, ..]) =>
            {
                self.chdlc()
            }
            LinkType::PPP_HDLC | LinkType::PPP => Ok(Next::Ppp),
            LinkType::CISCO_HDLC => self.chdlc(),
            LinkType::FRAME_RELAY => self.frame_relay(),
            LinkType::IPOIB => {
                // A global routing header of 40 bytes, an EtherType, 2 bytes of reserve
                // (RFC 4391, section 6).
                let [.., t0, t1, _, _] = *self.cursor.take::<44>(Layer::Ipoib)?;
                self.push(Layer::Ipoib, offset)?;
                Ok(Next::EtherType(u16::from_be_bytes([t0, t1])))
            }
            LinkType(other) => {
                Err(self.cursor.stop(Layer::Raw, StopReason::UnknownLinkType(other)))
            }
        }
    }

    /// Cisco HDLC: address, control, EtherType (RFC 1547, section 4.3.1).
    pub(super) fn chdlc(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let [_, _, t0, t1] = *self.cursor.take::<4>(Layer::ChdlcCisco)?;
        self.push(Layer::ChdlcCisco, offset)?;
        match u16::from_be_bytes([t0, t1]) {
            CHDLC_KEEPALIVE => Ok(Next::Payload),
            protocol => Ok(Next::EtherType(protocol)),
        }
    }

    /// Q.922 address of 2 bytes, control, network layer identifier (RFC 2427, section 3).
    pub(super) fn frame_relay(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let [_, last, control, nlpid] = *self.cursor.take::<4>(Layer::FrameRelay)?;
        self.push(Layer::FrameRelay, offset)?;
        match (last & 1, control, nlpid) {
            (1, 0x03, 0xcc) => Ok(Next::Ipv4),
            (1, 0x03, 0x8e) => Ok(Next::Ipv6),
            (1, 0x03, 0xcf) => Ok(Next::Ppp),
            // Cisco's encapsulation has an EtherType in place of control and identifier.
            (1, 0x08, 0x00) => Ok(Next::Ipv4),
            (1, 0x86, 0xdd) => Ok(Next::Ipv6),
            _ => Err(self.unknown(StopReason::Unsupported)),
        }
    }

    pub(super) fn wlan(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let wlan = Wlan::decode(&mut self.cursor)?;
        self.push(Layer::Wlan, offset)?;
        let stop = |reason| Err(self.cursor.stop(Layer::Wlan, reason));
        match wlan {
            Wlan { carries_packet: false, .. } => Ok(Next::Payload),
            Wlan { is_protected: true, .. } => stop(StopReason::Encrypted),
            Wlan { fragment: 1.., .. } => stop(StopReason::Fragment),
            Wlan { is_aggregate: true, .. } => stop(StopReason::Unsupported),
            _ => Ok(Next::Llc),
        }
    }

    pub(super) fn null(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let null = Null::decode(&mut self.cursor)?;
        self.push(Layer::Null, offset)?;
        match null.family {
            2 => Ok(Next::Ipv4),
            10 | 24 | 28 | 30 => Ok(Next::Ipv6),
            _ => Err(self.unknown(StopReason::Unsupported)),
        }
    }

    pub(super) fn sll(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let sll = Sll::decode(&mut self.cursor)?;
        self.push(Layer::Sll, offset)?;
        self.cooked_protocol(sll.protocol)
    }

    pub(super) fn sll2(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let sll = Sll2::decode(&mut self.cursor)?;
        self.push(Layer::Sll2, offset)?;
        self.cooked_protocol(sll.protocol)
    }

    /// Linux numbers what has no EtherType from 1 (ETH_P_802_2 is 4).
    pub(super) fn cooked_protocol(&mut self, protocol: u16) -> Result<Next, Stop> {
        match protocol {
            4 => Ok(Next::Llc),
            ethertype::FIRST.. => Ok(Next::EtherType(protocol)),
            _ => Err(self.unknown(StopReason::UnknownEtherType(protocol))),
        }
    }
}

/// Keepalives of Cisco HDLC, in place of an EtherType.
const CHDLC_KEEPALIVE: u16 = 0x8035;
