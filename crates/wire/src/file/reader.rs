//! The reader: bytes in, items out.
//!
//! ```no_run
//! # fn show(_: wire::file::Item<'_>) {}
//! # fn read(_: &mut [u8]) -> usize { 0 }
//! use wire::file::{Progress, Reader};
//!
//! let mut reader = Reader::new();
//! loop {
//!     match reader.advance() {
//!         Progress::Item => show(reader.item()),
//!         Progress::NeedBytes => {
//!             let len = read(reader.space());
//!             reader.filled(len); // 0 says the file has ended
//!         }
//!         Progress::End => break,
//!     }
//! }
//! ```

use super::buffer::Buffer;
use super::chunk::{Chunk, Layout};
use super::pcap::File;
use super::pcapng::{self, Blocks};
use super::{
    BlockType, Damage, DamageReason, Format, Item, Names, Options, OtherBlock, Record, Section,
};
use crate::{Checksum, Direction, LinkType, Packet, PointId, Timestamp};

/// Reads a capture file of any known format, one item at a time, copying no packet.
#[derive(Debug)]
pub struct Reader {
    buffer: Buffer,
    format: State,
    limits: Limits,
    /// What [`Reader::item`] shows, and how many bytes of the buffer it stands on.
    found: Found,
    found_len: usize,
    /// Damage inside the current item, shown after it.
    pending: Option<Damage>,
    /// How many bytes the next item needs at least, as far as is known.
    wanted: usize,
    records: u64,
    sections: u32,
    has_ended: bool,
}

impl Reader {
    /// A reader with the usual limits.
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// A reader that holds no more than `limits` allow.
    pub const fn with_limits(limits: Limits) -> Self {
        Self {
            buffer: Buffer::new(),
            format: State::Unknown,
            limits,
            found: Found::Nothing,
            found_len: 0,
            pending: None,
            wanted: 1,
            records: 0,
            sections: 0,
            has_ended: false,
        }
    }

    /// Room for the bytes that come next in the file, never empty. Ask only when
    /// [`Reader::advance`] needs bytes, fill from the front, and say how far with
    /// [`Reader::filled`].
    pub fn space(&mut self) -> &mut [u8] {
        self.forget();
        self.buffer.space(self.wanted)
    }

    /// The first `len` bytes of [`Reader::space`] are there now; 0 says that the file has ended.
    pub fn filled(&mut self, len: usize) {
        if len == 0 {
            self.has_ended = true;
        }
        self.buffer.filled(len);
    }

    /// Goes to the next item.
    pub fn advance(&mut self) -> Progress {
        self.forget();
        if let Some(damage) = self.pending.take() {
            self.found = Found::Damage(damage);
            return Progress::Item;
        }
        loop {
            let bytes = self.buffer.bytes();
            let step = match &mut self.format {
                State::Unknown => match recognise(bytes) {
                    Recognised::TooShort if !self.has_ended => Step::Need(4),
                    Recognised::As(state) => {
                        self.format = state;
                        continue;
                    }
                    Recognised::TooShort | Recognised::Foreign => {
                        let mut magic = [0; 4];
                        magic.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                        Step::Damaged(DamageReason::NotACapture { magic })
                    }
                },
                State::Pcap(file) => file.step(bytes, &self.limits),
                State::Pcapng(blocks) => blocks.step(bytes, &self.limits),
                State::Ended => return Progress::End,
            };
            let offset = self.buffer.offset();
            match step {
                Step::Need(wanted) if !self.has_ended => {
                    self.wanted = wanted;
                    return Progress::NeedBytes;
                }
                Step::Need(needed) => {
                    let present = self.buffer.bytes().len();
                    if present == 0 && self.format.is_between_records() {
                        self.format = State::Ended;
                        return Progress::End;
                    }
                    let needed = needed as u64;
                    let reason = DamageReason::Cut { present: present as u64, needed };
                    return self.end_with(Damage { offset, reason });
                }
                Step::Discard(len) => self.buffer.consume(len),
                Step::Damaged(reason) => return self.end_with(Damage { offset, reason }),
                Step::Show { found, len, damage } => {
                    self.pending = damage.map(|reason| Damage { offset, reason });
                    self.found_len = len;
                    match found {
                        Found::Nothing => {
                            self.forget();
                            if let Some(damage) = self.pending.take() {
                                self.found = Found::Damage(damage);
                                return Progress::Item;
                            }
                            continue;
                        }
                        Found::Record(_) => self.records += 1,
                        Found::PcapSection | Found::Section | Found::EmptySection => {
                            self.sections = self.sections.saturating_add(1);
                        }
                        _ => {}
                    }
                    self.found = found;
                    return Progress::Item;
                }
            }
        }
    }

