//! Where bytes leave the program: a file, a pipe or a socket, and the buffer before it.
//!
//! The buffer always begins at the beginning of a block, so that after a failure it is known
//! which blocks are in the file and which are not.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, SeekFrom, fstat, ftruncate, seek};
use rustix::io::{Errno, write};
use rustix::net::{SendFlags, send};

/// An open target and the bytes on their way to it.
#[derive(Debug)]
pub(crate) struct Outlet {
    fd: OwnedFd,
    kind: Kind,
    /// Whole blocks. The first `sent` bytes are already gone.
    buffer: Vec<u8>,
    sent: usize,
    /// How long the buffer was when a slow reader was last tried.
    tried: usize,
    /// Bytes that left before the buffer began.
    before: u64,
}

impl Outlet {
    /// With a buffer that was used before, so that rotation allocates nothing.
    pub(crate) fn new(fd: OwnedFd, kind: Kind, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.reserve(CAPACITY);
        Self { fd, kind, buffer, sent: 0, tried: 0, before: 0 }
    }

    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// The buffer, for whole blocks to be appended.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Whether enough is waiting to be worth a system call.
    pub(crate) fn is_due(&self) -> bool {
        self.buffer.len() - self.sent.max(self.tried) >= FLUSH_BYTES
    }

    /// How many bytes more can be appended before anything is due.
    pub(crate) fn room(&self) -> u64 {
        let flush = FLUSH_BYTES.saturating_sub(self.buffer.len() - self.sent.max(self.tried));
        let crowd = CROWDED_BYTES.saturating_sub(self.buffer.len() - self.sent);
        flush.min(crowd).saturating_sub(1) as u64
    }

    /// Whether the reader is so far behind that nothing more fits.
    pub(crate) fn is_crowded(&self) -> bool {
        self.buffer.len() - self.sent >= CROWDED_BYTES
    }

    /// Bytes waiting.
    pub(crate) fn waiting(&self) -> u64 {
        (self.buffer.len() - self.sent) as u64
    }

    /// Bytes in the target and waiting.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.before + self.buffer.len() as u64
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Sends what is waiting, for as long as `patience` lasts.
    ///
    /// After a failure the target holds whole blocks only, if it is a file of ours, and the
    /// buffer is empty.
    pub(crate) fn flush(&mut self, patience: Patience<'_>) -> Result<Flushed, Failure> {
        let mut deadline = None;
        loop {
            let Some(rest) = self.buffer.get(self.sent..).filter(|rest| !rest.is_empty()) else {
                self.before += self.buffer.len() as u64;
                self.buffer.clear();
                self.sent = 0;
                self.tried = 0;
                return Ok(Flushed::All);
            };
            let outcome = match self.kind {
                Kind::File | Kind::ForeignFile | Kind::NonBlocking => write(&self.fd, rest),
                Kind::Socket => send(&self.fd, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
                Kind::Blocking if is_ready(&self.fd, Duration::ZERO) => {
                    write(&self.fd, rest.get(..PIPE_CHUNK).unwrap_or(rest))
                }
                Kind::Blocking => Err(Errno::AGAIN),
            };
            match outcome {
                Ok(0) => return Err(self.fail(Errno::IO)),
                Ok(len) => self.sent += len,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let Patience::WhileNotStopped { stop, grace } = patience else {
                        self.forget_sent_blocks();
                        return Ok(Flushed::Partly);
                    };
                    if stop.load(Ordering::Relaxed) {
                        let now = Instant::now();
                        if now >= *deadline.get_or_insert(now + grace) {
                            self.forget_sent_blocks();
                            return Ok(Flushed::Partly);
                        }
                    }
                    is_ready(&self.fd, POLL_FOR);
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(Flushed::ReaderGone),
                Err(errno) => return Err(self.fail(errno)),
            }
        }
    }

    /// The packets that are still waiting, the last of them perhaps sent in part, and are now
    /// given up.
    pub(crate) fn give_up(&mut self) -> Vec<LostPacket> {
        let lost = blocks(&self.buffer)
            .filter(|block| block.end > self.sent)
            .filter_map(|block| block.packet)
            .collect();
        self.before += self.sent as u64;
        self.buffer.clear();
        self.sent = 0;
        self.tried = 0;
        lost
    }

    fn fail(&mut self, errno: Errno) -> Failure {
        let whole = self.before + self.whole_blocks_sent() as u64;
        let lost = self.give_up();
        if self.kind == Kind::File {
            // Without the part of a block at its end the file is whole as far as it goes. If even
            // this fails, readers say that the file is cut and show everything before.
            self.before = whole;
            if ftruncate(&self.fd, self.before).is_ok() {
                let _ = seek(&self.fd, SeekFrom::Start(self.before));
            }
        }
        Failure { errno, lost }
    }

    /// Bytes of the buffer's blocks that were sent as a whole.
    fn whole_blocks_sent(&self) -> usize {
        blocks(&self.buffer)
            .map(|block| block.end)
            .take_while(|end| *end <= self.sent)
            .last()
            .unwrap_or(0)
    }

    /// Keeps the buffer small while a pipe is slow.
    fn forget_sent_blocks(&mut self) {
        if self.sent >= FLUSH_BYTES {
            let whole = self.whole_blocks_sent();
            self.buffer.drain(..whole);
            self.sent -= whole;
            self.before += whole as u64;
        }
        self.tried = self.buffer.len();
    }
}

/// How a target must be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file this sink made.
    File,
    /// A regular file somebody else opened, perhaps with something in it.
    ForeignFile,
    /// A pipe or device that says when it is full.
    NonBlocking,
    /// A socket.
    Socket,
    /// A pipe that blocks when it is full, and takes a page when it says it is ready.
    Blocking,
}

