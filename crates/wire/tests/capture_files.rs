//! Capture files byte by byte: what is written, what is read back, and what damage costs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use wire::file::{
    BlockType, ByteOrder, Damage, DamageReason, Format, InterfaceHeader, Item, Limits,
    NamedAddress, PacketOptions, PcapTime, Progress, Reader, SectionHeader, StatisticsBlock,
    packet_block_len, write_interface, write_names, write_packet, write_pcap_header,
    write_pcap_packet, write_section, write_statistics,
};
use wire::{Checksum, Direction, LinkType, Mac, Packet, PointId, Timestamp};

/// A whole file as overtap writes it on a little-endian machine.
#[rustfmt::skip]
const GOLDEN: &[u8] = &[
    // Section header block, 44 bytes.
    0x0a, 0x0d, 0x0d, 0x0a, 0x2c, 0x00, 0x00, 0x00,
    0x4d, 0x3c, 0x2b, 0x1a, // byte-order magic
    0x01, 0x00, 0x00, 0x00, // version 1.0
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // section of unknown length
    0x04, 0x00, 0x07, 0x00, b'o', b'v', b'e', b'r', b't', b'a', b'p', 0x00, // shb_userappl
    0x00, 0x00, 0x00, 0x00, // end of options
    0x2c, 0x00, 0x00, 0x00,
    // Interface description block, 64 bytes.
    0x01, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x00, // Ethernet
    0x00, 0x00, 0x04, 0x00, // snaplen 262144
    0x02, 0x00, 0x06, 0x00, b'w', b'e', b'b', b'-', b'0', b'1', 0x00, 0x00, // if_name
    0x06, 0x00, 0x06, 0x00, 0x52, 0x54, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, // if_MACaddr
    0x09, 0x00, 0x01, 0x00, 0x09, 0x00, 0x00, 0x00, // if_tsresol nanoseconds
    0x0b, 0x00, 0x04, 0x00, 0x00, b'a', b'r', b'p', // if_filter, as text
    0x00, 0x00, 0x00, 0x00, // end of options
    0x40, 0x00, 0x00, 0x00,
    // Name resolution block, 32 bytes.
    0x04, 0x00, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x0b, 0x00, 0x0a, 0x00, 0x07, 0x0c, // IPv4 10.0.7.12
    b'w', b'e', b'b', b'-', b'0', b'1', 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, // end of records
    0x20, 0x00, 0x00, 0x00,
    // Enhanced packet block, 72 bytes.
    0x06, 0x00, 0x00, 0x00, 0x48, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, // interface 0
    0x15, 0xcd, 0x5b, 0x07, 0x01, 0x00, 0x00, 0x00, // high and low half of the time
    0x05, 0x00, 0x00, 0x00, // 5 bytes here
    0x3c, 0x00, 0x00, 0x00, // of 60
    0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00,
    0x02, 0x00, 0x04, 0x00, 0x02, 0x02, 0x00, 0x00, // epb_flags: outbound, checksum not ready
    0x04, 0x00, 0x08, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // 3 lost before
    0x01, 0x00, 0x02, 0x00, b'h', b'i', 0x00, 0x00, // comment
    0x00, 0x00, 0x00, 0x00, // end of options
    0x48, 0x00, 0x00, 0x00,
    // Interface statistics block, 64 bytes.
    0x05, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, // interface 0
    0x15, 0xcd, 0x5b, 0x07, 0x02, 0x00, 0x00, 0x00, // time
    0x02, 0x00, 0x08, 0x00, 0x15, 0xcd, 0x5b, 0x07, 0x01, 0x00, 0x00, 0x00, // isb_starttime
    0x07, 0x00, 0x08, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // isb_osdrop
    0x08, 0x00, 0x08, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // isb_usrdeliv
    0x00, 0x00, 0x00, 0x00, // end of options
    0x40, 0x00, 0x00, 0x00,
];
const GOLDEN_TIME: Timestamp = Timestamp::from_nanos(0x075b_cd15_0000_0001);

fn golden_packet() -> Packet<'static> {
    Packet {
        direction: Some(Direction::FromVm),
        checksum: Checksum::NotReady,
        lost_before: 3,
        ..Packet::new(GOLDEN_TIME, LinkType::ETHERNET, &[0xff; 5], 60)
    }
}

