//! The packets in a chunk: 16 bytes about each, then its bytes.

use wire::{Checksum, Direction, LinkType, Packet, PointId, Timestamp};

use crate::bytes::Bytes;

/// The most bytes that [`write_packet`] appends for a packet.
pub(crate) const fn packet_len(packet: &Packet<'_>) -> usize {
    HEAD_LEN + 8 + packet.data.len()
}

/// Appends a packet. One of more than 2^20 bytes is cut to that, which no source gives.
#[inline]
pub(crate) fn write_packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let data = packet.data.get(..MOST_BYTES).unwrap_or(packet.data);
    // It was just cut to what fits 20 bits.
    let mut word = u32::try_from(data.len()).unwrap_or_default();
    word |= match packet.direction {
        None => 0,
        Some(Direction::FromVm) => FROM_VM,
        Some(Direction::ToVm) => TO_VM,
    };
    word |= match packet.checksum {
        Checksum::Unknown => 0,
        Checksum::NotReady => NOT_READY,
        Checksum::Valid => VALID,
    };
    let [t0, t1, t2, t3, t4, t5, t6, t7] = packet.time.as_nanos().to_le_bytes();
    let [l0, l1, l2, l3] = packet.wire_len.to_le_bytes();
    let has_lost = packet.lost_before > 0;
    let [w0, w1, w2, w3] = (word | if has_lost { HAS_LOST } else { 0 }).to_le_bytes();
    out.extend_from_slice(&[t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3, w0, w1, w2, w3]);
    if has_lost {
        out.extend_from_slice(&packet.lost_before.to_le_bytes());
    }
    out.extend_from_slice(data);
}

/// Reads the packet at the beginning of `bytes` and leaves them behind it.
pub(crate) fn read_packet<'a>(bytes: &mut Bytes<'a>, link: LinkType) -> Option<Packet<'a>> {
    let (time, wire_len, word) = (bytes.u64()?, bytes.u32()?, bytes.u32()?);
    let lost_before = if word & HAS_LOST != 0 { bytes.u64()? } else { 0 };
    let data = bytes.slice((word & LEN_MASK) as usize)?;
    Some(Packet {
        time: Timestamp::from_nanos(time),
        point: PointId(0),
        link,
        data,
        wire_len,
        direction: match (word & FROM_VM != 0, word & TO_VM != 0) {
            (true, false) => Some(Direction::FromVm),
            (false, true) => Some(Direction::ToVm),
            _ => None,
        },
        checksum: match (word & NOT_READY != 0, word & VALID != 0) {
            (true, false) => Checksum::NotReady,
            (false, true) => Checksum::Valid,
            _ => Checksum::Unknown,
        },
        lost_before,
    })
}

const HEAD_LEN: usize = 16;
const LEN_MASK: u32 = (1 << 20) - 1;
const MOST_BYTES: usize = LEN_MASK as usize;
const FROM_VM: u32 = 1 << 20;
const TO_VM: u32 = 1 << 21;
const NOT_READY: u32 = 1 << 22;
const VALID: u32 = 1 << 23;
const HAS_LOST: u32 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packets_are_read_as_they_were_written(
            packets in prop::collection::vec(
                (any::<u64>(), prop::collection::vec(any::<u8>(), 0..80), any::<u32>(), 0..3_u8,
                 0..3_u8, prop_oneof![Just(0), any::<u64>()]),
                0..20,
            )
        ) {
            let packet = |p: &(u64, Vec<u8>, u32, u8, u8, u64)| {
                let (time, data, wire_len, direction, checksum, lost_before) = p.clone();
                let data: &'static [u8] = data.leak();
                Packet {
                    direction: [None, Some(Direction::FromVm), Some(Direction::ToVm)][usize::from(direction)],
                    checksum: [Checksum::Unknown, Checksum::NotReady, Checksum::Valid][usize::from(checksum)],
                    lost_before,
                    ..Packet::new(Timestamp::from_nanos(time), LinkType::ETHERNET, data, wire_len)
                }
            };
            let packets: Vec<Packet<'_>> = packets.iter().map(packet).collect();
            let mut out = Vec::new();
            for packet in &packets {
                let before = out.len();
                write_packet(&mut out, packet);
                prop_assert!(out.len() - before <= packet_len(packet));
            }
            let mut rest = Bytes(&out);
            for packet in &packets {
                let read = read_packet(&mut rest, LinkType::ETHERNET).unwrap();
                prop_assert_eq!(format!("{:?}", packet), format!("{:?}", read));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut rest = Bytes(&bytes);
            while !rest.is_empty() && read_packet(&mut rest, LinkType::ETHERNET).is_some() {}
        }
    }
}
