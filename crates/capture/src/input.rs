//! Capture files as a source: opened by path or standard input, unpacked on the way.
//!
//! Only what `wire::file` must not do is here: opening, reading, unpacking gzip, zstd and lz4. What
//! the bytes mean, and what happens when they are damaged, is said there.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use thiserror::Error;
use wire::file::{Chunk, Item, Limits, Progress, Reader};

/// A capture file being read.
///
/// ```no_run
/// # fn main() -> Result<(), capture::InputError> {
/// let mut input = capture::Input::open("web.pcapng".as_ref())?;
/// while let Some(item) = input.next()? {
///     if let wire::file::Item::Record(record) = item {
///         println!("{} {}", record.number, record.packet.data.len());
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Input {
    path: PathBuf,
    bytes: Box<dyn Read + Send>,
    reader: Reader,
    taken: Arc<AtomicU64>,
    size: Option<u64>,
    identity: Option<(u64, u64)>,
}

impl Input {
    /// Opens a capture file; `-` is standard input. Packed files are recognised by their first
    /// bytes.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        if path.as_os_str() == "-" {
            let identity = identity(&io::stdin());
            // Not through Rust's own buffer for standard input: one copy less.
            let bytes = io::stdin().as_fd().try_clone_to_owned().map(File::from);
            let bytes =
                bytes.map_err(|source| InputError::Open { path: path.to_owned(), source })?;
            return Ok(Self { identity, ..Self::from_read(path, bytes)? });
        }
        let file = File::open(path)
            .map_err(|source| InputError::Open { path: path.to_owned(), source })?;
        let metadata = file.metadata().ok();
        if metadata.as_ref().is_some_and(std::fs::Metadata::is_dir) {
            return Err(InputError::Directory { path: path.to_owned() });
        }
        let size = metadata.filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        let identity = identity(&file);
        Ok(Self { size, identity, ..Self::from_read(path, file)? })
    }

    /// Reads a capture file from `bytes`; `path` is what errors call it.
    pub fn from_read(path: &Path, bytes: impl Read + Send + 'static) -> Result<Self, InputError> {
        let path = path.to_owned();
        let taken = Arc::new(AtomicU64::new(0));
        let bytes = Counted { bytes, taken: Arc::clone(&taken) };
        let mut bytes = BufReader::with_capacity(FIRST_BYTES, bytes);
        let failed = |source| InputError::Read { path: path.clone(), offset: 0, source };
        let packing = Packing::of(bytes.fill_buf().map_err(failed)?);
        let bytes: Box<dyn Read + Send> = match packing {
            Packing::None => Box::new(bytes),
            Packing::Gzip => Box::new(MultiGzDecoder::new(bytes)),
            Packing::Zstd => {
                let decoder = zstd::Decoder::with_buffer(bytes).map_err(failed)?;
                Box::new(decoder)
            }
            Packing::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(bytes)),
        };
        let reader = Reader::with_limits(Limits::default());
        Ok(Self { path, bytes, reader, taken, size: None, identity: None })
    }

    /// The next item of the file; `None` at its end.
    ///
    /// An error means that bytes could not be had, by the disk's fault or because packed bytes
    /// are damaged. Everything before it was shown.
    #[expect(clippy::should_implement_trait, reason = "an item borrows from the input")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, InputError> {
        Ok(if self.advance()? { Some(self.item()) } else { None })
    }

    /// Goes to the next item, which [`item`](Self::item) then shows; `false` at the end of the
    /// file.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn advance(&mut self) -> Result<bool, InputError> {
        loop {
            match self.reader.advance() {
                Progress::Item => return Ok(true),
                Progress::End => return Ok(false),
                Progress::NeedBytes => self.fill()?,
            }
        }
    }

    /// Goes on by as many packets as can be had at once, which are in `chunk` then, or to the next
    /// item, which [`item`](Self::item) then shows.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn advance_by(&mut self, chunk: &mut Chunk) -> Result<Advance, InputError> {
        loop {
            if self.reader.take_chunk(chunk) {
                return Ok(Advance::Chunk);
            }
            match self.reader.advance() {
                Progress::Item => return Ok(Advance::Item),
                Progress::End => return Ok(Advance::End),
                Progress::NeedBytes => {
                    self.reader.read_into(chunk);
                    self.fill()?;
                }
            }
        }
    }

    /// The item that [`advance`](Self::advance) went to.
    pub fn item(&self) -> Item<'_> {
        self.reader.item()
    }

    /// Reads more bytes of the file, or finds that it has ended.
    fn fill(&mut self) -> Result<(), InputError> {
        let len = loop {
            match self.bytes.read(self.reader.space()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(len) => break len,
                Err(source) => {
                    let (path, offset) = (self.path.clone(), self.reader.offset());
                    return Err(InputError::Read { path, offset, source });
                }
            }
        };
        self.reader.filled(len);
        Ok(())
    }

    /// What the file is called.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many packets were shown so far.
    pub const fn records(&self) -> u64 {
        self.reader.records()
    }

    /// Bytes read from the file so far, packed if it is packed. Counts on while others look.
    pub fn taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    /// How many bytes the file has; `None` for what is no regular file.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Device and number of the file, by which it can be told from others.
    pub const fn identity(&self) -> Option<(u64, u64)> {
        self.identity
    }
}

