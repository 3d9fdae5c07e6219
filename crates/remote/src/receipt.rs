//! The receipt of a session: every host's account, and what became of it in one file.

use std::fmt;
use std::path::PathBuf;

use api::document::{Clock, Part, Session};
use pipeline::Ledger;
use serde::{Deserialize, Serialize};
use weave::Account;
use wire::Timestamp;

/// What a session did, for people (its text) and programs (its JSON).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionReceipt {
    /// The session's id.
    pub session: String,
    /// Who asked for it.
    pub owner: String,
    /// Why; empty where nobody said.
    pub reason: String,
    /// What was asked for, as typed.
    pub asked: String,
    /// The expression, empty for all packets.
    pub filter: String,
    /// When it began, RFC 3339.
    pub began: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Why it ended.
    pub end: String,
    /// The parts it is made of, in the order in which they began.
    pub parts: Vec<PartReceipt>,
    /// The accounts of all parts together.
    pub total: Ledger,
    /// Packets that came here.
    pub received: u64,
    /// Of these, left out because another host had seen them too.
    pub copies: u64,
    /// Of these, beyond the number of packets that was asked for.
    pub after_limit: u64,
    /// Of these, not taken by the file or its reader.
    pub unwritten: u64,
    /// Packets in the file.
    pub written: u64,
    /// Packets written out of the order of time, because they came too late.
    pub out_of_order: u64,
    /// Packets not accounted for; anything but 0 is a fault of the program.
    pub unaccounted: i64,
    /// Packets that were asked for and are not in the file, as far as they were counted.
    pub lost: u64,
    /// Whether everything that the hosts have came here.
    pub is_whole: bool,
    /// Moves between hosts.
    pub moves: Vec<Moved>,
    /// How the hosts' clocks differ from the controller's, by which all times are.
    pub clocks: Vec<Clocked>,
    /// What happened, with times of the controller's or a host's clock.
    pub notes: Vec<String>,
    /// The files.
    pub files: Vec<PathBuf>,
}

/// A part of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PartReceipt {
    /// The host.
    pub host: String,
    /// The machine.
    pub vm: String,
    /// The machine's identity.
    pub vm_id: String,
    /// The kind of observation point.
    pub point: String,
    /// When it began, by the controller's clock, RFC 3339.
    pub began: String,
    /// Why it ended.
    pub end: String,
    /// Packets its host has of it.
    pub packets: u64,
    /// Packets its host's kernel had no room for.
    pub kernel_dropped: u64,
    /// What of it is not here, and why; `None` if all is.
    pub missing: Option<String>,
    /// The host's own receipt, as of `overtap capture`; `None` where the agent was killed.
    pub receipt: Option<serde_json::Value>,
}

/// A move of a machine, measured on the packets it sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Moved {
    /// The machine.
    pub vm: String,
    /// From which host.
    pub from: String,
    /// To which.
    pub to: String,
    /// Its last packet there, by the controller's clock, RFC 3339.
    pub last: String,
    /// Its first packet here.
    pub first: String,
    /// For how long it sent nothing, in ms.
    pub gap_ms: f64,
    /// How far that may be off because two clocks are never quite the same, in ms.
    pub uncertainty_ms: f64,
}

/// A host's clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Clocked {
    /// The host.
    pub host: String,
    /// How far it is ahead of the controller's, in ms; all its times were corrected by that.
    pub ahead_ms: f64,
    /// How far that may be off, in ms.
    pub uncertainty_ms: f64,
}

/// All that a receipt is made of.
pub(crate) struct Story<'a> {
    pub(crate) session: &'a Session,
    /// The parts, and what of each is missing here.
    pub(crate) parts: Vec<(&'a Part, Option<String>)>,
    pub(crate) account: Account,
    pub(crate) moves: Vec<weave::Move>,
    pub(crate) written: u64,
    pub(crate) after_limit: u64,
    pub(crate) end: String,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) seconds: f64,
}

