//! A grant: one person's permission to see the packets of some machines.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::grants::{MachineFacts, Selector, Snaplen};
use crate::names::UserName;
use crate::tokens::{NoEntropy, random};

/// One person's permission to see the packets of some machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Names it in lists and in the audit log.
    pub id: GrantId,
    /// Who has it.
    pub to: UserName,
    /// Of which machines: any that one of these selects.
    pub machines: BTreeSet<Selector>,
    /// For what.
    pub purposes: BTreeSet<Purpose>,
    /// How much of each packet.
    pub snaplen: Snaplen,
    /// How long one session may last at most; as long as the grant where `None`.
    pub longest: Option<SignedDuration>,
    /// From when it is good; from the beginning of time where `None`.
    pub from: Option<Timestamp>,
    /// When it stops being good, for running sessions too; never where `None`.
    pub until: Option<Timestamp>,
    /// Whether a reason must be given with each ask.
    pub needs_reason: bool,
    /// Who made it.
    pub made_by: UserName,
    /// When it was made.
    pub made_at: Timestamp,
    /// What for, in its maker's words; may be empty.
    pub note: String,
}

impl Grant {
    /// Whether it speaks of `machine`.
    pub fn names(&self, machine: &MachineFacts) -> bool {
        self.machines.iter().any(|selector| selector.matches(machine))
    }

    /// Whether it is good at `now`.
    pub fn is_good_at(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }

    /// Whether it is for `purpose`. Whoever may do anything with a machine may find it.
    pub fn allows(&self, purpose: Purpose) -> bool {
        self.purposes.contains(&purpose) || (purpose == Purpose::Find && !self.purposes.is_empty())
    }

    /// When a session that begins at `now` must end, as far as this grant goes.
    pub(super) fn end_of_session(&self, now: Timestamp) -> Option<Timestamp> {
        let longest = self.longest.map(|most| now.saturating_add(most).unwrap_or(now));
        longest.into_iter().chain(self.until).min()
    }
}

/// What somebody wants to do with machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To know that they exist, where they are, and where their packets could be seen.
    Find,
    /// To get their packets, live or from the flight recorder.
    Capture,
    /// To have the flight recorder keep their packets.
    Record,
    /// To have their packets sent to an analysis tool.
    Mirror,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Find, Self::Capture, Self::Record, Self::Mirror];
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Find => "find",
            Self::Capture => "capture",
            Self::Record => "record",
            Self::Mirror => "mirror",
        })
    }
}

impl FromStr for Purpose {
    type Err = PurposeError;

    fn from_str(text: &str) -> Result<Self, PurposeError> {
        Self::ALL.into_iter().find(|purpose| purpose.to_string() == text).ok_or(PurposeError)
    }
}

/// A text that is no purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a grant is for find, capture, record or mirror")]
pub struct PurposeError;

/// Names a grant: 8 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GrantId(String);

impl GrantId {
    /// A new one.
    pub fn random() -> Result<Self, NoEntropy> {
        Ok(Self(HEXLOWER.encode(&random::<4>()?)))
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GrantId {
    type Err = GrantIdError;

    fn from_str(text: &str) -> Result<Self, GrantIdError> {
        let is_digit = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
        let is_id = text.len() == 8 && text.chars().all(is_digit);
        if is_id { Ok(Self(text.to_owned())) } else { Err(GrantIdError) }
    }
}

/// A text that names no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a grant: 8 hexadecimal digits, as `overtap grants list` shows it")]
pub struct GrantIdError;

impl TryFrom<String> for GrantId {
    type Error = GrantIdError;

    fn try_from(text: String) -> Result<Self, GrantIdError> {
        text.parse()
    }
}

impl From<GrantId> for String {
    fn from(id: GrantId) -> String {
        id.0
    }
}
