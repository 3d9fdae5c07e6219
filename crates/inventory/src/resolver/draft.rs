//! Which machines there are and which device each of their vNICs uses.
//!
//! Identity is the machine's UUID (or container id, namespace) and the vNIC's MAC or port id,
//! never a tap name: names are reused. Where sources disagree about a device, the newer and more
//! local one wins (a process that holds a tap open, then Open vSwitch, then libvirt) and the other
//! claim is kept as evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use wire::{Mac, Timestamp};

use super::unclaimed;
use super::world::{Device, OvsPlace, World};
use crate::facts::{
    Domain, DomainNic, DomainState, Link, LinkKind, Namespace, NamespaceId, QemuProcess, Source,
    Uuid,
};
use crate::site::{Evidence, MachineId, MachineKind, MachineState};

/// A machine while it is put together.
pub(super) struct Draft {
    pub(super) id: MachineId,
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) kind: MachineKind,
    pub(super) state: MachineState,
    pub(super) tenant: Option<String>,
    pub(super) pid: Option<u32>,
    pub(super) since: Option<Timestamp>,
    pub(super) evidence: Vec<Evidence>,
    pub(super) cards: Vec<Card>,
    /// The namespace it is, for containers and namespaces.
    pub(super) namespace: Option<NamespaceId>,
    /// Whether anything of it is on this host now; what is only defined has no ports.
    is_present: bool,
}

impl Draft {
    pub(super) fn new(id: MachineId, kind: MachineKind) -> Self {
        Self {
            id,
            name: String::new(),
            aliases: Vec::new(),
            kind,
            state: MachineState::Running,
            tenant: None,
            pid: None,
            since: None,
            evidence: Vec::new(),
            cards: Vec::new(),
            namespace: None,
            is_present: true,
        }
    }

    pub(super) fn because(&mut self, source: Source, claim: String) {
        let line = Evidence { claim, source };
        if !self.evidence.contains(&line) {
            self.evidence.push(line);
        }
    }

    /// Takes another name a source has for it.
    fn also_called(&mut self, name: &str) {
        if !name.is_empty() && name != self.name && !self.aliases.iter().any(|a| a == name) {
            self.aliases.push(name.to_owned());
        }
    }

    fn uuid(&self) -> Option<Uuid> {
        if let MachineId::Uuid(uuid) = self.id { Some(uuid) } else { None }
    }
}

/// A network card of a draft.
#[derive(Default)]
pub(super) struct Card {
    /// The guest's name for it, where the host can see it.
    pub(super) name: Option<String>,
    pub(super) mac: Option<Mac>,
    /// Name of the host side device, in `namespace`.
    pub(super) device: Option<String>,
    /// The namespace that device is in.
    pub(super) namespace: NamespaceId,
    /// Who says that the device is this card's.
    pub(super) device_source: Option<Source>,
    /// Name of the port of Open vSwitch, where it is not the device's.
    pub(super) ovs_interface: Option<String>,
    /// The link inside the machine, for namespaces.
    pub(super) inside: Option<(NamespaceId, u32)>,
    pub(super) port_id: Option<String>,
    pub(super) port_group: Option<String>,
    pub(super) ips: Vec<(IpAddr, Source)>,
    /// Why there is no device on the host.
    pub(super) notes: Vec<String>,
}

/// Puts the machines together.
pub(super) fn drafts(world: &World<'_>) -> Vec<Draft> {
    let mut drafts = from_processes(world);
    add_domains(world, &mut drafts);
    settle_devices(&mut drafts);
    add_namespaces(world, &mut drafts);
    add_ovs_claims(world, &mut drafts);
    unclaimed::add_machines(world, &mut drafts);
    identify_by_ports(&mut drafts);
    name_the_nameless(&mut drafts);
    drafts
}

