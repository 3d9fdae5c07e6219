//! One packet seen at several points is one packet: which of them are copies.
//!
//! Two packets are copies of each other if the innermost frame is the same but for what changes
//! on the way, they were seen at different places within the window, and their networks are one
//! tenant's. Equal packets at one place are traffic: retransmissions, repeated datagrams. The
//! n-th of them at one place is the n-th at another. The first that is offered is kept.
//!
//! Places are different interfaces, and what one interface shows of different places: the streams
//! of two mirrors, two networks or kinds of tunnel, both sides of a router.
//!
//! Memory is bounded ([`Dedup::MAX_BYTES`]), time is that of the packets, and the same packets in
//! the same order always get the same answers. What is not recognised: a copy whose addresses or
//! ports were translated, one that was fragmented or put together on the way (fragments are
//! compared as they are), the segments of a super-frame.

mod identity;
mod report;
mod table;
mod tenants;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use wire::{Layers, Packet, PointId};

use crate::Network;
use crate::network::Relation;

use identity::{Carriage, Identity, fold};
use report::Accounts;
pub use report::{Delay, KeptApart, Pair, SeenAt};
use table::{Entry, IsCopy, Place, Table};
pub use tenants::{NamedTwice, NetworkName, TenantMap, Tenants};

/// Tells the first sighting of each packet from its copies.
#[derive(Debug)]
pub struct Dedup {
    table: Table,
    tenants: Tenants,
    places: Places,
    accounts: Accounts,
    copies: u64,
    incomparable: u64,
    out_of_reach: u64,
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// Seen for the first time, as far as is known; or nothing that can be compared.
    First(Option<KeptId>),
    /// A copy of a packet that was kept.
    Copy {
        /// Which packet.
        of: KeptId,
        /// Nanoseconds after the kept one was seen, negative if its time is earlier.
        delay_ns: i64,
    },
}

/// A packet that was kept. Means something until 131 072 more were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeptId(u32);

impl Dedup {
    /// How far apart in time copies may be, unless told: copies on one host are.
    pub const WINDOW: Duration = Duration::from_millis(10);

    /// The most bytes of memory it takes, whatever is offered.
    pub const MAX_BYTES: usize = table::MAX_BYTES;

    /// A table without packets.
    pub fn new(window: Duration, tenants: Tenants) -> Self {
        Self {
            table: Table::new(u64::try_from(window.as_nanos()).unwrap_or(u64::MAX)),
            tenants,
            places: Places::default(),
            accounts: Accounts::default(),
            copies: 0,
            incomparable: 0,
            out_of_reach: 0,
        }
    }

    /// Says what the interface `point` is called, so that a map of tenants can speak of it.
    pub fn name_point(&mut self, point: PointId, name: &str) {
        if let Tenants::Mapped(map) = &self.tenants
            && let Some(tenant) = map.of_point(name)
        {
            self.places.tenants.insert(point, tenant);
        }
    }

    /// Whether `packet` was seen before. Packets should come in the order of time; those that do
    /// not are compared as long as what they are a copy of is still held.
    ///
    /// `layers` must be those of the same bytes, without a frame check sequence.
    #[inline]
    pub fn offer(&mut self, packet: &Packet<'_>, layers: &Layers) -> Sighting {
        let time = packet.time.as_nanos();
        self.table.pass_to(time);
        let Some((identity, carriage)) = Identity::of(packet, layers) else {
            self.incomparable += 1;
            return Sighting::First(None);
        };
        let Some(key) = self.table.key(&identity) else {
            self.incomparable += 1;
            return Sighting::First(None);
        };
        let Some(place) = self.places.of(packet.point, &carriage) else {
            self.out_of_reach += 1;
            return Sighting::First(None);
        };
        let moment = (time, place, place.series(&identity));
        let origin = self.origin(key, &identity, &carriage, moment);
        if let Origin::CopyOf(kept) = origin {
            let delay_ns = self.note(kept, &carriage, moment);
            return Sighting::Copy { of: KeptId(kept), delay_ns };
        }
        let kept = self.table.insert(key, identity, &carriage, moment);
        if origin == Origin::Ambiguous
            && let Some(entry) = self.table.entry_mut(kept)
        {
            entry.is_anyones = true;
        }
        Sighting::First(Some(KeptId(kept)))
    }

