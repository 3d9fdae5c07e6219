//! What a name means in a history: which vNICs, and when.
//!
//! A VM is named as for `find` (name, UUID, MAC, address, port), or as `TENANT/NAME` where tenants
//! use one name. It means the VM all its life, whatever it was called before, unless another one
//! had the name at another time: then each means what it was while it had it. Tenants, hosts and
//! port groups are named exactly, and mean what was theirs at the time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::history::{Episode, History, Period};
use crate::query::{MatchedBy, Query, nearest};
use crate::site::{Machine, MachineId, Vnic};

/// What kind of thing a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// One VM.
    Vm,
    /// All VMs of a tenant.
    Tenant,
    /// All VMs on a host.
    HostOf,
    /// All vNICs of a port group.
    PortGroup,
}

impl fmt::Display for Wording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vm => "VM",
            Self::Tenant => "tenant",
            Self::HostOf => "host",
            Self::PortGroup => "port group",
        })
    }
}

/// A vNIC in one state, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card<'a> {
    /// Of which machine, where and when.
    pub episode: &'a Episode,
    /// The vNIC.
    pub vnic: &'a Vnic,
}

impl Card<'_> {
    /// Whether both are of one machine.
    pub fn is_of_same_machine(self, other: Self) -> bool {
        self.episode.who() == other.episode.who()
    }
}

/// The vNICs that a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning<'a> {
    /// In every state they had while they were meant.
    pub cards: Vec<Card<'a>>,
    /// What the person who typed the name should know, a sentence: it was only the beginning of a
    /// name.
    pub note: Option<String>,
}

/// Why a name does not mean anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unclear {
    /// Nothing is called so.
    Unknown {
        /// Names that were perhaps meant, the nearest first.
        nearest: Vec<String>,
    },
    /// Several machines are called so; a sentence that names them.
    Ambiguous(String),
}

impl History {
    /// The vNICs that `text` means.
    ///
    /// # Errors
    /// Nothing is called so, or several machines are.
    pub fn meaning(&self, wording: Wording, text: &str) -> Result<Meaning<'_>, Unclear> {
        let of = |episode: &Episode| match wording {
            Wording::HostOf => Some(episode.host.name.clone()),
            _ => episode.machine.tenant.clone(),
        };
        let is_meant = |card: &Card<'_>| match wording {
            Wording::PortGroup => port_group(card.vnic) == Some(text),
            _ => of(card.episode).as_deref() == Some(text),
        };
        if wording == Wording::Vm {
            return self.vm(text);
        }
        let cards: Vec<_> = self.cards().filter(is_meant).collect();
        let is_known = !cards.is_empty()
            || match wording {
                Wording::PortGroup => false,
                _ => {
                    self.episodes().iter().any(|e| of(e).as_deref() == Some(text))
                        || wording == Wording::HostOf && self.hosts().any(|host| host == text)
                }
            };
        if is_known {
            return Ok(Meaning { cards, note: None });
        }
        let known: BTreeSet<&str> = match wording {
            Wording::HostOf => self.hosts().collect(),
            Wording::PortGroup => self.cards().filter_map(|card| port_group(card.vnic)).collect(),
            _ => self.episodes().iter().filter_map(|e| e.machine.tenant.as_deref()).collect(),
        };
        Err(Unclear::unknown(nearest(text, known.into_iter())))
    }

    /// Every vNIC in every state.
    pub fn cards(&self) -> impl Iterator<Item = Card<'_>> {
        self.episodes().iter().flat_map(Episode::cards)
    }

    fn vm(&self, text: &str) -> Result<Meaning<'_>, Unclear> {
        let machines: Vec<&Machine> = self.episodes().iter().map(|e| &e.machine).collect();
        let found = Query::parse(text).among(&machines);
        let is_prefix = found.matches.iter().any(|m| m.by == MatchedBy::Prefix);
        let mut matched: Vec<&Episode> = self.of_tenant(text);
        if matched.is_empty() || !is_prefix && !found.matches.is_empty() {
            let meant: BTreeSet<*const Machine> =
                found.matches.iter().map(|m| std::ptr::from_ref(m.machine)).collect();
            let is_meant = |e: &&Episode| meant.contains(&std::ptr::from_ref(&e.machine));
            matched = self.episodes().iter().filter(is_meant).collect();
        }
        let mut machines: BTreeMap<_, Vec<&Episode>> = BTreeMap::new();
        for episode in matched {
            machines.entry(episode.who()).or_default().push(episode);
        }
        if machines.is_empty() {
            return Err(Unclear::unknown(found.suggestions));
        }
        if machines.len() > 1 && (is_prefix || is_together(&machines)) {
            return Err(Unclear::ambiguous(text, is_prefix, &machines));
        }
        let mut note = None;
        let episodes: Vec<&Episode> = match machines.first_key_value() {
            Some((who, first)) if machines.len() == 1 => {
                let name = first.last().map(|e| e.machine.name.as_str()).unwrap_or_default();
                note = is_prefix.then(|| format!("{text:?} is taken to mean {name:?}"));
                self.episodes().iter().filter(|e| e.who() == *who).collect()
            }
            _ => machines.into_values().flatten().collect(),
        };
        Ok(Meaning { cards: episodes.into_iter().flat_map(Episode::cards).collect(), note })
    }

    /// The VMs that `TENANT/NAME` names.
    fn of_tenant(&self, text: &str) -> Vec<&Episode> {
        let is_it = |machine: &Machine| {
            machine.tenant.as_ref().is_some_and(|tenant| {
                text.strip_prefix(tenant.as_str()).and_then(|rest| rest.strip_prefix('/'))
                    == Some(machine.name.as_str())
            })
        };
        self.episodes().iter().filter(|e| is_it(&e.machine)).collect()
    }
}

