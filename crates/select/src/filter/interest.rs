//! Which of several expressions a packet could satisfy: one look-up, however many there are.
//!
//! Most expressions that tools are given demand a vNIC, a MAC, an address or a port, or one of many.
//! What demands none of these is always asked. The answer may name an expression that is not satisfied, never leave one out that is.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use wire::{Header, Layer, Layers, LinkType, Packet};

use super::Filter;
use super::expression::{Expression, Primitive, V4Family};
use super::members::{MacHasher, Sieve};
use super::test::mac_bits;
use crate::ToolSet;

/// What each of several expressions demands, found by MAC and by port.
#[derive(Debug, Clone)]
pub struct Interest {
    /// Those that demand nothing that is looked for here.
    always: ToolSet,
    macs: HashMap<u64, ToolSet, BuildHasherDefault<MacHasher>>,
    sieve: Sieve,
    /// Those of `macs`.
    by_mac: ToolSet,
    /// Those of them that read a MAC also where the header around it is cut.
    by_bytes: ToolSet,
    ports: HashMap<u16, ToolSet, BuildHasherDefault<MacHasher>>,
    /// One bit for each port that is in `ports`.
    port_bits: Box<[u64; 1024]>,
    /// Those of `ports`.
    by_port: ToolSet,
    /// By what is left of an address ([`of_v4`], [`of_v6`]).
    addresses: HashMap<u64, ToolSet, BuildHasherDefault<MacHasher>>,
    address_sieve: Sieve,
    /// Those of `addresses`.
    by_address: ToolSet,
}

/// One of these a packet must have.
enum Demand {
    Ports(Vec<u16>),
    Macs(Vec<u64>),
    Addresses(Vec<u64>),
}

