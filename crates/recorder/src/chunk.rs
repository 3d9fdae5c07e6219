//! A chunk: some packets of one point, or a fact about the recording, under two seals.
//!
//! 64 bytes of header, then the sealed body and its tag. The header's own seal is bound to segment
//! and offset, so that a chunk is refused at any other place; the body's is bound to the header.
//! Magic and number are in the clear, everything that tells of machines and times is not.

use wire::Timestamp;

use crate::bytes::Bytes;
use crate::seal::{Part, Refused, SegmentKeys, TAG_LEN};

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A description of a point, as JSON.
    Point = 1,
    /// Packets of a point.
    Packets = 2,
    /// Until when everything seen is written, and what was lost.
    Alive = 3,
    /// A sentence.
    Note = 4,
    /// The point is not seen any more from `last` on.
    Gone = 5,
    /// The recording ended by itself.
    End = 6,
}

/// What is known of a chunk without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkHeader {
    pub(crate) kind: Kind,
    /// Number of the point within the recording.
    pub(crate) point: u32,
    /// Packets in it.
    pub(crate) packets: u32,
    /// Bytes of the body, without its tag.
    pub(crate) body_len: u32,
    /// The earliest time in it.
    pub(crate) first: Timestamp,
    /// The latest time in it.
    pub(crate) last: Timestamp,
}

/// A chunk's place: what its seals are bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The segment.
    pub(crate) segment: &'a [u8; 16],
    /// Offset of its first byte in the file.
    pub(crate) offset: u64,
}

impl ChunkHeader {
    /// Bytes of the chunk in the file.
    pub(crate) fn chunk_len(&self) -> u64 {
        (CHUNK_HEAD + TAG_LEN) as u64 + u64::from(self.body_len)
    }

    /// Makes a chunk of `bytes`, whose first [`CHUNK_HEAD`] bytes are free for the header and
    /// whose rest is the body.
    pub(crate) fn seal(
        &self,
        keys: &SegmentKeys,
        number: u64,
        place: Place<'_>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let (head, body) = bytes.split_first_chunk_mut::<CHUNK_HEAD>().ok_or(Refused)?;
        *head = self.sealed(keys, number, place)?;
        let tag = keys.seal(number, Part::Body, &place.bound_with(head), body)?;
        bytes.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens the header of a chunk at `place`; its number comes with it.
    pub(crate) fn open(
        keys: &SegmentKeys,
        place: Place<'_>,
        head: &[u8; CHUNK_HEAD],
    ) -> Option<(Self, u64)> {
        let (clear, sealed) = head.split_first_chunk::<CLEAR_LEN>()?;
        let mut fields = Bytes(clear);
        if fields.array::<8>()? != *CHUNK_MAGIC {
            return None;
        }
        let number = fields.u64()?;
        let mut sealed: [u8; CHUNK_HEAD - CLEAR_LEN] = *sealed.first_chunk()?;
        let opened = keys.open(number, Part::Header, &place.bound_with(clear), &mut sealed).ok()?;
        Some((Self::decode(opened)?, number))
    }

    /// Opens the body behind the header; `chunk` is all of it, and the body comes back.
    pub(crate) fn open_body<'b>(
        keys: &SegmentKeys,
        place: Place<'_>,
        chunk: &'b mut [u8],
    ) -> Option<(Self, &'b mut [u8])> {
        let (head, body) = chunk.split_first_chunk_mut::<CHUNK_HEAD>()?;
        let (header, number) = Self::open(keys, place, head)?;
        let body = keys.open(number, Part::Body, &place.bound_with(head), body).ok()?;
        (body.len() == header.body_len as usize).then_some((header, body))
    }

    fn sealed(
        &self,
        keys: &SegmentKeys,
        number: u64,
        place: Place<'_>,
    ) -> Result<[u8; CHUNK_HEAD], Refused> {
        let mut clear = [0; CLEAR_LEN];
        let (magic, counted) = clear.split_at_mut(CHUNK_MAGIC.len());
        magic.copy_from_slice(CHUNK_MAGIC);
        counted.copy_from_slice(&number.to_le_bytes());
        let mut fields = self.encode();
        let tag = keys.seal(number, Part::Header, &place.bound_with(&clear), &mut fields)?;
        let parts = [&clear[..], &fields, &tag].concat();
        parts.first_chunk().copied().ok_or(Refused)
    }

