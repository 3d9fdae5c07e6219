//! What is said of this host's site when somebody asks for a machine.

use std::collections::BTreeMap;

use api::document::HostFound;
use inventory::{Host, Machine, Site, Unfound};

/// The one machine that is called so.
pub(crate) fn one<'a>(site: &'a Site, text: &str) -> anyhow::Result<&'a Machine> {
    site.one(text).map_err(|error| anyhow::Error::msg(unfound(&error, site)))
}

/// Says on standard error what could not be read: what is not shown may be there.
pub(crate) fn say_problems(site: &Site) {
    let mut problems: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for source in &site.sources {
        if let Some(problem) = &source.problem {
            // The sentence names the namespace; its number is of no use here.
            let name = source.source.to_string();
            let name = name.split(':').next().unwrap_or_default();
            problems.entry(name.to_owned()).or_default().push(problem);
        }
    }
    for (name, said) in problems {
        // Without rights there is one for each namespace.
        let shown = if said.len() > MOST_ALIKE { 1 } else { said.len() };
        for problem in said.iter().take(shown) {
            eprintln!("overtap: {name}: {problem}");
        }
        if said.len() > shown {
            let more = said.len() - shown;
            eprintln!("overtap: {name}: {more} more like this; all: overtap find --output json");
        }
    }
}

/// So many problems of one kind are said one by one.
const MOST_ALIKE: usize = 2;

/// Why a machine was not found, and where to look on if there is no better hint.
pub(crate) fn unfound(error: &Unfound, site: &Site) -> String {
    match error {
        Unfound::NotFound { suggestions, .. } if suggestions.is_empty() => {
            format!("{error} on {}; see all: overtap find", site.host.name)
        }
        _ => error.to_string(),
    }
}

/// A host as a controller tells of it.
pub(crate) fn of_host(found: HostFound) -> Site {
    Site { host: Host { name: found.host }, machines: found.machines, sources: found.sources }
}
