//! What changes around a VM while it is captured, and what that means for the capture.
//!
//! It compares one state of the site with the next and says what it sees; it tells nobody.

use std::slice::from_ref;
use std::time::Duration;

use inventory::{Attachment, Change, Machine, Site, What};
use plan::{Interface, Point, PointKind};
use select::Ownership;
use wire::Timestamp;

/// The VM of a capture and its interfaces, as last seen.
#[derive(Debug)]
pub struct Following {
    machine: Machine,
    kind: PointKind,
    /// With what there was the VM's when it was looked at last.
    interfaces: Vec<Interface>,
}

/// What is different from the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// A sentence for each, for people and for the file.
    pub sentences: Vec<String>,
    /// Numbers of the interfaces where other packets are the VM's from now on, and which.
    pub owned: Vec<(usize, Ownership)>,
}

impl Following {
    /// Begins to follow the VM that is captured at `point`.
    pub fn new(machine: &Machine, point: &Point) -> Self {
        Self { machine: machine.clone(), kind: point.kind, interfaces: point.interfaces.clone() }
    }

    /// Compares the site, as it is at `now`, with what it was at the last call.
    pub fn compare(&mut self, site: &Site, now: Timestamp) -> Changes {
        let mut changes = Changes::default();
        let found = site.machines.iter().find(|machine| machine.id == self.machine.id);
        if let Some(machine) = found {
            let all = inventory::changes(now, from_ref(&self.machine), from_ref(machine));
            changes.sentences.extend(all.iter().filter_map(|change| self.told(change)));
            self.machine = machine.clone();
        }
        match self.kind {
            PointKind::Port => self.compare_owners(site, &mut changes),
            PointKind::Uplink if found.is_some() => self.compare_networks(site, &mut changes),
            PointKind::Uplink | PointKind::Inside => {}
        }
        changes
    }

    /// From when on a change holds that was told at `told`. On a shared wire the switch may have
    /// acted before it told us: rather nothing of these milliseconds than a frame of somebody else.
    pub fn since(&self, told: Timestamp) -> Timestamp {
        match self.kind {
            PointKind::Uplink => told.saturating_sub(AHEAD),
            PointKind::Port | PointKind::Inside => told,
        }
    }

    /// The sentence for an interface that was removed.
    pub fn interface_gone(&self, number: usize) -> String {
        let label = self.interfaces.get(number).map_or("?", |interface| interface.label.as_str());
        format!("the interface of {label} was removed")
    }

    /// What a change of the VM means for this capture, if it means anything.
    fn told(&self, change: &Change) -> Option<String> {
        let limit = match &change.what {
            What::Renamed { from } => {
                return Some(format!("{from} was renamed to {}", change.name));
            }
            What::State { to, .. } => return Some(format!("{} is {to}", change.name)),
            What::IpLearned { .. } | What::IpLost { .. } => return None,
            What::VnicAdded { .. } => "; this capture does not look there",
            _ => "",
        };
        Some(format!("{change}{limit}"))
    }

    /// A port that another machine has now is not the VM's any more, whatever it was.
    fn compare_owners(&mut self, site: &Site, changes: &mut Changes) {
        for (number, interface) in self.interfaces.iter_mut().enumerate() {
            if interface.ownership == NOTHING {
                continue;
            }
            if let Some(owner) = other_owner(interface, &self.machine, site) {
                interface.ownership = NOTHING;
                changes.owned.push((number, NOTHING));
                changes.sentences.push(format!(
                    "{} belongs to {} now; nothing of it is taken",
                    interface.name, owner.name
                ));
            }
        }
    }

