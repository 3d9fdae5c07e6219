//! What is answered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ca::Fingerprint;
use crate::enrolled::Enrolled;
use crate::grants::{Grant, User};
use crate::names::{AgentId, UserName};
use crate::tokens::{Enrolment, TokenId, UserCredential};

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It was done.
    Done,
    /// A token was made. This is the only time it is shown.
    Made(Made),
    /// Users, by name.
    Users(Vec<UserRow>),
    /// Tokens: of users, then of agents, by id.
    Tokens(Vec<TokenRow>),
    /// Grants, by id; the one that was made after `AddGrant`.
    Grants(Vec<Grant>),
    /// Agents, by name.
    Agents(Vec<Enrolled>),
    /// The authority, as it is now.
    Authority(AuthorityRow),
}

/// The controller's authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityRow {
    /// By which it is known.
    pub fingerprint: Fingerprint,
    /// When it ends by itself.
    pub not_after: Timestamp,
    /// The one before, while it is still believed.
    pub before: Option<BeforeRow>,
}

/// An authority that will be retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeforeRow {
    /// By which it is known.
    pub fingerprint: Fingerprint,
    /// Until when it is believed at least.
    pub until: Timestamp,
    /// Agents that have no certificate of the new authority yet.
    pub behind: Vec<AgentId>,
}

/// A token that was made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Its public half.
    pub id: TokenId,
    /// The line to paste, with the secret.
    pub token: String,
    /// When it stops being good; never where `None`.
    pub expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Made({})", self.id)
    }
}

/// A user in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// The account.
    #[serde(flatten)]
    pub user: User,
    /// How many tokens it has.
    pub tokens: usize,
    /// How many grants it has.
    pub grants: usize,
}

/// A token in a list. It has no secret, and not its hash either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Its public half.
    pub id: TokenId,
    /// What it opens.
    #[serde(flatten)]
    pub kind: TokenKind,
    /// Who made it.
    pub made_by: UserName,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it stops being good; never where `None`.
    pub expires_at: Option<Timestamp>,
    /// What it is for, in its maker's words; may be empty.
    pub note: String,
}

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TokenKind {
    /// It lets somebody act as this user.
    User {
        /// As whom.
        user: UserName,
    },
    /// It lets hosts become agents.
    Enrolment {
        /// The one agent it is for; any where `None`.
        agent: Option<AgentId>,
        /// How many agents may still enrol with it.
        uses_left: u32,
    },
}

impl TokenRow {
    pub(super) fn of_user(token: UserCredential) -> Self {
        let UserCredential { id, hash: _, user, made_by, made_at, expires_at, note } = token;
        Self { id, kind: TokenKind::User { user }, made_by, made_at, expires_at, note }
    }

    pub(super) fn of_agent(token: Enrolment) -> Self {
        let Enrolment { id, hash: _, made_by, made_at, expires_at, uses_left, agent, note } = token;
        let kind = TokenKind::Enrolment { agent, uses_left };
        Self { id, kind, made_by, made_at, expires_at: Some(expires_at), note }
    }
}
