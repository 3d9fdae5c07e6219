//! Where packets go: one file, or one for each VM, tenant, VNI, size or time.
//!
//! A file gets its link type from its first packet. Every file describes the interfaces that have
//! this link type, with the names the inputs have, and ends with the counters the inputs have.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use deliver::{ByteSink, Destination, Existing, SinkError, WriteError};
use wire::file::{
    PcapTime, Record, SectionHeader, Statistics, StatisticsBlock, copy_packet, copy_statistics,
    write_pcap_header, write_pcap_packet, write_section, write_statistics,
};
use wire::{Layers, LinkType, Packet, PointId, Timestamp};

use crate::points::{Point, Points};
use crate::{Fate, OutputAccount, Whose};

/// The format of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// pcapng, which keeps all that the inputs say.
    Pcapng,
    /// Classic pcap, with nanoseconds where an input has them unless told otherwise.
    Pcap(Option<PcapTime>),
}

/// Where the packets go.
#[derive(Debug, Clone)]
pub struct Target {
    /// The file; `None` is standard output. Split files are called after it.
    pub path: Option<PathBuf>,
    /// Whether nothing is written at all: packets go to tools only.
    pub is_nothing: bool,
    /// Whether files that are there already are written over.
    pub existing: Existing,
    /// The format.
    pub format: FileFormat,
    /// What makes a file of its own.
    pub split: Option<Split>,
    /// What the files say about their origin.
    pub section: SectionHeader,
}

/// What makes a file of its own.
#[derive(Debug, Clone)]
pub enum Split {
    /// Each group: a packet of several is in the file of each; what is of none is one file as well.
    Whose(Whose),
    /// Each VNI of the innermost tunnel; what has none is one file as well.
    Vni,
    /// Each link type.
    Link,
    /// So many bytes: the next file begins before one would have more.
    Bytes(u64),
    /// So much time, counted from full multiples since 1970, in packet time.
    Time(Duration),
}

/// The files being written.
pub(crate) struct Outputs {
    target: Target,
    stop: Arc<AtomicBool>,
    files: Vec<OutFile>,
    numbers: HashMap<Key, usize>,
    /// The file of the last packet, which is mostly that of the next as well.
    last: Option<(Key, usize)>,
    sequence: u64,
    is_fine: bool,
    names: Vec<u8>,
    statistics: Vec<(LinkType, Vec<u8>)>,
    statistics_bytes: usize,
    taken: Vec<(u64, u64)>,
    /// Packets in a file that are in another one too.
    pub(crate) repeated: u64,
}

/// What files are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Only,
    Group(Option<u32>),
    Vni(Option<u32>),
    Link(u16),
    Number(u64),
    Time(u64),
}

/// How packets are written into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Pcapng,
    Pcap(PcapTime),
}

impl Encoding {
    /// Appends `packet`, which is what became of `record`'s, of the interface with this number.
    #[inline]
    pub(crate) fn put(
        self,
        out: &mut Vec<u8>,
        number: u32,
        packet: &Packet<'_>,
        record: &Record<'_>,
    ) {
        match self {
            Self::Pcapng => copy_packet(out, number, packet, record),
            Self::Pcap(time) => write_pcap_packet(out, time, packet),
        }
    }
}

/// One file being written.
struct OutFile {
    sink: ByteSink,
    buffer: Vec<u8>,
    /// What its packets begin with, and how they are written; known with the first one.
    link: Option<LinkType>,
    encoding: Encoding,
    packets: u64,
    /// Of them in the buffer.
    waiting: u64,
    /// How many of the descriptions and bytes of names are in it.
    described: usize,
    names: usize,
}

/// Packets that go into the only file together.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    bytes: Vec<u8>,
    packets: u64,
    /// What all of them begin with: what those of the file do, or else the first of them.
    link: Option<LinkType>,
}

impl Piece {
    /// Makes room for packets of a file with this link type, or of any if it is not known yet.
    pub(crate) fn begin(&mut self, link: Option<LinkType>) {
        self.bytes.clear();
        *self = Self { bytes: std::mem::take(&mut self.bytes), packets: 0, link };
    }

    /// Takes a packet: `packet` is what became of `record`'s.
    #[inline]
    pub(crate) fn take(
        &mut self,
        encoding: Encoding,
        packet: &Packet<'_>,
        record: &Record<'_>,
        point: Point,
    ) -> Fate {
        let Some(number) = point.number_in(packet.link) else { return Fate::OtherLink };
        if *self.link.get_or_insert(packet.link) != packet.link {
            return Fate::OtherLink;
        }
        encoding.put(&mut self.bytes, number, packet, record);
        self.packets += 1;
        Fate::Written
    }
}

