//! Where the ends of a flow are: machine, host and tenant, as of the flow's time.
//!
//! An end is known by its MAC within its network; where the record has no MAC, or that of a router,
//! by its address, if only one machine has it in that network and tenant then.

use std::collections::HashMap;
use std::net::IpAddr;

use inventory::{Card, History, MachineId, Period};
use wire::{Mac, Timestamp};

use crate::flow::Flow;
use crate::network::{Network, NvgreSubnets, Overlay, OverlayKind};

/// A machine of the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name, with the tenant's before it where there is one.
    pub label: String,
    /// Who owns it.
    pub tenant: Option<String>,
}

/// The number of a machine among those of [`Places`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineNumber(u32);

/// A vNIC in one state, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which machine's.
    pub machine: MachineNumber,
    /// The host it is on; empty where nobody knows.
    pub host: String,
    /// The device of the host it is attached to.
    pub device: Option<String>,
    /// Its port group.
    pub port_group: Option<String>,
    ips: Vec<IpAddr>,
    networks: Vec<Network>,
    /// Whether the inventory says in which networks it is, also if none of them is told apart here.
    is_on_shared_wire: bool,
    during: Period,
}

/// Everything that is known of where machines were.
#[derive(Debug, Clone, Default)]
pub struct Places {
    machines: Vec<Machine>,
    places: Vec<Place>,
    by_mac: HashMap<Mac, Vec<usize>>,
    by_ip: HashMap<IpAddr, Vec<usize>>,
    /// When a machine changed its host, ascending.
    moves: Vec<Timestamp>,
}

impl Places {
    /// From a history of the site.
    pub fn new(history: &History) -> Self {
        let mut places = Self::default();
        let mut numbers: HashMap<(MachineId, String), MachineNumber> = HashMap::new();
        for card in history.cards() {
            let machine = *numbers.entry(identity(card)).or_insert_with(|| {
                places.machines.push(Machine { label: String::new(), tenant: None });
                MachineNumber(u32::try_from(places.machines.len() - 1).unwrap_or(u32::MAX))
            });
            places.add(machine, card);
        }
        places.find_moves();
        places
    }

    /// Whether nothing is known.
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// A machine by its number.
    pub fn machine(&self, number: MachineNumber) -> Option<&Machine> {
        self.machines.get(number.0 as usize)
    }

    /// The virtual subnets of NVGRE that the inventory names.
    pub fn nvgre(&self) -> NvgreSubnets {
        let overlays = self.places.iter().flat_map(|place| &place.networks);
        let overlays = overlays.filter_map(|network| network.overlay);
        NvgreSubnets::new(
            overlays.filter(|o| o.kind == OverlayKind::Nvgre).map(|overlay| overlay.number),
        )
    }

    /// The network of the vNIC that is attached to a device of a host, if it is in one alone: frames
    /// at its own port are of that network and do not say so.
    pub fn network_at(&self, host: &str, device: &str) -> Option<Network> {
        let is_there =
            |place: &&Place| place.host == host && place.device.as_deref() == Some(device);
        match self.places.iter().rev().find(is_there)?.networks.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// When machines changed their hosts, ascending.
    pub fn moves(&self) -> &[Timestamp] {
        &self.moves
    }

    /// Where the two ends of a flow were at `time`.
    pub fn ends<'a>(&'a self, flow: &Flow, time: Timestamp) -> [Whereabouts<'a>; 2] {
        let ([mac_a, mac_b], [ip_a, ip_b]) = (flow.macs, flow.ends.addresses);
        let by_mac = [mac_a, mac_b].map(|mac| self.by_mac(mac, flow.network, time));
        let by_ip = [ip_a, ip_b].map(|ip| self.by_ip(ip, flow.network, None, time));
        let ([one_mac, other_mac], [one_ip, other_ip]) = (by_mac, by_ip);
        [
            self.settle(one_mac, one_ip, by_mac, other_ip, (ip_a, flow.network, time)),
            self.settle(other_mac, other_ip, by_mac, one_ip, (ip_b, flow.network, time)),
        ]
    }

