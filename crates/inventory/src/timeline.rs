//! What was where and when: successive looks at a host, kept as what became different.
//!
//! A look says what is there, not since when. So an answer about a past time names the two looks
//! it lies between, and when they differ, both. Bounded: the oldest looks are folded into one and
//! the timeline begins later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::Timestamp;

use crate::change::{Change, changes, is_same_place};
use crate::history::{Episode, Period};
use crate::site::{Host, Machine, MachineId, Site};
use crate::text;

/// Looks at one host in the order of their times.
#[derive(Debug, Clone)]
pub struct Timeline {
    looks: VecDeque<Look>,
    /// The state after the last of `looks`.
    now: BTreeMap<MachineId, Machine>,
    /// The last look of all, also one that found nothing new.
    last: Option<Timestamp>,
    max_looks: usize,
    folded: u64,
}

impl Timeline {
    /// Nothing seen yet; keeps at most `max_looks` looks that found something new (at least one).
    pub fn new(max_looks: usize) -> Self {
        Self {
            looks: VecDeque::new(),
            now: BTreeMap::new(),
            last: None,
            max_looks: max_looks.max(1),
            folded: 0,
        }
    }

    /// From the looks of a journal, in any order.
    pub fn from_looks(looks: impl IntoIterator<Item = Look>, max_looks: usize) -> Self {
        let mut looks: Vec<Look> = looks.into_iter().collect();
        looks.sort_by_key(|l| l.at);
        let mut timeline = Self::new(max_looks);
        for look in looks {
            timeline.push(look);
        }
        timeline
    }

    /// Takes a look at the site; returns it as a look to keep, if it found anything new, and what
    /// that is. The very first look is no change of anything.
    pub fn record(&mut self, at: Timestamp, site: &Site) -> (Option<Look>, Vec<Change>) {
        let is_first = self.looks.is_empty();
        let before: Vec<Machine> = self.now.values().cloned().collect();
        let after: BTreeMap<MachineId, Machine> =
            site.machines.iter().map(|m| (m.id.clone(), essence(m))).collect();
        let machines: Vec<Machine> =
            after.values().filter(|m| self.now.get(&m.id) != Some(m)).cloned().collect();
        let gone: Vec<MachineId> =
            self.now.keys().filter(|id| !after.contains_key(id)).cloned().collect();
        if machines.is_empty() && gone.is_empty() && !is_first {
            self.seen_at(at);
            return (None, Vec::new());
        }
        let failed = site.sources.iter().filter(|s| s.problem.is_some());
        let look = Look {
            at,
            host: site.host.clone(),
            // A report may have been under way when the silence before it was noted.
            previous: self.last.map(|last| last.min(at)),
            is_whole: is_first,
            unread: failed.map(|s| s.source.to_string()).collect(),
            machines,
            gone,
        };
        self.push(look.clone());
        let found = if is_first {
            Vec::new()
        } else {
            let after: Vec<Machine> = after.into_values().collect();
            changes(at, &before, &after)
        };
        (Some(look), found)
    }

    /// Notes a look that found nothing new.
    pub fn seen_at(&mut self, at: Timestamp) {
        self.last = self.last.max(Some(at));
    }

    /// Takes a look that somebody else recorded. Looks come in the order of their times.
    pub fn push(&mut self, look: Look) {
        if look.is_whole {
            self.now.clear();
        }
        for id in &look.gone {
            self.now.remove(id);
        }
        for machine in &look.machines {
            self.now.insert(machine.id.clone(), machine.clone());
        }
        self.seen_at(look.at);
        self.looks.push_back(look);
        while self.looks.len() > self.max_looks {
            self.fold();
        }
    }

    /// Makes one look of the two oldest.
    fn fold(&mut self) {
        let (Some(first), Some(mut second)) = (self.looks.pop_front(), self.looks.pop_front())
        else {
            return;
        };
        if !second.is_whole {
            let known: BTreeSet<MachineId> =
                second.machines.iter().map(|m| m.id.clone()).chain(second.gone.clone()).collect();
            second.machines.extend(first.machines.into_iter().filter(|m| !known.contains(&m.id)));
        }
        second.gone.clear();
        second.is_whole = true;
        second.previous = None;
        self.looks.push_front(second);
        self.folded += 1;
    }

    /// The machines as the last look saw them.
    pub fn now(&self) -> impl Iterator<Item = &Machine> {
        self.now.values()
    }

    /// A machine as the last look saw it.
    pub fn machine(&self, id: &MachineId) -> Option<&Machine> {
        self.now.get(id)
    }

    /// The time of the first look kept.
    pub fn first(&self) -> Option<Timestamp> {
        self.looks.front().map(|l| l.at)
    }

