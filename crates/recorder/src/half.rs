//! A key in two halves: one in a file of the host, one with somebody who can take it away.
//!
//! The key that seals segments is made of both and is nowhere but in memory. Without the file the
//! other half opens nothing; without the other half neither the file nor the whole disk does.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use ring::hmac;

use crate::error::KeyError;
use crate::key::{HostKey, KEY_LEN, KeyRing, parse, read_private, show, write_private};

/// The half that stays on the host, in a file of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct HostHalf([u8; KEY_LEN]);

/// The half that somebody else keeps.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptHalf([u8; KEY_LEN]);

impl HostHalf {
    /// Reads the file, or makes one if there is none.
    ///
    /// # Errors
    /// When others may read it, it holds something else, or it cannot be made.
    pub fn read_or_make(path: &Path) -> Result<Self, KeyError> {
        match read_private(path) {
            Ok(text) => {
                let half = parse(text.trim(), PREFIX).map(Self);
                half.ok_or_else(|| KeyError::Line { path: path.to_owned(), line: 1 })
            }
            Err(KeyError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                let half = Self(*HostKey::generate()?.bytes());
                write_private(path, &show(&half.0, PREFIX))?;
                Ok(half)
            }
            Err(error) => Err(error),
        }
    }

    /// The key that both halves make.
    pub fn with(&self, other: &KeptHalf) -> KeyRing {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(b"overtap recorder key of two halves");
        context.update(&other.0);
        let tag = context.sign();
        // HMAC-SHA256 has 32 bytes, as a key has.
        KeyRing::of(HostKey::of(tag.as_ref().first_chunk().copied().unwrap_or_default()))
    }
}

impl KeptHalf {
    /// Of 32 random bytes.
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes. Secret: beside the other half they open everything.
    pub const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for HostHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostHalf")
    }
}

impl fmt::Debug for KeptHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptHalf")
    }
}

pub(crate) const PREFIX: &str = "overtap-recorder-half-1:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_make_the_key_and_neither_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("half");
        let half = HostHalf::read_or_make(&path).unwrap();
        assert_eq!(HostHalf::read_or_make(&path).unwrap(), half, "it is made once");
        let kept = KeptHalf::new([7; KEY_LEN]);
        let id = |ring: KeyRing| ring.first().unwrap().id();
        assert_eq!(id(half.with(&kept)), id(half.with(&kept)));
        assert_ne!(id(half.with(&kept)), id(half.with(&KeptHalf::new([8; KEY_LEN]))));
        let other = HostHalf::read_or_make(&folder.path().join("other")).unwrap();
        assert_ne!(id(half.with(&kept)), id(other.with(&kept)));
    }

    #[test]
    fn half_a_key_is_no_key_and_a_key_is_no_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        HostHalf::read_or_make(&path).unwrap();
        assert!(matches!(KeyRing::read(&path), Err(KeyError::Half { .. })));
        std::fs::remove_file(&path).unwrap();
        KeyRing::read_or_make(&path).unwrap();
        assert!(matches!(HostHalf::read_or_make(&path), Err(KeyError::Line { .. })));
    }
}
