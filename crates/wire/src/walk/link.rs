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
            LinkType::RAW_BSD | LinkType::RAW_OPENBSD => Ok(Next::Ip),
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
            LinkType::FDDI => self.fddi(),
            LinkType::TOKEN_RING => self.token_ring(),
            LinkType::ARCNET_BSD => self.arcnet::<2>(),
            LinkType::ARCNET_LINUX => self.arcnet::<4>(),
            LinkType::ATM_LLC => Ok(Next::Llc),
            LinkType::SUN_ATM => self.sun_atm(),
            LinkType::IP_OVER_FC => {
                // RFC 2625, section 3.1: two addresses of 8 bytes.
                self.cursor.take::<16>(Layer::Capture)?;
                self.push(Layer::Capture, offset)?;
                Ok(Next::Llc)
            }
            LinkType::BROADCOM_TAG | LinkType::DSA => self.switch_tag::<4>(),
            LinkType::DSA_WITH_ETHER_TYPE => self.switch_tag::<8>(),
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

    /// Frame control, two addresses (RFC 1390); only asynchronous frames have LLC.
    fn fddi(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let [control, ..] = *self.cursor.take::<13>(Layer::Fddi)?;
        self.push(Layer::Fddi, offset)?;
        if control & 0xf0 == 0x50 { Ok(Next::Llc) } else { Ok(Next::Payload) }
    }

    /// Access and frame control, two addresses, a source route where the group bit of the source
    /// says so (RFC 1042).
    fn token_ring(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let [_, control, _, _, _, _, _, _, source, ..] =
            *self.cursor.take::<14>(Layer::TokenRing)?;
        if source & 0x80 != 0 {
            let len = usize::from(self.cursor.peek(Layer::TokenRing)? & 0x1f);
            self.cursor.take_slice(Layer::TokenRing, len)?;
        }
        self.push(Layer::TokenRing, offset)?;
        if control & 0xc0 == 0x40 { Ok(Next::Llc) } else { Ok(Next::Payload) }
    }

    /// Two addresses of a byte, in Linux an offset, the protocol; the newer encapsulation numbers
    /// its pieces (RFC 1201, RFC 1051).
    fn arcnet<const ADDRESSES: usize>(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        self.cursor.take::<ADDRESSES>(Layer::Arcnet)?;
        let [protocol] = *self.cursor.take::<1>(Layer::Arcnet)?;
        if matches!(protocol, 0xd4..=0xd6) {
            let [piece, _, _] = *self.cursor.take::<3>(Layer::Arcnet)?;
            if piece > 1 {
                self.push(Layer::Arcnet, offset)?;
                return Err(self.cursor.stop(Layer::Arcnet, StopReason::Fragment));
            }
        }
        self.push(Layer::Arcnet, offset)?;
        match protocol {
            0xd4 | 0xf0 => Ok(Next::Ipv4),
            _ => Ok(Next::Payload),
        }
    }

    /// Direction and kind of traffic, virtual path and circuit.
    fn sun_atm(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let [flags, _, _, _] = *self.cursor.take::<4>(Layer::Capture)?;
        self.push(Layer::Capture, offset)?;
        match flags & 0x0f {
            ATM_LLC => Ok(Next::Llc),
            _ => Err(self.unknown(StopReason::Unsupported)),
        }
    }

    /// Ethernet whose addresses the tag of a switch chip, `LEN` bytes, stands behind.
    fn switch_tag<const LEN: usize>(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        { self.cursor }.take::<14>(Layer::Ethernet)?;
        self.cursor.take::<12>(Layer::Ethernet)?;
        self.push(Layer::Ethernet, offset)?;
        let offset = self.cursor.offset();
        { self.cursor }.take_slice(Layer::SwitchTag, LEN + 2)?;
        self.cursor.take::<LEN>(Layer::SwitchTag)?;
        let kind = u16::from_be_bytes(*self.cursor.take::<2>(Layer::SwitchTag)?);
        self.push(Layer::SwitchTag, offset)?;
        Ok(Next::TypeOrLength(kind))
    }

    /// Q.922 address of 2 bytes, control, network layer identifier (RFC 2427, section 3).
    pub(super) fn frame_relay(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let [_, last, control, nlpid] = *self.cursor.take::<4>(Layer::FrameRelay)?;
        self.push(Layer::FrameRelay, offset)?;
        match (last & 1, control, nlpid) {
            (1, 0x03, 0x80) => self.snap(),
            // The same behind a byte that makes the SNAP header begin at an even one.
            (1, 0x03, 0x00) if self.cursor.peek(Layer::Llc)? == 0x80 => {
                self.cursor.take::<1>(Layer::Llc)?;
                self.snap()
            }
            (1, 0x03, 0xcc | 0x8e | 0xcf) => self.network_layer(nlpid),
            // Cisco's encapsulation has an EtherType in place of control and identifier.
            (1, 0x08, 0x00) => Ok(Next::Ipv4),
            (1, 0x86, 0xdd) => Ok(Next::Ipv6),
            _ => Err(self.unknown(StopReason::Unsupported)),
        }
    }

    pub(super) fn wlan(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let wlan = if self.last() == Layer::Capwap {
            Wlan::decode_in_capwap(&mut self.cursor)?
        } else {
            Wlan::decode(&mut self.cursor)?
        };
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

/// Circuits of SunATM that carry LLC.
const ATM_LLC: u8 = 2;
