//! Says to somebody when something is not as it was, of what they may see; they ask what.
//!
//! Looks around twice a second rather than hearing of each change: a hundred migrations a minute
//! are one word then, and grants that come and go count as changes too.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use api::proto::WatchReply;
use inventory::Machine;
use tokio_stream::Stream;
use tonic::Status;
use wire::Timestamp;

use crate::fleet::Fleet;

use super::desk::{Asker, Desk};
use super::people::{may_see, shown};
use super::sight::Sight;
use super::telling::every;

/// What is not as it was, from now on. The first word says nothing but that.
pub(super) fn watch(
    desk: Arc<Desk>,
    asker: Asker,
) -> Result<impl Stream<Item = Result<WatchReply, Status>>, Status> {
    let mut seen = Seen {
        sight: Sight::new(&desk)?,
        hosts: BTreeMap::new(),
        sessions: BTreeMap::new(),
        agents: BTreeMap::new(),
    };
    let mut is_first = true;
    Ok(every(LOOK_EVERY, move || {
        let news = seen.look(&desk, &asker)?;
        // What is there at the beginning is no news, but that we watch from here on is.
        if std::mem::take(&mut is_first) {
            return Ok(Some(WatchReply::default()));
        }
        Ok((news != WatchReply::default()).then_some(news))
    }))
}

/// What somebody was told to be.
struct Seen {
    sight: Sight,
    /// By agent: the look that was compared last, and what it showed.
    hosts: BTreeMap<String, Host>,
    /// By id, the revision.
    sessions: BTreeMap<String, u64>,
    /// Which agents were there.
    agents: BTreeMap<String, bool>,
}

#[derive(Clone, PartialEq, Eq)]
struct Host {
    name: String,
    looked: Option<Timestamp>,
    shown: u64,
}

impl Seen {
    /// What is not as it was.
    fn look(&mut self, desk: &Desk, asker: &Asker) -> Result<WatchReply, Status> {
        let is_regranted = self.sight.look(desk)?;
        let grants = self.sight.grants();
        let is_shown = shown(&grants, asker);
        let state = desk.state();
        let host = self.changed_hosts(&state.fleet, is_regranted, is_shown);
        let sessions: BTreeMap<String, u64> = state
            .sessions
            .iter()
            .filter(|session| may_see(asker, session))
            .map(|session| (session.id.clone(), session.revision))
            .collect();
        let agents = state.fleet.seats();
        let agents = agents.map(|(id, seat)| (id.to_owned(), seat.line.is_some())).collect();
        drop(state);
        let is_other = |(id, revision): &(&String, &u64)| self.sessions.get(*id) != Some(*revision);
        let is_gone = |id: &&String| !sessions.contains_key(*id);
        let changed = sessions.iter().filter(is_other).map(|(id, _)| id);
        let session = changed.chain(self.sessions.keys().filter(is_gone)).cloned().collect();
        let is_status = self.agents != agents;
        (self.sessions, self.agents) = (sessions, agents);
        Ok(WatchReply { host, session, is_status })
    }

    /// Hosts whose machines, as far as they are shown, are not as they were.
    fn changed_hosts(
        &mut self,
        fleet: &Fleet,
        is_regranted: bool,
        is_shown: impl Fn(&Machine) -> bool,
    ) -> Vec<String> {
        let mut changed = Vec::new();
        let mut hosts = BTreeMap::new();
        for (agent, seat) in fleet.seats() {
            let looked = seat.looked();
            let known = self.hosts.remove(agent);
            let is_as_it_was = |known: &&Host| known.looked == looked && !is_regranted;
            let shown = match known.as_ref().filter(is_as_it_was) {
                Some(known) => known.shown,
                None => digest(seat.machines().filter(|machine| is_shown(machine))),
            };
            let before = known.map_or(digest(std::iter::empty()), |known| known.shown);
            if before != shown {
                changed.push(seat.host.clone());
            }
            hosts.insert(agent.to_owned(), Host { name: seat.host.clone(), looked, shown });
        }
        let none = digest(std::iter::empty());
        let gone = std::mem::replace(&mut self.hosts, hosts).into_values();
        changed.extend(gone.filter(|host| host.shown != none).map(|host| host.name));
        changed
    }
}

/// Tells machines apart from what they were before; only ever compared within one process.
fn digest<'a>(machines: impl Iterator<Item = &'a Machine>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for machine in machines {
        // Nothing in one can fail to be written.
        serde_json::to_string(machine).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

const LOOK_EVERY: Duration = Duration::from_millis(500);
