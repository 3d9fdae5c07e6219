//! Users, tokens, grants and agents, in the words of the controller's own answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct User {
    /// Its name.
    pub(crate) name: String,
    /// `viewer`, `operator` or `admin`.
    role: String,
    /// Whether it may do anything now.
    is_enabled: bool,
    /// Who made it.
    made_by: String,
    /// When it was made.
    made_at: String,
    /// Whose it is; may be empty.
    note: String,
    /// How many tokens it has.
    tokens: u64,
    /// How many grants it has.
    grants: u64,
}

/// A token; never its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct TokenRow {
    /// Its public half.
    pub(crate) id: String,
    /// `user`, to act as one, or `enrolment`, to let agents in.
    kind: String,
    /// As whom, of a user's token.
    #[serde(default)]
    user: Option<String>,
    /// The one agent that an enrolment token is for; any where there is none.
    #[serde(default)]
    agent: Option<String>,
    /// How many agents may still enrol with an enrolment token.
    #[serde(default)]
    uses_left: Option<u32>,
    /// Who made it.
    made_by: String,
    /// When it was made.
    made_at: String,
    /// When it stops being good; never where there is none.
    expires_at: Option<String>,
    /// What it is for; may be empty.
    note: String,
}

/// A token that was made. This is the only time it is shown.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Made {
    /// Its public half.
    id: String,
    /// The line to paste, with the secret.
    token: String,
    /// When it stops being good; never where there is none.
    expires_at: Option<String>,
}

/// A grant: who may see which machines' packets, how much of them, and until when.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Grant {
    /// Its id.
    pub(crate) id: String,
    /// Who has it.
    to: String,
    /// Of which machines: `all`, `tenant:NAME`, `vm:TENANT/NAME`, `id:ID`.
    machines: Vec<String>,
    /// For what: `find`, `capture`, `record`, `mirror`.
    purposes: Vec<String>,
    /// How much of each packet: bytes, or `whole`.
    snaplen: String,
    /// How long one session may last at most, ISO 8601.
    longest: Option<String>,
    /// From when it is good.
    from: Option<String>,
    /// When it stops being good.
    until: Option<String>,
    /// Whether a reason must be given with each ask.
    needs_reason: bool,
    /// Who made it.
    made_by: String,
    /// When it was made.
    made_at: String,
    /// What for; may be empty.
    note: String,
}

/// An agent that was let in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Enrolled {
    /// Who it is.
    pub(crate) id: String,
    /// When it was let in.
    at: String,
    /// By which invitation.
    by: String,
    /// Its certificates that are still in time, the newest last.
    certificates: Vec<Issued>,
}

/// A certificate of an agent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Issued {
    /// Its number.
    serial: String,
    /// When it ends by itself.
    not_after: String,
}

/// An entry of the audit log.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AuditEntry {
    /// Its number, from 1 on without gaps.
    pub(crate) seq: u64,
    /// The SHA-256 of what was written.
    hash: String,
    /// When.
    at: String,
    /// Who asked: `user`, `agent`, `controller` or `unknown`.
    who: String,
    /// Their name, where they have one.
    name: Option<String>,
    /// From where.
    from: String,
    /// What they asked for.
    action: String,
    /// What it was about beside machines.
    subject: String,
    /// Which machines it was about, the first 256.
    machines: Vec<MachineNamed>,
    /// How many machines are not in the list.
    more_machines: u64,
    /// What they got.
    answer: Answer,
    /// Why they did not get it.
    because: Option<String>,
    /// Why they wanted it.
    reason: String,
}

/// What somebody got.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// It was given.
    Granted,
    /// It was refused.
    Refused,
    /// It was granted and could not be done.
    Failed,
}

/// A machine, as it was called then.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct MachineNamed {
    /// Who it is.
    id: String,
    /// What it was called.
    name: String,
    /// Who owned it.
    tenant: Option<String>,
}

/// The body of an entry, as it was written.
#[derive(Deserialize)]
struct Written {
    seq: u64,
    at: String,
    who: WrittenWho,
    from: String,
    action: String,
    subject: String,
    machines: Vec<MachineNamed>,
    more_machines: u64,
    answer: WrittenAnswer,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenWho {
    User(String),
    Agent(String),
    Controller,
    Unknown(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenAnswer {
    Granted,
    Refused { because: String },
    Failed { because: String },
}

impl AuditEntry {
    /// An entry as it is exported: the hash, a space, the body.
    pub(crate) fn read(line: &str) -> Result<Self, serde_json::Error> {
        let (hash, body) = line.split_once(' ').unwrap_or_default();
        let body: Written = serde_json::from_str(body)?;
        let (who, name) = match body.who {
            WrittenWho::User(name) => ("user", Some(name)),
            WrittenWho::Agent(name) => ("agent", Some(name)),
            WrittenWho::Controller => ("controller", None),
            WrittenWho::Unknown(words) => {
                ("unknown", Some(words).filter(|words| !words.is_empty()))
            }
        };
        let (answer, because) = match body.answer {
            WrittenAnswer::Granted => (Answer::Granted, None),
            WrittenAnswer::Refused { because } => (Answer::Refused, Some(because)),
            WrittenAnswer::Failed { because } => (Answer::Failed, Some(because)),
        };
        Ok(Self {
            seq: body.seq,
            hash: hash.to_owned(),
            at: body.at,
            who: who.to_owned(),
            name,
            from: body.from,
            action: body.action,
            subject: body.subject,
            machines: body.machines,
            more_machines: body.more_machines,
            answer,
            because,
            reason: body.reason,
        })
    }
}
