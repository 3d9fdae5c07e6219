//! The table of flows: found by hash, held in slots that do not move.
//!
//! Open addressing over small words, so that most of a search stays within one cache line and the
//! flows themselves are touched only if the upper bits of their hash agree.

use super::entry::{Cold, Hot};
use crate::key::FlowKey;

#[derive(Debug)]
pub(super) struct Table {
    /// Upper half of the hash, and one more than the slot; 0 is free. A power of two, at most half
    /// full.
    index: Vec<Place>,
    hot: Vec<Hot>,
    /// `None` where no flow is.
    cold: Vec<Option<Cold>>,
    free: Vec<u32>,
    len: usize,
    most: usize,
    /// Where the search for an old flow goes on.
    hand: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    tag: u32,
    slot: u32,
}

impl Table {
    pub(super) fn new(most: u32) -> Self {
        Self {
            index: vec![Place::default(); 1024],
            hot: Vec::new(),
            cold: Vec::new(),
            free: Vec::new(),
            len: 0,
            most: (most as usize).max(1),
            hand: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_full(&self) -> bool {
        self.len >= self.most
    }

    #[inline]
    pub(super) fn hot(&self, slot: u32) -> Option<&Hot> {
        self.hot.get(slot as usize)
    }

    pub(super) fn cold(&self, slot: u32) -> Option<&Cold> {
        self.cold.get(slot as usize)?.as_ref()
    }

    /// What every packet changes, and where the rest is.
    #[inline]
    pub(super) fn parts_mut(&mut self, slot: u32) -> Option<(&mut Hot, &mut Option<Cold>)> {
        Some((self.hot.get_mut(slot as usize)?, self.cold.get_mut(slot as usize)?))
    }

    /// The slots that are taken.
    pub(super) fn slots(&self) -> Vec<u32> {
        let taken = (0..).zip(&self.cold).filter(|(_, entry)| entry.is_some());
        taken.map(|(slot, _)| slot).collect()
    }

    #[inline]
    pub(super) fn find(&self, key: &FlowKey, hash: u64) -> Option<u32> {
        let mask = self.index.len() - 1;
        let mut at = home(hash, mask);
        loop {
            let place = *self.index.get(at)?;
            if place.slot == 0 {
                return None;
            }
            if place.tag == tag(hash)
                && let Some(hot) = self.hot(place.slot - 1)
                && hot.key() == key
            {
                return Some(place.slot - 1);
            }
            at = (at + 1) & mask;
        }
    }

    /// Reads where the search for a flow begins, so that it is at hand when it is needed.
    #[inline]
    pub(super) fn touch_index(&self, hash: u64) -> u32 {
        self.index.get(home(hash, self.index.len() - 1)).map_or(0, |place| place.tag)
    }

    /// Reads the flow with which the search will most likely end.
    #[inline]
    pub(super) fn touch_flow(&self, hash: u64) -> u32 {
        let place = self.index.get(home(hash, self.index.len() - 1)).copied().unwrap_or_default();
        self.hot(place.slot.wrapping_sub(1)).map_or(0, Hot::touch)
    }

    /// Puts in a flow that is not there, and says where.
    pub(super) fn insert(&mut self, hash: u64, hot: Hot, cold: Cold) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.hot.push(hot);
            self.cold.push(None);
            u32::try_from(self.hot.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some((own, rest)) = self.parts_mut(slot) {
            *own = hot;
            *rest = Some(cold);
        }
        self.len += 1;
        if self.len * 2 > self.index.len() {
            self.grow();
        } else {
            self.place(Place { tag: tag(hash), slot: slot + 1 }, hash);
        }
        slot
    }

    /// Takes out a flow.
    pub(super) fn remove(&mut self, slot: u32) -> Option<(Hot, Cold)> {
        let cold = self.cold.get_mut(slot as usize)?.take()?;
        let hot = *self.hot.get(slot as usize)?;
        self.free.push(slot);
        self.len -= 1;
        let mask = self.index.len() - 1;
        let mut hole = home(cold.hash(), mask);
        while self.index.get(hole).is_some_and(|place| place.slot != slot + 1) {
            hole = (hole + 1) & mask;
        }
        // Whatever stands behind and could not stand at its home moves up.
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let place = self.index.get(at).copied().unwrap_or_default();
            if place.slot == 0 {
                break;
            }
            let Some(moved) = self.cold(place.slot - 1) else { break };
            let from_home = at.wrapping_sub(home(moved.hash(), mask)) & mask;
            if from_home >= (at.wrapping_sub(hole) & mask) {
                self.put(hole, place);
                hole = at;
            }
        }
        self.put(hole, Place::default());
        Some((hot, cold))
    }

    /// Of some flows, the one that was silent longest. Which are asked goes round.
    pub(super) fn oldest_of_some(&mut self) -> Option<u32> {
        let mut oldest: Option<(u64, u32)> = None;
        let mut asked = 0;
        for _ in 0..self.hot.len() {
            self.hand = (self.hand + 1) % self.hot.len();
            if let (Some(hot), Some(Some(_))) = (self.hot.get(self.hand), self.cold.get(self.hand))
            {
                let slot = u32::try_from(self.hand).unwrap_or(u32::MAX);
                let candidate = (hot.last(), slot);
                oldest = Some(oldest.map_or(candidate, |oldest| oldest.min(candidate)));
                asked += 1;
                if asked == CANDIDATES {
                    break;
                }
            }
        }
        oldest.map(|(_, slot)| slot)
    }

    fn grow(&mut self) {
        self.index = vec![Place::default(); self.index.len() * 2];
        let places: Vec<(u64, u32)> = (1..)
            .zip(&self.cold)
            .filter_map(|(slot, cold)| Some((cold.as_ref()?.hash(), slot)))
            .collect();
        for (hash, slot) in places {
            self.place(Place { tag: tag(hash), slot }, hash);
        }
    }

    fn place(&mut self, place: Place, hash: u64) {
        let mask = self.index.len() - 1;
        let mut at = home(hash, mask);
        while self.index.get(at).is_some_and(|place| place.slot != 0) {
            at = (at + 1) & mask;
        }
        self.put(at, place);
    }

    fn put(&mut self, at: usize, place: Place) {
        if let Some(found) = self.index.get_mut(at) {
            *found = place;
        }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the mask takes what is wanted")]
const fn home(hash: u64, mask: usize) -> usize {
    hash as usize & mask
}

#[inline]
const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// How many flows are asked for the oldest.
const CANDIDATES: usize = 16;
