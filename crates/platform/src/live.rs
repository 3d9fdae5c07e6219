//! The site as it is now, and as it becomes while somebody watches.

use std::io;
use std::time::Duration;

use inventory::facts::Report;
use inventory::{Resolver, Site};
use wire::Timestamp;

use crate::{Watcher, read_once};

/// The inventory of this host: read once, kept up to date when asked.
#[derive(Debug)]
pub struct LiveSite {
    resolver: Resolver,
    site: Site,
    changed_at: Timestamp,
    watcher: Option<Watcher>,
}

impl LiveSite {
    /// Asks every source once, each at most `within` long.
    pub fn read(within: Duration) -> Self {
        let mut live = Self {
            resolver: Resolver::new(),
            site: Site::default(),
            changed_at: Timestamp::ZERO,
            watcher: None,
        };
        for report in read_once(within) {
            live.take(report);
        }
        live.site = live.resolver.site();
        live
    }

    /// Keeps it up to date from now on; see [`LiveSite::update`].
    ///
    /// # Errors
    /// For want of threads or descriptors only.
    pub fn watch(&mut self) -> io::Result<()> {
        self.watcher = Some(Watcher::start()?);
        Ok(())
    }

    /// Takes in what the sources have said since the last call. Says whether there was anything.
    pub fn update(&mut self) -> bool {
        self.update_within(Duration::ZERO)
    }

    /// As [`update`](Self::update), but waits so long for something to be said. Without
    /// [`watch`](Self::watch) nothing ever is.
    pub fn update_within(&mut self, longest: Duration) -> bool {
        let mut is_changed = false;
        let mut wait = longest;
        while let Some(report) =
            self.watcher.as_ref().and_then(|watcher| watcher.recv_timeout(wait))
        {
            self.take(report);
            is_changed = true;
            wait = Duration::ZERO;
        }
        if is_changed {
            self.site = self.resolver.site();
        }
        is_changed
    }

    /// The site as of the last reading.
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// When the newest report was made.
    pub const fn changed_at(&self) -> Timestamp {
        self.changed_at
    }

    fn take(&mut self, report: Report) {
        self.changed_at = self.changed_at.max(report.at);
        self.resolver.apply(report);
    }
}
