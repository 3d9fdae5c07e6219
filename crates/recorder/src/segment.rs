//! One segment as a reader knows it: what its index tells, and what only its chunks' headers do.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use wire::Timestamp;

use crate::body::{Alive, Losses};
use crate::chunk::{CHUNK_HEAD, CHUNK_MAGIC, ChunkHeader, Kind, Place};
use crate::directory::{Directory, INDEX, NEW_INDEX, SEGMENT};
use crate::error::{Damage, DamageReason};
use crate::header::{HEADER_LEN, Header};
use crate::index::{Entry, open_blocks, seal_block};
use crate::key::KeyRing;
use crate::point::PointInfo;
use crate::seal::SegmentKeys;

/// A segment of a store.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) stem: String,
    pub(crate) header: Header,
    pub(crate) keys: Arc<SegmentKeys>,
    pub(crate) points: BTreeMap<u32, Known>,
    /// What was lost at points since their recording began, as it became known.
    pub(crate) losses: Vec<(Timestamp, u32, Losses)>,
    pub(crate) notes: Vec<(Timestamp, u32, String)>,
    /// Everything its points saw before is in it.
    pub(crate) settled: Timestamp,
    /// Whether the recording ended by itself in it.
    pub(crate) has_ended: bool,
    /// Whether it was read when nothing could come any more.
    pub(crate) is_complete: bool,
    pub(crate) damages: Vec<Damage>,
    /// What may be a chunk that is being written, or was never written to its end.
    tail: Option<Damage>,
    /// What was learned from headers because the index did not tell.
    unindexed: Vec<Entry>,
    /// Bytes of both files.
    pub(crate) bytes: u64,
    /// All chunks before are known.
    known_to: u64,
    index_at: u64,
    next_block: u64,
    is_index_damaged: bool,
}

/// What a segment tells of a point.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// `None` if its description is damaged.
    pub(crate) info: Option<Arc<PointInfo>>,
    /// From when on the segment has its packets.
    pub(crate) since: Timestamp,
    /// When it was not seen any more.
    pub(crate) gone: Option<Timestamp>,
    pub(crate) chunks: Vec<ChunkAt>,
}

/// Descriptions of points as they are written, and what they say: every segment repeats them.
pub(crate) type Infos = HashMap<Vec<u8>, Arc<PointInfo>>;

/// A chunk of packets and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkAt {
    pub(crate) offset: u64,
    pub(crate) header: ChunkHeader,
}

impl Segment {
    /// Reads what the segment holds, without its packets.
    pub(crate) fn read(
        directory: &Directory,
        ring: &KeyRing,
        stem: &str,
        infos: &mut Infos,
    ) -> Result<Self, Damage> {
        let damage = |reason| damage(stem, 0, reason);
        let file = directory.read(stem, SEGMENT).map_err(|error| damage(reading(&error)))?;
        let mut bytes = [0; HEADER_LEN];
        file.read_exact_at(&mut bytes, 0).map_err(|_| damage(DamageReason::NotASegment))?;
        let header = Header::decode(&bytes).ok_or_else(|| damage(DamageReason::NotASegment))?;
        let keys = Arc::new(header.keys(ring).map_err(damage)?);
        let mut segment = Self {
            stem: stem.to_owned(),
            settled: header.begin,
            header,
            keys,
            points: BTreeMap::new(),
            losses: Vec::new(),
            notes: Vec::new(),
            has_ended: false,
            is_complete: false,
            damages: Vec::new(),
            tail: None,
            unindexed: Vec::new(),
            bytes: 0,
            known_to: HEADER_LEN as u64,
            index_at: 0,
            next_block: 0,
            is_index_damaged: false,
        };
        segment.update(directory, infos).map_err(|error| damage(reading(&error)))?;
        Ok(segment)
    }