    /// One end, found by its MAC or its address, and what is known of the other one.
    fn settle<'a>(
        &'a self,
        by_mac: Whereabouts<'a>,
        by_ip: Whereabouts<'a>,
        macs: [Whereabouts<'a>; 2],
        other_by_ip: Whereabouts<'a>,
        (ip, network, time): (IpAddr, Network, Timestamp),
    ) -> Whereabouts<'a> {
        if by_mac != Whereabouts::Nobody {
            return by_mac;
        }
        // Behind a router an address says who it is only among those of the tenant at the near
        // end: others may use it too.
        let near = macs.iter().find_map(|found| self.tenant(*found));
        let near = match by_ip {
            Whereabouts::Ambiguous => near.or_else(|| self.tenant(other_by_ip)),
            _ => near,
        };
        match near {
            Some(tenant) => self.by_ip(ip, network, Some(tenant), time),
            None => by_ip,
        }
    }

    fn tenant(&self, found: Whereabouts<'_>) -> Option<&str> {
        self.machine(found.place()?.machine)?.tenant.as_deref()
    }

    /// Whether anything at all is known of that time.
    fn knows(&self, time: Timestamp) -> bool {
        self.places.iter().any(|place| place.during.contains(time))
    }

    /// What a flow between these two is, seen from the site.
    pub fn split(&self, flow: &Flow, ends: &[Whereabouts<'_>; 2], time: Timestamp) -> Split {
        let is_group = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_multicast(),
        };
        if flow.ends.addresses.into_iter().any(is_group)
            || flow.macs.iter().any(|mac| mac.is_group())
        {
            return Split::Group;
        }
        match ends {
            [Whereabouts::At(one), Whereabouts::At(other)] => {
                match (one.host.as_str(), other.host.as_str()) {
                    ("", _) | (_, "") => Split::Unknown,
                    (one, other) if one == other => Split::IntraHost,
                    _ => Split::InterHost,
                }
            }
            [Whereabouts::Ambiguous, _] | [_, Whereabouts::Ambiguous] => Split::Unknown,
            [Whereabouts::At(_), _] | [_, Whereabouts::At(_)] => Split::VmToPhysical,
            _ if self.is_empty() || !self.knows(time) => Split::Unknown,
            _ => Split::Outside,
        }
    }

    fn by_mac(&self, mac: Mac, network: Network, time: Timestamp) -> Whereabouts<'_> {
        if mac.is_zero() || mac.is_group() {
            return Whereabouts::Nobody;
        }
        self.one_of(self.by_mac.get(&mac), network, time, |_| true)
    }

    fn by_ip(
        &self,
        ip: IpAddr,
        network: Network,
        tenant: Option<&str>,
        time: Timestamp,
    ) -> Whereabouts<'_> {
        self.one_of(self.by_ip.get(&ip), network, time, |place| {
            let owner = self.machine(place.machine).and_then(|machine| machine.tenant.as_deref());
            tenant.is_none() || owner == tenant
        })
    }

    /// The one machine of those that was there at that time: of those that are said to be in the
    /// network, else of those of which nothing says that they are not.
    fn one_of(
        &self,
        found: Option<&Vec<usize>>,
        network: Network,
        time: Timestamp,
        is_meant: impl Fn(&Place) -> bool,
    ) -> Whereabouts<'_> {
        let places = || {
            let places = found.into_iter().flatten().filter_map(|number| self.places.get(*number));
            places.filter(|place| place.during.contains(time) && is_meant(place))
        };
        match only(places().filter(|place| place.is_in(network))) {
            Whereabouts::Nobody => only(places().filter(|place| place.may_be_in(network))),
            found => found,
        }
    }

    fn add(&mut self, machine: MachineNumber, card: Card<'_>) {
        let written = &card.episode.machine;
        if let Some(known) = self.machines.get_mut(machine.0 as usize) {
            known.label = match &written.tenant {
                Some(tenant) => format!("{tenant}/{}", written.name),
                None => written.name.clone(),
            };
            known.tenant.clone_from(&written.tenant);
        }
        let attachment = card.vnic.attachment.as_ref();
        let networks = attachment.iter().flat_map(|attachment| &attachment.networks);
        let number = self.places.len();
        let ips: Vec<IpAddr> = card.vnic.ips.iter().map(|known| known.ip).collect();
        if let Some(mac) = card.vnic.mac {
            self.by_mac.entry(mac).or_default().push(number);
        }
        for ip in &ips {
            self.by_ip.entry(*ip).or_default().push(number);
        }
        self.places.push(Place {
            machine,
            host: card.episode.host.name.clone(),
            device: attachment.and_then(|attachment| attachment.device.clone()),
            port_group: attachment.and_then(|attachment| attachment.port_group.clone()),
            ips,
            networks: networks.filter_map(written_network).collect(),
            is_on_shared_wire: attachment.is_some_and(|place| !place.networks.is_empty()),
            during: card.episode.during,
        });
    }

    fn find_moves(&mut self) {
        let mut hosts: HashMap<MachineNumber, Vec<(Timestamp, &str)>> = HashMap::new();
        for place in &self.places {
            hosts.entry(place.machine).or_default().push((place.during.from, &place.host));
        }
        let mut moves = Vec::new();
        for stays in hosts.values_mut() {
            stays.sort_unstable();
            let pairs = stays.iter().zip(stays.iter().skip(1));
            moves.extend(pairs.filter(|(one, next)| one.1 != next.1).map(|(_, next)| next.0));
        }
        moves.sort_unstable();
        moves.dedup();
        self.moves = moves;
    }
}

