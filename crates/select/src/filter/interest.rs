//! Which of several expressions a packet could satisfy: one look-up, however many there are.
//!
//! Most expressions that tools are given demand a vNIC or a port. What demands neither is always
//! asked. The answer may name an expression that is not satisfied, never leave one out that is.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use wire::{Layer, Layers, Packet};

use super::Filter;
use super::expression::{Expression, Primitive};
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
    ports: HashMap<u16, ToolSet, BuildHasherDefault<MacHasher>>,
    /// One bit for each port that is in `ports`.
    port_bits: Box<[u64; 1024]>,
    /// Those of `ports`.
    by_port: ToolSet,
}

impl Interest {
    /// The expressions, numbered from 0 in their order; at most [`ToolSet::MOST`].
    pub fn new<'a>(filters: impl IntoIterator<Item = &'a Filter>) -> Self {
        let mut interest = Self {
            always: ToolSet::default(),
            macs: HashMap::default(),
            sieve: Sieve::default(),
            by_mac: ToolSet::default(),
            ports: HashMap::default(),
            port_bits: Box::new([0; 1024]),
            by_port: ToolSet::default(),
        };
        for (number, filter) in filters.into_iter().enumerate() {
            if let Some(one) = ToolSet::one(number) {
                interest.add(filter, one);
            }
        }
        interest
    }

    fn add(&mut self, filter: &Filter, one: ToolSet) {
        if let Some(members) = filter.named() {
            for mac in members.macs() {
                let mac = mac_bits(mac);
                self.sieve.add(mac);
                let asking = self.macs.entry(mac).or_default();
                *asking = asking.and(one);
            }
            self.by_mac = self.by_mac.and(one);
        } else if let Some(ports) = ports(&filter.expression) {
            for port in ports {
                if let Some(word) = self.port_bits.get_mut(usize::from(port >> 6)) {
                    *word |= 1 << (port & 63);
                }
                let asking = self.ports.entry(port).or_default();
                *asking = asking.and(one);
            }
            self.by_port = self.by_port.and(one);
        } else {
            self.always = self.always.and(one);
        }
    }

    /// The expressions that the packet may satisfy. `layers` must come from the same bytes.
    #[inline]
    pub fn of(&self, packet: &Packet<'_>, layers: &Layers) -> ToolSet {
        let mut found = self.always;
        if !self.by_mac.is_empty() {
            found = found.and(self.of_macs(packet.data, layers));
        }
        if !self.by_port.is_empty() {
            found = found.and(self.of_ports(packet.data, layers));
        }
        found
    }

    #[inline]
    fn of_macs(&self, data: &[u8], layers: &Layers) -> ToolSet {
        let mut found = ToolSet::default();
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

/// The ports of which the innermost level must have one, if the expression demands any.
fn ports(expression: &Expression) -> Option<Vec<u16>> {
    match expression {
        Expression::All(parts) => parts.iter().find_map(ports),
        Expression::Any(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(ports(part)?);
            }
            (!all.is_empty() && all.len() <= MOST_PORTS).then_some(all)
        }
        Expression::Is(Primitive::Port { first, last, .. }) => {
            let count = usize::from(last.saturating_sub(*first)) + 1;
            (count <= MOST_PORTS).then(|| (*first..=*last).collect())
        }
        Expression::Is(_) | Expression::Not(_) | Expression::Within(..) => None,
    }
}

/// An expression that names more is always asked.
const MOST_PORTS: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::{LinkType, Timestamp, TunnelPorts};

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
            ].iter().map(|text| Filter::parse(text).unwrap()).collect();
            let named = Interest::new(&filters).of(&packet, &layers);
            for (number, filter) in filters.iter().enumerate() {
                prop_assert!(!filter.matches(&packet, &layers) || named.has(number), "{}", filter);
            }
        }
    }
}