    /// Reads what was added since.
    pub(crate) fn update(&mut self, directory: &Directory, infos: &mut Infos) -> io::Result<()> {
        if self.has_ended || self.is_complete {
            return Ok(());
        }
        let file = directory.read(&self.stem, SEGMENT)?;
        // The length first: what the index tells of is in the file by then.
        let len = file.metadata()?.len();
        let index_len = self.read_index(directory, infos).unwrap_or(0);
        self.bytes = len + index_len;
        self.read_headers(&file, len, infos)
    }

    /// What cannot be read of it, as far as it is known without reading packets.
    pub(crate) fn damages(&self) -> impl Iterator<Item = &Damage> {
        self.damages.iter().chain(&self.tail)
    }

    /// Reads one chunk into `bytes` and opens it; its body is in the bytes of the range.
    pub(crate) fn read_chunk(
        file: &File,
        keys: &SegmentKeys,
        id: &[u8; 16],
        chunk: &ChunkAt,
        bytes: &mut Vec<u8>,
    ) -> Result<std::ops::Range<usize>, DamageReason> {
        let len = usize::try_from(chunk.header.chunk_len()).unwrap_or(usize::MAX);
        bytes.resize(len, 0);
        file.read_exact_at(bytes, chunk.offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => DamageReason::CutChunk,
            _ => reading(&error),
        })?;
        let place = Place { segment: id, offset: chunk.offset };
        match ChunkHeader::open_body(keys, place, bytes) {
            Some((header, body)) if header == chunk.header => {
                Ok(CHUNK_HEAD..CHUNK_HEAD + body.len())
            }
            _ => Err(DamageReason::ChangedChunk),
        }
    }

    fn read_index(&mut self, directory: &Directory, infos: &mut Infos) -> io::Result<u64> {
        let file = directory.read(&self.stem, INDEX)?;
        let len = file.metadata()?.len();
        if self.is_index_damaged {
            return Ok(len);
        }
        let mut bytes = vec![0; usize::try_from(len.saturating_sub(self.index_at)).unwrap_or(0)];
        file.read_exact_at(&mut bytes, self.index_at)?;
        let blocks = open_blocks(&self.keys, &self.header.id, self.next_block, &mut bytes);
        self.index_at += blocks.bytes as u64;
        self.next_block = blocks.next;
        self.is_index_damaged = blocks.is_damaged;
        for entry in blocks.entries {
            if entry.offset >= self.known_to {
                self.learn(entry, infos);
            }
        }
        self.known_to = self.known_to.max(blocks.until);
        Ok(len)
    }

    /// Goes from header to header through what the index does not tell of.
    fn read_headers(&mut self, file: &File, len: u64, infos: &mut Infos) -> io::Result<()> {
        self.tail = None;
        while self.known_to < len {
            let offset = self.known_to;
            let is_live = || flock(file, FlockOperation::NonBlockingLockShared).is_err();
            match self.header_at(file, offset) {
                Some(header) if offset + header.chunk_len() <= len => {
                    self.known_to += header.chunk_len();
                    self.learn_at(file, offset, header, infos);
                }
                Some(header) => {
                    self.tail = Some(Damage {
                        packets: Some(header.packets).filter(|packets| *packets > 0),
                        span: Some((header.first, header.last)),
                        ..damage(&self.stem, offset, DamageReason::CutChunk)
                    })
                    .filter(|_| !is_live());
                    break;
                }
                None => {
                    let next = self.next_header(file, offset, len)?;
                    let bytes = next.unwrap_or(len) - offset;
                    let damage = damage(&self.stem, offset, DamageReason::NoChunk { bytes });
                    let Some(next) = next else {
                        self.tail = Some(damage).filter(|_| !is_live());
                        break;
                    };
                    self.damages.push(damage);
                    self.known_to = next;
                }
            }
        }
        Ok(())
    }

    fn header_at(&self, file: &File, offset: u64) -> Option<ChunkHeader> {
        let mut head = [0; CHUNK_HEAD];
        file.read_exact_at(&mut head, offset).ok()?;
        let place = Place { segment: &self.header.id, offset };
        ChunkHeader::open(&self.keys, place, &head).map(|(header, _)| header)
    }

    /// Where the next chunk begins behind bytes that are none.
    fn next_header(&self, file: &File, from: u64, len: u64) -> io::Result<Option<u64>> {
        let mut window = vec![0; WINDOW];
        let mut at = from + 1;
        while at < len {
            let wanted = usize::try_from(len - at).unwrap_or(WINDOW).min(WINDOW);
            let Some(bytes) = window.get_mut(..wanted) else { return Ok(None) };
            file.read_exact_at(bytes, at)?;
            for (position, bytes) in bytes.windows(CHUNK_MAGIC.len()).enumerate() {
                let offset = at + position as u64;
                if bytes == CHUNK_MAGIC && self.header_at(file, offset).is_some() {
                    return Ok(Some(offset));
                }
            }
            at += (wanted - (CHUNK_MAGIC.len() - 1).min(wanted - 1)) as u64;
        }
        Ok(None)
    }

    fn learn_at(&mut self, file: &File, offset: u64, header: ChunkHeader, infos: &mut Infos) {
        let mut entry = Entry { offset, header, body: Vec::new() };
        if header.kind != Kind::Packets {
            let (mut bytes, chunk) = (Vec::new(), ChunkAt { offset, header });
            match Self::read_chunk(file, &self.keys, &self.header.id, &chunk, &mut bytes) {
                Ok(body) => entry.body = bytes.get(body).unwrap_or_default().to_vec(),
                Err(reason) => {
                    self.damages.push(damage(&self.stem, offset, reason));
                    return;
                }
            }
        }
        self.unindexed.push(entry.clone());
        self.learn(entry, infos);
    }

    fn learn(&mut self, entry: Entry, infos: &mut Infos) {
        let Entry { offset, header, body } = entry;
        match header.kind {
            Kind::Packets => {
                self.points
                    .entry(header.point)
                    .or_default()
                    .chunks
                    .push(ChunkAt { offset, header });
            }
            Kind::Point => {
                let info = infos.get(&body).cloned().or_else(|| {
                    let info: PointInfo = serde_json::from_slice(&body).ok()?;
                    let info = Arc::new(info);
                    infos.insert(body, Arc::clone(&info));
                    Some(info)
                });
                let known = self.points.entry(header.point).or_default();
                known.since =
                    if known.info.is_some() { known.since.min(header.first) } else { header.first };
                known.info = info.or_else(|| known.info.take());
            }
            Kind::Alive | Kind::End => {
                if let Some(alive) = Alive::decode(&body) {
                    self.settled = self.settled.max(alive.settled);
                    let told = alive.counts.into_iter();
                    self.losses.extend(told.map(|(point, losses)| (header.last, point, losses)));
                }
                self.has_ended |= header.kind == Kind::End;
            }
            Kind::Note => {
                let text = String::from_utf8_lossy(&body).into_owned();
                self.notes.push((header.first, header.point, text));
            }
            Kind::Gone => {
                self.points.entry(header.point).or_default().gone = Some(header.last);
            }
        }
    }
}