    fn encode(&self) -> [u8; FIELDS_LEN] {
        let words = [self.kind as u32, self.point, self.packets, self.body_len];
        let times = [self.first.as_nanos(), self.last.as_nanos()];
        let mut out = [0; FIELDS_LEN];
        let (first, second) = out.split_at_mut(16);
        for (place, word) in first.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        for (place, time) in second.chunks_exact_mut(8).zip(times) {
            place.copy_from_slice(&time.to_le_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        Some(Self {
            kind: Kind::of(bytes.u32()?)?,
            point: bytes.u32()?,
            packets: bytes.u32()?,
            body_len: bytes.u32().filter(|len| *len <= MOST_BODY_BYTES)?,
            first: Timestamp::from_nanos(bytes.u64()?),
            last: Timestamp::from_nanos(bytes.u64()?),
        })
    }
}

impl Kind {
    pub(crate) const fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Point,
            2 => Self::Packets,
            3 => Self::Alive,
            4 => Self::Note,
            5 => Self::Gone,
            6 => Self::End,
            _ => return None,
        })
    }
}

impl Place<'_> {
    fn bound_with(&self, bytes: &[u8]) -> Vec<u8> {
        [&self.segment[..], &self.offset.to_le_bytes(), bytes].concat()
    }
}

/// What every chunk begins with; where bytes are damaged the next chunk is looked for by it.
pub(crate) const CHUNK_MAGIC: &[u8; 8] = b"OVTCHUNK";
const CLEAR_LEN: usize = 16;
const FIELDS_LEN: usize = 32;
/// Bytes of a chunk before its body.
pub(crate) const CHUNK_HEAD: usize = CLEAR_LEN + FIELDS_LEN + TAG_LEN;

/// Bytes of packets after which a chunk is written.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;
/// No chunk has a longer body: a packet of the longest kind alone, or a description of a point.
pub(crate) const MOST_BODY_BYTES: u32 = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;
    use crate::key::HostKey;

    fn keys() -> SegmentKeys {
        let host = HostKey::generate().unwrap();
        let budget = crate::Budget { bytes: 64 << 20, age: None };
        Header::new(&host, [0; 16], 0, Timestamp::ZERO, &budget).unwrap().1
    }

    const HEADER: ChunkHeader = ChunkHeader {
        kind: Kind::Packets,
        point: 3,
        packets: 2,
        body_len: 5,
        first: Timestamp::from_nanos(10),
        last: Timestamp::from_nanos(20),
    };
    const PLACE: Place<'_> = Place { segment: &[9; 16], offset: 512 };

    fn sealed(keys: &SegmentKeys) -> Vec<u8> {
        let mut bytes = vec![0; CHUNK_HEAD];
        bytes.extend_from_slice(b"hello");
        HEADER.seal(keys, 7, PLACE, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_chunk_opens_where_it_was_sealed() {
        let keys = keys();
        let mut bytes = sealed(&keys);
        assert_eq!(bytes.len() as u64, HEADER.chunk_len());
        let (header, body) = ChunkHeader::open_body(&keys, PLACE, &mut bytes).unwrap();
        assert_eq!((header, &*body), (HEADER, &b"hello"[..]));
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let keys = keys();
        let bytes = sealed(&keys);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert!(ChunkHeader::open_body(&keys, PLACE, &mut changed).is_none(), "byte {at}");
        }
        for cut in 0..bytes.len() {
            assert!(ChunkHeader::open_body(&keys, PLACE, &mut bytes[..cut].to_vec()).is_none());
        }
    }

    #[test]
    fn at_another_place_it_is_no_chunk() {
        let keys = keys();
        let moved = Place { offset: 513, ..PLACE };
        let other = Place { segment: &[8; 16], ..PLACE };
        assert!(ChunkHeader::open_body(&keys, moved, &mut sealed(&keys)).is_none());
        assert!(ChunkHeader::open_body(&keys, other, &mut sealed(&keys)).is_none());
    }

    #[test]
    fn a_body_under_another_header_is_refused() {
        let keys = keys();
        let mut one = sealed(&keys);
        let mut other = vec![0; CHUNK_HEAD];
        other.extend_from_slice(b"other");
        HEADER.seal(&keys, 8, PLACE, &mut other).unwrap();
        one.truncate(CHUNK_HEAD);
        one.extend_from_slice(&other[CHUNK_HEAD..]);
        assert!(ChunkHeader::open_body(&keys, PLACE, &mut one).is_none());
    }
}
