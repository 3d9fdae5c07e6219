//! Makes one site of what all sources say, and keeps why.
//!
//! The site is a function of the latest report of each source and of nothing else: order,
//! repetition and merging of reports do not show in it. What a site cannot tell from one look
//! (since when a tap is where it is) is the timeline's to know.

mod address;
mod draft;
mod unclaimed;
mod way_out;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use wire::Timestamp;

use self::draft::{Card, Draft};
use self::way_out::{Owned, Segment, SwitchKey, Tag, WayOut};
use self::world::{Device, OvsPlace, World};
use crate::facts::{Facts, LinkKind, NamespaceId, NetworkFacts, Report, Source};
use crate::site::{
    Attachment, Evidence, Host, Machine, MachineState, Site, SourceState, SwitchKind, Vnic,
};

/// Holds the latest report of each source.
#[derive(Debug, Clone, Default)]
pub struct Resolver {
    held: BTreeMap<Source, Held>,
}

impl Resolver {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a report, unless a later one of the same source is known.
    ///
    /// A source that fails keeps what it said last: the site shows the problem and its age.
    pub fn apply(&mut self, report: Report) {
        let held = self.held.entry(report.source).or_default();
        match report.facts {
            Ok(facts) if held.facts.as_ref().is_none_or(|(at, _)| *at < report.at) => {
                held.facts = Some((report.at, facts));
            }
            Err(problem) if held.problem.as_ref().is_none_or(|(at, _)| *at < report.at) => {
                held.problem = Some((report.at, problem));
            }
            _ => {}
        }
    }

    /// The site as the reports held make it.
    pub fn site(&self) -> Site {
        let gone = self.gone_namespaces();
        let mut networks: Vec<&NetworkFacts> = Vec::new();
        let (mut processes, mut libvirt, mut ovs) = (None, None, None);
        for (source, held) in &self.held {
            match held.facts.as_ref().map(|(_, facts)| facts) {
                Some(Facts::Network(facts)) if !gone.contains(source) => networks.push(facts),
                Some(Facts::Processes(facts)) => processes = Some(facts),
                Some(Facts::Libvirt(facts)) => libvirt = Some(facts),
                Some(Facts::OpenVSwitch(facts)) => ovs = Some(facts),
                Some(Facts::Network(_)) | None => {}
            }
        }
        let mut world = World::new(&networks, processes, libvirt, ovs);
        world.is_ovs_hidden = ovs.is_none()
            && self.held.get(&Source::Ovsdb).is_some_and(|held| held.problem.is_some());
        Site {
            host: host(&world),
            machines: machines(&world),
            sources: self
                .held
                .iter()
                .filter(|(source, _)| !gone.contains(source))
                .filter_map(|(source, held)| held.state(source))
                .collect(),
        }
    }

    /// Namespaces that `/proc` no longer lists although it was read after them.
    fn gone_namespaces(&self) -> BTreeSet<Source> {
        let Some((read_at, Facts::Processes(processes))) =
            self.held.get(&Source::Proc).and_then(|h| h.facts.as_ref())
        else {
            return BTreeSet::new();
        };
        let is_there = |id: NamespaceId| {
            id == processes.own_namespace
                || processes.namespaces.iter().any(|n| n.id == id)
                || processes.qemus.iter().any(|q| q.namespace == id)
        };
        let spoke_before = |held: &Held| {
            let facts = held.facts.as_ref().map(|(at, _)| *at);
            facts.max(held.problem.as_ref().map(|(at, _)| *at)) < Some(*read_at)
        };
        self.held
            .iter()
            .filter(|(source, held)| match source {
                Source::Netlink(id) => !is_there(*id) && spoke_before(held),
                _ => false,
            })
            .map(|(source, _)| source.clone())
            .collect()
    }
}

#[derive(Debug, Clone, Default)]
struct Held {
    facts: Option<(Timestamp, Facts)>,
    problem: Option<(Timestamp, String)>,
}

impl Held {
    fn state(&self, source: &Source) -> Option<SourceState> {
        let read_at = self.facts.as_ref().map(|(at, _)| *at);
        let failed = self.problem.as_ref().filter(|(at, _)| Some(*at) > read_at);
        let at = read_at.max(failed.map(|(at, _)| *at))?;
        let gaps = match &self.facts {
            Some((_, Facts::Processes(facts))) if !facts.gaps.is_empty() => {
                Some(facts.gaps.join("; "))
            }
            _ => None,
        };
        let problem = failed.map(|(_, problem)| problem.clone()).or(gaps);
        Some(SourceState { source: source.clone(), at, problem })
    }
}

