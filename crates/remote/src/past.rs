//! A session that began before it was asked for: what every host has recorded, and what none has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use api::document::Session;
use jiff::tz::TimeZone;
use wire::Timestamp;

use crate::receipt::clock_of;

/// Waiting for what hosts have recorded.
#[derive(Debug)]
pub(crate) struct Gathering {
    since: Instant,
}

impl Gathering {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now() }
    }

    /// Whether it is over, and for which hosts nobody waited any longer then. `fetched` is how
    /// many parts are being fetched.
    pub(crate) fn is_over(&self, session: &Session, fetched: usize) -> Option<Vec<String>> {
        let is_all_there = session.awaited.is_empty() && fetched == session.parts.len();
        if session.ended.is_some() || is_all_there {
            return Some(Vec::new());
        }
        (self.since.elapsed() > PATIENCE).then(|| session.awaited.clone())
    }
}

/// A time of which nobody has anything of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The first moment behind it, by the controller's clock.
    pub(crate) to: Timestamp,
    /// A sentence.
    pub(crate) text: String,
}

/// Times from one moment to another, in nanoseconds since 1970.
type Spans = Vec<(u64, u64)>;

/// What no host has recorded of the time before the session was asked for, machine by machine.
pub(crate) fn gaps(session: &Session) -> Vec<Gap> {
    let to = session.began_ns;
    let from = to.saturating_sub(session.wish.last_s.saturating_mul(1_000_000_000));
    let mut machines: BTreeMap<&str, (&str, Spans)> = BTreeMap::new();
    for part in &session.parts {
        let clock = part.clock.map(clock_of).unwrap_or_default();
        let common = |ns: u64| clock.common(Timestamp::from_nanos(ns)).as_nanos();
        let (name, spans) = machines.entry(&part.machine_id).or_default();
        *name = &part.machine;
        let recorded = part.recorded.iter().flat_map(|recorded| &recorded.spans_ns);
        // The end of time is no time of a clock.
        let end = |ns: u64| if ns == u64::MAX { ns } else { common(ns) };
        spans.extend(recorded.map(|(from, to)| (common(*from), end(*to))));
    }
    if machines.is_empty() {
        let text = format!("no host has recorded anything to show of it from {} on", show(from));
        return vec![Gap { to: Timestamp::from_nanos(to), text }];
    }
    let mut all = Vec::new();
    for (name, spans) in machines.into_values() {
        for (from, to) in missing(spans, from, to) {
            let seconds = Duration::from_nanos(to - from).as_secs_f64();
            let text = format!(
                "no host has recorded anything to show of {name} from {} to {} ({seconds:.3} s)",
                show(from),
                show(to)
            );
            all.push(Gap { to: Timestamp::from_nanos(to), text });
        }
    }
    all
}

/// What of the time from `from` to `to` the spans leave out, moments apart.
fn missing(mut spans: Spans, from: u64, to: u64) -> Spans {
    spans.sort_unstable();
    let mut gaps = Vec::new();
    let mut covered = from;
    for (begin, end) in spans {
        if begin > covered && covered < to {
            gaps.push((covered, begin.min(to)));
        }
        covered = covered.max(end);
    }
    if covered < to {
        gaps.push((covered, to));
    }
    gaps.retain(|(from, to)| to - from >= MOMENT_NS);
    gaps
}

fn show(ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(ns.into());
    let zoned = time.map(|time| time.to_zoned(TimeZone::system()));
    zoned.map_or_else(|_| "?".into(), |zoned| zoned.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
}

/// How long hosts are waited for that do not say what they have recorded.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shorter gaps are the clocks': two of them are never quite the same.
const MOMENT_NS: u64 = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn what_one_host_lacks_another_may_have() {
        let hosts = vec![(0, 5 * S), (5 * S + 1_000_000, u64::MAX)];
        assert_eq!(missing(hosts, S, 9 * S), []);
        assert_eq!(missing(vec![(3 * S, 5 * S)], S, 9 * S), [(S, 3 * S), (5 * S, 9 * S)]);
        assert_eq!(missing(Vec::new(), S, 9 * S), [(S, 9 * S)]);
    }
}
