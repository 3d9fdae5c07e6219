//! One segment while it is written: the file, its index, what the index does not tell yet.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use wire::Timestamp;

use crate::budget::Budget;
use crate::chunk::{CHUNK_HEAD, ChunkHeader, Kind, Place};
use crate::directory::{Directory, INDEX, SEGMENT, lock, stem};
use crate::header::{HEADER_LEN, Header};
use crate::index::{Entry, seal_block};
use crate::key::HostKey;
use crate::seal::{SegmentKeys, TAG_LEN};

/// A segment that chunks are appended to.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) stem: String,
    header: Header,
    keys: SegmentKeys,
    file: File,
    index: File,
    /// Where the next chunk begins.
    offset: u64,
    index_len: u64,
    /// Number of the next chunk, the seal of its nonces; never used twice, written or not.
    next_chunk: u64,
    next_block: u64,
    /// Entries the index does not have yet.
    pending: Vec<u8>,
    has_packets: bool,
}

impl Writer {
    /// Begins segment `number` of a recording.
    pub(crate) fn create(
        directory: &Directory,
        host: &HostKey,
        recording: [u8; 16],
        number: u64,
        begin: Timestamp,
        budget: &Budget,
    ) -> io::Result<Self> {
        let (header, keys) =
            Header::new(host, recording, number, begin, budget).map_err(refused)?;
        let stem = stem(begin, &recording, number);
        let file = directory.create(&stem, SEGMENT)?;
        lock(&file);
        let made =
            file.write_all_at(&header.encode(), 0).and_then(|()| directory.create(&stem, INDEX));
        let index = match made {
            Ok(index) => index,
            Err(error) => {
                let _ = directory.remove(&stem);
                return Err(error);
            }
        };
        Ok(Self {
            stem,
            header,
            keys,
            file,
            index,
            offset: HEADER_LEN as u64,
            index_len: 0,
            next_chunk: 0,
            next_block: 0,
            pending: Vec::new(),
            has_packets: false,
        })
    }

    /// Appends a chunk of `bytes`: [`CHUNK_HEAD`] bytes free, then the body. If the file takes it
    /// only after `make_room` has freed some, that is called until it says that it cannot.
    pub(crate) fn append(
        &mut self,
        header: &ChunkHeader,
        bytes: &mut Vec<u8>,
        mut make_room: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let body_at = self.pending.len();
        let body = bytes.get(CHUNK_HEAD..).unwrap_or_default();
        Entry::encode(&mut self.pending, self.offset, header, body);
        let place = Place { segment: &self.header.id, offset: self.offset };
        let number = self.next_chunk;
        self.next_chunk += 1;
        let sealed = header.seal(&self.keys, number, place, bytes).map_err(refused);
        let written = sealed.and_then(|()| {
            loop {
                match self.file.write_all_at(bytes, self.offset) {
                    Err(error) if is_full(&error) && make_room() => {}
                    result => return result,
                }
            }
        });
        if written.is_err() {
            // What of it got into the file is no chunk; the next one is written over it.
            let _ = self.file.set_len(self.offset);
            self.pending.truncate(body_at);
            return written;
        }
        self.offset += bytes.len() as u64;
        self.has_packets |= header.kind == Kind::Packets;
        Ok(())
    }

    /// Tells the index of what was appended since. One that cannot be written is told the next time:
    /// a block speaks of every chunk before its end, so none may be left out.
    pub(crate) fn write_index(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let (keys, entries) = (&self.keys, self.pending.clone());
        let block = seal_block(keys, &self.header.id, self.next_block, self.offset, entries);
        let Ok(block) = block else { return };
        match self.index.write_all_at(&block, self.index_len) {
            Ok(()) => {
                self.index_len += block.len() as u64;
                self.next_block += 1;
                self.pending.clear();
            }
            Err(_) => {
                let _ = self.index.set_len(self.index_len);
            }
        }
    }

    /// Whether a chunk with a body of this many bytes fits into what a segment may have. The first
    /// packets always do.
    pub(crate) fn has_room(&self, body_len: usize) -> bool {
        let chunk = (CHUNK_HEAD + body_len + TAG_LEN + INDEX_MARGIN) as u64;
        let used = self.offset + self.index_len + self.pending.len() as u64;
        !self.has_packets || used + chunk <= self.header.max_bytes
    }

    /// From when on it holds what was seen.
    pub(crate) const fn begin(&self) -> Timestamp {
        self.header.begin
    }
}

fn refused(_: crate::seal::Refused) -> io::Error {
    io::Error::other("the bytes could not be sealed")
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What a chunk adds to the index, and what is to come at the end of a segment.
const INDEX_MARGIN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyRing;
    use crate::segment::{Infos, Segment};

    #[test]
    fn an_index_that_cannot_be_written_for_a_while_leaves_no_chunk_out() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let host = HostKey::generate().unwrap();
        let budget = Budget { bytes: 64 << 20, age: None };
        let mut writer =
            Writer::create(&directory, &host, [1; 16], 0, Timestamp::ZERO, &budget).unwrap();
        let full = || File::open("/dev/null").unwrap();
        for number in 0..9 {
            let header = ChunkHeader {
                kind: Kind::Packets,
                point: 0,
                packets: 1,
                body_len: 4,
                first: Timestamp::ZERO,
                last: Timestamp::ZERO,
            };
            writer.append(&header, &mut vec![0; CHUNK_HEAD + 4], || false).unwrap();
            let is_full = number % 3 != 2;
            let index = is_full.then(|| std::mem::replace(&mut writer.index, full()));
            writer.write_index();
            if let Some(index) = index {
                writer.index = index;
            }
        }
        let ring = KeyRing::of(host);
        let segment = Segment::read(&directory, &ring, &writer.stem, &mut Infos::new()).unwrap();
        assert_eq!(segment.points[&0].chunks.len(), 9);
        assert_eq!(segment.damages().count(), 0);
    }
}
