//! Measures the file sink: nanoseconds for each packet, the write calls included.
//!
//! `cargo run --release -p deliver --example write_rate -- DIRECTORY [PACKETS] [BYTES]`

#![allow(clippy::unwrap_used, reason = "a measurement may fail this way")]

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use deliver::{Destination, Existing, FileSettings, FileSink, Ring};
use wire::file::InterfaceHeader;
use wire::{Checksum, Direction, LinkType, Packet, PointId, Timestamp};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap_or("/tmp".into()));
    let packets: u64 = arguments.next().map_or(2_000_000, |text| text.parse().unwrap());
    let bytes: usize = arguments.next().map_or(512, |text| text.parse().unwrap());
    let base = directory.join(format!("write_rate_{}", std::process::id()));
    let one = Destination::File { path: base.with_extension("one"), existing: Existing::Refuse };
    let ring = Destination::Ring {
        base: base.with_extension("pcapng"),
        ring: Ring { max_bytes: Some(64 << 20), keep: NonZeroU32::new(3), ..Ring::default() },
    };
    let null = Destination::File { path: "/dev/null".into(), existing: Existing::Refuse };
    let took = baseline(&base.with_extension("raw"), packets, bytes);
    let each = took.as_nanos() as f64 / packets as f64;
    println!("write(2) alone: {each:.1} ns for the bytes of each packet");
    for (name, destination) in [("no file", null), ("one file", one), ("ring of 64 MiB", ring)] {
        let (took, files) = measure(destination, packets, bytes);
        let each = took.as_nanos() as f64 / packets as f64;
        println!("{name}: {packets} packets of {bytes} bytes, {each:.1} ns each");
        for file in files {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// The same bytes with nothing but `write(2)`: what the file system itself costs.
fn baseline(path: &std::path::Path, packets: u64, bytes: usize) -> Duration {
    use std::io::Write;
    let buffer = vec![7; 1 << 20];
    let mut left = usize::try_from(packets).unwrap() * (bytes + 56);
    let mut file = std::fs::File::create_new(path).unwrap();
    let begun = Instant::now();
    while left > 0 {
        let len = left.min(buffer.len());
        file.write_all(buffer.get(..len).unwrap()).unwrap();
        left -= len;
    }
    let took = begun.elapsed();
    std::fs::remove_file(path).unwrap();
    took
}

fn measure(destination: Destination, packets: u64, bytes: usize) -> (Duration, Vec<PathBuf>) {
    let interfaces = vec![
        InterfaceHeader::ethernet("web-01/eth0 @ hv-1:vnet3"),
        InterfaceHeader::ethernet("web-01/eth0 @ hv-2:vnet9"),
    ];
    // As from a ring buffer: always other memory.
    let ring: Vec<u8> = (0..4 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
    let start = Timestamp::from_parts(1_700_000_000, 0);
    let mut sink = FileSink::open(FileSettings::new(destination, interfaces), start).unwrap();
    let begun = Instant::now();
    let mut at = 0;
    for number in 0..packets {
        let now = start.saturating_add(Duration::from_micros(number));
        let packet = Packet {
            point: PointId((number & 1) as u32),
            direction: Some(if number & 1 == 0 { Direction::ToVm } else { Direction::FromVm }),
            checksum: Checksum::NotReady,
            ..Packet::new(now, LinkType::ETHERNET, ring.get(at..at + bytes).unwrap(), 1500)
        };
        at = (at + bytes) % (ring.len() - bytes);
        assert_eq!(sink.write(now, &packet).unwrap(), deliver::Outcome::Written);
    }
    let summary = sink.finish(start);
    let took = begun.elapsed();
    assert_eq!(summary.totals.packets, packets);
    let files = summary.files.into_iter().map(|file| file.path);
    (took, files.filter(|path| !path.starts_with("/dev/null")).collect())
}
