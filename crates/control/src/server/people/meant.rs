//! Which machines somebody means, of those they may know of, and what names mean in an expression.

use std::collections::BTreeSet;

use api::document::{HostFound, Wish};
use inventory::{History, Machine};
use jiff::Timestamp;
use plan::Names;
use select::{Filter, NoNames, Resolved};
use tonic::Status;

use crate::audit::{Action, Answer, Draft, Who};
use crate::grants::{Asked, Grants, MachineFacts, Owner, Purpose, Selector};

use super::PeopleService;
use crate::server::desk::{Asker, broken, draft, facts, now_ns};

impl PeopleService {
    /// Which machines a wish means, of those the asker may know of.
    pub(in crate::server) fn asked(
        &self,
        asker: &Asker,
        grants: &Grants,
        wish: &Wish,
    ) -> Result<Asked, Status> {
        let is_pattern = |text: &&String| text.contains(['*', '?']);
        let (patterns, names): (Vec<&String>, Vec<&String>) = wish.vms.iter().partition(is_pattern);
        if patterns.is_empty() && wish.tenants.is_empty() {
            let machines = names.iter().map(|name| {
                self.named(asker, grants, name)
                    .or_else(|status| self.named_before(asker, grants, wish, name).ok_or(status))
            });
            return Ok(Asked::Machines(machines.collect::<Result<_, _>>()?));
        }
        let mut selection = Vec::new();
        for name in names {
            selection.push(Selector::Id(self.named(asker, grants, name)?.id));
        }
        selection.extend(wish.tenants.iter().cloned().map(Selector::Tenant));
        for pattern in patterns {
            selection.extend(self.pattern(asker, grants, pattern)?);
        }
        let is_shown = shown(grants, asker);
        let state = self.0.state();
        let shown = state.fleet.machines().filter(|(_, machine)| is_shown(machine));
        let present: BTreeSet<MachineFacts> = shown
            .map(|(_, machine)| facts(machine))
            .filter(|machine| selection.iter().any(|selector| selector.matches(machine)))
            .collect();
        Ok(Asked::Growing { selection, present: present.into_iter().collect() })
    }

    /// The one machine that is called so.
    pub(in crate::server) fn named(
        &self,
        asker: &Asker,
        grants: &Grants,
        name: &str,
    ) -> Result<MachineFacts, Status> {
        let is_shown = shown(grants, asker);
        let (found, suggestions) = self.0.state().fleet.find(name, is_shown);
        let exact: BTreeSet<MachineFacts> = found
            .iter()
            .flat_map(|host| &host.machines)
            .filter(|machine| is_called(machine, name))
            .map(facts)
            .collect();
        let mut exact = exact.into_iter();
        match (exact.next(), exact.next()) {
            (Some(machine), None) => Ok(machine),
            (Some(one), Some(other)) => Err(Status::invalid_argument(format!(
                "{name} may be {} or {}; give an id: overtap find {name}",
                one.id, other.id
            ))),
            (None, _) => {
                let hint = match suggestions.first() {
                    Some(near) => format!("; perhaps {near}?"),
                    None => "; see all you may see: overtap find".into(),
                };
                Err(Status::not_found(format!("nothing is called {name}{hint}")))
            }
        }
    }

    /// The one machine that was called so in the time that is asked for, and is nowhere now.
    pub(in crate::server) fn named_before(
        &self,
        asker: &Asker,
        grants: &Grants,
        wish: &Wish,
        name: &str,
    ) -> Option<MachineFacts> {
        let from = now_ns().saturating_sub(wish.last_s.saturating_mul(1_000_000_000));
        let from = wire::Timestamp::from_nanos(from);
        let history = (wish.last_s > 0).then(|| self.0.state().fleet.history(shown(grants, asker)));
        let history = history?;
        let is_then = |until: Option<wire::Timestamp>| until.is_none_or(|until| until >= from);
        let episodes = history.episodes().iter().filter(|episode| is_then(episode.during.until));
        let named = episodes.filter(|episode| is_called(&episode.machine, name));
        let all: BTreeSet<MachineFacts> = named.map(|episode| facts(&episode.machine)).collect();
        let mut all = all.into_iter();
        all.next().filter(|_| all.next().is_none())
    }

