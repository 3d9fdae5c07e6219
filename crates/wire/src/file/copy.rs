//! Blocks of one capture file, written into another: nothing they say gets lost.
//!
//! Times stay the ticks they were, options stay the bytes they were but for the byte order, which
//! becomes this machine's. What cannot be put into that order, because only its author knows what
//! it holds, is left out: custom options of files from machines of the other order.

use super::block::{MAX_PACKET_BYTES, code};
use super::order::{ByteOrder, padded};
use super::write::{
    put_end, put_halves, put_option, put_u16, put_u32, write_block, write_name_record,
};
use super::{
    BlockType, FileOption, Format, Interface, Names, Options, Record, Resolution, Section,
    Statistics,
};
use crate::{LinkType, Packet};

/// Appends the description of an interface as another file has it, with packets that begin with
/// `link`. Its times keep their resolution and offset. It says that packets have up to
/// [`MAX_PACKET_BYTES`], as every interface of a file must say the same.
pub fn copy_interface(out: &mut Vec<u8>, interface: &Interface<'_>, link: LinkType, name: &str) {
    write_block(out, BlockType::INTERFACE, |out| {
        put_u16(out, link.0);
        put_u16(out, 0);
        put_u32(out, u32::try_from(MAX_PACKET_BYTES).unwrap_or(u32::MAX));
        let options = interface.options;
        if options.value_of(code::INTERFACE_NAME).is_none() && !name.is_empty() {
            put_option(out, code::INTERFACE_NAME, name.as_bytes());
        }
        if options.value_of(code::INTERFACE_RESOLUTION).is_none()
            && interface.resolution != Resolution::MICROSECONDS
        {
            put_option(out, code::INTERFACE_RESOLUTION, &[interface.resolution.0]);
        }
        if options.value_of(code::INTERFACE_FCS_LEN).is_none()
            && let Some(bytes) = interface.fcs_bytes
        {
            put_option(out, code::INTERFACE_FCS_LEN, &[bytes.saturating_mul(8)]);
        }
        put_options(out, options, |option| match option {
            code::INTERFACE_SPEED
            | code::INTERFACE_TIME_OFFSET
            | INTERFACE_TX_SPEED
            | INTERFACE_RX_SPEED => Shape::U64,
            INTERFACE_ZONE => Shape::U32,
            _ => Shape::Bytes,
        });
        put_end(out);
    });
}

/// How many bytes [`copy_packet`] appends at most.
pub fn copied_packet_max(record: &Record<'_>) -> usize {
    64 + padded(record.packet.data.len()) + record.options.byte_len()
}

/// Appends `packet`, which is what became of `record`'s, as a packet of interface number
/// `interface`, with all that `record` says of it. What is beyond [`MAX_PACKET_BYTES`] is sliced
/// off.
pub fn copy_packet(out: &mut Vec<u8>, interface: u32, packet: &Packet<'_>, record: &Record<'_>) {
    let data = packet.data.get(..MAX_PACKET_BYTES).unwrap_or(packet.data);
    let is_changed =
        data.len() != record.packet.data.len() || packet.wire_len != record.packet.wire_len;
    if !is_changed && record.raw.get(8..12) == Some(&interface.to_ne_bytes()) {
        out.extend_from_slice(record.raw);
        return;
    }
    let start = out.len();
    let [t0, t1, t2, t3, t4, t5, t6, t7] = record.ticks.to_be_bytes();
    let mut head = [0; 28];
    let words = [
        BlockType::ENHANCED_PACKET.0,
        // Right unless options follow, which is told below.
        32 + len_u32(padded(data.len())),
        interface,
        u32::from_be_bytes([t0, t1, t2, t3]),
        u32::from_be_bytes([t4, t5, t6, t7]),
        len_u32(data.len()),
        packet.wire_len,
    ];
    for (field, word) in head.chunks_exact_mut(4).zip(words) {
        field.copy_from_slice(&word.to_ne_bytes());
    }
    out.extend_from_slice(&head);
    out.extend_from_slice(data);
    if let Some(padding) = [0; 3].get(..padded(data.len()) - data.len()) {
        out.extend_from_slice(padding);
    }
    // An obsolete packet block told its losses without an option.
    let lost = record.options.value_of(code::PACKET_DROP_COUNT).is_none() && packet.lost_before > 0;
    if record.options.is_empty() && !lost {
        put_u32(out, 32 + len_u32(padded(data.len())));
        return;
    }
    if lost {
        put_option(out, code::PACKET_DROP_COUNT, &packet.lost_before.to_ne_bytes());
    }
    put_options(out, record.options, |option| match option {
        code::PACKET_FLAGS | PACKET_QUEUE => Shape::U32,
        code::PACKET_DROP_COUNT | code::PACKET_ID => Shape::U64,
        // A sum over bytes that are not all there any more.
        PACKET_HASH if is_changed => Shape::Nothing,
        _ => Shape::Bytes,
    });
    put_end(out);
    let length = len_u32(out.len() - start + 4);
    put_u32(out, length);
    if let Some(field) = out.get_mut(start + 4..start + 8) {
        field.copy_from_slice(&length.to_ne_bytes());
    }
}

