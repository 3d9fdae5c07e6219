//! pcapng: blocks in sections (draft-ietf-opsawg-pcapng).
//!
//! ```text
//! block:  type u32 | length u32 | body, padded to a multiple of 4 | length u32
//! ```
//! Each section has its own byte order and numbers its own interfaces. A block of a kind that is
//! not shown is passed over as its bytes come in, so it may be of any size.

use super::block::{BLOCK_FRAME_BYTES, BYTE_ORDER_MAGIC, code, flag};
use super::chunk::PacketBlocks;
use super::clock::Clock;
use super::order::{ByteOrder, Fields, padded};
use super::reader::{Found, Head, Limits, Step};
use super::{BlockType, DamageReason, Interface, Names, Options, Resolution, Statistics};
use crate::{Checksum, Direction, LinkType, PointId, Timestamp};

/// What must be remembered of the section being read.
#[derive(Debug)]
pub(crate) struct Blocks {
    order: ByteOrder,
    /// The interfaces of this section; `None` where the description was unreadable.
    interfaces: Vec<Option<Port>>,
    /// Interfaces of the sections before.
    earlier: u32,
    passing: Option<Passing>,
    /// The same as `interfaces`, to be held by chunks; made anew when they have become more.
    shared: Option<PacketBlocks>,
}

/// What reading packets needs to know of an interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port {
    pub(crate) link: LinkType,
    snaplen: u32,
    pub(crate) clock: Clock,
}

/// A block being passed over.
#[derive(Debug, Clone, Copy)]
struct Passing {
    block: BlockType,
    length: u32,
    left: usize,
}

impl Blocks {
    pub(crate) const fn new() -> Self {
        Self {
            order: ByteOrder::NATIVE,
            interfaces: Vec::new(),
            earlier: 0,
            passing: None,
            shared: None,
        }
    }

    /// Whether the file may end here without anything missing.
    pub(crate) const fn is_between_blocks(&self) -> bool {
        self.passing.is_none()
    }

    pub(crate) const fn order(&self) -> ByteOrder {
        self.order
    }

    /// What ordinary packets are read with; `None` while a block is being passed over.
    pub(crate) fn packet_blocks(&mut self) -> Option<&PacketBlocks> {
        if self.passing.is_some() || self.interfaces.is_empty() {
            return None;
        }
        let (order, earlier) = (self.order, self.earlier);
        let interfaces = &self.interfaces;
        Some(self.shared.get_or_insert_with(|| PacketBlocks {
            order,
            ports: interfaces.as_slice().into(),
            earlier,
        }))
    }

    pub(crate) fn step(&mut self, bytes: &[u8], limits: &Limits) -> Step {
        if let Some(passing) = self.passing {
            return self.pass(passing, bytes);
        }
        let mut fields = Fields::new(bytes, self.order);
        let (Some(block), Some(mut length)) = (fields.u32().map(BlockType), fields.u32()) else {
            return Step::Need(BLOCK_FRAME_BYTES);
        };
        // The type of a section reads the same in both orders; its length must wait for them.
        if block == BlockType::SECTION {
            let Some(magic) = fields.take::<4>() else { return Step::Need(BLOCK_FRAME_BYTES) };
            let Some(order) = order_of(magic) else {
                return Step::Damaged(DamageReason::UnknownByteOrder { magic });
            };
            if order != self.order {
                length = length.swap_bytes();
            }
            self.begin_section(order);
        }
        if (length as usize) < BLOCK_FRAME_BYTES {
            return Step::Damaged(DamageReason::BadBlockLength { length, order: self.order });
        }
        let found = match block {
            BlockType::SECTION => Found::Section,
            BlockType::INTERFACE => Found::Interface,
            BlockType::STATISTICS => Found::Statistics,
            BlockType::NAMES => Found::Names,
            BlockType::ENHANCED_PACKET | BlockType::PACKET | BlockType::SIMPLE_PACKET => {
                Found::Nothing
            }
            _ => return self.pass_over(block, length, None),
        };
        if length > limits.block_bytes {
            if block == BlockType::INTERFACE {
                self.remember(None, limits);
            }
            return self.pass_over(block, length, Some(DamageReason::TooLarge { block, length }));
        }
        let len = padded(length as usize);
        let Some((whole, _)) = bytes.split_at_checked(len) else { return Step::Need(len) };
        let Some((inside, trailer)) = whole.split_last_chunk::<4>() else { return Step::Need(len) };
        let last = self.order.u32(*trailer);
        if last != length {
            return Step::Damaged(DamageReason::LengthsDiffer { block, first: length, last });
        }
        let body = inside.get(8..).unwrap_or_default();
        let (found, damage) = match found {
            Found::Nothing => match self.packet(block, body) {
                Ok((head, damage)) => (Found::Record(head), damage),
                Err(damage) => (Found::Nothing, Some(damage)),
            },
            Found::Section => (found, section_damage(body, self.order)),
            Found::Interface => self.interface_damage(body, limits),
            Found::Statistics => self.statistics_damage(body),
            Found::Names => (found, bad_option(Names::new(body, self.order).options, |_| None)),
            other => (other, None),
        };
        let unaligned = length % 4 != 0;
        let damage = damage.or(unaligned.then_some(DamageReason::UnalignedLength { length }));
        Step::Show { found, len, damage }
    }

