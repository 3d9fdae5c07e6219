//! What one entry says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::{Hash, Head};
use crate::grants::MachineFacts;
use crate::names::{AgentId, UserName};

/// Something that happened, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// When.
    pub at: Timestamp,
    /// Who asked.
    pub who: Who,
    /// From where: the peer's address and port, or `local`.
    pub from: String,
    /// What they asked for.
    pub action: Action,
    /// What it was about beside machines: the name of a user, the id of a grant, token or session,
    /// the expression of a filter. May be empty.
    pub subject: String,
    /// Which machines it was about.
    pub machines: Vec<MachineFacts>,
    /// What they got.
    pub answer: Answer,
    /// Why they wanted it, in their words; may be empty.
    pub reason: String,
}

impl Draft {
    /// The entry that follows `head` with this.
    ///
    /// Words of a length nobody writes by hand are cut, and of more machines than fit only the
    /// number is kept: an entry has a megabyte or two at most, whatever was asked.
    pub fn chain(&self, head: Head) -> Result<Entry, serde_json::Error> {
        let Self { at, who, from, action, subject, machines, answer, reason } = self;
        let answer = match answer {
            Answer::Granted => Answer::Granted,
            Answer::Refused { because } => Answer::Refused { because: cut(because) },
            Answer::Failed { because } => Answer::Failed { because: cut(because) },
        };
        let named = machines.iter().take(MOST_MACHINES).map(|machine| MachineFacts {
            id: machine.id.clone(),
            name: cut(&machine.name),
            tenant: machine.tenant.as_deref().map(cut),
        });
        let body = Body {
            seq: head.seq + 1,
            previous: head.hash,
            at: *at,
            who: who.bounded(),
            from: cut(from),
            action: *action,
            subject: cut(subject),
            machines: named.collect(),
            more_machines: machines.len().saturating_sub(MOST_MACHINES),
            answer,
            reason: cut(reason),
        };
        let body = serde_json::to_string(&body)?;
        Ok(Entry { seq: head.seq + 1, hash: Hash::of(&body), body })
    }
}

/// An entry in its place: its bytes, and the hash over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1 on without gaps.
    pub seq: u64,
    /// The SHA-256 of the body.
    pub hash: Hash,
    /// One line of JSON, exactly as it was first written.
    pub body: String,
}

impl Entry {
    /// What the body says. Fields of later releases are passed over.
    pub fn read(&self) -> Result<Body, serde_json::Error> {
        serde_json::from_str(&self.body)
    }

    /// The chain's head after this entry.
    pub const fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }
}

/// What the body of an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Its number.
    pub seq: u64,
    /// The hash of the entry before it.
    pub previous: Hash,
    /// When.
    pub at: Timestamp,
    /// Who asked.
    pub who: Who,
    /// From where.
    pub from: String,
    /// What they asked for.
    pub action: Action,
    /// What it was about beside machines.
    pub subject: String,
    /// Which machines it was about, the first 256.
    pub machines: Vec<MachineFacts>,
    /// How many machines are not in the list.
    pub more_machines: usize,
    /// What they got.
    pub answer: Answer,
    /// Why they wanted it.
    pub reason: String,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// A user who showed a good token.
    User(UserName),
    /// An agent that showed a good certificate.
    Agent(AgentId),
    /// Whoever runs the controller, on its own machine.
    Controller,
    /// Nobody known: what they showed was missing or no good. The words they used for themselves,
    /// or the id of the token; never a secret.
    Unknown(String),
}

impl Who {
    fn bounded(&self) -> Self {
        match self {
            Self::Unknown(words) => Self::Unknown(cut(words)),
            known => known.clone(),
        }
    }
}

/// What somebody got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was given.
    Granted,
    /// It was refused.
    Refused {
        /// Why, in the words they got.
        because: String,
    },
    /// It was granted and could not be done.
    Failed {
        /// Why.
        because: String,
    },
}

/// What somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// To be let in as a user.
    LogIn,
    /// To become a capture agent.
    Enrol,
    /// To connect as a capture agent, or to have its certificate renewed.
    Connect,
    /// To find machines.
    Find,
    /// To see where machines can be observed.
    Plan,
    /// To capture.
    Capture,
    /// To have the flight recorder keep packets.
    Record,
    /// To have packets sent to a tool.
    Mirror,
    /// To see, fetch or change a session.
    Session,
    /// An agent gave no more packets of a machine: it changed hands, its name, or time was over.
    Withhold,
    /// To add or change a user.
    User,
    /// To make or remove a token.
    Token,
    /// To add, change or remove a grant.
    Grant,
    /// To change or remove an agent, or to revoke its certificate.
    Agent,
    /// To see who talks to whom.
    Traffic,
    /// To read or verify this log.
    Audit,
    /// To change a setting.
    Setting,
    /// The controller began or ended.
    Serve,
    /// Something a later release knows.
    #[serde(other)]
    Other,
}

fn cut(words: &str) -> String {
    match words.char_indices().nth(MOST_LETTERS) {
        None => words.to_owned(),
        Some((at, _)) => words.get(..at).unwrap_or_default().to_owned() + "…",
    }
}

const MOST_LETTERS: usize = 1000;
const MOST_MACHINES: usize = 256;
