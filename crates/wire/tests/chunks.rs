//! Packets read in chunks are the packets read one by one: on any file, whole or damaged, however
//! its bytes come in.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail this way"
)]

mod corpus;

use std::fmt::Write as _;
use std::fs;
use std::io::Read;

use proptest::collection::vec;
use proptest::prelude::*;
use wire::LinkType;
use wire::file::{
    Chunk, InterfaceHeader, Item, PacketOptions, Progress, Reader, Record, SectionHeader,
    copied_packet_max, copy_packet, write_interface, write_section,
};

use corpus::{corpus, unpacked};

#[test]
fn every_corpus_file_reads_the_same_in_chunks() {
    let Some(corpus) = corpus() else { return };
    let (mut files, mut records, mut in_chunks) = (0, 0, 0);
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !path.is_file() || !name.contains("cap") {
            continue;
        }
        let bytes = unpacked(&path);
        let single = read(&bytes, usize::MAX, false);
        for at_once in [usize::MAX, 1777] {
            let chunked = read(&bytes, at_once, true);
            assert_eq!(single.lines, chunked.lines, "{name}, {at_once} bytes at once");
            in_chunks += chunked.in_chunks;
        }
        for seed in 0..4 {
            let damaged = damage(&bytes, seed);
            let (single, chunked) = (read(&damaged, 5000, false), read(&damaged, 5000, true));
            assert_eq!(single.lines, chunked.lines, "{name}, damage {seed}");
        }
        files += 1;
        records += single.lines.len();
    }
    assert!(files >= 371, "only {files} files found");
    assert!(in_chunks > records, "chunks are the exception: {in_chunks} of {records} items twice");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file_reads_the_same_in_chunks(
        form in any_form(),
        packets in vec(any_packet(), 0..40),
        at_once in 1..3000_usize,
        damage in prop::option::of((0..4000_usize, any::<u8>())),
    ) {
        let mut file = form.file(&packets);
        if let Some((at, byte)) = damage && !file.is_empty() {
            let at = at % file.len();
            file[at] = byte;
        }
        let (single, chunked) = (read(&file, at_once, false), read(&file, at_once, true));
        prop_assert_eq!(&single.lines, &chunked.lines);
        prop_assert!(damage.is_some() || chunked.in_chunks == packets.len());
    }

    #[test]
    fn a_packet_copied_out_of_a_chunk_says_the_same(
        form in any_form(),
        packets in vec(any_packet(), 1..20),
    ) {
        let file = form.file(&packets);
        let copied = copy_of_chunks(&file);
        let without_place = |bytes: &[u8]| -> Vec<String> {
            let said = read(bytes, usize::MAX, false).packets;
            said.into_iter().map(|line| line.split_once(" of ").unwrap().1.to_owned()).collect()
        };
        prop_assert_eq!(without_place(&file), without_place(&copied));
    }
}

/// What a test sees of a file.
#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    /// Of packets only.
    packets: Vec<String>,
    in_chunks: usize,
}

fn read(bytes: &[u8], at_once: usize, in_chunks: bool) -> Seen {
    let mut reader = Reader::new();
    let mut chunk = Chunk::new();
    let mut rest = bytes;
    let mut seen = Seen::default();
    loop {
        if in_chunks && reader.take_chunk(&mut chunk) {
            let before = seen.lines.len();
            assert_eq!(chunk.records().mark(), chunk.first());
            let mut records = chunk.records();
            for _ in 0..chunk.len() {
                let (mark, time) = (records.mark(), records.peek_time());
                let record = records.next().unwrap();
                assert_eq!(time, Some(record.packet.time));
                assert_eq!(chunk.records_from(mark).next().unwrap().offset, record.offset);
                seen.lines.push(line(&record));
            }
            assert!(records.next().is_none() && seen.lines.len() > before);
            seen.in_chunks += chunk.len();
            continue;
        }
        match reader.advance() {
            Progress::Item => seen.lines.push(match reader.item() {
                Item::Record(record) => {
                    seen.packets.push(line(&record));
                    line(&record)
                }
                item => format!("{item:?}"),
            }),
            Progress::NeedBytes => {
                // Every other time, so that bytes that are held move into larger and smaller rooms.
                if in_chunks && rest.len().is_multiple_of(2) {
                    reader.read_into(&mut chunk);
                    assert_eq!(chunk.records().count(), 0);
                }
                let space = reader.space();
                let end = space.len().min(at_once);
                let len = rest.read(&mut space[..end]).unwrap();
                reader.filled(len);
            }
            Progress::End => {
                seen.lines.push(format!("{} packets, {} bytes", reader.records(), reader.offset()));
                return seen;
            }
        }
    }
}

