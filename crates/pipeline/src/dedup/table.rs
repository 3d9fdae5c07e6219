//! The packets of the last while, found by what they have in common with their copies.
//!
//! A ring in the order of arrival; older packets are overwritten, none is ever taken out. The
//! index is one chain of positions for each bucket, newest first, as compressors keep them: what
//! is behind the oldest position of interest ends a chain, so nothing has to be cleaned up.

use super::identity::{Carriage, Depth, Identity, fold};
use crate::network::Network;

/// A packet that was kept, and may yet be seen again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) identity: Identity,
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    pub(super) network: Network,
    pub(super) shape: u32,
    pub(super) macs: u32,
    pub(super) ttl: u8,
    /// Whether it names no network and may be a packet of several.
    pub(super) is_anyones: bool,
    /// Number of its observation point.
    pub(super) point: u16,
    /// The same for all packets that one place shows in one way; see [`Place`].
    vantage: u32,
    /// The one before in the bucket, and the next one with the same key.
    before: u32,
    next: u32,
    /// The newest sighting of a copy.
    last_sighting: u32,
}

/// A copy of a kept packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighted {
    /// Of which packet.
    kept: u32,
    pub(super) point: u16,
    vantage: u32,
    /// Nanoseconds after the kept one, negative if its time is earlier.
    pub(super) delay: i64,
    before: u32,
}

/// Where a packet was seen: the point, and all that tells two places apart which the point shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) point: u16,
    pub(super) vantage: u32,
}

/// Whether a packet is a copy of one that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IsCopy {
    No,
    /// If it is of no other.
    Perhaps,
    Yes,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    tag: u64,
    position: u32,
}

#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    buckets: Vec<u32>,
    /// For packets that come again and again at one place: the last one of them there. Only ever
    /// a shorter way, so it may forget.
    cursors: Vec<Cursor>,
    sightings: Vec<Sighted>,
    depth: Depth,
    /// The position the next entry gets.
    next: u32,
    /// The oldest position of interest.
    floor: u32,
    next_sighting: u32,
    window: u64,
    newest: u64,
    /// How much older than the newest packet before it a packet has been, as a power of two.
    lateness: u64,
    /// Packets forgotten before their window was over.
    pub(super) overflowed: u64,
}

impl Table {
    pub(super) fn new(window: u64) -> Self {
        Self {
            entries: Vec::new(),
            buckets: vec![0; BUCKETS],
            cursors: vec![Cursor::default(); CURSORS],
            sightings: Vec::new(),
            depth: Depth::WHOLE,
            next: FIRST,
            floor: FIRST,
            next_sighting: FIRST,
            window,
            newest: 0,
            lateness: 0,
            overflowed: 0,
        }
    }

    /// Takes note of the time of the next packet, and forgets those too old for it.
    #[inline]
    pub(super) fn pass_to(&mut self, time: u64) {
        if time >= self.newest {
            self.newest = time;
        } else if self.newest - time > self.lateness {
            self.widen(self.newest - time);
        }
        let horizon = self.newest.saturating_sub(self.window).saturating_sub(self.lateness);
        while self.floor != self.next
            && self.entry(self.floor).is_some_and(|entry| entry.time < horizon)
        {
            self.floor = self.floor.wrapping_add(1);
        }
    }

    /// Time has stepped back further than before: older packets are of interest again.
    #[cold]
    fn widen(&mut self, lateness: u64) {
        self.lateness = lateness.checked_next_power_of_two().unwrap_or(u64::MAX);
        let held = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.floor = self.next.wrapping_sub(held);
    }

    /// The depth at which a packet can be found, which becomes the depth of the index if it is
    /// less than that; `None` if the packet is cut so much that it cannot be compared.
    #[inline]
    pub(super) fn key(&mut self, identity: &Identity) -> Option<u64> {
        match identity.key(self.depth) {
            Some(key) => Some(key),
            None => self.rebuild(identity),
        }
    }

