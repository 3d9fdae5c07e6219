//! A packet of a capture file that is kept while the reader goes on.

use super::order::ByteOrder;
use super::{Options, Record};
use crate::KeptPacket;

/// A [`Record`] with bytes of its own.
#[derive(Debug, Clone)]
pub struct KeptRecord {
    number: u64,
    offset: u64,
    packet: KeptPacket,
    ticks: u64,
    flags: u32,
    id: Option<u64>,
    options: Vec<u8>,
    order: ByteOrder,
}

impl KeptRecord {
    /// Copies all that a record borrows.
    pub fn new(record: &Record<'_>) -> Self {
        let Record { number, offset, packet, ticks, flags, id, options, raw: _ } = *record;
        Self {
            number,
            offset,
            packet: KeptPacket::new(&packet),
            ticks,
            flags,
            id,
            options: options.as_bytes().to_vec(),
            order: options.order(),
        }
    }

    /// What was copied.
    pub fn record(&self) -> Record<'_> {
        Record {
            number: self.number,
            offset: self.offset,
            packet: self.packet.packet(),
            ticks: self.ticks,
            flags: self.flags,
            id: self.id,
            options: Options::new(&self.options, self.order),
            // It is written anew, which makes the same bytes.
            raw: &[],
        }
    }

    /// How many bytes it takes.
    pub fn byte_len(&self) -> usize {
        size_of::<Self>() + self.packet.packet().data.len() + self.options.len()
    }
}
