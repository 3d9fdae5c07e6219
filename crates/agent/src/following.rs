//! What changes around a VM while it is captured, and what that means for the capture.
//!
//! It compares one state of the site with the next and says what it sees; it tells nobody.

use std::slice::from_ref;
use std::time::Duration;

use inventory::{Attachment, Change, Machine, MachineId, Site, What};
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
    /// For each interface, whose it is instead, where it is not the VM's.
    others: Vec<Option<String>>,
    /// Whether ports that the VM gets meanwhile are looked at as well.
    grows: bool,
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
    /// Begins to follow the VM that is captured at `point`. If it `grows`, the capture takes what
    /// [`new_ports`](Self::new_ports) finds.
    pub fn new(machine: &Machine, point: &Point, grows: bool) -> Self {
        Self {
            machine: machine.clone(),
            kind: point.kind,
            interfaces: point.interfaces.clone(),
            others: vec![None; point.interfaces.len()],
            grows: grows && point.kind == PointKind::Port,
        }
    }

    /// Ports that the VM has now and that nobody looks at, if this capture grows.
    pub fn new_ports(&self, site: &Site) -> Vec<Interface> {
        let machine = same_machine(site, &self.machine).filter(|_| self.grows);
        let plan = machine.map(|machine| plan::plan(site, machine));
        let points = plan.into_iter().flat_map(|plan| plan.points);
        let ports = points.filter(|point| point.kind == self.kind && point.is_usable());
        let place = |interface: &Interface| (interface.ifindex, interface.namespace_path.clone());
        let known: Vec<_> = self.interfaces.iter().map(place).collect();
        // One without an index cannot be told from one that is looked at.
        let is_new = |one: &Interface| one.ifindex.is_some() && !known.contains(&place(one));
        ports.flat_map(|point| point.interfaces).filter(is_new).collect()
    }

    /// From now on this port, the next one in number, is looked at as well.
    pub fn add(&mut self, interface: Interface) {
        self.interfaces.push(interface);
        self.others.push(None);
    }

    /// The VM, as it was last seen.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Compares the site, as it is at `now`, with what it was at the last call.
    pub fn compare(&mut self, site: &Site, now: Timestamp) -> Changes {
        let mut changes = Changes::default();
        let found = same_machine(site, &self.machine);
        if let Some(machine) = found.filter(|_| self.kind != PointKind::Peer) {
            // Known by something else than its identity it is the same all the same.
            self.machine.id = machine.id.clone();
            let all = inventory::changes(now, from_ref(&self.machine), from_ref(machine));
            changes.sentences.extend(all.iter().filter_map(|change| self.told(change)));
            self.machine = machine.clone();
        }
        match self.kind {
            PointKind::Port => self.compare_owners(site, found, &mut changes),
            PointKind::Uplink => {
                let plan = found.map(|machine| plan::plan(site, machine));
                let points = plan.into_iter().flat_map(|plan| plan.points);
                let uplink = points.into_iter().find(|point| point.kind == PointKind::Uplink);
                self.compare_networks(uplink.as_ref(), &mut changes);
            }
            // Where it is while it is not here, nobody can say; what names it stays so.
            PointKind::Peer => {
                let point = plan::peer(site, &self.machine);
                self.compare_networks(Some(&point), &mut changes);
            }
            PointKind::Mirror => self.compare_mirrors(site, found, &mut changes),
            PointKind::Inside => {}
        }
        changes
    }

    /// From when on a change holds that was told at `told`. On a shared wire the switch may have
    /// acted before it told us: rather nothing of these milliseconds than a frame of somebody else.
    pub fn since(&self, told: Timestamp) -> Timestamp {
        match self.kind {
            PointKind::Uplink | PointKind::Peer | PointKind::Mirror => told.saturating_sub(AHEAD),
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
            What::IpLearned { .. }
            | What::IpLost { .. }
            | What::AlsoCalled { .. }
            | What::NotCalled { .. } => return None,
            What::VnicAdded { .. } if !self.grows => "; this capture does not look there",
            _ => "",
        };
        Some(format!("{change}{limit}"))
    }

    /// A port that another machine has now is not the VM's any more, whatever it was; nor is one
    /// that is nobody's: the next to use it is seen only after it has begun to.
    fn compare_owners(&mut self, site: &Site, found: Option<&Machine>, changes: &mut Changes) {
        let interfaces = self.interfaces.iter_mut().zip(&mut self.others);
        for (number, (interface, told)) in interfaces.enumerate() {
            let name = &interface.name;
            let is_its = |machine: &Machine| attachments(machine).any(|at| is_at(interface, at));
            let other = site.machines.iter().filter(|m| Some(*m) != found).find(|m| is_its(m));
            if other.is_none() && (interface.ifindex.is_none() || found.is_some_and(is_its)) {
                if interface.ownership != Ownership::Whole {
                    changes
                        .sentences
                        .push(format!("{name} belongs to {} again", self.machine.name));
                    changes.owned.push((number, Ownership::Whole));
                    interface.ownership = Ownership::Whole;
                    *told = None;
                }
                continue;
            }
            // A port that nothing speaks for is called like its device.
            let other = other.map(|m| &m.name).filter(|owner| *owner != name);
            let owner = other.map_or("nobody known", String::as_str);
            if told.as_deref() != Some(owner) {
                let sentence = format!("{name} belongs to {owner} now; nothing of it is taken");
                changes.sentences.push(sentence);
                *told = Some(owner.to_owned());
            }
            if interface.ownership != NOTHING {
                interface.ownership = NOTHING;
                changes.owned.push((number, NOTHING));
            }
        }
    }

    /// At the end of a mirror the VM's name is what its vSwitch calls it. A mirror of all that comes
    /// is nobody's; and a VM that is gone from here may be mirrored where it is now.
    fn compare_mirrors(&mut self, site: &Site, found: Option<&Machine>, changes: &mut Changes) {
        let Some(machine) = found else { return };
        let ownership = crate::mirror::ownership_of(site, machine);
        for (number, interface) in self.interfaces.iter_mut().enumerate() {
            if interface.ownership == Ownership::Whole || interface.ownership == ownership {
                continue;
            }
            let name = &interface.name;
            changes.sentences.push(format!("{} has other networks at {name} now", machine.name));
            interface.ownership = ownership.clone();
            changes.owned.push((number, ownership.clone()));
        }
    }

    /// An uplink stays shared, but what names the VM there may change: its VLAN, its overlay
    /// number, or that somebody else has its MAC in its network now.
    fn compare_networks(&mut self, uplink: Option<&Point>, changes: &mut Changes) {
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

/// The machine as it is now: by its identity; by its process, which may get a UUID later than it was
/// found; or, where nothing but a process or a port names it, by the same MAC at the same place.
fn same_machine<'a>(site: &'a Site, known: &Machine) -> Option<&'a Machine> {
    let process = |machine: &Machine| machine.pid.map(|pid| (pid, machine.since, machine.kind));
    let is_port = |machine: &Machine| matches!(machine.id, MachineId::Port(_));
    let is_weak =
        |machine: &Machine| is_port(machine) || matches!(machine.id, MachineId::Process(_));
    let cards = |machine: &Machine| -> Vec<_> {
        let cards = machine.vnics.iter().filter_map(|v| Some((v.mac?, v.attachment.as_ref()?)));
        cards.filter_map(|(mac, at)| Some((mac, at.namespace, at.ifindex?))).collect()
    };
    let is_restarted_or_renamed = |now: &Machine| {
        is_weak(now)
            && is_weak(known)
            && (now.name == known.name || is_port(now) && is_port(known))
            && cards(now).iter().any(|card| cards(known).contains(card))
    };
    let machines = || site.machines.iter();
    let by_id = machines().find(|now| now.id == known.id);
    by_id
        .or_else(|| machines().find(|now| process(now).is_some() && process(now) == process(known)))
        .or_else(|| machines().find(|now| is_restarted_or_renamed(now)))
}

