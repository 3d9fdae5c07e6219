//! Where machines are, told to somebody who watches: all of it at first, then each host at which
//! something has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::document::HostFound;
use api::proto::WatchMachinesReply;
use inventory::{Machine, MachineId};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::grants::User;

use super::desk::{Asker, Desk, broken};
use super::people::shown;

pub(super) type Watching = Pin<Box<dyn Stream<Item = Result<WatchMachinesReply, Status>> + Send>>;

/// Begins to tell `asker` of the machines that `what` names.
pub(super) fn watch(desk: &Arc<Desk>, asker: Asker, what: String) -> Result<Watching, Status> {
    let place = Arc::clone(&desk.watchers).try_acquire_owned();
    let place = place.map_err(|_| Status::resource_exhausted("too many watch already"))?;
    // What a slow reader has not read yet is old: one that waits is enough.
    let (to, replies) = mpsc::channel(1);
    let watcher = Watcher {
        desk: Arc::clone(desk),
        asker,
        what,
        asked: BTreeSet::new(),
        told: BTreeMap::new(),
        _place: place,
    };
    tokio::spawn(watcher.tell(to));
    Ok(Box::pin(ReceiverStream::new(replies)))
}

/// One who watches.
struct Watcher {
    desk: Arc<Desk>,
    asker: Asker,
    what: String,
    /// The machines that were called so once: a renamed one is still watched.
    asked: BTreeSet<MachineId>,
    /// What was told last of each host.
    told: BTreeMap<String, (bool, Vec<Machine>)>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    async fn tell(mut self, to: mpsc::Sender<Result<WatchMachinesReply, Status>>) {
        let (mut seen, mut looked, mut is_first) = (None, Instant::now(), true);
        loop {
            let changes = self.desk.state().fleet.changes();
            // Grants change and end, too.
            if seen != Some(changes) || looked.elapsed() >= LOOK_ANYWAY {
                (seen, looked) = (Some(changes), Instant::now());
                let news = self.news().transpose();
                let news = news.or_else(|| is_first.then(|| Ok(WatchMachinesReply::default())));
                is_first = false;
                if let Some(news) = news {
                    let is_over = news.is_err();
                    if to.send(news).await.is_err() || is_over {
                        return;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = to.closed() => return,
                () = self.desk.closing() => return,
            }
        }
    }

    /// The hosts at which something is different from what was told; `None` if none is.
    fn news(&mut self) -> Result<Option<WatchMachinesReply>, Status> {
        let name = self.asker.user.name.as_str();
        let user = self.desk.blocking(|store| store.one::<User>(name));
        if !user.map_err(|error| broken(&error))?.is_some_and(|user| user.value.is_enabled) {
            return Err(Status::permission_denied(format!("the account {name} is disabled")));
        }
        let grants = self.desk.grants()?;
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
        if news.is_empty() {
            return Ok(None);
        }
        let host_json = news.iter().map(serde_json::to_string).collect::<Result<_, _>>();
        let host_json = host_json.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some(WatchMachinesReply { host_json }))
    }
}

/// Who watch at the same time.
pub(super) const MOST_WATCHERS: usize = 64;

const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