impl Kind {
    /// What must be done with an open descriptor that is not a file of ours.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Self {
        match fstat(fd).map(|status| FileType::from_raw_mode(status.st_mode)) {
            Ok(FileType::RegularFile) => Self::ForeignFile,
            Ok(FileType::Socket) => Self::Socket,
            _ => Self::Blocking,
        }
    }
}

/// How long to wait for a target that is not ready.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience<'a> {
    /// Not at all.
    None,
    /// Until it is ready; once stopped, no longer than a moment of grace.
    WhileNotStopped {
        /// Says that nobody wants to wait any more.
        stop: &'a AtomicBool,
        /// How long to wait after that.
        grace: Duration,
    },
}

/// What became of the waiting bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All are out.
    All,
    /// Some are still waiting.
    Partly,
    /// Nobody will ever read them.
    ReaderGone,
}

/// Writing failed; these packets are not in the target.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) errno: Errno,
    pub(crate) lost: Vec<LostPacket>,
}

/// A packet that was in the buffer and is in no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LostPacket {
    pub(crate) interface: u32,
    pub(crate) payload_bytes: u32,
}

struct Block {
    end: usize,
    packet: Option<LostPacket>,
}

/// The blocks of a buffer that holds nothing but whole blocks.
fn blocks(buffer: &[u8]) -> impl Iterator<Item = Block> {
    let word = |at: usize| {
        let bytes = buffer.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let mut start = 0;
    std::iter::from_fn(move || {
        let (kind, length) = (word(start)?, word(start + 4)? as usize);
        let packet =
            (kind == wire::file::BlockType::ENHANCED_PACKET.0).then_some(()).and_then(|()| {
                Some(LostPacket { interface: word(start + 8)?, payload_bytes: word(start + 20)? })
            });
        start = start.checked_add(length.max(12))?;
        Some(Block { end: start, packet })
    })
}

pub(crate) fn is_ready(fd: &OwnedFd, wait: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::OUT)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    // Hang-up and error count as ready: the write then says what is wrong.
    poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

const FLUSH_BYTES: usize = 1 << 20;
/// Room for a packet behind a full buffer.
const CAPACITY: usize = FLUSH_BYTES + wire::file::MAX_PACKET_BYTES + 65_536;
const CROWDED_BYTES: usize = 4 << 20;
/// What a pipe takes at once when it is ready (pipe(7): PIPE_BUF).
pub(crate) const PIPE_CHUNK: usize = 4096;
/// How long the stop flag may go unnoticed.
pub(crate) const POLL_FOR: Duration = Duration::from_millis(50);
