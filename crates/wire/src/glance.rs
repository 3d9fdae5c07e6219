//! Where the MACs of a frame of a usual shape are, without listing its headers.
//!
//! Who looks for one VM of a thousand needs no more of nearly every packet than to see that no
//! frame in it has one of its MACs. That takes a third of the time of [`Layers`](crate::Layers),
//! which finds everything.

use crate::header::{Gre, ethertype, protocol};
use crate::ports::Named;
use crate::{LinkType, TunnelPorts, UdpTunnel};

/// The Ethernet headers of a frame of a usual shape, outermost first.
///
/// It may name more than there are, never fewer: a frame that is cut or broken behind its ports is
/// not looked at so closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    starts: [usize; MOST_FRAMES],
    len: usize,
}

impl Glance {
    /// Looks at `data`, a frame that begins as `link` says.
    ///
    /// `None` says that it takes a closer look. Otherwise everything in
    /// [`Layers::frames`](crate::Layers::frames) is named here, and
    /// [`Layers::has_fragment`](crate::Layers::has_fragment) is `false`.
    #[inline]
    pub fn at(link: LinkType, data: &[u8], ports: &TunnelPorts) -> Option<Self> {
        if link != LinkType::ETHERNET {
            return None;
        }
        let mut glance = Self { starts: [0; MOST_FRAMES], len: 1 };
        let mut start = 0;
        while let Carried::Frame(next) = carried(data, start, ports)? {
            *glance.starts.get_mut(glance.len)? = next;
            glance.len += 1;
            start = next;
        }
        Some(glance)
    }

    /// Destination and source of each frame, as they stand in `data`; of a header that is cut
    /// there are none.
    #[inline]
    pub fn macs<'a>(&'a self, data: &'a [u8]) -> impl Iterator<Item = &'a [u8; 12]> {
        let starts = self.starts.get(..self.len).unwrap_or_default();
        starts.iter().filter_map(|start| data.get(*start..)?.first_chunk::<12>())
    }
}

/// What an Ethernet frame carries.
enum Carried {
    /// Something without another frame in it.
    Payload,
    /// A tunnel with an Ethernet frame, which begins here.
    Frame(usize),
}

/// What the frame at `start` carries; `None` if that is not usual.
#[inline(always)]
fn carried(data: &[u8], start: usize, ports: &TunnelPorts) -> Option<Carried> {
    let mut at = start + 14;
    let mut kind = u16_at(data, at - 2)?;
    let mut tags = 0;
    while let ethertype::VLAN | ethertype::SERVICE_VLAN | ethertype::VN_TAG = kind {
        at += if kind == ethertype::VN_TAG { 6 } else { 4 };
        kind = u16_at(data, at - 2)?;
        tags += 1;
        if tags > MOST_TAGS {
            return None;
        }
    }
    match kind {
        ethertype::IPV4 => {
            let [first, _, _, _, _, _, f0, f1, _, number, ..] =
                *data.get(at..)?.first_chunk::<20>()?;
            // No options, no fragment; the bit that forbids fragments may be set.
            if first != 0x45 || u16::from_be_bytes([f0 & 0xbf, f1]) != 0 {
                return None;
            }
            in_ip(data, at + 20, number, ports)
        }
        ethertype::IPV6 => {
            let number = *data.get(at + 6)?;
            in_ip(data, at + 40, number, ports)
        }
        ethertype::ARP => Some(Carried::Payload),
        _ => None,
    }
}

/// What a packet of IP carries whose header ends at `at`; `None` if that is not usual.
#[inline(always)]
fn in_ip(data: &[u8], at: usize, number: u8, ports: &TunnelPorts) -> Option<Carried> {
    match number {
        // What may be STT takes a closer look.
        protocol::TCP => (u16_at(data, at + 2)? != ports.stt()).then_some(Carried::Payload),
        protocol::UDP => {
            let [s0, s1, d0, d1] = *data.get(at..)?.first_chunk::<4>()?;
            let behind = at + 8;
            match ports.named(u16::from_be_bytes([d0, d1])) {
                // What the source port may name takes a closer look.
                None => {
                    let is_named = ports.may_name(u16::from_be_bytes([s0, s1]));
                    (!is_named).then_some(Carried::Payload)
                }
                Some(Named { tunnel: UdpTunnel::Vxlan, .. }) => Some(Carried::Frame(behind + 8)),
                Some(Named { tunnel: UdpTunnel::Geneve, .. }) => {
                    let words = *data.get(behind)?;
                    let is_usual =
                        words >> 6 == 0 && u16_at(data, behind + 2)? == ethertype::ETHERNET;
                    is_usual.then_some(Carried::Frame(behind + 8 + usize::from(words) * 4))
                }
                Some(_) => None,
            }
        }
        protocol::GRE => {
            let [flags, version, p0, p1] = *data.get(at..)?.first_chunk::<4>()?;
            // Version 0 without routes; checksum, key and number are of 4 bytes each.
            if flags & 0x4f != 0 || version & 0x07 != 0 {
                return None;
            }
            let behind = at + 4 + flags.count_ones() as usize * 4;
            match u16::from_be_bytes([p0, p1]) {
                ethertype::ETHERNET => Some(Carried::Frame(behind)),
                ethertype::ERSPAN if flags & Gre::FLAG_SEQUENCE != 0 => {
                    (*data.get(behind)? >> 4 == 1).then_some(Carried::Frame(behind + 8))
                }
                _ => None,
            }
        }
        protocol::ICMP | protocol::ICMPV6 => Some(Carried::Payload),
        _ => None,
    }
}

