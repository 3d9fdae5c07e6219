//! The beginning of a segment file: what it is, and its keys under the host's key.
//!
//! 512 bytes, little-endian. Two slots for the wrapped keys, so that a change of the host's key can
//! be written beside the old one before that is wiped.

use wire::Timestamp;

use crate::budget::Budget;
use crate::bytes::Bytes;
use crate::error::DamageReason;
use crate::key::{HostKey, KeyId, KeyRing};
use crate::seal::{Refused, SegmentKeys, WRAPPED_LEN, Wrapped, fill, rewrap};

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Random: binds chunks and index to this segment.
    pub(crate) id: [u8; 16],
    /// Random: the same for all segments of one run of a recorder.
    pub(crate) recording: [u8; 16],
    /// Place among the segments of the run, from 0.
    pub(crate) number: u64,
    /// From when on it holds what its points saw.
    pub(crate) begin: Timestamp,
    /// Its file and the index together never get larger.
    pub(crate) max_bytes: u64,
    /// Bytes that the recorder may use for all segments.
    pub(crate) budget_bytes: u64,
    /// How old its packets may get, in seconds; 0 is without limit.
    pub(crate) max_age_s: u64,
    slots: [Option<Slot>; 2],
}

/// The keys of a segment under one host key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    key: KeyId,
    wrapped: Wrapped,
}

impl Header {
    /// The header of a new segment, and its keys.
    pub(crate) fn new(
        host: &HostKey,
        recording: [u8; 16],
        number: u64,
        begin: Timestamp,
        budget: &Budget,
    ) -> Result<(Self, SegmentKeys), Refused> {
        let mut id = [0; 16];
        fill(&mut id)?;
        let mut header = Self {
            id,
            recording,
            number,
            begin,
            max_bytes: budget.segment_bytes(),
            budget_bytes: budget.bytes,
            max_age_s: budget.age.map_or(0, |age| age.as_secs()),
            slots: [None, None],
        };
        let (keys, wrapped) = SegmentKeys::generate(host, &header.bound())?;
        header.slots = [Some(Slot { key: host.id(), wrapped }), None];
        Ok((header, keys))
    }

    /// Reads it; `None` if it is none of ours.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes.get(..HEADER_LEN)?);
        if bytes.array::<8>()? != *MAGIC || bytes.u16()? != VERSION {
            return None;
        }
        bytes.slice(6)?;
        let (id, recording) = (bytes.array()?, bytes.array()?);
        let (number, begin, max_bytes) = (bytes.u64()?, bytes.u64()?, bytes.u64()?);
        let (budget_bytes, max_age_s) = (bytes.u64()?, bytes.u64()?);
        let begin = Timestamp::from_nanos(begin);
        let slots = [slot(&mut bytes)?, slot(&mut bytes)?];
        Some(Self { id, recording, number, begin, max_bytes, budget_bytes, max_age_s, slots })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.bound();
        for slot in &self.slots {
            match slot {
                Some(Slot { key, wrapped }) => {
                    out.extend_from_slice(&key.0);
                    out.extend_from_slice(wrapped);
                }
                None => out.extend_from_slice(&[0; SLOT_LEN]),
            }
        }
        out.resize(HEADER_LEN, 0);
        out
    }

    /// The segment's keys.
    pub(crate) fn keys(&self, ring: &KeyRing) -> Result<SegmentKeys, DamageReason> {
        let bound = self.bound();
        let mut reason = DamageReason::ChangedHeader;
        for slot in self.slots.iter().flatten() {
            let Some(host) = ring.find(slot.key) else {
                reason = DamageReason::UnknownKey(slot.key);
                continue;
            };
            match SegmentKeys::unwrap(host, &bound, &slot.wrapped) {
                Ok(keys) => return Ok(keys),
                Err(Refused) => reason = DamageReason::ChangedHeader,
            }
        }
        Err(reason)
    }

    /// The names of the host keys it can be opened with.
    pub(crate) fn key_ids(&self) -> Vec<KeyId> {
        self.slots.iter().flatten().map(|slot| slot.key).collect()
    }

    /// The header with the first key of `ring` beside the one it has, and the header with the
    /// first key alone: to be written one after the other. `None` if there is nothing to change.
    pub(crate) fn with_first_key(&self, ring: &KeyRing) -> Option<[Self; 2]> {
        let new = ring.first()?;
        let mut slots = self.slots.iter().flatten();
        if slots.clone().all(|slot| slot.key == new.id()) {
            return None;
        }
        let bound = self.bound();
        let (old, wrapped) = slots.find_map(|slot| {
            let wrapped = rewrap(ring.find(slot.key)?, new, &bound, &slot.wrapped).ok()?;
            Some((*slot, wrapped))
        })?;
        let fresh = Slot { key: new.id(), wrapped };
        let is_second = self.slots.first() == Some(&Some(old));
        let both = if is_second { [Some(old), Some(fresh)] } else { [Some(fresh), Some(old)] };
        let alone = if is_second { [None, Some(fresh)] } else { [Some(fresh), None] };
        Some([Self { slots: both, ..self.clone() }, Self { slots: alone, ..self.clone() }])
    }

    /// What the wrapped keys are bound to: everything before them.
    fn bound(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.recording);
        let sizes = [self.max_bytes, self.budget_bytes, self.max_age_s];
        for number in [self.number, self.begin.as_nanos()].into_iter().chain(sizes) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }
}

