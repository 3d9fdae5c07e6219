//! What makes packets one flow: network, addresses, protocol and ports, whichever way they go.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use wire::{VlanId, Vni};

/// The network a flow is in, by the names packets have for it: two tenants use the same addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Network {
    /// The overlay network.
    pub vni: Named,
    /// The VLAN, within the overlay if there is one.
    pub vlan: NamedVlan,
}

impl Network {
    /// Neither.
    pub const NONE: Self = Self { vni: Named(0), vlan: NamedVlan(0) };

    /// From what a record says.
    pub fn new(vni: Option<Vni>, vlan: Option<VlanId>) -> Self {
        Self { vni: vni.map(Vni::value).into(), vlan: vlan.into() }
    }

    /// Whether nothing names it.
    pub const fn is_unnamed(self) -> bool {
        self.vni.is_none() && self.vlan.is_none()
    }
}

impl fmt::Display for Network {
    /// `vni 5001`, `vlan 7`, both or `-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.vni.get(), self.vlan.get()) {
            (Some(vni), Some(vlan)) => write!(f, "vni {vni} vlan {vlan}"),
            (Some(vni), None) => write!(f, "vni {vni}"),
            (None, Some(vlan)) => write!(f, "vlan {vlan}"),
            (None, None) => f.write_str("-"),
        }
    }
}

/// A VNI or none, in four bytes: one more than the number, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Named(u32);

impl Named {
    /// The VNI.
    pub const fn get(self) -> Option<Vni> {
        match self.0.checked_sub(1) {
            Some(value) => Vni::new(value),
            None => None,
        }
    }

    /// Whether there is none.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

impl From<Option<u32>> for Named {
    #[inline]
    fn from(vni: Option<u32>) -> Self {
        Self(vni.map_or(0, |vni| vni + 1))
    }
}

/// A VLAN or none, in two bytes: 0 is none, which no VLAN has for a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NamedVlan(u16);

impl NamedVlan {
    /// The VLAN.
    pub const fn get(self) -> Option<VlanId> {
        match self.0 {
            0 => None,
            number => VlanId::new(number),
        }
    }

    /// Whether there is none.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn bits(self) -> u16 {
        self.0
    }
}

impl From<Option<VlanId>> for NamedVlan {
    #[inline]
    fn from(vlan: Option<VlanId>) -> Self {
        Self(vlan.map_or(0, VlanId::value))
    }
}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey {
    /// The lower of the two ends first.
    ends: [[u64; 2]; 2],
    ports: [u16; 2],
    point: u32,
    vni: u32,
    vlan: u16,
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
            point,
            vni: network.vni.bits(),
            vlan: network.vlan.bits(),
            protocol: ends.protocol,
        };
        (key, is_swapped)
    }

    /// Spread over all bits.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        let [[a, b], [c, d]] = self.ends;
        let [p, q] = self.ports;
        let ports = u64::from(p) << 48 | u64::from(q) << 32 | u64::from(self.vni);
        let rest =
            u64::from(self.point) << 32 | u64::from(self.vlan) << 8 | u64::from(self.protocol);
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
        let acme = Network { vni: Some(5001).into(), ..Network::NONE };
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
