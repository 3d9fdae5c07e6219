//! What a capture file holds, as the reader shows it: packets and what is said about them.
//!
//! Everything here borrows from the reader's buffer and is valid until the next step.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::block::{code, flag, name};
use super::clock::Clock;
use super::order::{ByteOrder, Fields, padded};
use super::write::put_option;
use super::{BlockType, Damage, Options, Resolution, Text};
use crate::{Direction, LinkType, Mac, Packet, PointId, Timestamp};

/// One step through a capture file.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// A section begins; a classic pcap file is one section.
    Section(Section<'a>),
    /// An interface is described; a classic pcap file has one.
    Interface(Interface<'a>),
    /// A packet.
    Record(Record<'a>),
    /// Counters of an interface.
    Statistics(Statistics<'a>),
    /// Names of addresses.
    Names(Names<'a>),
    /// A block of another kind, not shown.
    Other(OtherBlock),
    /// Something is wrong.
    Damage(Damage),
}

/// The beginning of a section.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// Its number in the file, from 0.
    pub number: u32,
    /// The format of what follows.
    pub format: Format,
    /// The byte order of what follows.
    pub order: ByteOrder,
    /// Comments and options we have no name for.
    pub options: Options<'a>,
}

impl<'a> Section<'a> {
    /// The machine it was written on.
    pub fn hardware(&self) -> Option<Text<'a>> {
        self.options.text(code::SECTION_HARDWARE)
    }

    /// The operating system it was written on.
    pub fn os(&self) -> Option<Text<'a>> {
        self.options.text(code::SECTION_OS)
    }

    /// The program that wrote it.
    pub fn application(&self) -> Option<Text<'a>> {
        self.options.text(code::SECTION_APPLICATION)
    }
}

/// The formats of capture files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// pcapng (draft-ietf-opsawg-pcapng).
    Pcapng,
    /// Classic pcap with microseconds or nanoseconds.
    Pcap,
    /// Classic pcap as patched by Alexey Kuznetsov: the record header has 24 bytes.
    ModifiedPcap,
    /// Classic pcap as Ixia writes it: a total length stands before the first record.
    IxiaPcap,
}

/// The description of an interface.
#[derive(Debug, Clone, Copy)]
pub struct Interface<'a> {
    /// Its number in the file, over all sections.
    pub point: PointId,
    /// What its packets begin with.
    pub link: LinkType,
    /// The most bytes kept of a packet; 0 says no limit.
    pub snaplen: u32,
    /// The ticks of its clock.
    pub resolution: Resolution,
    /// Seconds to add to its clock; already added in every time shown.
    pub time_offset_s: i64,
    /// Bytes of frame check sequence at the end of each packet, if the file says so.
    pub fcs_bytes: Option<u8>,
    /// Comments and options we have no name for.
    pub options: Options<'a>,
}

impl<'a> Interface<'a> {
    /// Its name on the machine that captured.
    pub fn name(&self) -> Option<Text<'a>> {
        self.options.text(code::INTERFACE_NAME)
    }

    /// What it is, in words.
    pub fn description(&self) -> Option<Text<'a>> {
        self.options.text(code::INTERFACE_DESCRIPTION)
    }

    /// The capture filter as text, where it was kept as text.
    pub fn filter(&self) -> Option<Text<'a>> {
        match self.options.value_of(code::INTERFACE_FILTER)?.split_first()? {
            (0, text) => Some(Text::new(text)),
            _ => None,
        }
    }

    /// Its hardware address.
    pub fn mac(&self) -> Option<Mac> {
        self.options.value_of(code::INTERFACE_MAC)?.try_into().ok().map(Mac)
    }

    /// Its speed in bits per second.
    pub fn speed_bps(&self) -> Option<u64> {
        self.options.u64(code::INTERFACE_SPEED)
    }

    /// The operating system of the machine it belongs to.
    pub fn os(&self) -> Option<Text<'a>> {
        self.options.text(code::INTERFACE_OS)
    }

    /// What kind of card it is.
    pub fn hardware(&self) -> Option<Text<'a>> {
        self.options.text(code::INTERFACE_HARDWARE)
    }
}

/// A packet and where it stands in the file.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its number among the packets of the file, from 1.
    pub number: u64,
    /// Where its record or block begins.
    pub offset: u64,
    /// The packet. Its direction is the interface's, which is the VM's where overtap wrote the
    /// file or the capture was made inside the VM: inbound is `ToVm`.
    pub packet: Packet<'a>,
    /// Its time as the file has it: ticks of its interface's clock, without the clock's offset.
    pub ticks: u64,
    /// The packet flags as written, 0 where there are none.
    pub flags: u32,
    /// The same for every copy of one packet, where the writer knew.
    pub id: Option<u64>,
    /// Comments and options we have no name for.
    pub options: Options<'a>,
    /// The whole block, if it can stand in another file as it is, apart from its interface.
    pub(crate) raw: &'a [u8],
}