/// Completes the index of a segment that nobody writes to, if it lacks something; makes it anew if
/// it is damaged. A segment that cannot be read stays as it is.
pub(crate) fn mend_index(directory: &Directory, ring: &KeyRing, stem: &str) {
    let Ok(segment) = Segment::read(directory, ring, stem, &mut Infos::new()) else { return };
    if segment.unindexed.is_empty() && !segment.is_index_damaged {
        return;
    }
    let mut bytes = Vec::new();
    if let Ok(file) = directory.read(stem, INDEX) {
        bytes.resize(usize::try_from(segment.index_at).unwrap_or(0), 0);
        if file.read_exact_at(&mut bytes, 0).is_err() {
            return;
        }
    }
    let mut entries = Vec::new();
    for entry in &segment.unindexed {
        Entry::encode(&mut entries, entry.offset, &entry.header, &entry.body);
    }
    let (keys, id) = (&segment.keys, &segment.header.id);
    let Ok(block) = seal_block(keys, id, segment.next_block, segment.known_to, entries) else {
        return;
    };
    bytes.extend_from_slice(&block);
    directory.remove_file(stem, NEW_INDEX);
    let written = directory.create(stem, NEW_INDEX).and_then(|file| file.write_all_at(&bytes, 0));
    // It saves time and nothing else; the next start tries again.
    if written.and_then(|()| directory.rename(stem, NEW_INDEX, INDEX)).is_err() {
        directory.remove_file(stem, NEW_INDEX);
    }
}

