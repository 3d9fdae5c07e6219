//! What `overtap find --output json` prints, read back.
//!
//! Its keys are an interface that grows, so unknown ones are passed over. With `--at` the answer is
//! about one moment, and it says how far around that moment it holds.

use std::collections::BTreeMap;

use serde::Deserialize;
use wire::Timestamp;

use crate::history::{Episode, History, Period};
use crate::site::{Host, Machine, MachineId};
use crate::text;

/// The machines of a host as they are now, and what some of them were.
#[derive(Deserialize)]
pub(super) struct Listing {
    host: String,
    machines: Vec<Machine>,
    #[serde(default)]
    history: Vec<Was>,
}

/// A machine in one state and its time; open where null.
#[derive(Deserialize)]
struct Was {
    #[serde(with = "text::optional_time")]
    from: Option<Timestamp>,
    #[serde(with = "text::optional_time")]
    until: Option<Timestamp>,
    machine: Machine,
}

impl Listing {
    pub(super) fn into_history(self) -> History {
        let host = Host { name: self.host };
        // Since when a machine is what it is now, if that is not among its history.
        let mut ends: BTreeMap<MachineId, Option<Timestamp>> = BTreeMap::new();
        for was in &self.history {
            let end = ends.entry(was.machine.id.clone()).or_insert(was.until);
            *end = was.until.and_then(|until| Some((*end)?.max(until)));
        }
        let now = self.machines.into_iter().filter_map(|machine| {
            let from = match ends.get(&machine.id) {
                None => Timestamp::ZERO,
                Some(end) => (*end)?,
            };
            Some((machine, Period { from, until: None }))
        });
        let before = self.history.into_iter().map(|Was { from, until, machine }| {
            (machine, Period { from: from.unwrap_or_default(), until })
        });
        let episodes = before.chain(now).map(|(machine, during)| Episode {
            host: host.clone(),
            machine,
            during,
        });
        let mut history = History::new(episodes);
        history.add_host(host.name.clone());
        history
    }
}

/// The machines of a host as they were.
#[derive(Deserialize)]
pub(super) struct PastListing {
    host: String,
    machines: Vec<Known>,
}

#[derive(Deserialize)]
#[serde(tag = "known", rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "read one after the other")]
enum Known {
    Seen {
        #[serde(with = "text::time")]
        from: Timestamp,
        #[serde(with = "text::time")]
        until: Timestamp,
        machine: Machine,
    },
    Changed {
        before: Option<Machine>,
        #[serde(with = "text::time")]
        seen: Timestamp,
        after: Option<Machine>,
        #[serde(with = "text::time")]
        noticed: Timestamp,
    },
    BeforeFirstLook {
        machine: Machine,
    },
}

impl PastListing {
    pub(super) fn into_history(self) -> History {
        let host = Host { name: self.host };
        let mut history = History::default();
        let mut add = |machine, during| {
            history.extend([Episode { host: host.clone(), machine, during }]);
        };
        for known in self.machines {
            match known {
                Known::Seen { from, until, machine } => {
                    add(machine, Period { from, until: Some(after(until)) });
                }
                // Either may have been so, until it is known which.
                Known::Changed { before, seen, after: later, noticed } => {
                    let between = Period { from: seen, until: Some(after(noticed)) };
                    for machine in before.into_iter().chain(later) {
                        add(machine, between);
                    }
                }
                Known::BeforeFirstLook { machine } => add(machine, Period::ALWAYS),
            }
        }
        history.add_host(host.name);
        history
    }
}

/// The end of a span that `last` is still in.
fn after(last: Timestamp) -> Timestamp {
    Timestamp::from_nanos(last.as_nanos().saturating_add(1))
}