fn from_processes(world: &World<'_>) -> Vec<Draft> {
    let mut qemus: Vec<&QemuProcess> =
        world.processes.map(|p| p.qemus.iter().collect()).unwrap_or_default();
    qemus.sort_by_key(|q| (q.started, q.pid));
    let mut by_uuid: BTreeMap<Uuid, Vec<&QemuProcess>> = BTreeMap::new();
    let mut drafts = Vec::new();
    for qemu in qemus {
        match qemu.uuid {
            Some(uuid) => by_uuid.entry(uuid).or_default().push(qemu),
            None => drafts.push(from_qemus(world, MachineId::Process(qemu.pid), &[qemu])),
        }
    }
    for (uuid, qemus) in by_uuid {
        let names: BTreeSet<&str> = qemus.iter().filter_map(|q| q.name.as_deref()).collect();
        if names.len() < 2 {
            drafts.push(from_qemus(world, MachineId::Uuid(uuid), &qemus));
            continue;
        }
        // Different VMs started with one `-uuid`: to take them for one would show the packets of
        // one under the name of the other. The one libvirt knows keeps the UUID.
        let domain = world.libvirt.and_then(|l| l.domains.iter().find(|d| d.uuid == uuid));
        for qemu in qemus {
            let is_domain = domain.is_some_and(|d| Some(&d.name) == qemu.name.as_ref());
            let id = if is_domain { MachineId::Uuid(uuid) } else { MachineId::Process(qemu.pid) };
            let mut draft = from_qemus(world, id, &[qemu]);
            draft.because(
                Source::Proc,
                format!("UUID {uuid} is used by several VMs and not taken for its identity"),
            );
            drafts.push(draft);
        }
    }
    drafts
}

/// One VM; of several processes (a migration within the host) the newest that runs leads.
fn from_qemus(world: &World<'_>, id: MachineId, qemus: &[&QemuProcess]) -> Draft {
    let mut draft = Draft::new(id, MachineKind::Vm);
    let mut order: Vec<&QemuProcess> = qemus.to_vec();
    order.sort_by_key(|q| (q.is_incoming, std::cmp::Reverse((q.started, q.pid))));
    if let Some(leader) = order.first() {
        draft.pid = Some(leader.pid);
        draft.since = Some(leader.started);
        draft.state =
            if leader.is_incoming { MachineState::Incoming } else { MachineState::Running };
    }
    for qemu in order {
        let name = qemu.name.as_deref().unwrap_or_default();
        if draft.name.is_empty() {
            name.clone_into(&mut draft.name);
        }
        let waits = if qemu.is_incoming { ", waiting for it to arrive" } else { "" };
        draft.because(Source::Proc, format!("QEMU process {} is it{waits}", qemu.pid));
        for nic in &qemu.nics {
            let mut card = Card {
                mac: nic.mac,
                device: nic.tap.clone(),
                namespace: qemu.namespace,
                ..Card::default()
            };
            match &nic.tap {
                Some(tap) => {
                    card.device_source = Some(Source::Proc);
                    draft.because(
                        Source::Proc,
                        format!("QEMU process {} holds tap {tap}{}", qemu.pid, of_mac(nic.mac)),
                    );
                }
                None if !matches!(nic.backend.as_str(), "" | "tap" | "bridge") => {
                    card.notes.push(without_device(&nic.backend));
                }
                None => card.notes.push(UNSEEN_TAP.to_owned()),
            }
            draft.cards.push(card);
        }
    }
    if draft.cards.iter().any(|c| c.device.is_some() && c.namespace != world.own) {
        draft.because(Source::Proc, "its taps are in another network namespace".to_owned());
    }
    draft
}

fn of_mac(mac: Option<Mac>) -> String {
    mac.map(|m| format!(" for {m}")).unwrap_or_default()
}

