//! What changes around a VM while it is captured, and what that means for the capture.
//!
//! It compares one state of the site with the next and says what it sees; it tells nobody.

use inventory::{Attachment, Machine, Site};
use plan::{Interface, Point, PointKind};

/// The VM of a capture and its interfaces, as last seen.
#[derive(Debug)]
pub struct Following {
    machine: Machine,
    interfaces: Vec<Interface>,
    kind: PointKind,
    is_disowned: Vec<bool>,
}

/// What is different from the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// A sentence for each, for people and for the file.
    pub sentences: Vec<String>,
    /// Numbers of the interfaces that are somebody else's from now on.
    pub disowned: Vec<usize>,
}

impl Following {
    /// Begins to follow the VM that is captured at `point`.
    pub fn new(machine: &Machine, point: &Point) -> Self {
        Self {
            machine: machine.clone(),
            interfaces: point.interfaces.clone(),
            kind: point.kind,
            is_disowned: vec![false; point.interfaces.len()],
        }
    }

    /// Compares the site with what it was at the last call.
    pub fn compare(&mut self, site: &Site) -> Changes {
        let mut changes = Changes::default();
        if let Some(now) = site.machines.iter().find(|machine| machine.id == self.machine.id) {
            if now.name != self.machine.name {
                changes
                    .sentences
                    .push(format!("{} was renamed to {}", self.machine.name, now.name));
            }
            if now.state != self.machine.state {
                changes.sentences.push(format!("{} is {}", now.name, now.state));
            }
            self.machine = now.clone();
        }
        for (number, interface) in self.interfaces.iter().enumerate() {
            let Some(is_disowned) = self.is_disowned.get_mut(number) else { continue };
            // An uplink is shared; who owns its frames is for the guard to say, one by one.
            if *is_disowned || self.kind != PointKind::Port {
                continue;
            }
            if let Some(owner) = other_owner(interface, &self.machine, site) {
                *is_disowned = true;
                changes.disowned.push(number);
                changes.sentences.push(format!(
                    "{} belongs to {} now; nothing of it is taken",
                    interface.name, owner.name
                ));
            }
        }
        changes
    }

    /// The sentence for an interface that was removed.
    pub fn interface_gone(&self, number: usize) -> String {
        let label = self.interfaces.get(number).map_or("?", |interface| interface.label.as_str());
        format!("the interface of {label} was removed")
    }
}

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

    #[test]
    fn a_new_name_and_a_new_state_are_told_once() {
        let mut web = machine("web", "vnet3", 3);
        let mut following = Following::new(&web, &point(PointKind::Port, &["vnet3"]));
        assert_eq!(following.compare(&site(vec![web.clone()])), Changes::default());

        web.name = "web-old".into();
        web.state = MachineState::Paused;
        let changes = following.compare(&site(vec![web.clone()]));
        assert_eq!(changes.sentences, ["web was renamed to web-old", "web-old is paused"]);
        assert!(changes.disowned.is_empty());
        assert_eq!(following.compare(&site(vec![web])), Changes::default());
    }

    #[test]
    fn a_port_that_another_vm_has_now_is_disowned_once() {
        let web = machine("web", "vnet3", 3);
        let mut following = Following::new(&web, &point(PointKind::Port, &["vnet3"]));
        let later = site(vec![machine("db", "vnet3", 3)]);
        let changes = following.compare(&later);
        assert_eq!(changes.sentences, ["vnet3 belongs to db now; nothing of it is taken"]);
        assert_eq!(changes.disowned, [0]);
        assert_eq!(following.compare(&later), Changes::default());
    }

    #[test]
    fn a_port_of_the_same_name_with_another_index_is_another_port() {
        let web = machine("web", "vnet3", 3);
        let mut following = Following::new(&web, &point(PointKind::Port, &["vnet3"]));
        let later = site(vec![machine("db", "vnet3", 9)]);
        assert_eq!(following.compare(&later), Changes::default());
    }

    #[test]
    fn an_uplink_is_never_disowned() {
        let web = machine("web", "up0", 3);
        let mut following = Following::new(&web, &point(PointKind::Uplink, &["up0"]));
        let later = site(vec![machine("db", "up0", 3)]);
        assert_eq!(following.compare(&later), Changes::default());
    }
}