    /// Uses the memory of `chunk`, whose packets are gone then, for what [`Reader::space`] is filled
    /// with next: who takes that as a chunk has it where it was read, near the processor that did.
    pub fn read_into(&mut self, chunk: &mut Chunk) {
        self.forget();
        self.buffer.go_on_in(&mut chunk.room);
        (chunk.start, chunk.end, chunk.len) = (0, 0, 0);
    }

    /// Takes the packets that come next out of the buffer, as many as lie there one behind the
    /// other and are as packets nearly always are. `false` if there is none: then
    /// [`Reader::advance`] says what comes. The memory of `chunk` is used for what is read next.
    pub fn take_chunk(&mut self, chunk: &mut Chunk) -> bool {
        self.forget();
        if self.pending.is_some() {
            return false;
        }
        let bytes = self.buffer.bytes();
        let (mut at, mut len) = (0, 0);
        let layout = match &mut self.format {
            State::Pcap(file) => {
                let Some(ordinary) = file.ordinary(&self.limits) else { return false };
                while let Some(found) = bytes.get(at..).and_then(|b| ordinary.ordinary_len(b)) {
                    at += found;
                    len += 1;
                }
                Layout::Pcap(ordinary)
            }
            State::Pcapng(blocks) => {
                let most = self.limits.block_bytes;
                let Some(blocks) = blocks.packet_blocks() else { return false };
                while let Some(found) = bytes.get(at..).and_then(|b| blocks.ordinary_len(b, most)) {
                    at += found;
                    len += 1;
                }
                if len == 0 {
                    return false;
                }
                Layout::Pcapng(blocks.clone())
            }
            State::Unknown | State::Ended => return false,
        };
        if len == 0 {
            return false;
        }
        chunk.offset = self.buffer.offset();
        chunk.number = self.records + 1;
        chunk.len = len;
        chunk.layout = layout;
        (chunk.start, chunk.end) = self.buffer.give(at, &mut chunk.room);
        self.records += len as u64;
        true
    }

    /// What [`Reader::advance`] went to; means nothing unless that said [`Progress::Item`].
    pub fn item(&self) -> Item<'_> {
        let block = self.buffer.bytes().get(..self.found_len).unwrap_or_default();
        let offset = self.buffer.offset();
        match self.found {
            Found::Record(head) => Item::Record(self.record(&head, block, offset)),
            Found::Damage(damage) => Item::Damage(damage),
            Found::Other { block, length } => Item::Other(OtherBlock { block, offset, length }),
            _ => self.described(block).unwrap_or(Item::Other(OtherBlock {
                block: BlockType(0),
                offset,
                length: 0,
            })),
        }
    }

    /// Where in the file the current item begins.
    pub const fn offset(&self) -> u64 {
        self.buffer.offset()
    }

    /// How many packets were shown so far.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// How many bytes of memory hold the file's bytes at the moment.
    pub const fn allocated(&self) -> usize {
        self.buffer.allocated()
    }

    fn forget(&mut self) {
        self.buffer.consume(std::mem::take(&mut self.found_len));
        self.found = Found::Nothing;
    }

    fn end_with(&mut self, damage: Damage) -> Progress {
        self.format = State::Ended;
        self.found = Found::Damage(damage);
        Progress::Item
    }

    fn record<'a>(&'a self, head: &Head, block: &'a [u8], offset: u64) -> Record<'a> {
        let slice = |(start, len): (usize, usize)| {
            block.get(start..).and_then(|rest| rest.get(..len)).unwrap_or_default()
        };
        let order = match &self.format {
            State::Pcapng(blocks) => blocks.order(),
            _ => super::ByteOrder::NATIVE,
        };
        let options = Options::new(slice(head.options), order);
        let mut record = head.record(slice(head.data), options, &[]);
        (record.number, record.offset) = (self.records, offset);
        record
    }

    fn described<'a>(&'a self, block: &'a [u8]) -> Option<Item<'a>> {
        let number = self.sections.saturating_sub(1);
        let blocks = match &self.format {
            State::Pcapng(blocks) => blocks,
            State::Pcap(file) => {
                let (format, order) = (file.format(), file.order());
                return Some(match self.found {
                    Found::PcapInterface => Item::Interface(file.interface()),
                    _ => Item::Section(Section { number, format, order, options: Options::none() }),
                });
            }
            _ => return None,
        };
        let order = blocks.order();
        let body = block.get(8..block.len().saturating_sub(4)).unwrap_or_default();
        match self.found {
            Found::Section => {
                let options = pcapng::section_options(body, order);
                Some(Item::Section(Section { number, format: Format::Pcapng, order, options }))
            }
            Found::EmptySection => {
                let options = Options::none();
                Some(Item::Section(Section { number, format: Format::Pcapng, order, options }))
            }
            Found::Interface => blocks.interface(body).map(Item::Interface),
            Found::Statistics => blocks.statistics(body).map(Item::Statistics),
            Found::Names => Some(Item::Names(Names::new(body, order))),
            _ => None,
        }
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

/// What became of a step of [`Reader::advance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// [`Reader::item`] shows something new.
    Item,
    /// Nothing can be shown before [`Reader::space`] is filled.
    NeedBytes,
    /// The file is over: at its end, or after a [`Damage`] that is final.
    End,
}

