//! A capture session, and the accounts of its hosts.

use api::document::{self, WhenFull};
use pipeline::Ledger;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Clock, time};

/// A capture session.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Session {
    /// Its id: a short word.
    pub(crate) id: String,
    /// Who asked for it.
    owner: String,
    /// Whose packets: names as they were asked for, and `tenant:NAME`.
    what: Vec<String>,
    /// Which of them; empty for all.
    expression: String,
    /// Where to look, as it was asked for: `auto`, `tap`, `uplink`, `inside` or an interface.
    point: String,
    /// Most bytes kept of each packet.
    snaplen: u32,
    /// Whether tunnels are removed.
    is_stripped: bool,
    /// Whether it ends with whoever follows it.
    is_attached: bool,
    /// What becomes of it when a host has no more room: `end` or `drop`.
    #[schema(value_type = String)]
    when_full: WhenFull,
    /// How far back it begins, in seconds.
    last_s: u64,
    /// Why it was asked for.
    reason: String,
    /// Whether it runs.
    state: SessionState,
    /// When it was asked for, by the controller's clock.
    began: String,
    /// When it ends at the latest.
    until: String,
    /// When it ended.
    ended: Option<String>,
    /// Why it ended.
    end: Option<String>,
    /// Whether no packet will be added.
    is_complete: bool,
    /// Packets of all its parts; some may have been seen at two hosts.
    packets: u64,
    /// Bytes of all its parts.
    bytes: u64,
    /// Packets that hosts had no room for.
    lost: u64,
    /// Its parts, in the order in which they began.
    parts: Vec<Part>,
    /// What happened.
    notes: Vec<Note>,
    /// Hosts that have not said yet what they have recorded.
    awaited: Vec<String>,
    /// Counts up with every change.
    revision: u64,
}

/// Whether a session runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SessionState {
    /// It runs.
    Running,
    /// It has ended; its packets are kept for a day.
    Ended,
}

/// What one host captured of one machine at one point, from a beginning to an end.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Part {
    /// The agent that has it.
    agent: String,
    /// Its host.
    host: String,
    /// Its number among the session's parts at this agent.
    number: u32,
    /// The machine.
    machine: String,
    /// Its id.
    machine_id: String,
    /// The observation point, in words.
    point: String,
    /// When it began, by the host's clock.
    began: String,
    /// Why it ended.
    end: Option<String>,
    /// Packets in it.
    packets: u64,
    /// Bytes of it.
    bytes: u64,
    /// Packets the kernel had no room for.
    kernel_dropped: u64,
    /// Packets that could not be written.
    failed: u64,
    /// Whether its agent is there.
    is_reachable: bool,
    /// The host's clock.
    clock: Option<Clock>,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Note {
    /// When, by the clock of whoever says it.
    at: String,
    /// The host that says it; `None` for the controller.
    host: Option<String>,
    /// A sentence.
    text: String,
    /// Whether it says that packets were kept from the session's owner.
    is_refusal: bool,
}

impl From<document::Session> for Session {
    fn from(session: document::Session) -> Self {
        let is_complete = session.is_complete();
        let document::Session { wish, parts, .. } = session;
        let tenants = wish.tenants.iter().map(|tenant| format!("tenant:{tenant}"));
        Self {
            id: session.id,
            owner: session.owner,
            what: wish.vms.iter().cloned().chain(tenants).collect(),
            expression: wish.expression,
            point: wish.point,
            snaplen: wish.snaplen,
            is_stripped: wish.is_stripped,
            is_attached: wish.is_attached,
            when_full: wish.when_full,
            last_s: wish.last_s,
            reason: wish.reason,
            state: match session.ended {
                Some(_) => SessionState::Ended,
                None => SessionState::Running,
            },
            began: time(session.began_ns),
            until: time(session.until_ns),
            ended: session.ended_ns.map(time),
            end: session.ended,
            is_complete,
            packets: parts.iter().map(|part| part.packets).sum(),
            bytes: parts.iter().map(|part| part.bytes).sum(),
            lost: parts.iter().map(|part| part.kernel_dropped.saturating_add(part.failed)).sum(),
            parts: parts.into_iter().map(Part::from).collect(),
            notes: session.notes.into_iter().map(Note::from).collect(),
            awaited: session.awaited,
            revision: session.revision,
        }
    }
}

impl From<document::Part> for Part {
    fn from(part: document::Part) -> Self {
        Self {
            agent: part.agent,
            host: part.host,
            number: part.number,
            machine: part.machine,
            machine_id: part.machine_id,
            point: part.point,
            began: time(part.began_ns),
            end: part.ended,
            packets: part.packets,
            bytes: part.bytes,
            kernel_dropped: part.kernel_dropped,
            failed: part.failed,
            is_reachable: part.is_reachable,
            clock: part.clock.map(Clock::from),
        }
    }
}

impl From<document::Note> for Note {
    fn from(note: document::Note) -> Self {
        Self {
            at: time(note.at_ns),
            host: Some(note.host).filter(|host| !host.is_empty()),
            text: note.text,
            is_refusal: note.is_refusal,
        }
    }
}

/// The accounts of a session's hosts. What became of their packets in one file, copies that two
/// hosts saw and the gaps of migrations, is in that file: `overtap receipt FILE`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Receipt {
    /// The session.
    session: String,
    /// Whether every part has ended and told its account.
    is_final: bool,
    /// The accounts of all parts together, by the words of a receipt: `received`,
    /// `kernel_dropped`, `not_selected`, `written` and so on.
    #[schema(value_type = Object)]
    total: Ledger,
    /// Packets that were asked for and that no host has.
    lost: u64,
    /// Packets not accounted for; anything but 0 is a fault of the program.
    unaccounted: i64,
    /// Each part's account.
    parts: Vec<PartAccount>,
    /// What happened.
    notes: Vec<Note>,
}

/// The account of a part.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PartAccount {
    /// The part.
    #[serde(flatten)]
    part: Part,
    /// The host's own receipt, as of `overtap capture --output json`; `None` while it goes on, and
    /// where the agent was killed.
    #[schema(value_type = Option<Object>)]
    receipt: Option<Value>,
}

impl From<document::Session> for Receipt {
    fn from(session: document::Session) -> Self {
        let is_told = session.parts.iter().all(|part| part.receipt.is_some());
        let is_final = session.is_complete() && is_told;
        let receipts = || session.parts.iter().filter_map(|part| part.receipt.as_ref());
        let ledgers =
            receipts().filter_map(|receipt| Ledger::deserialize(receipt.get("total")?).ok());
        let total = ledgers.fold(Ledger::default(), |sum, ledger| sum.plus(&ledger));
        let unaccounted = receipts().filter_map(|receipt| receipt.get("unaccounted")?.as_i64());
        Self {
            is_final,
            lost: total.lost(),
            unaccounted: unaccounted.sum(),
            total,
            session: session.id,
            parts: session
                .parts
                .into_iter()
                .map(|mut part| PartAccount { receipt: part.receipt.take(), part: part.into() })
                .collect(),
            notes: session.notes.into_iter().map(Note::from).collect(),
        }
    }
}
