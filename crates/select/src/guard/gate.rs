//! The guard for many tools at once: one look-up says which of them may have a packet.
//!
//! Each tool's rights are claims: these packets of an observation point, from one time to another.
//! What comes out for a tool is what a [`Guard`](super::Guard) of its claims in force at the
//! packet's time would say, however many tools there are.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use wire::{Direction, Layer, Layers, Level, Macs, Packet, Timestamp, VlanId, Vni};

use super::{
    Member, Network, Networks, is_in_vlan, is_never_forwarded, is_priority_only, is_tag_cut,
    overlays,
};
use crate::filter::{MacHasher, Sieve, has_vif, mac_bits};
use crate::{Encapsulation, Identity, Ownership};

/// A set of tools, each by its number from 0 to 63.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ToolSet(u64);

impl ToolSet {
    /// How many tools there can be.
    pub const MOST: usize = 64;

    /// All there can be.
    pub const ALL: Self = Self(u64::MAX);

    /// One tool; `None` for a number above 63.
    pub const fn one(number: usize) -> Option<Self> {
        if number < Self::MOST { Some(Self(1 << number)) } else { None }
    }

    /// Whether there is none in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this tool is in it.
    pub const fn has(self, number: usize) -> bool {
        number < Self::MOST && self.0 >> number & 1 == 1
    }

    /// The tools of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The tools in both.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// These tools without the others.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// One of `N` places, the same for the same set.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    pub const fn spread<const N: usize>(self) -> usize {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % N
    }

    /// How many there are.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Their numbers, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let number = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (number < Self::MOST).then_some(number)
        })
    }
}

/// What a tool may have of an observation point, for some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which tools.
    pub tools: ToolSet,
    /// Which packets.
    pub ownership: Ownership,
    /// The first packet time at which it holds.
    pub from: Timestamp,
    /// The first at which it does not hold any more; `None` while no end is known.
    pub until: Option<Timestamp>,
}

/// Says which tools may have a packet of one observation point. The only way to an [`Entitled`].
#[derive(Debug, Clone, Default)]
pub struct Gate {
    /// Claims to all that the point shows.
    whole: Vec<Span>,
    terms: HashMap<u64, Vec<Term>, BuildHasherDefault<MacHasher>>,
    sieve: Sieve,
    /// For each network whoever is in it: a frame for a group is for all of them.
    groups: Vec<Term>,
    /// All networks and MACs there are, whoever may see them.
    all: Networks,
}

/// Tools that may have something, for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: Timestamp,
    until: Option<Timestamp>,
    tools: ToolSet,
}

/// What a MAC means in one network.
#[derive(Debug, Clone, Copy)]
struct Term {
    network: Network,
    inner_vlan: Option<VlanId>,
    span: Span,
}

impl Gate {
    /// A gate for these claims. Whoever has none gets nothing.
    pub fn new(claims: &[Claim]) -> Self {
        let mut gate = Self::default();
        let mut identities: Vec<Identity> = Vec::new();
        for claim in claims {
            let span = Span { from: claim.from, until: claim.until, tools: claim.tools };
            match &claim.ownership {
                Ownership::Whole => gate.whole.push(span),
                Ownership::Shared(owned) => {
                    owned.iter().for_each(|identity| gate.add(identity, span));
                    identities.extend(owned);
                }
            }
        }
        identities.sort_unstable();
        identities.dedup();
        gate.all = Networks::new(&identities);
        gate
    }

    fn add(&mut self, identity: &Identity, span: Span) {
        let (network, Member { mac, inner_vlan }) = super::placed(identity);
        let term = Term { network, inner_vlan, span };
        let mac = mac_bits(mac);
        self.sieve.add(mac);
        merge(self.terms.entry(mac).or_default(), term);
        merge(&mut self.groups, term);
    }

    /// Which tools may have the packet. `layers` must come from the same bytes, decoded with at
    /// least the UDP ports of [`Ownership::add_tunnel_ports`] of every claim.
    #[inline]
    pub fn admit<'p, 'a>(&self, packet: &'p Packet<'a>, layers: &Layers) -> Admitted<'p, 'a> {
        let mut seen = Seen::default();
        for span in &self.whole {
            if span.holds(packet.time) {
                seen.whole = seen.whole.and(span.tools);
            }
        }
        if !self.groups.is_empty() {
            if self.may_have(packet.data, layers) {
                self.search(packet, layers, &mut seen);
            }
            if layers.stop().is_some() {
                self.note_hidden(packet, layers, &mut seen);
            }
        }
        Admitted { packet, seen }
    }