fn host(world: &World<'_>) -> Host {
    let name = world
        .processes
        .map(|p| p.hostname.clone())
        .filter(|n| !n.is_empty())
        .or_else(|| world.libvirt.and_then(|l| l.hostname.clone()))
        .or_else(|| world.ovs.and_then(|o| o.hostname.clone()));
    Host { name: name.unwrap_or_default() }
}

fn machines(world: &World<'_>) -> Vec<Machine> {
    let mut drafts = draft::drafts(world);
    let owned = owned_devices(world, &drafts);
    for draft in &mut drafts {
        address::believe_frames(world, draft);
    }
    let mut attached: Vec<Vec<Place>> =
        drafts.iter().map(|d| d.cards.iter().map(|c| attach(world, &owned, c)).collect()).collect();
    address::learn(world, &mut drafts, &attached);
    let mut machines: Vec<Machine> = drafts
        .into_iter()
        .zip(attached.iter_mut())
        .map(|(draft, places)| machine(world, draft, std::mem::take(places)))
        .collect();
    machines.sort_by(|a, b| (&a.name, &a.id, a.pid).cmp(&(&b.name, &b.id, b.pid)));
    machines
}

/// Where a card is attached and which broadcast domain that is.
#[derive(Default)]
pub(crate) struct Place {
    attachment: Option<Attachment>,
    segments: BTreeSet<Segment>,
    evidence: Vec<Evidence>,
}

/// The host side devices of all cards: they lead to machines, not to uplinks.
fn owned_devices(world: &World<'_>, drafts: &[Draft]) -> Owned {
    let cards = drafts.iter().flat_map(|d| &d.cards);
    cards.filter_map(|card| card_device(world, card).map(|d| d.key())).collect()
}

/// The host side device of a card.
fn card_device<'a>(world: &World<'a>, card: &Card) -> Option<Device<'a>> {
    match (&card.device, &card.ovs_interface) {
        (Some(name), _) => {
            world.link_named(card.namespace, name).or_else(|| world.only_tap_named(name))
        }
        (None, Some(name)) => world.link_named(world.own, name),
        (None, None) => None,
    }
}

fn attach(world: &World<'_>, owned: &Owned, card: &Card) -> Place {
    let device = card_device(world, card);
    let ovs = match device {
        Some(device) => world.ovs_port_of(device),
        None => {
            let name = card.ovs_interface.as_ref().or(card.device.as_ref());
            name.filter(|_| card.namespace == world.own || card.ovs_interface.is_some())
                .and_then(|n| world.ovs_interface(n))
        }
    };
    if device.is_none() && ovs.is_none() && card.device.is_none() && card.notes.is_empty() {
        return Place::default();
    }
    let mut attachment = Attachment {
        device: device.map(|d| d.link.name.clone()).or_else(|| card.device.clone()),
        ifindex: device.map(|d| d.link.index),
        namespace: device.map_or(card.namespace, |d| d.namespace),
        namespace_path: None,
        switch: None,
        switch_kind: None,
        port: None,
        port_id: card.port_id.clone(),
        port_group: card.port_group.clone(),
        networks: Vec::new(),
        notes: card.notes.clone(),
        since: None,
    };
    attachment.namespace_path = path_of(world, attachment.namespace);
    let mut place = Place::default();
    let way = way_of(world, owned, card, device, ovs, &mut attachment, &mut place.evidence);
    place.segments = way.segments;
    attachment.networks = way.networks;
    for note in way.notes {
        if !attachment.notes.contains(&note) {
            attachment.notes.push(note);
        }
    }
    place.attachment = Some(attachment);
    place
}