impl Interest {
    /// The expressions, numbered from 0 in their order; at most [`ToolSet::MOST`].
    pub fn new<'a>(filters: impl IntoIterator<Item = &'a Filter>) -> Self {
        let mut interest = Self {
            always: ToolSet::default(),
            macs: HashMap::default(),
            sieve: Sieve::default(),
            by_mac: ToolSet::default(),
            by_bytes: ToolSet::default(),
            ports: HashMap::default(),
            port_bits: Box::new([0; 1024]),
            by_port: ToolSet::default(),
            addresses: HashMap::default(),
            address_sieve: Sieve::default(),
            by_address: ToolSet::default(),
        };
        for (number, filter) in filters.into_iter().enumerate() {
            if let Some(one) = ToolSet::one(number) {
                interest.add(filter, one);
            }
        }
        interest
    }

    fn add(&mut self, filter: &Filter, one: ToolSet) {
        let demand = match filter.named() {
            Some(members) => Some(Demand::Macs(members.macs().into_iter().map(mac_bits).collect())),
            None => demand(&filter.expression),
        };
        match demand {
            Some(Demand::Macs(macs)) => {
                for mac in macs {
                    self.sieve.add(mac);
                    let asking = self.macs.entry(mac).or_default();
                    *asking = asking.and(one);
                }
                self.by_mac = self.by_mac.and(one);
                if filter.named().is_none() {
                    self.by_bytes = self.by_bytes.and(one);
                }
            }
            Some(Demand::Ports(ports)) => {
                for port in ports {
                    if let Some(word) = self.port_bits.get_mut(usize::from(port >> 6)) {
                        *word |= 1 << (port & 63);
                    }
                    let asking = self.ports.entry(port).or_default();
                    *asking = asking.and(one);
                }
                self.by_port = self.by_port.and(one);
            }
            Some(Demand::Addresses(addresses)) => {
                for address in addresses {
                    self.address_sieve.add(address);
                    let asking = self.addresses.entry(address).or_default();
                    *asking = asking.and(one);
                }
                self.by_address = self.by_address.and(one);
            }
            None => self.always = self.always.and(one),
        }
    }

    /// The expressions that the packet may satisfy. `layers` must come from the same bytes.
    #[inline]
    pub fn of(&self, packet: &Packet<'_>, layers: &Layers) -> ToolSet {
        let mut found = self.always;
        if packet.link != LinkType::ETHERNET {
            // What other link types have in place of MACs and of an EtherType, others decide.
            return found.and(self.by_mac).and(self.by_port).and(self.by_address);
        }
        if !self.by_mac.is_empty() {
            found = found.and(self.of_macs(packet.data, layers));
        }
        if !self.by_port.is_empty() {
            found = found.and(self.of_ports(packet.data, layers));
        }
        if !self.by_address.is_empty() {
            found = found.and(self.of_addresses(packet.data, layers));
        }
        found
    }

    /// By all addresses behind the innermost frame's header: an expression may mean those of any.
    #[inline]
    fn of_addresses(&self, data: &[u8], layers: &Layers) -> ToolSet {
        // Where headers are missing, others decide.
        if layers.stop().is_some() {
            return self.by_address;
        }
        let (mut found, mut has_some) = (ToolSet::default(), false);
        for header in layers.headers().iter().rev() {
            if matches!(header.layer, Layer::Ethernet | Layer::Wlan) {
                break;
            }
            let Some(pair) = addresses_in(data, *header) else { continue };
            has_some = true;
            for address in pair {
                if self.address_sieve.may_have(address)
                    && let Some(asking) = self.addresses.get(&address)
                {
                    found = found.and(*asking);
                }
            }
        }
        if has_some { found } else { self.by_address }
    }

    #[inline]
    fn of_macs(&self, data: &[u8], layers: &Layers) -> ToolSet {
        let mut found = ToolSet::default();
        if layers.stop().is_some() {
            found = self.by_bytes;
        }
        for frame in layers.frames() {
            if frame.layer != Layer::Ethernet {
                return self.by_mac;
            }
            let bytes = data.get(frame.offset as usize..).and_then(<[u8]>::first_chunk::<12>);
            let Some(&[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]) = bytes else { continue };
            for mac in [[0, 0, d0, d1, d2, d3, d4, d5], [0, 0, s0, s1, s2, s3, s4, s5]] {
                let mac = u64::from_be_bytes(mac);
                if self.sieve.may_have(mac)
                    && let Some(asking) = self.macs.get(&mac)
                {
                    found = found.and(*asking);
                }
            }
        }
        found
    }

    #[inline]
    fn of_ports(&self, data: &[u8], layers: &Layers) -> ToolSet {
        // Where headers are missing, others decide.
        if layers.stop().is_some() || layers.has_fragment() {
            return self.by_port;
        }
        let is_transport =
            |layer| matches!(layer, Layer::Tcp | Layer::Udp | Layer::Sctp | Layer::UdpLite);
        let Some(header) = layers.headers().iter().rev().find(|h| is_transport(h.layer)) else {
            return self.by_port;
        };
        let bytes = data.get(header.offset as usize..).and_then(<[u8]>::first_chunk::<4>);
        let Some(&[s0, s1, d0, d1]) = bytes else { return self.by_port };
        let mut found = ToolSet::default();
        for port in [u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])] {
            let word = self.port_bits.get(usize::from(port >> 6)).copied().unwrap_or(u64::MAX);
            if word >> (port & 63) & 1 == 1
                && let Some(asking) = self.ports.get(&port)
            {
                found = found.and(*asking);
            }
        }
        found
    }
}

/// Both addresses of a header that has some.
#[inline]
fn addresses_in(data: &[u8], header: Header) -> Option<[u64; 2]> {
    let data = data.get(header.offset as usize..)?;
    let v4 = |at: usize| {
        let bytes = data.get(at..).and_then(<[u8]>::first_chunk::<4>);
        bytes.map(|bytes| of_v4(u32::from_be_bytes(*bytes)))
    };
    let v6 = |at: usize| {
        let bytes = data.get(at..).and_then(<[u8]>::first_chunk::<16>);
        bytes.map(|bytes| of_v6(u128::from_be_bytes(*bytes)))
    };
    match header.layer {
        Layer::Ipv4 => Some([v4(12)?, v4(16)?]),
        Layer::Ipv6 => Some([v6(8)?, v6(24)?]),
        // RFC 826, with hardware addresses of Ethernet, as libpcap reads any of them.
        Layer::Arp => Some([v4(14)?, v4(24)?]),
        _ => None,
    }
}

/// An IPv4 address as a key; no MAC and no port has the same.
const fn of_v4(address: u32) -> u64 {
    1 << 40 | address as u64
}

