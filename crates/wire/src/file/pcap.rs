//! Classic pcap: a file header, then records; both byte orders and four dialects.
//!
//! ```text
//! file:    magic u32 | major u16 | minor u16 | zone u32 | sigfigs u32 | snaplen u32 | link u32
//! record:  seconds u32 | fraction u32 | captured u32 | length u32 | bytes
//! ```
//! Link word: bits 0-15 link type, 16-25 zero, 26 set if bits 28-31 tell the length of the frame
//! check sequence in 16-bit words (draft-ietf-opsawg-pcap, section 4).

use super::order::{ByteOrder, Fields};
use super::reader::{Found, Head, Limits, Step};
use super::{DamageReason, Format, Interface, Options, Record, Resolution};
use crate::{LinkType, PointId, Timestamp};

/// What the file header says, as far as records are read with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    format: Format,
    order: ByteOrder,
    resolution: Resolution,
    minor: u16,
    snaplen: u32,
    link_word: u32,
    /// What of the beginning is still to be shown.
    told: Told,
}

impl File {
    /// Whether a file that begins with this magic is ours to read.
    pub(crate) fn recognise(magic: [u8; 4]) -> Option<Self> {
        let big = u32::from_be_bytes(magic);
        [(big, ByteOrder::Big), (big.swap_bytes(), ByteOrder::Little)].into_iter().find_map(
            |(magic, order)| {
                let (format, resolution) = match magic {
                    0xa1b2_c3d4 => (Format::Pcap, Resolution::MICROSECONDS),
                    0xa1b2_3c4d => (Format::Pcap, Resolution::NANOSECONDS),
                    0xa1b2_cd34 => (Format::ModifiedPcap, Resolution::MICROSECONDS),
                    // Hardware stamps in nanoseconds, software stamps in microseconds.
                    0x1c00_01ac => (Format::IxiaPcap, Resolution::NANOSECONDS),
                    0x1c00_01ab => (Format::IxiaPcap, Resolution::MICROSECONDS),
                    _ => return None,
                };
                let told = Told::Nothing;
                Some(Self { format, order, resolution, minor: 0, snaplen: 0, link_word: 0, told })
            },
        )
    }

    pub(crate) fn step(&mut self, bytes: &[u8], limits: &Limits) -> Step {
        match self.told {
            Told::Nothing => self.header(bytes),
            Told::Section => {
                self.told = Told::All;
                let reserved = self.link_word & LINK_RESERVED != 0;
                Step::Show {
                    found: Found::PcapInterface,
                    len: 0,
                    damage: reserved.then_some(DamageReason::ReservedBits { word: self.link_word }),
                }
            }
            Told::All => self.record(bytes, limits),
        }
    }

