//! The packets that overtap itself sends to tools, so that it never captures them again.
//!
//! An export is known by both of its ends, not by the tool's address alone: what others send to the
//! tool is traffic like any other. It is looked for at every level of a packet, because an export
//! may leave the host inside another tunnel (DESIGN.md, rule 5).

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use wire::{Layer, Layers, Level, Packet, VlanId};

/// A stream of packets that goes from here to a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Export {
    /// Datagrams between these two.
    Udp(SocketAddr, SocketAddr),
    /// A TCP connection between these two; what comes back on it counts as well.
    Tcp(SocketAddr, SocketAddr),
    /// GRE from the first to the second.
    Gre(IpAddr, IpAddr),
    /// The mirror's own VLAN, 1 to 4094.
    Vlan(u16),
}

/// All exports that are known.
#[derive(Debug, Clone, Default)]
pub struct Exports {
    exports: Vec<Export>,
    /// The addresses of those over IPv4 as they stand in its header, one bit for each.
    sieve: u64,
    has_v6: bool,
    has_vlan: bool,
}

impl Exports {
    /// Adds one.
    pub fn add(&mut self, export: Export) {
        if self.exports.contains(&export) {
            return;
        }
        match export {
            Export::Udp(from, to) => self.note(from.ip(), to.ip()),
            Export::Gre(from, to) => self.note(from, to),
            Export::Tcp(from, to) => {
                self.note(from.ip(), to.ip());
                self.note(to.ip(), from.ip());
            }
            Export::Vlan(_) => self.has_vlan = true,
        }
        self.exports.push(export);
    }

    /// Whether none is known.
    pub const fn is_empty(&self) -> bool {
        self.exports.is_empty()
    }

    /// Whether the packet is one of them, or carries one. `layers` must come from the same bytes.
    #[inline]
    pub fn has(&self, packet: &Packet<'_>, layers: &Layers) -> bool {
        self.may_have(packet.data, layers) && self.is_one(packet, layers)
    }

    #[inline]
    fn may_have(&self, data: &[u8], layers: &Layers) -> bool {
        !self.exports.is_empty()
            && layers.headers().iter().any(|header| match header.layer {
                Layer::Ipv4 => {
                    let at = header.offset as usize + IPV4_ADDRESSES;
                    let bytes = data.get(at..).and_then(<[u8]>::first_chunk::<8>);
                    bytes.is_some_and(|ends| self.sieve & bit(u64::from_be_bytes(*ends)) != 0)
                }
                Layer::Ipv6 => self.has_v6,
                Layer::Vlan => self.has_vlan,
                _ => false,
            })
    }

    #[inline(never)]
    fn is_one(&self, packet: &Packet<'_>, layers: &Layers) -> bool {
        let mut levels = layers.levels(packet.data);
        levels.any(|level| self.exports.iter().any(|export| export.is_at(&level)))
    }

    fn note(&mut self, from: IpAddr, to: IpAddr) {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let ends = u64::from(from.to_bits()) << 32 | u64::from(to.to_bits());
                self.sieve |= bit(ends);
            }
            _ => self.has_v6 = true,
        }
    }
}

impl Export {
    fn is_at(self, level: &Level<'_>) -> bool {
        if let Self::Vlan(vlan) = self {
            return level.vlans().next().is_some_and(|tag| Some(tag.id) == VlanId::new(vlan));
        }
        let Some(ip) = level.ip() else { return false };
        let ends = (ip.source, ip.destination);
        // A later fragment has no ports, and of an export there never is one.
        let ports = || level.transport().and_then(|transport| transport.ports);
        let is_between = |from: SocketAddr, to: SocketAddr| {
            ends == (from.ip(), to.ip())
                && ports().is_some_and(|p| (p.source, p.destination) == (from.port(), to.port()))
        };
        match self {
            Self::Udp(from, to) => ip.protocol == UDP && is_between(from, to),
            Self::Tcp(from, to) => {
                ip.protocol == TCP && (is_between(from, to) || is_between(to, from))
            }
            Self::Gre(from, to) => ip.protocol == GRE && ends == (from, to),
            Self::Vlan(_) => false,
        }
    }
}

/// One of 64 bits for a pair of addresses.
const fn bit(ends: u64) -> u64 {
    1 << (ends.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

/// Where the addresses are in an IPv4 header (RFC 791, section 3.1).
const IPV4_ADDRESSES: usize = 12;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;

#[cfg(test)]
mod tests {
    use wire::{LinkType, Timestamp, TunnelPorts};

    use super::*;

    /// Ethernet, IPv4 and UDP from 10.0.0.1 port 49152 to 10.0.0.2 port 4789 around `inside`.
    fn vxlan(source: u8, inside: &[u8]) -> Vec<u8> {
        let udp_len = u16::try_from(16 + inside.len()).unwrap();
        let [i0, i1] = (20 + udp_len).to_be_bytes();
        let [u0, u1] = udp_len.to_be_bytes();
        let outer = [
            2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x08, 0x00, // MACs, IPv4
            0x45, 0, i0, i1, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, source, 10, 0, 0,
            2, // UDP
            0xc0, 0x00, 0x12, 0xb5, u0, u1, 0, 0, // to port 4789
            0x08, 0, 0, 0, 0, 0, 42, 0, // VXLAN, VNI 42
        ];
        [&outer, inside].concat()
    }

    fn is_own(exports: &Exports, bytes: &[u8]) -> bool {
        let len = u32::try_from(bytes.len()).unwrap();
        let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, bytes, len);
        exports.has(&packet, &Layers::decode(packet.link, bytes, &TunnelPorts::default()))
    }

    #[test]
    fn h2_an_export_is_known_bare_and_inside_another_tunnel_and_nothing_else_is() {
        let mut exports = Exports::default();
        let frame = [&[0xff; 12][..], &[0x08, 0x06], &[0; 28]].concat();
        assert!(!is_own(&exports, &vxlan(1, &frame)), "before there is one");
        let end = |text: &str| text.parse().unwrap();
        exports.add(Export::Udp(end("10.0.0.1:49152"), end("10.0.0.2:4789")));
        assert!(is_own(&exports, &vxlan(1, &frame)));
        assert!(is_own(&exports, &vxlan(7, &vxlan(1, &frame))), "tunnelled again");
        assert!(!is_own(&exports, &vxlan(3, &frame)), "somebody else's, to the same tool");
    }
}