    /// A pattern of names, in every tenant where the asker has a grant for it.
    fn pattern(
        &self,
        asker: &Asker,
        grants: &Grants,
        pattern: &str,
    ) -> Result<Vec<Selector>, Status> {
        let invalid =
            |error: crate::grants::SelectorError| Status::invalid_argument(error.to_string());
        if pattern.contains('/') {
            return Ok(vec![format!("vm:{pattern}").parse().map_err(invalid)?]);
        }
        let anywhere: Selector = format!("vm:*/{pattern}").parse().map_err(invalid)?;
        let Selector::Name { name, .. } = &anywhere else { return Ok(vec![anywhere]) };
        let own = grants.selectors(&asker.user, Purpose::Capture, Timestamp::now());
        if own.iter().any(|granted| granted.includes(&anywhere)) {
            return Ok(vec![anywhere]);
        }
        let owners = own.iter().filter_map(|granted| match granted {
            Selector::Tenant(tenant) => Some(Owner::Tenant(tenant.clone())),
            Selector::Name { owner, .. } => Some(owner.clone()),
            Selector::All | Selector::Id(_) => None,
        });
        let each: BTreeSet<Selector> =
            owners.map(|owner| Selector::Name { owner, name: name.clone() }).collect();
        let granted: Vec<Selector> =
            each.into_iter().filter(|s| own.iter().any(|granted| granted.includes(s))).collect();
        Ok(if granted.is_empty() { vec![anywhere] } else { granted })
    }

    /// Notes that somebody asks for a machine which they may not see, by a name that is wholly its
    /// own and that of none they may see. They are told as if there were none.
    pub(in crate::server) fn note_hidden(
        &self,
        asker: &Asker,
        grants: &Grants,
        what: &str,
        at_ns: u64,
        found: &[HostFound],
    ) -> Result<(), Status> {
        let is_meant = |machine: &&Machine| is_called(machine, what);
        if what.trim().is_empty()
            || found.iter().flat_map(|host| &host.machines).any(|machine| is_meant(&machine))
        {
            return Ok(());
        }
        let is_shown = shown(grants, asker);
        let is_hidden = |machine: &Machine| !is_shown(machine);
        let hidden = {
            let state = self.0.state();
            match at_ns {
                0 => state.fleet.find(what, is_hidden).0,
                at => state.fleet.find_at(what, wire::Timestamp::from_nanos(at), is_hidden).0,
            }
        };
        let machines = hidden.iter().flat_map(|host| &host.machines).filter(is_meant).map(facts);
        let machines: BTreeSet<MachineFacts> = machines.collect();
        if machines.is_empty() {
            return Ok(());
        }
        let because = "no grant shows it to them, so it is not found".to_owned();
        let entry = Draft {
            who: Who::User(asker.user.name.clone()),
            from: asker.from.clone(),
            subject: what.to_owned(),
            machines: machines.into_iter().collect(),
            ..draft(Action::Find, Answer::Refused { because })
        };
        self.0.note(&entry).map_err(|error| broken(&error))
    }

    /// All machines that a wish could mean, whoever may know of them: for the audit log.
    pub(in crate::server) fn meant(&self, wish: &Wish) -> Vec<MachineFacts> {
        let state = self.0.state();
        let found = wish.vms.iter().flat_map(|name| state.fleet.find(name, |_| true).0);
        let machines = found.flat_map(|host| host.machines);
        machines.map(|machine| facts(&machine)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What the names in the expression mean, of what the asker may know.
    pub(in crate::server) fn explained(
        &self,
        asker: &Asker,
        grants: &Grants,
        expression: &str,
        machines: &[MachineFacts],
    ) -> Result<Resolved, Status> {
        let text = expression.trim();
        if text.is_empty() {
            return Ok(Resolved::default());
        }
        let misunderstood = |error: &select::ParseError| {
            Status::invalid_argument(format!("cannot understand the filter\n{error}"))
        };
        // Most expressions name nothing, and all that is known of every host is a lot to go through.
        if let Ok(explained) = Resolved::of(text, &NoNames) {
            Filter::parse_with(text, &explained).map_err(|error| misunderstood(&error))?;
            return Ok(explained);
        }
        let history: History = self.0.state().fleet.history(shown(grants, asker));
        let names = Names::new(&history);
        let at_point = match machines {
            [machine] => names.at_point_of(&machine.id.to_string()).ok().flatten(),
            _ => None,
        };
        let explained = match &at_point {
            Some(at_point) => Resolved::of(text, at_point),
            None => Resolved::of(text, &names),
        };
        let explained = explained.map_err(|error| misunderstood(&error))?;
        Filter::parse_with(text, &explained).map_err(|error| misunderstood(&error))?;
        Ok(explained)
    }
}

pub(in crate::server) fn shown(grants: &Grants, asker: &Asker) -> impl Fn(&Machine) -> bool {
    let now = Timestamp::now();
    move |machine| grants.shows(&asker.user, &facts(machine), now)
}

/// Whether a name is the machine's own and not only the beginning of it: to look, a beginning is
/// enough; to capture, the name must be whole.
fn is_called(machine: &Machine, name: &str) -> bool {
    let site = inventory::Site { machines: vec![machine.clone()], ..inventory::Site::default() };
    site.one(name).is_ok()
}
