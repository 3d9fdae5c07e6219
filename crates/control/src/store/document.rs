//! Documents: what a store keeps, and how it is changed.

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ca::Revocation;
use crate::grants::{Grant, User};
use crate::store::StoreError;
use crate::tokens::{Enrolment, UserCredential};

/// What a document is about. Its word is part of the store's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A capture agent, by its name.
    Agent,
    /// An enrolment token, by its id.
    Enrolment,
    /// A user, by name.
    User,
    /// A user token, by its id.
    UserToken,
    /// A grant, by its id.
    Grant,
    /// A capture session, by its id.
    Session,
    /// A revoked certificate, by its serial number.
    Revocation,
    /// A setting, by its name.
    Setting,
    /// Our half of the key of an agent's recorder, by the agent's name.
    RecorderKey,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Agent,
        Self::Enrolment,
        Self::User,
        Self::UserToken,
        Self::Grant,
        Self::Session,
        Self::Revocation,
        Self::Setting,
        Self::RecorderKey,
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Enrolment => "enrolment",
            Self::User => "user",
            Self::UserToken => "user-token",
            Self::Grant => "grant",
            Self::Session => "session",
            Self::Revocation => "revocation",
            Self::Setting => "setting",
            Self::RecorderKey => "recorder-key",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The number of a commit. Later commits have larger ones, in one store for ever: a document that
/// was removed and made again never has a version it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Version {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A document as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is about.
    pub kind: Kind,
    /// Which one.
    pub key: String,
    /// The commit that wrote it.
    pub version: Version,
    /// Its text, JSON.
    pub body: String,
}

/// A type that is kept as documents of one kind.
pub trait Stored: Serialize + DeserializeOwned {
    /// What its documents are about.
    const KIND: Kind;

    /// Which of them this is.
    fn key(&self) -> String;
}

macro_rules! stored {
    ($($type:ty, $kind:ident, $key:ident;)*) => {
        $(impl Stored for $type {
            const KIND: Kind = Kind::$kind;

            fn key(&self) -> String {
                self.$key.to_string()
            }
        })*
    };
}

stored! {
    Enrolment, Enrolment, id;
    User, User, name;
    UserCredential, UserToken, id;
    Grant, Grant, id;
    Revocation, Revocation, serial;
}

/// A value, and the version of the document it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The commit that wrote it.
    pub version: Version,
    /// The value.
    pub value: T,
}

impl<T: Stored> Versioned<T> {
    pub(super) fn read(document: &Document) -> Result<Self, StoreError> {
        let value = serde_json::from_str(&document.body).map_err(|because| StoreError::Body {
            kind: document.kind,
            key: document.key.clone(),
            because,
        })?;
        Ok(Self { version: document.version, value })
    }
}

/// What must be true of a document for a change of it to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: whatever is there is replaced.
    Anything,
    /// There is none.
    Absent,
    /// It is the one of this version.
    Version(Version),
}

impl Expected {
    /// Whether `found` is as expected.
    pub(super) fn is_met_by(self, found: Option<Version>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => found.is_none(),
            Self::Version(version) => found == Some(version),
        }
    }
}

/// A document to be written or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    kind: Kind,
    key: String,
    expected: Expected,
    body: Option<String>,
}

impl Change {
    /// Writes `value`.
    pub fn put<T: Stored>(value: &T, expected: Expected) -> Result<Self, StoreError> {
        let key = value.key();
        let body = serde_json::to_string(value);
        let body =
            body.map_err(|because| StoreError::Body { kind: T::KIND, key: key.clone(), because })?;
        Self::write(T::KIND, key, body, expected)
    }

    /// Writes `body`, which is JSON.
    pub fn write(
        kind: Kind,
        key: String,
        body: String,
        expected: Expected,
    ) -> Result<Self, StoreError> {
        if body.len() > MOST_BODY_BYTES {
            return Err(StoreError::TooLarge { kind, key, bytes: body.len() });
        }
        Self::new(kind, key, expected, Some(body))
    }

    /// Removes a document; one that is not there is no fault unless it is expected.
    pub fn remove(kind: Kind, key: String, expected: Expected) -> Result<Self, StoreError> {
        Self::new(kind, key, expected, None)
    }

    fn new(
        kind: Kind,
        key: String,
        expected: Expected,
        body: Option<String>,
    ) -> Result<Self, StoreError> {
        if !matches!(key.len(), 1..=MOST_KEY_BYTES) || key.contains(char::is_control) {
            return Err(StoreError::Key);
        }
        Ok(Self { kind, key, expected, body })
    }

    /// What the document is about.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Which one.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What it shall be; removed where `None`.
    pub fn body(&self) -> Option<&str> {
        self.body.as_deref()
    }

    /// Says no unless the document is as it was expected to be.
    pub(super) fn check(&self, found: Option<Version>) -> Result<(), StoreError> {
        if self.expected.is_met_by(found) {
            Ok(())
        } else {
            Err(StoreError::Conflict { kind: self.kind, key: self.key.clone() })
        }
    }
}

const MOST_KEY_BYTES: usize = 512;
const MOST_BODY_BYTES: usize = 1 << 20;
