//! Where names in an expression are looked up: in the inventory files that were given, else in the
//! journal that `find` keeps on this host, else in what this host shows now.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use inventory::{Episode, History, Period, Site};

use crate::commands::find;
use crate::site::LiveSite;

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
            history = of(LiveSite::read(READ_WITHIN)?.site());
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

/// Says what whoever typed the names should know.
pub(crate) fn say_notes(names: &plan::Names<'_>) {
    for note in names.notes() {
        eprintln!("overtap: {note}");
    }
}

/// How long one source of the inventory may take.
const READ_WITHIN: Duration = Duration::from_secs(3);