/// An IPv6 address as a key. Others may have the same, so that a few are asked in vain.
#[allow(clippy::cast_possible_truncation)]
const fn of_v6(address: u128) -> u64 {
    (address >> 64) as u64 ^ (address as u64).rotate_left(17)
}

/// What the innermost level must have, if the expression demands anything that is looked for.
fn demand(expression: &Expression) -> Option<Demand> {
    match expression {
        Expression::All(parts) => parts.iter().find_map(demand),
        Expression::Any(parts) => {
            let mut all = demand(parts.first()?)?;
            for part in parts.get(1..)? {
                match (&mut all, demand(part)?) {
                    (Demand::Ports(all), Demand::Ports(more)) => all.extend(more),
                    (Demand::Macs(all), Demand::Macs(more)) => all.extend(more),
                    (Demand::Addresses(all), Demand::Addresses(more)) => all.extend(more),
                    _ => return None,
                }
            }
            (all.len() <= MOST_DEMANDED).then_some(all)
        }
        Expression::Is(primitive) => of_primitive(primitive),
        Expression::Not(_) | Expression::Within(..) => None,
    }
}

fn of_primitive(primitive: &Primitive) -> Option<Demand> {
    match primitive {
        Primitive::Port { first, last, .. } => {
            let count = usize::from(last.saturating_sub(*first)) + 1;
            (count <= MOST_DEMANDED).then(|| Demand::Ports((*first..=*last).collect()))
        }
        Primitive::Ether { mac, .. } => Some(Demand::Macs(vec![mac_bits(*mac)])),
        // RARP is read by others.
        Primitive::V4 { family, address, mask, .. }
            if *family != V4Family::Rarp && mask.to_bits() == u32::MAX =>
        {
            Some(Demand::Addresses(vec![of_v4(address.to_bits())]))
        }
        Primitive::V6 { address, prefix_len: 128, .. } => {
            Some(Demand::Addresses(vec![of_v6(address.to_bits())]))
        }
        _ => None,
    }
}

impl Demand {
    const fn len(&self) -> usize {
        match self {
            Self::Ports(ports) => ports.len(),
            Self::Macs(all) | Self::Addresses(all) => all.len(),
        }
    }
}

/// An expression that names more is always asked.
const MOST_DEMANDED: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::{Timestamp, TunnelPorts};

    use super::*;
    use crate::frames;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        /// Whatever an expression takes, the look-up has named it.
        #[test]
        fn no_expression_that_takes_a_packet_is_left_out(
            frame in frames::frames(), kept in 1_usize..200,
        ) {
            let bytes = frame.bytes_with_all_tags();
            let data = &bytes[..bytes.len().min(kept)];
            let packet = Packet::new(Timestamp::ZERO, LinkType::ETHERNET, data, 200);
            let layers = Layers::decode(packet.link, data, &TunnelPorts::default());
            let filters: Vec<Filter> = [
                "port 4789", "tcp port 80 or udp port 4789", "tcp", "not port 4789",
                "outer (udp port 4789)", "ip and (port 80 or port 443 or portrange 4000-5000)",
                "any (port 4789)", "port 0", "portrange 0-65535", "udp",
                "host 192.0.2.1", "host 10.0.0.2 or host 192.0.2.1 or host 10.0.0.4", "arp host 0.0.0.0",
                "rarp host 10.0.0.1", "host 2020:2020:2020:2020:2020:2020:2020:2020", "host fd00::2 or host 192.0.2.2",
                "ether host 52:54:00:00:00:01", "ether src 52:54:00:00:00:02 or ether dst 52:54:00:00:00:01",
                "ether host 52:54:00:00:00:01 or host 10.0.0.1", "src host 10.0.0.1 and dst host 10.0.0.2",
                "outer (host 10.0.0.1)", "not host 10.0.0.1", "host 192.0.2.2 or net 10.0.0.0/8",
            ].iter().map(|text| Filter::parse(text).unwrap()).collect();
            let named = Interest::new(&filters).of(&packet, &layers);
            for (number, filter) in filters.iter().enumerate() {
                prop_assert!(!filter.matches(&packet, &layers) || named.has(number), "{}", filter);
            }
        }
    }
}
