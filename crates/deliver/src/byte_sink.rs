//! One file whose bytes somebody else encodes: blocks and records come in large whole pieces.
//!
//! For jobs on capture files, which can wait for a slow reader and have more packets at hand than
//! one call for each could carry. The file never ends in the middle of a piece, unless even
//! cutting it back fails.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::io::{Errno, write};
use rustix::net::{SendFlags, send};
use wire::Timestamp;

use crate::outlet::{Kind, PIPE_CHUNK, POLL_FOR, is_ready};
use crate::place::Place;
use crate::{Destination, SinkError};

/// A file, pipe or socket that whole pieces are written to, one after the other.
#[derive(Debug)]
pub struct ByteSink {
    fd: OwnedFd,
    kind: Kind,
    path: PathBuf,
    written: u64,
    stop: Arc<AtomicBool>,
}

impl ByteSink {
    /// Opens a file; waits for the reader of a named pipe until `stop` is set.
    ///
    /// # Errors
    /// As [`FileSink::open`](crate::FileSink::open).
    pub fn open(
        destination: &Destination,
        now: Timestamp,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SinkError> {
        let opened = Place::open(destination, now)?.open_file(now, &stop)?;
        Ok(Self { fd: opened.fd, kind: opened.kind, path: opened.path, written: 0, stop })
    }

    /// Writes all of `piece`, which must be whole blocks or records, and waits as long as the
    /// reader takes. Once `stop` is set, waits only a moment more.
    ///
    /// # Errors
    /// Nothing of the piece is in the file then, if the file is ours.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), WriteError> {
        let mut rest = piece;
        let mut deadline = None;
        while !rest.is_empty() {
            match self.write_some(rest) {
                Ok(0) => return Err(self.fail(Errno::IO)),
                Ok(len) => rest = rest.get(len..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if self.stop.load(Ordering::Relaxed) {
                        let now = Instant::now();
                        if now >= *deadline.get_or_insert(now + GRACE) {
                            return Err(WriteError::Stalled);
                        }
                    }
                    is_ready(&self.fd, POLL_FOR);
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(WriteError::ReaderGone),
                Err(errno) => return Err(self.fail(errno)),
            }
        }
        self.written += piece.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// What the file is called; `-` is standard output.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and number of the file, by which it can be told from others.
    pub fn identity(&self) -> Option<(u64, u64)> {
        rustix::fs::fstat(self.fd.as_fd()).ok().map(|status| (status.st_dev, status.st_ino))
    }

    fn write_some(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self.kind {
            Kind::File | Kind::ForeignFile | Kind::NonBlocking => write(&self.fd, bytes),
            Kind::Socket => send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Kind::Blocking if is_ready(&self.fd, Duration::ZERO) => {
                write(&self.fd, bytes.get(..PIPE_CHUNK).unwrap_or(bytes))
            }
            Kind::Blocking => Err(Errno::AGAIN),
        }
    }

    /// Without the part of a piece at its end the file is whole as far as it goes.
    fn fail(&self, errno: Errno) -> WriteError {
        if self.kind == Kind::File && ftruncate(&self.fd, self.written).is_ok() {
            let _ = seek(&self.fd, SeekFrom::Start(self.written));
        }
        WriteError::Failed(errno.into())
    }
}

/// Why a piece is not in the file.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The reader of the pipe went away, which is how a person stops looking.
    #[error("the reader has gone")]
    ReaderGone,
    /// The reader of the pipe is there, but did not read on when it was time to stop.
    #[error("the reader does not read on")]
    Stalled,
    /// The system refused: a full disk, a limit.
    #[error(transparent)]
    Failed(io::Error),
}

/// How long a slow reader is waited for after everybody else has stopped.
const GRACE: Duration = Duration::from_secs(2);