    /// Where else the packet `kept` was seen, and how many nanoseconds later; the newest first.
    pub fn sightings(&self, kept: KeptId) -> impl Iterator<Item = (SeenAt, i64)> {
        let sightings = self.table.sightings(kept.0);
        sightings.filter_map(|sighted| Some((self.places.seen_at(sighted.point)?, sighted.delay)))
    }

    /// Copies found.
    pub const fn copies(&self) -> u64 {
        self.copies
    }

    /// The copies between each two places, at most 256 pairs.
    pub fn pairs(&self) -> impl Iterator<Item = Pair> {
        self.accounts.pairs()
    }

    /// Copies between places for which there was no room in [`pairs`](Self::pairs).
    pub const fn copies_of_other_pairs(&self) -> u64 {
        self.accounts.other_pairs
    }

    /// Equal packets at different places that were all kept, because their networks have different
    /// names and no [`TenantMap`] says that they are one tenant's. At most 256 pairs of networks.
    pub fn kept_apart(&self) -> impl Iterator<Item = KeptApart> {
        self.accounts.kept_apart()
    }

    /// Packets that show too little to be compared: cut before the transport header, or empty.
    pub const fn incomparable(&self) -> u64 {
        self.incomparable
    }

    /// Packets forgotten before their window was over, because there were too many. A copy of one
    /// of them was kept.
    pub const fn overflowed(&self) -> u64 {
        self.table.overflowed + self.out_of_reach
    }

    /// Where this packet comes from.
    #[inline]
    fn origin(
        &mut self,
        key: u64,
        identity: &Identity,
        carriage: &Carriage,
        moment: (u64, Place, u64),
    ) -> Origin {
        let Self { table, tenants, places, accounts, .. } = self;
        let point = moment.1.point;
        let mut unsaid: Option<Network> = None;
        let (mut is_sure, mut is_ambiguous) = (false, false);
        let mut apart = None;
        let found = table.find(key, identity, moment, |entry| {
            if entry.point == point && !is_another_place(entry, carriage) {
                return IsCopy::No;
            }
            let relation = tenants.relation(
                (&entry.network, places.tenant(entry.point)),
                (&carriage.around.network, places.tenant(point)),
            );
            match relation {
                Relation::Same => {
                    is_sure = true;
                    IsCopy::Yes
                }
                Relation::OtherTenant => IsCopy::No,
                Relation::Different => {
                    apart = Some(entry.network);
                    IsCopy::No
                }
                Relation::Unsaid if entry.is_anyones => IsCopy::No,
                Relation::Unsaid => {
                    let network = entry.network;
                    // Two networks hold this packet: nobody knows whose this one is.
                    is_ambiguous |= unsaid.is_some_and(|other| other != network);
                    unsaid = Some(network);
                    if is_on_its_way(entry, carriage) { IsCopy::Perhaps } else { IsCopy::No }
                }
            }
        });
        if let Some(kept) = found.filter(|_| is_sure || !is_ambiguous) {
            return Origin::CopyOf(kept);
        }
        if let Some(other) = apart.or(unsaid) {
            accounts.keep_apart(other, carriage.around.network);
        }
        if is_ambiguous { Origin::Ambiguous } else { Origin::New }
    }

