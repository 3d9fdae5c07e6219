//! What a person types to name a machine, and which machines that is.
//!
//! To look ([`Site::find`]) anything that begins so is worth showing. To capture ([`Site::one`])
//! the name must be whole: the packets of `web-10` are not those of `web-1`, which may only not
//! have been started yet.

use std::fmt;
use std::net::IpAddr;

use wire::Mac;

use crate::facts::Uuid;
use crate::site::{Machine, MachineId, Site, Vnic};

/// What was asked for: a name, UUID, MAC, IP, tap, port or port id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    text: String,
    form: Form,
}

impl Query {
    /// Recognises what the text looks like; what looks like nothing special is a name.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let form = if let Ok(mac) = text.parse() {
            Form::Mac(mac)
        } else if let Ok(ip) = text.parse() {
            Form::Ip(ip)
        } else if let Ok(uuid) = text.parse() {
            Form::Uuid(uuid)
        } else {
            Form::Word
        };
        Self { text: text.to_owned(), form }
    }

    /// What was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Which of the machines are what was asked for, as [`Site::find`].
    pub fn among<'a>(&self, machines: &[&'a Machine]) -> Found<'a> {
        let mut matches = self.exact_among(machines);
        if matches.is_empty() {
            let prefix = self.text.to_lowercase();
            let begins = |m: &Machine| {
                let mut names = std::iter::once(&m.name).chain(&m.aliases);
                !prefix.is_empty() && names.any(|n| n.to_lowercase().starts_with(&prefix))
                    || self.is_id_prefix_of(m)
            };
            matches = by_prefix(machines.iter().copied().filter(|m| begins(m)));
        }
        let suggestions = if matches.is_empty() { self.suggestions(machines) } else { Vec::new() };
        Found { matches, suggestions }
    }

    /// The machines with the strongest reason: what is called so before what was called so.
    fn exact_among<'a>(&self, machines: &[&'a Machine]) -> Vec<Match<'a>> {
        let mut matches: Vec<Match<'a>> = machines
            .iter()
            .filter_map(|machine| {
                let (by, vnic) = self.exact(machine)?;
                Some(Match { machine, by, vnic })
            })
            .collect();
        if let Some(best) = matches.iter().map(|m| m.by).min() {
            matches.retain(|m| m.by == best);
        }
        matches
    }

    fn suggestions<'a>(&self, machines: &[&'a Machine]) -> Vec<&'a str> {
        nearest(&self.text, machines.iter().map(|machine| machine.name.as_str()))
    }

    /// How the machine is exactly what was asked for, the strongest reason first.
    fn exact<'a>(&self, machine: &'a Machine) -> Option<(MatchedBy, Option<&'a Vnic>)> {
        if machine.name == self.text {
            return Some((MatchedBy::Name, None));
        }
        if self.is_id_of(machine) {
            return Some((MatchedBy::Id, None));
        }
        if machine.aliases.contains(&self.text) {
            return Some((MatchedBy::Alias, None));
        }
        let found = |by, is_it: &dyn Fn(&Vnic) -> bool| {
            machine.vnics.iter().find(|v| is_it(v)).map(|v| (by, Some(v)))
        };
        let is_text = |word: &Option<String>| word.as_deref() == Some(self.text.as_str());
        match self.form {
            Form::Mac(mac) => found(MatchedBy::Mac, &|v| v.mac == Some(mac)),
            Form::Ip(ip) => found(MatchedBy::Ip, &|v| v.ips.iter().any(|k| k.ip == ip)),
            Form::Uuid(_) | Form::Word => None,
        }
        .or_else(|| {
            found(MatchedBy::PortId, &|v| {
                v.attachment.as_ref().is_some_and(|a| {
                    a.port_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(&self.text))
                })
            })
        })
        .or_else(|| {
            found(MatchedBy::Device, &|v| {
                v.attachment.as_ref().is_some_and(|a| is_text(&a.device) || is_text(&a.port))
            })
        })
    }

    fn is_id_of(&self, machine: &Machine) -> bool {
        match (&machine.id, self.form) {
            (MachineId::Uuid(own), Form::Uuid(uuid)) => *own == uuid,
            (MachineId::Container(own) | MachineId::Port(own) | MachineId::Written(own), _) => {
                *own == self.text || machine.id.to_string() == self.text
            }
            (id, Form::Word) => id.to_string() == self.text,
            _ => false,
        }
    }

    /// Whether the text is the beginning of the machine's UUID, container id or port id. Four
    /// characters at least: less is chance.
    fn is_id_prefix_of(&self, machine: &Machine) -> bool {
        if self.text.len() < 4 {
            return false;
        }
        let begins = |id: &str| {
            id.get(..self.text.len()).is_some_and(|head| head.eq_ignore_ascii_case(&self.text))
        };
        let is_id = match &machine.id {
            MachineId::Uuid(uuid) => begins(&uuid.to_string()),
            MachineId::Container(id) => begins(id),
            MachineId::Namespace(_)
            | MachineId::Process(_)
            | MachineId::Port(_)
            | MachineId::Written(_) => false,
        };
        let port_ids = machine.vnics.iter().filter_map(|v| v.attachment.as_ref()?.port_id.as_ref());
        is_id || port_ids.into_iter().any(|id| begins(id))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Uuid(Uuid),
    Mac(Mac),
    Ip(IpAddr),
    Word,
}

