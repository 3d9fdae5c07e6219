//! The questions that all words of the language come down to, and how a level answers them.

use std::sync::Arc;

use wire::{Layer, Level, Mac, Tunnel};

use super::arithmetic::{Accessor, Arithmetic, Compare, Width};
use super::expression::{Carrier, Direction, Way};
use super::members::Members;
use super::numbers::Numbers;
use super::place::{Carried, View};
use crate::OnWire;

/// One question about a level. libpcap asks the same of bytes; see `lower`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    /// The frame carries this EtherType.
    Carries(u16),
    /// The frame or a tag in it says that this EtherType follows.
    Names(u16),
    /// The frame has a length in place of an EtherType: LLC follows.
    HasLength,
    Bytes(Bytes),
    /// How long the frame is.
    Length {
        compare: Compare,
        value: u32,
    },
    Relation(Box<(Arithmetic, Compare, Arithmetic)>),
    /// The masked bits of a MAC.
    Mac {
        end: End,
        mask: u64,
        value: u64,
    },
    /// IP carries this protocol behind all that may stand between; `is_v6` says which IP.
    Chain {
        is_v6: bool,
        number: u32,
    },
    Goes(Way),
    Carrier(Box<Carrier>),
    Member {
        end: End,
        members: Arc<Members>,
    },
}

/// Masked bytes of the packet, compared with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) base: Base,
    /// Added to the base, wrapping.
    pub(crate) offset: u32,
    pub(crate) width: Width,
    pub(crate) mask: u32,
    pub(crate) compare: Compare,
    pub(crate) value: u32,
}

/// What offsets are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// The first byte of the frame.
    Frame,
    /// The first byte of what the frame carries.
    Payload,
    /// The first byte behind the IPv4 header that the frame carries.
    Transport,
}

/// One of the two ends of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Destination,
}