fn attachments(machine: &Machine) -> impl Iterator<Item = &Attachment> {
    machine.vnics.iter().filter_map(|vnic| vnic.attachment.as_ref())
}

fn is_at(interface: &Interface, place: &Attachment) -> bool {
    place.ifindex.is_some()
        && place.ifindex == interface.ifindex
        && place.namespace_path == interface.namespace_path
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
        let mut following = Following::new(&web, &point(PointKind::Port, &["vnet3"]), false);
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
        let mut following = Following::new(&web, &point(PointKind::Port, &["vnet3"]), false);
        let mut db = machine("db", "vnet3", 3);
        db.vnics[0].mac = Some(wire::Mac([2, 0, 0, 0, 0, 9]));
        let later = site(vec![db]);
        let changes = following.compare(&later, NOW);
        assert_eq!(changes.sentences, ["vnet3 belongs to db now; nothing of it is taken"]);
        assert_eq!(changes.owned, [(0, NOTHING)]);
        assert_eq!(following.compare(&later, NOW), Changes::default());
    }

    #[test]
    fn a_port_of_the_same_name_with_another_index_is_another_port() {
        let web = machine("web", "vnet3", 3);
        let mut following = Following::new(&web, &point(PointKind::Port, &["vnet3"]), false);
        let later = site(vec![web, machine("db", "vnet3", 9)]);
        assert_eq!(following.compare(&later, NOW), Changes::default());
    }

    #[test]
    fn a_port_that_is_nobodys_is_not_the_vms_until_it_comes_back() {
        let web = machine("web", "vnet3", 3);
        let mut following = Following::new(&web, &point(PointKind::Port, &["vnet3"]), false);
        let changes = following.compare(&site(vec![]), NOW);
        assert_eq!(
            changes.sentences,
            ["vnet3 belongs to nobody known now; nothing of it is taken"]
        );
        assert_eq!(changes.owned, [(0, NOTHING)]);
        let mut db = machine("db", "vnet3", 3);
        db.vnics[0].mac = None;
        let changes = following.compare(&site(vec![db]), NOW);
        assert_eq!(changes.sentences, ["vnet3 belongs to db now; nothing of it is taken"]);
        let changes = following.compare(&site(vec![web]), NOW);
        assert_eq!(changes.sentences, ["vnet3 belongs to web again"]);
        assert_eq!(changes.owned, [(0, Ownership::Whole)]);
    }

    #[test]
    fn a_vm_without_uuid_that_was_restarted_on_its_port_is_the_same() {
        let mut web = machine("web", "vnet3", 3);
        (web.id, web.pid) = (MachineId::Process(7), Some(7));
        let mut following = Following::new(&web, &point(PointKind::Port, &["vnet3"]), false);
        (web.id, web.pid) = (MachineId::Process(9), Some(9));
        assert!(following.compare(&site(vec![web.clone()]), NOW).owned.is_empty());
        web.id = MachineId::Uuid(inventory::facts::Uuid([1; 16]));
        assert!(following.compare(&site(vec![web.clone()]), NOW).owned.is_empty(), "by process");
        (web.pid, web.id) = (Some(11), MachineId::Process(11));
        web.vnics[0].mac = Some(wire::Mac([2, 0, 0, 0, 0, 9]));
        assert_eq!(following.compare(&site(vec![web]), NOW).owned, [(0, NOTHING)]);
    }

    #[test]
    fn a_port_that_comes_later_is_found_once_and_only_where_it_is_wanted() {
        let web = machine("web", "vnet3", 3);
        let at = point(PointKind::Port, &["vnet3"]);
        let mut following = Following::new(&web, &at, true);
        assert!(following.new_ports(&site(vec![web.clone()])).is_empty());
        let mut later = web.clone();
        later.vnics.push(machine("web", "vnet9", 9).vnics.remove(0));
        later.vnics[1].name = "net1".into();
        later.vnics[1].mac = Some(wire::Mac([2, 0, 0, 0, 0, 9]));
        let later = site(vec![later]);
        let told = following.compare(&later, NOW).sentences;
        assert_eq!(told, ["web: net1 added", "web: net1 attached to vnet9"]);
        let found = following.new_ports(&later);
        assert_eq!(found.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["vnet9"]);
        following.add(found[0].clone());
        assert!(following.new_ports(&later).is_empty());
        assert!(Following::new(&web, &at, false).new_ports(&later).is_empty());
    }

    #[test]
    fn nothing_of_an_uplink_is_taken_while_the_vm_is_gone() {
        let web = machine("web", "up0", 3);
        let mut following = Following::new(&web, &point(PointKind::Uplink, &["up0"]), false);
        let changes = following.compare(&site(vec![machine("db", "up0", 4)]), NOW);
        assert_eq!(changes.owned, [(0, NOTHING)]);
    }
}
