//! How much of each packet.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most bytes of a packet that may be kept, from its first one; more is wider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Snaplen(u32);

impl Snaplen {
    /// Headers only: 128 bytes.
    ///
    /// Room for Ethernet with two tags, IPv6 and TCP with all its options (122 bytes), or for VXLAN
    /// over IPv4 and the inner Ethernet, IPv4 and TCP with time stamps (116). Of a short header the
    /// beginning of the payload is kept as well: 74 bytes at most behind Ethernet, IPv4 and TCP.
    pub const HEADERS: Self = Self(128);

    /// Whole packets, however long.
    pub const WHOLE: Self = Self(u32::MAX);

    /// Returns `None` for 0, which keeps nothing.
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes > 0 { Some(Self(bytes)) } else { None }
    }

    /// The bytes, `u32::MAX` for [`Self::WHOLE`].
    pub const fn bytes(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Snaplen {
    /// A number of bytes, or `whole`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WHOLE => f.write_str("whole"),
            Self(bytes) => write!(f, "{bytes}"),
        }
    }
}

impl FromStr for Snaplen {
    type Err = SnaplenError;

    /// Reads a number of bytes, `headers` or `whole`.
    fn from_str(text: &str) -> Result<Self, SnaplenError> {
        match text {
            "whole" => Ok(Self::WHOLE),
            "headers" => Ok(Self::HEADERS),
            number => number.parse().ok().and_then(Self::new).ok_or(SnaplenError),
        }
    }
}

impl TryFrom<String> for Snaplen {
    type Error = SnaplenError;

    fn try_from(text: String) -> Result<Self, SnaplenError> {
        text.parse()
    }
}

impl From<Snaplen> for String {
    fn from(snaplen: Snaplen) -> String {
        snaplen.to_string()
    }
}

/// A text that is no snaplen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a snaplen is a number of bytes from 1, `headers` (128) or `whole`")]
pub struct SnaplenError;
