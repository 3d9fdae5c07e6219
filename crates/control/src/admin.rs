//! What administrators do: users, tokens, grants, agents.
//!
//! A [`Command`] is carried out whole and with its audit entry, or refused with one. Users who
//! administer nothing see their own tokens and grants, remove their own tokens, and no more.

mod command;
mod rows;

use jiff::Timestamp;

use crate::audit::{Action, Answer, Draft, Who};
use crate::belonging::Belonging;
use crate::ca::{Authority, Fingerprint, RotationError};
use crate::enrolled::Enrolled;
use crate::grants::{Grant, GrantId, Role, User};
use crate::names::{AgentId, UserName};
use crate::recorder_key::RecorderKey;
use crate::store::{Change, Expected, Kind, Store, StoreError, Stored, Versioned};
use crate::tokens::{Enrolment, EnrolmentTerms, NoEntropy, TokenId, UserCredential, UserToken};

pub use command::{Command, NewGrant, NewInvitation};
pub use rows::{AuthorityRow, BeforeRow, Made, Reply, TokenKind, TokenRow, UserRow};

/// Carries out what one user orders.
pub struct Office<'a> {
    /// Where everything is kept.
    pub store: &'a dyn Store,
    /// The controller's authority.
    pub authority: &'a Authority,
    /// Who orders.
    pub by: &'a User,
    /// From where, for the audit log.
    pub from: &'a str,
    /// When.
    pub now: Timestamp,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer.
    pub reply: Reply,
    /// Which agent must hear of it.
    pub over: Option<Over>,
}

/// What is no longer so at an agent. Sessions and streams that stand on a user, a token or a grant
/// hear of their end from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// This agent is no more.
    Agent(AgentId),
    /// What this agent has recorded can be read no more; its recorder has another key.
    Recorder(AgentId),
}

