//! Packets taken out of a reader many at once, with the bytes they stand in.
//!
//! Nearly all of a capture file is packets that are written as everybody writes them. They are
//! checked one behind the other where they lie, and then go as one piece: to another thread, or
//! through a loop that looks at each but copies none. Whatever else there is, and whatever is
//! damaged, [`Reader::advance`](super::Reader::advance) shows.

use std::sync::Arc;

use super::order::{ByteOrder, padded};
use super::pcap::Ordinary;
use super::pcapng::{self, FULL_PACKET_DATA, Port};
use super::reader::Head;
use super::{BlockType, Options, Record};
use crate::{PointId, Timestamp};

/// Packets that stood one behind the other in a file.
#[derive(Debug, Default)]
pub struct Chunk {
    pub(crate) room: Vec<u8>,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Where in the file the first one begins.
    pub(crate) offset: u64,
    /// The number of the first one, from 1.
    pub(crate) number: u64,
    pub(crate) len: usize,
    pub(crate) layout: Layout,
}

impl Chunk {
    /// A chunk without packets.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many packets there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The packets, in the order of the file.
    #[inline]
    pub fn records(&self) -> Records<'_> {
        self.records_from(Mark { at: 0, number: self.number })
    }

    /// The packets from `mark` on, which must be of this chunk.
    #[inline]
    pub fn records_from(&self, mark: Mark) -> Records<'_> {
        let bytes = self.room.get(self.start..self.end).unwrap_or_default();
        Records { bytes, mark, offset: self.offset, layout: &self.layout }
    }

    /// The mark at the first packet.
    pub const fn first(&self) -> Mark {
        Mark { at: 0, number: self.number }
    }
}

/// A place between two packets of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    at: usize,
    number: u64,
}

/// The packets of a chunk, one after the other.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    mark: Mark,
    offset: u64,
    layout: &'a Layout,
}

impl<'a> Records<'a> {
    /// Where the next packet begins.
    #[inline]
    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// The time of the next packet, which stays the next.
    pub fn peek_time(&self) -> Option<Timestamp> {
        self.clone().next().map(|record| record.packet.time)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let Mark { at, number } = self.mark;
        let ahead = self.bytes.get(at..)?;
        let (mut record, len) = match self.layout {
            Layout::Pcap(ordinary) => ordinary.record(ahead)?,
            Layout::Pcapng(blocks) => blocks.record(ahead)?,
            Layout::None => return None,
        };
        record.number = number;
        record.offset = self.offset + at as u64;
        self.mark = Mark { at: at + len, number: number + 1 };
        Some(record)
    }
}

/// How packets of a chunk are written.
#[derive(Debug, Clone, Default)]
pub(crate) enum Layout {
    #[default]
    None,
    Pcap(Ordinary),
    Pcapng(PacketBlocks),
}

/// What reading enhanced packet blocks of one section needs to know.
#[derive(Debug, Clone)]
pub(crate) struct PacketBlocks {
    pub(crate) order: ByteOrder,
    pub(crate) ports: Arc<[Option<Port>]>,
    /// Interfaces of the sections before.
    pub(crate) earlier: u32,
}

impl PacketBlocks {
    /// The length of the enhanced packet block that `ahead` begins with, if it is whole, its
    /// interface is known and nothing in it is damaged.
    #[inline]
    pub(crate) fn ordinary_len(&self, ahead: &[u8], most: u32) -> Option<usize> {
        let words = Words::of(ahead, self.order)?;
        if words.block != BlockType::ENHANCED_PACKET.0
            || words.length > most
            || words.length < MIN_BYTES
            || words.length % 4 != 0
        {
            return None;
        }
        let len = words.length as usize;
        let block = ahead.get(..len)?;
        let last = self.order.u32(*block.last_chunk::<4>()?);
        let captured = words.captured as usize;
        let room = len - FULL_PACKET_DATA - 4;
        if last != words.length || captured > room {
            return None;
        }
        self.ports.get(words.interface as usize)?.as_ref()?;
        let options = block.get(FULL_PACKET_DATA + padded(captured)..len - 4).unwrap_or_default();
        (options.is_empty() || pcapng::are_sound(options, self.order)).then_some(len)
    }

    /// The packet that `ahead` begins with, and the length of its block, which was found ordinary.
    #[inline]
    fn record<'a>(&self, ahead: &'a [u8]) -> Option<(Record<'a>, usize)> {
        let words = Words::of(ahead, self.order)?;
        let len = words.length as usize;
        let block = ahead.get(..len)?;
        let captured = words.captured as usize;
        let data = block.get(FULL_PACKET_DATA..FULL_PACKET_DATA + captured)?;
        let port = self.ports.get(words.interface as usize)?.as_ref()?;
        let ticks = u64::from(words.high) << 32 | u64::from(words.low);
        let point = PointId(self.earlier.saturating_add(words.interface));
        let mut head =
            Head::new(port.clock.time(ticks), point, port.link, 0, captured, words.wire_len);
        let mut options = Options::none();
        let told = block.get(FULL_PACKET_DATA + padded(captured)..len.checked_sub(4)?);
        if let Some(told) = told.filter(|told| !told.is_empty()) {
            options = Options::new(told, self.order);
            pcapng::take_options(&mut head, told, self.order);
        }
        head.ticks = ticks;
        let is_native = self.order == ByteOrder::NATIVE;
        let raw = if is_native { block } else { &[] };
        Some((head.record(data, options, raw), len))
    }
}

/// The fixed fields of an enhanced packet block.
struct Words {
    block: u32,
    length: u32,
    interface: u32,
    high: u32,
    low: u32,
    captured: u32,
    wire_len: u32,
}

impl Words {
    #[inline]
    fn of(ahead: &[u8], order: ByteOrder) -> Option<Self> {
        let fixed = ahead.first_chunk::<FULL_PACKET_DATA>()?;
        let (words, _) = fixed.as_chunks::<4>();
        let [block, length, interface, high, low, captured, wire_len] =
            <[[u8; 4]; 7]>::try_from(words).ok()?.map(|word| order.u32(word));
        Some(Self { block, length, interface, high, low, captured, wire_len })
    }
}

/// What the block of a packet of no bytes has: the fixed fields, and the length again.
const MIN_BYTES: u32 = 32;