    /// The time of the last look.
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// How many looks were folded into the first one because the timeline is bounded.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// The looks kept, oldest first.
    pub fn looks(&self) -> impl Iterator<Item = &Look> {
        self.looks.iter()
    }

    /// Forgets the older half of the looks, folded into one; for a journal that became too long.
    pub fn halve(&mut self) {
        let keep = (self.looks.len() / 2).max(1);
        while self.looks.len() > keep {
            self.fold();
        }
    }

    /// The site as last seen at or before this time; `None` before the first look.
    ///
    /// [`Timeline::past`] says for each machine how far that can be relied on.
    pub fn at(&self, time: Timestamp) -> Option<Site> {
        let mut machines: BTreeMap<&MachineId, &Machine> = BTreeMap::new();
        let mut host = None;
        for look in self.looks.iter().take_while(|l| l.at <= time) {
            if look.is_whole {
                machines.clear();
            }
            for id in &look.gone {
                machines.remove(id);
            }
            machines.extend(look.machines.iter().map(|m| (&m.id, m)));
            host = Some(look.host.clone());
        }
        let mut machines: Vec<Machine> = machines.into_values().cloned().collect();
        machines.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Some(Site { host: host?, machines, sources: Vec::new() })
    }

    /// What is known of each machine at this time, and from which looks.
    pub fn past(&self, time: Timestamp) -> Vec<Past> {
        let mut ids: BTreeSet<&MachineId> = BTreeSet::new();
        for look in &self.looks {
            ids.extend(look.machines.iter().map(|m| &m.id));
        }
        let mut past: Vec<Past> = ids.into_iter().filter_map(|id| self.past_of(id, time)).collect();
        past.sort_by(|a, b| a.machine().map(|m| &m.name).cmp(&b.machine().map(|m| &m.name)));
        past
    }

    fn past_of(&self, id: &MachineId, time: Timestamp) -> Option<Past> {
        let history = self.history(id);
        let next = history.iter().position(|s| s.from > time);
        let current = match next {
            Some(i) => i.checked_sub(1).and_then(|i| history.get(i)),
            None => history.last(),
        };
        let next = next.and_then(|i| history.get(i));
        match (current, next) {
            (Some(now), None) => Some(Past::Seen {
                machine: now.machine?.clone(),
                from: now.from,
                until: self.last.unwrap_or(now.from),
            }),
            (Some(now), Some(next)) if next.previous >= time => Some(Past::Seen {
                machine: now.machine?.clone(),
                from: now.from,
                until: next.previous,
            }),
            (Some(now), Some(next)) => Some(Past::Changed {
                before: now.machine.cloned(),
                seen: next.previous.max(now.from),
                after: next.machine.cloned(),
                noticed: next.from,
            }),
            // Nobody looked then. A process that was running knows better.
            (None, Some(next)) if Some(next.from) == self.first() => {
                Some(Past::BeforeFirstLook { machine: next.machine?.clone(), first: next.from })
            }
            (None, Some(next)) if next.previous >= time => None,
            (None, Some(next)) => Some(Past::Changed {
                before: None,
                seen: next.previous,
                after: next.machine.cloned(),
                noticed: next.from,
            }),
            (None, None) => None,
        }
    }

    /// Every state of every machine and the longest time for which it may have lasted: from the
    /// look before it was seen to the look that saw something else.
    pub(crate) fn episodes(&self) -> Vec<Episode> {
        let Some(host) = self.looks.back().map(|look| &look.host) else { return Vec::new() };
        let mut ids: BTreeSet<&MachineId> = BTreeSet::new();
        for look in &self.looks {
            ids.extend(look.machines.iter().map(|m| &m.id));
        }
        let mut episodes = Vec::new();
        for id in ids {
            let history = self.history(id);
            let ends = history.iter().skip(1).map(|next| Some(next.from)).chain([None]);
            for (state, until) in history.iter().zip(ends) {
                let Some(machine) = state.machine else { continue };
                let is_first = Some(state.from) == self.first();
                let from = if is_first { Timestamp::ZERO } else { state.previous };
                let during = Period { from, until };
                episodes.push(Episode { host: host.clone(), machine: machine.clone(), during });
            }
        }
        episodes
    }

