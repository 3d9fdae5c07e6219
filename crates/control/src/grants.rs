//! Who may see which machines' packets, for what, how much of them and until when.
//!
//! Nobody may see anything that no [`Grant`] lets them see; administrators are no exception. A
//! grant names machines by tenant, name or id as the inventory has them, never by an address. Each
//! machine of an [`Ask`] is judged on its own, and one grant alone must allow what is asked of it:
//! the snaplen of one grant is never joined with the machines or the time of another.
//!
//! The answer is a [`Permit`], which the agent checks again for every machine and at any later
//! time without asking anyone, so that a VM that changed hands in mid-session is out at once.
//! Pure: time comes in as an argument, and storing is for `store`.

mod ask;
mod grant;
mod permit;
mod selector;
mod snaplen;
mod traffic;
mod user;

use std::collections::BTreeSet;

use jiff::Timestamp;

pub use ask::{Ask, Asked, MachineFacts, Refusal};
pub use grant::{Grant, GrantId, Purpose};
pub use permit::{Clause, Permit, Pinned, Scope, Uncovered};
pub use selector::{Glob, Owner, Selector, SelectorError};
pub use snaplen::{Snaplen, SnaplenError};
pub use traffic::TrafficGrant;
pub use user::{Role, User};

/// All grants there are.
#[derive(Debug, Clone, Default)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Those of `grants`.
    pub const fn new(grants: Vec<Grant>) -> Self {
        Self(grants)
    }

    /// Whether `user` may do what `ask` says at `now`, all of it; else why not.
    pub fn decide(&self, user: &User, ask: &Ask, now: Timestamp) -> Result<Permit, Refusal> {
        if !user.is_enabled {
            return Err(Refusal::Disabled(user.name.clone()));
        }
        if !user.role.may(ask.purpose) {
            return Err(Refusal::Role { role: user.role, purpose: ask.purpose });
        }
        let own: Vec<&Grant> = self.of(user, ask.purpose, now).collect();
        ask.judge(&own, now)?;
        Ok(Permit::new(user, ask, &own, now))
    }

    /// Whether `user` may know at `now` that `machine` exists: what `find` shows them, and the
    /// only machines that a name they give can mean.
    pub fn shows(&self, user: &User, machine: &MachineFacts, now: Timestamp) -> bool {
        user.is_enabled
            && user.role.may(Purpose::Find)
            && self.of(user, Purpose::Find, now).any(|grant| grant.names(machine))
    }

    /// The machines that some grant lets `user` do `purpose` with at `now`, as the grants have them.
    pub fn selectors(&self, user: &User, purpose: Purpose, now: Timestamp) -> BTreeSet<Selector> {
        self.of(user, purpose, now).flat_map(|grant| grant.machines.iter().cloned()).collect()
    }

    /// Whether this grant is there, good at this time or not.
    pub fn has(&self, id: &GrantId) -> bool {
        self.0.iter().any(|grant| grant.id == *id)
    }

    /// Whether some grant has begun or ended after `then`, up to `now`.
    pub fn turned(&self, then: Timestamp, now: Timestamp) -> bool {
        let is_between = |at: Timestamp| then < at && at <= now;
        self.0.iter().flat_map(|grant| [grant.from, grant.until]).flatten().any(is_between)
    }

    /// The grants that let `user` do `purpose` at `now` with some machine.
    fn of(&self, user: &User, purpose: Purpose, now: Timestamp) -> impl Iterator<Item = &Grant> {
        self.0.iter().filter(move |grant| {
            grant.to == user.name && grant.is_good_at(now) && grant.allows(purpose)
        })
    }
}

#[cfg(test)]
mod tests;