/// Why a card with such a back end has no device on the host.
fn without_device(backend: &str) -> String {
    match backend {
        "vhost-user" | "vhostuser" => {
            "vhost-user: its frames go by shared memory, there is no device on the host".to_owned()
        }
        "hostdev" => "SR-IOV: the card is the VM's own, there is no device on the host".to_owned(),
        "user" => "QEMU's user-mode network: no device on the host and no switch".to_owned(),
        other => format!("back end {other}: no device on the host"),
    }
}

fn add_domains(world: &World<'_>, drafts: &mut Vec<Draft>) {
    let mut domains: Vec<&Domain> =
        world.libvirt.map(|l| l.domains.iter().collect()).unwrap_or_default();
    domains.sort_by_key(|d| d.uuid);
    for domain in domains {
        let id = MachineId::Uuid(domain.uuid);
        let known = drafts.iter().position(|d| d.id == id);
        let at = known.unwrap_or_else(|| {
            drafts.push(Draft::new(id, MachineKind::Vm));
            drafts.len() - 1
        });
        if let Some(draft) = drafts.get_mut(at) {
            add_domain(world, draft, domain, known.is_some());
        }
    }
}

fn add_domain(world: &World<'_>, draft: &mut Draft, domain: &Domain, has_process: bool) {
    // A running VM can be renamed; its process keeps the name it was started with.
    let started_as = std::mem::replace(&mut draft.name, domain.name.clone());
    draft.because(Source::Libvirt, format!("domain {} is called {}", domain.uuid, domain.name));
    if !started_as.is_empty() && started_as != domain.name {
        draft.because(Source::Proc, format!("its process was started as {started_as}"));
        draft.also_called(&started_as);
    }
    if let Some(title) = &domain.title {
        draft.also_called(title);
    }
    if let Some(tenant) = &domain.tenant {
        draft.because(Source::Libvirt, format!("its owner is {tenant}"));
        draft.tenant = Some(tenant.clone());
    }
    let is_waiting = draft.state == MachineState::Incoming;
    let (state, word) = match domain.state {
        DomainState::Running => (MachineState::Running, "runs"),
        DomainState::Paused if is_waiting => (MachineState::Incoming, "is paused"),
        DomainState::Paused => (MachineState::Paused, "is paused"),
        DomainState::Incoming => (MachineState::Incoming, "arrives"),
        DomainState::Outgoing => (MachineState::Outgoing, "leaves"),
        DomainState::Shutoff => (MachineState::Shutoff, "does not run"),
    };
    draft.because(Source::Libvirt, format!("it {word}"));
    if domain.state == DomainState::Shutoff {
        if has_process {
            // A process that is there runs, whatever is written about it.
            return;
        }
        draft.is_present = false;
    }
    draft.state = state;
    add_domain_nics(world, draft, domain);
}

fn add_domain_nics(world: &World<'_>, draft: &mut Draft, domain: &Domain) {
    let mut taken = BTreeSet::new();
    let mut order = Vec::new();
    for nic in &domain.nics {
        let free = |cards: &[Card], is_it: &dyn Fn(&Card) -> bool| {
            cards.iter().enumerate().position(|(i, c)| !taken.contains(&i) && is_it(c))
        };
        // The tap decides between cards of equal MAC; without one their order does.
        let same = free(&draft.cards, &|c| {
            c.mac == Some(nic.mac) && c.device.is_some() && c.device == nic.tap
        })
        .or_else(|| free(&draft.cards, &|c| c.mac == Some(nic.mac)))
        .or_else(|| {
            free(&draft.cards, &|c| c.mac.is_none() && c.device.is_some() && c.device == nic.tap)
        });
        let at = same.unwrap_or_else(|| {
            draft.cards.push(Card { namespace: world.own, ..Card::default() });
            draft.cards.len() - 1
        });
        taken.insert(at);
        order.push(at);
        if let Some(card) = draft.cards.get_mut(at) {
            add_domain_nic(world, card, nic, draft.is_present);
            if let (Some(tap), true) = (&nic.tap, draft.is_present) {
                let claim = format!("{} uses {tap}", nic.mac);
                draft.because(Source::Libvirt, claim);
            }
        }
    }
    // Cards of the command line that libvirt does not list were unplugged, unless the process
    // still holds their tap.
    let mut cards: Vec<Option<Card>> = draft.cards.drain(..).map(Some).collect();
    let mut kept: Vec<Card> =
        order.iter().filter_map(|i| cards.get_mut(*i).and_then(Option::take)).collect();
    kept.extend(cards.into_iter().flatten().filter(|c| c.device.is_some()));
    draft.cards = kept;
}