/// The one machine that all these places are of.
fn only<'a>(mut places: impl Iterator<Item = &'a Place>) -> Whereabouts<'a> {
    let Some(first) = places.next() else { return Whereabouts::Nobody };
    // While it moves it may be said to be at two places; that is one machine.
    let is_one = places.all(|other| other.machine == first.machine);
    if is_one { Whereabouts::At(first) } else { Whereabouts::Ambiguous }
}

/// A network as the inventory writes it; `None` for kinds that flows do not name.
fn written_network(network: &inventory::Network) -> Option<Network> {
    let overlay = match (&network.tunnel, network.vni) {
        (Some(tunnel), Some(vni)) => {
            Some(Overlay { kind: OverlayKind::named(tunnel)?, number: vni.value() })
        }
        (None, Some(vni)) => Some(Overlay { kind: OverlayKind::Unsaid, number: vni.value() }),
        (Some(_), None) => return None,
        (None, None) => None,
    };
    Some(Network { overlay, vlan: network.vlan })
}

/// Who it is: what is numbered on its host is another one on another host.
fn identity(card: Card<'_>) -> (MachineId, String) {
    let id = card.episode.machine.id.clone();
    let host = match id {
        MachineId::Uuid(_) | MachineId::Container(_) | MachineId::Written(_) => String::new(),
        MachineId::Namespace(_) | MachineId::Process(_) | MachineId::Port(_) => {
            card.episode.host.name.clone()
        }
    };
    (id, host)
}

impl Place {
    /// Whether the inventory says that this vNIC is in that network.
    fn is_in(&self, network: Network) -> bool {
        self.networks.iter().any(|own| match (own.overlay, network.overlay) {
            (Some(one), Some(other)) => {
                let is_vlan =
                    own.vlan.is_none() || network.vlan.is_none() || own.vlan == network.vlan;
                one.may_be(other) && is_vlan
            }
            (None, None) => own.vlan == network.vlan,
            _ => false,
        })
    }

    /// Whether nothing speaks against it: the packet or the inventory names no network, or it is a
    /// tag of the vSwitch on what leaves the host in a tunnel.
    fn may_be_in(&self, network: Network) -> bool {
        !self.is_on_shared_wire
            || network.is_unnamed()
            || network.overlay.is_none()
                && self.networks.iter().any(|own| {
                    own.overlay.is_some() && (own.vlan.is_none() || own.vlan == network.vlan)
                })
    }

    /// Whether it has this address.
    pub fn has_ip(&self, ip: IpAddr) -> bool {
        self.ips.contains(&ip)
    }
}

/// Where an end of a flow was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts<'a> {
    /// There.
    At(&'a Place),
    /// No machine of the inventory has it.
    Nobody,
    /// Several machines may be meant.
    Ambiguous,
}

impl<'a> Whereabouts<'a> {
    /// The place, if it is one.
    pub const fn place(self) -> Option<&'a Place> {
        match self {
            Self::At(place) => Some(place),
            Self::Nobody | Self::Ambiguous => None,
        }
    }
}

/// What a flow is, seen from the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Split {
    /// Between two machines on one host: no uplink ever saw it.
    IntraHost,
    /// Between two machines on two hosts.
    InterHost,
    /// Between a machine and what is no machine of the inventory.
    VmToPhysical,
    /// To everybody: multicast and broadcast.
    Group,
    /// Between two that are no machines of the inventory.
    Outside,
    /// The inventory does not say: it knows nothing of that time, or several machines may be meant.
    Unknown,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::IntraHost,
        Self::InterHost,
        Self::VmToPhysical,
        Self::Group,
        Self::Outside,
        Self::Unknown,
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IntraHost => "intra-host",
            Self::InterHost => "inter-host",
            Self::VmToPhysical => "vm-to-physical",
            Self::Group => "group",
            Self::Outside => "outside",
            Self::Unknown => "unknown",
        }
    }
}
