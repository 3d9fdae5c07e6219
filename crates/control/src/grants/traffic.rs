//! Whose flows a user may see.
//!
//! What flows tell is less than what packets tell and more than that a machine exists. So a grant
//! to capture a machine shows its flows, whatever the user's role: a viewer starts nothing, but
//! may look. A grant that wants a reason shows none, as questions about flows give none.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::grants::{Grants, MachineFacts, Purpose, Selector, Snaplen, User};

/// The machines whose flows somebody may see, by the names that the store of flows has for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrafficGrant {
    /// All that packets would show.
    whole: BTreeSet<Selector>,
    /// What their headers would show.
    headers: BTreeSet<Selector>,
    /// Machines that were granted by their ids, by tenant and name.
    named: BTreeMap<(Option<String>, String), bool>,
}

impl Grants {
    /// The machines whose flows `user` may see at `now`; `None` if there cannot be any.
    pub fn traffic(&self, user: &User, now: Timestamp) -> Option<TrafficGrant> {
        let mut granted = TrafficGrant::default();
        let grants = self.of(user, Purpose::Capture, now).filter(|grant| !grant.needs_reason);
        for grant in grants.filter(|_| user.is_enabled) {
            let set = match grant.snaplen {
                Snaplen::WHOLE => &mut granted.whole,
                _ => &mut granted.headers,
            };
            set.extend(grant.machines.iter().cloned());
        }
        (granted != TrafficGrant::default()).then_some(granted)
    }
}

impl TrafficGrant {
    /// Whether everything may be seen, also what belongs to no machine.
    pub fn is_everything(&self) -> bool {
        self.whole.contains(&Selector::All)
    }

    /// Whether ids must be looked up: flows know machines by their names.
    pub fn has_ids(&self) -> bool {
        self.whole.iter().chain(&self.headers).any(|selector| matches!(selector, Selector::Id(_)))
    }

    /// Learns what the machines that are granted by their ids are called. A name counts only if
    /// no other machine is known to have or to have had it.
    pub fn learn(&mut self, machines: &BTreeSet<MachineFacts>) {
        let mut ids: BTreeMap<(Option<&str>, &str), BTreeSet<&MachineFacts>> = BTreeMap::new();
        for machine in machines {
            let name = (machine.tenant.as_deref(), machine.name.as_str());
            ids.entry(name).or_default().insert(machine);
        }
        let is_in = |set: &BTreeSet<Selector>, machine: &MachineFacts| {
            set.contains(&Selector::Id(machine.id.clone()))
        };
        for ((tenant, name), who) in ids {
            let [machine] = who.into_iter().collect::<Vec<_>>()[..] else { continue };
            let is_whole = is_in(&self.whole, machine);
            if is_whole || is_in(&self.headers, machine) {
                self.named.insert((tenant.map(str::to_owned), name.to_owned()), is_whole);
            }
        }
    }

    /// What may be seen of the machine of this tenant that is called so: all with `Some(true)`,
    /// what headers tell with `Some(false)`.
    pub fn shows(&self, tenant: Option<&str>, name: &str) -> Option<bool> {
        let is_in = |set: &BTreeSet<Selector>| set.iter().any(|s| s.matches_name(tenant, name));
        let by_id = || self.named.get(&(tenant.map(str::to_owned), name.to_owned())).copied();
        if is_in(&self.whole) {
            return Some(true);
        }
        match by_id() {
            None if is_in(&self.headers) => Some(false),
            by_id => by_id,
        }
    }
}