fn add_domain_nic(world: &World<'_>, card: &mut Card, nic: &DomainNic, is_present: bool) {
    card.mac = Some(nic.mac);
    card.port_id.clone_from(&nic.interface_id);
    card.port_group =
        nic.port_group.clone().or_else(|| nic.source.clone().filter(|_| nic.kind == "network"));
    card.ips.extend(nic.ips.iter().map(|ip| (*ip, Source::Libvirt)));
    if card.device.is_none() && is_present {
        if let Some(tap) = &nic.tap {
            card.notes.clear();
            card.device = Some(tap.clone());
            card.namespace = world.own;
            card.device_source = Some(Source::Libvirt);
        } else if matches!(nic.kind.as_str(), "hostdev" | "vhostuser" | "user") {
            card.notes = vec![without_device(&nic.kind)];
        }
    }
}

/// Leaves each device to one machine.
fn settle_devices(drafts: &mut [Draft]) {
    let mut claims: BTreeMap<(NamespaceId, String), Vec<Claim>> = BTreeMap::new();
    for (machine, draft) in drafts.iter().enumerate() {
        for (index, card) in draft.cards.iter().enumerate() {
            let (Some(device), Some(source)) = (&card.device, &card.device_source) else {
                continue;
            };
            let is_local = *source == Source::Proc;
            let claim = Claim { rank: (is_local, draft.since), machine, card: index };
            claims.entry((card.namespace, device.clone())).or_default().push(claim);
        }
    }
    for ((_, device), mut rivals) in claims {
        rivals.sort_by_key(|c| c.rank);
        let Some(winner) = rivals.pop() else { continue };
        for loser in rivals {
            if loser.machine == winner.machine && loser.card == winner.card {
                continue;
            }
            let winner_name = drafts.get(winner.machine).map(|d| d.name.clone());
            let Some(draft) = drafts.get_mut(loser.machine) else { continue };
            let Some(card) = draft.cards.get_mut(loser.card) else { continue };
            card.device = None;
            let source = card.device_source.take().unwrap_or(Source::Proc);
            let winner_name = winner_name.unwrap_or_default();
            draft.because(
                source,
                format!("{device} was its tap; {winner_name} has it now (newer or more local)"),
            );
        }
    }
}

struct Claim {
    /// Whether a process holds it, and since when the process runs.
    rank: (bool, Option<Timestamp>),
    machine: usize,
    card: usize,
}

fn add_namespaces(world: &World<'_>, drafts: &mut Vec<Draft>) {
    let mut namespaces: Vec<&Namespace> =
        world.processes.map(|p| p.namespaces.iter().collect()).unwrap_or_default();
    namespaces.sort_by_key(|n| n.id);
    for namespace in namespaces {
        if namespace.id == world.own {
            continue;
        }
        let is_container = namespace.runtime_id.is_some();
        let (id, kind) = match &namespace.runtime_id {
            Some(id) => (MachineId::Container(id.clone()), MachineKind::Container),
            None => (MachineId::Namespace(namespace.id), MachineKind::Namespace),
        };
        let mut draft = Draft::new(id, kind);
        draft.name.clone_from(&namespace.name);
        draft.pid = namespace.pid;
        draft.since = namespace.started;
        draft.namespace = Some(namespace.id);
        let what = if is_container { "container" } else { "network namespace" };
        draft.because(
            Source::Proc,
            format!(
                "{what} {} is called {} by {}",
                namespace.id.0, namespace.name, namespace.runtime
            ),
        );
        if !world.has_network(namespace.id) {
            draft.because(Source::Proc, "its links could not be read".to_owned());
        }
        for device in world.links(namespace.id).filter(|d| is_vnic(world, *d)) {
            draft.cards.push(namespace_card(world, &mut draft.evidence, device));
        }
        drafts.push(draft);
    }
}

