//! The ports of fragmented packets: later fragments do not say them, the first one did.
//!
//! A small table in which a new packet takes the place of an old one; what is lost so is counted as
//! a fragment without its first.

use std::net::IpAddr;

use crate::packet::Facts;

#[derive(Debug)]
pub(super) struct Pieces {
    known: Vec<Option<(Datagram, [u16; 2])>>,
}

/// What the fragments of one packet have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Datagram {
    addresses: [IpAddr; 2],
    protocol: u8,
    network: u64,
    id: u32,
}

impl Datagram {
    fn of(facts: &Facts, id: u32) -> Self {
        let ends = &facts.ends;
        Self {
            addresses: ends.addresses,
            protocol: ends.protocol,
            network: facts.network.bits(),
            id,
        }
    }

    fn place(&self) -> usize {
        let low = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_bits(),
            #[expect(clippy::cast_possible_truncation, reason = "the low half tells most")]
            IpAddr::V6(address) => address.to_bits() as u32,
        };
        let [source, destination] = self.addresses.map(low);
        let network = u32::try_from(self.network >> 12 & 0xffff_ffff).unwrap_or_default();
        let hash = (source ^ destination.rotate_left(11) ^ self.id.rotate_left(7) ^ network)
            .wrapping_mul(0x9e37_79b9);
        (hash >> 20) as usize
    }
}

impl Pieces {
    pub(super) const fn new() -> Self {
        Self { known: Vec::new() }
    }

    /// Remembers the ports of a first fragment.
    pub(super) fn begin(&mut self, facts: &Facts, id: u32) {
        // Most traffic has none.
        self.known.resize(PLACES, None);
        let datagram = Datagram::of(facts, id);
        if let Some(place) = self.known.get_mut(datagram.place()) {
            *place = Some((datagram, facts.ends.ports));
        }
    }

    /// Gives a later fragment the ports of its packet; says whether they are known.
    pub(super) fn complete(&self, facts: &mut Facts, id: u32) -> bool {
        let datagram = Datagram::of(facts, id);
        match self.known.get(datagram.place()) {
            Some(Some((known, ports))) if *known == datagram => {
                facts.ends.ports = *ports;
                true
            }
            _ => false,
        }
    }
}

/// 12 bits of the hash.
const PLACES: usize = 4096;