/// All that is said of a packet.
fn line(record: &Record<'_>) -> String {
    let Record { number, offset, packet, ticks, flags, id, options, .. } = record;
    let mut line = format!("{number} at {offset} of {packet:?} {ticks} {flags} {id:?}");
    for option in *options {
        // Flags and number were told, and are written in the byte order of their file.
        let value = if matches!(option.code, 2 | 5) { &[] } else { option.value };
        write!(line, " {} {value:?}", option.code).unwrap();
    }
    line
}

/// The packets of a file with one section and two interfaces, copied into another one.
fn copy_of_chunks(file: &[u8]) -> Vec<u8> {
    let mut copy = Vec::new();
    let mut reader = Reader::new();
    let mut chunk = Chunk::new();
    let mut rest = file;
    loop {
        if reader.take_chunk(&mut chunk) {
            for record in chunk.records() {
                let before = copy.len();
                copy_packet(&mut copy, record.packet.point.0, &record.packet, &record);
                assert!(copy.len() - before <= copied_packet_max(&record));
            }
            continue;
        }
        match reader.advance() {
            Progress::Item => match reader.item() {
                Item::Section(_) => write_section(&mut copy, &SectionHeader::default()),
                Item::Interface(interface) => {
                    wire::file::copy_interface(&mut copy, &interface, interface.link, "");
                }
                other => panic!("{other:?}"),
            },
            Progress::NeedBytes => {
                let len = rest.read(reader.space()).unwrap();
                reader.filled(len);
            }
            Progress::End => return copy,
        }
    }
}

/// A packet to be put into a file of any form.
#[derive(Debug, Clone)]
struct Made {
    ticks: u64,
    interface: u32,
    data: Vec<u8>,
    more: u32,
    /// Flags, number and comment; a file may have any of them.
    flags: Option<u32>,
    id: Option<u64>,
    comment: Option<String>,
    has_end: bool,
}

/// The ways a file may be written.
#[derive(Debug, Clone)]
struct Form {
    is_pcapng: bool,
    is_big: bool,
    /// Of pcapng: if_tsresol of the two interfaces, and an offset. Of pcap: nanoseconds if above 6.
    resolutions: (u8, u8),
    offset_s: i64,
}

