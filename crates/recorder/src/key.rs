//! The host's keys: without them nothing recorded can be read.
//!
//! A key file holds one key a line, the newest first. New segments are sealed with the first; the
//! others still open what was sealed before they were replaced.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::error::KeyError;

/// A key of the host: 32 random bytes that wrap the keys of segments.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct HostKey([u8; KEY_LEN]);

impl HostKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; KEY_LEN];
        SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// Its name, which tells nothing about it.
    pub fn id(&self) -> KeyId {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"overtap recorder key id");
        context.update(&self.0);
        let digest = context.finish();
        KeyId(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }

    pub(crate) const fn of(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.id())
    }
}

impl From<HostKey> for String {
    fn from(key: HostKey) -> Self {
        show(&key.0, PREFIX)
    }
}

impl TryFrom<String> for HostKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse(&text, PREFIX).map(Self).ok_or("not a key of a recorder")
    }
}

/// The name of a key: the beginning of a hash of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(crate) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The keys of a host, the one for new segments first; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRing(Vec<HostKey>);

impl KeyRing {
    /// With one key only.
    pub fn of(key: HostKey) -> Self {
        Self(vec![key])
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When it is missing, others may read it, or it holds something else.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = read_private(path)?;
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with(crate::half::PREFIX) {
                return Err(KeyError::Half { path: path.to_owned() });
            }
            let key = HostKey::try_from(line.to_owned());
            let wrong = |_| KeyError::Line { path: path.to_owned(), line: number + 1 };
            keys.push(key.map_err(wrong)?);
        }
        if keys.is_empty() {
            return Err(KeyError::Empty { path: path.to_owned() });
        }
        Ok(Self(keys))
    }

    /// Reads a key file, or makes one with a new key if there is none. Says whether it was made.
    ///
    /// # Errors
    /// As [`KeyRing::read`]; and when it cannot be made.
    pub fn read_or_make(path: &Path) -> Result<(Self, bool), KeyError> {
        match Self::read(path) {
            Err(KeyError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                let keys = Self::of(HostKey::generate()?);
                keys.write(path)?;
                Ok((keys, true))
            }
            result => Ok((result?, false)),
        }
    }

    /// Writes the key file, readable by its owner only; the old one is there until the new one is
    /// complete.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let keys = self.0.iter().map(|key| String::from(key.clone()));
        write_private(path, &keys.collect::<Vec<_>>().join("\n"))
    }

    /// Puts a new key in front; the others stay to read what they sealed.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn add_new(&mut self) -> Result<(), KeyError> {
        self.0.insert(0, HostKey::generate()?);
        Ok(())
    }

    /// Forgets all keys but the first and those named.
    pub fn keep(&mut self, needed: &[KeyId]) {
        let first = self.first().map(HostKey::id);
        self.0.retain(|key| Some(key.id()) == first || needed.contains(&key.id()));
    }

    /// The key for new segments.
    pub fn first(&self) -> Option<&HostKey> {
        self.0.first()
    }

    /// The key with this name.
    pub fn find(&self, id: KeyId) -> Option<&HostKey> {
        self.0.iter().find(|key| key.id() == id)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// The text of a file that only its owner may read.
pub(crate) fn read_private(path: &Path) -> Result<String, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(KeyError::Open { path: path.to_owned() });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Writes a file that only its owner may read; the old one is there until the new one is complete.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    // It may have been there before, with other rights.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    writeln!(file, "{text}").map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

/// A key as it stands in a file.
pub(crate) fn show(key: &[u8; KEY_LEN], prefix: &str) -> String {
    key.iter().fold(prefix.to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// The key that stands in a text, if it is one.
pub(crate) fn parse(text: &str, prefix: &str) -> Option<[u8; KEY_LEN]> {
    let digits = text.strip_prefix(prefix)?;
    if digits.len() != 2 * KEY_LEN || !digits.is_ascii() {
        return None;
    }
    let mut key = [0; KEY_LEN];
    for (number, byte) in key.iter_mut().enumerate() {
        let pair = digits.get(2 * number..2 * number + 2)?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(key)
}

pub(crate) const KEY_LEN: usize = 32;
const PREFIX: &str = "overtap-recorder-key-1:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let (made, is_new) = KeyRing::read_or_make(&path).unwrap();
        let (read, is_new_again) = KeyRing::read_or_make(&path).unwrap();
        assert_eq!((is_new, is_new_again), (true, false));
        assert_eq!(made, read);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        KeyRing::read_or_make(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(KeyRing::read(&path), Err(KeyError::Open { .. })));
    }

    #[test]
    fn a_line_that_is_no_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let (keys, _) = KeyRing::read_or_make(&path).unwrap();
        let key = String::from(keys.first().unwrap().clone());
        for wrong in ["overtap-recorder-key-1:0", "hello", &key[..80], &key.replace(':', ";")] {
            std::fs::write(&path, format!("# mine\n{key}\n{wrong}\n")).unwrap();
            assert!(matches!(KeyRing::read(&path), Err(KeyError::Line { line: 3, .. })), "{wrong}");
        }
        std::fs::write(&path, "# nothing\n").unwrap();
        assert!(matches!(KeyRing::read(&path), Err(KeyError::Empty { .. })));
    }

    #[test]
    fn a_new_key_comes_first_and_old_ones_go_when_nothing_needs_them() {
        let mut keys = KeyRing::of(HostKey::generate().unwrap());
        let old = keys.first().unwrap().id();
        keys.add_new().unwrap();
        let new = keys.first().unwrap().id();
        assert_ne!(old, new);
        keys.keep(&[old]);
        assert!(keys.find(old).is_some());
        keys.keep(&[]);
        assert_eq!((keys.find(old), keys.count()), (None, 1));
        assert!(!format!("{keys:?}").contains(PREFIX), "a key is never printed");
    }
}
