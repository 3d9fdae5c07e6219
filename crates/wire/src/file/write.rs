//! Writing pcapng: each function appends one block to a buffer of the caller.
//!
//! Blocks are in the byte order of this machine, as a Wireshark that reads from a pipe demands.
//! Times are nanoseconds since 1970. Nothing is allocated beyond the growth of the buffer.

use super::block::{BYTE_ORDER_MAGIC, code, flag, name};
use super::order::padded;
use super::{BlockType, MAX_PACKET_BYTES, NamedAddress, Resolution};
use crate::{Checksum, Direction, LinkType, Mac, Packet, Timestamp};

/// What a section says about its origin; empty texts and lists are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SectionHeader {
    /// The machine it is written on.
    pub hardware: String,
    /// The operating system it is written on.
    pub os: String,
    /// The program that writes it.
    pub application: String,
    /// Anything else worth knowing.
    pub comments: Vec<String>,
}

/// What a file says about an interface; empty texts and lists are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceHeader {
    /// What its packets begin with.
    pub link: LinkType,
    /// The most bytes kept of a packet, at most [`MAX_PACKET_BYTES`].
    pub snaplen: u32,
    /// What Wireshark shows in its interface column: `web-01/eth0 @ hv-1:vnet3`.
    pub name: String,
    /// What it is, in words.
    pub description: String,
    /// The capture filter.
    pub filter: String,
    /// The operating system of the machine it belongs to.
    pub os: String,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// Its speed in bits per second.
    pub speed_bps: Option<u64>,
    /// Anything else worth knowing.
    pub comments: Vec<String>,
}

impl InterfaceHeader {
    /// An Ethernet interface of which only the name is known.
    pub fn ethernet(name: impl Into<String>) -> Self {
        Self {
            link: LinkType::ETHERNET,
            snaplen: u32::try_from(MAX_PACKET_BYTES).unwrap_or(u32::MAX),
            name: name.into(),
            description: String::new(),
            filter: String::new(),
            os: String::new(),
            mac: None,
            speed_bps: None,
            comments: Vec::new(),
        }
    }
}

/// What is written about a packet beside what it says itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct PacketOptions<'a> {
    /// The same for every copy of one packet.
    pub id: Option<u64>,
    /// Whether it is larger than any frame on the wire, because segmentation was left to a card.
    pub is_super_frame: bool,
    /// What a reader should know at this packet.
    pub comments: &'a [String],
}

/// Counters of one interface for the file they are written in; what is not known is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatisticsBlock {
    /// When they were read.
    pub time: Timestamp,
    /// When capturing began.
    pub start: Option<Timestamp>,
    /// When capturing ended.
    pub end: Option<Timestamp>,
    /// Packets that came to the interface.
    pub received: Option<u64>,
    /// Packets the interface lost.
    pub interface_dropped: Option<u64>,
    /// Packets the capture filter let through.
    pub accepted: Option<u64>,
    /// Packets the operating system lost.
    pub os_dropped: Option<u64>,
    /// Packets written to the file.
    pub delivered: Option<u64>,
    /// What the counters cannot say.
    pub comments: Vec<String>,
}

/// Appends the block that begins a section, of unknown length.
pub fn write_section(out: &mut Vec<u8>, header: &SectionHeader) {
    write_block(out, BlockType::SECTION, |out| {
        put_u32(out, BYTE_ORDER_MAGIC);
        put_u16(out, 1);
        put_u16(out, 0);
        put_u64(out, u64::MAX);
        put_text(out, code::SECTION_HARDWARE, &header.hardware);
        put_text(out, code::SECTION_OS, &header.os);
        put_text(out, code::SECTION_APPLICATION, &header.application);
        put_comments(out, &header.comments);
        put_end(out);
    });
}

/// Appends the description of the next interface; the first has number 0.
pub fn write_interface(out: &mut Vec<u8>, header: &InterfaceHeader) {
    write_block(out, BlockType::INTERFACE, |out| {
        put_u16(out, header.link.0);
        put_u16(out, 0);
        put_u32(out, header.snaplen);
        put_text(out, code::INTERFACE_NAME, &header.name);
        put_text(out, code::INTERFACE_DESCRIPTION, &header.description);
        if let Some(Mac(octets)) = header.mac {
            put_option(out, code::INTERFACE_MAC, &octets);
        }
        if let Some(speed_bps) = header.speed_bps {
            put_option(out, code::INTERFACE_SPEED, &speed_bps.to_ne_bytes());
        }
        put_option(out, code::INTERFACE_RESOLUTION, &[Resolution::NANOSECONDS.0]);
        if !header.filter.is_empty() {
            // The first byte says that the filter is text.
            let text = cut(&header.filter, usize::from(u16::MAX) - 1);
            put_option_header(out, code::INTERFACE_FILTER, text.len() + 1);
            out.push(0);
            out.extend_from_slice(text.as_bytes());
            put_padding(out, text.len() + 1);
        }
        put_text(out, code::INTERFACE_OS, &header.os);
        put_comments(out, &header.comments);
        put_end(out);
    });
}