impl Form {
    fn file(&self, packets: &[Made]) -> Vec<u8> {
        let mut file = Vec::new();
        if self.is_pcapng {
            self.begin_section(&mut file);
            packets.iter().for_each(|packet| self.put_block_of(&mut file, packet));
        } else {
            let magic = if self.resolutions.0 > 6 { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
            file.extend(self.u32(magic));
            file.extend([self.u16(2), self.u16(4)].concat());
            [0, 0, 65_535, 1].iter().for_each(|word| file.extend(self.u32(*word)));
            for packet in packets {
                let captured = u32::try_from(packet.data.len()).unwrap();
                let words =
                    [low(packet.ticks), low(packet.ticks >> 32), captured, captured + packet.more];
                words.iter().for_each(|word| file.extend(self.u32(*word)));
                file.extend(&packet.data);
            }
        }
        file
    }

    fn begin_section(&self, file: &mut Vec<u8>) {
        let section = [self.u32(0x1a2b_3c4d).to_vec(), self.u16(1).to_vec(), self.u16(0).to_vec()];
        self.put_block(file, 0x0a0d_0d0a, &[section.concat(), vec![0xff; 8]].concat());
        for (resolution, offset) in
            [(self.resolutions.0, None), (self.resolutions.1, Some(self.offset_s))]
        {
            let mut body = [self.u16(1), self.u16(0)].concat();
            body.extend(self.u32(0));
            body.extend(self.option(9, &[resolution]));
            if let Some(offset) = offset {
                let bytes = if self.is_big { offset.to_be_bytes() } else { offset.to_le_bytes() };
                body.extend(self.option(14, &bytes));
            }
            body.extend(self.option(0, &[]));
            self.put_block(file, 1, &body);
        }
    }

    fn put_block_of(&self, file: &mut Vec<u8>, packet: &Made) {
        let captured = u32::try_from(packet.data.len()).unwrap();
        let mut body = Vec::new();
        for word in [
            packet.interface,
            low(packet.ticks >> 32),
            low(packet.ticks),
            captured,
            captured + packet.more,
        ] {
            body.extend(self.u32(word));
        }
        body.extend(&packet.data);
        body.resize(body.len().next_multiple_of(4), 0);
        let before = body.len();
        if let Some(flags) = packet.flags {
            body.extend(self.option(2, &self.u32(flags)));
        }
        if let Some(id) = packet.id {
            let bytes = if self.is_big { id.to_be_bytes() } else { id.to_le_bytes() };
            body.extend(self.option(5, &bytes));
        }
        if let Some(comment) = &packet.comment {
            body.extend(self.option(1, comment.as_bytes()));
        }
        if packet.has_end && body.len() > before {
            body.extend(self.option(0, &[]));
        }
        self.put_block(file, 6, &body);
    }

    fn put_block(&self, file: &mut Vec<u8>, kind: u32, body: &[u8]) {
        let length = self.u32(u32::try_from(body.len() + 12).unwrap());
        file.extend(self.u32(kind));
        file.extend(length);
        file.extend(body);
        file.extend(length);
    }

    fn option(&self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [self.u16(code), self.u16(u16::try_from(value.len()).unwrap())].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    const fn u16(&self, value: u16) -> [u8; 2] {
        if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    const fn u32(&self, value: u32) -> [u8; 4] {
        if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

fn any_form() -> impl Strategy<Value = Form> {
    let resolutions = prop_oneof![Just((6, 9)), any::<(u8, u8)>()];
    (any::<bool>(), any::<bool>(), resolutions, prop_oneof![Just(0), any::<i64>()]).prop_map(
        |(is_pcapng, is_big, resolutions, offset_s)| Form {
            is_pcapng,
            is_big,
            resolutions,
            offset_s,
        },
    )
}

fn any_packet() -> impl Strategy<Value = Made> {
    let said = (
        prop::option::of(any::<u32>()),
        prop::option::of(any::<u64>()),
        prop::option::of("[a-z]{1,9}"),
        any::<bool>(),
    );
    let bytes = vec(any::<u8>(), 0..90);
    (any::<u64>(), 0..2_u32, bytes, 0..2000_u32, prop::option::weighted(0.3, said)).prop_map(
        |(ticks, interface, data, more, said)| {
            let (flags, id, comment, has_end) = said.unwrap_or_default();
            Made { ticks, interface, data, more, flags, id, comment, has_end }
        },
    )
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap()
}

/// The file with a few bytes changed, and cut.
fn damage(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..=seed {
        // xorshift
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = usize::try_from(random).unwrap() % bytes.len().clamp(1, 20_000);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = byte.wrapping_add(u8::try_from(random >> 56).unwrap());
        }
    }
    if seed % 2 == 1 {
        bytes.truncate(bytes.len() - bytes.len() / 7);
    }
    bytes
}

#[test]
fn a_chunk_has_the_link_type_of_its_interface() {
    let mut file = Vec::new();
    write_section(&mut file, &SectionHeader::default());
    let raw = InterfaceHeader { link: LinkType::RAW, ..InterfaceHeader::ethernet("tun0") };
    write_interface(&mut file, &InterfaceHeader::ethernet("eth0"));
    write_interface(&mut file, &raw);
    for (interface, link) in [(0, LinkType::ETHERNET), (1, LinkType::RAW)] {
        let packet = wire::Packet::new(wire::Timestamp::ZERO, link, &[1, 2, 3], 3);
        wire::file::write_packet(&mut file, interface, &packet, &PacketOptions::default());
    }
    let mut reader = Reader::new();
    reader.space()[..file.len()].copy_from_slice(&file);
    reader.filled(file.len());
    for _ in 0..3 {
        assert_eq!(reader.advance(), Progress::Item);
    }
    let mut chunk = Chunk::new();
    assert!(reader.take_chunk(&mut chunk));
    let links: Vec<LinkType> = chunk.records().map(|record| record.packet.link).collect();
    assert_eq!(links, [LinkType::ETHERNET, LinkType::RAW]);
    assert_eq!((chunk.len(), chunk.is_empty()), (2, false));
}
