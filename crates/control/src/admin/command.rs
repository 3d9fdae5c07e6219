//! What can be ordered.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::audit::Action;
use crate::grants::{GrantId, Purpose, Role, Selector, Snaplen};
use crate::names::{AgentId, UserName};
use crate::tokens::{ControllerAddress, TokenId};

/// An order. Its `Display` is what the audit log says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Lists all users.
    ListUsers,
    /// Makes a user. It has no token and no grant yet.
    AddUser {
        /// Its name.
        name: UserName,
        /// What it may do at all.
        role: Role,
        /// Whose it is; may be empty.
        note: String,
    },
    /// Changes what a user may do at all.
    ChangeUser {
        /// Which.
        name: UserName,
        /// Its role from now on; as it was where `None`.
        role: Option<Role>,
        /// Whether it may do anything from now on; as it was where `None`.
        is_enabled: Option<bool>,
    },
    /// Lists tokens: all for administrators, their own for others.
    ListTokens,
    /// Makes a token for a user.
    AddToken {
        /// For whom.
        user: UserName,
        /// When it stops being good; never where `None`.
        expires_at: Option<Timestamp>,
        /// Where it will be used; may be empty.
        note: String,
    },
    /// Makes a token that lets agents in.
    Invite(NewInvitation),
    /// Removes a token of either kind.
    RemoveToken {
        /// Which.
        id: TokenId,
    },
    /// Lists grants: all for administrators, their own for others.
    ListGrants,
    /// Makes a grant.
    AddGrant(NewGrant),
    /// Removes a grant. Sessions that stand on it end.
    RemoveGrant {
        /// Which.
        id: GrantId,
    },
    /// Lists agents.
    ListAgents,
    /// Removes an agent and revokes its certificates.
    RemoveAgent {
        /// Which.
        id: AgentId,
        /// Why; may be empty.
        reason: String,
    },
    /// Makes everything unreadable that an agent's recorder has recorded until now, for ever.
    RevokeRecorder {
        /// Whose.
        id: AgentId,
        /// Why; may be empty.
        reason: String,
    },
    /// Shows the controller's authority.
    ShowAuthority,
    /// Puts a new authority in the place of the controller's.
    RotateAuthority {
        /// Until when the one before is believed at least.
        until: Timestamp,
        /// Why; may be empty.
        reason: String,
    },
    /// Believes the authority before no more.
    RetireAuthority {
        /// Whether agents that have not renewed yet are left behind.
        is_forced: bool,
        /// Why; may be empty.
        reason: String,
    },
}

/// What a token for agents shall be good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// Where the agents reach the controller.
    pub address: ControllerAddress,
    /// The one agent it is for; any where `None`.
    pub agent: Option<AgentId>,
    /// How many agents may enrol with it.
    pub uses: u32,
    /// When it stops being good.
    pub expires_at: Timestamp,
    /// What it is for; may be empty.
    pub note: String,
}

/// What a grant shall allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// Who gets it.
    pub to: UserName,
    /// Of which machines; one selector at least.
    pub machines: BTreeSet<Selector>,
    /// For what; one purpose at least.
    pub purposes: BTreeSet<Purpose>,
    /// How much of each packet.
    pub snaplen: Snaplen,
    /// How long one session may last at most.
    pub longest: Option<SignedDuration>,
    /// From when it is good; at once where `None`.
    pub from: Option<Timestamp>,
    /// When it stops being good; never where `None`.
    pub until: Option<Timestamp>,
    /// Whether a reason must be given with each ask.
    pub needs_reason: bool,
    /// What for; may be empty.
    pub note: String,
}

impl Command {
    /// Whether users who administer nothing may order it, for what is their own.
    pub(super) const fn is_for_everyone(&self) -> bool {
        matches!(self, Self::ListTokens | Self::ListGrants | Self::RemoveToken { .. })
    }

    pub(super) const fn action(&self) -> Action {
        match self {
            Self::ListUsers | Self::AddUser { .. } | Self::ChangeUser { .. } => Action::User,
            Self::ListTokens
            | Self::AddToken { .. }
            | Self::Invite(_)
            | Self::RemoveToken { .. } => Action::Token,
            Self::ListGrants | Self::AddGrant(_) | Self::RemoveGrant { .. } => Action::Grant,
            Self::ListAgents | Self::RemoveAgent { .. } | Self::RevokeRecorder { .. } => {
                Action::Agent
            }
            Self::ShowAuthority | Self::RotateAuthority { .. } | Self::RetireAuthority { .. } => {
                Action::Setting
            }
        }
    }

    pub(super) fn reason(&self) -> &str {
        match self {
            Self::RemoveAgent { reason, .. }
            | Self::RevokeRecorder { reason, .. }
            | Self::RotateAuthority { reason, .. }
            | Self::RetireAuthority { reason, .. } => reason,
            _ => "",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListUsers => f.write_str("list users"),
            Self::AddUser { name, role, .. } => write!(f, "add user {name} as {role}"),
            Self::ChangeUser { name, role, is_enabled } => {
                write!(f, "change user {name}:")?;
                if let Some(role) = role {
                    write!(f, " {role}")?;
                }
                match is_enabled {
                    Some(true) => f.write_str(" enabled"),
                    Some(false) => f.write_str(" disabled"),
                    None => Ok(()),
                }
            }
            Self::ListTokens => f.write_str("list tokens"),
            Self::AddToken { user, expires_at, .. } => {
                write!(f, "add token for user {user}{}", until(*expires_at))
            }
            Self::Invite(new) => {
                let agents = match &new.agent {
                    Some(agent) => format!("agent {agent}"),
                    None => format!("{} agents", new.uses),
                };
                write!(f, "invite {agents}{}", until(Some(new.expires_at)))
            }
            Self::RemoveToken { id } => write!(f, "remove token {id}"),
            Self::ListGrants => f.write_str("list grants"),
            Self::AddGrant(new) => write!(f, "add grant: {new}"),
            Self::RemoveGrant { id } => write!(f, "remove grant {id}"),
            Self::ListAgents => f.write_str("list agents"),
            Self::RemoveAgent { id, .. } => write!(f, "remove agent {id}"),
            Self::RevokeRecorder { id, .. } => write!(f, "revoke the recorder key of agent {id}"),
            Self::ShowAuthority => f.write_str("show the authority"),
            Self::RotateAuthority { until, .. } => {
                write!(f, "rotate the authority, the one before until {until}")
            }
            Self::RetireAuthority { is_forced, .. } => {
                let forced = if *is_forced { ", by force" } else { "" };
                write!(f, "retire the authority before{forced}")
            }
        }
    }
}

impl fmt::Display for NewGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, snaplen, .. } = self;
        let purposes = listed(&self.purposes);
        write!(f, "{to} may {purposes} {}, snaplen {snaplen}", listed(&self.machines))?;
        if let Some(from) = self.from {
            write!(f, ", from {from}")?;
        }
        if let Some(longest) = self.longest {
            write!(f, ", {longest:#} at a time")?;
        }
        if self.needs_reason {
            f.write_str(", with a reason")?;
        }
        f.write_str(&until(self.until))
    }
}

fn until(time: Option<Timestamp>) -> String {
    time.map_or_else(String::new, |time| format!(", until {time}"))
}

fn listed<T: ToString>(items: &BTreeSet<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
