//! What `overtap find --output json` prints, read back.
//!
//! Its keys are an interface that grows, so unknown ones are passed over. With `--at` the answer is
//! about one moment, and it says how far around that moment it holds.

use serde::Deserialize;
use wire::Timestamp;

use crate::history::{Episode, History, Period};
use crate::site::{Host, Machine};
use crate::text;

/// The machines of a host as they are now.
#[derive(Deserialize)]
pub(super) struct Listing {
    host: String,
    machines: Vec<Machine>,
}

impl Listing {
    pub(super) fn into_history(self) -> History {
        let host = Host { name: self.host };
        let mut history = History::new(self.machines.into_iter().map(|machine| Episode {
            host: host.clone(),
            machine,
            during: Period::ALWAYS,
        }));
        history.add_host(host.name);
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