    /// Notes a copy of the packet at position `kept`, and says how much later it came.
    fn note(&mut self, kept: u32, carriage: &Carriage, moment: (u64, Place, u64)) -> i64 {
        self.copies += 1;
        self.table.sight(kept, moment);
        let (time, place, _) = moment;
        let Some(entry) = self.table.entry_mut(kept) else { return 0 };
        let delay = i128::from(time) - i128::from(entry.time);
        let delay = i64::try_from(delay).unwrap_or_default();
        // Now it is known whose the packet is.
        if entry.network.is_unnamed() {
            entry.network = carriage.around.network;
        }
        let first = self.places.seen_at(entry.point);
        if let (Some(first), Some(second)) = (first, self.places.seen_at(place.point)) {
            self.accounts.count(first, second, delay);
        }
        delay
    }
}

/// What a packet is to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The same as the one at this position of the table.
    CopyOf(u32),
    /// It could be a packet of several networks, and names none itself.
    Ambiguous,
    New,
}

/// Whether one point may show a packet and a copy of it that looks like this: carried in another
/// way, or behind a router.
fn is_another_place(entry: &Entry, carriage: &Carriage) -> bool {
    entry.shape != carriage.around.shape
        || entry.network != carriage.around.network
        || entry.ttl > carriage.ttl && entry.macs != carriage.macs
}

/// Whether a frame that names no network may be the other one before or behind a bridge, which
/// leaves MACs and TTL alone, or behind a router, which takes one from the TTL.
fn is_on_its_way(entry: &Entry, carriage: &Carriage) -> bool {
    entry.ttl != carriage.ttl
        || entry.macs == carriage.macs
        || entry.macs == 0
        || carriage.macs == 0
}

/// The places where packets were seen, numbered in the order they came up.
#[derive(Debug, Default)]
struct Places {
    list: Vec<SeenAt>,
    /// Numbers of interfaces without a mirror, one more than they are, 0 for none yet.
    plain: Vec<u16>,
    mirrored: BTreeMap<SeenAt, u16>,
    /// Whose the packets of an interface are, where a map says so.
    tenants: BTreeMap<PointId, u32>,
}

impl Places {
    #[inline]
    fn of(&mut self, point: PointId, carriage: &Carriage) -> Option<Place> {
        let mirror = carriage.around.mirror;
        let number = match self.plain.get(point.0 as usize) {
            Some(&number @ 1..) if mirror.is_none() => number - 1,
            _ => self.number(SeenAt { point, mirror })?,
        };
        let network = carriage.around.network;
        let overlay = network.overlay;
        let overlay =
            overlay.map_or(0, |name| (u64::from(name.number) << 8) | (name.kind as u64 + 1));
        let way = u64::from(carriage.around.shape) << 32 | u64::from(network.vlans);
        let here = u64::from(number) << 8 | u64::from(carriage.ttl);
        let vantage = (fold(fold(here, way), overlay) >> 32) as u32;
        Some(Place { point: number, vantage })
    }

    fn seen_at(&self, number: u16) -> Option<SeenAt> {
        self.list.get(usize::from(number)).copied()
    }

    fn tenant(&self, number: u16) -> Option<u32> {
        if self.tenants.is_empty() {
            return None;
        }
        let seen_at = self.seen_at(number)?;
        self.tenants.get(&seen_at.point).copied()
    }

    #[cold]
    fn number(&mut self, seen_at: SeenAt) -> Option<u16> {
        if let Some(&number) = self.mirrored.get(&seen_at) {
            return Some(number);
        }
        if self.list.len() >= MAX_PLACES {
            return None;
        }
        let number = u16::try_from(self.list.len()).ok()?;
        self.list.push(seen_at);
        self.mirrored.insert(seen_at, number);
        if seen_at.mirror.is_none() && (seen_at.point.0 as usize) < MAX_PLACES {
            let index = seen_at.point.0 as usize;
            if self.plain.len() <= index {
                self.plain.resize(index + 1, 0);
            }
            if let Some(slot) = self.plain.get_mut(index) {
                *slot = number + 1;
            }
        }
        Some(number)
    }
}

/// Places told apart; packets seen at further ones are kept.
const MAX_PLACES: usize = 65_535;