    /// An uplink stays shared, but what names the VM there may change: its VLAN, its overlay
    /// number, or that somebody else has its MAC in its network now.
    fn compare_networks(&mut self, site: &Site, changes: &mut Changes) {
        let plan = plan::plan(site, &self.machine);
        let uplink = plan.points.iter().find(|point| point.kind == PointKind::Uplink);
        let refusal = uplink.and_then(|point| point.refusal.as_deref());
        for (number, interface) in self.interfaces.iter_mut().enumerate() {
            let found = uplink.into_iter().flat_map(|point| &point.interfaces).find(|other| {
                (&other.name, &other.namespace_path) == (&interface.name, &interface.namespace_path)
            });
            let ownership = found.map_or(NOTHING, |other| other.ownership.clone());
            if ownership == interface.ownership {
                continue;
            }
            changes.sentences.push(match (&ownership, refusal) {
                (Ownership::Shared(identities), _) if !identities.is_empty() => {
                    let names: Vec<String> = identities.iter().map(ToString::to_string).collect();
                    format!("at {} it is {} now", interface.name, names.join(", "))
                }
                (_, Some(reason)) => format!("nothing of {} is taken: {reason}", interface.name),
                (_, None) => format!("nothing of {} is taken: it left there", interface.name),
            });
            interface.ownership = ownership.clone();
            changes.owned.push((number, ownership));
        }
    }
}

/// How long a switch acts before its database and our source say so, at most.
const AHEAD: Duration = Duration::from_millis(100);

/// No packet at all.
const NOTHING: Ownership = Ownership::Shared(Vec::new());

/// Who the port belongs to now, if that is not `machine`.
fn other_owner<'a>(
    interface: &Interface,
    machine: &Machine,
    site: &'a Site,
) -> Option<&'a Machine> {
    let is_here = |place: &Attachment| {
        place.ifindex.is_some()
            && place.ifindex == interface.ifindex
            && place.namespace_path == interface.namespace_path
    };
    site.machines.iter().find(|other| {
        other.id != machine.id
            && other.vnics.iter().filter_map(|vnic| vnic.attachment.as_ref()).any(is_here)
    })
}

#[cfg(test)]
mod tests {
    use inventory::MachineState;

    use super::*;
    use crate::fixture::{machine, point, site};

    const NOW: Timestamp = Timestamp::from_nanos(1);

    #[test]
    fn a_new_name_and_a_new_state_are_told_once() {
        let mut web = machine("web", "vnet3", 3);
        let mut following = Following::new(&web, &point(PointKind::Port, &["vnet3"]));
        assert_eq!(following.compare(&site(vec![web.clone()]), NOW), Changes::default());

        web.name = "web-old".into();
        web.state = MachineState::Paused;
        let changes = following.compare(&site(vec![web.clone()]), NOW);
        assert_eq!(changes.sentences, ["web was renamed to web-old", "web-old is paused"]);
        assert!(changes.owned.is_empty());
        assert_eq!(following.compare(&site(vec![web]), NOW), Changes::default());
    }

    #[test]
    fn a_port_that_another_vm_has_now_is_disowned_once() {
        let web = machine("web", "vnet3", 3);
        let mut following = Following::new(&web, &point(PointKind::Port, &["vnet3"]));
        let later = site(vec![machine("db", "vnet3", 3)]);
        let changes = following.compare(&later, NOW);
        assert_eq!(changes.sentences, ["vnet3 belongs to db now; nothing of it is taken"]);
        assert_eq!(changes.owned, [(0, NOTHING)]);
        assert_eq!(following.compare(&later, NOW), Changes::default());
    }

    #[test]
    fn a_port_of_the_same_name_with_another_index_is_another_port() {
        let web = machine("web", "vnet3", 3);
        let mut following = Following::new(&web, &point(PointKind::Port, &["vnet3"]));
        let later = site(vec![machine("db", "vnet3", 9)]);
        assert_eq!(following.compare(&later, NOW), Changes::default());
    }

    #[test]
    fn an_uplink_is_never_disowned() {
        let web = machine("web", "up0", 3);
        let mut following = Following::new(&web, &point(PointKind::Uplink, &["up0"]));
        let later = site(vec![machine("db", "up0", 3)]);
        assert_eq!(following.compare(&later, NOW), Changes::default());
    }
}
