//! Packets of some machines out of a store, in the order of time.
//!
//! The index says which chunks have them; those are opened one after the other, as late as the
//! order allows, so what is in memory is what overlaps in time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::sync::Arc;

use wire::{LinkType, Packet, PointId, Timestamp};

use crate::bytes::Bytes;
use crate::directory::{Directory, SEGMENT};
use crate::error::{Damage, DamageReason};
use crate::packets::read_packet;
use crate::point::PointInfo;
use crate::seal::SegmentKeys;
use crate::segment::{ChunkAt, Segment, damage, reading};

/// Packets on their way out of a store.
#[derive(Debug)]
pub struct Reading {
    directory: Arc<Directory>,
    points: Vec<Arc<PointInfo>>,
    sources: Vec<SourceSegment>,
    /// Chunks still to be opened, the earliest last.
    planned: Vec<Planned>,
    from: Timestamp,
    to: Timestamp,
    open: BinaryHeap<OpenChunk>,
    /// Whether the first packet of the first open chunk was shown.
    is_shown: bool,
    spare: Vec<Vec<u8>>,
    damage: Option<Damage>,
    opened: u64,
}

/// What comes next out of a store.
#[derive(Debug)]
pub enum Item<'a> {
    /// A packet; its point is a number in [`Reading::points`].
    Packet(Packet<'a>),
    /// Something that cannot be read. What comes after it can.
    Damage(&'a Damage),
}

impl Reading {
    pub(crate) fn new(directory: Arc<Directory>, from: Timestamp, to: Timestamp) -> Self {
        Self {
            directory,
            points: Vec::new(),
            sources: Vec::new(),
            planned: Vec::new(),
            from,
            to,
            open: BinaryHeap::new(),
            is_shown: false,
            spare: Vec::new(),
            damage: None,
            opened: 0,
        }
    }

    /// Plans to read what `is_wanted` of a segment.
    pub(crate) fn add(&mut self, segment: &Segment, is_wanted: impl Fn(&PointInfo) -> bool) {
        let source = self.sources.len();
        let before = self.planned.len();
        for known in segment.points.values() {
            let point = match &known.info {
                Some(info) if is_wanted(info) => Some(self.point(info)),
                Some(_) => continue,
                // Whose it is nobody knows; that is said, and it is not shown.
                None => None,
            };
            let is_then =
                |chunk: &&ChunkAt| chunk.header.last >= self.from && chunk.header.first < self.to;
            let chunks = known.chunks.iter().filter(is_then);
            self.planned.extend(chunks.map(|chunk| Planned { source, chunk: *chunk, point }));
        }
        let chunks = self.planned.len() - before;
        if chunks > 0 {
            self.sources.push(SourceSegment {
                stem: segment.stem.clone(),
                id: segment.header.id,
                keys: Arc::clone(&segment.keys),
                file: None,
                chunks,
            });
        }
    }

    /// All segments were added.
    pub(crate) fn begin(mut self) -> Self {
        self.planned.sort_by_key(|planned| {
            let Planned { source, chunk, .. } = planned;
            std::cmp::Reverse((chunk.header.first, *source, chunk.offset))
        });
        self
    }

    /// The points whose packets may come.
    pub fn points(&self) -> &[Arc<PointInfo>] {
        &self.points
    }

    /// Packets in the chunks that will be opened; those at their edges may not be wanted.
    pub fn planned_packets(&self) -> u64 {
        self.planned.iter().map(|planned| u64::from(planned.chunk.header.packets)).sum()
    }

    /// The next packet, lent until the next call; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Option<Item<'_>> {
        if std::mem::take(&mut self.is_shown)
            && let Some(mut first) = self.open.peek_mut()
            && !first.go_on()
        {
            self.spare.push(PeekMut::pop(first).bytes);
        }
        self.damage = None;
        while let Some(planned) = self.planned.last() {
            let earliest = self.open.peek().map(OpenChunk::time);
            let is_due = earliest.is_none_or(|time| planned.chunk.header.first <= time);
            if !is_due || self.open.len() >= MOST_OPEN {
                break;
            }
            let planned = *planned;
            self.planned.pop();
            if let Err(damage) = self.load(&planned) {
                self.damage = Some(damage);
                return self.damage.as_ref().map(Item::Damage);
            }
        }
        let first = self.open.peek()?;
        self.is_shown = true;
        first.packet().map(Item::Packet)
    }

    /// Opens a chunk and lists its packets in the order of time.
    fn load(&mut self, planned: &Planned) -> Result<(), Damage> {
        let header = &planned.chunk.header;
        let Some(source) = self.sources.get_mut(planned.source) else { return Ok(()) };
        let damaged = |source: &SourceSegment, reason| Damage {
            packets: Some(header.packets),
            span: Some((header.first, header.last)),
            ..damage(&source.stem, planned.chunk.offset, reason)
        };
        let Some(point) = planned.point else {
            return Err(damaged(source, DamageReason::UnknownPoint));
        };
        let file =
            match source.file.take().map_or_else(|| self.directory.read(&source.stem, SEGMENT), Ok)
            {
                Ok(file) => file,
                Err(error) => return Err(damaged(source, reading(&error))),
            };
        let mut bytes = self.spare.pop().unwrap_or_default();
        let body = Segment::read_chunk(&file, &source.keys, &source.id, &planned.chunk, &mut bytes);
        source.chunks = source.chunks.saturating_sub(1);
        if source.chunks > 0 {
            source.file = Some(file);
        }
        let body = body.map_err(|reason| damaged(source, reason))?;
        let mut order = Vec::with_capacity(header.packets as usize);
        let mut rest = Bytes(bytes.get(body.clone()).unwrap_or_default());
        let whole = rest.0.len();
        while !rest.is_empty() {
            let at = body.start + whole - rest.0.len();
            let Some(packet) = read_packet(&mut rest, LinkType::ETHERNET) else {
                // Sealed as it is: whoever wrote it was not us.
                return Err(damaged(source, DamageReason::ChangedChunk));
            };
            if packet.time >= self.from && packet.time < self.to {
                order.push((packet.time, u32::try_from(at).unwrap_or(u32::MAX)));
            }
        }
        if !order.is_sorted_by_key(|(time, _)| *time) {
            order.sort_by_key(|(time, _)| *time);
        }
        if order.is_empty() {
            self.spare.push(bytes);
            return Ok(());
        }
        self.opened += 1;
        self.open.push(OpenChunk {
            point,
            bytes,
            end: body.end,
            order,
            at: 0,
            number: self.opened,
        });
        Ok(())
    }

    /// The number of a point; segments and recordings that describe the same one share it.
    fn point(&mut self, info: &Arc<PointInfo>) -> u32 {
        let is_same =
            |known: &Arc<PointInfo>| known.label == info.label && known.machine == info.machine;
        let number = match self.points.iter().position(is_same) {
            Some(number) => {
                if let Some(known) = self.points.get_mut(number)
                    && known.ownership != info.ownership
                {
                    Arc::make_mut(known).own(&info.ownership);
                }
                number
            }
            None => {
                self.points.push(Arc::clone(info));
                self.points.len() - 1
            }
        };
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

/// A segment that chunks are read from.
#[derive(Debug)]
struct SourceSegment {
    stem: String,
    id: [u8; 16],
    keys: Arc<SegmentKeys>,
    file: Option<File>,
    /// Chunks of it still to be read.
    chunks: usize,
}

/// A chunk that will be opened.
#[derive(Debug, Clone, Copy)]
struct Planned {
    source: usize,
    chunk: ChunkAt,
    /// `None` where nothing says whose it is.
    point: Option<u32>,
}

/// A chunk in memory.
#[derive(Debug)]
struct OpenChunk {
    point: u32,
    bytes: Vec<u8>,
    /// Where the packets end in the bytes.
    end: usize,
    /// Time and place of its packets.
    order: Vec<(Timestamp, u32)>,
    at: usize,
    /// Chunks opened earlier come first at the same time.
    number: u64,
}

impl OpenChunk {
    fn time(&self) -> Timestamp {
        self.order.get(self.at).map_or(Timestamp::ZERO, |(time, _)| *time)
    }

    /// Whether there is another packet.
    fn go_on(&mut self) -> bool {
        self.at += 1;
        self.at < self.order.len()
    }

    fn packet(&self) -> Option<Packet<'_>> {
        let (_, at) = self.order.get(self.at)?;
        let mut bytes = Bytes(self.bytes.get(*at as usize..self.end)?);
        let packet = read_packet(&mut bytes, LinkType::ETHERNET)?;
        Some(Packet { point: PointId(self.point), ..packet })
    }
}

impl Ord for OpenChunk {
    /// The heap shows its greatest: the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.time(), other.number).cmp(&(self.time(), self.number))
    }
}

impl PartialOrd for OpenChunk {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for OpenChunk {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for OpenChunk {}

/// Chunks in memory at once; only clocks that jump can need more, and then the order suffers.
const MOST_OPEN: usize = 1024;