/// What a reader may hold, whatever the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of one record or block that is shown, 16 MiB unless told. A larger pcapng
    /// block is passed over, a larger pcap record ends the file.
    pub block_bytes: u32,
    /// The most interfaces of one section, 65536 unless told.
    pub interfaces: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { block_bytes: 16 * 1024 * 1024, interfaces: 65_536 }
    }
}

/// The format being read.
#[derive(Debug)]
enum State {
    Unknown,
    Pcap(File),
    Pcapng(Blocks),
    Ended,
}

impl State {
    const fn is_between_records(&self) -> bool {
        match self {
            Self::Pcapng(blocks) => blocks.is_between_blocks(),
            _ => true,
        }
    }
}

enum Recognised {
    TooShort,
    As(State),
    Foreign,
}

fn recognise(bytes: &[u8]) -> Recognised {
    let Some(&magic) = bytes.first_chunk::<4>() else { return Recognised::TooShort };
    if u32::from_be_bytes(magic) == BlockType::SECTION.0 {
        return Recognised::As(State::Pcapng(Blocks::new()));
    }
    File::recognise(magic).map_or(Recognised::Foreign, |file| Recognised::As(State::Pcap(file)))
}

/// What a format says about the bytes at hand.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing before this many bytes are there.
    Need(usize),
    /// The first `len` bytes are `found`; `damage` in them is shown after it.
    Show { found: Found, len: usize, damage: Option<DamageReason> },
    /// The first bytes, this many, are passed over.
    Discard(usize),
    /// The rest of the file cannot be read.
    Damaged(DamageReason),
}

/// What was found; the bytes stay in the buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    Nothing,
    PcapSection,
    PcapInterface,
    Section,
    /// A section header whose options are passed over.
    EmptySection,
    Interface,
    Record(Head),
    Statistics,
    Names,
    Other {
        block: BlockType,
        length: u32,
    },
    Damage(Damage),
}

/// A packet without its bytes: where they stand in the record, and all that was said of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) time: Timestamp,
    pub(crate) point: PointId,
    pub(crate) link: LinkType,
    /// Start and length in the record.
    pub(crate) data: (usize, usize),
    pub(crate) wire_len: u32,
    pub(crate) direction: Option<Direction>,
    pub(crate) checksum: Checksum,
    pub(crate) lost_before: u64,
    pub(crate) ticks: u64,
    pub(crate) flags: u32,
    pub(crate) id: Option<u64>,
    /// Start and length in the record.
    pub(crate) options: (usize, usize),
}

impl Head {
    pub(crate) const fn new(
        time: Timestamp,
        point: PointId,
        link: LinkType,
        data_start: usize,
        data_len: usize,
        wire_len: u32,
    ) -> Self {
        Self {
            time,
            point,
            link,
            data: (data_start, data_len),
            wire_len,
            direction: None,
            checksum: Checksum::Unknown,
            lost_before: 0,
            ticks: 0,
            flags: 0,
            id: None,
            options: (0, 0),
        }
    }

    /// With its bytes. Its number and place in the file are still to be told.
    #[inline]
    pub(crate) const fn record<'a>(
        &self,
        data: &'a [u8],
        options: Options<'a>,
        raw: &'a [u8],
    ) -> Record<'a> {
        Record {
            number: 0,
            offset: 0,
            packet: Packet {
                time: self.time,
                point: self.point,
                link: self.link,
                data,
                wire_len: self.wire_len,
                direction: self.direction,
                checksum: self.checksum,
                lost_before: self.lost_before,
            },
            ticks: self.ticks,
            flags: self.flags,
            id: self.id,
            options,
            raw,
        }
    }
}