/// Appends a packet of interface number `interface`. What is beyond [`MAX_PACKET_BYTES`] is
/// sliced off.
#[inline]
pub fn write_packet(
    out: &mut Vec<u8>,
    interface: u32,
    packet: &Packet<'_>,
    options: &PacketOptions<'_>,
) {
    let data = packet.data.get(..MAX_PACKET_BYTES).unwrap_or(packet.data);
    let flags = flags_of(packet, options);
    let length = packet_block_len(packet, options);
    out.reserve(length);
    let [h0, h1, h2, h3, h4, h5, h6, h7] = packet.time.as_nanos().to_be_bytes();
    let head = [
        BlockType::ENHANCED_PACKET.0,
        len_u32(length),
        interface,
        u32::from_be_bytes([h0, h1, h2, h3]),
        u32::from_be_bytes([h4, h5, h6, h7]),
        len_u32(data.len()),
        packet.wire_len,
    ];
    out.extend_from_slice(head.map(u32::to_ne_bytes).as_flattened());
    out.extend_from_slice(data);
    if !data.len().is_multiple_of(4) {
        put_padding(out, data.len());
    }
    if packet.lost_before != 0 || options.id.is_some() || !options.comments.is_empty() {
        put_packet_options(out, flags, packet.lost_before, options);
        put_u32(out, len_u32(length));
    } else if flags != 0 {
        // Nearly every packet has this option and no other, so it is written as one.
        let [c0, c1] = code::PACKET_FLAGS.to_ne_bytes();
        let [l0, l1] = 4_u16.to_ne_bytes();
        let words = [[c0, c1, l0, l1], flags.to_ne_bytes(), [0; 4], len_u32(length).to_ne_bytes()];
        out.extend_from_slice(words.as_flattened());
    } else {
        put_u32(out, len_u32(length));
    }
}

#[cold]
fn put_packet_options(
    out: &mut Vec<u8>,
    flags: u32,
    lost_before: u64,
    options: &PacketOptions<'_>,
) {
    if flags != 0 {
        put_option(out, code::PACKET_FLAGS, &flags.to_ne_bytes());
    }
    if lost_before != 0 {
        put_option(out, code::PACKET_DROP_COUNT, &lost_before.to_ne_bytes());
    }
    if let Some(id) = options.id {
        put_option(out, code::PACKET_ID, &id.to_ne_bytes());
    }
    put_comments(out, options.comments);
    put_end(out);
}

/// How many bytes [`write_packet`] appends.
#[inline]
pub fn packet_block_len(packet: &Packet<'_>, options: &PacketOptions<'_>) -> usize {
    let mut told = 0;
    if flags_of(packet, options) != 0 {
        told += 8;
    }
    if packet.lost_before != 0 {
        told += 12;
    }
    if options.id.is_some() {
        told += 12;
    }
    told += options.comments.iter().map(|text| comment_len(text)).sum::<usize>();
    let end = if told == 0 { 0 } else { 4 };
    32 + padded(packet.data.len().min(MAX_PACKET_BYTES)) + told + end
}

/// How many bytes a comment takes in any block.
pub fn comment_len(text: &str) -> usize {
    4 + padded(cut(text, usize::from(u16::MAX)).len())
}

/// Appends names of addresses. 64-bit hardware addresses are left out: no reader shows them.
pub fn write_names<'a>(
    out: &mut Vec<u8>,
    names: impl IntoIterator<Item = (NamedAddress, &'a str)>,
) {
    write_block(out, BlockType::NAMES, |out| {
        for (address, text) in names {
            write_name_record(out, address, text);
        }
        put_option_header(out, name::END, 0);
    });
}