/// Whether a link in another namespace is a card of the machine there: it leads elsewhere and is
/// not a port of a switch inside.
fn is_vnic(world: &World<'_>, device: Device<'_>) -> bool {
    let link = device.link;
    if world.is_switch_port(device) {
        return false;
    }
    match &link.kind {
        LinkKind::Veth { is_peer_elsewhere, .. } => *is_peer_elsewhere,
        LinkKind::Physical => true,
        // Stacked on a device of the host; on one of its own namespace it is that one's affair.
        LinkKind::Macvlan { lower, lower_namespace }
        | LinkKind::Vlan { lower, lower_namespace, .. } => {
            lower.is_none() || lower_namespace.is_some_and(|n| n != device.namespace)
        }
        LinkKind::Tun { .. } => is_moved_ovs_port(world, link),
        LinkKind::Other(kind) => {
            matches!(kind.as_str(), "ipvlan" | "netkit") || is_moved_ovs_port(world, link)
        }
        _ => false,
    }
}

/// Whether a link in another namespace is an internal port of Open vSwitch that was moved there.
fn is_moved_ovs_port(world: &World<'_>, link: &Link) -> bool {
    world.link_named(world.own, &link.name).is_none()
        && world.ovs_interface(&link.name).is_some_and(|p| {
            p.interface.kind == "internal"
                && p.interface.name != p.bridge.name
                && (p.interface.mac_in_use.is_none() || p.interface.mac_in_use == link.mac)
        })
}

fn namespace_card(world: &World<'_>, evidence: &mut Vec<Evidence>, device: Device<'_>) -> Card {
    let link = device.link;
    let source = Source::Netlink(device.namespace);
    let mut card = Card {
        name: Some(link.name.clone()),
        mac: link.mac,
        namespace: world.own,
        inside: Some(device.key()),
        ips: link.addresses.iter().map(|(ip, _)| (*ip, source.clone())).collect(),
        ..Card::default()
    };
    if let Some(peer) = world.peer(device) {
        card.device = Some(peer.link.name.clone());
        card.namespace = peer.namespace;
        evidence.push(Evidence {
            claim: format!("{} is the other end of its {}", peer.link.name, link.name),
            source: source.clone(),
        });
        card.device_source = Some(source);
    } else if is_moved_ovs_port(world, link) {
        card.ovs_interface = Some(link.name.clone());
        card.notes.push("an internal port in its namespace: no device on the host".to_owned());
    } else {
        card.notes.push(match &link.kind {
            LinkKind::Veth { .. } => format!("the other end of {} cannot be seen", link.name),
            LinkKind::Macvlan { .. } | LinkKind::Vlan { .. } => {
                "stacked on a device of the host, no device of its own there".to_owned()
            }
            LinkKind::Physical => {
                "a card moved into its namespace: no device on the host".to_owned()
            }
            _ => "no device on the host".to_owned(),
        });
    }
    card
}

