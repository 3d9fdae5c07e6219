//! Headers that say little of what follows: MPLS labels and pseudowires, PPP, service chains.

use crate::header::{Mpls, Nsh, Ppp, PwAch, PwControlWord, VxlanGpe};
use crate::{Layer, Stop, StopReason};

use super::guess::may_be_ethernet;
use super::{Next, Walk};

impl Walk<'_, '_> {
    pub(super) fn mpls(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let label = Mpls::decode(&mut self.cursor)?;
        self.push(Layer::Mpls, offset)?;
        if !label.is_bottom {
            return Ok(Next::Mpls);
        }
        let offset = self.cursor.offset();
        match label.label {
            LABEL_IPV4_EXPLICIT_NULL => return Ok(Next::Ipv4),
            LABEL_IPV6_EXPLICIT_NULL => return Ok(Next::Ipv6),
            // RFC 5586, section 4: an associated channel follows, which carries no user's frame.
            LABEL_GAL => return self.pseudowire_channel(),
            _ => {}
        }
        self.list.guessed |= 1 << self.len;
        match (self.cursor.peek(Layer::Mpls)? >> 4, self.cursor.ahead()) {
            (4, _) => Ok(Next::Ipv4),
            (6, _) => Ok(Next::Ipv6),
            (1, _) => self.pseudowire_channel(),
            // RFC 4448, section 4.6: all but the sequence is zero. Beginning alike, an Ethernet
            // address would have to be one of the first 256 blocks ever given out.
            (0, [0, 0, _, _, frame @ ..])
                if may_be_ethernet(frame) || !may_be_ethernet(self.cursor.ahead()) =>
            {
                self.enter_tunnel(Layer::PwControlWord)?;
                PwControlWord::decode(&mut self.cursor)?;
                self.push(Layer::PwControlWord, offset)?;
                Ok(Next::Ethernet)
            }
            _ => {
                self.enter_tunnel(Layer::Mpls)?;
                { self.cursor }.take::<18>(Layer::Mpls)?;
                // A pseudowire may carry other things than Ethernet, which nobody else is told of.
                if may_be_ethernet(self.cursor.ahead()) {
                    Ok(Next::Ethernet)
                } else {
                    Err(self.cursor.stop(Layer::Mpls, StopReason::Unsupported))
                }
            }
        }
    }

    /// RFC 5586, section 2.1: how the ends of a pseudowire watch it. No user's frame; but what they
    /// say may be in UDP.
    fn pseudowire_channel(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let header = PwAch::decode(&mut self.cursor)?;
        self.push(Layer::PwAch, offset)?;
        match header.channel {
            PwAch::IPV4 => Ok(Next::Ipv4),
            PwAch::IPV6 => Ok(Next::Ipv6),
            _ => Ok(Next::Payload),
        }
    }

    pub(super) fn ppp(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let ppp = Ppp::decode(&mut self.cursor)?;
        self.push(Layer::Ppp, offset)?;
        match ppp.protocol {
            Ppp::IPV4 => Ok(Next::Ipv4),
            Ppp::IPV6 => Ok(Next::Ipv6),
            Ppp::MPLS => Ok(Next::Mpls),
            Ppp::BRIDGED => {
                // RFC 3518, section 4.2: flags, kind of medium; padding as the flags say.
                let [flags, medium] = *{ self.cursor }.take::<2>(Layer::Ppp)?;
                if medium != Ppp::ETHERNET {
                    return Err(self.cursor.stop(Layer::Ppp, StopReason::Unsupported));
                }
                self.cursor.take::<2>(Layer::Ppp)?;
                let frame_len = self.cursor.ahead().len().saturating_sub(usize::from(flags & 0x0f));
                self.cursor.limit(frame_len, StopReason::BeyondLength);
                Ok(Next::Ethernet)
            }
            Ppp::MULTILINK => {
                // RFC 1990, section 3: whether the packet begins and ends here, then a number, 24
                // bits unless shorter ones were agreed on.
                let [flags, ..] = *{ self.cursor }.take::<4>(Layer::Ppp)?;
                if flags & 0xc0 != 0xc0 {
                    return Err(self.cursor.stop(Layer::Ppp, StopReason::Fragment));
                }
                self.cursor.take::<4>(Layer::Ppp)?;
                Ok(Next::Ppp)
            }
            // RFC 1661, section 2: control protocols carry no user's packet.
            0x8000.. => Ok(Next::Payload),
            protocol => Err(self.unknown(StopReason::UnknownPppProtocol(protocol))),
        }
    }

    pub(super) fn nsh(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let nsh = Nsh::decode(&mut self.cursor)?;
        self.push(Layer::Nsh, offset)?;
        self.enter_tunnel(Layer::Nsh)?;
        self.next_protocol(Layer::Nsh, nsh.next_protocol)
    }

    /// What follows VXLAN-GPE and NSH, which number it alike (RFC 8300, section 2.2).
    pub(super) fn next_protocol(&mut self, layer: Layer, number: u8) -> Result<Next, Stop> {
        match number {
            VxlanGpe::IPV4 => Ok(Next::Ipv4),
            VxlanGpe::IPV6 => Ok(Next::Ipv6),
            VxlanGpe::ETHERNET => Ok(Next::Ethernet),
            VxlanGpe::NSH => Ok(Next::Nsh),
            VxlanGpe::MPLS => Ok(Next::Mpls),
            _ => Err(self.cursor.stop(layer, StopReason::Unsupported)),
        }
    }
}

/// Reserved labels (RFC 3032, section 2.1; RFC 5586, section 4).
const LABEL_IPV4_EXPLICIT_NULL: u32 = 0;
const LABEL_IPV6_EXPLICIT_NULL: u32 = 2;
const LABEL_GAL: u32 = 13;