    /// Whether any MAC of the packet is in a claim: nearly every packet that nobody may have is
    /// told so by one bit for each MAC.
    #[inline]
    fn may_have(&self, data: &[u8], layers: &Layers) -> bool {
        layers.frames().any(|frame| {
            let bytes = data.get(frame.offset as usize..).and_then(<[u8]>::first_chunk::<12>);
            let Some(&[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]) = bytes else {
                return false;
            };
            let destination = u64::from_be_bytes([0, 0, d0, d1, d2, d3, d4, d5]);
            let source = u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]);
            frame.layer != Layer::Ethernet
                || d0 & 1 == 1
                || self.has_mac(source)
                || self.has_mac(destination)
        })
    }

    #[inline]
    fn has_mac(&self, mac: u64) -> bool {
        self.sieve.may_have(mac) && self.is_listed(mac)
    }

    /// Not inlined: what the sieve lets through is rare.
    #[inline(never)]
    fn is_listed(&self, mac: u64) -> bool {
        self.terms.contains_key(&mac)
    }

    #[inline(never)]
    fn search(&self, packet: &Packet<'_>, layers: &Layers, seen: &mut Seen) {
        let mut levels = layers.levels(packet.data);
        let Some(outer) = levels.next() else { return };
        let inner = levels.next();
        let is_tag_cut = is_tag_cut(layers);
        let time = packet.time;
        // The same steps as a guard of one claim; see `Networks::judge`.
        if self.all.has_plain
            && (inner.is_some() || !is_tag_cut)
            && let Some((network, macs)) = plain_network(&outer)
        {
            let mut plain = self.collect(network, macs, time, |_| true);
            if is_never_forwarded(macs.destination) {
                plain.to_vm = ToolSet::default();
            }
            seen.add(plain);
        }
        if self.all.has_vntag
            && let (Some(tag), Some(macs)) = (outer.vntag(), outer.macs())
        {
            for vif in [tag.source, tag.destination] {
                let vif = Vni::new(vif.into()).filter(|vif| has_vif(&tag, *vif));
                let Some(vif) = vif else { continue };
                let network = Network::Overlay(Encapsulation::VnTag, None, vif);
                let is_in = |member: &Member| is_in_vlan(member, &outer, None, is_tag_cut);
                seen.add(self.collect(network, macs, time, is_in));
            }
        }
        if let Some(inner) = &inner
            && let Some(macs) = inner.macs()
        {
            let moved = super::moved_tag(inner);
            for network in overlays(&outer, inner) {
                let is_in = |member: &Member| is_in_vlan(member, inner, moved, is_tag_cut);
                seen.add(self.collect(network, macs, time, is_in));
            }
        }
    }

    /// The tools with a claim to a frame of `network` with these MACs.
    #[inline]
    fn collect(
        &self,
        network: Network,
        macs: Macs,
        time: Timestamp,
        is_in: impl Fn(&Member) -> bool,
    ) -> Seen {
        let sum = |terms: &[Term], mac| {
            terms
                .iter()
                .filter(|term| term.network == network && term.span.holds(time))
                .filter(|term| is_in(&Member { mac, inner_vlan: term.inner_vlan }))
                .fold(ToolSet::default(), |tools, term| tools.and(term.span.tools))
        };
        let of = |mac| self.terms.get(&mac_bits(mac)).map_or(&[][..], Vec::as_slice);
        let receivers =
            if macs.destination.is_group() { &self.groups } else { of(macs.destination) };
        Seen {
            from_vm: sum(of(macs.source), macs.source),
            to_vm: sum(receivers, macs.destination),
            ..Seen::default()
        }
    }

    /// Of a packet that ends too early nobody can say that it is not in a claim.
    #[cold]
    fn note_hidden(&self, packet: &Packet<'_>, layers: &Layers, seen: &mut Seen) {
        let mut levels = layers.levels(packet.data);
        let outer = levels.next();
        let inner = levels.next();
        seen.is_hidden =
            outer.is_none_or(|outer| self.all.is_hidden(layers, &outer, inner.as_ref()));
    }
}

/// The network that a frame without a tunnel is in, and its MACs.
fn plain_network(outer: &Level<'_>) -> Option<(Network, Macs)> {
    let macs = outer.macs()?;
    let mut vlans = outer.vlans().map(|tag| tag.id).filter(|id| !is_priority_only(*id));
    let vlan = vlans.next();
    vlans.next().is_none().then_some((Network::Plain(vlan), macs))
}

/// Adds a term, to one that differs in its tools only if there is one.
fn merge(terms: &mut Vec<Term>, term: Term) {
    let same = terms.iter_mut().find(|known| {
        (known.network, known.inner_vlan) == (term.network, term.inner_vlan)
            && (known.span.from, known.span.until) == (term.span.from, term.span.until)
    });
    match same {
        Some(known) => known.span.tools = known.span.tools.and(term.span.tools),
        None => terms.push(term),
    }
}

impl Span {
    #[inline]
    fn holds(&self, time: Timestamp) -> bool {
        self.from <= time && self.until.is_none_or(|until| time < until)
    }
}

/// Which tools may have a packet, and as what.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    whole: ToolSet,
    from_vm: ToolSet,
    to_vm: ToolSet,
    is_hidden: bool,
}

