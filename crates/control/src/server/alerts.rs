//! Looks around for alerts, and tells them.

mod webhook;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry::Event;

use crate::alerts::{Agent, Alert, Exporter, Look, State, Watch};
use crate::enrolled::Enrolled;

use self::webhook::Webhook;
use super::desk::{Desk, now_ns};
use super::traffic::read_exporters;

/// Watches as long as the controller runs.
pub(super) async fn watch(desk: Arc<Desk>, alerts: Vec<Alert>) {
    if alerts.is_empty() {
        return;
    }
    let hook = Webhook::begin(desk.log.clone(), desk.version.clone());
    let mut watch = Watch::new(alerts);
    let mut around = Around { desk: Arc::clone(&desk), talkers_at: None };
    let mut often = tokio::time::interval(EVERY);
    loop {
        often.tick().await;
        let look = around.look(watch.alerts()).await;
        for (number, news) in watch.look(&look) {
            let event = match news.state {
                State::Firing => Event::warn(format!("alert {}: {}", news.alert, news.text)),
                State::Resolved => {
                    Event::info(format!("alert {} is over: {}", news.alert, news.text))
                }
            };
            desk.log.say(event);
            if let Some(alert) = watch.alerts().get(number) {
                hook.tell(alert, &news);
            }
        }
    }
}

/// Where to look.
struct Around {
    desk: Arc<Desk>,
    /// When talkers were last looked at: that reads files.
    talkers_at: Option<Instant>,
}

impl Around {
    async fn look(&mut self, alerts: &[Alert]) -> Look {
        let now_ns = now_ns();
        let mut look = Look { at_s: now_ns / NS, ..Look::default() };
        self.agents(&mut look, now_ns);
        self.sessions(&mut look);
        if alerts.iter().any(|alert| alert.when.is_of_exporters())
            && let Some(state) = self.desk.asking.traffic().exporters.clone()
        {
            look.exporters = exporters(state).await;
        }
        if self.talkers_at.is_none_or(|then| then.elapsed() >= TALKERS_EVERY) {
            self.talkers_at = Some(Instant::now());
            look.talkers = self.talkers(alerts, look.at_s).await;
        }
        look
    }

    fn agents(&self, look: &mut Look, now_ns: u64) {
        let known = self.desk.state().fleet.status(now_ns);
        let known: BTreeMap<_, _> = known.iter().map(|agent| (agent.id.as_str(), agent)).collect();
        // One that never came since the controller began was let in once and is missed.
        let Ok(enrolled) = self.desk.blocking(|store| store.all::<Enrolled>()) else { return };
        for agent in enrolled {
            let id = agent.value.id.as_str();
            let seen = known.get(id);
            let host = seen.map_or(id, |agent| agent.host.as_str()).to_owned();
            let is_there = seen.is_some_and(|agent| agent.is_connected);
            let heard_ns = seen.map_or(0, |agent| agent.heard_ns).max(self.desk.began_ns);
            look.agents.insert(host, Agent { is_there, heard_s: heard_ns / NS });
        }
    }

    fn sessions(&self, look: &mut Look) {
        let state = self.desk.state();
        for session in state.sessions.iter().filter(|session| session.ended.is_none()) {
            for part in &session.parts {
                let lost = part.kernel_dropped.saturating_add(part.failed);
                let name = format!("{} {}", session.id, part.number);
                let sum = look.lost.entry((part.host.clone(), name)).or_default();
                *sum = sum.saturating_add(lost);
            }
        }
    }

    #[cfg(feature = "flow-store")]
    async fn talkers(
        &self,
        alerts: &[Alert],
        now_s: u64,
    ) -> BTreeMap<String, BTreeMap<String, u64>> {
        use crate::alerts::When;
        let mut found = BTreeMap::new();
        let Some(flows) = self.desk.asking.traffic().flows.clone() else { return found };
        for alert in alerts {
            let When::NewTalker(talker) = alert.when else { continue };
            let flows = flows.clone();
            let new = move || super::traffic::new_talkers(&flows, talker, now_s);
            match tokio::task::spawn_blocking(new).await {
                Ok(Ok(new)) => {
                    found.insert(alert.name.clone(), new);
                }
                Ok(Err(error)) => {
                    let text = format!("alert {}: {error}", alert.name);
                    self.desk.log.say(Event::warn(text));
                }
                Err(_) => {}
            }
        }
        found
    }

    #[cfg(not(feature = "flow-store"))]
    async fn talkers(&self, _: &[Alert], _: u64) -> BTreeMap<String, BTreeMap<String, u64>> {
        BTreeMap::new()
    }
}

async fn exporters(state: PathBuf) -> Option<BTreeMap<String, Exporter>> {
    let read = tokio::task::spawn_blocking(move || read_exporters(&state)).await;
    let known = read.ok()?.ok()?;
    let written_s = known.written_ns / NS;
    // Some say once in another domain that they begin, and never speak there again.
    let tells = |exporter: &api::traffic::Exporter| exporter.records > 0 || exporter.samples > 0;
    let each = known.exporters.into_iter().filter(tells).map(|exporter| {
        let name = format!("{} {} domain {}", exporter.address, exporter.protocol, exporter.domain);
        let heard_s = exporter.last_seen_ns / NS;
        (name, Exporter { heard_s, written_s, lost: exporter.lost.unwrap_or(0) })
    });
    Some(each.collect())
}

const NS: u64 = 1_000_000_000;
const EVERY: Duration = Duration::from_secs(5);
const TALKERS_EVERY: Duration = Duration::from_secs(60);