impl Office<'_> {
    /// Carries out `command`. Refusals are in the audit log when this returns.
    pub fn act(&self, command: &Command) -> Result<Outcome, AdminError> {
        let done = self.attempt(command);
        if let Err(error) = &done {
            let because = error.to_string();
            let answer = match error {
                AdminError::Store(_) | AdminError::NoEntropy(_) => Answer::Failed { because },
                _ => Answer::Refused { because },
            };
            self.store.commit(&[], &[self.entry(command, answer)])?;
        }
        done
    }

    fn attempt(&self, command: &Command) -> Result<Outcome, AdminError> {
        if !self.by.role.administers() && !command.is_for_everyone() {
            return Err(AdminError::NotAdmin(self.by.role));
        }
        let mut over = None;
        let reply = match command {
            Command::ListUsers => Reply::Users(self.users()?),
            Command::AddUser { name, role, note } => self.add_user(command, name, *role, note)?,
            Command::ChangeUser { name, role, is_enabled } => {
                self.change_user(command, name, *role, *is_enabled)?;
                Reply::Done
            }
            Command::ListTokens => Reply::Tokens(self.tokens()?),
            Command::AddToken { user, expires_at, note } => {
                self.add_token(command, user, *expires_at, note)?
            }
            Command::Invite(terms) => self.invite(command, terms)?,
            Command::RemoveToken { id } => self.remove_token(command, *id)?,
            Command::ListGrants => Reply::Grants(self.grants()?),
            Command::AddGrant(grant) => self.add_grant(command, grant)?,
            Command::RemoveGrant { id } => {
                self.found::<Grant>(id)?;
                let change = Change::remove(Kind::Grant, id.to_string(), Expected::Anything)?;
                self.commit(command, &[change])?;
                Reply::Done
            }
            Command::ListAgents => {
                Reply::Agents(self.store.all()?.into_iter().map(|agent| agent.value).collect())
            }
            Command::RemoveAgent { id, reason } => {
                self.remove_agent(command, id, reason)?;
                over = Some(Over::Agent(id.clone()));
                Reply::Done
            }
            Command::RevokeRecorder { id, .. } => {
                self.found::<RecorderKey>(id)?;
                let new = RecorderKey::make(id.clone(), self.now)?;
                self.commit(command, &[Change::put(&new, Expected::Anything)?])?;
                over = Some(Over::Recorder(id.clone()));
                Reply::Done
            }
            Command::ShowAuthority => Reply::Authority(self.authority()?),
            Command::RotateAuthority { until, .. } => {
                self.rotate_authority(command, *until)?;
                Reply::Authority(self.authority()?)
            }
            Command::RetireAuthority { is_forced, .. } => {
                self.retire_authority(command, *is_forced)?;
                Reply::Authority(self.authority()?)
            }
        };
        Ok(Outcome { reply, over })
    }

    fn users(&self) -> Result<Vec<UserRow>, AdminError> {
        let tokens = self.store.all::<UserCredential>()?;
        let grants = self.store.all::<Grant>()?;
        let row = |user: Versioned<User>| UserRow {
            tokens: tokens.iter().filter(|token| token.value.user == user.value.name).count(),
            grants: grants.iter().filter(|grant| grant.value.to == user.value.name).count(),
            user: user.value,
        };
        Ok(self.store.all::<User>()?.into_iter().map(row).collect())
    }

    fn add_user(
        &self,
        command: &Command,
        name: &UserName,
        role: Role,
        note: &str,
    ) -> Result<Reply, AdminError> {
        let user = User {
            name: name.clone(),
            role,
            is_enabled: true,
            made_by: self.by.name.clone(),
            made_at: self.now,
            note: note.to_owned(),
        };
        if self.store.one::<User>(name.as_str())?.is_some() {
            return Err(AdminError::Exists { kind: Kind::User, key: name.to_string() });
        }
        self.commit(command, &[Change::put(&user, Expected::Absent)?])?;
        Ok(Reply::Done)
    }

    fn change_user(
        &self,
        command: &Command,
        name: &UserName,
        role: Option<Role>,
        is_enabled: Option<bool>,
    ) -> Result<(), AdminError> {
        let found = self.found::<User>(name)?;
        let mut user = found.value.clone();
        user.role = role.unwrap_or(user.role);
        user.is_enabled = is_enabled.unwrap_or(user.is_enabled);
        let administers = |user: &User| user.is_enabled && user.role.administers();
        if administers(&found.value) && !administers(&user) {
            let others = self.store.all::<User>()?;
            let is_last = !others.iter().any(|o| o.value.name != *name && administers(&o.value));
            if is_last {
                return Err(AdminError::LastAdmin(name.clone()));
            }
        }
        self.commit(command, &[Change::put(&user, Expected::Version(found.version))?])
    }

    fn tokens(&self) -> Result<Vec<TokenRow>, AdminError> {
        let all = self.by.role.administers();
        let credentials = self.store.all::<UserCredential>()?.into_iter();
        let own = credentials.filter(|token| all || token.value.user == self.by.name);
        let mut rows: Vec<TokenRow> = own.map(|token| TokenRow::of_user(token.value)).collect();
        if all {
            let invitations = self.store.all::<Enrolment>()?.into_iter();
            rows.extend(invitations.map(|token| TokenRow::of_agent(token.value)));
        }
        Ok(rows)
    }

    fn add_token(
        &self,
        command: &Command,
        user: &UserName,
        expires_at: Option<Timestamp>,
        note: &str,
    ) -> Result<Reply, AdminError> {
        self.found::<User>(user)?;
        self.is_ahead(expires_at)?;
        let (user, by) = (user.clone(), self.by.name.clone());
        let (token, credential) =
            UserCredential::issue(user, by, expires_at, note.to_owned(), self.now)?;
        self.commit(command, &[Change::put(&credential, Expected::Absent)?])?;
        let made = Made { id: token.id, token: token.to_string(), expires_at };
        Ok(Reply::Made(made))
    }

    fn invite(&self, command: &Command, new: &NewInvitation) -> Result<Reply, AdminError> {
        self.is_ahead(Some(new.expires_at))?;
        if new.uses == 0 {
            return Err(AdminError::NoUse);
        }
        let terms = EnrolmentTerms {
            made_by: self.by.name.clone(),
            expires_at: new.expires_at,
            uses: new.uses,
            agent: new.agent.clone(),
            note: new.note.clone(),
        };
        let (token, kept) = Enrolment::issue(
            terms,
            new.address.clone(),
            self.authority.now().ca.fingerprint(),
            self.now,
        )?;
        self.commit(command, &[Change::put(&kept, Expected::Absent)?])?;
        let (id, expires_at) = (token.id, Some(new.expires_at));
        Ok(Reply::Made(Made { id, token: token.to_string(), expires_at }))
    }

    fn remove_token(&self, command: &Command, id: TokenId) -> Result<Reply, AdminError> {
        let key = id.to_string();
        let credential = self.store.one::<UserCredential>(&key)?;
        let kind = match credential {
            Some(token) if self.by.role.administers() || token.value.user == self.by.name => {
                Kind::UserToken
            }
            None if self.by.role.administers() && self.store.one::<Enrolment>(&key)?.is_some() => {
                Kind::Enrolment
            }
            // Nobody learns of the tokens of others.
            _ => return Err(AdminError::Unknown { kind: Kind::UserToken, key }),
        };
        self.commit(command, &[Change::remove(kind, key, Expected::Anything)?])?;
        Ok(Reply::Done)
    }

    fn grants(&self) -> Result<Vec<Grant>, AdminError> {
        let all = self.store.all::<Grant>()?.into_iter().map(|grant| grant.value);
        let administers = self.by.role.administers();
        Ok(all.filter(|grant| administers || grant.to == self.by.name).collect())
    }

    fn add_grant(&self, command: &Command, new: &NewGrant) -> Result<Reply, AdminError> {
        self.found::<User>(&new.to)?;
        self.is_ahead(new.until)?;
        let is_empty_span =
            matches!((new.from, new.until), (Some(from), Some(until)) if until <= from);
        let is_no_time = new.longest.is_some_and(|longest| !longest.is_positive());
        if new.machines.is_empty() || new.purposes.is_empty() || is_empty_span || is_no_time {
            return Err(AdminError::EmptyGrant);
        }
        let grant = Grant {
            id: GrantId::random()?,
            to: new.to.clone(),
            machines: new.machines.clone(),
            purposes: new.purposes.clone(),
            snaplen: new.snaplen,
            longest: new.longest,
            from: new.from,
            until: new.until,
            needs_reason: new.needs_reason,
            made_by: self.by.name.clone(),
            made_at: self.now,
            note: new.note.clone(),
        };
        self.commit(command, &[Change::put(&grant, Expected::Absent)?])?;
        Ok(Reply::Grants(vec![grant]))
    }

    /// Its certificates are worth nothing from here on; the name is free again.
    fn remove_agent(
        &self,
        command: &Command,
        id: &AgentId,
        reason: &str,
    ) -> Result<(), AdminError> {
        let found = self.found::<Enrolled>(id)?;
        let expected = Expected::Version(found.version);
        let mut changes = vec![Change::remove(Kind::Agent, id.to_string(), expected)?];
        if self.store.one::<RecorderKey>(id.as_str())?.is_some() {
            // What it has recorded shall not be readable once nobody answers for it.
            changes.push(Change::remove(Kind::RecorderKey, id.to_string(), Expected::Anything)?);
        }
        for revocation in found.value.revocations(&self.by.name, reason, self.now) {
            changes.push(Change::put(&revocation, Expected::Anything)?);
        }
        self.commit(command, &changes)
    }

    fn authority(&self) -> Result<AuthorityRow, AdminError> {
        let standing = self.authority.now();
        let certificate = standing.ca.certificate();
        let before = standing.before.as_ref().map(|before| {
            let behind = behind(self.store, certificate.fingerprint(), self.now)?;
            let fingerprint = before.certificate.fingerprint();
            Ok::<_, StoreError>(BeforeRow { fingerprint, until: before.until, behind })
        });
        Ok(AuthorityRow {
            fingerprint: certificate.fingerprint(),
            not_after: certificate.not_after(),
            before: before.transpose()?,
        })
    }

    fn rotate_authority(&self, command: &Command, until: Timestamp) -> Result<(), AdminError> {
        let now = self.authority.now().ca.fingerprint();
        let next = self.authority.prepare(until, self.now)?;
        // In the log before it is so: nothing is done that is not there.
        let entry = self.entry(command, Answer::Granted);
        let subject = format!("{}: {} takes the place of {now}", entry.subject, next.fingerprint());
        let belonging = Belonging { authority: next.fingerprint() };
        let change = Change::put(&belonging, Expected::Anything)?;
        self.store.commit(&[change], &[Draft { subject, ..entry }])?;
        Ok(self.authority.install(next)?)
    }

    fn retire_authority(&self, command: &Command, is_forced: bool) -> Result<(), AdminError> {
        let standing = self.authority.now();
        if standing.before.is_none() {
            return Err(RotationError::None.into());
        }
        let behind = behind(self.store, standing.ca.fingerprint(), self.now)?;
        if !is_forced && !behind.is_empty() {
            return Err(AdminError::Behind(behind));
        }
        self.commit(command, &[])?;
        Ok(self.authority.retire(self.now)?)
    }

    fn is_ahead(&self, time: Option<Timestamp>) -> Result<(), AdminError> {
        match time {
            Some(time) if time <= self.now => Err(AdminError::Past(time)),
            _ => Ok(()),
        }
    }

    fn found<T: Stored>(&self, key: &impl ToString) -> Result<Versioned<T>, AdminError> {
        let key = key.to_string();
        let found = self.store.one(&key)?;
        found.ok_or(AdminError::Unknown { kind: T::KIND, key })
    }

    fn commit(&self, command: &Command, changes: &[Change]) -> Result<(), AdminError> {
        self.store.commit(changes, &[self.entry(command, Answer::Granted)])?;
        Ok(())
    }

    fn entry(&self, command: &Command, answer: Answer) -> Draft {
        Draft {
            at: self.now,
            who: Who::User(self.by.name.clone()),
            from: self.from.to_owned(),
            action: command.action(),
            subject: command.to_string(),
            machines: Vec::new(),
            answer,
            reason: command.reason().to_owned(),
        }
    }
}

