//! What changes around the VM while it is captured: whose a port is, which network it is in.

use std::time::Duration;

use agent::Session;
use inventory::facts::NamespaceId;
use inventory::{Attachment, Machine, MachineId, Site};
use plan::{Interface, Point, PointKind};
use select::{Identity, Ownership};

use super::time;
use crate::site::LiveSite;

/// Compares the site with what the capture was started on.
pub(super) struct Following {
    machine: Machine,
    kind: PointKind,
    watched: Vec<Watched>,
    events: Vec<String>,
}

/// An interface that is captured on.
struct Watched {
    interface: Interface,
    /// Namespace and index: what stays when it is renamed.
    place: Option<(NamespaceId, u32)>,
    /// Whether anything there is the VM's now.
    is_owned: bool,
}

/// What of an interface is the VM's now, and why.
struct Owned {
    ownership: Option<Ownership>,
    reason: String,
}

impl Following {
    pub(super) fn new(machine: &Machine, point: &Point) -> Self {
        let watched = |interface: &Interface| {
            let is_its = |place: &&Attachment| {
                place.ifindex == interface.ifindex
                    && place.namespace_path == interface.namespace_path
            };
            Watched {
                place: attachments(machine).find(is_its).and_then(place),
                interface: interface.clone(),
                is_owned: true,
            }
        };
        Self {
            machine: machine.clone(),
            kind: point.kind,
            watched: point.interfaces.iter().map(watched).collect(),
            events: Vec::new(),
        }
    }

    /// All that happened.
    pub(super) fn into_events(self) -> Vec<String> {
        self.events
    }

    pub(super) fn interface_gone(&mut self, number: usize) -> String {
        let label = self.watched.get(number).map_or("?", |w| w.interface.label.as_str());
        let text = format!("{}: the interface of {label} was removed", time());
        self.events.push(text.clone());
        text
    }

    /// Compares the site with what it was; tells the engine what follows from it.
    pub(super) fn compare(
        &mut self,
        live: &LiveSite,
        session: &mut Session,
    ) -> anyhow::Result<Vec<String>> {
        let mut news = Vec::new();
        let found = find(live.site(), &self.machine);
        if let Some(now) = found {
            if now.name != self.machine.name {
                news.push(format!("{} was renamed to {}", self.machine.name, now.name));
            }
            if now.state != self.machine.state {
                news.push(format!("{} is {}", now.name, now.state));
            }
            self.machine = now.clone();
        }
        let uplink = match (self.kind, found) {
            (PointKind::Uplink, Some(now)) => uplink(live.site(), now),
            _ => None,
        };
        let at = match self.kind {
            // The switch may have acted before it told us. Rather nothing of these milliseconds
            // than a frame of somebody else.
            PointKind::Uplink => live.changed_at().saturating_sub(AHEAD),
            PointKind::Port | PointKind::Inside => live.changed_at(),
        };
        for (number, watched) in self.watched.iter_mut().enumerate() {
            let now = match self.kind {
                PointKind::Port => watched.at_port(live.site(), found, &self.machine.name),
                PointKind::Uplink => watched.on_uplink(uplink.as_ref(), &self.machine.name),
                PointKind::Inside => None,
            };
            let Some(Owned { ownership, reason }) = now else { continue };
            match ownership {
                None if watched.is_owned => session.disown(number, at)?,
                Some(now) if !watched.is_owned || now != watched.interface.ownership => {
                    watched.interface.ownership = now;
                    session.own(number, &watched.interface, at)?;
                    watched.is_owned = true;
                    news.push(reason);
                    continue;
                }
                _ => continue,
            }
            watched.is_owned = false;
            news.push(reason);
        }
        for text in &mut news {
            text.insert_str(0, &format!("{}: ", time()));
            session.comment(text)?;
        }
        self.events.extend(news.iter().cloned());
        Ok(news)
    }
}

impl Watched {
    /// Whose the VM's own port is: its, another's, or nobody's. Nobody's is not its either: the
    /// next one to use the port is seen only after it has begun to.
    fn at_port(&self, site: &Site, machine: Option<&Machine>, name: &str) -> Option<Owned> {
        let here = self.place?;
        let is_here = |m: &&Machine| attachments(m).filter_map(place).any(|p| p == here);
        let device = &self.interface.name;
        let other = || site.machines.iter().filter(is_here).find(|m| Some(*m) != machine);
        Some(if machine.as_ref().is_some_and(is_here) {
            Owned {
                ownership: Some(Ownership::Whole),
                reason: format!("{device} belongs to {name} again"),
            }
        } else {
            let whose = match other() {
                Some(other) => format!("{device} belongs to {} now", other.name),
                None => format!("nothing of {name} is behind {device} now"),
            };
            Owned { ownership: None, reason: format!("{whose}; nothing of it is taken") }
        })
    }

    /// What names the VM on an uplink.
    fn on_uplink(&self, now: Option<&Point>, name: &str) -> Option<Owned> {
        let device = &self.interface.name;
        let is_it = |i: &&Interface| i.name == *device && i.ifindex == self.interface.ifindex;
        let ownership =
            now.and_then(|p| p.interfaces.iter().find(is_it)).map(|i| i.ownership.clone());
        let reason = match &ownership {
            Some(Ownership::Shared(identities)) => {
                let names: Vec<_> = identities.iter().map(Identity::to_string).collect();
                format!("on {device}, {name} is {} now", names.join(", "))
            }
            _ => {
                let why = now.and_then(|p| p.refusal.as_ref()).map(|r| format!(" ({r})"));
                format!(
                    "nothing on {device} is {name}'s now{}; nothing of it is taken",
                    why.unwrap_or_default()
                )
            }
        };
        Some(Owned { ownership, reason })
    }
}

/// The machine as it is now: by its identity, or, where the identity is only a process or what a
/// port says, by the same MAC at the same place.
fn find<'a>(site: &'a Site, known: &Machine) -> Option<&'a Machine> {
    let is_weak = |id: &MachineId| matches!(id, MachineId::Process(_) | MachineId::Port(_));
    let cards = |machine: &Machine| {
        let cards = machine.vnics.iter();
        cards
            .filter_map(|v| Some((v.mac?, v.attachment.as_ref().and_then(place)?)))
            .collect::<Vec<_>>()
    };
    let is_same = |now: &&Machine| {
        let is_renamed = matches!((&now.id, &known.id), (MachineId::Port(_), MachineId::Port(_)));
        is_weak(&now.id)
            && is_weak(&known.id)
            && (now.name == known.name || is_renamed)
            && cards(now).iter().any(|card| cards(known).contains(card))
    };
    // A process may get its UUID from a port later than it was found.
    let is_same_process = |now: &&Machine| {
        now.pid.is_some()
            && now.kind == known.kind
            && (now.pid, now.since) == (known.pid, known.since)
    };
    let machines = &site.machines;
    let by_id = machines.iter().find(|m| m.id == known.id);
    by_id
        .or_else(|| machines.iter().find(is_same_process))
        .or_else(|| machines.iter().find(is_same))
}

fn uplink(site: &Site, machine: &Machine) -> Option<Point> {
    plan::plan(site, machine).points.into_iter().find(|p| p.kind == PointKind::Uplink)
}

fn attachments(machine: &Machine) -> impl Iterator<Item = &Attachment> {
    machine.vnics.iter().filter_map(|vnic| vnic.attachment.as_ref())
}

fn place(attachment: &Attachment) -> Option<(NamespaceId, u32)> {
    Some((attachment.namespace, attachment.ifindex?))
}

/// How long before its report a change of the switch may have taken effect.
const AHEAD: Duration = Duration::from_millis(20);