    /// The interface described last.
    pub(crate) fn interface<'a>(&self, body: &'a [u8]) -> Option<Interface<'a>> {
        let mut fields = Fields::new(body, self.order);
        let link = LinkType(fields.u16()?);
        let _reserved = fields.u16()?;
        let snaplen = fields.u32()?;
        let options = Options::new(fields.rest(), self.order);
        let one_byte = |code| options.value_of(code).and_then(|value| value.first()).copied();
        Some(Interface {
            point: self.point(self.interfaces.len().saturating_sub(1)),
            link,
            snaplen,
            resolution: one_byte(code::INTERFACE_RESOLUTION)
                .map_or(Resolution::MICROSECONDS, Resolution),
            time_offset_s: options.u64(code::INTERFACE_TIME_OFFSET).map_or(0, u64::cast_signed),
            fcs_bytes: one_byte(code::INTERFACE_FCS_LEN).map(|bits| bits.div_ceil(8)),
            options,
        })
    }

    pub(crate) fn statistics<'a>(&self, body: &'a [u8]) -> Option<Statistics<'a>> {
        let mut fields = Fields::new(body, self.order);
        let number = fields.u32()? as usize;
        let clock = self.port(number)?.clock;
        let ticks = fields.halves()?;
        let time = clock.time(ticks);
        let options = Options::new(fields.rest(), self.order);
        let (point, order) = (self.point(number), self.order);
        Some(Statistics { point, time, options, ticks, clock, order })
    }

    fn begin_section(&mut self, order: ByteOrder) {
        // Called again while the rest of the block is awaited, with nothing left to do.
        let count = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.earlier = self.earlier.saturating_add(count);
        self.interfaces.clear();
        self.shared = None;
        self.order = order;
    }

    fn pass_over(&mut self, block: BlockType, length: u32, damage: Option<DamageReason>) -> Step {
        let left = padded(length as usize) - BLOCK_FRAME_BYTES;
        self.passing = Some(Passing { block, length, left });
        let found = match block {
            BlockType::SECTION => Found::EmptySection,
            _ if damage.is_some() => Found::Nothing,
            _ => Found::Other { block, length },
        };
        Step::Show { found, len: 8, damage }
    }

    fn pass(&mut self, passing: Passing, bytes: &[u8]) -> Step {
        if passing.left > 0 {
            if bytes.is_empty() {
                return Step::Need(1);
            }
            let len = passing.left.min(bytes.len());
            self.passing = Some(Passing { left: passing.left - len, ..passing });
            return Step::Discard(len);
        }
        let Some(trailer) = bytes.first_chunk::<4>() else { return Step::Need(4) };
        let Passing { block, length: first, .. } = passing;
        let last = self.order.u32(*trailer);
        if last != first {
            return Step::Damaged(DamageReason::LengthsDiffer { block, first, last });
        }
        self.passing = None;
        Step::Discard(4)
    }

    fn packet(
        &self,
        block: BlockType,
        body: &[u8],
    ) -> Result<(Head, Option<DamageReason>), DamageReason> {
        match block {
            BlockType::SIMPLE_PACKET => self.simple_packet(body).map(|head| (head, None)),
            _ => self.full_packet(block, body),
        }
    }

    /// ```text
    /// enhanced:  interface u32 | high u32 | low u32 | captured u32 | length u32 | bytes | options
    /// obsolete:  interface u16 | lost u16 | ... the same
    /// ```
    fn full_packet(
        &self,
        block: BlockType,
        body: &[u8],
    ) -> Result<(Head, Option<DamageReason>), DamageReason> {
        let short = DamageReason::ShortBlock { block };
        let mut fields = Fields::new(body, self.order);
        let (interface, lost) = if block == BlockType::PACKET {
            let interface = u32::from(fields.u16().ok_or(short)?);
            // 0xffff says that the number is not known.
            (interface, fields.u16().filter(|&lost| lost != u16::MAX).unwrap_or(0))
        } else {
            (fields.u32().ok_or(short)?, 0)
        };
        let ticks = fields.halves().ok_or(short)?;
        let captured = fields.u32().ok_or(short)?;
        let wire_len = fields.u32().ok_or(short)?;
        let captured_len = captured as usize;
        if captured_len > fields.rest().len() {
            return Err(DamageReason::BadPacketLength { captured });
        }
        let port =
            self.port(interface as usize).ok_or(DamageReason::UnknownInterface { interface })?;
        let options_start = padded(captured_len).min(fields.rest().len());
        let options = fields.rest().get(options_start..).unwrap_or_default();
        let mut head = Head::new(
            port.clock.time(ticks),
            self.point(interface as usize),
            port.link,
            FULL_PACKET_DATA,
            captured_len,
            wire_len,
        );
        head.ticks = ticks;
        head.lost_before = u64::from(lost);
        head.options = (FULL_PACKET_DATA + options_start, options.len());
        let bad = take_options(&mut head, options, self.order);
        let damage = bad.map(|code| DamageReason::BadOption { code });
        Ok((head, damage))
    }

    /// Cut to the interface's snaplen; without time, of the section's first interface.
    fn simple_packet(&self, body: &[u8]) -> Result<Head, DamageReason> {
        let block = BlockType::SIMPLE_PACKET;
        let mut fields = Fields::new(body, self.order);
        let wire_len = fields.u32().ok_or(DamageReason::ShortBlock { block })?;
        let port = self.port(0).ok_or(DamageReason::UnknownInterface { interface: 0 })?;
        let captured = if port.snaplen == 0 { wire_len } else { wire_len.min(port.snaplen) };
        if captured as usize > fields.rest().len() {
            return Err(DamageReason::BadPacketLength { captured });
        }
        let point = self.point(0);
        Ok(Head::new(Timestamp::ZERO, point, port.link, 12, captured as usize, wire_len))
    }

    fn interface_damage(&mut self, body: &[u8], limits: &Limits) -> (Found, Option<DamageReason>) {
        let known = self.interface(body);
        let port = known.map(|interface| Port {
            link: interface.link,
            snaplen: interface.snaplen,
            clock: Clock::new(interface.resolution, interface.time_offset_s),
        });
        if !self.remember(port, limits) {
            return (Found::Nothing, Some(DamageReason::TooManyInterfaces));
        }
        match known {
            Some(interface) => {
                (Found::Interface, bad_option(interface.options, interface_option_len))
            }
            None => {
                let block = BlockType::INTERFACE;
                (Found::Nothing, Some(DamageReason::ShortBlock { block }))
            }
        }
    }

    fn statistics_damage(&self, body: &[u8]) -> (Found, Option<DamageReason>) {
        match self.statistics(body) {
            Some(statistics) => {
                (Found::Statistics, bad_option(statistics.options, statistics_option_len))
            }
            None => {
                let interface = Fields::new(body, self.order).u32();
                let block = BlockType::STATISTICS;
                let reason = match interface {
                    Some(number) if self.port(number as usize).is_none() => {
                        DamageReason::UnknownInterface { interface: number }
                    }
                    _ => DamageReason::ShortBlock { block },
                };
                (Found::Nothing, Some(reason))
            }
        }
    }

    fn remember(&mut self, port: Option<Port>, limits: &Limits) -> bool {
        let room = self.interfaces.len() < limits.interfaces;
        if room {
            self.interfaces.push(port);
            self.shared = None;
        }
        room
    }

    fn port(&self, number: usize) -> Option<Port> {
        self.interfaces.get(number).copied().flatten()
    }

    fn point(&self, number: usize) -> PointId {
        PointId(self.earlier.saturating_add(u32::try_from(number).unwrap_or(u32::MAX)))
    }
}

