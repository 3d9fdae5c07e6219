//! One network namespace as netlink shows it: tables that are dumped again when they changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use inventory::facts::{FdbEntry, Link, LinkKind, NamespaceId, Neighbour, NetworkFacts, Route};
use rustix::thread::LinkNameSpaceType;

use super::entry::{self, PortVlans, RawLink};
use super::message::{
    Message, RTM_DELADDR, RTM_DELLINK, RTM_DELNEIGH, RTM_DELNSID, RTM_DELROUTE, RTM_GETADDR,
    RTM_GETLINK, RTM_GETNEIGH, RTM_GETNSID, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH,
    RTM_NEWNSID, RTM_NEWROUTE,
};
use super::socket::{self, Asking, Listening};

/// A namespace and the way into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Which.
    pub(crate) id: NamespaceId,
    /// Its nsfs file.
    pub(crate) path: PathBuf,
    /// What a person calls it, for sentences.
    pub(crate) name: String,
    /// Whether it is the one overtap runs in.
    pub(crate) is_own: bool,
}

/// Which tables have to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stale {
    links: bool,
    addresses: bool,
    neighbours: bool,
    fdb: bool,
    routes: bool,
}

impl Stale {
    /// Everything.
    pub(super) const ALL: Self =
        Self { links: true, addresses: true, neighbours: true, fdb: true, routes: true };

    /// Whether anything has to be read.
    pub(super) fn is_any(self) -> bool {
        self != Self::default()
    }

    /// Whether links have to be read.
    pub(super) fn has_links(self) -> bool {
        self.links
    }

    /// Notes what an event speaks of.
    fn note(&mut self, message: &Message<'_>) {
        let family = message.body.first().copied();
        match message.kind {
            // Routes and addresses go with a link without a word of their own.
            RTM_NEWLINK | RTM_DELLINK => {
                self.links = true;
                self.addresses = true;
                self.routes = true;
            }
            RTM_NEWNSID | RTM_DELNSID => self.links = true,
            RTM_NEWADDR | RTM_DELADDR => self.addresses = true,
            RTM_NEWROUTE | RTM_DELROUTE => self.routes = true,
            RTM_NEWNEIGH | RTM_DELNEIGH if family == Some(AF_BRIDGE) => self.fdb = true,
            RTM_NEWNEIGH | RTM_DELNEIGH => self.neighbours = true,
            _ => {}
        }
    }
}

/// The reader of one namespace. While it exists, so does the namespace: its sockets hold it.
#[derive(Debug)]
pub(super) struct Reader {
    target: Target,
    handle: OwnedFd,
    listening: Listening,
    asking: Asking,
    stale: Stale,
    numbers: Numbers,
    links: Vec<RawLink>,
    port_vlans: BTreeMap<u32, PortVlans>,
    addresses: Vec<(u32, IpAddr, u8)>,
    neighbours: Vec<Neighbour>,
    fdb: Vec<FdbEntry>,
    vxlan_ends: Vec<(u32, IpAddr)>,
    routes: Vec<Route>,
}