    /// Happens at most once for each depth.
    #[cold]
    fn rebuild(&mut self, identity: &Identity) -> Option<u64> {
        let depth = identity.deepest()?;
        // A packet that is short and cut may need less than it shows.
        let key = identity.key(depth)?;
        self.depth = depth;
        self.buckets.fill(0);
        self.cursors.fill(Cursor::default());
        let mut position = self.floor;
        while position != self.next {
            if let Some(entry) = self.entry(position)
                && let Some(key) = entry.identity.key(depth)
            {
                let newest = self.newest_of(key);
                let before = self.bucket(key);
                if let Some(entry) = self.entry_mut(position) {
                    (entry.before, entry.next) = (before, 0);
                }
                self.link(key, newest, position);
            }
            position = position.wrapping_add(1);
        }
        Some(key)
    }

    /// The oldest packet that `is_copy` says `identity` is, or else may be, a copy of, within the
    /// window and not seen at `place` before. `series` is the same for equal packets at one place.
    #[inline]
    pub(super) fn find(
        &self,
        key: u64,
        identity: &Identity,
        (time, place, series): (u64, Place, u64),
        mut is_copy: impl FnMut(&Entry) -> IsCopy,
    ) -> Option<u32> {
        let newest = self.newest_of(key)?;
        let mut fits = |position: u32, entry: &Entry| {
            let may_be = entry.time.abs_diff(time) <= self.window
                && entry.identity.matches(identity)
                && self.is_new_at(position, entry, place);
            if may_be { is_copy(entry) } else { IsCopy::No }
        };
        let mut found = None;
        if let Some(last) = self.cursor(series) {
            // All before were seen here, or are not of this kind.
            let mut position = self.entry(last)?.next;
            for _ in 0..MAX_STEPS {
                let Some(entry) = self.entry(position) else { break };
                match fits(position, entry) {
                    IsCopy::Yes => return Some(position),
                    IsCopy::Perhaps => found = found.or(Some(position)),
                    IsCopy::No => {}
                }
                position = entry.next;
            }
            return found;
        }
        let mut is_sure = false;
        let mut position = newest;
        for _ in 0..MAX_STEPS {
            let Some(entry) = self.entry(position) else { break };
            if self.has_key(entry, key) {
                match fits(position, entry) {
                    IsCopy::Yes => (found, is_sure) = (Some(position), true),
                    IsCopy::Perhaps if !is_sure => found = Some(position),
                    IsCopy::Perhaps | IsCopy::No => {}
                }
            }
            position = entry.before;
        }
        found
    }

    /// Keeps a packet and says at which position.
    #[inline]
    pub(super) fn insert(
        &mut self,
        key: u64,
        identity: Identity,
        carriage: &Carriage,
        (time, place, series): (u64, Place, u64),
    ) -> u32 {
        let position = self.next;
        let newest = self.newest_of(key);
        let entry = Entry {
            identity,
            time,
            network: carriage.around.network,
            shape: carriage.around.shape,
            macs: carriage.macs,
            ttl: carriage.ttl,
            is_anyones: false,
            point: place.point,
            vantage: place.vantage,
            before: self.bucket(key),
            next: 0,
            last_sighting: 0,
        };
        let oldest = position.wrapping_sub(ENTRIES);
        if self.floor == oldest {
            let is_wanted = |oldest: &Entry| oldest.time.abs_diff(time) <= self.window;
            self.overflowed += u64::from(self.entry(oldest).is_some_and(is_wanted));
            self.floor = oldest.wrapping_add(1);
        }
        match self.entries.get_mut((position % ENTRIES) as usize) {
            Some(slot) => *slot = entry,
            None => self.entries.push(entry),
        }
        self.next = position.wrapping_add(1);
        self.link(key, newest, position);
        if newest.is_some() {
            self.remember(series, position);
        }
        position
    }

    /// Notes that a copy of the packet at `position` was seen.
    pub(super) fn sight(&mut self, position: u32, (time, place, series): (u64, Place, u64)) {
        let number = self.next_sighting;
        let Some(entry) = self.entry_mut(position) else { return };
        let delay = i128::from(time) - i128::from(entry.time);
        let sighted = Sighted {
            kept: position,
            point: place.point,
            vantage: place.vantage,
            delay: i64::try_from(delay).unwrap_or_default(),
            before: std::mem::replace(&mut entry.last_sighting, number),
        };
        match self.sightings.get_mut((number % SIGHTINGS) as usize) {
            Some(slot) => *slot = sighted,
            None => self.sightings.push(sighted),
        }
        self.next_sighting = number.wrapping_add(1);
        self.remember(series, position);
    }