impl Head {
    fn take_flags(&mut self, flags: u32) -> bool {
        self.flags = flags;
        self.direction = match flags & flag::DIRECTION {
            flag::INBOUND => Some(Direction::ToVm),
            flag::OUTBOUND => Some(Direction::FromVm),
            _ => None,
        };
        self.checksum = if flags & flag::CHECKSUM_NOT_READY != 0 {
            Checksum::NotReady
        } else if flags & flag::CHECKSUM_VALID != 0 {
            Checksum::Valid
        } else {
            Checksum::Unknown
        };
        true
    }
}

/// Whether the options of a packet can be read, all of them.
pub(crate) fn are_sound(bytes: &[u8], order: ByteOrder) -> bool {
    let len = |code| match code {
        code::PACKET_FLAGS => Some(4),
        code::PACKET_DROP_COUNT | code::PACKET_ID => Some(8),
        _ => None,
    };
    Options::new(bytes, order).first_bad(len).is_none()
}

/// Takes the options of a packet that we know into `head`; the code of the first that is bad, if
/// one is.
pub(crate) fn take_options(head: &mut Head, bytes: &[u8], order: ByteOrder) -> Option<u16> {
    if bytes.is_empty() {
        return None;
    }
    let mut options = Options::new(bytes, order);
    let mut bad = None;
    for option in options.by_ref() {
        let taken = match option.code {
            code::PACKET_FLAGS => {
                option.value.try_into().is_ok_and(|value| head.take_flags(order.u32(value)))
            }
            code::PACKET_DROP_COUNT => option.value.try_into().is_ok_and(|value| {
                head.lost_before = order.u64(value);
                true
            }),
            code::PACKET_ID => option.value.try_into().is_ok_and(|value| {
                head.id = Some(order.u64(value));
                true
            }),
            _ => true,
        };
        if !taken {
            bad = bad.or(Some(option.code));
        }
    }
    bad.or_else(|| options.unread_code())
}