/// The agents that are lost if every authority but `authority` is retired now.
pub(crate) fn behind(
    store: &dyn Store,
    authority: Fingerprint,
    now: Timestamp,
) -> Result<Vec<AgentId>, StoreError> {
    let agents = store.all::<Enrolled>()?.into_iter().map(|agent| agent.value);
    Ok(agents.filter(|agent| agent.is_behind(authority, now)).map(|agent| agent.id).collect())
}

/// Makes the first administrator, where there is no user yet, and a token for it.
///
/// It may see no packet until it grants itself that, which the audit log shows.
pub fn first_admin(
    store: &dyn Store,
    name: UserName,
    now: Timestamp,
) -> Result<Option<UserToken>, AdminError> {
    if !store.list(Kind::User)?.is_empty() {
        return Ok(None);
    }
    let by = name.clone();
    let note = "the first one".to_owned();
    let user = User {
        name,
        role: Role::Admin,
        is_enabled: true,
        made_by: by.clone(),
        made_at: now,
        note: note.clone(),
    };
    let (token, credential) = UserCredential::issue(user.name.clone(), by, None, note, now)?;
    let changes =
        [Change::put(&user, Expected::Absent)?, Change::put(&credential, Expected::Absent)?];
    let entry = Draft {
        at: now,
        who: Who::Controller,
        from: "local".to_owned(),
        action: Action::User,
        subject: format!("add user {} as the first admin, with token {}", user.name, token.id),
        machines: Vec::new(),
        answer: Answer::Granted,
        reason: String::new(),
    };
    store.commit(&changes, &[entry])?;
    Ok(Some(token))
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Only administrators may.
    #[error("the role {0} may not do this; it needs the role admin")]
    NotAdmin(Role),
    /// There is none of this name.
    #[error("there is no {kind} `{key}`")]
    Unknown {
        /// What kind of thing.
        kind: Kind,
        /// Its name or id.
        key: String,
    },
    /// There is one of this name already.
    #[error("there is a {kind} `{key}` already")]
    Exists {
        /// What kind of thing.
        kind: Kind,
        /// Its name or id.
        key: String,
    },
    /// Nobody could administer any more.
    #[error("{0} is the last administrator; make another one first")]
    LastAdmin(UserName),
    /// The authority cannot be rotated or retired.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// Agents that would have to be enrolled again.
    #[error(
        "{} would have to be enrolled again: no certificate of the new authority yet (--force \
         retires the one before all the same)",
        few(.0)
    )]
    Behind(Vec<AgentId>),
    /// An end that is over.
    #[error("{0} is over already")]
    Past(Timestamp),
    /// An invitation for nobody.
    #[error("an invitation is for one agent at least")]
    NoUse,
    /// A grant that grants nothing.
    #[error("a grant needs machines, a purpose, and a time that is not empty")]
    EmptyGrant,
    /// No random bytes.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Some names, and how many more there are.
fn few(agents: &[AgentId]) -> String {
    let named: Vec<&str> = agents.iter().take(NAMED).map(AgentId::as_str).collect();
    let more = agents.len().saturating_sub(NAMED);
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}

/// Agents that are named before the others are counted.
const NAMED: usize = 5;

#[cfg(test)]
mod tests;