    /// The packet at a position, unless it is forgotten.
    #[inline]
    pub(super) fn entry(&self, position: u32) -> Option<&Entry> {
        let is_held =
            self.next.wrapping_sub(position).wrapping_sub(1) < self.next.wrapping_sub(self.floor);
        self.entries.get((position % ENTRIES) as usize).filter(|_| is_held)
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, position: u32) -> Option<&mut Entry> {
        self.entry(position)?;
        self.entries.get_mut((position % ENTRIES) as usize)
    }

    /// The copies seen of the packet at a position, newest first.
    pub(super) fn sightings(&self, position: u32) -> impl Iterator<Item = &Sighted> {
        let mut number = self.entry(position).map_or(0, |entry| entry.last_sighting);
        std::iter::from_fn(move || {
            let age = self.next_sighting.wrapping_sub(number).wrapping_sub(1);
            let sighted = self.sightings.get((number % SIGHTINGS) as usize)?;
            if number == 0 || age >= SIGHTINGS || sighted.kept != position {
                return None;
            }
            number = sighted.before;
            Some(sighted)
        })
        .take(MAX_SIGHTINGS)
    }

    /// Whether `entry` was not seen at `place` yet, and has room for one more sighting.
    #[inline]
    fn is_new_at(&self, position: u32, entry: &Entry, place: Place) -> bool {
        let mut seen = 0;
        entry.vantage != place.vantage
            && self.sightings(position).all(|sighted| {
                seen += 1;
                sighted.vantage != place.vantage
            })
            && seen < MAX_SIGHTINGS
    }

    #[inline]
    fn bucket(&self, key: u64) -> u32 {
        self.buckets.get(place_of(key, BUCKETS)).copied().unwrap_or_default()
    }

    /// The newest packet with this key.
    #[inline]
    fn newest_of(&self, key: u64) -> Option<u32> {
        let mut position = self.bucket(key);
        for _ in 0..MAX_STEPS {
            let entry = self.entry(position)?;
            if self.has_key(entry, key) {
                return Some(position);
            }
            position = entry.before;
        }
        None
    }

    #[inline]
    fn has_key(&self, entry: &Entry, key: u64) -> bool {
        entry.identity.key(self.depth) == Some(key)
    }

    #[inline]
    fn link(&mut self, key: u64, newest: Option<u32>, position: u32) {
        if let Some(newest) = newest
            && let Some(newest) = self.entry_mut(newest)
        {
            newest.next = position;
        }
        if let Some(bucket) = self.buckets.get_mut(place_of(key, BUCKETS)) {
            *bucket = position;
        }
    }

    fn cursor(&self, series: u64) -> Option<u32> {
        let cursor = self.cursors.get(place_of(series, CURSORS))?;
        (cursor.tag == series && self.entry(cursor.position).is_some()).then_some(cursor.position)
    }

    fn remember(&mut self, series: u64, position: u32) {
        if let Some(cursor) = self.cursors.get_mut(place_of(series, CURSORS)) {
            *cursor = Cursor { tag: series, position };
        }
    }
}

impl Place {
    /// What is the same for equal packets that are seen the same way at this place.
    pub(super) const fn series(self, identity: &Identity) -> u64 {
        fold(identity.whole(), self.vantage as u64)
    }
}

/// Where a hash has its place among `places`, a power of two.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a place needs fewer bits")]
const fn place_of(hash: u64, places: usize) -> usize {
    hash as usize & (places - 1)
}

/// Packets held at most; a power of two.
const ENTRIES: u32 = 1 << 17;
const BUCKETS: usize = 1 << 17;
const CURSORS: usize = 1 << 13;
/// Copies held at most; a power of two.
const SIGHTINGS: u32 = 1 << 15;
/// Copies of one packet that are told apart.
const MAX_SIGHTINGS: usize = 64;
/// How many packets are looked at to find one, so that a flood of equal ones stays cheap.
const MAX_STEPS: usize = 256;
/// The first position, and the first number of a copy. 0 is nowhere.
const FIRST: u32 = ENTRIES;

/// The most bytes of memory a table takes.
pub(super) const MAX_BYTES: usize = ENTRIES as usize * size_of::<Entry>()
    + BUCKETS * size_of::<u32>()
    + CURSORS * size_of::<Cursor>()
    + SIGHTINGS as usize * size_of::<Sighted>();