/// Joins what Open vSwitch's external ids say, and adds the machines only they know.
fn add_ovs_claims(world: &World<'_>, drafts: &mut Vec<Draft>) {
    let places: Vec<OvsPlace<'_>> =
        world.ovs_interfaces().into_iter().filter(OvsPlace::has_claim).collect();
    // Ports that are a card's device first: they are certain, and the others look for what is left.
    let (mut rest, mut attached) = (Vec::new(), BTreeSet::new());
    for place in places {
        match card_of_device(world, drafts, place) {
            Some(at) => {
                attached.insert(at);
                join_device(drafts, at, place);
            }
            None => rest.push(place),
        }
    }
    for place in rest {
        if let Some(at) = card_of_identity(drafts, &attached, place) {
            attached.insert(at);
            join_identity(world, drafts, at, place);
        } else {
            add_ovs_machine(world, drafts, place);
        }
    }
}

type CardIndex = (usize, usize);

/// The card whose host side device this port is.
fn card_of_device(world: &World<'_>, drafts: &[Draft], place: OvsPlace<'_>) -> Option<CardIndex> {
    let name = &place.interface.name;
    find_card(drafts, |_, card| {
        (card.namespace == world.own && card.device.as_ref() == Some(name))
            || card.ovs_interface.as_ref() == Some(name)
    })
}

fn find_card(drafts: &[Draft], is_it: impl Fn(&Draft, &Card) -> bool) -> Option<CardIndex> {
    drafts.iter().enumerate().find_map(|(machine, draft)| {
        draft.cards.iter().position(|c| is_it(draft, c)).map(|card| (machine, card))
    })
}

fn join_device(drafts: &mut [Draft], (machine, card): CardIndex, place: OvsPlace<'_>) {
    let interface = place.interface;
    let claimed = interface.vm_id.as_deref().and_then(|id| id.parse::<Uuid>().ok());
    let Some(draft) = drafts.get_mut(machine) else { return };
    let known_uuid = draft.uuid();
    let Some(known) = draft.cards.get_mut(card) else { return };
    let is_libvirts = known.device_source == Some(Source::Libvirt);
    let is_other_vm = claimed.is_some() && known_uuid.is_some() && claimed != known_uuid;
    let is_other_mac = known.mac.is_some()
        && interface.attached_mac.is_some()
        && known.mac != interface.attached_mac
        && known.inside.is_none();
    if is_other_vm && is_libvirts {
        // The switch is nearer to the port than libvirt is.
        known.device = None;
        known.device_source = None;
        draft.because(
            Source::Libvirt,
            format!("{} was its tap; Open vSwitch gives it to another VM now", interface.name),
        );
        let rival = claimed.map(MachineId::Uuid);
        let at = drafts.iter().position(|d| Some(&d.id) == rival.as_ref());
        if let Some(draft) = at.and_then(|i| drafts.get_mut(i)) {
            give_port(draft, place, None);
        }
        return;
    }
    if is_other_vm || (is_other_mac && draft.namespace.is_none()) {
        let whose = interface.vm_id.as_deref().unwrap_or("another machine");
        draft.because(
            Source::Ovsdb,
            format!(
                "port {} still names {whose}; the process that holds it decides",
                interface.name
            ),
        );
        return;
    }
    known.mac = known.mac.or(interface.attached_mac);
    if interface.iface_id.is_some() {
        known.port_id.clone_from(&interface.iface_id);
    }
    let name = &interface.name;
    draft.because(Source::Ovsdb, format!("{name} is its port on {}", place.bridge.name));
    if let Some(id) = &interface.iface_id {
        draft.because(Source::Ovsdb, format!("port {name} has id {id}"));
    }
    adopt_name(drafts, machine, place);
}

