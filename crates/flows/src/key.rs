//! What makes packets one flow: network, addresses, protocol and ports, whichever way they go.

use std::net::{IpAddr, Ipv4Addr};

use crate::network::Network;

/// Who talks to whom, the sender of one packet first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    /// Source and destination.
    pub addresses: [IpAddr; 2],
    /// Source and destination port; 0 where the protocol has none.
    ///
    /// Of ICMP the kind of the message and the kind that answers it, so that both directions are
    /// one flow; of kinds nobody answers, kind and code.
    pub ports: [u16; 2],
    /// IP protocol number.
    pub protocol: u8,
}

impl Ends {
    /// Sets the ports of an ICMP message.
    pub(crate) fn set_icmp(&mut self, kind: u8, code: u8) {
        let answer = icmp_answer(self.protocol, kind);
        self.ports = [u16::from(kind), answer.map_or(u16::from(code), u16::from)];
    }

    /// The same seen from the other end.
    #[must_use]
    pub const fn reversed(self) -> Self {
        let ([a, b], [p, q]) = (self.addresses, self.ports);
        Self { addresses: [b, a], ports: [q, p], protocol: self.protocol }
    }

    /// Whether the ports are those of a way back that nobody goes: ICMP messages without an
    /// answer.
    pub(crate) fn is_one_way(&self) -> bool {
        let [kind, _] = self.ports;
        matches!(self.protocol, 1 | 58)
            && u8::try_from(kind).is_ok_and(|kind| icmp_answer(self.protocol, kind).is_none())
    }
}

impl Default for Ends {
    fn default() -> Self {
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { addresses: [nobody; 2], ports: [0; 2], protocol: 0 }
    }
}

/// The kind of ICMP message that answers `kind` (as in the Community ID specification).
pub(crate) const fn icmp_answer(protocol: u8, kind: u8) -> Option<u8> {
    Some(match (protocol, kind) {
        (1, 8) => 0, // echo
        (1, 0) => 8,
        (1, 13) => 14, // timestamp
        (1, 14) => 13,
        (1, 15) => 16, // information
        (1, 16) => 15,
        (1, 10) => 9, // router solicitation
        (1, 9) => 10,
        (1, 17) => 18, // address mask
        (1, 18) => 17,
        (58, 128) => 129, // echo
        (58, 129) => 128,
        (58, 133) => 134, // router solicitation
        (58, 134) => 133,
        (58, 135) => 136, // neighbour solicitation
        (58, 136) => 135,
        (58, 130) => 131, // multicast listener
        (58, 131) => 130,
        (58, 139) => 140, // node information
        (58, 140) => 139,
        (58, 144) => 145, // home agent
        (58, 145) => 144,
        _ => return None,
    })
}

/// The key of a flow in the cache: both directions have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FlowKey {
    /// The lower of the two ends first.
    ends: [[u64; 2]; 2],
    ports: [u16; 2],
    network: u64,
    point: u32,
    protocol: u8,
}

impl FlowKey {
    /// The key, and whether the sender is the second end of it.
    #[inline]
    pub(crate) fn new(point: u32, network: Network, ends: &Ends) -> (Self, bool) {
        let [source, destination] = ends.addresses.map(words);
        let [from, to] = ends.ports;
        let is_swapped = (destination, to) < (source, from) && !ends.is_one_way();
        let (addresses, ports) = if is_swapped {
            ([destination, source], [to, from])
        } else {
            ([source, destination], [from, to])
        };
        let key = Self {
            ends: addresses,
            ports,
            network: network.bits(),
            point,
            protocol: ends.protocol,
        };
        (key, is_swapped)
    }

    /// IP protocol number.
    #[inline]
    pub(crate) const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Spread over all bits.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        let [[a, b], [c, d]] = self.ends;
        let [p, q] = self.ports;
        let ports = u64::from(p) << 48 | u64::from(q) << 32 | u64::from(self.point);
        let rest = self.network << 8 | u64::from(self.protocol);
        mix(mix(mix(b, d), ports ^ a.rotate_left(17)), rest ^ c.rotate_left(41))
    }
}

/// An address in two words; those of IPv4 as mapped ones (RFC 4291, section 2.5.5.2).
#[inline]
fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [0, 0xffff_0000_0000 | u64::from(address.to_bits())],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
            let halves = [(bits >> 64) as u64, bits as u64];
            halves
        }
    }
}

#[inline]
const fn mix(hash: u64, value: u64) -> u64 {
    let product = (hash ^ 0x9e37_79b9_7f4a_7c15) as u128 * (value ^ 0xd6e8_feb8_6659_fd93) as u128;
    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    let (high, low) = ((product >> 64) as u64, product as u64);
    high ^ low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(ports: [u16; 2]) -> Ends {
        let addresses = [IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 1])];
        Ends { addresses, ports, protocol: 6 }
    }

    #[test]
    fn both_directions_have_one_key_and_networks_do_not() {
        let one = ends([1000, 80]);
        let (key, is_swapped) = FlowKey::new(0, Network::NONE, &one);
        let (other, is_other_swapped) = FlowKey::new(0, Network::NONE, &one.reversed());
        assert_eq!(key, other);
        assert_eq!(key.hash(), other.hash());
        assert!(is_swapped && !is_other_swapped);
        let acme = Network { vlan: wire::VlanId::new(7), ..Network::NONE };
        assert_ne!(FlowKey::new(0, acme, &one).0, key);
        assert_ne!(FlowKey::new(1, Network::NONE, &one).0, key);
    }

    #[test]
    fn an_echo_and_its_answer_are_one_flow_and_unreachables_two() {
        let mut echo = Ends { protocol: 1, ..ends([0, 0]) };
        let mut answer = Ends { protocol: 1, ..ends([0, 0]).reversed() };
        echo.set_icmp(8, 0);
        answer.set_icmp(0, 0);
        let key = |ends: &Ends| FlowKey::new(0, Network::NONE, ends).0;
        assert_eq!(key(&echo), key(&answer));
        echo.set_icmp(3, 1);
        answer.set_icmp(3, 1);
        assert_ne!(key(&echo), key(&answer));
    }
}
