//! Where machines are, told to somebody who watches: all of it at first, then each host at which
//! something has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::document::HostFound;
use api::proto::WatchMachinesReply;
use inventory::{Machine, MachineId};
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::Stream;
use tonic::Status;

use crate::audit::{Action, Answer, Draft, Who};
use crate::grants::MachineFacts;

use super::desk::{Asker, Desk, draft, facts};
use super::people::shown;
use super::sight::Sight;
use super::telling::every;

/// Begins to tell `asker` of the machines that `what` names.
pub(super) fn watch(
    desk: &Arc<Desk>,
    asker: Asker,
    what: String,
) -> Result<impl Stream<Item = Result<WatchMachinesReply, Status>> + use<>, Status> {
    let place = Arc::clone(&desk.watchers).try_acquire_owned();
    let place = place.map_err(|_| Status::resource_exhausted("too many watch already"))?;
    let mut watcher = Watcher {
        sight: Sight::new(desk)?,
        desk: Arc::clone(desk),
        asker,
        what,
        asked: BTreeSet::new(),
        told: BTreeMap::new(),
        seen: None,
        _place: place,
    };
    Ok(every(LOOK_EVERY, move || watcher.look()))
}

/// One who watches.
struct Watcher {
    desk: Arc<Desk>,
    asker: Asker,
    what: String,
    sight: Sight,
    /// The changes of the fleet that were seen; `None` before the first look.
    seen: Option<u64>,
    /// The machines that were called so once: a renamed one is still watched.
    asked: BTreeSet<MachineId>,
    /// What was told last of each host.
    told: BTreeMap<String, (bool, Vec<Machine>)>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// What is not as it was told; at first, all of it.
    fn look(&mut self) -> Result<Option<WatchMachinesReply>, Status> {
        let changes = self.desk.state().fleet.changes();
        let is_regranted = self.sight.look(&self.desk)?;
        if is_regranted {
            self.may_see_what_was_told()?;
        }
        if self.seen == Some(changes) && !is_regranted {
            return Ok(None);
        }
        let is_first = self.seen.replace(changes).is_none();
        let news = self.news();
        if news.is_empty() && !is_first {
            return Ok(None);
        }
        let host_json = news.iter().map(serde_json::to_string).collect::<Result<_, _>>();
        let host_json = host_json.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some(WatchMachinesReply { host_json }))
    }

    /// Refuses, once a machine that was told may not be seen any more: that is not the same as if
    /// it had gone, and would look the same.
    fn may_see_what_was_told(&self) -> Result<(), Status> {
        let (grants, now) = (self.sight.grants(), Timestamp::now());
        let told = self.told.values().flat_map(|(_, machines)| machines).map(facts);
        let is_hidden = |machine: &MachineFacts| !grants.shows(&self.asker.user, machine, now);
        let hidden: BTreeSet<MachineFacts> = told.filter(is_hidden).collect();
        let Some(one) = hidden.first() else { return Ok(()) };
        let others = match hidden.len() {
            1 => String::new(),
            more => format!(" and {} others", more - 1),
        };
        let because = format!("you may not see {}{others} any more: a grant has ended", one.name);
        self.desk.audit(&Draft {
            who: Who::User(self.asker.user.name.clone()),
            from: self.asker.from.clone(),
            subject: format!("watch {}", self.what).trim_end().to_owned(),
            machines: hidden.into_iter().collect(),
            ..draft(Action::Find, Answer::Refused { because: because.clone() })
        });
        Err(Status::permission_denied(because))
    }

    /// The hosts at which something is different from what was told.
    fn news(&mut self) -> Vec<HostFound> {
        let grants = self.sight.grants();
        let is_shown = shown(&grants, &self.asker);
        let found = {
            let state = self.desk.state();
            let (called, _) = state.fleet.find(&self.what, &is_shown);
            let called = called.iter().flat_map(|host| &host.machines);
            self.asked.extend(called.map(|machine| machine.id.clone()));
            let is_asked = |machine: &Machine| self.asked.contains(&machine.id);
            state.fleet.find("", |machine| is_asked(machine) && is_shown(machine)).0
        };
        let mut gone = std::mem::take(&mut self.told);
        let mut news = Vec::new();
        for mut host in found {
            host.machines.iter_mut().for_each(|machine| machine.evidence.clear());
            let now = (host.is_connected, host.machines.clone());
            let before = gone.remove(&host.host);
            if before.as_ref() != Some(&now) {
                news.push(host.clone());
            }
            self.told.insert(host.host, now);
        }
        news.extend(gone.into_iter().map(|(host, (is_connected, _))| HostFound {
            host,
            is_connected,
            at_ns: super::desk::now_ns(),
            machines: Vec::new(),
            since_ns: Vec::new(),
            sources: Vec::new(),
        }));
        news
    }
}

/// Who watch at the same time.
pub(super) const MOST_WATCHERS: usize = 64;

const LOOK_EVERY: Duration = Duration::from_millis(200);
