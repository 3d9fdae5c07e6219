//! The file of the certificate authority: made once, read by its owner only.
//!
//! Certificate and key are one file, so that no crash leaves the one without the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use jiff::Timestamp;

use crate::ca::{Ca, CaError};
use crate::tokens::random;

impl Ca {
    /// The one of `folder`; made at the first call. The folder must exist.
    ///
    /// Two processes that make it at once end with the same one.
    pub fn open_or_make(folder: &Path, now: Timestamp) -> Result<Self, FolderError> {
        match Self::open(folder) {
            Err(FolderError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
        let new = Self::make(now).map_err(|e| FolderError::Ca(folder.to_owned(), e))?;
        keep(folder, &new.to_pem())?;
        Self::open(folder)
    }

    /// The one of `folder`, made before.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        let path = folder.join(FILE);
        let io = |error| FolderError::Io(path.clone(), error);
        let file = File::open(&path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(FolderError::Open(path, mode));
        }
        let mut text = String::new();
        file.take(MOST_BYTES).read_to_string(&mut text).map_err(io)?;
        Self::from_pem(&text).map_err(|e| FolderError::Ca(path.clone(), e))
    }
}

/// Why the file of the certificate authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Reading or writing failed.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, #[source] io::Error),
    /// Others than its owner may read or write it.
    #[error(
        "{} has mode {:o}, so others may have the controller's key; if nobody has, `chmod 600` \
         it, else remove it and enrol the agents again",
        .0.display(), .1
    )]
    Open(PathBuf, u32),
    /// It holds no authority, or none could be made.
    #[error("{}: {}", .0.display(), .1)]
    Ca(PathBuf, #[source] CaError),
}

/// Writes the file whole or not at all, and never over one that is there.
fn keep(folder: &Path, text: &str) -> Result<(), FolderError> {
    let path = folder.join(FILE);
    let suffix: [u8; 8] = random().map_err(|e| FolderError::Ca(path.clone(), e.into()))?;
    let draft = folder.join(format!(".{FILE}.{}", HEXLOWER.encode(&suffix)));
    let written = write(&draft, text).and_then(|()| fs::hard_link(&draft, &path));
    let removed = match fs::remove_file(&draft) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    match written {
        // Another process was faster; its file counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        done => done.map_err(|e| FolderError::Io(path.clone(), e))?,
    }
    let synced = removed.and_then(|()| File::open(folder)?.sync_all());
    synced.map_err(|e| FolderError::Io(folder.to_owned(), e))
}

fn write(draft: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

const FILE: &str = "ca.pem";
const MOST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let first = Ca::open_or_make(folder.path(), now).unwrap();
        let second = Ca::open_or_make(folder.path(), now).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "no draft is left");
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Ca::open_or_make(folder.path(), Timestamp::UNIX_EPOCH).unwrap();
        let path = folder.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Ca::open(folder.path());
        assert!(matches!(refused, Err(FolderError::Open(p, 0o640)) if p == path));
    }

    #[test]
    fn a_damaged_file_is_said_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join(FILE), "nothing").unwrap();
        let refused = Ca::open_or_make(folder.path(), Timestamp::UNIX_EPOCH);
        assert!(matches!(refused, Err(FolderError::Ca(_, CaError::NotACertificate))));
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), "nothing");
    }

    #[test]
    fn many_that_make_it_at_once_end_with_one() {
        let folder = tempfile::tempdir().unwrap();
        let make = || Ca::open_or_make(folder.path(), Timestamp::UNIX_EPOCH).unwrap().fingerprint();
        let found = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(found.windows(2).all(|two| two[0] == two[1]), "{found:?}");
    }
}
