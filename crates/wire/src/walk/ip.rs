//! What follows IP: extension headers, and the protocols by number.

use crate::header::{Ah, EtherIp, Ipv6Extension, Ipv6Fragment, Sctp, protocol};
use crate::{Layer, Stop, StopReason};

use super::{Next, Walk};

impl Walk<'_, '_> {
    #[inline]
    pub(super) fn ip(&mut self) -> Result<Next, Stop> {
        match self.cursor.peek(Layer::Ipv4)? >> 4 {
            4 => Ok(Next::Ipv4),
            6 => Ok(Next::Ipv6),
            _ => Err(self.cursor.stop(Layer::Ipv4, StopReason::Malformed)),
        }
    }

    pub(super) fn protocol(&mut self, number: u8) -> Result<Next, Stop> {
        match number {
            protocol::IPV4 => {
                self.enter_tunnel(Layer::Ipv4)?;
                Ok(Next::Ipv4)
            }
            protocol::IPV6 => {
                self.enter_tunnel(Layer::Ipv6)?;
                Ok(Next::Ipv6)
            }
            protocol::HOP_BY_HOP => self.extension(Layer::Ipv6HopByHop),
            protocol::DESTINATION => self.extension(Layer::Ipv6Destination),
            protocol::ROUTING => self.extension(Layer::Ipv6Routing),
            protocol::MOBILITY | protocol::SHIM6 => self.extension(Layer::Ipv6Mobility),
            protocol::FRAGMENT => self.ipv6_fragment(),
            protocol::AH => {
                let offset = self.cursor.offset();
                let header = Ah::decode(&mut self.cursor)?;
                self.push(Layer::Ah, offset)?;
                Ok(Next::of_protocol(header.next_header))
            }
            protocol::ESP => {
                self.leaf(Layer::Esp)?;
                Err(self.cursor.stop(Layer::Esp, StopReason::Encrypted))
            }
            protocol::NO_NEXT_HEADER => Ok(Next::Payload),
            protocol::SCTP => self.transport(Layer::Sctp, |cursor| Sctp::decode(cursor).map(drop)),
            protocol::DCCP => {
                // RFC 4340, section 5.1: 12 bytes, of which only the ports matter here.
                self.transport(Layer::Dccp, |cursor| cursor.take::<12>(Layer::Dccp).map(drop))
            }
            protocol::UDP_LITE => {
                self.transport(Layer::UdpLite, |cursor| cursor.take::<8>(Layer::UdpLite).map(drop))
            }
            protocol::IGMP => self.leaf(Layer::Igmp),
            protocol::OSPF => self.leaf(Layer::Ospf),
            protocol::EIGRP => self.leaf(Layer::Eigrp),
            protocol::PIM => self.leaf(Layer::Pim),
            protocol::VRRP => self.leaf(Layer::Vrrp),
            protocol::RSVP | protocol::RSVP_IGNORE => self.leaf(Layer::Rsvp),
            protocol::ETHER_IP => {
                let offset = self.cursor.offset();
                EtherIp::decode(&mut self.cursor)?;
                self.push(Layer::EtherIp, offset)?;
                self.enter_tunnel(Layer::EtherIp)?;
                Ok(Next::Ethernet)
            }
            protocol::ETHERNET => {
                self.enter_tunnel(Layer::Ethernet)?;
                Ok(Next::Ethernet)
            }
            protocol::MPLS => {
                self.enter_tunnel(Layer::Mpls)?;
                Ok(Next::Mpls)
            }
            protocol::L2TP => self.l2tp_in_ip(),
            protocol::IGRP => self.leaf(Layer::Igrp),
            protocol::NHRP => self.leaf(Layer::Nhrp),
            protocol::PGM => self.leaf(Layer::Pgm),
            protocol::HIP => self.leaf(Layer::Hip),
            protocol::IPCOMP => {
                self.leaf(Layer::Ipcomp)?;
                Err(self.cursor.stop(Layer::Ipcomp, StopReason::Encrypted))
            }
            protocol::NSH => Ok(Next::Nsh),
            _ => Err(self.unknown(StopReason::UnknownProtocol(number))),
        }
    }

    pub(super) fn extension(&mut self, layer: Layer) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let header = Ipv6Extension::decode(&mut self.cursor, layer)?;
        self.push(layer, offset)?;
        Ok(Next::of_protocol(header.next_header))
    }

    pub(super) fn ipv6_fragment(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let header = Ipv6Fragment::decode(&mut self.cursor)?;
        self.push(Layer::Ipv6Fragment, offset)?;
        // An atomic fragment (RFC 6946) is a whole packet.
        self.list.has_fragment |= header.has_more || header.offset != 0;
        if header.offset != 0 {
            return Err(self.cursor.stop(Layer::Ipv6Fragment, StopReason::Fragment));
        }
        if header.has_more {
            self.cursor.limit(self.cursor.ahead().len(), StopReason::Fragment);
        }
        Ok(Next::of_protocol(header.next_header))
    }
}