impl Outputs {
    /// Opens the first file, unless its name is not known before the first packet. `taken` are the
    /// files that must not be written to, because they are read.
    pub(crate) fn open(
        target: Target,
        taken: Vec<(u64, u64)>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, OutputError> {
        let mut outputs = Self {
            target,
            stop,
            files: Vec::new(),
            numbers: HashMap::new(),
            last: None,
            sequence: 1,
            is_fine: false,
            names: Vec::new(),
            statistics: Vec::new(),
            statistics_bytes: 0,
            taken,
            repeated: 0,
        };
        if outputs.target.split.is_none() && !outputs.target.is_nothing {
            outputs.begin(Key::Only)?;
        }
        Ok(outputs)
    }

    /// An interface has times finer than a microsecond.
    pub(crate) fn keep_nanoseconds(&mut self) {
        self.is_fine = true;
    }

    /// What a section of an input says, as far as no file has begun.
    pub(crate) fn add_origin(&mut self, hardware: &str, os: &str, comments: Vec<String>) {
        let section = &mut self.target.section;
        if section.hardware.is_empty() {
            hardware.clone_into(&mut section.hardware);
        }
        if section.os.is_empty() {
            os.clone_into(&mut section.os);
        }
        for comment in comments {
            let held: usize = section.comments.iter().map(String::len).sum();
            if held + comment.len() <= MAX_NOTES && !section.comments.contains(&comment) {
                section.comments.push(comment);
            }
        }
    }

    /// Names of addresses, as one block.
    pub(crate) fn add_names(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.names.len();
        write(&mut self.names);
        if self.names.len() > MAX_NOTES {
            self.names.truncate(before);
        }
    }

    /// Counters of an interface.
    pub(crate) fn add_statistics(&mut self, point: Point, statistics: &Statistics<'_>) {
        let ethernet = point.as_ethernet.map(|number| (LinkType::ETHERNET, number));
        for (link, number) in [(point.link, point.number)].into_iter().chain(ethernet) {
            let mut block = Vec::new();
            copy_statistics(&mut block, number, statistics);
            self.statistics_bytes += block.len();
            if self.statistics_bytes <= MAX_NOTES {
                self.statistics.push((link, block));
            }
        }
    }

    /// Counters of an interface that no input has.
    pub(crate) fn add_counters(&mut self, point: Point, counters: &StatisticsBlock) {
        let mut block = Vec::new();
        write_statistics(&mut block, point.number, counters);
        self.statistics_bytes += block.len();
        if self.statistics_bytes <= MAX_NOTES {
            self.statistics.push((point.link, block));
        }
    }

    /// An interface of input number `input`.
    pub(crate) fn add_point(&mut self, input: usize, point: PointId, name: &str) {
        if let Some(Split::Whose(whose)) = &mut self.target.split {
            whose.add_point(input, point, name);
        }
    }

    /// Takes a packet of input number `input`: `packet` is what became of `record`'s.
    #[inline]
    pub(crate) fn take(
        &mut self,
        input: usize,
        packet: &Packet<'_>,
        record: &Record<'_>,
        layers: &Layers,
        point: Point,
        points: &Points,
    ) -> Result<Fate, OutputError> {
        if let Some(Split::Whose(_)) = &self.target.split {
            let keys = self.keys_inside(input, &record.packet, layers);
            return self.take_as(&keys, packet, record, point, points);
        }
        let key = self.key(packet, record, layers);
        self.put(key, packet, record, point, points)
    }

    /// The files for a packet, where that is a question of what is in it; else none.
    pub(crate) fn keys_inside(
        &mut self,
        input: usize,
        packet: &Packet<'_>,
        layers: &Layers,
    ) -> Vec<Key> {
        match &mut self.target.split {
            Some(Split::Whose(whose)) => {
                let groups = whose.find(input, packet, layers);
                let nobodys = groups.is_empty().then_some(Key::Group(None));
                groups.iter().map(|group| Key::Group(Some(*group))).chain(nobodys).collect()
            }
            Some(Split::Vni) => vec![vni_key(packet, layers)],
            _ => Vec::new(),
        }
    }

    /// Whether the file for a packet is a question of what is in it.
    pub(crate) const fn looks_inside(&self) -> bool {
        matches!(self.target.split, Some(Split::Whose(_) | Split::Vni))
    }

    /// Takes a packet into each of these files.
    pub(crate) fn take_as(
        &mut self,
        keys: &[Key],
        packet: &Packet<'_>,
        record: &Record<'_>,
        point: Point,
        points: &Points,
    ) -> Result<Fate, OutputError> {
        let mut fate = Fate::OtherLink;
        for (times, key) in keys.iter().enumerate() {
            match self.put(*key, packet, record, point, points)? {
                Fate::Written if times > 0 && fate == Fate::Written => self.repeated += 1,
                Fate::Written => fate = Fate::Written,
                _ => {}
            }
        }
        Ok(fate)
    }

    #[inline]
    fn put(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        record: &Record<'_>,
        point: Point,
        points: &Points,
    ) -> Result<Fate, OutputError> {
        let Some(number) = point.number_in(packet.link) else { return Ok(Fate::OtherLink) };
        if self.target.is_nothing {
            return Ok(Fate::Written);
        }
        let index = match self.last {
            Some((last, index)) if last == key => index,
            _ => self.index(key)?,
        };
        let encoding = self.new_encoding();
        let Some(file) = self.files.get_mut(index) else { return Ok(Fate::Unwritten) };
        match file.link {
            Some(link) if link != packet.link => return Ok(Fate::OtherLink),
            Some(_) => {}
            None => file.begin(packet.link, encoding, &self.target.section),
        }
        file.describe(points, &self.names);
        file.encoding.put(&mut file.buffer, number, packet, record);
        file.packets += 1;
        file.waiting += 1;
        if file.buffer.len() >= FLUSH_BYTES {
            file.flush()?;
        }
        Ok(Fate::Written)
    }

    /// Takes the packets of a piece that was made for the only file as it is now; `false` if it
    /// was made for a file with another link type.
    pub(crate) fn take_piece(
        &mut self,
        piece: &mut Piece,
        points: &Points,
    ) -> Result<bool, OutputError> {
        let Some(link) = piece.link.filter(|_| piece.packets > 0) else { return Ok(true) };
        let encoding = self.new_encoding();
        let Some(file) = self.files.first_mut() else { return Ok(false) };
        match file.link {
            Some(found) if found != link => return Ok(false),
            Some(_) => {}
            None => file.begin(link, encoding, &self.target.section),
        }
        file.describe(points, &self.names);
        file.packets += piece.packets;
        file.waiting += piece.packets;
        if piece.bytes.len() >= FLUSH_BYTES / 4 {
            file.flush_with(piece)?;
        } else {
            file.buffer.extend_from_slice(&piece.bytes);
            if file.buffer.len() >= FLUSH_BYTES / 4 {
                file.flush()?;
            }
        }
        Ok(true)
    }

    /// How packets are written into the only file, and with which link type if that is known.
    pub(crate) fn only_file(&self) -> (Encoding, Option<LinkType>) {
        match self.files.first() {
            Some(OutFile { link: Some(link), encoding, .. }) => (*encoding, Some(*link)),
            _ => (self.new_encoding(), None),
        }
    }

    /// How packets are written into a file that begins now.
    #[inline]
    const fn new_encoding(&self) -> Encoding {
        match self.target.format {
            FileFormat::Pcapng => Encoding::Pcapng,
            FileFormat::Pcap(Some(time)) => Encoding::Pcap(time),
            FileFormat::Pcap(None) if self.is_fine => Encoding::Pcap(PcapTime::Nanos),
            FileFormat::Pcap(None) => Encoding::Pcap(PcapTime::Micros),
        }
    }

    /// Writes what is waiting, so that a reader sees it.
    pub(crate) fn flush_all(&mut self) -> Result<(), OutputError> {
        self.files.iter_mut().try_for_each(OutFile::flush)
    }

    /// Ends all files. An empty file gets `link`, as it must have one.
    pub(crate) fn finish(
        mut self,
        link: LinkType,
        points: &Points,
    ) -> (Vec<OutputAccount>, Option<OutputError>) {
        let mut failure = None;
        let mut accounts = Vec::new();
        for mut file in std::mem::take(&mut self.files) {
            let had = file.link;
            if let Err(error) = self.end(&mut file, link, points) {
                failure.get_or_insert(error);
            }
            accounts.push(OutputAccount {
                path: file.sink.path().to_owned(),
                packets: file.packets,
                bytes: file.sink.written(),
                link: had,
            });
        }
        accounts.sort_by(|one, other| one.path.cmp(&other.path));
        (accounts, failure)
    }

    /// The number of the file for `key`, which is begun if it is the first of its kind.
    #[cold]
    fn index(&mut self, key: Key) -> Result<usize, OutputError> {
        let index = match self.numbers.get(&key) {
            Some(index) => *index,
            None => self.begin(key)?,
        };
        self.last = Some((key, index));
        Ok(index)
    }

    fn key(&mut self, packet: &Packet<'_>, record: &Record<'_>, layers: &Layers) -> Key {
        match &self.target.split {
            None => Key::Only,
            Some(Split::Whose(_)) => Key::Group(None),
            Some(Split::Link) => Key::Link(packet.link.0),
            Some(Split::Vni) => vni_key(&record.packet, layers),
            Some(Split::Time(every)) => {
                let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
                Key::Time(packet.time.as_nanos() / every * every)
            }
            Some(Split::Bytes(most)) => {
                let key = Key::Number(self.sequence);
                let len = packet.data.len() as u64 + PACKET_ROOM;
                let file = self.numbers.get(&key).and_then(|index| self.files.get(*index));
                let is_full = file.is_some_and(|file| {
                    let closing: usize = self.statistics.iter().map(|(_, block)| block.len()).sum();
                    file.packets > 0 && file.bytes() + len + closing as u64 > *most
                });
                if is_full {
                    self.sequence += 1;
                }
                Key::Number(self.sequence)
            }
        }
    }

    /// What tells the file of `key` from the others; nothing if there is only one.
    fn word_of(&self, key: Key) -> String {
        match key {
            Key::Only => String::new(),
            Key::Group(None) => "others".to_owned(),
            Key::Group(Some(number)) => match &self.target.split {
                Some(Split::Whose(whose)) => file_word_of(whose, number),
                _ => number.to_string(),
            },
            Key::Vni(Some(vni)) => format!("vni{vni}"),
            Key::Vni(None) => "no-vni".to_owned(),
            Key::Link(link) => format!("link{link}"),
            Key::Number(number) => format!("{number:05}"),
            Key::Time(nanos) => {
                let time = Timestamp::from_nanos(nanos);
                match time.subsec_nanos() {
                    0 => format!("{}", time.seconds()),
                    fraction => format!("{}.{fraction:09}", time.seconds()),
                }
            }
        }
    }

    fn begin(&mut self, key: Key) -> Result<usize, OutputError> {
        // A sequence never goes back; of other keys there may be so many that the system runs out
        // of open files.
        if self.files.len() >= MAX_FILES {
            return Err(OutputError::TooMany { most: MAX_FILES });
        }
        let destination = match &self.target.path {
            None => Destination::Stdout,
            Some(path) => {
                let path = named(path, &self.word_of(key));
                self.check_identity(&path)?;
                Destination::File { path, existing: self.target.existing }
            }
        };
        let sink = ByteSink::open(&destination, Timestamp::ZERO, Arc::clone(&self.stop))?;
        let file = OutFile {
            sink,
            buffer: Vec::with_capacity(if key == Key::Only { CAPACITY } else { 0 }),
            link: None,
            encoding: self.new_encoding(),
            packets: 0,
            waiting: 0,
            described: 0,
            names: 0,
        };
        let index = self.files.len();
        self.files.push(file);
        self.numbers.insert(key, index);
        Ok(index)
    }

    /// Refuses a file that is being read: opening it would empty it.
    fn check_identity(&self, path: &Path) -> Result<(), OutputError> {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        if found.is_some_and(|found| self.taken.contains(&found)) {
            return Err(OutputError::IsInput { path: path.to_owned() });
        }
        Ok(())
    }

    fn end(&self, file: &mut OutFile, link: LinkType, points: &Points) -> Result<(), OutputError> {
        if file.link.is_none() {
            file.begin(link, self.new_encoding(), &self.target.section);
        }
        if file.encoding == Encoding::Pcapng {
            file.describe(points, &self.names);
            for (own, block) in &self.statistics {
                if Some(*own) == file.link {
                    file.buffer.extend_from_slice(block);
                }
            }
        }
        file.flush()
    }
}

impl OutFile {
    #[cold]
    fn begin(&mut self, link: LinkType, encoding: Encoding, section: &SectionHeader) {
        self.link = Some(link);
        self.encoding = encoding;
        match encoding {
            Encoding::Pcapng => write_section(&mut self.buffer, section),
            Encoding::Pcap(time) => write_pcap_header(&mut self.buffer, time, link),
        }
    }