#[cfg(target_endian = "little")]
#[test]
fn the_writer_writes_the_golden_file() {
    let mut out = Vec::new();
    write_section(
        &mut out,
        &SectionHeader { application: "overtap".into(), ..SectionHeader::default() },
    );
    write_interface(
        &mut out,
        &InterfaceHeader {
            mac: Some(Mac([0x52, 0x54, 0, 0, 0, 1])),
            filter: "arp".into(),
            ..InterfaceHeader::ethernet("web-01")
        },
    );
    write_names(&mut out, [(NamedAddress::V4(Ipv4Addr::new(10, 0, 7, 12)), "web-01")]);
    let comments = ["hi".to_owned()];
    let options = PacketOptions { comments: &comments, ..PacketOptions::default() };
    let before = out.len();
    write_packet(&mut out, 0, &golden_packet(), &options);
    assert_eq!(out.len() - before, packet_block_len(&golden_packet(), &options));
    write_statistics(
        &mut out,
        0,
        &StatisticsBlock {
            time: Timestamp::from_nanos(0x075b_cd15_0000_0002),
            start: Some(GOLDEN_TIME),
            os_dropped: Some(3),
            delivered: Some(1),
            ..StatisticsBlock::default()
        },
    );
    assert_eq!(out, GOLDEN);
}

#[test]
fn the_golden_file_reads_as_its_comments_say() {
    let mut items = 0;
    each(GOLDEN, Limits::default(), |item| {
        match item {
            Item::Section(section) => {
                assert_eq!((section.number, section.format), (0, Format::Pcapng));
                assert_eq!(section.order, ByteOrder::Little);
                assert_eq!(section.application().unwrap().to_str(), "overtap");
                assert!(section.os().is_none());
            }
            Item::Interface(interface) => {
                assert_eq!((interface.point, interface.link), (PointId(0), LinkType::ETHERNET));
                assert_eq!(interface.snaplen, 262_144);
                assert_eq!(interface.name().unwrap().to_str(), "web-01");
                assert_eq!(interface.filter().unwrap().to_str(), "arp");
                assert_eq!(interface.mac(), Some(Mac([0x52, 0x54, 0, 0, 0, 1])));
                assert_eq!(interface.resolution.to_string(), "10^-9 s");
            }
            Item::Names(names) => {
                let names: Vec<_> = names.collect();
                assert_eq!(names.len(), 1);
                assert_eq!(names[0].address, NamedAddress::V4(Ipv4Addr::new(10, 0, 7, 12)));
                assert_eq!(names[0].name.to_str(), "web-01");
            }
            Item::Record(record) => {
                assert_eq!((record.number, record.offset), (1, 140));
                assert_same(&record.packet, &golden_packet());
                let comments: Vec<_> = record.options.comments().map(|c| c.to_string()).collect();
                assert_eq!(comments, ["hi"]);
            }
            Item::Statistics(statistics) => {
                assert_eq!(statistics.point, PointId(0));
                assert_eq!(statistics.time.as_nanos(), 0x075b_cd15_0000_0002);
                assert_eq!(statistics.start(), Some(GOLDEN_TIME));
                assert_eq!(statistics.os_dropped(), Some(3));
                assert_eq!(statistics.delivered(), Some(1));
                assert_eq!(statistics.received(), None);
            }
            Item::Other(_) | Item::Damage(_) => panic!("{item:?}"),
        }
        items += 1;
    });
    assert_eq!(items, 5);
}

#[test]
fn a_file_cut_at_any_byte_shows_all_packets_before_the_cut() {
    for file in [GOLDEN.to_vec(), sample(ByteOrder::Big), sample(ByteOrder::Little), pcap()] {
        // Where each item ends, so how many must be seen of a file cut there.
        let whole = read(&file);
        assert!(whole.damage.is_empty(), "{:?}", whole.damage);
        for cut in 0..=file.len() {
            let seen = read(&file[..cut]);
            let complete = whole.ends.iter().filter(|end| **end <= cut as u64).count();
            assert_eq!(seen.packets, whole.packets[..complete], "cut at {cut}");
            let is_whole = whole.boundaries.contains(&(cut as u64)) || cut == file.len();
            assert_eq!(seen.damage.is_empty(), is_whole, "cut at {cut}: {:?}", seen.damage);
            assert!(seen.damage.len() <= 1);
        }
    }
}

