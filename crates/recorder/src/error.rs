//! Why a store cannot be used, and what of it cannot be read.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;
use wire::Timestamp;

use crate::key::KeyId;

/// A store that cannot be opened or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory is not there or cannot be read.
    #[error("cannot use the recorder's directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The budget cannot hold what a recorder needs.
    #[error("{given} bytes are too few for a recorder; give --size at least {least}")]
    TooSmall {
        /// What was asked for.
        given: u64,
        /// The least that works.
        least: u64,
    },
    /// A file of the store cannot be written.
    #[error("cannot write to the recorder's segment {name}: {source}")]
    Write {
        /// The segment.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no randomness.
    #[error("the system gives no random numbers for a key")]
    NoRandomness,
}

/// A key file that cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// It is not there, or cannot be read or written.
    #[error("cannot use the key file {}: {source}", path.display())]
    File {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error("the key file {} can be read by others; chmod 600 it", path.display())]
    Open {
        /// The key file.
        path: PathBuf,
    },
    /// A line in it is no key.
    #[error("line {line} of the key file {} is no key", path.display())]
    Line {
        /// The key file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// There is no key in it.
    #[error("there is no key in the key file {}", path.display())]
    Empty {
        /// The key file.
        path: PathBuf,
    },
    /// It is one half of a key.
    #[error(
        "the key file {} is half a key, the other half is with the controller of this host's \
         agent: read through it (overtap capture VM --last TIME, without --local)", path.display()
    )]
    Half {
        /// The key file.
        path: PathBuf,
    },
    /// The system has no randomness.
    #[error("the system gives no random numbers for a key")]
    NoRandomness,
}

/// A part of a store that cannot be read; what stands around it can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment, without its ending.
    pub segment: String,
    /// Offset of the damaged part in the file.
    pub offset: u64,
    /// What is wrong.
    pub reason: DamageReason,
    /// How many packets are missing, where that is known.
    pub packets: Option<u32>,
    /// Time of the first and last packet missing, where that is known.
    pub span: Option<(Timestamp, Timestamp)>,
}

/// What is wrong with a part of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DamageReason {
    /// The file does not begin as a segment does.
    NotASegment,
    /// The host key it was sealed with is not in the key file.
    UnknownKey(KeyId),
    /// The seal of the segment's key does not fit: its beginning was changed.
    ChangedHeader,
    /// Bytes that are no chunk, or a chunk whose header was changed or moved.
    NoChunk {
        /// How many.
        bytes: u64,
    },
    /// A chunk that was changed, or swapped for another.
    ChangedChunk,
    /// The chunk is at the end of the file and not all of it was written.
    CutChunk,
    /// The chunk belongs to a point that nothing describes.
    UnknownPoint,
    /// The segment was removed while it was read, to stay within the budget.
    Removed,
    /// The system could not read it.
    Unreadable(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} at byte {}: {}", self.segment, self.offset, self.reason)?;
        match self.packets {
            Some(1) => f.write_str("; 1 packet cannot be read"),
            Some(packets) => write!(f, "; {packets} packets cannot be read"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DamageReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASegment => f.write_str("this is no segment of a recorder"),
            Self::UnknownKey(id) => {
                write!(f, "its key {id} is not in the key file; nothing in it can be read")
            }
            Self::ChangedHeader => {
                f.write_str("the beginning was changed; nothing in it can be read")
            }
            Self::NoChunk { bytes } => write!(f, "{bytes} bytes here are no chunk"),
            Self::ChangedChunk => f.write_str("the chunk was changed or is not of this place"),
            Self::CutChunk => f.write_str("the last chunk was not written to its end"),
            Self::UnknownPoint => f.write_str("the chunk belongs to a point nobody describes"),
            Self::Removed => f.write_str("removed meanwhile to stay within the budget"),
            Self::Unreadable(reason) => f.write_str(reason),
        }
    }
}
