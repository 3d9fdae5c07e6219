//! What an agent gets to enforce: everything needed to say, for any machine and at any later time,
//! whether its packets may go to the one who asked.

use std::collections::BTreeSet;

use inventory::MachineId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::grants::{Ask, Asked, Grant, GrantId, MachineFacts, Purpose, Selector, Snaplen, User};
use crate::names::UserName;

/// The answer to an ask that was granted. Only [`crate::grants::Grants::decide`] makes one.
///
/// It is read strictly: a field this release does not know could be a limit, so a permit with one
/// is no permit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permit {
    user: UserName,
    purpose: Purpose,
    scope: Scope,
    clauses: Vec<Clause>,
    snaplen: Snaplen,
    given_at: Timestamp,
    until: Option<Timestamp>,
}

impl Permit {
    /// `grants` have been judged: together they allow all of `ask`.
    pub(super) fn new(user: &User, ask: &Ask, grants: &[&Grant], now: Timestamp) -> Self {
        let scope = Scope::of(&ask.asked);
        let is_usable = |grant: &&&Grant| {
            ask.opens(grant) && ask.is_reached_by(grant, now) && scope.needs(grant, ask)
        };
        let usable = grants.iter().filter(is_usable);
        let clauses: Vec<Clause> = usable.map(|grant| Clause::of(grant, now)).collect();
        let asked_end = ask.duration.and_then(|duration| now.saturating_add(duration).ok());
        // While one clause has no end, only the ask may have one.
        let ends: Option<Vec<Timestamp>> = clauses.iter().map(|clause| clause.until).collect();
        let last_end = ends.and_then(|ends| ends.into_iter().max());
        Self {
            user: user.name.clone(),
            purpose: ask.purpose,
            scope,
            clauses,
            snaplen: ask.snaplen.unwrap_or(Snaplen::WHOLE),
            given_at: now,
            until: asked_end.into_iter().chain(last_end).min(),
        }
    }

    /// How much of each packet of `machine` may be handed out at `now`; else why nothing.
    ///
    /// `machine` is what the inventory says for the time of the packet, `now` is when it is handed
    /// out: a packet of the flight recorder is judged by who owned the machine then.
    pub fn covers(&self, machine: &MachineFacts, now: Timestamp) -> Result<Snaplen, Uncovered> {
        if self.until.is_some_and(|until| until <= now) {
            return Err(Uncovered::Over);
        }
        self.scope.admits(machine)?;
        let naming = self.clauses.iter().filter(|clause| clause.names(machine));
        let (good, over): (Vec<_>, Vec<_>) = naming.partition(|clause| clause.is_good_at(now));
        match good.iter().map(|clause| clause.snaplen).max() {
            Some(widest) => Ok(widest.min(self.snaplen)),
            None if over.is_empty() => Err(Uncovered::NotGranted),
            None => Err(Uncovered::Over),
        }
    }

    /// Who may have the packets.
    pub const fn user(&self) -> &UserName {
        &self.user
    }

    /// For what.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Which machines, as far as the ask goes.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// When it was given.
    pub const fn given_at(&self) -> Timestamp {
        self.given_at
    }

    /// When the whole of it ends; never where `None`. It may end for single machines before.
    pub const fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// The grants it stands on. When one of these is changed or removed, the ask must be decided
    /// again.
    pub fn grants(&self) -> impl Iterator<Item = &GrantId> {
        self.clauses.iter().map(|clause| &clause.grant)
    }
}

/// Which machines somebody asked for: these, and those that grow into a selection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Each while it belongs to whom it belonged at the time of the ask.
    machines: BTreeSet<Pinned>,
    /// Any that one of these selects at the time of its packet. None of these is an id: a machine
    /// named by its id is pinned to its owner, in a growing selection too.
    growing: BTreeSet<Selector>,
}

impl Scope {
    fn of(asked: &Asked) -> Self {
        match asked {
            Asked::Machines(machines) => Self {
                machines: machines.iter().map(Pinned::of).collect(),
                growing: BTreeSet::new(),
            },
            Asked::Growing { selection, present } => {
                let is_id = |selector: &&Selector| matches!(selector, Selector::Id(_));
                let (ids, others): (Vec<_>, Vec<_>) = selection.iter().partition(is_id);
                let named = present.iter().filter(|m| ids.iter().any(|id| id.matches(m)));
                Self {
                    machines: named.map(Pinned::of).collect(),
                    growing: others.into_iter().cloned().collect(),
                }
            }
        }
    }

    /// The machines that were asked for one by one.
    pub fn machines(&self) -> impl Iterator<Item = &MachineId> {
        self.machines.iter().map(|pinned| &pinned.id)
    }

    /// Whether the permit could need `grant`: nobody learns of grants that have no part in it.
    fn needs(&self, grant: &Grant, ask: &Ask) -> bool {
        match &ask.asked {
            Asked::Machines(machines) => machines.iter().any(|machine| grant.names(machine)),
            // What may come later is not known.
            Asked::Growing { .. } => true,
        }
    }

    fn admits(&self, machine: &MachineFacts) -> Result<(), Uncovered> {
        let is_pinned = self.machines.contains(&Pinned::of(machine));
        if is_pinned || self.growing.iter().any(|selector| selector.matches(machine)) {
            return Ok(());
        }
        match self.machines.iter().any(|pinned| pinned.id == machine.id) {
            true => Err(Uncovered::OtherOwner),
            false => Err(Uncovered::NotAsked),
        }
    }
}

/// A machine and who owned it when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// Who it is.
    #[serde(with = "crate::word")]
    pub id: MachineId,
    /// Who owned it.
    pub tenant: Option<String>,
}

impl Pinned {
    fn of(machine: &MachineFacts) -> Self {
        Self { id: machine.id.clone(), tenant: machine.tenant.clone() }
    }
}

/// What one grant adds to a permit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// Which grant.
    pub grant: GrantId,
    /// Of which machines.
    pub machines: BTreeSet<Selector>,
    /// How much of each packet.
    pub snaplen: Snaplen,
    /// Until when: the end of the grant or of the longest session it allows.
    pub until: Option<Timestamp>,
}

impl Clause {
    fn of(grant: &Grant, now: Timestamp) -> Self {
        Self {
            grant: grant.id.clone(),
            machines: grant.machines.clone(),
            snaplen: grant.snaplen,
            until: grant.end_of_session(now),
        }
    }

    fn names(&self, machine: &MachineFacts) -> bool {
        self.machines.iter().any(|selector| selector.matches(machine))
    }

    fn is_good_at(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Why a permit gives no packet of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Uncovered {
    /// Its time is over.
    #[error("the permit has ended")]
    Over,
    /// It was not asked for.
    #[error("the machine is not one that was asked for")]
    NotAsked,
    /// It belongs to somebody else than when it was asked for.
    #[error("the machine has changed hands since it was asked for")]
    OtherOwner,
    /// No grant speaks of it as it is called now.
    #[error("no grant speaks of the machine as it is now")]
    NotGranted,
}
