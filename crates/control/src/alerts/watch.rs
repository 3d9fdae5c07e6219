//! What began to be so, and what is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::{Alert, When};

/// How things are at a moment. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Now.
    pub at_s: u64,
    /// Agents that were let in, by host.
    pub agents: BTreeMap<String, Agent>,
    /// Packets lost until now in each session that runs, by host and by what names the session.
    pub lost: BTreeMap<(String, String), u64>,
    /// Exporters by what names them; `None` if nothing is known of them now.
    pub exporters: Option<BTreeMap<String, Exporter>>,
    /// New talkers with their bytes, by the name of the alert; only of alerts that were looked at.
    pub talkers: BTreeMap<String, BTreeMap<String, u64>>,
}

/// How an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agent {
    /// Whether it is connected.
    pub is_there: bool,
    /// When it was last there; when the controller began if that is longer ago.
    pub heard_s: u64,
}

/// How an exporter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exporter {
    /// When it was last heard.
    pub heard_s: u64,
    /// When the collector last wrote that down: if it does not, nobody is silent for that.
    pub written_s: u64,
    /// What is missing until now.
    pub lost: u64,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct News {
    /// The alert's name.
    pub alert: String,
    /// Its word.
    pub when: &'static str,
    /// Whether it began or is over.
    pub state: State,
    /// The host, the exporter, the machine.
    pub subject: String,
    /// A sentence.
    pub text: String,
    /// What was found: seconds, packets, records or bytes.
    pub value: u64,
    /// What it was more than.
    pub more_than: u64,
}

/// Whether an alert is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// From now on.
    Firing,
    /// No more.
    Resolved,
}

/// Who watches.
#[derive(Debug)]
pub struct Watch {
    alerts: Vec<Alert>,
    /// What is so: the number of the alert, and whom it is about.
    firing: BTreeSet<(usize, String)>,
    /// What was lost in the last minute.
    lost: Recent<(String, String)>,
    exporters_lost: Recent<String>,
}

impl Watch {
    /// Watches for these.
    pub fn new(alerts: Vec<Alert>) -> Self {
        let (lost, exporters_lost) = (Recent::default(), Recent::default());
        Self { alerts, firing: BTreeSet::new(), lost, exporters_lost }
    }

    /// What they are.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// Looks, and says for which alert what is to be told.
    pub fn look(&mut self, look: &Look) -> Vec<(usize, News)> {
        let lost = self.lost.add(look.at_s, &look.lost);
        let mut by_host: BTreeMap<String, u64> = BTreeMap::new();
        for ((host, _), packets) in lost {
            *by_host.entry(host).or_default() += packets;
        }
        let exporters = look.exporters.as_ref();
        let missing = exporters.map(|exporters| {
            let lost = exporters.iter().map(|(name, exporter)| (name.clone(), exporter.lost));
            self.exporters_lost.add(look.at_s, &lost.collect())
        });
        let mut news = Vec::new();
        for (number, alert) in self.alerts.iter().enumerate() {
            let found = match alert.when {
                When::AgentGone(most) => Some(gone(look, most)),
                When::ExporterSilent(most) => exporters.map(|exporters| silent(exporters, most)),
                When::Drops(most) => Some(more(&by_host, most)),
                When::ExporterLoss(most) => missing.as_ref().map(|missing| more(missing, most)),
                When::NewTalker(_) => look.talkers.get(&alert.name).cloned(),
            };
            // Where nothing is known now, what was so still is.
            let Some(found) = found else { continue };
            for (subject, value) in &found {
                if self.firing.insert((number, subject.clone())) {
                    news.push((number, alert.news(State::Firing, subject, *value)));
                }
            }
            let over =
                |(of, subject): &(usize, String)| *of == number && !found.contains_key(subject);
            for (_, subject) in self.firing.extract_if(.., |it| over(it)) {
                // A talker is no longer new; nothing is over by that.
                if !matches!(alert.when, When::NewTalker(_)) {
                    news.push((number, alert.news(State::Resolved, &subject, 0)));
                }
            }
        }
        news
    }
}

