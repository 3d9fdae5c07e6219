//! What the decoder learnt, on disk: templates, samplers, numbers and accounts of exporters.
//!
//! One file of lines, each a JSON document: a first one that says what it is, then one for each
//! exporter. It is written beside its place, synced and renamed, so a killed collector leaves the
//! old one or the new one. docs/reference/collect.md has its fields.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use wire::Timestamp;
use wire::export::{Exporter, SavedExporter};

/// A directory in which a collector remembers what it learnt; nobody else may use it meanwhile.
#[derive(Debug)]
pub struct Memory {
    directory: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// What was remembered.
#[derive(Debug, Default)]
pub struct Remembered {
    /// When it was written.
    pub written: Timestamp,
    /// The exporters.
    pub exporters: Vec<SavedExporter>,
    /// Lines that could not be read.
    pub damage: Vec<Damage>,
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The system says no.
    #[error("cannot {verb} {path}: {source}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Somebody else is at it.
    #[error("{0} is in use by another collector; give each its own --state directory")]
    InUse(PathBuf),
    /// It is something else.
    #[error("{0} is no state of a collector; move it away, or give another --state directory")]
    NotOurs(PathBuf),
    /// It was written by a later release.
    #[error(
        "{path} has version {found}, this overtap reads {VERSION}: use the newer one, or another --state directory"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    written: Timestamp,
}

impl Memory {
    /// Uses `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or written, or another collector uses it.
    pub fn open(directory: &Path) -> Result<Self, MemoryError> {
        fs::create_dir_all(directory).map_err(|e| failed("make", directory, e))?;
        let path = directory.join("lock");
        let lock = File::options().create(true).append(true).open(&path);
        let lock = lock.map_err(|error| failed("open", &path, error))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(MemoryError::InUse(directory.to_owned()));
        }
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// Reads what `directory` remembers; nothing if there is nothing yet. Needs no lock: what stands
    /// there is always whole.
    ///
    /// # Errors
    /// When it cannot be read, is no state of a collector, or one of a later release.
    pub fn read(directory: &Path) -> Result<Remembered, MemoryError> {
        let path = directory.join(NAME);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Remembered::default());
            }
            Err(error) => return Err(failed("open", &path, error)),
        };
        Remembered::from_lines(BufReader::new(file), &path)
    }

    /// Writes all exporters down, in place of what was there.
    ///
    /// # Errors
    /// When it cannot be written; what was there stays.
    pub fn write<'a>(
        &self,
        now: Timestamp,
        exporters: impl Iterator<Item = &'a Exporter>,
    ) -> Result<(), MemoryError> {
        let (new, path) = (self.directory.join(NEW_NAME), self.directory.join(NAME));
        write_lines(&new, now, exporters).map_err(|error| failed("write", &new, error))?;
        fs::rename(&new, &path).map_err(|error| failed("rename", &new, error))?;
        let directory = File::open(&self.directory).and_then(|directory| directory.sync_all());
        directory.map_err(|error| failed("sync", &self.directory, error))
    }
}

impl Remembered {
    /// From the lines of a file that is called `path`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn from_lines(mut lines: impl BufRead, path: &Path) -> Result<Self, MemoryError> {
        let read = |error| failed("read", path, error);
        let mut line = Vec::new();
        next_line(&mut lines, &mut line).map_err(read)?;
        let head: Head = serde_json::from_slice(&line)
            .ok()
            .filter(|head: &Head| head.format == FORMAT)
            .ok_or_else(|| MemoryError::NotOurs(path.to_owned()))?;
        if head.version > VERSION {
            return Err(MemoryError::Newer { path: path.to_owned(), found: head.version });
        }
        let mut remembered = Self { written: head.written, ..Self::default() };
        let mut number = 1;
        while next_line(&mut lines, &mut line).map_err(read)? {
            number += 1;
            match serde_json::from_slice(&line) {
                Ok(exporter) => remembered.exporters.push(exporter),
                Err(error) if remembered.damage.len() < MOST_DAMAGE => {
                    remembered.damage.push(Damage { line: number, reason: error.to_string() });
                }
                Err(_) => {}
            }
        }
        Ok(remembered)
    }
}

/// Reads a line of bounded length; `false` at the end.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    lines.by_ref().take(LONGEST_LINE).read_until(b'\n', line)?;
    Ok(!line.is_empty())
}

fn write_lines<'a>(
    path: &Path,
    now: Timestamp,
    exporters: impl Iterator<Item = &'a Exporter>,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 18, File::create(path)?);
    let head = Head { format: FORMAT.into(), version: VERSION, written: now };
    serde_json::to_writer(&mut out, &head)?;
    out.write_all(b"\n")?;
    for exporter in exporters {
        serde_json::to_writer(&mut out, &SavedExporter::of(exporter))?;
        out.write_all(b"\n")?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn failed(verb: &'static str, path: &Path, source: io::Error) -> MemoryError {
    MemoryError::Io { verb, path: path.to_owned(), source }
}

const FORMAT: &str = "overtap exporters";
const VERSION: u32 = 1;
const NAME: &str = "exporters.jsonl";
const NEW_NAME: &str = "exporters.jsonl.new";
/// More bytes no exporter needs: its templates have a bound.
const LONGEST_LINE: u64 = 32 << 20;
/// Damaged lines that are described.
const MOST_DAMAGE: usize = 16;
