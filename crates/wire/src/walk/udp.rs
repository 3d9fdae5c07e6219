//! Tunnels that a UDP port names, but VXLAN and GENEVE, which are on the usual path.

use crate::header::{Capwap, Gtpc, Gtpu, Gue, Lisp, Ports, Teredo, Tzsp, VxlanGpe, protocol};
use crate::{Layer, Stop, StopReason, UdpTunnel};

use super::guess::{may_be, may_be_ethernet, may_be_ip};
use super::{Next, Walk};

impl Walk<'_, '_> {
    /// What a UDP packet between `ports` carries, by its ports and, where those do not suffice, by
    /// how it begins.
    pub(super) fn udp_payload(&self, ports: Ports) -> Result<Next, Stop> {
        let Ports { source, destination } = ports;
        let (tunnel, is_doubtful) = match self.ports.named(destination) {
            Some(named) => (Some(named.tunnel), named.is_shared || is_answer(named.tunnel, source)),
            // Any client may have the number of a tunnel for its own port.
            None => (self.ports.find(source, destination), true),
        };
        let Some(tunnel) = tunnel else { return Ok(Next::Payload) };
        if is_doubtful {
            match may_be(tunnel, self.cursor.ahead()) {
                Some(true) => {}
                Some(false) => return Ok(Next::Payload),
                None => {
                    let stop = self.cursor.stop_at_end(tunnel.layer());
                    // A whole packet that is too short for the tunnel is something else.
                    let is_whole = stop.reason == StopReason::BeyondLength;
                    return if is_whole { Ok(Next::Payload) } else { Err(stop) };
                }
            }
        }
        Ok(match tunnel {
            UdpTunnel::Vxlan => Next::Vxlan,
            UdpTunnel::Geneve => Next::Geneve,
            tunnel => Next::UdpTunnel(tunnel),
        })
    }

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
                // What kind of session it is only control says; nearly all carry IP.
                if may_be_ip(self.cursor.ahead()) {
                    return Ok(Next::Ip);
                }
                { self.cursor }.take::<18>(Layer::Gtpu)?;
                if !may_be_ethernet(self.cursor.ahead()) {
                    return Ok(Next::Ip);
                }
                self.list.guessed |= 1 << self.len;
                Ok(Next::Ethernet)
            }
            UdpTunnel::Gtpc => {
                Gtpc::decode(&mut self.cursor)?;
                self.push(Layer::Gtpc, offset)?;
                Ok(Next::Payload)
            }
            UdpTunnel::Teredo => {
                Teredo::decode(&mut self.cursor)?;
                self.push(Layer::Teredo, offset)?;
                self.enter_tunnel(Layer::Teredo)?;
                Ok(Next::Ipv6)
            }
            UdpTunnel::L2tp => self.l2tp(),
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
                Ok(if capwap.is_native { Next::Wlan } else { Next::Ethernet })
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
                match tzsp.encapsulated {
                    Tzsp::ETHERNET => Ok(Next::Ethernet),
                    Tzsp::WLAN => Ok(Next::Wlan),
                    _ => Err(self.cursor.stop(Layer::Tzsp, StopReason::Unsupported)),
                }
            }
        }
    }
}

/// Whether a packet from `source` to the port of `tunnel` may be the answer of a service to a client
/// that has picked this port. Overlays are left out: their source port is a hash, which may be any.
const fn is_answer(tunnel: UdpTunnel, source: u16) -> bool {
    let is_overlay = matches!(tunnel, UdpTunnel::Vxlan | UdpTunnel::VxlanGpe | UdpTunnel::Geneve);
    source < 1024 && !is_overlay
}
