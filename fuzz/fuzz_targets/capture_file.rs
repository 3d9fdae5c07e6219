//! Any bytes as a capture file, in pieces of any size: the reader ends, holds no more than it
//! may, and shows the same however the pieces were cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::file::{Item, Limits, Progress, Reader};

fuzz_target!(|bytes: &[u8]| {
    let (piece, bytes) = bytes.split_first().map_or((1, bytes), |(piece, rest)| (*piece, rest));
    let whole = read(bytes, usize::MAX);
    assert_eq!(whole, read(bytes, usize::from(piece).max(1)));
});

/// Records, damages and a sum over everything shown.
fn read(bytes: &[u8], piece: usize) -> (u64, u64, u64) {
    let limits = Limits { block_bytes: 1 << 20, interfaces: 100 };
    let mut reader = Reader::with_limits(limits);
    let mut rest = bytes;
    let (mut damages, mut sum) = (0, 0_u64);
    loop {
        match reader.advance() {
            Progress::Item => match reader.item() {
                Item::Record(record) => {
                    sum = sum.wrapping_add(record.packet.time.as_nanos());
                    sum = sum.wrapping_add(record.packet.data.len() as u64);
                    sum = sum.wrapping_add(record.options.comments().count() as u64);
                }
                Item::Interface(interface) => {
                    sum = sum.wrapping_add(u64::from(interface.link.0));
                    let name = interface.name().map(|name| name.to_string().len());
                    sum = sum.wrapping_add(name.unwrap_or_default() as u64);
                    let _ = (interface.filter(), interface.mac(), interface.speed_bps());
                }
                Item::Statistics(statistics) => {
                    sum = sum.wrapping_add(statistics.time.as_nanos());
                    let _ = (statistics.start(), statistics.delivered());
                }
                Item::Names(names) => sum = sum.wrapping_add(names.count() as u64),
                Item::Damage(damage) => {
                    damages += 1;
                    sum = sum.wrapping_add(damage.offset);
                }
                Item::Section(section) => {
                    let _ = (section.application(), section.options.count());
                }
                Item::Other(other) => sum = sum.wrapping_add(other.offset),
            },
            Progress::NeedBytes => {
                let space = reader.space();
                let len = rest.len().min(space.len()).min(piece);
                let (now, later) = rest.split_at(len);
                space[..len].copy_from_slice(now);
                rest = later;
                reader.filled(len);
            }
            Progress::End => break,
        }
        assert!(reader.allocated() <= 2 << 20);
    }
    (reader.records(), damages, sum)
}