fn way_of(
    world: &World<'_>,
    owned: &Owned,
    card: &Card,
    device: Option<Device<'_>>,
    ovs: Option<OvsPlace<'_>>,
    attachment: &mut Attachment,
    evidence: &mut Vec<Evidence>,
) -> WayOut {
    if let Some(place) = ovs {
        attachment.switch = Some(place.bridge.name.clone());
        attachment.switch_kind = Some(SwitchKind::OpenVSwitch);
        attachment.port = Some(place.port.name.clone());
        let tag = place.port.tag.map(|t| format!(", tag {t}")).unwrap_or_default();
        evidence.push(Evidence {
            claim: format!("{} is a port of {}{tag}", place.interface.name, place.bridge.name),
            source: Source::Ovsdb,
        });
        return way_out::from_ovs(world, owned, place, card.mac);
    }
    let Some(device) = device else {
        if let Some(name) = &card.device {
            // Between two looks of two sources, or in a namespace that cannot be read.
            attachment.notes.push(if world.has_network(card.namespace) {
                format!("the kernel has no device {name}")
            } else {
                format!("the namespace of {name} could not be read")
            });
        }
        return way_without_device(world, owned, card, attachment);
    };
    let source = Source::Netlink(device.namespace);
    if let Some(bridge) = world.bridge_of(device) {
        attachment.switch = Some(bridge.link.name.clone());
        attachment.switch_kind = Some(SwitchKind::LinuxBridge);
        attachment.port = Some(device.link.name.clone());
        evidence.push(Evidence {
            claim: format!("{} is a port of bridge {}", device.link.name, bridge.link.name),
            source,
        });
        return way_out::from_bridge(world, owned, bridge, device, card.mac);
    }
    if let LinkKind::Macvlan { .. } = device.link.kind {
        let lower = world.lower(device);
        attachment.switch = lower.map(|l| l.link.name.clone());
        attachment.switch_kind = Some(SwitchKind::Macvtap);
        attachment.port = Some(device.link.name.clone());
        evidence.push(Evidence {
            claim: format!(
                "{} is a macvtap on {}",
                device.link.name,
                lower.map_or("an unknown device", |l| l.link.name.as_str())
            ),
            source,
        });
        return way_out::from_device(world, owned, device, card.mac);
    }
    attachment.notes.push(match world.master(device) {
        Some(master) => format!("{} belongs to {}", device.link.name, master.link.name),
        None if world.is_ovs_hidden => format!(
            "whether {} is a port of Open vSwitch is not known: its database cannot be read",
            device.link.name
        ),
        None => format!("{} is a port of no switch: the host routes for it", device.link.name),
    });
    WayOut::default()
}

/// The way out of a card inside a namespace that has no other end on the host.
fn way_without_device(
    world: &World<'_>,
    owned: &Owned,
    card: &Card,
    attachment: &mut Attachment,
) -> WayOut {
    let inside = card.inside.and_then(|(namespace, index)| world.link(namespace, index));
    let Some((inside, lower)) = inside.and_then(|d| Some((d, world.lower(d)?))) else {
        return WayOut::default();
    };
    attachment.switch = Some(lower.link.name.clone());
    attachment.switch_kind = Some(SwitchKind::Macvtap);
    way_out::from_device(world, owned, inside, card.mac)
}

fn path_of(world: &World<'_>, namespace: NamespaceId) -> Option<String> {
    if namespace == world.own {
        return None;
    }
    let processes = world.processes?;
    let named = processes.namespaces.iter().find(|n| n.id == namespace).map(|n| n.path.clone());
    named.or_else(|| {
        let qemu = processes.qemus.iter().find(|q| q.namespace == namespace)?;
        Some(format!("/proc/{}/ns/net", qemu.pid))
    })
}

fn machine(world: &World<'_>, draft: Draft, places: Vec<Place>) -> Machine {
    let mut evidence = draft.evidence;
    let mut vnics = Vec::new();
    for (index, (card, place)) in draft.cards.into_iter().zip(places).enumerate() {
        evidence.extend(place.evidence);
        let attachment = if draft.state == MachineState::Shutoff { None } else { place.attachment };
        vnics.push(Vnic {
            name: card.name.unwrap_or_else(|| format!("net{index}")),
            mac: card.mac,
            ips: address::in_order(card.ips),
            attachment,
        });
    }
    Machine {
        id: draft.id,
        name: draft.name,
        aliases: draft.aliases,
        kind: draft.kind,
        state: draft.state,
        tenant: draft.tenant,
        vnics,
        pid: draft.pid,
        namespace_path: draft.namespace.and_then(|namespace| path_of(world, namespace)),
        since: draft.since,
        evidence,
    }
}
