//! GRE and the mirror sessions in it.

use crate::header::{Erspan2, Erspan3, Gre, ethertype};
use crate::{Layer, Stop, StopReason};

use super::{Next, Walk};

impl Walk<'_, '_> {
    pub(super) fn gre(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let gre = Gre::decode(&mut self.cursor)?;
        self.push(Layer::Gre, offset)?;
        // RFC 2637, section 4.1: the upper half of the key is the length of the payload; without
        // one the packet acknowledges. A keepalive has protocol 0.
        let is_empty = match gre.version {
            1 => gre.key.is_none_or(|key| key >> 16 == 0),
            _ => gre.protocol == 0 && self.cursor.ahead().is_empty(),
        };
        if is_empty {
            return Ok(Next::Payload);
        }
        self.enter_tunnel(Layer::Gre)?;
        match gre.protocol {
            // draft-foschiano-erspan-03, section 4.1: type I has neither sequence nor header.
            ethertype::ERSPAN if gre.sequence.is_none() => Ok(Next::Ethernet),
            // The header has a version of its own; some switches send either by either number.
            ethertype::ERSPAN | ethertype::ERSPAN3 => match self.cursor.ahead() {
                [version, ..] if version >> 4 == 1 => self.erspan_2(),
                [version, ..] if version >> 4 == 2 => self.erspan_3(),
                _ if gre.protocol == ethertype::ERSPAN => self.erspan_2(),
                _ => self.erspan_3(),
            },
            // draft-wilson-wrec-wccp-v2-01, section 3.6: version 2 puts 4 bytes before the packet.
            WCCP => {
                if self.cursor.peek(Layer::Wccp)? >> 4 != 4 {
                    let offset = self.cursor.offset();
                    self.cursor.take::<4>(Layer::Wccp)?;
                    self.push(Layer::Wccp, offset)?;
                }
                Ok(Next::Ipv4)
            }
            // What leads packets through a fabric needs the Ethernet header before it.
            ethertype::FABRIC_PATH | ethertype::TRILL => {
                Err(self.unknown(StopReason::UnknownEtherType(gre.protocol)))
            }
            NHRP => self.leaf(Layer::Nhrp),
            // Aruba numbers its radio interfaces; what it carries are their frames.
            ARUBA_FIRST..=ARUBA_LAST => Ok(Next::Wlan),
            protocol => Ok(Next::EtherType(protocol)),
        }
    }

    fn erspan_2(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        Erspan2::decode(&mut self.cursor)?;
        self.push(Layer::Erspan2, offset)?;
        Ok(Next::Ethernet)
    }

    fn erspan_3(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let erspan = Erspan3::decode(&mut self.cursor)?;
        self.push(Layer::Erspan3, offset)?;
        match erspan.frame_type {
            Erspan3::FRAME_ETHERNET => Ok(Next::Ethernet),
            Erspan3::FRAME_IP => Ok(Next::Ip),
            _ => Err(self.cursor.stop(Layer::Erspan3, StopReason::Unsupported)),
        }
    }
}

/// The protocol types of redirected web traffic and of NHRP (RFC 2332) in GRE.
const WCCP: u16 = 0x883e;
const NHRP: u16 = 0x2001;

/// The protocol types of GRE that Aruba uses between access points and their controller.
const ARUBA_FIRST: u16 = 0x8200;
const ARUBA_LAST: u16 = 0x8240;
