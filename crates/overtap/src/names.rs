//! Where names in an expression are looked up: in the inventory files that were given, else in the
//! journal that `find` keeps on this host, else in what this host shows now.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use files::{NamedGroup, OwnPoint, Whose};
use inventory::{Episode, History, Period, Site};
use plan::Names;
use platform::LiveSite;
use select::{Name, NameKind, Resolver};

use crate::commands::find;

/// All that is known of VMs, from these inventory files together or from this host.
///
/// For `--inventory FILE`, which may be given several times. An expression is then understood with
/// [`plan::Names`] on it.
pub(crate) fn history(files: &[PathBuf]) -> anyhow::Result<History> {
    let mut history = History::default();
    for file in files {
        let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let Ok(text) = String::from_utf8(text) else {
            bail!("{} is no inventory file: it is not UTF-8 text", file.display());
        };
        history.merge(History::parse(&text).with_context(|| file.display().to_string())?);
    }
    if files.is_empty() {
        history = find::remembered();
        if history.episodes().is_empty() {
            history = of(LiveSite::read(READ_WITHIN).site());
        }
    }
    Ok(history)
}

/// What a host shows now, taken to have always been so.
pub(crate) fn of(site: &Site) -> History {
    History::new(site.machines.iter().map(|machine| Episode {
        host: site.host.clone(),
        machine: machine.clone(),
        during: Period::ALWAYS,
    }))
}

/// Every VM of a history, called `TENANT/NAME` where it has a tenant, or every tenant: as groups
/// that packets are told apart by, each with the packets that its name takes in an expression.
pub(crate) fn whose(history: &Arc<History>, kind: NameKind) -> Whose {
    let called = labels(history, kind);
    let names = Names::new(history);
    let groups = called.iter().map(|(label, name)| -> NamedGroup {
        (label.clone(), names.members(name).unwrap_or_default())
    });
    let groups = groups.collect();
    say_notes(&names);
    let history = Arc::clone(history);
    Whose::new(groups, move |interface| {
        let names = Names::new(&history);
        let point = names.at_point(interface)?;
        let owner = called.iter().position(|(_, name)| point.is_of(name) == Ok(true));
        let members = called.iter().map(|(_, name)| point.members(name).unwrap_or_default());
        Some(OwnPoint { owner, members: members.collect() })
    })
}

/// What each VM or tenant is called, and the name that means it and no other.
fn labels(history: &History, kind: NameKind) -> Vec<(String, Name)> {
    // A VM that was renamed is called what it was called last.
    let mut called: BTreeMap<String, String> = BTreeMap::new();
    for card in history.cards() {
        let machine = &card.episode.machine;
        match (kind, &machine.tenant) {
            (NameKind::Tenant, Some(tenant)) => called.insert(tenant.clone(), tenant.clone()),
            (NameKind::Tenant, None) => None,
            (_, Some(tenant)) => {
                called.insert(machine.id.to_string(), format!("{tenant}/{}", machine.name))
            }
            (_, None) => called.insert(machine.id.to_string(), machine.name.clone()),
        };
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for label in called.values() {
        *times.entry(label.clone()).or_default() += 1;
    }
    let named = called.into_iter().map(|(text, label)| {
        let is_shared = times.get(&label).is_some_and(|times| *times > 1);
        let label = if is_shared { format!("{label} ({text})") } else { label };
        (label, Name { kind, text })
    });
    named.collect()
}

/// Says what whoever typed the names should know.
pub(crate) fn say_notes(names: &Names<'_>) {
    for note in names.notes() {
        eprintln!("overtap: {note}");
    }
}

/// How long one source of the inventory may take.
const READ_WITHIN: Duration = Duration::from_secs(3);
