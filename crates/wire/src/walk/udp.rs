//! Tunnels that a UDP port names, but VXLAN and GENEVE, which are on the usual path.

use crate::header::{Capwap, Gtpu, Gue, L2tp, Lisp, Teredo, Tzsp, VxlanGpe, protocol};
use crate::{Layer, Stop, StopReason, UdpTunnel};

use super::{Next, Walk};

impl Walk<'_, '_> {
    pub(super) fn udp_tunnel(&mut self, tunnel: UdpTunnel) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        match tunnel {
            UdpTunnel::Vxlan => Ok(Next::Vxlan),
            UdpTunnel::Geneve => Ok(Next::Geneve),
            UdpTunnel::VxlanGpe => {
                let gpe = VxlanGpe::decode(&mut self.cursor)?;
                self.push(Layer::VxlanGpe, offset)?;
                self.enter_tunnel(Layer::VxlanGpe)?;
                self.next_protocol(Layer::VxlanGpe, gpe.next_protocol)
            }
            UdpTunnel::Gtpu => {
                let gtpu = Gtpu::decode(&mut self.cursor)?;
                self.push(Layer::Gtpu, offset)?;
                if gtpu.message != Gtpu::T_PDU {
                    return Ok(Next::Payload);
                }
                self.enter_tunnel(Layer::Gtpu)?;
                Ok(Next::Ip)
            }
            UdpTunnel::Teredo => {
                Teredo::decode(&mut self.cursor)?;
                self.push(Layer::Teredo, offset)?;
                self.enter_tunnel(Layer::Teredo)?;
                Ok(Next::Ipv6)
            }
            UdpTunnel::L2tp => {
                let l2tp = L2tp::decode(&mut self.cursor)?;
                self.push(Layer::L2tp, offset)?;
                if l2tp.is_control {
                    return Ok(Next::Payload);
                }
                self.enter_tunnel(Layer::L2tp)?;
                if l2tp.version == 3 {
                    return Err(self.cursor.stop(Layer::L2tp, StopReason::Unsupported));
                }
                Ok(Next::Ppp)
            }
            UdpTunnel::Capwap => {
                let capwap = Capwap::decode(&mut self.cursor)?;
                self.push(Layer::Capwap, offset)?;
                if capwap.is_keep_alive {
                    return Ok(Next::Payload);
                }
                self.enter_tunnel(Layer::Capwap)?;
                if capwap.fragment_offset.is_some_and(|offset| offset != 0) {
                    return Err(self.cursor.stop(Layer::Capwap, StopReason::Fragment));
                }
                if capwap.is_native {
                    return Err(self.cursor.stop(Layer::Capwap, StopReason::Unsupported));
                }
                Ok(Next::Ethernet)
            }
            UdpTunnel::Mpls => {
                self.enter_tunnel(Layer::Mpls)?;
                Ok(Next::Mpls)
            }
            UdpTunnel::Gre => Ok(Next::Gre),
            UdpTunnel::Gue => {
                // Variant 1 is IP at once (draft-ietf-intarea-gue-09, section 4).
                if matches!(self.cursor.peek(Layer::Gue)? >> 4, 4 | 6) {
                    self.enter_tunnel(Layer::Gue)?;
                    return Ok(Next::Ip);
                }
                let gue = Gue::decode(&mut self.cursor)?;
                self.push(Layer::Gue, offset)?;
                if gue.is_control {
                    return Ok(Next::Payload);
                }
                self.enter_tunnel(Layer::Gue)?;
                match gue.protocol {
                    protocol::IPV4 => Ok(Next::Ipv4),
                    protocol::IPV6 => Ok(Next::Ipv6),
                    protocol::ETHERNET => Ok(Next::Ethernet),
                    number => Ok(Next::of_protocol(number)),
                }
            }
            UdpTunnel::Lisp => {
                Lisp::decode(&mut self.cursor)?;
                self.push(Layer::Lisp, offset)?;
                self.enter_tunnel(Layer::Lisp)?;
                Ok(Next::Ip)
            }
            UdpTunnel::Tzsp => {
                let tzsp = Tzsp::decode(&mut self.cursor)?;
                self.push(Layer::Tzsp, offset)?;
                // Only these two kinds carry a frame; others keep the connection open.
                if tzsp.kind > 1 {
                    return Ok(Next::Payload);
                }
                self.enter_tunnel(Layer::Tzsp)?;
                if tzsp.encapsulated != 1 {
                    return Err(self.cursor.stop(Layer::Tzsp, StopReason::Unsupported));
                }
                Ok(Next::Ethernet)
            }
        }
    }
}