#[inline(always)]
fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

/// One in a tunnel in a tunnel; what is deeper is not usual.
const MOST_FRAMES: usize = 3;
const MOST_TAGS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const OUTER: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    const INNER: [u8; 12] = [2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4];

    /// A frame with IPv4 in it, `flags` of fragments and a protocol with its header.
    fn frame(macs: [u8; 12], tags: &[u8], flags: u8, protocol: u8, behind: &[u8]) -> Vec<u8> {
        let ip = [0x45, 0, 0, 0, 0, 1, flags, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&macs, tags, &[8, 0], &ip, behind].concat()
    }

    fn in_tunnel(tags: &[u8], protocol: u8, header: &[u8]) -> Vec<u8> {
        let inner = frame(INNER, &[], 0x40, 6, &[0x9c, 0x40, 0, 80]);
        frame(OUTER, tags, 0, protocol, &[header, &inner].concat())
    }

    fn udp(port: u16, header: &[u8]) -> Vec<u8> {
        let [high, low] = port.to_be_bytes();
        [&[0xc0, 1, high, low, 0, 0, 0, 0], header].concat()
    }

    fn seen(data: &[u8]) -> Option<Vec<[u8; 12]>> {
        let glance = Glance::at(LinkType::ETHERNET, data, &TunnelPorts::default())?;
        Some(glance.macs(data).copied().collect())
    }

    #[test]
    fn the_frame_in_a_usual_tunnel_is_seen() {
        let vxlan = udp(4789, &[8, 0, 0, 0, 0, 0, 42, 0]);
        let geneve = udp(6081, &[1, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 3, 0]);
        let gre = [0x20, 0, 0x65, 0x58, 0, 0, 42, 0];
        let mirror = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 9, 0x10, 7, 0, 42, 0, 0, 0, 1];
        for (protocol, header) in [(17, &vxlan[..]), (17, &geneve), (47, &gre), (47, &mirror)] {
            for tags in [&[][..], &[0x81, 0, 0, 7], &[0x89, 0x26, 0x80, 5, 0, 6, 0x81, 0, 0, 7]] {
                assert_eq!(seen(&in_tunnel(tags, protocol, header)), Some(vec![OUTER, INNER]));
            }
        }
    }

    #[test]
    fn what_carries_no_frame_is_seen_at_once() {
        assert_eq!(seen(&frame(OUTER, &[], 0, 6, &[0x9c, 0x40, 0, 80])), Some(vec![OUTER]));
        assert_eq!(seen(&frame(OUTER, &[], 0, 17, &udp(53, &[]))), Some(vec![OUTER]));
        assert_eq!(seen(&[&OUTER[..], &[8, 6]].concat()), Some(vec![OUTER]));
    }

    #[test]
    fn what_is_not_usual_takes_a_closer_look() {
        let fragment = frame(OUTER, &[], 0x20, 6, &[0x9c, 0x40, 0, 80]);
        let ip_in_ip = frame(OUTER, &[], 0, 4, &[0x45, 0, 0, 0]);
        let stt = frame(OUTER, &[], 0, 6, &[0x9c, 0x40, 0x1d, 0x2f]);
        let teredo_back = frame(OUTER, &[], 0, 17, &[0x0d, 0xd8, 0xc0, 1, 0, 0, 0, 0]);
        let cut = in_tunnel(&[], 47, &[0x20, 0, 0x65, 0x58, 0, 0, 42, 0]);
        for data in [&fragment, &ip_in_ip, &stt, &teredo_back, &cut[..50].to_vec()] {
            assert_eq!(seen(data), None, "{data:02x?}");
        }
    }
}
