//! Capture files as a source: opened by path or standard input, unpacked on the way.
//!
//! Only what `wire::file` must not do is here: opening, reading, unpacking gzip. What the bytes
//! mean, and what happens when they are damaged, is said there.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use thiserror::Error;
use wire::file::{Item, Limits, Progress, Reader};

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
}

impl Input {
    /// Opens a capture file; `-` is standard input. Gzip is recognised by its first bytes.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        if path.as_os_str() == "-" {
            return Self::from_read(path, io::stdin());
        }
        let file = File::open(path)
            .map_err(|source| InputError::Open { path: path.to_owned(), source })?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(InputError::Directory { path: path.to_owned() });
        }
        Self::from_read(path, file)
    }

    /// Reads a capture file from `bytes`; `path` is what errors call it.
    pub fn from_read(path: &Path, bytes: impl Read + Send + 'static) -> Result<Self, InputError> {
        let path = path.to_owned();
        let mut bytes = BufReader::with_capacity(FIRST_BYTES, bytes);
        let is_packed = match bytes.fill_buf() {
            Ok(first) => first.starts_with(&GZIP_MAGIC),
            Err(source) => return Err(InputError::Read { path, offset: 0, source }),
        };
        let bytes: Box<dyn Read + Send> =
            if is_packed { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
        Ok(Self { path, bytes, reader: Reader::with_limits(Limits::default()) })
    }

    /// The next item of the file; `None` at its end.
    ///
    /// An error means that bytes could not be had, by the disk's fault or because packed bytes
    /// are damaged. Everything before it was shown.
    #[expect(clippy::should_implement_trait, reason = "an item borrows from the input")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, InputError> {
        loop {
            match self.reader.advance() {
                Progress::Item => return Ok(Some(self.reader.item())),
                Progress::End => return Ok(None),
                Progress::NeedBytes => {}
            }
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
        }
    }

    /// What the file is called.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many packets were shown so far.
    pub const fn records(&self) -> u64 {
        self.reader.records()
    }
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

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
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
