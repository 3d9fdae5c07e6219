//! Who was where and when: machines, each with the time for which what is said of it holds.
//!
//! What an inventory file, a journal of looks and a listing of `find` have in common, so that a
//! question about a packet is asked the same way of all of them: as of the packet's time.

use std::collections::BTreeSet;

use wire::Timestamp;

use crate::site::{Host, Machine};
use crate::timeline::Timeline;

/// A span of time: from `from` on, up to but without `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    /// Its first moment; [`Timestamp::ZERO`] where no beginning is known.
    pub from: Timestamp,
    /// The first moment after it; `None` where no end is known.
    pub until: Option<Timestamp>,
}

impl Period {
    /// All of time.
    pub const ALWAYS: Self = Self { from: Timestamp::ZERO, until: None };

    /// The time both have in common, if there is any.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let until = match (self.until, other.until) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        let common = Self { from: self.from.max(other.from), until };
        common.until.is_none_or(|until| common.from < until).then_some(common)
    }

    /// What is left of it when `other` is taken out: nothing, one span, or one before and one
    /// after.
    pub fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let before = self.intersection(Self { from: Timestamp::ZERO, until: Some(other.from) });
        let after = other.until.and_then(|from| self.intersection(Self { from, until: None }));
        before.into_iter().chain(after)
    }

    /// Whether it was so at `time`.
    pub fn contains(self, time: Timestamp) -> bool {
        self.from <= time && self.until.is_none_or(|until| time < until)
    }
}

/// A machine on a host, in one state, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// Where it was.
    pub host: Host,
    /// As it was.
    pub machine: Machine,
    /// When.
    pub during: Period,
}

/// Everything that is known of machines at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    episodes: Vec<Episode>,
    /// Hosts that are known by name, also such as have no machine.
    hosts: BTreeSet<String>,
}

impl History {
    /// From episodes in any order.
    pub fn new(episodes: impl IntoIterator<Item = Episode>) -> Self {
        let mut history = Self::default();
        history.extend(episodes);
        history
    }

    /// Adds what another source knows.
    pub fn merge(&mut self, other: Self) {
        self.hosts.extend(other.hosts);
        self.episodes.extend(other.episodes);
    }

    /// Makes a host known that perhaps has no machine.
    pub fn add_host(&mut self, name: String) {
        self.hosts.insert(name);
    }

    /// Makes one of neighbouring episodes of a machine in which all names are the same, its own and
    /// those that wires have for it; what else is said is what the last of them says.
    #[must_use]
    pub fn condensed(mut self) -> Self {
        self.episodes.sort_by(|a, b| (a.who(), a.during).cmp(&(b.who(), b.during)));
        let mut condensed: Vec<Episode> = Vec::new();
        for episode in self.episodes {
            match condensed.last_mut() {
                Some(last)
                    if last.during.until.is_some_and(|until| until >= episode.during.from)
                        && last.who() == episode.who()
                        && last.host == episode.host
                        && names(&last.machine) == names(&episode.machine) =>
                {
                    last.during.until = episode.during.until;
                    last.machine = episode.machine;
                }
                _ => condensed.push(episode),
            }
        }
        Self { episodes: condensed, hosts: self.hosts }
    }

    /// All of it, in no order.
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// The names of all hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(String::as_str)
    }
}

impl Extend<Episode> for History {
    fn extend<T: IntoIterator<Item = Episode>>(&mut self, episodes: T) {
        for episode in episodes {
            if !episode.host.name.is_empty() && !self.hosts.contains(&episode.host.name) {
                self.hosts.insert(episode.host.name.clone());
            }
            self.episodes.push(episode);
        }
    }
}

/// Everything by which packets of a machine can be named.
fn names(machine: &Machine) -> impl PartialEq + '_ {
    let vnics = machine.vnics.iter().map(|vnic| {
        let place = vnic.attachment.as_ref();
        let wires = place.iter().flat_map(|place| &place.networks);
        let wires = wires.map(|n| (n.vlan, n.vni, n.tunnel.as_deref(), n.tunnel_port));
        let port_group = place.and_then(|place| place.port_group.as_deref());
        (&vnic.name, vnic.mac, port_group, wires.collect::<Vec<_>>())
    });
    (&machine.name, &machine.aliases, &machine.tenant, vnics.collect::<Vec<_>>())
}

impl From<&Timeline> for History {
    /// Between two looks nobody looked: what the earlier one saw may have lasted, and what the
    /// later one saw may have begun before. Both are held possible there. Likewise before the first
    /// look.
    fn from(timeline: &Timeline) -> Self {
        Self::new(timeline.episodes())
    }
}