    pub(crate) fn interface(&self) -> Interface<'static> {
        let fcs = self.link_word & LINK_HAS_FCS != 0;
        // Four bits of 16-bit words: at most 30 bytes.
        let fcs_bytes = u8::try_from(self.link_word >> 28).unwrap_or_default() * 2;
        Interface {
            point: PointId(0),
            link: self.link(),
            snaplen: self.snaplen,
            resolution: self.resolution,
            time_offset_s: 0,
            fcs_bytes: fcs.then_some(fcs_bytes),
            options: Options::none(),
        }
    }

    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    pub(crate) const fn order(&self) -> ByteOrder {
        self.order
    }

    /// What records are read with, once the beginning of the file was shown, if this is a file as
    /// nearly all are.
    pub(crate) fn ordinary(&self, limits: &Limits) -> Option<Ordinary> {
        if self.told != Told::All || self.format == Format::ModifiedPcap || self.minor < 4 {
            return None;
        }
        let (ticks_per_second, nanos_per_tick) = self.ticks();
        Some(Ordinary {
            order: self.order,
            ticks_per_second,
            nanos_per_tick,
            link: self.link(),
            most: self.most(limits),
        })
    }

    /// As libpcap does: beyond this it is no length but bytes from somewhere else.
    fn most(&self, limits: &Limits) -> u32 {
        self.snaplen.max(MAX_RECORD_BYTES).min(limits.block_bytes)
    }

    /// Ticks in a second, nanoseconds in a tick.
    const fn ticks(&self) -> (u64, u64) {
        match self.resolution {
            Resolution::NANOSECONDS => (1_000_000_000, 1),
            _ => (1_000_000, 1000),
        }
    }

    const fn link(&self) -> LinkType {
        let [low, high, _, _] = self.link_word.to_le_bytes();
        LinkType(u16::from_le_bytes([low, high]))
    }

    fn header(&mut self, bytes: &[u8]) -> Step {
        let len = if self.format == Format::IxiaPcap { HEADER_BYTES + 4 } else { HEADER_BYTES };
        if bytes.len() < len {
            return Step::Need(len);
        }
        let mut fields = Fields::new(bytes, self.order);
        let (Some(_magic), Some(major), Some(minor)) = (fields.u32(), fields.u16(), fields.u16())
        else {
            return Step::Need(len);
        };
        let (Some(_zone), Some(_sigfigs), Some(snaplen), Some(link_word)) =
            (fields.u32(), fields.u32(), fields.u32(), fields.u32())
        else {
            return Step::Need(len);
        };
        self.minor = minor;
        self.snaplen = snaplen;
        self.link_word = link_word;
        self.told = Told::Section;
        let known = major == 2 && minor <= 4;
        let damage = (!known).then_some(DamageReason::UnknownVersion { major, minor });
        Step::Show { found: Found::PcapSection, len, damage }
    }

    fn record(&self, bytes: &[u8], limits: &Limits) -> Step {
        let header_len = if self.format == Format::ModifiedPcap { 24 } else { RECORD_BYTES };
        let mut fields = Fields::new(bytes, self.order);
        let (Some(seconds), Some(fraction), Some(captured), Some(wire_len)) =
            (fields.u32(), fields.u32(), fields.u32(), fields.u32())
        else {
            return Step::Need(header_len);
        };
        // Before version 2.3 the lengths stood the other way round; 2.3 was written both ways.
        let swapped = self.minor < 3 || self.minor == 3 && captured > wire_len;
        let (captured, wire_len) =
            if swapped { (wire_len, captured) } else { (captured, wire_len) };
        if captured > self.most(limits) {
            return Step::Damaged(DamageReason::BadRecordLength { length: captured });
        }
        let captured_len = captured as usize;
        let len = header_len + captured_len;
        if bytes.len() < len {
            return Step::Need(len);
        }
        let (per_second, nanos_each) = self.ticks();
        let ticks = u64::from(seconds) * per_second + u64::from(fraction);
        let time = Timestamp::from_nanos(ticks * nanos_each);
        let mut head = Head::new(time, PointId(0), self.link(), header_len, captured_len, wire_len);
        head.ticks = ticks;
        Step::Show { found: Found::Record(head), len, damage: None }
    }
}

/// What reading the records of a file as nearly all files are needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ordinary {
    order: ByteOrder,
    ticks_per_second: u64,
    nanos_per_tick: u64,
    link: LinkType,
    /// The most bytes of one packet.
    most: u32,
}

impl Ordinary {
    /// The length of the record that `ahead` begins with, if it is whole.
    #[inline]
    pub(crate) fn ordinary_len(&self, ahead: &[u8]) -> Option<usize> {
        let [_, _, captured, _] = self.words(ahead)?;
        let len = RECORD_BYTES + captured as usize;
        (captured <= self.most && len <= ahead.len()).then_some(len)
    }

    /// The packet that `ahead` begins with, and the length of its record, which was found ordinary.
    #[inline]
    pub(crate) fn record<'a>(&self, ahead: &'a [u8]) -> Option<(Record<'a>, usize)> {
        let [seconds, fraction, captured, wire_len] = self.words(ahead)?;
        let len = RECORD_BYTES + captured as usize;
        let data = ahead.get(RECORD_BYTES..len)?;
        let ticks = u64::from(seconds) * self.ticks_per_second + u64::from(fraction);
        let time = Timestamp::from_nanos(ticks * self.nanos_per_tick);
        let mut head = Head::new(time, PointId(0), self.link, 0, 0, wire_len);
        head.ticks = ticks;
        Some((head.record(data, Options::none(), &[]), len))
    }

    #[inline]
    fn words(&self, ahead: &[u8]) -> Option<[u32; 4]> {
        let (words, _) = ahead.first_chunk::<RECORD_BYTES>()?.as_chunks::<4>();
        let words = <[[u8; 4]; 4]>::try_from(words).ok()?;
        Some(match self.order {
            ByteOrder::Little => words.map(u32::from_le_bytes),
            ByteOrder::Big => words.map(u32::from_be_bytes),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Section,
    All,
}

const HEADER_BYTES: usize = 24;
const RECORD_BYTES: usize = 16;
/// What a record may have in a file that promises less.
const MAX_RECORD_BYTES: u32 = 262_144;
const LINK_HAS_FCS: u32 = 0x0400_0000;
const LINK_RESERVED: u32 = 0x03ff_0000;
