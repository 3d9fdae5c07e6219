//! The vNICs that a name means, found by MAC: one look-up, however many there are.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use wire::header::VnTag;
use wire::{Layer, Layers, Level, Mac, Timestamp, Tunnel, Vni};

use super::resolver::Member;
use super::test::{WHOLE_MAC, mac_bits};
use crate::{Encapsulation, OnWire};

/// A set of vNICs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Members {
    by_mac: HashMap<u64, Vec<Stay>, BuildHasherDefault<MacHasher>>,
    sieve: Sieve,
}

/// One of 4096 bits for each MAC: most MACs that are not in the set are told so by one bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sieve {
    words: Box<[u64; 64]>,
}

/// Where and when a MAC means the vNIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stay {
    network: Option<OnWire>,
    from: Timestamp,
    until: Option<Timestamp>,
}

impl Stay {
    pub(super) const fn of(member: &Member) -> Self {
        Self { network: member.network, from: member.from, until: member.until }
    }

    /// Whether it is the vNIC at `time`; `is_in` is asked whether the frame is in a network.
    #[inline]
    pub(super) fn holds(&self, time: Timestamp, is_in: impl Fn(OnWire) -> bool) -> bool {
        self.from <= time
            && self.until.is_none_or(|until| time < until)
            && self.network.is_none_or(is_in)
    }
}

impl Members {
    pub(crate) fn new(members: &[Member]) -> Self {
        let mut set = Self::default();
        for member in members {
            set.add(mac_bits(member.mac), Stay::of(member));
        }
        set
    }

    /// All vNICs of several sets.
    pub(crate) fn union(sets: &[Arc<Self>]) -> Self {
        let mut union = Self::default();
        for (mac, stays) in sets.iter().flat_map(|set| &set.by_mac) {
            for stay in stays {
                union.add(*mac, *stay);
            }
        }
        union
    }

    fn add(&mut self, mac: u64, stay: Stay) {
        self.sieve.add(mac);
        let stays = self.by_mac.entry(mac).or_default();
        if !stays.contains(&stay) {
            stays.push(stay);
        }
    }

    /// Whether `mac` means one of them at `time`; `is_in` is asked whether the frame is in a network.
    #[inline]
    pub(crate) fn has(&self, mac: Mac, time: Timestamp, is_in: impl Fn(OnWire) -> bool) -> bool {
        let stays = self.by_mac.get(&mac_bits(mac));
        stays.is_some_and(|stays| stays.iter().any(|stay| stay.holds(time, &is_in)))
    }

    /// Whether any header of a packet has the MAC of one of them: nearly every packet has none,
    /// and then it is known without asking where and when a MAC means whom.
    #[inline]
    pub(crate) fn may_have(&self, data: &[u8], layers: &Layers) -> bool {
        layers.frames().any(|frame| {
            let bytes = data.get(frame.offset as usize..).and_then(<[u8]>::first_chunk::<12>);
            match (frame.layer, bytes) {
                (Layer::Ethernet, Some(macs)) => self.has_one_of(macs),
                // Of a header that is cut nobody reads a MAC.
                (Layer::Ethernet, None) => false,
                // Where the MACs of Wi-Fi are, its own bits say.
                _ => true,
            }
        })
    }

    /// Whether destination or source of a frame, in their order, means one of them.
    #[inline]
    pub(crate) fn has_one_of(&self, macs: &[u8; 12]) -> bool {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = *macs;
        let destination = u64::from_be_bytes([d0, d1, d2, d3, d4, d5, s0, s1]) >> 16;
        let source = u64::from_be_bytes([d4, d5, s0, s1, s2, s3, s4, s5]) & WHOLE_MAC;
        // Both at once: one jump, nearly always the same way.
        let may_have = self.sieve.may_have(destination) | self.sieve.may_have(source);
        may_have && (self.is_listed(destination) || self.is_listed(source))
    }

    /// Not inlined: what the sieve lets through is rare.
    #[inline(never)]
    fn is_listed(&self, mac: u64) -> bool {
        self.by_mac.contains_key(&mac)
    }

