//! What somebody asks for, and why they do not get it.

use inventory::MachineId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::grants::{Grant, Purpose, Role, Selector, Snaplen};
use crate::names::UserName;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What they want to do.
    pub purpose: Purpose,
    /// With which machines.
    pub asked: Asked,
    /// How much of each packet; as much as they may where `None`.
    pub snaplen: Option<Snaplen>,
    /// How long; as long as they may where `None`.
    pub duration: Option<SignedDuration>,
    /// How far back it begins, with what was recorded; with now where `None`.
    pub past: Option<SignedDuration>,
    /// Why, in their words; may be empty.
    pub reason: String,
}

/// The machines of an ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// These, as the inventory has them at the time of the ask.
    Machines(Vec<MachineFacts>),
    /// All that the selectors select, those of later too.
    Growing {
        /// Which.
        selection: Vec<Selector>,
        /// Those of them that the inventory has at the time of the ask; may be empty.
        present: Vec<MachineFacts>,
    },
}

/// What the inventory knows of a machine's identity at one time. Addresses are no part of it:
/// tenants use the same ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFacts {
    /// Who it is.
    #[serde(with = "crate::word")]
    pub id: MachineId,
    /// What it is called.
    pub name: String,
    /// Who owns it; nobody known where `None`.
    pub tenant: Option<String>,
}

/// Why somebody does not get what they asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The account may do nothing now.
    #[error("the account {0} is disabled; an administrator can enable it")]
    Disabled(UserName),
    /// The role does not go so far, whatever is granted.
    #[error("the role {role} may not {purpose}; that needs the role operator")]
    Role {
        /// The role they have.
        role: Role,
        /// What they wanted to do.
        purpose: Purpose,
    },
    /// No machine was asked for.
    #[error("no machine was named")]
    Nothing,
    /// No grant speaks of these.
    #[error("no grant lets you {purpose} {}; an administrator can add one", listed(.what))]
    NotGranted {
        /// What they wanted to do.
        purpose: Purpose,
        /// The machines, or the selectors, by the names they were asked for.
        what: Vec<String>,
    },
    /// Only grants that want a reason speak of this machine.
    #[error("to {purpose} {machine} a reason must be given; say why with --reason")]
    NeedsReason {
        /// What they wanted to do.
        purpose: Purpose,
        /// The machine or selector.
        machine: String,
    },
    /// No grant goes as far as was asked.
    #[error("no grant lets you {purpose} {machine} so far; the most is: {}", listed(.most))]
    TooMuch {
        /// What they wanted to do.
        purpose: Purpose,
        /// The machine or selector.
        machine: String,
        /// What each grant allows: `128 bytes of each packet for 1h`.
        most: Vec<String>,
    },
}

impl Ask {
    /// Whether `grants` (all of the asker, for the purpose, good at `now`) allow all of it.
    pub(super) fn judge(&self, grants: &[&Grant], now: Timestamp) -> Result<(), Refusal> {
        let parts = self.parts();
        if parts.is_empty() {
            return Err(Refusal::Nothing);
        }
        let is_named = |part: &Part<'_>| grants.iter().any(|grant| part.is_named_by(grant));
        let what: Vec<String> = parts.iter().filter(|p| !is_named(p)).map(Part::name).collect();
        if !what.is_empty() {
            return Err(Refusal::NotGranted { purpose: self.purpose, what });
        }
        parts.iter().try_for_each(|part| self.judge_part(part, grants, now))
    }

    /// Whether `grant` may be used, for any machine, with the reason that was given.
    pub(super) fn opens(&self, grant: &Grant) -> bool {
        !grant.needs_reason || !self.reason.trim().is_empty()
    }

    /// What is asked for, one by one. Nothing but what is there now is not a growing selection.
    fn parts(&self) -> Vec<Part<'_>> {
        match &self.asked {
            Asked::Machines(machines) => machines.iter().map(Part::Machine).collect(),
            Asked::Growing { selection, .. } if selection.is_empty() => Vec::new(),
            Asked::Growing { selection, present } => {
                let selectors = selection.iter().map(Part::Selector);
                selectors.chain(present.iter().map(Part::Machine)).collect()
            }
        }
    }

    /// One grant alone must be enough for the part.
    fn judge_part(
        &self,
        part: &Part<'_>,
        grants: &[&Grant],
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let (purpose, machine) = (self.purpose, part.name());
        let naming = grants.iter().filter(|grant| part.is_named_by(grant));
        let open: Vec<_> = naming.filter(|grant| self.opens(grant)).collect();
        if open.is_empty() {
            return Err(Refusal::NeedsReason { purpose, machine });
        }
        if !open.iter().any(|grant| self.lies_within(grant, now)) {
            let most = open.iter().map(|grant| most(grant)).collect();
            return Err(Refusal::TooMuch { purpose, machine, most });
        }
        Ok(())
    }

    /// Whether `grant` goes as far back as was asked: not before it began to be good, and no longer
    /// than it lets anybody look at a time.
    pub(super) fn is_reached_by(&self, grant: &Grant, now: Timestamp) -> bool {
        let Some(past) = self.past else { return true };
        let begin = now.saturating_sub(past).unwrap_or(Timestamp::MIN);
        grant.longest.is_none_or(|longest| past <= longest)
            && grant.from.is_none_or(|from| from <= begin)
    }

    fn lies_within(&self, grant: &Grant, now: Timestamp) -> bool {
        let ends_in_time = |duration| match grant.end_of_session(now) {
            Some(end) => now.saturating_add(duration).is_ok_and(|asked_end| asked_end <= end),
            None => true,
        };
        self.is_reached_by(grant, now)
            && self.snaplen.is_none_or(|asked| asked <= grant.snaplen)
            && self.duration.is_none_or(ends_in_time)
    }
}

/// One thing that is asked for.
enum Part<'a> {
    Machine(&'a MachineFacts),
    Selector(&'a Selector),
}

impl Part<'_> {
    fn is_named_by(&self, grant: &Grant) -> bool {
        match self {
            Self::Machine(machine) => grant.names(machine),
            Self::Selector(asked) => grant.machines.iter().any(|granted| granted.includes(asked)),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Machine(machine) => machine.name.clone(),
            Self::Selector(selector) => selector.to_string(),
        }
    }
}

/// What a grant allows, in words.
fn most(grant: &Grant) -> String {
    let mut words = match grant.snaplen {
        Snaplen::WHOLE => "whole packets".to_owned(),
        snaplen => format!("{snaplen} bytes of each packet"),
    };
    if let Some(longest) = grant.longest {
        words += &format!(" for {longest:#}");
    }
    if let Some(from) = grant.from {
        words += &format!(" from {from}");
    }
    if let Some(until) = grant.until {
        words += &format!(" until {until}");
    }
    words
}

fn listed(items: &[String]) -> String {
    items.join(", ")
}