#[test]
fn bytes_that_come_one_at_a_time_make_no_difference() {
    for file in [GOLDEN.to_vec(), sample(ByteOrder::Big), pcap()] {
        let mut slow = Vec::new();
        let mut reader = Reader::new();
        let mut rest = file.iter();
        loop {
            match reader.advance() {
                Progress::Item => slow.push(format!("{:?}", reader.item())),
                Progress::NeedBytes => {
                    let byte = rest.next();
                    reader.space()[0] = byte.copied().unwrap_or_default();
                    reader.filled(usize::from(byte.is_some()));
                }
                Progress::End => break,
            }
        }
        let mut fast = Vec::new();
        each(&file, Limits::default(), |item| fast.push(format!("{item:?}")));
        assert_eq!(slow, fast);
    }
}

#[test]
fn each_section_has_its_own_byte_order_and_interfaces() {
    let file = [sample(ByteOrder::Big), sample(ByteOrder::Little)].concat();
    let seen = read(&file);
    assert!(seen.damage.is_empty());
    let points: Vec<u32> = seen.packets.iter().map(|packet| packet.point).collect();
    // The sample has two interfaces and packets on 1, 0 and 0.
    assert_eq!(points, [1, 0, 0, 3, 2, 2]);
    assert_eq!(seen.packets[0].nanos, 5_250_000_000 + 100_000_000_000);
    assert_eq!(seen.packets[3].nanos, seen.packets[0].nanos);
}

#[test]
fn simple_and_obsolete_packets_are_packets() {
    for order in [ByteOrder::Big, ByteOrder::Little] {
        let seen = read(&sample(order));
        let [enhanced, simple, obsolete] = &seen.packets[..] else { panic!("{:?}", seen.packets) };
        assert_eq!((enhanced.data.as_slice(), enhanced.wire_len), (&[1, 2, 3][..], 3));
        // Cut to the snaplen of interface 0, and without a time.
        assert_eq!((simple.data.as_slice(), simple.wire_len), (&[4, 5, 6, 7][..], 6));
        assert_eq!(simple.nanos, 0);
        assert_eq!((obsolete.nanos, obsolete.lost_before), (2_000_000_000, 9));
    }
}

#[test]
fn a_bad_option_costs_the_option() {
    let mut file = begin();
    // The comment says it has 200 bytes; the flags before it are good.
    let mut body = packet_body(0, 1, &[1, 2, 3, 4]);
    body.extend([2, 0, 4, 0, 1, 0, 0, 0, 1, 0, 200, 0, b'x', b'y', b'z', 0]);
    let at = file.len() as u64;
    put_block(&mut file, 6, &body);
    put_block(&mut file, 6, &packet_body(0, 2, &[5]));
    let seen = read(&file);
    assert_eq!(seen.packets.len(), 2);
    assert_eq!(seen.packets[0].direction, Some(Direction::ToVm));
    assert_eq!(seen.damage, [Damage { offset: at, reason: DamageReason::BadOption { code: 1 } }]);
}

#[test]
fn an_option_of_the_wrong_length_is_not_believed() {
    let mut file = begin();
    let mut body = packet_body(0, 1, &[]);
    body.extend([4, 0, 4, 0, 1, 0, 0, 0]); // epb_dropcount must have 8 bytes
    put_block(&mut file, 6, &body);
    let seen = read(&file);
    assert_eq!(seen.packets[0].lost_before, 0);
    assert_eq!(reasons(&seen), [DamageReason::BadOption { code: 4 }]);
}

