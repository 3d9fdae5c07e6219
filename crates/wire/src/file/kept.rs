//! A packet of a capture file that is kept while the reader goes on.

use super::order::ByteOrder;
use super::{Options, Record};
use crate::{Checksum, Direction, LinkType, Packet, PointId, Timestamp};

/// A [`Record`] with bytes of its own.
#[derive(Debug, Clone)]
pub struct KeptRecord {
    number: u64,
    offset: u64,
    time: Timestamp,
    point: PointId,
    link: LinkType,
    data: Vec<u8>,
    wire_len: u32,
    direction: Option<Direction>,
    checksum: Checksum,
    lost_before: u64,
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
            time: packet.time,
            point: packet.point,
            link: packet.link,
            data: packet.data.to_vec(),
            wire_len: packet.wire_len,
            direction: packet.direction,
            checksum: packet.checksum,
            lost_before: packet.lost_before,
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
            packet: Packet {
                time: self.time,
                point: self.point,
                link: self.link,
                data: &self.data,
                wire_len: self.wire_len,
                direction: self.direction,
                checksum: self.checksum,
                lost_before: self.lost_before,
            },
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
        size_of::<Self>() + self.data.len() + self.options.len()
    }
}