/// Takes the management layer's name or UUID for a machine that has none of its own.
fn adopt_name(drafts: &mut [Draft], machine: usize, place: OvsPlace<'_>) {
    let Some(vm_id) = place.interface.vm_id.as_deref() else { return };
    let uuid = vm_id.parse::<Uuid>().ok();
    let is_taken = uuid.is_some_and(|u| drafts.iter().any(|d| d.uuid() == Some(u)));
    let Some(draft) = drafts.get_mut(machine) else { return };
    let is_anonymous = matches!(draft.id, MachineId::Process(_) | MachineId::Namespace(_));
    match uuid {
        Some(uuid) if is_anonymous && !is_taken => {
            draft.id = MachineId::Uuid(uuid);
            draft.because(Source::Ovsdb, format!("its UUID is {uuid}"));
        }
        Some(_) => {}
        None if vm_id == draft.name => {}
        None => {
            draft.because(Source::Ovsdb, format!("port {} names it {vm_id}", place.interface.name));
            if draft.name.is_empty() || draft.kind == MachineKind::Namespace {
                let old = std::mem::replace(&mut draft.name, vm_id.to_owned());
                draft.also_called(&old);
            } else {
                draft.also_called(vm_id);
            }
        }
    }
}

/// The card a port belongs to by its external ids, when no device says so.
fn card_of_identity(
    drafts: &[Draft],
    attached: &BTreeSet<CardIndex>,
    place: OvsPlace<'_>,
) -> Option<CardIndex> {
    let interface = place.interface;
    let is_free = |at: &CardIndex| !attached.contains(at);
    let all = |is_it: &dyn Fn(&Draft, &Card) -> bool| -> Vec<CardIndex> {
        let mut found = Vec::new();
        for (machine, draft) in drafts.iter().enumerate().filter(|(_, d)| d.is_present) {
            for (index, card) in draft.cards.iter().enumerate() {
                // A card that came from a port has its port.
                if card.ovs_interface.is_none() && is_it(draft, card) {
                    found.push((machine, index));
                }
            }
        }
        found
    };
    let only = |found: Vec<CardIndex>| match found.as_slice() {
        [one] => Some(*one),
        _ => None,
    };
    let is_machine = |draft: &Draft| match interface.vm_id.as_deref() {
        Some(id) => id.parse().map_or_else(|_| draft.name == id, |uuid| draft.uuid() == Some(uuid)),
        None => true,
    };
    let by_id = interface
        .iface_id
        .as_ref()
        .and_then(|id| only(all(&|d, c| is_machine(d) && c.port_id.as_ref() == Some(id))));
    by_id.or_else(|| {
        let mac = interface.attached_mac?;
        let same = all(&|d, c| is_machine(d) && c.mac == Some(mac));
        only(same.into_iter().filter(is_free).collect())
    })
}

fn join_identity(world: &World<'_>, drafts: &mut [Draft], at: CardIndex, place: OvsPlace<'_>) {
    let interface = place.interface;
    let Some(draft) = drafts.get_mut(at.0) else { return };
    let Some(card) = draft.cards.get_mut(at.1) else { return };
    let is_a_device = !interface.kind.starts_with("dpdkvhost")
        && world.link_named(world.own, &interface.name).is_some();
    if card.device.is_none() && card.inside.is_none() {
        if is_a_device {
            card.notes.clear();
            card.device = Some(interface.name.clone());
            card.namespace = world.own;
            card.device_source = Some(Source::Ovsdb);
        }
        card.ovs_interface = Some(interface.name.clone());
    }
    if card.port_id.is_none() {
        card.port_id.clone_from(&interface.iface_id);
    }
    let claim = format!("port {} on {} is its by external ids", interface.name, place.bridge.name);
    draft.because(Source::Ovsdb, claim);
}

