//! The file of the certificate authority, read by its owner only.
//!
//! Certificate and key are one file, and so is what is left of the authority before: no crash
//! leaves the one without the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use jiff::Timestamp;

use crate::ca::{Before, Ca, CaError, Certificate};
use crate::tokens::random;

/// The one of `folder`, and the one before it; made at the first call. The folder must exist.
///
/// Two processes that make it at once end with the same one.
pub(super) fn open_or_make(
    folder: &Path,
    now: Timestamp,
) -> Result<(Ca, Option<Before>), FolderError> {
    match open(folder) {
        Err(FolderError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {}
        done => return done,
    }
    let new = Ca::make(now).map_err(|e| FolderError::Ca(folder.to_owned(), e))?;
    keep(folder, &new.to_pem(), |draft, path| match fs::hard_link(draft, path) {
        // Another process was faster; its file counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    })?;
    open(folder)
}

/// Writes others in place of those that are there, whole or not at all.
pub(super) fn replace(folder: &Path, ca: &Ca, before: Option<&Before>) -> Result<(), FolderError> {
    let mut text = ca.to_pem();
    if let Some(Before { certificate, cross, until }) = before {
        text += &format!("{BEFORE}{until}\n{}{}", certificate.pem(), cross.pem());
    }
    keep(folder, &text, |draft, path| fs::rename(draft, path))
}

/// Those of `folder`, made before.
fn open(folder: &Path) -> Result<(Ca, Option<Before>), FolderError> {
    let path = folder.join(FILE);
    let io = |error| FolderError::Io(path.clone(), error);
    let file = File::open(&path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FolderError::Open(path, mode));
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(io)?;
    read(&text).map_err(|e| FolderError::Ca(path.clone(), e))
}

fn read(text: &str) -> Result<(Ca, Option<Before>), CaError> {
    let Some((ca, before)) = text.split_once(BEFORE) else {
        return Ok((Ca::from_pem(text)?, None));
    };
    let (until, certificates) = before.split_once('\n').ok_or(CaError::NotACertificate)?;
    let (certificate, cross) = certificates.split_once(END).ok_or(CaError::NotACertificate)?;
    let before = Before {
        certificate: Certificate::from_pem(&format!("{certificate}{END}"))?,
        cross: Certificate::from_pem(cross)?,
        until: until.parse().map_err(|_| CaError::NotACertificate)?,
    };
    Ok((Ca::from_pem(ca)?, Some(before)))
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

/// Writes a draft of the file, which `place` puts where it belongs.
fn keep(
    folder: &Path,
    text: &str,
    place: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> Result<(), FolderError> {
    let path = folder.join(FILE);
    let suffix: [u8; 8] = random().map_err(|e| FolderError::Ca(path.clone(), e.into()))?;
    let draft = folder.join(format!(".{FILE}.{}", HEXLOWER.encode(&suffix)));
    let written = write(&draft, text).and_then(|()| place(&draft, &path));
    let removed = match fs::remove_file(&draft) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    written.map_err(|e| FolderError::Io(path.clone(), e))?;
    let synced = removed.and_then(|()| File::open(folder)?.sync_all());
    synced.map_err(|e| FolderError::Io(folder.to_owned(), e))
}

fn write(draft: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

const FILE: &str = "ca.pem";
/// What stands before the end of the belief in the authority before, and its certificates.
const BEFORE: &str = "The authority before, until ";
const END: &str = "-----END CERTIFICATE-----\n";
const MOST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let (first, _) = open_or_make(folder.path(), now).unwrap();
        let (second, _) = open_or_make(folder.path(), now).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "no draft is left");
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        open_or_make(folder.path(), Timestamp::UNIX_EPOCH).unwrap();
        let path = folder.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = open(folder.path());
        assert!(matches!(refused, Err(FolderError::Open(p, 0o640)) if p == path));
    }

    #[test]
    fn a_damaged_file_is_said_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join(FILE), "nothing").unwrap();
        let refused = open_or_make(folder.path(), Timestamp::UNIX_EPOCH);
        assert!(matches!(refused, Err(FolderError::Ca(_, CaError::NotACertificate))));
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), "nothing");
    }

    #[test]
    fn many_that_make_it_at_once_end_with_one() {
        let folder = tempfile::tempdir().unwrap();
        let make = || open_or_make(folder.path(), Timestamp::UNIX_EPOCH).unwrap().0.fingerprint();
        let found = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(found.windows(2).all(|two| two[0] == two[1]), "{found:?}");
    }
}