fn gone(look: &Look, most: Duration) -> BTreeMap<String, u64> {
    let away = look.agents.iter().filter(|(_, agent)| !agent.is_there);
    let away = away.map(|(host, agent)| (host.clone(), look.at_s.saturating_sub(agent.heard_s)));
    away.filter(|(_, seconds)| *seconds >= most.as_secs()).collect()
}

fn silent(exporters: &BTreeMap<String, Exporter>, most: Duration) -> BTreeMap<String, u64> {
    let quiet = exporters.iter().map(|(name, exporter)| {
        (name.clone(), exporter.written_s.saturating_sub(exporter.heard_s))
    });
    quiet.filter(|(_, seconds)| *seconds >= most.as_secs()).collect()
}

fn more(counts: &BTreeMap<String, u64>, most: u64) -> BTreeMap<String, u64> {
    let counts = counts.iter().filter(|(_, count)| **count > most);
    counts.map(|(name, count)| (name.clone(), *count)).collect()
}

impl Alert {
    fn news(&self, state: State, subject: &str, value: u64) -> News {
        let (more_than, text) = match (self.when, state) {
            (When::AgentGone(most), State::Firing) => {
                (most.as_secs(), format!("the agent of {subject} has been away for {value} s"))
            }
            (When::AgentGone(most), State::Resolved) => {
                (most.as_secs(), format!("the agent of {subject} is there, or was removed"))
            }
            (When::ExporterSilent(most), State::Firing) => {
                (most.as_secs(), format!("exporter {subject} has been silent for {value} s"))
            }
            (When::ExporterSilent(most), State::Resolved) => {
                (most.as_secs(), format!("exporter {subject} is heard again, or forgotten"))
            }
            (When::Drops(most), State::Firing) => {
                (most, format!("captures on {subject} lost {value} packets within a minute"))
            }
            (When::Drops(most), State::Resolved) => {
                (most, format!("captures on {subject} lose no more than {most} packets a minute"))
            }
            (When::ExporterLoss(most), State::Firing) => (
                most,
                format!("{value} of what exporter {subject} sent within a minute is missing"),
            ),
            (When::ExporterLoss(most), State::Resolved) => (
                most,
                format!(
                    "no more than {most} of what exporter {subject} sends in a minute is missing"
                ),
            ),
            (When::NewTalker(talker), _) => (
                talker.more_than,
                format!(
                    "{subject} has moved {value} bytes within {} s, and nothing in {} s before",
                    talker.within.as_secs(),
                    talker.unseen.as_secs()
                ),
            ),
        };
        let (alert, when) = (self.name.clone(), self.when.word());
        News { alert, when, state, subject: subject.to_owned(), text, value, more_than }
    }
}

/// How much counters grew within the last minute.
#[derive(Debug)]
struct Recent<K> {
    /// What each was at some moments, the oldest first.
    seen: BTreeMap<K, VecDeque<(u64, u64)>>,
    /// Whether anything was added yet: what comes later began with nothing.
    has_begun: bool,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { seen: BTreeMap::new(), has_begun: false }
    }
}

impl<K: Clone + Ord> Recent<K> {
    /// Adds what they are now, and says by how much each has grown.
    fn add(&mut self, at_s: u64, counts: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
        self.seen.retain(|name, _| counts.contains_key(name));
        let mut grown = BTreeMap::new();
        for (name, count) in counts {
            let seen = self.seen.entry(name.clone()).or_default();
            if seen.is_empty() && self.has_begun {
                seen.push_back((at_s, 0));
            }
            // One that begins anew has not lost less than nothing.
            if seen.back().is_some_and(|(_, before)| before > count) {
                seen.clear();
            }
            seen.push_back((at_s, *count));
            while seen.get(1).is_some_and(|(then, _)| at_s.saturating_sub(*then) >= MINUTE_S) {
                seen.pop_front();
            }
            let before = seen.front().map_or(*count, |(_, before)| *before);
            grown.insert(name.clone(), count.saturating_sub(before));
        }
        self.has_begun = true;
        grown
    }
}