/// Appends counters as another file has them, as those of interface number `interface`, which
/// must have been copied with [`copy_interface`].
pub fn copy_statistics(out: &mut Vec<u8>, interface: u32, statistics: &Statistics<'_>) {
    write_block(out, BlockType::STATISTICS, |out| {
        put_u32(out, interface);
        put_halves(out, statistics.ticks);
        put_options(out, statistics.options, |option| match option {
            code::STATISTICS_START | code::STATISTICS_END => Shape::Halves,
            code::STATISTICS_RECEIVED..=code::STATISTICS_DELIVERED => Shape::U64,
            _ => Shape::Bytes,
        });
        put_end(out);
    });
}

/// Appends names as another file has them, with their comments.
pub fn copy_names(out: &mut Vec<u8>, names: &Names<'_>) {
    write_block(out, BlockType::NAMES, |out| {
        for name in *names {
            write_name_record(out, name.address, &name.name.to_str());
        }
        put_u32(out, 0);
        if !names.options.is_empty() {
            put_options(out, names.options, |_| Shape::Bytes);
            put_end(out);
        }
    });
}

impl Section<'_> {
    /// Whether packets of this section can stand in a file of this machine as they are.
    pub fn is_native(&self) -> bool {
        self.format == Format::Pcapng && self.order == ByteOrder::NATIVE
    }
}

/// What the value of an option is, for putting it into another byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Bytes,
    U32,
    U64,
    /// Two 32-bit numbers.
    Halves,
    /// Left out.
    Nothing,
}

fn put_options(out: &mut Vec<u8>, options: Options<'_>, shape: impl Fn(u16) -> Shape) {
    let order = options.order();
    let is_native = order == ByteOrder::NATIVE;
    for FileOption { code, value } in options {
        match (shape(code), value.len()) {
            (Shape::Nothing, _) => {}
            (Shape::U32, 4) if !is_native => put_option(out, code, &reversed::<4>(value)),
            (Shape::U64, 8) if !is_native => put_option(out, code, &reversed::<8>(value)),
            (Shape::Halves, 8) if !is_native => {
                let [a, b, c, d, e, f, g, h] = reversed::<8>(value);
                put_option(out, code, &[e, f, g, h, a, b, c, d]);
            }
            (Shape::Bytes, _) if !is_native && is_custom(code) => {}
            _ => put_option(out, code, value),
        }
    }
}

fn reversed<const N: usize>(value: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(value.iter().rev()).for_each(|(to, from)| *to = *from);
    bytes
}

/// Custom options begin with a number in the section's byte order; what follows is anything
/// (section 3.5.1).
const fn is_custom(code: u16) -> bool {
    matches!(code, 2988 | 2989 | 19372 | 19373)
}

/// The length of something held in memory, of which nothing here is near 4 GiB.
fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

const INTERFACE_ZONE: u16 = 10;
const INTERFACE_TX_SPEED: u16 = 16;
const INTERFACE_RX_SPEED: u16 = 17;
const PACKET_HASH: u16 = 3;
const PACKET_QUEUE: u16 = 6;