/// What a query found.
#[derive(Debug, Clone)]
pub struct Found<'a> {
    /// The machines, in the site's order; all exact or all by a beginning.
    pub matches: Vec<Match<'a>>,
    /// When there are none, names that were perhaps meant, the nearest first.
    pub suggestions: Vec<&'a str>,
}

/// A machine that was found.
#[derive(Debug, Clone, Copy)]
pub struct Match<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// By what.
    pub by: MatchedBy,
    /// The vNIC that has what was asked for, where it is a vNIC's.
    pub vnic: Option<&'a Vnic>,
}

/// By what a machine was found, from the strongest reason to the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MatchedBy {
    /// Its name.
    Name,
    /// Its UUID or other id.
    Id,
    /// Another name of it.
    Alias,
    /// The MAC of a vNIC.
    Mac,
    /// An address of a vNIC.
    Ip,
    /// The port id of a vNIC.
    PortId,
    /// The tap or port of a vNIC.
    Device,
    /// The beginning of its name or id.
    Prefix,
}

/// Why not exactly one machine was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfound {
    /// None is it.
    NotFound {
        /// What was asked for.
        query: Query,
        /// Names that were perhaps meant, the nearest first.
        suggestions: Vec<String>,
    },
    /// Several are it.
    Ambiguous {
        /// What was asked for.
        query: Query,
        /// Name and identity of each.
        candidates: Vec<(String, MachineId)>,
    },
}

impl fmt::Display for Unfound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { query, suggestions } => {
                let text = &query.text;
                match query.form {
                    Form::Mac(mac) => write!(f, "no VM has MAC {mac}")?,
                    Form::Ip(ip) => write!(f, "no VM is known to have address {ip}")?,
                    Form::Uuid(uuid) => write!(f, "no VM or port has UUID {uuid}")?,
                    Form::Word => write!(f, "no VM is called {text:?}")?,
                }
                match suggestions.as_slice() {
                    [] => Ok(()),
                    [one] => write!(f, "; did you mean {one:?}?"),
                    [first @ .., last] => {
                        let first: Vec<_> = first.iter().map(|s| format!("{s:?}")).collect();
                        write!(f, "; did you mean {} or {last:?}?", first.join(", "))
                    }
                }
            }
            Self::Ambiguous { query, candidates } => {
                let all: Vec<_> =
                    candidates.iter().map(|(name, id)| format!("{name} ({id})")).collect();
                write!(
                    f,
                    "{:?} is {} machines: {}; name one by its id",
                    query.text,
                    candidates.len(),
                    all.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for Unfound {}

impl Site {
    /// The machines that are what was asked for; if none is, those whose name or id begins so; if
    /// none does, suggestions.
    pub fn find<'a>(&'a self, query: &Query) -> Found<'a> {
        let machines: Vec<&Machine> = self.machines.iter().collect();
        query.among(&machines)
    }

    /// The one machine that is exactly what was asked for: by its whole name, MAC, address, port
    /// or id, or by the beginning of its UUID or container id.
    pub fn one(&self, text: &str) -> Result<&Machine, Unfound> {
        let query = Query::parse(text);
        let machines: Vec<&Machine> = self.machines.iter().collect();
        let mut matches = query.exact_among(&machines);
        if matches.is_empty() {
            matches = by_prefix(self.machines.iter().filter(|m| query.is_id_prefix_of(m)));
        }
        match matches.as_slice() {
            [one] => Ok(one.machine),
            [] => {
                let mut suggestions: Vec<String> =
                    query.suggestions(&machines).into_iter().map(str::to_owned).collect();
                if suggestions.is_empty() {
                    let begun = query.among(&machines).matches.into_iter().take(MAX_SUGGESTIONS);
                    suggestions.extend(begun.map(|m| m.machine.name.clone()));
                }
                Err(Unfound::NotFound { query, suggestions })
            }
            several => {
                let candidates =
                    several.iter().map(|m| (m.machine.name.clone(), m.machine.id.clone()));
                Err(Unfound::Ambiguous { candidates: candidates.collect(), query })
            }
        }
    }
}