impl Reader {
    /// Enters the namespace and subscribes; nothing is read yet.
    pub(super) fn open(target: Target) -> io::Result<Self> {
        let handle = OwnedFd::from(std::fs::File::open(&target.path)?);
        // The path may have become another namespace's since it was seen.
        if rustix::fs::fstat(&handle)?.st_ino != target.id.0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the namespace is gone"));
        }
        let (listening, asking) = if target.is_own {
            socket::open(GROUPS, OWN_RECEIVE_BYTES)?
        } else {
            socket::inside(handle.as_fd(), LinkNameSpaceType::Network, || {
                socket::open(GROUPS, RECEIVE_BYTES)
            })?
        };
        Ok(Self {
            target,
            handle,
            listening,
            asking,
            stale: Stale::ALL,
            numbers: Numbers::default(),
            links: Vec::new(),
            port_vlans: BTreeMap::new(),
            addresses: Vec::new(),
            neighbours: Vec::new(),
            fdb: Vec::new(),
            vxlan_ends: Vec::new(),
            routes: Vec::new(),
        })
    }

    /// Takes all waiting events. Returns whether some were lost; then everything is stale.
    pub(super) fn drain(&mut self) -> io::Result<bool> {
        let stale = &mut self.stale;
        let numbers = &mut self.numbers;
        let is_overrun = self.listening.drain(|message| {
            stale.note(message);
            match message.kind {
                RTM_NEWNSID => numbers.unresolvable.clear(),
                RTM_DELNSID => *numbers = Numbers::default(),
                _ => {}
            }
        })?;
        if is_overrun {
            self.stale = Stale::ALL;
            self.numbers = Numbers::default();
        }
        Ok(is_overrun)
    }

    /// Reads what is stale. `known` are the namespaces a peer may be in, the likeliest first.
    pub(super) fn refresh(&mut self, known: &[(NamespaceId, &OwnedFd)]) -> io::Result<()> {
        // Marked fresh first: an event from here on makes it stale again. After an error all of
        // it is read again.
        let stale = std::mem::take(&mut self.stale);
        let result = self.read(stale, known);
        if result.is_err() {
            self.stale = Stale::ALL;
        }
        result
    }

    /// Has the links read again at the next refresh if an end of one is in an unknown namespace.
    pub(super) fn reconsider_peers(&mut self) {
        if !self.numbers.unresolvable.is_empty() {
            self.numbers.unresolvable.clear();
            self.stale.links = true;
        }
    }

    /// Which namespace it is.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Its nsfs file, open.
    pub(super) fn handle(&self) -> &OwnedFd {
        &self.handle
    }

    /// Where its events arrive.
    pub(super) fn listening(&self) -> &Listening {
        &self.listening
    }

    /// What has to be read.
    pub(super) fn stale(&self) -> Stale {
        self.stale
    }

    /// All that was read, in an order that does not depend on the kernel's hash tables.
    pub(super) fn facts(&self) -> NetworkFacts {
        let mut addresses: HashMap<u32, Vec<(IpAddr, u8)>> = HashMap::new();
        for (index, ip, prefix_len) in &self.addresses {
            addresses.entry(*index).or_default().push((*ip, *prefix_len));
        }
        let links = self.links.iter().map(|raw| {
            let mut link = raw.link.clone();
            link.addresses = addresses.remove(&link.index).unwrap_or_default();
            if let Some(vlans) = self.port_vlans.get(&link.index) {
                link.pvid = vlans.pvid;
                link.vlans.clone_from(&vlans.allowed);
            }
            self.place_other_end(&mut link, raw.other_namespace);
            link
        });
        NetworkFacts {
            namespace: self.target.id,
            is_own: self.target.is_own,
            links: links.collect(),
            neighbours: self.neighbours.clone(),
            fdb: self.fdb.clone(),
            vxlan_ends: self.vxlan_ends.clone(),
            routes: self.routes.clone(),
        }
    }

    fn read(&mut self, stale: Stale, known: &[(NamespaceId, &OwnedFd)]) -> io::Result<()> {
        if stale.links {
            self.read_links()?;
            self.resolve_numbers(known)?;
        }
        if stale.addresses {
            self.addresses = self.asking.dump(RTM_GETADDR, &[0; 8], None, entry::decode_address)?;
            self.addresses.sort_unstable();
        }
        if stale.neighbours {
            self.neighbours =
                self.asking.dump(RTM_GETNEIGH, &[0; 12], None, |m| match m.body.first() {
                    Some(&AF_BRIDGE) => None,
                    _ => entry::decode_neighbour(m),
                })?;
            self.neighbours.sort_unstable_by_key(|n| (n.link, n.ip, n.mac));
        }
        if stale.fdb {
            self.read_fdb()?;
        }
        if stale.routes {
            let routes = self
                .asking
                .dump(RTM_GETROUTE, &[0; 12], None, |m| Some(entry::decode_routes(m)))?;
            let mut routes: Vec<_> = routes.into_iter().flatten().collect();
            // The first of two routes to one prefix is the one the kernel takes.
            routes.sort_by_key(|(metric, r)| {
                (r.destination.is_some_and(|ip| ip.is_ipv6()), r.destination, r.prefix_len, *metric)
            });
            self.routes = routes.into_iter().map(|(_, route)| route).collect();
        }
        Ok(())
    }

    fn read_links(&mut self) -> io::Result<()> {
        let filter = Some((entry::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS));
        let fixed = [0; entry::IFINFOMSG_LEN];
        self.links = self.asking.dump(RTM_GETLINK, &fixed, filter, RawLink::decode)?;
        self.links.sort_unstable_by_key(|raw| raw.link.index);
        let is_vlan_aware = self
            .links
            .iter()
            .any(|raw| matches!(raw.link.kind, LinkKind::Bridge { is_vlan_aware: true }));
        self.port_vlans.clear();
        if is_vlan_aware {
            let mut fixed = [0; entry::IFINFOMSG_LEN];
            fixed[0] = AF_BRIDGE;
            let filter = Some((entry::IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED));
            let vlans = self.asking.dump(RTM_GETLINK, &fixed, filter, entry::decode_port_vlans)?;
            // A bridge that does not filter has PVID 1 on every port; it means nothing there.
            let filtering: BTreeSet<u32> = self.ports_of_filtering_bridges();
            self.port_vlans = vlans.into_iter().filter(|(i, _)| filtering.contains(i)).collect();
        }
        Ok(())
    }

    fn ports_of_filtering_bridges(&self) -> BTreeSet<u32> {
        let bridges: BTreeSet<u32> = self
            .links
            .iter()
            .filter(|raw| matches!(raw.link.kind, LinkKind::Bridge { is_vlan_aware: true }))
            .map(|raw| raw.link.index)
            .collect();
        self.links
            .iter()
            .filter(|raw| {
                bridges.contains(&raw.link.index)
                    || raw.link.master.is_some_and(|master| bridges.contains(&master))
            })
            .map(|raw| raw.link.index)
            .collect()
    }

    fn read_fdb(&mut self) -> io::Result<()> {
        let mut fixed = [0; 12];
        fixed[0] = AF_BRIDGE;
        let read = |m: &Message<'_>| match (entry::decode_fdb(m), entry::decode_tunnel_end(m)) {
            (None, None) => None,
            both => Some(both),
        };
        let entries = match self.asking.dump(RTM_GETNEIGH, &fixed, None, read) {
            // A kernel without bridges has no table of them.
            Err(error) if error.raw_os_error() == Some(EOPNOTSUPP) => Vec::new(),
            result => result?,
        };
        let (fdb, ends): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        self.fdb = fdb.into_iter().flatten().collect();
        self.fdb.sort_unstable_by_key(|e| (e.link, e.mac, e.vlan));
        self.fdb.dedup();
        self.vxlan_ends = ends.into_iter().flatten().collect();
        self.vxlan_ends.sort_unstable();
        self.vxlan_ends.dedup();
        Ok(())
    }

    /// Asks for the number of each known namespace until every number in the links has a name.
    fn resolve_numbers(&mut self, known: &[(NamespaceId, &OwnedFd)]) -> io::Result<()> {
        let mut wanted: BTreeSet<i32> = self
            .links
            .iter()
            .filter_map(|raw| raw.other_namespace)
            .filter(|number| *number >= 0 && !self.numbers.is_settled(*number))
            .collect();
        for (id, handle) in known {
            if wanted.is_empty() {
                return Ok(());
            }
            if self.numbers.ids.values().any(|known| known == id) {
                continue;
            }
            let Ok(fd) = u32::try_from(handle.as_raw_fd()) else { continue };
            let mut number = None;
            self.asking.ask(RTM_GETNSID, 0, &[0; 4], Some((entry::NETNSA_FD, fd)), |message| {
                number = entry::decode_namespace_number(message);
            })?;
            if let Some(number) = number {
                self.numbers.ids.insert(number, *id);
                wanted.remove(&number);
            }
        }
        self.numbers.unresolvable.extend(wanted);
        Ok(())
    }

    /// Says where the peer of a veth or the lower device of a macvlan is.
    fn place_other_end(&self, link: &mut Link, number: Option<i32>) {
        let Some(number) = number else { return };
        let found = self.numbers.ids.get(&number).copied();
        match &mut link.kind {
            LinkKind::Veth { peer_namespace, is_peer_elsewhere, .. } => {
                *peer_namespace = found;
                *is_peer_elsewhere = true;
            }
            LinkKind::Vlan { lower, lower_namespace, .. }
            | LinkKind::Macvlan { lower, lower_namespace } => {
                *lower_namespace = found;
                // An index of an unknown namespace would be taken for one of this.
                *lower = lower.filter(|_| found.is_some());
            }
            _ => {}
        }
    }
}

/// What this namespace's numbers for others mean.
#[derive(Debug, Default)]
struct Numbers {
    ids: HashMap<i32, NamespaceId>,
    /// No known namespace has these; asked again when one more becomes known.
    unresolvable: BTreeSet<i32>,
}

impl Numbers {
    fn is_settled(&self, number: i32) -> bool {
        self.ids.contains_key(&number) || self.unresolvable.contains(&number)
    }
}

const AF_BRIDGE: u8 = 7;
const EOPNOTSUPP: i32 = 95;
const RTEXT_FILTER_BRVLAN_COMPRESSED: u32 = 1 << 2;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
/// `RTMGRP_*` of links, neighbours, IPv4 and IPv6 addresses and routes, and `RTNLGRP_NSID` (28).
const GROUPS: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 27;
/// A burst of 2000 new taps is about 8 MB of events; what does not fit is read by a dump.
const OWN_RECEIVE_BYTES: usize = 4 << 20;
const RECEIVE_BYTES: usize = 256 << 10;