    /// Every MAC, ascending.
    pub(crate) fn macs(&self) -> Vec<Mac> {
        let mut keys: Vec<u64> = self.by_mac.keys().copied().collect();
        keys.sort_unstable();
        let mac = |key: u64| {
            let [_, _, octets @ ..] = key.to_be_bytes();
            Mac(octets)
        };
        keys.into_iter().map(mac).collect()
    }
}

impl Sieve {
    /// Lets a MAC through from now on.
    pub(crate) fn add(&mut self, mac: u64) {
        let (word, bit) = Self::place(mac);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    /// Whether a MAC may be one of those added.
    #[inline]
    pub(crate) fn may_have(&self, mac: u64) -> bool {
        let (word, bit) = Self::place(mac);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// The word and the bit in it that stand for a MAC.
    #[inline]
    const fn place(mac: u64) -> (usize, u64) {
        let spread = mac.wrapping_mul(GOLDEN);
        ((spread >> 58) as usize, 1 << (spread >> 52 & 63))
    }
}

impl Default for Sieve {
    fn default() -> Self {
        Self { words: Box::new([0; 64]) }
    }
}

/// Whether the frame at `level` is in `network`, as the guard reads it.
pub(crate) fn is_in(network: OnWire, level: &Level<'_>, outer: Option<&Level<'_>>) -> bool {
    let mut vlans = level.vlans().map(|tag| tag.id).filter(|id| id.value() != 0);
    let (first, second) = (vlans.next(), vlans.next());
    match network {
        OnWire::Untagged => outer.is_none() && first.is_none(),
        OnWire::Vlan(vlan) => outer.is_none() && first == Some(vlan) && second.is_none(),
        OnWire::Overlay { vni, tunnel, vlan, .. } => {
            let to_port = || outer?.transport().filter(|t| t.layer == Layer::Udp)?.ports;
            let is_in_tunnel = match (tunnel, level.tunnel()) {
                (Encapsulation::Vxlan, Some(Tunnel::Vxlan { vni: found, .. }))
                | (Encapsulation::Geneve, Some(Tunnel::Geneve { vni: found })) => {
                    found == vni && to_port().map(|ports| ports.destination) == network.udp_port()
                }
                (
                    Encapsulation::Gre,
                    Some(Tunnel::Gre { protocol: TRANSPARENT_ETHERNET, key: Some(key), .. }),
                ) => key == vni.value(),
                (Encapsulation::Nvgre, Some(tunnel)) => tunnel.nvgre_vsid() == Some(vni.value()),
                (
                    Encapsulation::Erspan,
                    Some(Tunnel::Erspan { session: Some(session), vlan: seen_in, .. }),
                ) => {
                    // The switch may have moved the tag into its own header.
                    let moved = seen_in.filter(|id| id.value() != 0 && first.is_none());
                    u32::from(session) == vni.value()
                        && vlan.is_none_or(|vlan| moved.is_none_or(|moved| moved == vlan))
                }
                (Encapsulation::VnTag, None) => {
                    outer.is_none() && level.vntag().is_some_and(|tag| has_vif(&tag, vni))
                }
                _ => false,
            };
            is_in_tunnel
                && vlan
                    .is_none_or(|vlan| first.is_none_or(|first| first == vlan) && second.is_none())
        }
    }
}

/// Whether a frame is from or to the virtual interface.
pub(crate) fn has_vif(tag: &VnTag, vif: Vni) -> bool {
    u32::from(tag.source) == vif.value()
        || !tag.is_list && u32::from(tag.destination) == vif.value()
}

/// Spreads MACs, which mostly differ in their last octets, over a table. The table's keys come from
/// the inventory; whatever a packet holds is only looked up.
#[derive(Debug, Clone, Default)]
pub(crate) struct MacHasher(u64);

impl Hasher for MacHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // The high half is folded down because the table takes its bits from both ends.
        let spread = value.wrapping_mul(GOLDEN);
        self.0 = spread ^ (spread >> 32);
    }
}

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// The protocol type of an Ethernet frame in GRE (RFC 7637, section 3.2).
const TRANSPARENT_ETHERNET: u16 = 0x6558;