impl View<'_> {
    /// The answer, or `None` if bytes are missing that it depends on: then the level is no match,
    /// whatever else the expression says, as in libpcap.
    #[inline]
    pub(crate) fn answer(&self, test: &Test) -> Option<bool> {
        match test {
            Test::Carries(number) => match self.carried() {
                Carried::Type(found) => Some(found == *number),
                Carried::Other => Some(false),
                Carried::Cut => None,
            },
            Test::Bytes(bytes) => self.compares(bytes),
            Test::HasLength => match self.carried() {
                Carried::Type(found) => Some(found <= LAST_LENGTH),
                Carried::Other => Some(false),
                Carried::Cut => None,
            },
            Test::Names(number) => match self.carried() {
                Carried::Type(found) => Some(found == *number || self.names(*number)),
                Carried::Other => Some(self.names(*number)),
                Carried::Cut => None,
            },
            Test::Length { compare, value } => Some(compare.holds(self.wire_len(), *value)),
            Test::Relation(relation) => {
                let (left, compare, right) = &**relation;
                let left = self.number(left)?;
                Some(compare.holds(left, self.number(right)?))
            }
            Test::Mac { end, mask, value } => {
                let len = if *mask == GROUP_BIT { 1 } else { 6 };
                let mac = self.mac(*end == End::Source, len)?;
                Some(mac.is_some_and(|mac| mac_bits(mac) & mask == *value))
            }
            Test::Chain { is_v6, number } => self.chain(*is_v6).map(|found| found == *number),
            Test::Goes(way) => Some(match way {
                Way::In => self.packet.direction == Some(wire::Direction::ToVm),
                Way::Out => self.packet.direction == Some(wire::Direction::FromVm),
            }),
            Test::Carrier(carrier) if self.is_scoped => Some(self.has_carrier(carrier)),
            Test::Carrier(carrier) => Some(self.levels().any(|view| view.has_carrier(carrier))),
            Test::Member { end, members } if self.is_scoped => Some(self.has_member(*end, members)),
            Test::Member { end, members } => {
                Some(self.levels().any(|view| view.has_member(*end, members)))
            }
        }
    }

    #[inline]
    fn compares(&self, bytes: &Bytes) -> Option<bool> {
        let Bytes { base, offset, width, mask, compare, value } = *bytes;
        let found = self.bytes(self.at(base, offset)?, width)?;
        Some(compare.holds(found & mask, value))
    }

    /// Where a base and an offset are in the packet.
    #[inline]
    fn at(&self, base: Base, offset: u32) -> Option<usize> {
        let base = match base {
            Base::Frame => self.start(),
            Base::Payload => self.payload(),
            Base::Transport => {
                let first = self.bytes(self.payload(), Width::One)?;
                self.payload() + 4 * (first & 0x0f) as usize
            }
        };
        Some(u32::try_from(base).ok()?.wrapping_add(offset) as usize)
    }

    fn number(&self, arithmetic: &Arithmetic) -> Option<u32> {
        match arithmetic {
            Arithmetic::Number(number) => Some(*number),
            Arithmetic::Length => Some(self.wire_len()),
            Arithmetic::Bytes { header, offset, width } => {
                let offset = self.number(offset)?;
                let (base, start) = header.base();
                self.bytes(self.at(base, offset.wrapping_add(start))?, *width)
            }
            Arithmetic::Negative(of) => Some(self.number(of)?.wrapping_neg()),
            Arithmetic::Calculated { operator, left, right } => {
                let left = self.number(left)?;
                operator.apply(left, self.number(right)?)
            }
        }
    }

    /// The protocol behind the extension headers of IPv6 and any AH, as libpcap follows them.
    fn chain(&self, is_v6: bool) -> Option<u32> {
        let payload = self.payload();
        let byte = |at: usize| self.bytes(payload.checked_add(at)?, Width::One);
        let mut found = byte(if is_v6 { 6 } else { 9 })?;
        let mut at = if is_v6 { 40 } else { 4 * (byte(0)? & 0x0f) as usize };
        // Each header has at least 8 bytes, so this ends with the packet.
        loop {
            let len = match found {
                // Hop-by-hop, routing, fragment, destination options.
                0 | 43 | 44 | 60 if is_v6 => (byte(at + 1)? as usize + 1) * 8,
                51 => (byte(at + 1)? as usize + 2) * 4,
                _ => return Some(found),
            };
            found = byte(at)?;
            at += len;
        }
    }

    fn has_member(&self, end: End, members: &Members) -> bool {
        let Some(macs) = self.level.macs() else { return false };
        let mac = if end == End::Source { macs.source } else { macs.destination };
        members.has(mac, self.packet.time, |network| self.is_in(network))
    }

    /// Whether the frame is in `network`, and whoever says so may.
    pub(super) fn is_in(&self, network: OnWire) -> bool {
        let outer = self.number.checked_sub(1);
        let outer = outer.and_then(|n| self.layers.levels(self.packet.data).nth(n));
        self.is_of_the_site() && super::members::is_in(network, &self.level, outer.as_ref())
    }

    /// Whether what carries this level was made by the site, as the guard sees it: it stands on the
    /// underlay, or on a mirror's copy of that. A tunnel further in was made by a tenant, who may
    /// write into it whatever number and MAC he likes.
    fn is_of_the_site(&self) -> bool {
        let is_mirror = |level: Level<'_>| matches!(level.tunnel(), Some(Tunnel::Erspan { .. }));
        let between = self.number.saturating_sub(1);
        self.layers.levels(self.packet.data).skip(1).take(between).all(is_mirror)
    }

    /// Whether this very level has the tag, label or session, or was carried by the tunnel.
    fn has_carrier(&self, carrier: &Carrier) -> bool {
        let level = &self.level;
        let tunnel = || level.tunnel();
        match carrier {
            Carrier::Vlan(ids) => {
                level.vlans().any(|tag| ids.has(u32::from(tag.id.value())))
                    // A tag of which only the EtherType is there.
                    || (ids.is_any() && matches!(self.carried(), Carried::Type(t) if is_tag(t)))
            }
            Carrier::QinQ => level.vlans().nth(1).is_some(),
            Carrier::Mpls(labels) => {
                let carried_by = match tunnel() {
                    Some(Tunnel::Mpls { label }) => Some(label),
                    _ => None,
                };
                let mut all = level.mpls().map(|mpls| mpls.label).chain(carried_by);
                all.any(|label| labels.has(label))
                    || (labels.is_any() && matches!(self.carried(), Carried::Type(0x8847 | 0x8848)))
            }
            Carrier::PppoeDiscovery => self.names(0x8863) || self.carried() == PPPOE_DISCOVERY,
            Carrier::PppoeSession(ids) => {
                let session = level.has(Layer::Pppoe).then(|| level.pppoe()).flatten();
                session.is_some_and(|session| ids.has(u32::from(session.session)))
                    || (ids.is_any() && self.carried() == PPPOE_SESSION)
            }
            Carrier::Vni(numbers) => {
                let vni = tunnel().and_then(Tunnel::vni);
                vni.is_some_and(|vni| numbers.has(vni.value()))
            }
            Carrier::Vxlan(numbers) => match tunnel() {
                Some(Tunnel::Vxlan { vni, .. }) => numbers.has(vni.value()),
                Some(Tunnel::VxlanGpe { vni }) => numbers.may_be(vni.map(wire::Vni::value)),
                _ => false,
            },
            Carrier::Geneve(numbers) => match tunnel() {
                Some(Tunnel::Geneve { vni }) => numbers.has(vni.value()),
                _ => false,
            },
            Carrier::Gre(keys) => match tunnel() {
                Some(Tunnel::Gre { key, .. }) => keys.may_be(key),
                // ERSPAN is carried in GRE.
                Some(Tunnel::Erspan { .. }) => keys.is_any(),
                _ => false,
            },
            Carrier::Nvgre(subnets) => {
                tunnel().and_then(Tunnel::nvgre_vsid).is_some_and(|vsid| subnets.has(vsid))
            }
            Carrier::Erspan(sessions) => match tunnel() {
                Some(Tunnel::Erspan { session, .. }) => sessions.may_be(session.map(u32::from)),
                _ => false,
            },
            Carrier::VnTag { direction, vif } => {
                level.vntag().is_some_and(|tag| has_vif(*direction, vif, &tag))
            }
            Carrier::ETag(ids) => {
                level.etag().is_some_and(|tag| ids.has(tag.id) || ids.has(tag.ingress))
            }
            Carrier::Gtpu(ids) => match tunnel() {
                Some(Tunnel::Gtpu { teid }) => ids.has(teid),
                _ => false,
            },
        }
    }
}