/// An empty slot is all zeroes.
fn slot(bytes: &mut Bytes<'_>) -> Option<Option<Slot>> {
    let (key, wrapped) = (KeyId(bytes.array()?), bytes.array::<WRAPPED_LEN>()?);
    Some((key.0 != [0; 8]).then_some(Slot { key, wrapped }))
}

const MAGIC: &[u8; 8] = b"OVTAPREC";
const VERSION: u16 = 1;
const SLOT_LEN: usize = 8 + WRAPPED_LEN;
/// Bytes of the header: one sector, which a disk writes as a whole.
pub(crate) const HEADER_LEN: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> KeyRing {
        KeyRing::of(HostKey::generate().unwrap())
    }

    const BUDGET: Budget = Budget { bytes: 64 << 20, age: None };

    fn header(ring: &KeyRing) -> Header {
        let begin = Timestamp::from_nanos(7);
        Header::new(ring.first().unwrap(), [1; 16], 3, begin, &BUDGET).unwrap().0
    }

    #[test]
    fn a_header_is_read_as_it_was_written_and_not_when_it_was_changed() {
        let ring = ring();
        let header = header(&ring);
        let bytes = header.encode();
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(Header::decode(&bytes).unwrap(), header);
        assert!(header.keys(&ring).is_ok());
        for cut in 0..HEADER_LEN {
            assert_eq!(Header::decode(&bytes[..cut]), None);
        }
        for at in 0..88 + SLOT_LEN {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let read = Header::decode(&changed).map(|header| header.keys(&ring).is_ok());
            // The six bytes behind the version are for later.
            assert_eq!(read.unwrap_or(false), (10..16).contains(&at), "byte {at}");
        }
    }

    #[test]
    fn another_key_file_opens_nothing_and_names_what_is_missing() {
        let (mine, other) = (ring(), ring());
        let id = mine.first().unwrap().id();
        let refused = header(&mine).keys(&other).unwrap_err();
        assert_eq!(refused, DamageReason::UnknownKey(id));
    }

    #[test]
    fn a_new_host_key_is_written_beside_the_old_before_that_goes() {
        let mut ring = ring();
        let mut header = header(&ring);
        for _ in 0..3 {
            let old = KeyRing::of(ring.first().unwrap().clone());
            ring.add_new().unwrap();
            let new = KeyRing::of(ring.first().unwrap().clone());
            let [both, alone] = header.with_first_key(&ring).unwrap();
            assert!(both.keys(&old).is_ok() && both.keys(&new).is_ok());
            assert!(alone.keys(&old).is_err() && alone.keys(&new).is_ok());
            assert_eq!(alone.with_first_key(&ring), None);
            header = Header::decode(&alone.encode()).unwrap();
        }
    }
}