    /// Describes the interfaces, and gives the names, that came since, where there is a place for
    /// them.
    #[inline]
    fn describe(&mut self, points: &Points, names: &[u8]) {
        if self.encoding != Encoding::Pcapng {
            return;
        }
        if self.described < points.described().len() {
            for described in points.described().iter().skip(self.described) {
                if Some(described.link) == self.link {
                    self.buffer.extend_from_slice(&described.block);
                }
            }
            self.described = points.described().len();
        }
        if self.names < names.len() {
            self.buffer.extend_from_slice(names.get(self.names..).unwrap_or_default());
            self.names = names.len();
        }
    }

    #[cold]
    fn flush(&mut self) -> Result<(), OutputError> {
        let result = self.sink.write(&self.buffer);
        self.buffer.clear();
        self.count_lost(result)
    }

    /// Writes what is waiting and, behind it, `piece`, whose packets wait as well: not by way of
    /// the buffer, which may be in the cache of another processor.
    fn flush_with(&mut self, piece: &Piece) -> Result<(), OutputError> {
        let mut result = self.sink.write(&self.buffer);
        self.buffer.clear();
        if result.is_ok() {
            self.waiting = piece.packets;
            result = self.sink.write(&piece.bytes);
        }
        self.count_lost(result)
    }

    /// None waits any more; if they could not be written, says how many those were.
    fn count_lost(&mut self, result: Result<(), WriteError>) -> Result<(), OutputError> {
        let lost = std::mem::take(&mut self.waiting);
        result.map_err(|error| {
            self.packets = self.packets.saturating_sub(lost);
            OutputError::Write { path: self.sink.path().to_owned(), error, lost }
        })
    }