impl Seen {
    /// Adds tools, unless they have it already as something else.
    fn add(&mut self, other: Self) {
        let known = self.from_vm.and(self.to_vm);
        self.from_vm = self.from_vm.and(other.from_vm.without(known));
        self.to_vm = self.to_vm.and(other.to_vm.without(known));
    }
}

/// A packet and the tools that may have it.
#[derive(Debug)]
pub struct Admitted<'p, 'a> {
    packet: &'p Packet<'a>,
    seen: Seen,
}

impl<'p, 'a> Admitted<'p, 'a> {
    /// The tools.
    #[inline]
    pub const fn tools(&self) -> ToolSet {
        self.seen.whole.and(self.seen.from_vm).and(self.seen.to_vm)
    }

    /// Whether those that may not have it are refused because its owner cannot be known, not
    /// because it is another's.
    pub const fn is_undecidable(&self) -> bool {
        self.seen.is_hidden
    }

    /// The tools that see it go the same way as tool `number` does, itself included.
    #[inline]
    pub const fn alike(&self, number: usize) -> ToolSet {
        let Seen { whole, from_vm, to_vm, .. } = self.seen;
        if whole.has(number) {
            whole
        } else if from_vm.has(number) {
            from_vm.without(whole)
        } else {
            to_vm.without(from_vm).without(whole)
        }
    }

    /// The packet, cleared for tool `number`; `None` if it may not have it.
    #[inline]
    pub fn to(&self, number: usize) -> Option<Entitled<'p, 'a>> {
        let Seen { whole, from_vm, to_vm, .. } = self.seen;
        let direction = if whole.has(number) {
            self.packet.direction
        } else if from_vm.has(number) {
            Some(Direction::FromVm)
        } else if to_vm.has(number) {
            Some(Direction::ToVm)
        } else {
            return None;
        };
        Some(Entitled { packet: self.packet, direction, number })
    }
}

/// A packet that was compared with the grants of one tool, and may be handed to that one only.
#[derive(Debug, Clone, Copy)]
pub struct Entitled<'p, 'a> {
    packet: &'p Packet<'a>,
    direction: Option<Direction>,
    number: usize,
}

impl<'a> Entitled<'_, 'a> {
    /// The tool it was cleared for.
    #[inline]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The packet, with its direction as the tool's own VM sees it.
    #[inline]
    pub const fn packet(&self) -> Packet<'a> {
        Packet { direction: self.direction, ..*self.packet }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::{LinkType, TunnelPorts};

    use super::*;
    use crate::frames;
    use crate::guard::Guard;

    fn claims() -> impl Strategy<Value = Vec<Claim>> {
        let ownership = prop_oneof![
            1 => Just(Ownership::Whole),
            9 => frames::identities().prop_map(Ownership::Shared),
        ];
        let claim = (0_usize..6, ownership, 0_u64..8, prop::option::of(0_u64..10)).prop_map(
            |(number, ownership, from, until)| Claim {
                tools: ToolSet::one(number).unwrap(),
                ownership,
                from: Timestamp::from_nanos(from),
                until: until.map(Timestamp::from_nanos),
            },
        );
        prop::collection::vec(claim, 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// One look-up for all tools says of each what the guard of each of its claims says that
        /// is in force at the packet's time, and nothing without one.
        #[test]
        fn a_gate_admits_whom_a_guard_would(
            frame in frames::frames(), claims in claims(), time in 0_u64..10, kept in 1_usize..200,
        ) {
            let bytes = frame.bytes_with_all_tags();
            let data = &bytes[..bytes.len().min(kept)];
            let mut ports = TunnelPorts::default();
            claims.iter().for_each(|claim| claim.ownership.add_tunnel_ports(&mut ports));
            let time = Timestamp::from_nanos(time);
            let packet = Packet::new(time, LinkType::ETHERNET, data, 200);
            let layers = Layers::decode(packet.link, packet.data, &ports);
            let gate = Gate::new(&claims);
            let admitted = gate.admit(&packet, &layers);
            for number in 0..8 {
                let own = claims.iter().filter(|claim| claim.tools.has(number));
                let mut directions = Vec::new();
                for claim in own {
                    if claim.from <= time && claim.until.is_none_or(|until| time < until) {
                        let mut packet = packet;
                        let guard = Guard::new(&claim.ownership);
                        if let Ok(cleared) = guard.clear(&mut packet, &layers) {
                            directions.push(cleared.packet().direction);
                        }
                    }
                }
                prop_assert_eq!(admitted.tools().has(number), !directions.is_empty());
                match admitted.to(number) {
                    None => prop_assert!(directions.is_empty()),
                    Some(entitled) => {
                        prop_assert_eq!(entitled.number(), number);
                        prop_assert!(directions.contains(&entitled.packet().direction));
                    }
                }
            }
        }
    }
}