impl SessionReceipt {
    pub(crate) fn new(story: Story<'_>) -> Self {
        let Story { session, account, .. } = story;
        let totals = story.parts.iter().filter_map(|(part, _)| ledger(part));
        let total = totals.fold(Ledger::default(), |sum, ledger| sum.plus(&ledger));
        let is_whole = story.parts.iter().all(|(_, missing)| missing.is_none());
        let is_told = story.parts.iter().all(|(part, _)| part.receipt.is_some());
        let unwritten = account.shown.saturating_sub(story.written + story.after_limit);
        // The hosts' accounts, and ours of what they sent, must meet. A killed agent has none.
        let hosts: i64 = story.parts.iter().map(|(part, _)| unaccounted(part)).sum();
        let difference = signed(total.written) - signed(account.received);
        let unaccounted = if is_whole && is_told { hosts + difference } else { hosts };
        let mut parts = story.parts;
        parts.sort_by_key(|(part, _)| part.began_ns);
        Self {
            session: session.id.clone(),
            owner: session.owner.clone(),
            reason: session.wish.reason.clone(),
            asked: asked(session),
            filter: session.wish.expression.clone(),
            began: rfc3339(Timestamp::from_nanos(session.began_ns)),
            seconds: seconds(session).unwrap_or(story.seconds),
            end: story.end,
            clocks: clocks(parts.iter().map(|(part, _)| *part)),
            parts: parts.into_iter().map(|(part, missing)| part_receipt(part, missing)).collect(),
            total,
            received: account.received,
            copies: account.copies,
            after_limit: story.after_limit,
            unwritten,
            written: story.written,
            out_of_order: account.out_of_order,
            unaccounted,
            lost: total.lost() + unwritten,
            is_whole,
            moves: story.moves.iter().map(moved).collect(),
            notes: session.notes.iter().map(note).collect(),
            files: story.files,
        }
    }

    /// Whether everything that was asked for is in the file, as far as anybody knows.
    pub fn is_complete(&self) -> bool {
        let is_told = self.parts.iter().all(|part| part.receipt.is_some());
        self.lost == 0 && self.is_whole && is_told
    }

    /// Lines for the end of the file: for people, and for [`receipt_in`].
    pub(crate) fn comments(&self) -> Vec<String> {
        let mut comments = vec![self.to_string()];
        let whole = serde_json::to_string(self).unwrap_or_default();
        if whole.len() < MOST_JSON_BYTES {
            comments.push(format!("{MARK}{whole}"));
        } else {
            // The sums stay, the hosts' own receipts are with the session.
            let mut short = self.clone();
            for receipt in short.parts.iter_mut().filter_map(|part| part.receipt.as_mut()) {
                *receipt = serde_json::json!({ "is_left_out": true });
            }
            short.parts.truncate(100);
            short.notes.truncate(100);
            short.moves.truncate(100);
            let short = serde_json::to_string(&short).unwrap_or_default();
            if short.len() < MOST_JSON_BYTES {
                comments.push(format!("{MARK}{short}"));
            }
        }
        comments
    }
}

/// The receipt in a comment of a capture file, if it is one.
pub fn receipt_in(comment: &str) -> Option<SessionReceipt> {
    serde_json::from_str(comment.strip_prefix(MARK)?).ok()
}

impl fmt::Display for SessionReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Receipt: {}, session {} of {}, {:.1} s; ended because {}",
            self.asked, self.session, self.owner, self.seconds, self.end
        )?;
        for part in &self.parts {
            write!(
                f,
                "  {} on {}, {}, since {}: {}",
                part.vm,
                part.host,
                part.point,
                part.began,
                packets(part.packets)
            )?;
            if part.kernel_dropped > 0 {
                write!(f, ", {} dropped by the kernel", part.kernel_dropped)?;
            }
            writeln!(f, "; ended because {}", part.end)?;
            if part.receipt.is_none() {
                writeln!(f, "    without a receipt: what its kernel dropped is not known")?;
            }
            if let Some(missing) = &part.missing {
                writeln!(f, "    NOT ALL OF IT IS HERE: {missing}")?;
            }
        }
        let rows = [
            ("seen", self.total.received),
            ("  dropped by the kernel", self.total.kernel_dropped),
            ("  other tenant", self.total.other_tenant),
            ("  owner undecidable", self.total.undecidable),
            ("  not selected", self.total.not_selected),
            ("  after the limit", self.total.after_limit + self.after_limit),
            (
                "  could not be kept or written",
                self.total.queue_full + self.total.sink_failed + self.unwritten,
            ),
            ("  seen on another host too", self.copies),
            ("  written", self.written),
            ("    of these sliced", self.total.sliced),
        ];
        for (name, count) in rows {
            writeln!(f, "  {name:32} {count:>14}")?;
        }
        for moved in &self.moves {
            writeln!(
                f,
                "  {} moved from {} to {}: last packet {}, first {}: gap {:.1} ms, within {:.1} ms",
                moved.vm,
                moved.from,
                moved.to,
                moved.last,
                moved.first,
                moved.gap_ms,
                moved.uncertainty_ms
            )?;
        }
        for clock in &self.clocks {
            writeln!(
                f,
                "  clock of {}: {:+.3} ms to the controller's, within {:.3} ms; corrected",
                clock.host, clock.ahead_ms, clock.uncertainty_ms
            )?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        if self.out_of_order > 0 {
            writeln!(f, "  out of the order of time: {}", packets(self.out_of_order))?;
        }
        for file in &self.files {
            writeln!(f, "  {}", file.display())?;
        }
        let lost = self.lost;
        match (self.unaccounted, self.is_complete()) {
            (0, true) => f.write_str("  Every packet is accounted for; none was lost."),
            (0, false) if !self.is_whole => f.write_str("  NOT EVERYTHING IS HERE; see above."),
            (0, false) if lost == 0 => {
                f.write_str("  None is known to be lost, but not every host could tell.")
            }
            (0, false) => write!(f, "  Every packet is accounted for; {lost} were LOST."),
            (missing, _) => {
                write!(f, "  {missing} packets are NOT ACCOUNTED FOR: this is a fault of overtap.")
            }
        }
    }
}

