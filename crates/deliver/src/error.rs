//! Why a capture could not be written.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;
use wire::LinkType;

/// A failure of a file sink. After it the sink takes nothing more, but can still be finished.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The file is there already.
    #[error("{} exists; add --force to write over it, or choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is a symbolic link, which may lead into somebody else's hands.
    #[error("{} is a symbolic link; give the name of the file it leads to", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// The file may not be made there.
    #[error("cannot create {}: permission denied; choose another directory", path.display())]
    Permission {
        /// The file.
        path: PathBuf,
    },
    /// The path names no file.
    #[error(
        "cannot write to {}: it names no file; give the name of one, like {}",
        path.display(), path.join("capture.pcapng").display()
    )]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// The directory is not there.
    #[error("there is no directory {}; make it, or choose another", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The file cannot be opened, for another reason.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody opened the other end of a named pipe.
    #[error("nobody reads from {}", path.display())]
    NoReader {
        /// The pipe.
        path: PathBuf,
    },
    /// Standard output is a terminal.
    #[error("standard output is a terminal; write to a file with -w FILE, or pipe into a program")]
    Terminal,
    /// The file system is full.
    #[error(
        "no space left for {}: {packets_safe} packets are safe in it, {packets_lost} were lost",
        path.display()
    )]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// Packets in this file that can be read.
        packets_safe: u64,
        /// Packets that had been taken and are in no file.
        packets_lost: u64,
    },
    /// Writing failed, for another reason.
    #[error(
        "cannot write to {}: {source}; {packets_safe} packets are safe in it, {packets_lost} \
         were lost",
        path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Packets in this file that can be read.
        packets_safe: u64,
        /// Packets that had been taken and are in no file.
        packets_lost: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A file may not even have the bytes of its headers and one packet.
    #[error(
        "files of {max_bytes} bytes are too small: their beginning and end and one long packet \
         need {needed}; give --rotate-size more"
    )]
    LimitTooSmall {
        /// What was asked for.
        max_bytes: u64,
        /// The least that works.
        needed: u64,
    },
    /// Observation points of different link types, which tcpdump cannot read from one file.
    #[error("a file has one link type: point {name} has {other}, the others have {first}",
        first = first.0, other = other.0)]
    LinkTypesDiffer {
        /// The link type of the first point.
        first: LinkType,
        /// The other one.
        other: LinkType,
        /// The point that has it.
        name: String,
    },
    /// There is no observation point.
    #[error("nothing to capture: no observation point was given")]
    NoInterface,
}

impl SinkError {
    pub(crate) fn opening(path: PathBuf, errno: Errno) -> Self {
        match errno {
            Errno::EXIST => Self::Exists { path },
            // Files are opened with O_NOFOLLOW; a loop on the way to the directory fails before.
            Errno::LOOP => Self::Link { path },
            Errno::ACCESS | Errno::PERM => Self::Permission { path },
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace { path, packets_safe: 0, packets_lost: 0 },
            _ => Self::Open { path, source: errno.into() },
        }
    }

    pub(crate) fn writing(
        path: PathBuf,
        errno: Errno,
        packets_safe: u64,
        packets_lost: u64,
    ) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => {
                Self::NoSpace { path, packets_safe, packets_lost }
            }
            _ => Self::Write { path, packets_safe, packets_lost, source: errno.into() },
        }
    }
}