const MINUTE_S: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::Talker;

    fn watch(when: When) -> Watch {
        let (name, to) = ("a".to_owned(), "http://x/".to_owned());
        Watch::new(vec![Alert { name, when, to, headers: Vec::new() }])
    }

    fn said(news: Vec<(usize, News)>) -> Vec<(State, String, u64)> {
        news.into_iter().map(|(_, news)| (news.state, news.subject, news.value)).collect()
    }

    fn told(state: State, subject: &str, value: u64) -> Vec<(State, String, u64)> {
        vec![(state, subject.to_owned(), value)]
    }

    #[test]
    fn an_agent_is_gone_once_and_comes_back_once() {
        let mut watch = watch(When::AgentGone(Duration::from_secs(60)));
        let look = |at_s, is_there, heard_s| Look {
            at_s,
            agents: [("hv-1".to_owned(), Agent { is_there, heard_s })].into(),
            ..Look::default()
        };
        assert_eq!(said(watch.look(&look(1000, true, 1000))), []);
        assert_eq!(said(watch.look(&look(1059, false, 1000))), []);
        assert_eq!(said(watch.look(&look(1060, false, 1000))), told(State::Firing, "hv-1", 60));
        assert_eq!(said(watch.look(&look(1090, false, 1000))), []);
        assert_eq!(said(watch.look(&look(1100, true, 1100))), told(State::Resolved, "hv-1", 0));
    }

    #[test]
    fn an_exporter_is_silent_by_the_collectors_word_alone() {
        let mut watch = watch(When::ExporterSilent(Duration::from_secs(300)));
        let look = |at_s, heard_s, written_s| Look {
            at_s,
            exporters: Some([("e".to_owned(), Exporter { heard_s, written_s, lost: 0 })].into()),
            ..Look::default()
        };
        assert_eq!(said(watch.look(&look(1000, 990, 999))), []);
        // The collector is away: of the exporter nobody knows.
        assert_eq!(said(watch.look(&look(9000, 990, 999))), []);
        assert_eq!(said(watch.look(&look(9000, 990, 8999))), told(State::Firing, "e", 8009));
        let unknown = Look { at_s: 9100, ..Look::default() };
        assert_eq!(said(watch.look(&unknown)), [], "what was so still is");
        assert_eq!(said(watch.look(&look(9200, 9199, 9199))), told(State::Resolved, "e", 0));
    }

    #[test]
    fn drops_are_those_of_the_last_minute_of_all_sessions_of_a_host() {
        let mut watch = watch(When::Drops(100));
        let look = |at_s, counts: &[(&str, u64)]| Look {
            at_s,
            lost: counts
                .iter()
                .map(|(session, lost)| (("hv-1".to_owned(), (*session).to_owned()), *lost))
                .collect(),
            ..Look::default()
        };
        // What was lost before anybody watched is no news.
        assert_eq!(said(watch.look(&look(0, &[("s", 5000)]))), []);
        assert_eq!(said(watch.look(&look(30, &[("s", 5060)]))), []);
        // Of a session that began since, all is.
        let both = look(40, &[("s", 5060), ("t", 41)]);
        assert_eq!(said(watch.look(&both)), told(State::Firing, "hv-1", 101));
        assert_eq!(said(watch.look(&look(70, &[("s", 5060), ("t", 41)]))), []);
        let calm = look(120, &[("s", 5060), ("t", 41)]);
        assert_eq!(said(watch.look(&calm)), told(State::Resolved, "hv-1", 0));
        // A session of the same name that begins anew.
        assert_eq!(said(watch.look(&look(130, &[("s", 3)]))), []);
    }

    #[test]
    fn a_new_talker_is_told_once_and_never_resolved() {
        let minute = Duration::from_secs(60);
        let talker = Talker { more_than: 10, within: minute, unseen: minute };
        let mut watch = watch(When::NewTalker(talker));
        let look = |talkers: &[(&str, u64)]| {
            let found = talkers.iter().map(|(name, octets)| ((*name).to_owned(), *octets));
            Look { talkers: [("a".to_owned(), found.collect())].into(), ..Look::default() }
        };
        assert_eq!(said(watch.look(&look(&[("web", 11)]))), told(State::Firing, "web", 11));
        assert_eq!(said(watch.look(&look(&[("web", 12)]))), []);
        assert_eq!(said(watch.look(&Look::default())), [], "not looked at");
        assert_eq!(said(watch.look(&look(&[]))), []);
    }
}