/// The options of a section header, behind magic, version and section length.
pub(crate) fn section_options(body: &[u8], order: ByteOrder) -> Options<'_> {
    Options::new(body.get(SECTION_FIXED_BYTES..).unwrap_or_default(), order)
}

fn section_damage(body: &[u8], order: ByteOrder) -> Option<DamageReason> {
    let mut fields = Fields::new(body, order);
    let _magic = fields.u32();
    let (Some(major), Some(minor), Some(_length)) = (fields.u16(), fields.u16(), fields.u64())
    else {
        return Some(DamageReason::ShortBlock { block: BlockType::SECTION });
    };
    // Version 1.2 was written by mistake and is 1.0 (section 4.1).
    if major != 1 || !matches!(minor, 0 | 2) {
        return Some(DamageReason::UnknownVersion { major, minor });
    }
    bad_option(section_options(body, order), |_| None)
}

fn bad_option(options: Options<'_>, len_of: fn(u16) -> Option<usize>) -> Option<DamageReason> {
    options.first_bad(len_of).map(|code| DamageReason::BadOption { code })
}

fn order_of(magic: [u8; 4]) -> Option<ByteOrder> {
    [ByteOrder::Big, ByteOrder::Little]
        .into_iter()
        .find(|order| order.u32(magic) == BYTE_ORDER_MAGIC)
}

const fn interface_option_len(option: u16) -> Option<usize> {
    match option {
        code::INTERFACE_MAC => Some(6),
        code::INTERFACE_SPEED | code::INTERFACE_TIME_OFFSET => Some(8),
        code::INTERFACE_RESOLUTION => Some(1),
        _ => None,
    }
}

const fn statistics_option_len(option: u16) -> Option<usize> {
    match option {
        code::STATISTICS_START..=code::STATISTICS_DELIVERED => Some(8),
        _ => None,
    }
}

const SECTION_FIXED_BYTES: usize = 16;
/// Where the bytes of a packet begin in its block.
pub(crate) const FULL_PACKET_DATA: usize = 28;
