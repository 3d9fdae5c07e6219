//! The index of a segment: what its chunks hold and where they are, in a file beside it.
//!
//! Rows of sealed blocks, each added when the chunks it tells of are written. It saves reading and
//! adds nothing: what it lacks, or what of it is damaged, is found in the chunks' own headers.

use crate::bytes::Bytes;
use crate::chunk::{ChunkHeader, Kind};
use crate::seal::{Refused, SegmentKeys, TAG_LEN};
use wire::Timestamp;

/// One chunk, as the index tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it begins in the segment.
    pub(crate) offset: u64,
    pub(crate) header: ChunkHeader,
    /// The body, of chunks without packets.
    pub(crate) body: Vec<u8>,
}

impl Entry {
    pub(crate) fn encode(out: &mut Vec<u8>, offset: u64, header: &ChunkHeader, body: &[u8]) {
        out.extend_from_slice(&offset.to_le_bytes());
        for word in [header.kind as u32, header.point, header.packets, header.body_len] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for time in [header.first, header.last] {
            out.extend_from_slice(&time.as_nanos().to_le_bytes());
        }
        if header.kind != Kind::Packets {
            out.extend_from_slice(body);
        }
    }

    fn decode(bytes: &mut Bytes<'_>) -> Option<Self> {
        let offset = bytes.u64()?;
        let header = ChunkHeader {
            kind: Kind::of(bytes.u32()?)?,
            point: bytes.u32()?,
            packets: bytes.u32()?,
            body_len: bytes.u32()?,
            first: Timestamp::from_nanos(bytes.u64()?),
            last: Timestamp::from_nanos(bytes.u64()?),
        };
        let body = match header.kind {
            Kind::Packets => &[][..],
            _ => bytes.slice(header.body_len as usize)?,
        };
        Some(Self { offset, header, body: body.to_vec() })
    }
}

/// Makes the block with this number of encoded entries, which tell of all chunks before offset
/// `until` of the segment.
pub(crate) fn seal_block(
    keys: &SegmentKeys,
    segment: &[u8; 16],
    number: u64,
    until: u64,
    mut entries: Vec<u8>,
) -> Result<Vec<u8>, Refused> {
    let len = u32::try_from(entries.len()).map_err(|_| Refused)?;
    let nonce = keys.seal_index(&bound(segment, number, until, len), &mut entries)?;
    let head = [&len.to_le_bytes()[..], &until.to_le_bytes(), &nonce].concat();
    Ok([head, entries].concat())
}

/// What was read of an index.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    pub(crate) entries: Vec<Entry>,
    /// Bytes of whole blocks.
    pub(crate) bytes: usize,
    /// Number of the next block.
    pub(crate) next: u64,
    /// The entries tell of all chunks of the segment before this offset.
    pub(crate) until: u64,
    /// Whether there was a block that was changed. A cut one at the end is none.
    pub(crate) is_damaged: bool,
}

/// Opens the blocks in `bytes`, of which the first has number `next`, up to a cut or changed one.
pub(crate) fn open_blocks(
    keys: &SegmentKeys,
    segment: &[u8; 16],
    next: u64,
    bytes: &mut [u8],
) -> Blocks {
    let mut blocks = Blocks { next, ..Blocks::default() };
    let mut rest = bytes;
    loop {
        let mut head = Bytes(rest);
        let (Some(len), Some(until), Some(nonce)) = (head.u32(), head.u64(), head.array()) else {
            return blocks;
        };
        let Some((_, body)) = rest.split_at_mut_checked(BLOCK_HEAD) else { return blocks };
        let sealed_len = (len as usize).saturating_add(TAG_LEN);
        let Some((sealed, behind)) = body.split_at_mut_checked(sealed_len) else { return blocks };
        let bound = bound(segment, blocks.next, until, len);
        let Ok(opened) = keys.open_index(nonce, &bound, sealed) else {
            blocks.is_damaged = true;
            return blocks;
        };
        let mut fields = Bytes(opened);
        while !fields.is_empty() {
            let Some(entry) = Entry::decode(&mut fields) else {
                blocks.is_damaged = true;
                return blocks;
            };
            blocks.entries.push(entry);
        }
        blocks.bytes += BLOCK_HEAD + sealed_len;
        blocks.next += 1;
        blocks.until = until;
        rest = behind;
    }
}

fn bound(segment: &[u8; 16], number: u64, until: u64, len: u32) -> Vec<u8> {
    let numbers = [number.to_le_bytes(), until.to_le_bytes()];
    [b"index", &segment[..], numbers.as_flattened(), &len.to_le_bytes()].concat()
}

/// Length of the entries, end of what they tell of, nonce.
const BLOCK_HEAD: usize = 4 + 8 + 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;
    use crate::key::HostKey;

    fn entry(offset: u64, kind: Kind, body: &[u8]) -> Entry {
        let header = ChunkHeader {
            kind,
            point: 1,
            packets: 9,
            body_len: if kind == Kind::Packets { 77 } else { u32::try_from(body.len()).unwrap() },
            first: Timestamp::from_nanos(3),
            last: Timestamp::from_nanos(4),
        };
        Entry { offset, header, body: body.to_vec() }
    }

    fn file(keys: &SegmentKeys) -> (Vec<u8>, usize) {
        let mut file = Vec::new();
        let mut first = 0;
        for number in 0..3 {
            let mut entries = Vec::new();
            for entry in entries_of(number) {
                Entry::encode(&mut entries, entry.offset, &entry.header, &entry.body);
            }
            file.extend(seal_block(keys, &[5; 16], number, 1000 * (number + 1), entries).unwrap());
            if number == 0 {
                first = file.len();
            }
        }
        (file, first)
    }

    fn entries_of(number: u64) -> [Entry; 2] {
        [entry(1000 * number, Kind::Packets, &[]), entry(1000 * number + 9, Kind::Note, b"hi")]
    }

    fn keys() -> SegmentKeys {
        let host = HostKey::generate().unwrap();
        let budget = crate::Budget { bytes: 64 << 20, age: None };
        Header::new(&host, [0; 16], 0, Timestamp::ZERO, &budget).unwrap().1
    }

    #[test]
    fn blocks_are_read_as_they_were_written() {
        let keys = keys();
        let (mut file, _) = file(&keys);
        let len = file.len();
        let blocks = open_blocks(&keys, &[5; 16], 0, &mut file);
        assert_eq!(blocks.entries, [entries_of(0), entries_of(1), entries_of(2)].concat());
        assert_eq!((blocks.bytes, blocks.next, blocks.until), (len, 3, 3000));
        assert!(!blocks.is_damaged);
    }

    #[test]
    fn what_stands_before_a_changed_block_is_used_and_nothing_behind() {
        let keys = keys();
        let (file, first) = file(&keys);
        for at in first..2 * first {
            let mut changed = file.clone();
            changed[at] ^= 1;
            let blocks = open_blocks(&keys, &[5; 16], 0, &mut changed);
            assert_eq!(blocks.entries, entries_of(0), "byte {at}");
            assert_eq!((blocks.bytes, blocks.until), (first, 1000));
        }
        let mut swapped = [&file[first..2 * first], &file[..first]].concat();
        assert!(open_blocks(&keys, &[5; 16], 0, &mut swapped).is_damaged);
        for cut in 0..first {
            let blocks = open_blocks(&keys, &[5; 16], 0, &mut file[..cut].to_vec());
            assert!(blocks.entries.is_empty() && !blocks.is_damaged, "cut is not changed");
        }
    }
}