fn by_prefix<'a>(machines: impl Iterator<Item = &'a Machine>) -> Vec<Match<'a>> {
    machines.map(|machine| Match { machine, by: MatchedBy::Prefix, vnic: None }).collect()
}

/// Which of the names were perhaps meant by `text`, the nearest first.
pub(crate) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let text = text.to_lowercase();
    let allowed = (text.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = names
        .filter_map(|known| {
            let name = known.to_lowercase();
            let distance = distance(&text, &name);
            let is_part = text.len() > 2 && name.contains(&text);
            (distance <= allowed || is_part).then_some((distance, known))
        })
        .collect();
    near.sort_unstable();
    near.dedup_by_key(|(_, name)| *name);
    near.into_iter().map(|(_, name)| name).take(MAX_SUGGESTIONS).collect()
}

/// How many letters have to be put in, left out, changed or swapped with their neighbour to make
/// one word of the other (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (row, letter) in a.chars().enumerate() {
        let mut line = vec![row + 1];
        for (column, other) in b.iter().enumerate() {
            let at = |line: &[usize], i: usize| line.get(i).copied().unwrap_or(usize::MAX - 1);
            let changed = at(&above, column) + usize::from(letter != *other);
            let mut best = changed.min(at(&above, column + 1) + 1).min(at(&line, column) + 1);
            let left = column.checked_sub(1).and_then(|i| b.get(i));
            if previous == Some(*other) && left == Some(&letter) && !before.is_empty() {
                best = best.min(at(&before, column.saturating_sub(1)) + 1);
            }
            line.push(best);
        }
        previous = Some(letter);
        before = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or_default()
}

/// More suggestions than this help nobody.
const MAX_SUGGESTIONS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_what_was_typed_is_recognised() {
        let form = |text| Query::parse(text).form;
        assert_eq!(form("52-54-00-AB-CD-EF"), Form::Mac(Mac([0x52, 0x54, 0, 0xab, 0xcd, 0xef])));
        assert_eq!(form("10.0.7.12"), Form::Ip(IpAddr::from([10, 0, 7, 12])));
        assert!(matches!(form("fe80::1"), Form::Ip(IpAddr::V6(_))));
        let uuid = Uuid([0x3f; 16]);
        assert_eq!(form("3F3f3f3f-3f3f-3f3f-3f3f-3f3f3f3f3f3f"), Form::Uuid(uuid));
        assert_eq!(form("3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f"), Form::Uuid(uuid));
        assert_eq!(form("web-01"), Form::Word);
    }

    #[test]
    fn the_distance_of_words_counts_a_swap_as_one() {
        assert_eq!(distance("wbe", "web"), 1);
        assert_eq!(distance("web", "web"), 0);
        assert_eq!(distance("", "web"), 3);
        assert_eq!(distance("db-01", "db-1"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