pub(crate) fn damage(stem: &str, offset: u64, reason: DamageReason) -> Damage {
    Damage { segment: stem.to_owned(), offset, reason, packets: None, span: None }
}

pub(crate) fn reading(error: &io::Error) -> DamageReason {
    match error.kind() {
        io::ErrorKind::NotFound => DamageReason::Removed,
        _ => DamageReason::Unreadable(format!("it cannot be read: {error}")),
    }
}

/// Bytes looked through at once for the next chunk.
const WINDOW: usize = 1 << 20;

/// Makes a segment of `bytes` that are sealed as they are, or are the file itself, and reads it.
#[doc(hidden)]
pub fn fuzz_segment(folder: &std::path::Path, bytes: &[u8]) {
    let Ok(directory) = Directory::open(folder) else { return };
    let key = format!("overtap-recorder-key-1:{}", "07".repeat(32));
    let Ok(host) = crate::key::HostKey::try_from(key) else { return };
    let Some((mode, rest)) = bytes.split_first() else { return };
    let budget = crate::Budget { bytes: 64 << 20, age: None };
    let Ok((header, keys)) = Header::new(&host, [1; 16], 0, Timestamp::ZERO, &budget) else {
        return;
    };
    let stem = crate::directory::stem(Timestamp::ZERO, &[1; 16], 0);
    let (mut file, mut index) = (header.encode(), Vec::new());
    match mode % 4 {
        0 => file.extend_from_slice(rest),
        1 => file = rest.to_vec(),
        2 => {
            let until = file.len() as u64;
            if let Ok(block) = seal_block(&keys, &header.id, 0, until, rest.to_vec()) {
                index = block;
            }
        }
        _ => {
            // One chunk after the other, each with a kind and a length.
            let mut fields = crate::bytes::Bytes(rest);
            let mut number = 0;
            while let (Some(kind), Some(len)) = (fields.u8(), fields.u8()) {
                let Some(body) = fields.slice(usize::from(len)) else { break };
                let header_of_chunk = ChunkHeader {
                    kind: Kind::of(u32::from(kind % 6) + 1).unwrap_or(Kind::Note),
                    point: u32::from(kind / 128),
                    packets: u32::from(kind),
                    body_len: u32::from(len),
                    first: Timestamp::ZERO,
                    last: Timestamp::from_nanos(u64::MAX),
                };
                let mut chunk = vec![0; CHUNK_HEAD];
                chunk.extend_from_slice(body);
                let place = Place { segment: &header.id, offset: file.len() as u64 };
                if header_of_chunk.seal(&keys, number, place, &mut chunk).is_err() {
                    break;
                }
                number += 1;
                file.extend_from_slice(&chunk);
            }
        }
    }
    for (ending, bytes) in [(SEGMENT, &file), (INDEX, &index)] {
        directory.remove_file(&stem, ending);
        let _ = directory.create(&stem, ending).and_then(|new| new.write_all_at(bytes, 0));
    }
    let ring = KeyRing::of(host);
    let Ok(mut store) = crate::Store::open(folder, ring.clone()) else { return };
    let _ = (store.damages().count(), store.bytes());
    let ids: Vec<_> = store.names().into_iter().collect();
    let mut reading = store.read(&ids, Timestamp::ZERO, Timestamp::from_nanos(u64::MAX));
    let mut last = Timestamp::ZERO;
    while let Some(item) = reading.next() {
        if let crate::Item::Packet(packet) = item {
            assert!(packet.time >= last, "packets come in the order of time");
            last = packet.time;
        }
    }
    mend_index(&directory, &ring, &stem);
    let _ = store.refresh();
}
