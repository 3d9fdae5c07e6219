//! Users, and what their role lets them do at all.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::grants::Purpose;
use crate::names::UserName;

/// A local account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Its name.
    pub name: UserName,
    /// What it may do at all.
    pub role: Role,
    /// Whether it may do anything now. An account is disabled rather than removed, so that the
    /// audit log keeps meaning somebody.
    pub is_enabled: bool,
    /// Who made it.
    pub made_by: UserName,
    /// When it was made.
    pub made_at: Timestamp,
    /// Whose it is, in its maker's words; may be empty.
    pub note: String,
}

/// What a user may do at all. Packets need a grant besides, whatever the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Finds machines, looks at plans and at its own sessions.
    Viewer,
    /// Also captures, records and mirrors, and ends its own sessions.
    Operator,
    /// Also manages users, tokens, grants and agents, ends any session and reads the audit log.
    Admin,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Whether it may do `purpose` where a grant allows it.
    pub const fn may(self, purpose: Purpose) -> bool {
        match self {
            Self::Viewer => matches!(purpose, Purpose::Find),
            Self::Operator | Self::Admin => true,
        }
    }

    /// Whether it may manage users, tokens, grants and agents, end the sessions of others and read
    /// the audit log.
    pub const fn administers(self) -> bool {
        matches!(self, Self::Admin)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.to_string() == text).ok_or(RoleError)
    }
}

/// A text that is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of viewer, operator, admin")]
pub struct RoleError;