/// A port that names a machine nobody else knows, or a card of a known one nobody else lists.
fn add_ovs_machine(world: &World<'_>, drafts: &mut Vec<Draft>, place: OvsPlace<'_>) {
    let interface = place.interface;
    let vm_id = interface.vm_id.as_deref();
    let uuid = vm_id.and_then(|id| id.parse::<Uuid>().ok());
    let text = vm_id.or(interface.iface_id.as_deref());
    let mac = interface.attached_mac.map(|m| m.to_string());
    let Some(text) = text.or(mac.as_deref()) else { return };
    let id = uuid.map_or_else(|| MachineId::Port(text.to_owned()), MachineId::Uuid);
    let device = world.link_named(world.own, &interface.name);
    // A tap nobody holds open has no carrier, nor has a veth whose other end is down.
    let is_live = device.map_or(interface.is_up, |d| d.link.has_carrier);
    // Ports of one `vm-id` are one machine. Not those of one MAC: two tenants may use the same
    // names, and a machine does not have the same card twice.
    let is_same = |d: &Draft| {
        let has_card = d.cards.iter().any(|c| c.mac.is_some() && c.mac == interface.attached_mac);
        let has_port_id =
            interface.iface_id.is_some() && d.cards.iter().any(|c| c.port_id == interface.iface_id);
        let is_alike = has_port_id || d.name == text && !has_card;
        uuid.is_none() && matches!(d.id, MachineId::Port(_)) && is_alike
    };
    let known = drafts.iter().position(|d| if uuid.is_some() { d.id == id } else { is_same(d) });
    let at = known.unwrap_or_else(|| {
        let mut draft = Draft::new(id, MachineKind::Vm);
        let name =
            if uuid.is_some() { interface.iface_id.as_deref().unwrap_or(text) } else { text };
        name.clone_into(&mut draft.name);
        draft.state = MachineState::Incoming;
        drafts.push(draft);
        drafts.len() - 1
    });
    let Some(draft) = drafts.get_mut(at) else { return };
    let is_only_by_ports = draft.evidence.iter().all(|e| e.source == Source::Ovsdb);
    if !draft.is_present {
        // Defined here, not running, and yet a port names it: it is about to arrive or start.
        draft.is_present = true;
        draft.state = MachineState::Incoming;
    }
    if is_only_by_ports && is_live {
        draft.state = MachineState::Running;
    }
    give_port(draft, place, device);
    if is_only_by_ports && !is_live {
        let claim = format!("nothing runs behind port {} yet", interface.name);
        draft.because(Source::Ovsdb, claim);
    }
}

fn give_port(draft: &mut Draft, place: OvsPlace<'_>, device: Option<Device<'_>>) {
    let interface = place.interface;
    let claim = format!("port {} on {} names it", interface.name, place.bridge.name);
    draft.because(Source::Ovsdb, claim);
    let same = draft.cards.iter().position(|c| {
        c.device.is_none() && c.ovs_interface.is_none() && c.mac == interface.attached_mac
    });
    let at = same.unwrap_or_else(|| {
        draft.cards.push(Card::default());
        draft.cards.len() - 1
    });
    let Some(card) = draft.cards.get_mut(at) else { return };
    card.mac = interface.attached_mac;
    card.ovs_interface = Some(interface.name.clone());
    if interface.iface_id.is_some() {
        card.port_id.clone_from(&interface.iface_id);
    }
    if let Some(device) = device {
        card.notes.clear();
        card.device = Some(interface.name.clone());
        card.namespace = device.namespace;
        card.device_source = Some(Source::Ovsdb);
    }
}

/// Gives machines that only ports know the identity of a port: it stays when `vm-id` is changed.
fn identify_by_ports(drafts: &mut [Draft]) {
    for draft in drafts {
        let first = draft.cards.iter().filter_map(|c| c.port_id.as_ref()).min();
        if let (MachineId::Port(id), Some(first)) = (&mut draft.id, first) {
            id.clone_from(first);
        }
    }
}

fn name_the_nameless(drafts: &mut [Draft]) {
    for draft in drafts {
        if draft.name.is_empty() {
            draft.name = match (&draft.id, draft.pid) {
                (MachineId::Uuid(uuid), _) => uuid.to_string(),
                (_, Some(pid)) => format!("qemu-{pid}"),
                (_, None) => "unnamed".to_owned(),
            };
        }
    }
}

/// Why a running VM's card has no known device: its process is another user's.
pub(super) const UNSEEN_TAP: &str = "its tap cannot be seen without the right to read its process";