#[test]
fn options_without_an_end_are_complete() {
    let mut file = begin();
    let mut body = packet_body(0, 1, &[]);
    body.extend([4, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    put_block(&mut file, 6, &body);
    let seen = read(&file);
    assert_eq!(seen.packets[0].lost_before, 7);
    assert!(seen.damage.is_empty());
}

#[test]
fn a_bad_packet_block_costs_the_packet() {
    let mut file = begin();
    let mut too_long = packet_body(0, 1, &[1, 2, 3, 4]);
    too_long[12..16].copy_from_slice(&1000_u32.to_le_bytes());
    put_block(&mut file, 6, &too_long);
    put_block(&mut file, 6, &packet_body(5, 1, &[1]));
    put_block(&mut file, 6, &[0; 8]);
    put_block(&mut file, 3, &[]);
    put_block(&mut file, 6, &packet_body(0, 1, &[9]));
    let seen = read(&file);
    assert_eq!(seen.packets.len(), 1);
    assert_eq!(seen.packets[0].data, [9]);
    let block = BlockType::ENHANCED_PACKET;
    assert_eq!(
        reasons(&seen),
        [
            DamageReason::BadPacketLength { captured: 1000 },
            DamageReason::UnknownInterface { interface: 5 },
            DamageReason::ShortBlock { block },
            DamageReason::ShortBlock { block: BlockType::SIMPLE_PACKET },
        ]
    );
    assert!(seen.damage.iter().all(|damage| damage.costs_packet() && !damage.is_final()));
}

#[test]
fn an_unreadable_interface_keeps_its_number() {
    let mut file = begin();
    put_block(&mut file, 1, &[1, 0, 0, 0]);
    put_block(&mut file, 1, &[113, 0, 0, 0, 0, 0, 0, 0]);
    put_block(&mut file, 6, &packet_body(1, 1, &[1]));
    put_block(&mut file, 6, &packet_body(2, 1, &[2]));
    let seen = read(&file);
    assert_eq!(seen.packets.len(), 1);
    assert_eq!((seen.packets[0].point, seen.packets[0].link), (2, 113));
    assert_eq!(
        reasons(&seen),
        [
            DamageReason::ShortBlock { block: BlockType::INTERFACE },
            DamageReason::UnknownInterface { interface: 1 }
        ]
    );
}

#[test]
fn a_broken_length_ends_the_file() {
    let packet = packet_body(0, 1, &[1]);
    let mut differ = begin();
    put_block(&mut differ, 6, &packet);
    let at = differ.len();
    put_block(&mut differ, 6, &packet);
    let end = differ.len();
    differ[end - 4] += 4;
    put_block(&mut differ, 6, &packet);
    let seen = read(&differ);
    assert_eq!(seen.packets.len(), 1);
    let block = BlockType::ENHANCED_PACKET;
    let reason = DamageReason::LengthsDiffer { block, first: 36, last: 40 };
    assert_eq!(seen.damage, [Damage { offset: at as u64, reason }]);
    assert!(seen.damage[0].is_final());

    let mut small = begin();
    small.extend([6, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
    let order = ByteOrder::Little;
    assert_eq!(reasons(&read(&small)), [DamageReason::BadBlockLength { length: 8, order }]);
}

#[test]
fn a_huge_foreign_block_is_passed_over_as_it_comes() {
    let mut reader = Reader::new();
    let mut head = begin();
    let len: u32 = 200_000_000;
    head.extend(0x8000_0001_u32.to_le_bytes());
    head.extend(len.to_le_bytes());
    let mut tail = len.to_le_bytes().to_vec();
    put_block(&mut tail, 6, &packet_body(0, 1, &[7]));
    let (mut at_head, mut zeroes, mut at_tail) = (&head[..], len as usize - 12, &tail[..]);
    let mut packets = 0;
    let begun = std::time::Instant::now();
    loop {
        match reader.advance() {
            Progress::Item => match reader.item() {
                Item::Record(_) => packets += 1,
                Item::Other(other) => assert_eq!(other.length, len),
                Item::Damage(damage) => panic!("{damage}"),
                _ => {}
            },
            Progress::NeedBytes => {
                let space = reader.space();
                let source = if !at_head.is_empty() { &mut at_head } else { &mut at_tail };
                let len = if zeroes > 0 && source.len() == tail.len() {
                    let len = space.len().min(zeroes);
                    zeroes -= len;
                    len
                } else {
                    std::io::Read::read(source, space).unwrap()
                };
                reader.filled(len);
            }
            Progress::End => break,
        }
        assert!(reader.allocated() <= 256 * 1024);
    }
    assert_eq!(packets, 1);
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[test]
fn a_block_beyond_the_limit_is_passed_over_and_named() {
    let limits = Limits { block_bytes: 1000, interfaces: 2 };
    let mut file = begin();
    put_block(&mut file, 6, &packet_body(0, 1, &[1; 2000]));
    put_block(&mut file, 1, &[0; 2000]);
    put_block(&mut file, 1, &[1, 0, 0, 0, 0, 0, 0, 0]);
    put_block(&mut file, 6, &packet_body(0, 1, &[2]));
    let mut seen = Vec::new();
    each(&file, limits, |item| match item {
        Item::Record(record) => seen.push(format!("packet {:?}", record.packet.data)),
        Item::Damage(damage) => seen.push(damage.reason.to_string()),
        _ => {}
    });
    assert_eq!(
        seen,
        [
            "enhanced packet block of 2032 bytes is too large and was passed over",
            "interface description block of 2012 bytes is too large and was passed over",
            "too many interfaces in one section",
            "packet [2]"
        ]
    );
}

#[test]
fn a_length_field_alone_takes_no_memory() {
    let mut file = begin();
    file.extend([6, 0, 0, 0]);
    file.extend((16 * 1024 * 1024_u32).to_le_bytes());
    file.extend([0; 1000]);
    let mut reader = Reader::new();
    let mut rest = &file[..];
    while reader.advance() != Progress::End {
        let len = std::io::Read::read(&mut rest, reader.space()).unwrap();
        reader.filled(len);
    }
    assert!(reader.allocated() <= 256 * 1024, "{}", reader.allocated());
}

#[test]
fn text_that_is_not_utf8_costs_nothing() {
    let mut file = begin();
    let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0];
    body.extend([2, 0, 4, 0, 0xff, 0xfe, b'a', 0]);
    put_block(&mut file, 1, &body);
    let mut names = Vec::new();
    each(&file, Limits::default(), |item| {
        if let Item::Interface(interface) = item {
            names.push(interface.name().map(|name| name.to_string()));
        }
    });
    assert_eq!(names, [None, Some("\u{fffd}\u{fffd}a".to_owned())]);
}

#[test]
fn what_is_no_capture_file_says_so() {
    for (bytes, magic) in
        [(&b""[..], [0; 4]), (b"PK\x03\x04rest", *b"PK\x03\x04"), (b"ab", *b"ab\0\0")]
    {
        let seen = read(bytes);
        let reason = DamageReason::NotACapture { magic };
        assert_eq!(seen.damage, [Damage { offset: 0, reason }]);
    }
    let mut file = vec![0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 1, 2, 3, 4];
    file.extend([0; 16]);
    let reason = DamageReason::UnknownByteOrder { magic: [1, 2, 3, 4] };
    assert_eq!(reasons(&read(&file)), [reason]);
}

#[test]
fn every_dialect_of_classic_pcap_reads_in_both_orders() {
    let micros = 1_000_000_000 + 5_000;
    let nanos = 1_000_000_000 + 5;
    for (magic, format, time, record_header, extra) in [
        (0xa1b2_c3d4_u32, Format::Pcap, micros, 16, 0),
        (0xa1b2_3c4d, Format::Pcap, nanos, 16, 0),
        (0xa1b2_cd34, Format::ModifiedPcap, micros, 24, 0),
        (0x1c00_01ac, Format::IxiaPcap, nanos, 16, 4),
        (0x1c00_01ab, Format::IxiaPcap, micros, 16, 4),
    ] {
        for order in [ByteOrder::Big, ByteOrder::Little] {
            let mut file = Vec::new();
            let words = [magic, 0, 0, 0, 65_535, 113];
            for word in words {
                put_word(&mut file, order, word);
            }
            let version = if order == ByteOrder::Big { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
            file[4..8].copy_from_slice(&version);
            file.extend(vec![0; extra]);
            for word in [1, 5, 3, 60] {
                put_word(&mut file, order, word);
            }
            file.extend(vec![0; record_header - 16]);
            file.extend([7, 8, 9]);
            let seen = read(&file);
            assert!(seen.damage.is_empty(), "{magic:x} {:?}", seen.damage);
            let packet = &seen.packets[0];
            assert_eq!((packet.nanos, packet.wire_len, packet.link), (time, 60, 113));
            assert_eq!(packet.data, [7, 8, 9]);
            let mut formats = Vec::new();
            each(&file, Limits::default(), |item| {
                if let Item::Section(section) = item {
                    formats.push((section.format, section.order));
                }
            });
            assert_eq!(formats, [(format, order)]);
        }
    }
}

#[test]
fn the_link_word_tells_the_check_sequence_and_its_reserved_bits() {
    for (word, fcs_bytes, damage) in [
        (0x2400_0001_u32, Some(4), None),
        (0x0000_0001, None, None),
        (0x2000_0001, None, None),
        (0x0030_0001, None, Some(DamageReason::ReservedBits { word: 0x0030_0001 })),
    ] {
        let mut file = pcap();
        file[20..24].copy_from_slice(&word.to_ne_bytes());
        let mut found = Vec::new();
        each(&file, Limits::default(), |item| {
            if let Item::Interface(interface) = item {
                found.push((interface.link, interface.fcs_bytes));
            }
        });
        assert_eq!(found, [(LinkType::ETHERNET, fcs_bytes)]);
        let seen = read(&file);
        assert_eq!(reasons(&seen), Vec::from_iter(damage));
        assert_eq!(seen.packets.len(), 2);
    }
}

#[test]
fn old_pcap_files_have_their_lengths_the_other_way_round() {
    for (minor, first, second) in [(2, 60, 3), (3, 60, 3), (3, 3, 60)] {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4_u32, 2 | minor << 16, 0, 0, 65_535, 1, 1, 5, first, second] {
            put_word(&mut file, ByteOrder::Little, word);
        }
        file.extend([7, 8, 9]);
        let seen = read(&file);
        assert_eq!(seen.packets.len(), 1, "2.{minor}");
        assert_eq!((seen.packets[0].data.len(), seen.packets[0].wire_len), (3, 60));
    }
}

#[test]
fn a_record_longer_than_any_packet_ends_a_pcap_file() {
    let mut file = pcap();
    let at = file.len() as u64;
    for word in [1, 1, 262_145, 60] {
        put_word(&mut file, ByteOrder::NATIVE, word);
    }
    let seen = read(&file);
    assert_eq!(seen.packets.len(), 2);
    let reason = DamageReason::BadRecordLength { length: 262_145 };
    assert_eq!(seen.damage, [Damage { offset: at, reason }]);
}

#[test]
fn a_packet_larger_than_readers_take_is_sliced() {
    let data = vec![1; 300_000];
    let packet = Packet::new(GOLDEN_TIME, LinkType::ETHERNET, &data, 300_000);
    let mut file = begin();
    let before = file.len();
    write_packet(&mut file, 0, &packet, &PacketOptions::default());
    assert_eq!(file.len() - before, packet_block_len(&packet, &PacketOptions::default()));
    let seen = read(&file);
    assert_eq!((seen.packets[0].data.len(), seen.packets[0].wire_len), (262_144, 300_000));
}

proptest! {
    #[test]
    fn what_is_written_reads_back_equal(
        packets in vec(any_packet(), 0..20),
        name in "\\PC{0,40}",
        comment in "\\PC{0,20}",
    ) {
        let mut file = Vec::new();
        write_section(&mut file, &SectionHeader::default());
        for link in [1, 113] {
            let header = InterfaceHeader {
                link: LinkType(link),
                ..InterfaceHeader::ethernet(name.replace('\0', ""))
            };
            write_interface(&mut file, &header);
        }
        let comments = [comment.replace('\0', "")];
        for (packet, id) in &packets {
            let options = PacketOptions {
                id: *id,
                is_super_frame: packet.wire_len > 9000,
                comments: if packet.lost_before > 5 { &comments } else { &[] },
            };
            let before = file.len();
            write_packet(&mut file, packet.point, &packet.borrowed(), &options);
            prop_assert_eq!(file.len() - before, packet_block_len(&packet.borrowed(), &options));
        }
        let mut seen = Vec::new();
        each(&file, Limits::default(), |item| match item {
            Item::Record(record) => {
                assert_eq!(record.is_super_frame(), record.packet.wire_len > 9000);
                let told: Vec<_> = record.options.comments().map(|c| c.to_string()).collect();
                assert_eq!(told, if record.packet.lost_before > 5 { &comments[..] } else { &[] });
                seen.push((Owned::from(&record.packet), record.id));
            }
            Item::Interface(interface) => {
                let read = interface.name().map(|name| name.to_string()).unwrap_or_default();
                assert_eq!(read, name.replace('\0', ""));
            }
            Item::Damage(damage) => panic!("{damage}"),
            _ => {}
        });
        prop_assert_eq!(seen, packets);
    }

    #[test]
    fn classic_pcap_reads_back_equal(packets in vec(any_packet(), 0..20), nanos: bool) {
        let time = if nanos { PcapTime::Nanos } else { PcapTime::Micros };
        let mut file = Vec::new();
        write_pcap_header(&mut file, time, LinkType::ETHERNET);
        for (packet, _) in &packets {
            write_pcap_packet(&mut file, time, &packet.borrowed());
        }
        let seen = read(&file);
        prop_assert!(seen.damage.is_empty());
        prop_assert_eq!(seen.packets.len(), packets.len());
        for (read, (written, _)) in seen.packets.iter().zip(&packets) {
            let expected = if nanos { written.nanos } else { written.nanos / 1000 * 1000 };
            if written.nanos / 1_000_000_000 <= u64::from(u32::MAX) {
                prop_assert_eq!(read.nanos, expected);
            }
            prop_assert_eq!(&read.data, &written.data);
            prop_assert_eq!(read.wire_len, written.wire_len);
        }
    }

    #[test]
    fn any_bytes_come_to_an_end(bytes in vec(any::<u8>(), 0..2000), start in 0..6_usize) {
        let beginning: &[u8] = match start {
            0 => &[],
            1 => &GOLDEN[..44],
            2 => &GOLDEN[..108],
            3 => &[0xd4, 0xc3, 0xb2, 0xa1],
            4 => &[0xa1, 0xb2, 0xcd, 0x34],
            _ => &[0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d],
        };
        read(&[beginning, &bytes].concat());
    }

    #[test]
    fn a_file_with_any_byte_changed_comes_to_an_end(
        at in 0..GOLDEN.len(),
        byte: u8,
        big: bool,
    ) {
        let mut file = GOLDEN.to_vec();
        file.extend(sample(if big { ByteOrder::Big } else { ByteOrder::Little }));
        file[at] = byte;
        read(&file);
        let mut file = sample(ByteOrder::Big);
        let at = at % file.len();
        file[at] = byte;
        read(&file);
    }
}

/// What a test sees of a file.
#[derive(Debug, Default)]
struct Seen {
    packets: Vec<Owned>,
    /// Where the records of the packets end.
    ends: Vec<u64>,
    /// Where items begin, the end of the file included.
    boundaries: Vec<u64>,
    damage: Vec<Damage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    nanos: u64,
    point: u32,
    link: u16,
    data: Vec<u8>,
    wire_len: u32,
    direction: Option<Direction>,
    checksum: Checksum,
    lost_before: u64,
}

impl Owned {
    fn borrowed(&self) -> Packet<'_> {
        Packet {
            time: Timestamp::from_nanos(self.nanos),
            point: PointId(self.point),
            link: LinkType(self.link),
            data: &self.data,
            wire_len: self.wire_len,
            direction: self.direction,
            checksum: self.checksum,
            lost_before: self.lost_before,
        }
    }
}

impl From<&Packet<'_>> for Owned {
    fn from(packet: &Packet<'_>) -> Self {
        Self {
            nanos: packet.time.as_nanos(),
            point: packet.point.0,
            link: packet.link.0,
            data: packet.data.to_vec(),
            wire_len: packet.wire_len,
            direction: packet.direction,
            checksum: packet.checksum,
            lost_before: packet.lost_before,
        }
    }
}

fn assert_same(one: &Packet<'_>, other: &Packet<'_>) {
    assert_eq!(Owned::from(one), Owned::from(other));
}

fn any_packet() -> impl Strategy<Value = (Owned, Option<u64>)> {
    let direction =
        prop_oneof![Just(None), Just(Some(Direction::FromVm)), Just(Some(Direction::ToVm))];
    let checksum =
        prop_oneof![Just(Checksum::Unknown), Just(Checksum::NotReady), Just(Checksum::Valid)];
    let bytes = vec(any::<u8>(), 0..100);
    let values = (any::<u64>(), 0..2_u32, bytes, 0..20_000_u32, direction, checksum, 0..10_u64);
    (values, any::<Option<u64>>()).prop_map(|(values, id)| {
        let (nanos, point, data, wire_len, direction, checksum, lost_before) = values;
        let link = if point == 0 { 1 } else { 113 };
        (Owned { nanos, point, link, data, wire_len, direction, checksum, lost_before }, id)
    })
}

fn each(bytes: &[u8], limits: Limits, mut show: impl FnMut(&Item<'_>)) {
    let mut reader = Reader::with_limits(limits);
    let mut rest = bytes;
    loop {
        match reader.advance() {
            Progress::Item => show(&reader.item()),
            Progress::NeedBytes => {
                let len = std::io::Read::read(&mut rest, reader.space()).unwrap();
                reader.filled(len);
            }
            Progress::End => return,
        }
    }
}

fn read(bytes: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let mut reader = Reader::new();
    let mut rest = bytes;
    let mut is_packet = false;
    loop {
        let progress = reader.advance();
        // Before the next item is shown it is known where the one before ended.
        if is_packet && progress != Progress::NeedBytes {
            seen.ends.push(reader.offset());
            is_packet = false;
        }
        match progress {
            Progress::Item => {
                if !seen.boundaries.contains(&reader.offset()) {
                    seen.boundaries.push(reader.offset());
                }
                match reader.item() {
                    Item::Record(record) => {
                        seen.packets.push(Owned::from(&record.packet));
                        is_packet = true;
                    }
                    Item::Damage(damage) => seen.damage.push(damage),
                    _ => {}
                }
            }
            Progress::NeedBytes => {
                if is_packet {
                    seen.ends.push(reader.offset());
                    is_packet = false;
                }
                let len = std::io::Read::read(&mut rest, reader.space()).unwrap();
                reader.filled(len);
            }
            Progress::End => {
                // An empty file is not a capture file, so 0 is no place to end at.
                seen.boundaries.retain(|at| *at > 0);
                return seen;
            }
        }
    }
}

fn reasons(seen: &Seen) -> Vec<DamageReason> {
    seen.damage.iter().map(|damage| damage.reason).collect()
}

/// A section with one Ethernet interface in microseconds, little-endian.
fn begin() -> Vec<u8> {
    let mut file = Vec::new();
    let mut body = vec![0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
    body.extend([0xff; 8]);
    put_block(&mut file, 0x0a0d_0d0a, &body);
    put_block(&mut file, 1, &[1, 0, 0, 0, 0, 0, 0, 0]);
    file
}

fn packet_body(interface: u32, low: u32, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap();
    let mut body = Vec::new();
    for word in [interface, 0, low, len, len] {
        put_word(&mut body, ByteOrder::Little, word);
    }
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
    body
}

fn put_block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    put_block_in(out, ByteOrder::Little, kind, body);
}

fn put_block_in(out: &mut Vec<u8>, order: ByteOrder, kind: u32, body: &[u8]) {
    let length = u32::try_from(body.len() + 12).unwrap();
    put_word(out, order, kind);
    put_word(out, order, length);
    out.extend(body);
    put_word(out, order, length);
}

fn put_word(out: &mut Vec<u8>, order: ByteOrder, word: u32) {
    out.extend(match order {
        ByteOrder::Big => word.to_be_bytes(),
        ByteOrder::Little => word.to_le_bytes(),
    });
}

/// Two interfaces (snaplen 4 and microseconds; 2^-20 s and an offset of 100 s), one packet of each
/// kind, a custom block.
fn sample(order: ByteOrder) -> Vec<u8> {
    let short = |number: u16| match order {
        ByteOrder::Big => number.to_be_bytes(),
        ByteOrder::Little => number.to_le_bytes(),
    };
    let words = |numbers: &[u32]| {
        let mut bytes = Vec::new();
        numbers.iter().for_each(|number| put_word(&mut bytes, order, *number));
        bytes
    };
    let option = |code: u16, value: &[u8]| {
        let mut bytes = [short(code), short(u16::try_from(value.len()).unwrap())].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let mut file = Vec::new();
    let version = [short(1), short(0)].concat();
    let section = [words(&[0x1a2b_3c4d]), version, words(&[u32::MAX, u32::MAX])].concat();
    put_block_in(&mut file, order, 0x0a0d_0d0a, &section);
    let first = [[short(1), short(0)].concat(), words(&[4])].concat();
    put_block_in(&mut file, order, 1, &first);
    let offset = match order {
        ByteOrder::Big => 100_u64.to_be_bytes(),
        ByteOrder::Little => 100_u64.to_le_bytes(),
    };
    let second = [
        [short(1), short(0)].concat(),
        words(&[0]),
        option(9, &[0x80 | 20]),
        option(14, &offset),
        option(0, &[]),
    ]
    .concat();
    put_block_in(&mut file, order, 1, &second);
    let enhanced = [words(&[1, 0, (5 << 20) + (1 << 18), 3, 3]), vec![1, 2, 3, 0]].concat();
    put_block_in(&mut file, order, 6, &enhanced);
    put_block_in(&mut file, order, 0xbad, &words(&[1, 2, 3]));
    put_block_in(&mut file, order, 3, &[words(&[6]), vec![4, 5, 6, 7]].concat());
    let obsolete = [
        [short(0), short(9)].concat(),
        words(&[0, 2_000_000, 2, 2]),
        vec![8, 9, 0, 0],
        option(2, &[0; 4]),
    ]
    .concat();
    put_block_in(&mut file, order, 2, &obsolete);
    file
}

/// Two packets in classic pcap.
fn pcap() -> Vec<u8> {
    let mut file = Vec::new();
    write_pcap_header(&mut file, PcapTime::Nanos, LinkType::ETHERNET);
    for data in [&[1, 2, 3][..], &[4]] {
        let packet = Packet::new(GOLDEN_TIME, LinkType::ETHERNET, data, 64);
        write_pcap_packet(&mut file, PcapTime::Nanos, &packet);
    }
    file
}