    /// The states of one machine, oldest first; equal neighbours are one.
    fn history(&self, id: &MachineId) -> Vec<State<'_>> {
        let mut states: Vec<State<'_>> = Vec::new();
        let mut before: Option<Timestamp> = None;
        for look in &self.looks {
            let machine = look.machines.iter().find(|m| m.id == *id);
            let is_said = machine.is_some() || look.gone.contains(id) || look.is_whole;
            let known = states.last().and_then(|s| s.machine);
            if is_said
                && (states.is_empty() || known != machine)
                && !(states.is_empty() && machine.is_none())
            {
                let previous = look.previous.or(before).unwrap_or(look.at);
                states.push(State { from: look.at, previous, machine });
            }
            before = Some(look.at);
        }
        states
    }

    /// Since when each vNIC of a machine is attached as it is now, as far as looks tell.
    pub fn attached_since(&self, machine: &Machine) -> Vec<Option<Since>> {
        let history = self.history(&machine.id);
        let since = |index: usize| {
            let place = machine.vnics.get(index)?.attachment.as_ref()?;
            let mac = machine.vnics.get(index)?.mac;
            let is_there = |state: &&State<'_>| {
                state.machine.is_some_and(|m| {
                    m.vnics.iter().any(|v| {
                        v.mac == mac
                            && v.attachment.as_ref().is_some_and(|a| is_same_place(a, place))
                    })
                })
            };
            let first = history.iter().rev().take_while(is_there).last()?;
            let is_watched =
                Some(first.from) != self.first() && first.from.since(first.previous) <= WATCHED;
            Some(if is_watched { Since::At(first.from) } else { Since::Before(first.from) })
        };
        (0..machine.vnics.len()).map(since).collect()
    }
}

struct State<'a> {
    from: Timestamp,
    /// The look before, which saw something else (or the same time, where there was none).
    previous: Timestamp,
    machine: Option<&'a Machine>,
}

/// One look at a host: the whole of it, or what is different from the look before. One line of a
/// journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// When.
    #[serde(with = "text::time")]
    pub at: Timestamp,
    /// At which host.
    pub host: Host,
    /// The look before it, which still saw the old state.
    #[serde(with = "text::optional_time")]
    pub previous: Option<Timestamp>,
    /// Whether `machines` are all machines, not only those that are different.
    pub is_whole: bool,
    /// Sources that could not be read at this look: what only they know may be missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
    /// The machines that are new or different, as they are now.
    pub machines: Vec<Machine>,
    /// The machines that are no longer here.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "ids")]
    pub gone: Vec<MachineId>,
}

impl Look {
    /// The look as one line of JSON, without the line's end.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads one line of a journal.
    pub fn decode(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

/// What is known of a machine at a time in the past.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made for one answer, a few at a time")]
pub enum Past {
    /// It was so: seen at `from`, and nothing else was seen up to `until`.
    Seen {
        /// The machine then.
        machine: Machine,
        /// The look that first saw it so.
        from: Timestamp,
        /// The last look that saw it so; after the time asked for, unless that is yet to come.
        until: Timestamp,
    },
    /// Somewhere between two looks it became different; the time asked for lies between them.
    Changed {
        /// As the earlier look saw it; `None` if it was not there.
        before: Option<Machine>,
        /// The earlier look.
        seen: Timestamp,
        /// As the later look saw it; `None` if it was no longer there.
        after: Option<Machine>,
        /// The later look.
        noticed: Timestamp,
    },
    /// Nobody had looked yet. If `machine.since` lies before the time asked for, it was running
    /// here; how it was attached then is not known.
    BeforeFirstLook {
        /// As the first look saw it.
        machine: Machine,
        /// The first look.
        first: Timestamp,
    },
}

impl Past {
    /// The machine in the one state that is known, or the earlier of two.
    pub fn machine(&self) -> Option<&Machine> {
        match self {
            Self::Seen { machine, .. } | Self::BeforeFirstLook { machine, .. } => Some(machine),
            Self::Changed { before, after, .. } => before.as_ref().or(after.as_ref()),
        }
    }
}

/// Since when something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Since then: it was being watched when it became so.
    At(Timestamp),
    /// Since then at the latest: the first look found it so.
    Before(Timestamp),
}

/// Two looks no further apart than this are watching.
const WATCHED: Duration = Duration::from_secs(2);

/// What makes a machine different from what it was: not why it is believed, nor the path of its
/// namespace (any process in it will do).
fn essence(machine: &Machine) -> Machine {
    let mut machine = machine.clone();
    machine.evidence.clear();
    machine.namespace_path = None;
    for place in machine.vnics.iter_mut().filter_map(|v| v.attachment.as_mut()) {
        place.namespace_path = None;
        place.since = None;
    }
    machine
}

mod ids {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use crate::site::MachineId;

    pub(super) fn serialize<S: Serializer>(ids: &[MachineId], to: S) -> Result<S::Ok, S::Error> {
        let words: Vec<String> = ids.iter().map(ToString::to_string).collect();
        words.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<MachineId>, D::Error> {
        let words = Vec::<String>::deserialize(from)?;
        words.iter().map(|w| w.parse().map_err(de::Error::custom)).collect()
    }
}
