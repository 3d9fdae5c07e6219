//! The site as it is now, and as it becomes while somebody watches.

use std::time::Duration;

use inventory::facts::Report;
use inventory::{Machine, Resolver, Site, Unfound};
use wire::Timestamp;

/// The inventory of this host: read once, kept up to date when asked.
pub(crate) struct LiveSite {
    resolver: Resolver,
    site: Site,
    changed_at: Timestamp,
    watcher: Option<platform::Watcher>,
}

impl LiveSite {
    /// Asks every source once, each at most `within` long.
    pub(crate) fn read(within: Duration) -> anyhow::Result<Self> {
        let mut live = Self {
            resolver: Resolver::new(),
            site: Site::default(),
            changed_at: Timestamp::ZERO,
            watcher: None,
        };
        for report in platform::read_once(within) {
            live.take(report);
        }
        live.site = live.resolver.site();
        Ok(live)
    }

    /// Keeps it up to date from now on; see [`LiveSite::update`].
    pub(crate) fn watch(&mut self) -> anyhow::Result<()> {
        self.watcher = Some(platform::Watcher::start()?);
        Ok(())
    }

    /// Takes in what the sources have said since the last call. Says whether there was anything.
    pub(crate) fn update(&mut self) -> bool {
        let mut is_changed = false;
        while let Some(report) =
            self.watcher.as_ref().and_then(|watcher| watcher.recv_timeout(Duration::ZERO))
        {
            self.take(report);
            is_changed = true;
        }
        if is_changed {
            self.site = self.resolver.site();
        }
        is_changed
    }

    /// The site as of the last reading.
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// The one machine that is called so.
    pub(crate) fn one(&self, text: &str) -> anyhow::Result<&Machine> {
        self.site.one(text).map_err(|error| anyhow::Error::msg(unfound(&error, &self.site)))
    }

    /// Says on standard error what could not be read: what is not shown may be there.
    pub(crate) fn say_problems(&self) {
        for source in &self.site.sources {
            if let Some(problem) = &source.problem {
                // The sentence names the namespace; its number is of no use here.
                let name = source.source.to_string();
                let name = name.split(':').next().unwrap_or_default();
                eprintln!("overtap: {name}: {problem}");
            }
        }
    }

    /// When the newest report was made.
    pub(crate) fn changed_at(&self) -> Timestamp {
        self.changed_at
    }

    fn take(&mut self, report: Report) {
        self.changed_at = self.changed_at.max(report.at);
        self.resolver.apply(report);
    }
}

/// Why a machine was not found, and where to look on if there is no better hint.
pub(crate) fn unfound(error: &Unfound, site: &Site) -> String {
    match error {
        Unfound::NotFound { suggestions, .. } if suggestions.is_empty() => {
            format!("{error} on {}; see all: overtap find", site.host.name)
        }
        _ => error.to_string(),
    }
}
