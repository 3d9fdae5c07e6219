//! Whether certain MACs are in a frame of a usual shape, without listing its headers.
//!
//! Who looks for one VM of a thousand needs no more of nearly every packet than to see that no
//! frame in it has one of its MACs: fewer questions than [`Layers`](crate::Layers) asks, and nothing
//! to write down. `bench/mix` has the time (its row `extract`). The shapes are those of the walk's
//! usual path; `tests/hostile_bytes.rs` and the fuzz target `layers` hold the two together.

use crate::header::{Gre, ethertype, protocol};
use crate::ports::Named;
use crate::{LinkType, TunnelPorts, UdpTunnel};

/// Whether certainly no Ethernet header in `data`, a frame that begins as `link` says, has MACs of
/// which `is_sought` says that they are sought. It is given destination and source as they stand
/// in the frame.
///
/// `false` says nothing: it takes a closer look. After `true`, `is_sought` was asked about
/// everything in [`Layers::frames`](crate::Layers::frames) and said no, and
/// [`Layers::has_fragment`](crate::Layers::has_fragment) is `false`.
#[inline]
pub fn is_certainly_without(
    link: LinkType,
    data: &[u8],
    ports: &TunnelPorts,
    is_sought: impl Fn(&[u8; 12]) -> bool,
) -> bool {
    if link != LinkType::ETHERNET {
        return false;
    }
    let mut ahead = data;
    for _ in 0..MOST_FRAMES {
        // A frame that is cut or broken behind this is not looked at so closely: there may be
        // fewer frames than are asked about, never more.
        match ahead.first_chunk::<12>() {
            Some(macs) if !is_sought(macs) => {}
            _ => return false,
        }
        match carried(ahead, ports) {
            Some(Carried::Payload) => return true,
            Some(Carried::Frame(behind)) => ahead = ahead.get(behind..).unwrap_or_default(),
            None => return false,
        }
    }
    false
}

/// What an Ethernet frame carries.
enum Carried {
    /// Something without another frame in it.
    Payload,
    /// A tunnel, and behind this many bytes the Ethernet frame in it.
    Frame(usize),
}

/// What a frame carries; `None` if that is not usual.
#[inline(always)]
fn carried(frame: &[u8], ports: &TunnelPorts) -> Option<Carried> {
    let mut at = 14;
    let mut kind = u16_at(frame, 12)?;
    let mut tags = 0;
    while let ethertype::VLAN | ethertype::SERVICE_VLAN | ethertype::VN_TAG = kind {
        at += if kind == ethertype::VN_TAG { 6 } else { 4 };
        kind = u16_at(frame, at - 2)?;
        tags += 1;
        if tags > MOST_TAGS {
            return None;
        }
    }
    match kind {
        ethertype::IPV4 => {
            let header = frame.get(at..)?.first_chunk::<24>()?;
            let [first, _, _, _, _, _, f0, f1, _, number, .., b0, b1, b2, b3] = *header;
            // No options, no fragment; the bit that forbids fragments may be set.
            if first != 0x45 || u16::from_be_bytes([f0 & 0xbf, f1]) != 0 {
                return None;
            }
            in_ip(frame, at + 20, number, [b0, b1, b2, b3], ports)
        }
        ethertype::IPV6 => {
            let header = frame.get(at..)?.first_chunk::<44>()?;
            let [_, _, _, _, _, _, number, .., b0, b1, b2, b3] = *header;
            in_ip(frame, at + 40, number, [b0, b1, b2, b3], ports)
        }
        ethertype::ARP => Some(Carried::Payload),
        _ => None,
    }
}

/// What a packet of IP carries whose header ends at `at`, where `first` stands; `None` if that is
/// not usual.
#[inline(always)]
fn in_ip(
    frame: &[u8],
    at: usize,
    number: u8,
    first: [u8; 4],
    ports: &TunnelPorts,
) -> Option<Carried> {
    let [a, b, c, d] = first;
    match number {
        protocol::TCP | protocol::UDP => {
            let (source, destination) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            // The same questions of both, because which of them it is cannot be foreseen. What the
            // source port may name, and what may be STT, takes a closer look.
            if !ports.may_name(destination) {
                let is_doubtful = ports.may_name(source) | (destination == ports.stt());
                return (!is_doubtful).then_some(Carried::Payload);
            }
            if number == protocol::UDP { in_udp(frame, at + 8, destination, ports) } else { None }
        }
        protocol::GRE => {
            // Version 0 without routes; checksum, key and number are of 4 bytes each.
            if a & 0x4f != 0 || b & 0x07 != 0 {
                return None;
            }
            let behind = at + 4 + a.count_ones() as usize * 4;
            match u16::from_be_bytes([c, d]) {
                ethertype::ETHERNET => Some(Carried::Frame(behind)),
                ethertype::ERSPAN if a & Gre::FLAG_SEQUENCE != 0 => {
                    (*frame.get(behind)? >> 4 == 1).then_some(Carried::Frame(behind + 8))
                }
                _ => None,
            }
        }
        protocol::ICMP | protocol::ICMPV6 => Some(Carried::Payload),
        _ => None,
    }
}

/// What a packet of UDP carries whose header ends at `at`; `None` if that is not usual.
#[inline(always)]
fn in_udp(frame: &[u8], at: usize, destination: u16, ports: &TunnelPorts) -> Option<Carried> {
    match ports.named(destination) {
        Some(Named { tunnel: UdpTunnel::Vxlan, .. }) => Some(Carried::Frame(at + 8)),
        Some(Named { tunnel: UdpTunnel::Geneve, .. }) => {
            let [words, _, p0, p1] = *frame.get(at..)?.first_chunk::<4>()?;
            let is_usual = words >> 6 == 0 && u16::from_be_bytes([p0, p1]) == ethertype::ETHERNET;
            is_usual.then_some(Carried::Frame(at + 8 + usize::from(words) * 4))
        }
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

    /// The MACs that were asked about; `None` if it takes a closer look.
    fn seen(data: &[u8]) -> Option<Vec<[u8; 12]>> {
        let seen = std::cell::RefCell::new(Vec::new());
        let is_sought = |macs: &[u8; 12]| {
            seen.borrow_mut().push(*macs);
            false
        };
        let ports = TunnelPorts::default();
        is_certainly_without(LinkType::ETHERNET, data, &ports, is_sought).then(|| seen.into_inner())
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
    fn who_is_sought_is_not_passed_over() {
        let data = in_tunnel(&[], 47, &[0x20, 0, 0x65, 0x58, 0, 0, 42, 0]);
        for sought in [OUTER, INNER] {
            let ports = TunnelPorts::default();
            let is_sought = |macs: &[u8; 12]| *macs == sought;
            assert!(!is_certainly_without(LinkType::ETHERNET, &data, &ports, is_sought));
        }
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
