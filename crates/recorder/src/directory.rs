//! The directory of a store: which files in it are ours, and how they are opened.
//!
//! Everything goes through one descriptor, so that a process that may touch nothing else can work.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock, openat, renameat, unlinkat};
use wire::Timestamp;

use crate::budget::Held;
use crate::error::StoreError;
use crate::header::{HEADER_LEN, Header};

/// The directory of a store.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    pub(crate) path: PathBuf,
}

impl Directory {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty());
        let failed = |errno: rustix::io::Errno| StoreError::Directory {
            path: path.to_owned(),
            source: errno.into(),
        };
        Ok(Self { fd: fd.map_err(failed)?, path: path.to_owned() })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The stems of all files that are called like segments, oldest first.
    pub(crate) fn stems(&self) -> io::Result<Vec<String>> {
        let mut stems = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let stem = name.strip_suffix(SEGMENT).filter(|stem| is_stem(stem));
            stems.extend(stem.map(ToOwned::to_owned));
        }
        stems.sort();
        Ok(stems)
    }

    /// The segments there are: files called like segments that begin like segments.
    pub(crate) fn held(&self) -> io::Result<Vec<Held>> {
        Ok(self.stems()?.into_iter().filter_map(|stem| self.look(stem)).collect())
    }

    /// A new file, which nobody else may read.
    pub(crate) fn create(&self, stem: &str, ending: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let name = format!("{stem}{ending}");
        Ok(openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    pub(crate) fn read(&self, stem: &str, ending: &str) -> io::Result<File> {
        self.at(stem, ending, OFlags::RDONLY)
    }

    pub(crate) fn write(&self, stem: &str, ending: &str) -> io::Result<File> {
        self.at(stem, ending, OFlags::RDWR)
    }

    /// Puts a file in the place of another.
    pub(crate) fn rename(&self, stem: &str, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (format!("{stem}{from}"), format!("{stem}{to}"));
        Ok(renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Removes a segment with its index.
    pub(crate) fn remove(&self, stem: &str) -> io::Result<()> {
        unlinkat(&self.fd, format!("{stem}{SEGMENT}"), AtFlags::empty())?;
        self.remove_file(stem, INDEX);
        Ok(())
    }

    pub(crate) fn remove_file(&self, stem: &str, ending: &str) {
        let _ = unlinkat(&self.fd, format!("{stem}{ending}"), AtFlags::empty());
    }

    /// Bytes free for who has no privileges, if the file system says.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(&self.fd).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// When a segment was last written to; the end of time if that is not known.
    pub(crate) fn last_written(&self, stem: &str) -> Timestamp {
        let modified = self.read(stem, SEGMENT).and_then(|file| file.metadata()?.modified());
        modified.ok().and_then(since_1970).unwrap_or(Timestamp::from_nanos(u64::MAX))
    }

    /// When somebody asked last for what is not written yet.
    pub(crate) fn flush_asked(&self) -> Option<Timestamp> {
        let modified = rustix::fs::statat(&self.fd, FLUSH, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let seconds = u64::try_from(modified.st_mtime).ok()?;
        Some(Timestamp::from_parts(seconds, u32::try_from(modified.st_mtime_nsec).ok()?))
    }

    fn at(&self, stem: &str, ending: &str, access: OFlags) -> io::Result<File> {
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(openat(&self.fd, format!("{stem}{ending}"), flags, Mode::empty())?.into())
    }

    fn look(&self, stem: String) -> Option<Held> {
        let file = self.read(&stem, SEGMENT).ok()?;
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let mut bytes = [0; HEADER_LEN];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let header = Header::decode(&bytes)?;
        let index = self.read(&stem, INDEX).and_then(|file| file.metadata());
        let index_bytes = index.map_or(0, |metadata| metadata.len());
        let is_live = flock(&file, FlockOperation::NonBlockingLockShared).is_err();
        let used = metadata.len().saturating_add(index_bytes);
        Some(Held {
            stem,
            bytes: if is_live { used.max(header.max_bytes) } else { used },
            last: since_1970(metadata.modified().ok()?)?,
            is_live,
        })
    }
}

fn since_1970(time: std::time::SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::ZERO.saturating_add(since))
}

/// Marks a segment as being written, for as long as the file is open.
pub(crate) fn lock(file: &File) {
    // Waits for no more than a look. Without the mark another recorder in the directory might
    // remove the segment early; nothing else.
    let _ = flock(file, FlockOperation::LockExclusive);
}

/// The stem of a new segment; they sort by time.
pub(crate) fn stem(begin: Timestamp, recording: &[u8; 16], number: u64) -> String {
    let [r0, r1, r2, r3, ..] = recording;
    format!("{:020}-{r0:02x}{r1:02x}{r2:02x}{r3:02x}-{number:08}", begin.as_nanos())
}

fn is_stem(stem: &str) -> bool {
    let parts: Vec<&str> = stem.split('-').collect();
    let [begin, recording, number] = parts[..] else { return false };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    begin.len() == 20
        && is_number(begin)
        && recording.len() == 8
        && recording.bytes().all(|byte| byte.is_ascii_hexdigit())
        && number.len() >= 8
        && is_number(number)
}

/// Endings of the files.
pub(crate) const SEGMENT: &str = ".seg";
pub(crate) const INDEX: &str = ".idx";
/// An empty file that is touched to ask for what is not written yet.
pub(crate) const FLUSH: &str = "flush";
pub(crate) const NEW_INDEX: &str = ".idx-new";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time_and_foreign_ones_are_not_ours() {
        let of = |nanos, number| stem(Timestamp::from_nanos(nanos), &[0xab; 16], number);
        assert!(of(9, 7) < of(10, 0) && of(u64::MAX, 0) > of(10, 0));
        assert!(is_stem(&of(u64::MAX, u64::MAX)) && is_stem(&of(0, 0)));
        for foreign in ["", "web", "-abababab-00000000", "1-abababab-00000000"] {
            assert!(!is_stem(foreign), "{foreign}");
        }
    }
}