fn has_vif(direction: Direction, vif: &Numbers, tag: &wire::header::VnTag) -> bool {
    direction.holds(
        || vif.has(u32::from(tag.source)),
        // A list's number is no interface's.
        || vif.is_any() || (!tag.is_list && vif.has(u32::from(tag.destination))),
    )
}

impl Direction {
    fn holds(self, source: impl Fn() -> bool, destination: impl Fn() -> bool) -> bool {
        match self {
            Self::Either => source() || destination(),
            Self::Source => source(),
            Self::Destination => destination(),
            Self::Both => source() && destination(),
        }
    }
}

impl Accessor {
    /// What its offsets are counted from, and how far behind that they begin.
    pub(crate) const fn base(self) -> (Base, u32) {
        match self {
            Self::Ether => (Base::Frame, 0),
            Self::Carried(_) => (Base::Payload, 0),
            Self::InIp(_) => (Base::Transport, 0),
            Self::Icmp6 => (Base::Payload, IPV6_LEN),
        }
    }
}

/// A MAC as a number.
pub(crate) const fn mac_bits(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// The EtherTypes of VLAN tags.
pub(crate) const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, 0x8100 | 0x88a8 | 0x9100 | 0x9200)
}

/// Every bit of a MAC.
pub(crate) const WHOLE_MAC: u64 = 0xffff_ffff_ffff;
/// The bit of a destination that makes it a group.
pub(crate) const GROUP_BIT: u64 = 0x0100_0000_0000;
/// The largest length of an IEEE 802.3 frame's payload.
pub(crate) const LAST_LENGTH: u16 = 1500;
/// The fixed header of IPv6.
pub(crate) const IPV6_LEN: u32 = 40;
const PPPOE_DISCOVERY: Carried = Carried::Type(0x8863);
const PPPOE_SESSION: Carried = Carried::Type(0x8864);
