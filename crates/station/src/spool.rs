//! Where packets wait until they are fetched: a folder for each session, a pcapng file for each
//! part, and beside it what is known of the part.
//!
//! What a killed agent leaves is found again by the next one, said to have been cut, and kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use api::document::Part;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

/// The folder of all sessions.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    recovered: Vec<(Part, PathBuf)>,
}

impl Spool {
    /// Opens or makes it, and looks for what is left of earlier times.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let mut spool = Self { folder, recovered: Vec::new() };
        spool.recovered = spool.recover()?;
        Ok(spool)
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The parts that were there when it was opened. None of them goes on.
    pub(crate) fn recovered(&self) -> Vec<(Part, PathBuf)> {
        self.recovered.clone()
    }

    /// Where the packets of a part go; its folder is made.
    pub(crate) fn path(&self, session: &str, number: u32) -> io::Result<PathBuf> {
        let folder = self.session(session)?;
        fs::create_dir_all(&folder)?;
        Ok(folder.join(format!("{number:04}.pcapng")))
    }

    /// The number of the next part of a session: never one that was used before.
    pub(crate) fn next_number(&self, session: &str) -> io::Result<u32> {
        let folder = self.session(session)?;
        let Ok(entries) = fs::read_dir(folder) else { return Ok(1) };
        let numbers = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.split('.').next()?.parse::<u32>().ok()
        });
        Ok(numbers.max().unwrap_or(0).saturating_add(1))
    }

    /// Keeps what is known of a part.
    pub(crate) fn keep(&self, part: &Part) -> io::Result<()> {
        let path = self.path(&part.session, part.number)?.with_extension("json");
        let new = path.with_extension("json.new");
        fs::write(&new, serde_json::to_vec(part)?)?;
        fs::rename(new, path)
    }

    /// Removes every session but these. Returns those removed.
    pub(crate) fn remove_others(&self, kept: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut removed = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if is_session(&name) && !kept(&name) {
                fs::remove_dir_all(self.folder.join(&name))?;
                removed.push(name);
            }
        }
        Ok(removed)
    }

    /// Gives the disk back what a part has before `offset`: its file is as long as before, and has
    /// a hole there. Says from where on it is whole now.
    pub(crate) fn free(&self, part: &Part, offset: u64) -> io::Result<u64> {
        let path = self.path(&part.session, part.number)?;
        let file = fs::OpenOptions::new().write(true).open(path)?;
        // Only whole blocks make room.
        let end = offset.min(file.metadata()?.len()) / BLOCK_BYTES * BLOCK_BYTES;
        if end <= part.freed_bytes {
            return Ok(part.freed_bytes);
        }
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, how, 0, end)?;
        Ok(end)
    }

    fn session(&self, session: &str) -> io::Result<PathBuf> {
        // It comes over the network, and is no path.
        if is_session(session) {
            Ok(self.folder.join(session))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "a session has no such name"))
        }
    }

    fn recover(&self) -> io::Result<Vec<(Part, PathBuf)>> {
        let mut found = Vec::new();
        for session in fs::read_dir(&self.folder)? {
            for entry in fs::read_dir(session?.path())? {
                let path = entry?.path();
                if path.extension().is_none_or(|extension| extension != "json") {
                    continue;
                }
                let Ok(mut part) = serde_json::from_slice::<Part>(&fs::read(&path)?) else {
                    continue;
                };
                let packets = path.with_extension("pcapng");
                part.bytes = packets.metadata().map_or(0, |found| found.len());
                part.freed_bytes = hole(&packets, part.bytes);
                part.ended.get_or_insert_with(|| "the agent was stopped without a word".into());
                self.keep(&part)?;
                found.push((part, packets));
            }
        }
        Ok(found)
    }
}

/// What a part takes.
pub(crate) const fn kept_bytes(part: &Part) -> u64 {
    part.bytes.saturating_sub(part.freed_bytes)
}

/// The length of the hole that a file begins with.
fn hole(path: &Path, len: u64) -> u64 {
    let Ok(file) = fs::File::open(path) else { return 0 };
    match seek(file, SeekFrom::Data(0)) {
        Ok(first) => first,
        // There is nothing behind it (lseek(2)).
        Err(Errno::NXIO) => len,
        // A file system that knows no holes has none.
        Err(_) => 0,
    }
}

/// No file system has smaller blocks than it is worth to free.
const BLOCK_BYTES: u64 = 64 << 10;

/// A session's id is a short word.
fn is_session(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=64).contains(&name.len()) && name.chars().all(is_plain) && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn a_session_of_the_network_is_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        for name in ["", "..", "a/b", "../x", "-rf", "a\0", &"x".repeat(65)] {
            assert!(spool.path(name, 1).is_err(), "{name:?}");
        }
        assert!(spool.path("s-7k2m", 1).unwrap().ends_with("s-7k2m/0001.pcapng"));
    }

    #[test]
    fn what_a_killed_agent_leaves_is_found_with_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let path = spool.path("s-1", 1).unwrap();
        fs::write(&path, [0; 100]).unwrap();
        spool.keep(&Part { bytes: 5, ..part() }).unwrap();
        assert_eq!(spool.next_number("s-1").unwrap(), 2);

        let again = Spool::open(folder.path()).unwrap();
        let recovered = again.recovered();
        let (found, at) = recovered.first().unwrap();
        assert_eq!((found.bytes, at), (100, &path.canonicalize().unwrap()));
        assert!(found.ended.as_deref().unwrap().contains("without a word"));

        assert_eq!(again.remove_others(&|name| name == "s-1").unwrap(), Vec::<String>::new());
        assert_eq!(again.remove_others(&|_| false).unwrap(), ["s-1"]);
        assert!(!path.exists());
    }

    #[test]
    fn what_was_fetched_makes_room_and_is_known_to_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path()).unwrap();
        let path = spool.path("s-1", 1).unwrap();
        fs::write(&path, vec![7; 1 << 20]).unwrap();
        let mut part = Part { bytes: 1 << 20, ..part() };
        spool.keep(&part).unwrap();
        assert_eq!(spool.free(&part, 100).unwrap(), 0, "less than a block");
        part.freed_bytes = spool.free(&part, (512 << 10) + 5).unwrap();
        assert_eq!((part.freed_bytes, kept_bytes(&part)), (512 << 10, 512 << 10));
        assert_eq!(spool.free(&part, 100).unwrap(), 512 << 10, "never less than before");
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes.len(), bytes[(512 << 10) - 1], bytes[512 << 10]), (1 << 20, 0, 7));

        let recovered = Spool::open(folder.path()).unwrap().recovered();
        assert_eq!(recovered.first().unwrap().0.freed_bytes, 512 << 10);
    }

    fn part() -> Part {
        serde_json::from_value(serde_json::json!({
            "session": "s-1", "host": "hv-1", "number": 1, "machine_id": "uuid:x",
            "machine": "web", "point": "tap", "began_ns": 1, "bytes": 0, "packets": 0,
            "kernel_dropped": 0, "failed": 0,
        }))
        .unwrap()
    }
}