impl Episode {
    /// Which machine it is: what is numbered on its host is another one on another host.
    pub(crate) fn who(&self) -> (Option<&str>, &MachineId) {
        let id = &self.machine.id;
        match id {
            MachineId::Uuid(_) | MachineId::Container(_) | MachineId::Written(_) => (None, id),
            MachineId::Namespace(_) | MachineId::Process(_) | MachineId::Port(_) => {
                (Some(&self.host.name), id)
            }
        }
    }

    fn cards(&self) -> impl Iterator<Item = Card<'_>> {
        self.machine.vnics.iter().map(move |vnic| Card { episode: self, vnic })
    }
}

impl Unclear {
    fn unknown(nearest: Vec<&str>) -> Self {
        Self::Unknown { nearest: nearest.into_iter().map(str::to_owned).collect() }
    }

    fn ambiguous(
        text: &str,
        is_prefix: bool,
        machines: &BTreeMap<(Option<&str>, &MachineId), Vec<&Episode>>,
    ) -> Self {
        let mut all: Vec<String> = machines
            .iter()
            .take(MAX_LISTED)
            .filter_map(|((_, id), episodes)| {
                let episode = episodes.last()?;
                let mut about = id.to_string();
                if let Some(tenant) = &episode.machine.tenant {
                    about += &format!(", tenant {tenant}");
                }
                if !episode.host.name.is_empty() {
                    about += &format!(", on {}", episode.host.name);
                }
                Some(format!("{} ({about})", episode.machine.name))
            })
            .collect();
        if machines.len() > all.len() {
            all.push(format!("{} more", machines.len() - all.len()));
        }
        let how = if is_prefix { "the beginning of" } else { "the name of" };
        Self::Ambiguous(format!(
            "`{text}` is {how} {} machines: {}; name one by its id, or as TENANT/NAME",
            machines.len(),
            all.join(", ")
        ))
    }
}

/// Whether two of the machines were called so at one time.
fn is_together(machines: &BTreeMap<(Option<&str>, &MachineId), Vec<&Episode>>) -> bool {
    let mut named: Vec<(Period, usize)> = machines
        .values()
        .enumerate()
        .flat_map(|(number, episodes)| episodes.iter().map(move |e| (e.during, number)))
        .collect();
    named.sort_unstable();
    // The latest end so far, and whose it is.
    let mut open: Option<(Period, usize)> = None;
    for (period, number) in named {
        match open {
            Some((before, whose)) => {
                if whose != number && before.intersection(period).is_some() {
                    return true;
                }
                let is_later = before.until.is_some_and(|end| period.until.is_none_or(|u| u > end));
                if is_later {
                    open = Some((period, number));
                }
            }
            None => open = Some((period, number)),
        }
    }
    false
}

fn port_group(vnic: &Vnic) -> Option<&str> {
    vnic.attachment.as_ref()?.port_group.as_deref()
}

/// An error with more machines than this is not read.
const MAX_LISTED: usize = 8;