fn part_receipt(part: &Part, missing: Option<String>) -> PartReceipt {
    let began = Timestamp::from_nanos(part.began_ns);
    let clock = clock_of(part.clock.unwrap_or(Clock { ahead_ns: 0, uncertainty_ns: 0 }));
    PartReceipt {
        host: part.host.clone(),
        vm: part.machine.clone(),
        vm_id: part.machine_id.clone(),
        point: part.point.clone(),
        began: rfc3339(clock.common(began)),
        end: part.ended.clone().unwrap_or_else(|| "it goes on".into()),
        packets: part.packets,
        kernel_dropped: part.kernel_dropped,
        missing,
        receipt: part.receipt.clone(),
    }
}

pub(crate) const fn clock_of(clock: Clock) -> weave::Clock {
    weave::Clock { ahead_ns: clock.ahead_ns, uncertainty_ns: clock.uncertainty_ns }
}

/// The account in a host's own receipt.
fn ledger(part: &Part) -> Option<Ledger> {
    Ledger::deserialize(part.receipt.as_ref()?.get("total")?).ok()
}

fn unaccounted(part: &Part) -> i64 {
    let told = part.receipt.as_ref().and_then(|receipt| receipt.get("unaccounted")?.as_i64());
    told.unwrap_or(0)
}

/// How long it lasted, once that is known.
fn seconds(session: &Session) -> Option<f64> {
    let lasted = session.ended_ns?.saturating_sub(session.began_ns);
    Some(std::time::Duration::from_nanos(lasted).as_secs_f64())
}

fn asked(session: &Session) -> String {
    let tenants = session.wish.tenants.iter().map(|tenant| format!("tenant {tenant}"));
    let all: Vec<String> = session.wish.vms.iter().cloned().chain(tenants).collect();
    all.join(", ")
}

fn clocks<'a>(parts: impl Iterator<Item = &'a Part>) -> Vec<Clocked> {
    let mut clocks: Vec<Clocked> = Vec::new();
    for part in parts {
        let Some(clock) = part.clock else { continue };
        if clocks.iter().any(|known| known.host == part.host) {
            continue;
        }
        clocks.push(Clocked {
            host: part.host.clone(),
            #[allow(clippy::cast_precision_loss, reason = "for people")]
            ahead_ms: clock.ahead_ns as f64 / 1e6,
            #[allow(clippy::cast_precision_loss, reason = "for people")]
            uncertainty_ms: clock.uncertainty_ns as f64 / 1e6,
        });
    }
    clocks
}

fn moved(moved: &weave::Move) -> Moved {
    Moved {
        vm: moved.machine.clone(),
        from: moved.from.clone(),
        to: moved.to.clone(),
        last: rfc3339(moved.last),
        first: rfc3339(moved.first),
        gap_ms: moved.gap().as_secs_f64() * 1e3,
        uncertainty_ms: moved.uncertainty.as_secs_f64() * 1e3,
    }
}

fn note(note: &api::document::Note) -> String {
    let host = if note.host.is_empty() { "controller" } else { &note.host };
    format!("{} {host}: {}", rfc3339(Timestamp::from_nanos(note.at_ns)), note.text)
}

fn rfc3339(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time.as_nanos()));
    time.map_or_else(|_| "?".into(), |time| format!("{time:.6}"))
}

fn packets(count: u64) -> String {
    if count == 1 { "1 packet".into() } else { format!("{count} packets") }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const MARK: &str = "overtap-receipt: ";

/// A comment of a pcapng block has at most 65 535 bytes.
const MOST_JSON_BYTES: usize = 60_000;
