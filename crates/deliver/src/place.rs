//! Where files are made, and which of them are deleted again.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, open, openat, statat, unlinkat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::fcntl_setpipe_size;
use wire::Timestamp;

use crate::file_name::RingName;
use crate::headroom::Headroom;
use crate::outlet::Kind;
use crate::schedule::Schedule;
use crate::{Destination, Existing, Ring, SinkError, Totals};

/// The place of a capture's files.
#[derive(Debug)]
pub(crate) struct Place {
    kind: PlaceKind,
    files_made: u64,
    files_deleted: u64,
}

/// A file just opened.
pub(crate) struct Opened {
    pub(crate) fd: OwnedFd,
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
}

#[derive(Debug)]
enum PlaceKind {
    Stdout,
    Open { fd: Arc<OwnedFd>, name: PathBuf },
    File { directory: OwnedFd, name: OsString, path: PathBuf, existing: Existing },
    Ring(Box<RingPlace>),
}

#[derive(Debug)]
struct RingPlace {
    directory: OwnedFd,
    directory_path: PathBuf,
    names: RingName,
    ring: Ring,
    schedule: Option<Schedule>,
    number: u64,
    /// The files that are there, oldest first.
    made: VecDeque<Made>,
}

/// A file this sink made; only while its name still leads to it may it be deleted.
#[derive(Debug)]
struct Made {
    name: OsString,
    device: u64,
    inode: u64,
}

impl Place {
    pub(crate) fn open(destination: &Destination, now: Timestamp) -> Result<Self, SinkError> {
        let kind = match destination {
            Destination::Stdout => PlaceKind::Stdout,
            Destination::Open { fd, name } => {
                PlaceKind::Open { fd: Arc::clone(fd), name: name.clone() }
            }
            Destination::File { path, existing } => {
                let name = path.file_name().ok_or_else(|| no_file(path))?.to_owned();
                let (directory, _) = open_directory(path)?;
                PlaceKind::File { directory, name, path: path.clone(), existing: *existing }
            }
            Destination::Ring { base, ring } => {
                let names = RingName::new(base).ok_or_else(|| no_file(base))?;
                let (directory, directory_path) = open_directory(base)?;
                PlaceKind::Ring(Box::new(RingPlace {
                    directory,
                    directory_path,
                    names,
                    ring: *ring,
                    schedule: ring.interval.map(|interval| Schedule::new(interval, now)),
                    number: 0,
                    made: VecDeque::new(),
                }))
            }
        };
        Ok(Self { kind, files_made: 0, files_deleted: 0 })
    }

    /// Opens the next file; waits for a reader of a named pipe until `stop` is set.
    pub(crate) fn open_file(
        &mut self,
        now: Timestamp,
        stop: &AtomicBool,
    ) -> Result<Opened, SinkError> {
        let opened = match &mut self.kind {
            PlaceKind::Stdout => open_stdout()?,
            PlaceKind::Open { fd, name } => {
                let path = name.clone();
                let own = fcntl_dupfd_cloexec(&*fd, 3);
                let fd = own.map_err(|errno| SinkError::opening(path.clone(), errno))?;
                let kind = Kind::of(fd.as_fd());
                Opened { fd, kind, path }
            }
            PlaceKind::File { directory, name, path, existing } => {
                open_one(directory.as_fd(), name, path, *existing, stop)?
            }
            PlaceKind::Ring(place) => {
                self.files_deleted += place.make_room();
                place.open_next(now)?
            }
        };
        self.files_made += 1;
        Ok(opened)
    }

    /// Whether it is time for the next file.
    pub(crate) fn is_due(&mut self, now: Timestamp) -> bool {
        match &mut self.kind {
            PlaceKind::Ring(place) => {
                place.schedule.as_mut().is_some_and(|schedule| schedule.is_due(now))
            }
            _ => false,
        }
    }

    /// The next file is begun: the clock goes on to the one after it, if its time had come.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        if let PlaceKind::Ring(place) = &mut self.kind
            && let Some(schedule) = &mut place.schedule
            && schedule.is_due(now)
        {
            schedule.pass(now);
        }
    }

    /// Whether a file with these contents can have `bytes` and `packets` more.
    pub(crate) fn has_room(&self, file: &Totals, bytes: u64, packets: u64) -> bool {
        match &self.kind {
            PlaceKind::Ring(place) => {
                let ring = &place.ring;
                ring.max_bytes.is_none_or(|max| file.file_bytes + bytes <= max)
                    && ring.max_packets.is_none_or(|max| file.packets + packets <= max.max(1))
            }
            _ => true,
        }
    }

    /// How many bytes and packets more a file with these contents can have, and until when the next
    /// one is not due.
    pub(crate) fn room(&self, file: &Totals) -> Headroom {
        let PlaceKind::Ring(place) = &self.kind else { return Headroom::ENDLESS };
        let ring = &place.ring;
        Headroom {
            packets: ring.max_packets.map_or(u64::MAX, |max| max.saturating_sub(file.packets)),
            file_bytes: ring.max_bytes.map_or(u64::MAX, |max| max.saturating_sub(file.file_bytes)),
            until: place.schedule.as_ref().map_or(Headroom::ENDLESS.until, Schedule::next),
            ..Headroom::ENDLESS
        }
    }

    /// Whether any file can have this many bytes.
    pub(crate) fn can_hold(&self, bytes: u64) -> bool {
        self.max_bytes().is_none_or(|max| bytes <= max)
    }

    pub(crate) fn max_bytes(&self) -> Option<u64> {
        match &self.kind {
            PlaceKind::Ring(place) => place.ring.max_bytes,
            _ => None,
        }
    }

    /// Where files are still made and deleted after the first one.
    pub(crate) fn directory(&self) -> Option<BorrowedFd<'_>> {
        match &self.kind {
            PlaceKind::Stdout | PlaceKind::Open { .. } | PlaceKind::File { .. } => None,
            PlaceKind::Ring(place) => Some(place.directory.as_fd()),
        }
    }

    pub(crate) const fn files_made(&self) -> u64 {
        self.files_made
    }

    pub(crate) const fn files_deleted(&self) -> u64 {
        self.files_deleted
    }
}