/// Appends counters of interface number `interface`.
pub fn write_statistics(out: &mut Vec<u8>, interface: u32, block: &StatisticsBlock) {
    write_block(out, BlockType::STATISTICS, |out| {
        put_u32(out, interface);
        put_halves(out, block.time.as_nanos());
        for (code, moment) in
            [(code::STATISTICS_START, block.start), (code::STATISTICS_END, block.end)]
        {
            if let Some(moment) = moment {
                put_option_header(out, code, 8);
                put_halves(out, moment.as_nanos());
            }
        }
        for (code, count) in [
            (code::STATISTICS_RECEIVED, block.received),
            (code::STATISTICS_INTERFACE_DROPPED, block.interface_dropped),
            (code::STATISTICS_ACCEPTED, block.accepted),
            (code::STATISTICS_OS_DROPPED, block.os_dropped),
            (code::STATISTICS_DELIVERED, block.delivered),
        ] {
            if let Some(count) = count {
                put_option(out, code, &count.to_ne_bytes());
            }
        }
        put_comments(out, &block.comments);
        put_end(out);
    });
}

#[inline]
fn flags_of(packet: &Packet<'_>, options: &PacketOptions<'_>) -> u32 {
    let direction = match packet.direction {
        Some(Direction::ToVm) => flag::INBOUND,
        Some(Direction::FromVm) => flag::OUTBOUND,
        None => 0,
    };
    let checksum = match packet.checksum {
        Checksum::Unknown => 0,
        Checksum::NotReady => flag::CHECKSUM_NOT_READY,
        Checksum::Valid => flag::CHECKSUM_VALID,
    };
    direction | checksum | if options.is_super_frame { flag::SUPER_FRAME } else { 0 }
}

pub(super) fn write_block(out: &mut Vec<u8>, block: BlockType, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_u32(out, block.0);
    put_u32(out, 0);
    body(out);
    let length = len_u32(out.len() - start + 4);
    put_u32(out, length);
    if let Some(field) = out.get_mut(start + 4..start + 8) {
        field.copy_from_slice(&length.to_ne_bytes());
    }
}

/// One name in a block of names.
pub(super) fn write_name_record(out: &mut Vec<u8>, address: NamedAddress, text: &str) {
    let text = cut(text, MAX_NAME_BYTES);
    match address {
        NamedAddress::V4(v4) => put_name(out, name::IPV4, &v4.octets(), text),
        NamedAddress::V6(v6) => put_name(out, name::IPV6, &v6.octets(), text),
        NamedAddress::Mac(Mac(octets)) => put_name(out, name::EUI48, &octets, text),
        NamedAddress::Eui64(_) => {}
    }
}

fn put_name(out: &mut Vec<u8>, kind: u16, address: &[u8], text: &str) {
    let len = address.len() + text.len() + 1;
    put_option_header(out, kind, len);
    out.extend_from_slice(address);
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    put_padding(out, len);
}

fn put_comments(out: &mut Vec<u8>, comments: &[String]) {
    for comment in comments {
        put_text_option(out, code::COMMENT, comment);
    }
}

/// An option with this text, or none if there is none.
fn put_text(out: &mut Vec<u8>, code: u16, text: &str) {
    if !text.is_empty() {
        put_text_option(out, code, text);
    }
}

fn put_text_option(out: &mut Vec<u8>, code: u16, text: &str) {
    put_option(out, code, cut(text, usize::from(u16::MAX)).as_bytes());
}

pub(super) fn put_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    put_option_header(out, code, value.len());
    out.extend_from_slice(value);
    put_padding(out, value.len());
}

fn put_option_header(out: &mut Vec<u8>, code: u16, len: usize) {
    put_u16(out, code);
    put_u16(out, u16::try_from(len).unwrap_or(u16::MAX));
}

pub(super) fn put_end(out: &mut Vec<u8>) {
    put_option_header(out, code::END, 0);
}

fn put_padding(out: &mut Vec<u8>, len: usize) {
    if let Some(padding) = [0; 3].get(..padded(len) - len) {
        out.extend_from_slice(padding);
    }
}

pub(super) fn put_halves(out: &mut Vec<u8>, value: u64) {
    let [h0, h1, h2, h3, h4, h5, h6, h7] = value.to_be_bytes();
    put_u32(out, u32::from_be_bytes([h0, h1, h2, h3]));
    put_u32(out, u32::from_be_bytes([h4, h5, h6, h7]));
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_ne_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_ne_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_ne_bytes());
}

/// The length of something held in memory, of which nothing here is near 4 GiB.
fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The beginning of `text`, at most `bytes` long and whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

/// A DNS name has at most 253 characters; a VM's name may be longer, and is cut far behind that.
const MAX_NAME_BYTES: usize = 1024;
