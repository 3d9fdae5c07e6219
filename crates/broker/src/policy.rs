//! What is done for one tool: which packets it wants of those it may have, and in what shape.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::Strip;

use crate::Mask;

/// Which packets a tool wants, and what becomes of each, in this order: selected, of several copies
/// one kept, sampled, headers stripped, fields masked, sliced, fitted into the MTU, held to the
/// rate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Only these packets, in the filter language; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// Only the first of several copies of a packet, as seen at different points.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dedup: bool,
    /// One packet of so many, counted; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<NonZeroU32>,
    /// Headers that are taken off.
    #[serde(default, with = "written", skip_serializing_if = "Option::is_none")]
    pub strip: Option<Strip>,
    /// Fields that are zeroed.
    #[serde(default, with = "written", skip_serializing_if = "Option::is_none")]
    pub mask: Option<Mask>,
    /// How much of each packet is kept.
    #[serde(default, with = "written", skip_serializing_if = "Option::is_none")]
    pub slice: Option<Slice>,
    /// What becomes of a copy that is larger than the way to the tool takes.
    #[serde(default)]
    pub oversized: Oversized,
    /// Most bits per second it is sent, encapsulation included; `None` for as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<NonZeroU64>,
}

/// How much of each packet is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// The first so many bytes.
    Bytes(NonZeroU32),
    /// All headers, and so many bytes behind the last.
    AfterHeaders(u32),
}

impl FromStr for Slice {
    type Err = NotASlice;

    /// Reads `128`, or `headers`, or `headers+32`.
    fn from_str(text: &str) -> Result<Self, NotASlice> {
        let Some(more) = text.strip_prefix("headers") else {
            return text.parse().map(Self::Bytes).map_err(|_| NotASlice);
        };
        if more.is_empty() {
            return Ok(Self::AfterHeaders(0));
        }
        let bytes = more.strip_prefix('+').ok_or(NotASlice)?;
        bytes.parse().map(Self::AfterHeaders).map_err(|_| NotASlice)
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::AfterHeaders(0) => f.write_str("headers"),
            Self::AfterHeaders(more) => write!(f, "headers+{more}"),
        }
    }
}

/// The text does not say how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotASlice;

impl fmt::Display for NotASlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a slice: expected bytes, as 128, or `headers`, or `headers+32`")
    }
}

impl std::error::Error for NotASlice {}

/// What becomes of a copy that is larger than the way to the tool takes. IP fragments never are
/// an answer: switches and tools drop them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Oversized {
    /// It is cut to what fits; where the encapsulation can say that it was, it does.
    #[default]
    Slice,
    /// A TCP super-frame is cut into the segments that a network card would have made of it;
    /// anything else is sliced.
    Segment,
    /// It is not sent.
    Refuse,
}

impl fmt::Display for Oversized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slice => "slice",
            Self::Segment => "segment",
            Self::Refuse => "refuse",
        })
    }
}

// serde hands a reference to `skip_serializing_if`.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Values that are written as the words a person types.
mod written {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    // serde hands a reference to the field.
    #[allow(clippy::ref_option)]
    pub(super) fn serialize<T, S>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error>
    where
        T: Display,
        S: Serializer,
    {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}