impl RingPlace {
    /// Deletes the oldest files until one more may be made. Returns how many were deleted.
    fn make_room(&mut self) -> u64 {
        let Some(keep) = self.ring.keep else { return 0 };
        let mut deleted = 0;
        while self.made.len() >= keep.get() as usize {
            let Some(oldest) = self.made.pop_front() else { break };
            let is_ours = statat(&self.directory, &oldest.name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|found| found.st_dev == oldest.device && found.st_ino == oldest.inode);
            // A file that was moved, deleted or replaced by somebody is no longer ours to delete.
            if is_ours && unlinkat(&self.directory, &oldest.name, AtFlags::empty()).is_ok() {
                deleted += 1;
            }
        }
        deleted
    }

    fn open_next(&mut self, now: Timestamp) -> Result<Opened, SinkError> {
        let mut tries = 0;
        loop {
            self.number += 1;
            tries += 1;
            let name = self.names.of(self.number, now);
            let path = self.directory_path.join(&name);
            match openat(&self.directory, &name, NEW_FILE, MODE) {
                Ok(fd) => {
                    let status = fstat(&fd).map_err(|e| SinkError::opening(path.clone(), e))?;
                    let (device, inode) = (status.st_dev, status.st_ino);
                    self.made.push_back(Made { name, device, inode });
                    return Ok(Opened { fd, kind: Kind::File, path });
                }
                // Somebody else's file stays; the next number is tried.
                Err(Errno::EXIST) if tries < MAX_TRIES => {}
                Err(errno) => return Err(SinkError::opening(path, errno)),
            }
        }
    }
}

fn open_directory(path: &Path) -> Result<(OwnedFd, PathBuf), SinkError> {
    let parent = path.parent().unwrap_or(Path::new(""));
    let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = || directory.to_owned();
    let fd = openat(CWD, directory, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => SinkError::NoDirectory { path: path() },
        errno => SinkError::opening(path(), errno),
    })?;
    Ok((fd, parent.to_owned()))
}

fn open_one(
    directory: BorrowedFd<'_>,
    name: &OsString,
    path: &Path,
    existing: Existing,
    stop: &AtomicBool,
) -> Result<Opened, SinkError> {
    let path = path.to_owned();
    let found = statat(directory, name, AtFlags::empty());
    if let Ok(found) = found {
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Fifo | FileType::CharacterDevice => {
                return open_pipe(directory, name, path, stop);
            }
            FileType::RegularFile => {}
            _ => return Err(SinkError::NoFile { path }),
        }
    }
    let opened = openat(directory, name, NEW_FILE, MODE);
    let fd = match (opened, existing) {
        (Err(Errno::EXIST), Existing::Replace) => {
            let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            openat(directory, name, flags, MODE)
        }
        (opened, _) => opened,
    };
    match fd {
        Ok(fd) => Ok(Opened { fd, kind: Kind::File, path }),
        Err(errno) => Err(SinkError::opening(path, errno)),
    }
}

/// A named pipe can be opened without blocking only once somebody reads from it.
fn open_pipe(
    directory: BorrowedFd<'_>,
    name: &OsString,
    path: PathBuf,
    stop: &AtomicBool,
) -> Result<Opened, SinkError> {
    let deadline = Instant::now() + WAIT_FOR_READER;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    loop {
        match openat(directory, name, flags, Mode::empty()) {
            Ok(fd) => {
                widen(&fd);
                return Ok(Opened { fd, kind: Kind::NonBlocking, path });
            }
            Err(Errno::NXIO) => {
                if stop.load(Ordering::Relaxed) || Instant::now() >= deadline {
                    return Err(SinkError::NoReader { path });
                }
                std::thread::sleep(LOOK_FOR_READER_EVERY);
            }
            Err(errno) => return Err(SinkError::opening(path, errno)),
        }
    }
}

fn open_stdout() -> Result<Opened, SinkError> {
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        return Err(SinkError::Terminal);
    }
    let path = PathBuf::from("-");
    let fd = fcntl_dupfd_cloexec(&stdout, 3).map_err(|e| SinkError::opening(path.clone(), e))?;
    let kind = Kind::of(fd.as_fd());
    if kind == Kind::Blocking {
        // Non-blocking is a property of the open file, which we share with whoever started us.
        // Opened again, a pipe is ours alone. Without /proc it is written to in small pieces.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(fd) = open("/proc/self/fd/1", flags, Mode::empty()) {
            widen(&fd);
            return Ok(Opened { fd, kind: Kind::NonBlocking, path });
        }
    }
    Ok(Opened { fd, kind, path })
}

/// Lets a pipe hold more, if the system allows.
fn widen(fd: &OwnedFd) {
    let _ = fcntl_setpipe_size(fd, PIPE_BYTES);
}

fn no_file(path: &Path) -> SinkError {
    SinkError::NoFile { path: path.to_owned() }
}

const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);
/// Packets are nobody else's business.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const PIPE_BYTES: usize = 1 << 20;
const WAIT_FOR_READER: Duration = Duration::from_secs(30);
const LOOK_FOR_READER_EVERY: Duration = Duration::from_millis(20);
/// So many files with just our names are no accident.
const MAX_TRIES: u32 = 1000;