/// What [`Input::advance_by`] went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// Packets, which are in the chunk.
    Chunk,
    /// An item of any kind.
    Item,
    /// The end of the file.
    End,
}

/// Counts what is read.
struct Counted<R> {
    bytes: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.bytes.read(buffer)?;
        self.taken.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The LZ4 frame format.
    Lz4,
}

impl Packing {
    fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Lz4,
            _ => Self::None,
        }
    }
}

fn identity(file: &impl AsFd) -> Option<(u64, u64)> {
    let status = rustix::fs::fstat(file).ok()?;
    let is_file =
        rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::RegularFile;
    is_file.then_some((status.st_dev, status.st_ino))
}

/// Why a capture file could not be read.
#[derive(Debug, Error)]
pub enum InputError {
    /// It could not be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory.
    #[error("cannot read {}: it is a directory; name a capture file in it", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// Its bytes could not be had.
    #[error("cannot read {} beyond byte {offset} of its contents: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// How far it was shown, in unpacked bytes.
        offset: u64,
        /// What the system or the unpacking said.
        source: io::Error,
    },
}

/// Enough for the first look; larger reads go past this buffer.
const FIRST_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// A pcap file with one packet of four bytes.
    const ONE_PACKET: [u8; 44] = [
        0xd4, 0xc3, 0xb2, 0xa1, // magic, little-endian, microseconds
        0x02, 0x00, 0x04, 0x00, // version 2.4
        0x00, 0x00, 0x00, 0x00, // zone
        0x00, 0x00, 0x00, 0x00, // accuracy
        0x00, 0x00, 0x04, 0x00, // snaplen 262144
        0x01, 0x00, 0x00, 0x00, // Ethernet
        0x01, 0x00, 0x00, 0x00, // second 1
        0x02, 0x00, 0x00, 0x00, // microsecond 2
        0x04, 0x00, 0x00, 0x00, // 4 bytes here
        0x04, 0x00, 0x00, 0x00, // of 4
        0xde, 0xad, 0xbe, 0xef,
    ];

    fn packets(bytes: Vec<u8>) -> (usize, Option<InputError>) {
        let mut input =
            Input::from_read(Path::new("test"), io::Cursor::new(bytes)).expect("it opens");
        let mut count = 0;
        loop {
            match input.next() {
                Ok(Some(Item::Record(record))) => {
                    assert_eq!(record.packet.data, [0xde, 0xad, 0xbe, 0xef]);
                    count += 1;
                }
                Ok(Some(_)) => {}
                Ok(None) => return (count, None),
                Err(error) => return (count, Some(error)),
            }
        }
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("it packs");
        encoder.finish().expect("it packs")
    }

    #[test]
    fn a_packed_file_reads_like_a_plain_one() {
        assert!(matches!(packets(ONE_PACKET.to_vec()), (1, None)));
        assert!(matches!(packets(packed(&ONE_PACKET)), (1, None)));
    }

    #[test]
    fn a_file_packed_in_two_members_is_one_file() {
        let (header, record) = ONE_PACKET.split_at(24);
        let bytes = [packed(header), packed(record)].concat();
        assert!(matches!(packets(bytes), (1, None)));
    }

    #[test]
    fn packets_before_the_damage_of_a_packed_file_are_shown() {
        let mut bytes = packed(&ONE_PACKET);
        bytes.truncate(bytes.len() - 4);
        let (count, error) = packets(bytes);
        assert_eq!(count, 1);
        assert!(matches!(error, Some(InputError::Read { offset: 44, .. })), "{error:?}");
    }

    #[test]
    fn what_cannot_be_opened_says_so_with_its_path() {
        let error = Input::open(Path::new("no/such.pcap")).err().expect("it fails");
        assert!(error.to_string().starts_with("cannot open no/such.pcap: "), "{error}");
        let error = Input::open(Path::new(".")).err().expect("it fails");
        assert!(matches!(error, InputError::Directory { .. }));
    }
}