    fn bytes(&self) -> u64 {
        self.sink.written() + self.buffer.len() as u64
    }
}

/// Why an output cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] SinkError),
    /// It is one of the inputs.
    #[error("{} is an input; write to another file", path.display())]
    IsInput {
        /// The file.
        path: PathBuf,
    },
    /// A tool cannot be sent to.
    #[error("{0}")]
    Tool(String),
    /// There are more files than a system holds open.
    #[error("more than {most} files; select less, or split by something else")]
    TooMany {
        /// How many there may be.
        most: usize,
    },
    /// It could not be written.
    #[error("cannot write to {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: WriteError,
        /// Packets that had been taken and are in no file.
        lost: u64,
    },
}

fn vni_key(packet: &Packet<'_>, layers: &Layers) -> Key {
    let mut levels = layers.levels(packet.data).rev();
    let vni = levels.find_map(|level| level.tunnel().and_then(wire::Tunnel::vni));
    Key::Vni(vni.map(wire::Vni::value))
}

/// `web.pcapng` for each word: `web-vni5001.pcapng`; as it is without one.
fn named(path: &Path, word: &str) -> PathBuf {
    if word.is_empty() {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{word}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{word}"),
    };
    path.with_file_name(name)
}

/// The name of a group as part of a file's name, with its number if another one reads the same.
fn file_word_of(whose: &Whose, number: u32) -> String {
    let word_of = |name: &String| file_word(name);
    let word = whose.names().get(number as usize).map(word_of).unwrap_or_default();
    let same = whose.names().iter().filter(|name| file_word(name) == word).count();
    if same > 1 || word.is_empty() || word == "others" { format!("{word}-{number}") } else { word }
}

/// A name that can be part of a file's: `acme/web 1` becomes `acme_web_1`.
fn file_word(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '@' | '+');
    name.chars().take(MAX_WORD_CHARS).map(|c| if is_plain(c) { c } else { '_' }).collect()
}

/// How much is written at once.
const FLUSH_BYTES: usize = 512 * 1024;
/// Room for a packet behind a full buffer.
const CAPACITY: usize = FLUSH_BYTES + 64 * 1024;
/// The most that is kept of names, counters and comments of all inputs, each.
const MAX_NOTES: usize = 4 << 20;
/// What a packet takes at most beside its bytes, unless it has comments.
const PACKET_ROOM: u64 = 64;
const MAX_FILES: usize = 512;
/// Characters of a name that a file is called by.
const MAX_WORD_CHARS: usize = 100;