impl Record<'_> {
    /// The packet that was in this one, as one of an interface with nanoseconds. Comments stay; what
    /// else was said is about the packet around it. `options` is where they are put together.
    pub fn opened<'b>(&self, packet: Packet<'b>, options: &'b mut Vec<u8>) -> Record<'b> {
        options.clear();
        for comment in self.options.comments() {
            put_option(options, code::COMMENT, comment.as_bytes());
        }
        let flags = match packet.direction {
            Some(Direction::ToVm) => flag::INBOUND,
            Some(Direction::FromVm) => flag::OUTBOUND,
            None => 0,
        };
        if flags != 0 {
            put_option(options, code::PACKET_FLAGS, &flags.to_ne_bytes());
        }
        Record {
            number: self.number,
            offset: self.offset,
            packet,
            ticks: packet.time.as_nanos(),
            flags,
            id: None,
            options: Options::new(options, ByteOrder::NATIVE),
            raw: &[],
        }
    }

    /// Whether it is larger than any frame on the wire, because segmentation was left to a card.
    pub const fn is_super_frame(&self) -> bool {
        self.flags & flag::SUPER_FRAME != 0
    }
}

/// Counters of an interface, as of `time`.
#[derive(Debug, Clone, Copy)]
pub struct Statistics<'a> {
    /// The interface's number in the file.
    pub point: PointId,
    /// When they were read.
    pub time: Timestamp,
    /// Comments and options we have no name for.
    pub options: Options<'a>,
    pub(crate) ticks: u64,
    pub(crate) clock: Clock,
    pub(crate) order: ByteOrder,
}

impl Statistics<'_> {
    /// When capturing began.
    pub fn start(&self) -> Option<Timestamp> {
        self.moment(code::STATISTICS_START)
    }

    /// When capturing ended.
    pub fn end(&self) -> Option<Timestamp> {
        self.moment(code::STATISTICS_END)
    }

    /// Packets that came to the interface.
    pub fn received(&self) -> Option<u64> {
        self.options.u64(code::STATISTICS_RECEIVED)
    }

    /// Packets the interface lost.
    pub fn interface_dropped(&self) -> Option<u64> {
        self.options.u64(code::STATISTICS_INTERFACE_DROPPED)
    }

    /// Packets the capture filter let through.
    pub fn accepted(&self) -> Option<u64> {
        self.options.u64(code::STATISTICS_ACCEPTED)
    }

    /// Packets the operating system lost.
    pub fn os_dropped(&self) -> Option<u64> {
        self.options.u64(code::STATISTICS_OS_DROPPED)
    }

    /// Packets that reached the program that wrote the file.
    pub fn delivered(&self) -> Option<u64> {
        self.options.u64(code::STATISTICS_DELIVERED)
    }

    fn moment(&self, code: u16) -> Option<Timestamp> {
        let ticks = Fields::new(self.options.value_of(code)?, self.order).halves()?;
        Some(self.clock.time(ticks))
    }
}

/// Names of addresses: iterate for one [`Name`] after the other.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    fields: Fields<'a>,
    /// The record being shown, and its names that are still to come.
    current: Option<(NamedAddress, &'a [u8])>,
    /// Comments, and the name server that gave the names.
    pub options: Options<'a>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(body: &'a [u8], order: ByteOrder) -> Self {
        // The records end with one of type 0; options begin behind it.
        let mut fields = Fields::new(body, order);
        while let (Some(kind), Some(length)) = (fields.u16(), fields.u16()) {
            if kind == name::END || fields.bytes(padded(usize::from(length))).is_none() {
                break;
            }
        }
        let options = Options::new(fields.rest(), order);
        Self { fields: Fields::new(body, order), current: None, options }
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = Name<'a>;

    fn next(&mut self) -> Option<Name<'a>> {
        loop {
            if let Some((address, names)) = &mut self.current {
                let end = names.iter().position(|&byte| byte == 0).unwrap_or(names.len());
                let (text, rest) = names.split_at_checked(end)?;
                *names = rest.get(1..).unwrap_or_default();
                if !text.is_empty() {
                    return Some(Name { address: *address, name: Text::new(text) });
                }
                self.current = None;
            }
            let kind = self.fields.u16()?;
            let length = usize::from(self.fields.u16()?);
            if kind == name::END {
                self.fields = Fields::new(&[], ByteOrder::NATIVE);
                return None;
            }
            let value = self.fields.bytes(padded(length))?.get(..length)?;
            self.current = NamedAddress::split(kind, value);
        }
    }
}

/// One name of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// The address.
    pub address: NamedAddress,
    /// A name it has.
    pub name: Text<'a>,
}

/// An address that can have a name in a capture file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NamedAddress {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
    /// A MAC address.
    Mac(Mac),
    /// A 64-bit hardware address.
    Eui64([u8; 8]),
}

impl NamedAddress {
    fn split(kind: u16, value: &[u8]) -> Option<(Self, &[u8])> {
        let mut fields = Fields::new(value, ByteOrder::Big);
        let address = match kind {
            name::IPV4 => Self::V4(Ipv4Addr::from(fields.take::<4>()?)),
            name::IPV6 => Self::V6(Ipv6Addr::from(fields.take::<16>()?)),
            name::EUI48 => Self::Mac(Mac(fields.take::<6>()?)),
            name::EUI64 => Self::Eui64(fields.take::<8>()?),
            _ => return None,
        };
        Some((address, fields.rest()))
    }
}

/// A block the reader passes over: custom, secrets, journal, or of a kind it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherBlock {
    /// Its kind.
    pub block: BlockType,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its whole length as it says.
    pub length: u32,
}
