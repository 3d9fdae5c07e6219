//! Answers from the store of flows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::traffic::{
    Answer, Flow, Moment, Pairs, Question, Series, Subject, Sums, Top, Totals, What,
};
use flows::By;
use flowstore::{Ask, Condition, Filter, Kind, Rank, Reader, Shown, Source, StoreError};
use tonic::Status;
use wire::Timestamp;

use super::{Seen, Traffic};
use crate::alerts::Talker;
use crate::grants::TrafficGrant;

impl flowstore::Sight for TrafficGrant {
    fn of(&self, tenant: Option<&str>, vm: &str) -> Shown {
        // A machine of a tenant has that before its name, or is shown to nobody.
        let name = match tenant {
            Some(tenant) => vm.strip_prefix(tenant).and_then(|rest| rest.strip_prefix('/')),
            None => Some(vm),
        };
        match name.and_then(|name| self.shows(tenant, name)) {
            Some(true) => Shown::Whole,
            Some(false) => Shown::Headers,
            None => Shown::Nothing,
        }
    }
}

/// Tells the answer to a question, as far as may be seen.
pub(super) fn answer(
    traffic: &Traffic,
    question: &Question,
    seen: &Seen,
    tell: &mut dyn FnMut(&Answer) -> bool,
) -> Result<(), Status> {
    let folder = traffic.flows.as_deref().ok_or_else(|| {
        Status::not_found(
            "this controller has no flows; start it with --flows DIR, the store that overtap \
             collect --store writes",
        )
    })?;
    let ask = asked(question, seen)?;
    let reader = Reader::open(folder).map_err(|error| failed(&error))?;
    match &question.what {
        What::Top { by, most } => tell(&top(&reader, &ask, *by, *most)?),
        What::Pairs { by, most } => tell(&pairs(&reader, &ask, *by, *most)?),
        What::Series { step_s } => tell(&series(&reader, &ask, *step_s)?),
        What::Flows { is_once } => return tell_flows(&reader, &ask, *is_once, tell),
        What::Largest { most, after } => {
            let after = after.as_deref().map(str::parse::<Rank>).transpose();
            let after = after.map_err(Status::invalid_argument)?;
            let most = (*most).clamp(1, MOST_FLOWS);
            let unranked =
                |row: &flowstore::StoredRow<'_>| Flow { rank: String::new(), fields: row.fields() };
            let flows = reader.largest(&ask, most, after, unranked);
            let flows = flows.map_err(|error| failed(&error))?.into_iter();
            let flow = |(rank, flow): (Rank, Flow)| Flow { rank: rank.to_string(), ..flow };
            tell(&Answer::Flows(flows.map(flow).collect()))
        }
        What::Exporters => true,
    };
    Ok(())
}

fn asked(question: &Question, seen: &Seen) -> Result<Ask, Status> {
    let conditions = question.conditions.iter().map(|condition| condition.parse::<Condition>());
    let conditions = conditions.collect::<Result<Vec<_>, _>>().map_err(Status::invalid_argument)?;
    let everything = Ask::everything();
    let to = match question.to_ns {
        0 => everything.to,
        to => Timestamp::from_nanos(to),
    };
    Ok(Ask {
        from: Timestamp::from_nanos(question.from_ns),
        to,
        filter: Filter::new(conditions),
        source: if question.is_from_rows { Source::Rows } else { Source::Sums },
        sight: seen.granted.clone().map(|granted| granted as Arc<dyn flowstore::Sight>),
    })
}

fn top(reader: &Reader, ask: &Ask, by: Subject, most: usize) -> Result<Answer, Status> {
    let answer = reader.sums(Kind::One(subject(by)), ask).map_err(|error| failed(&error))?;
    let summary = answer.summary(by_of(by), most.min(MOST_ROWS));
    let (rows, others) = summary.rows();
    Ok(Answer::Top(Top {
        rows: rows.iter().map(|(name, sums)| ((*name).to_owned(), sums_of(sums))).collect(),
        others: sums_of(&others),
        totals: totals_of(summary.totals()),
        is_widened: answer.is_widened,
    }))
}

fn pairs(reader: &Reader, ask: &Ask, by: Subject, most: usize) -> Result<Answer, Status> {
    if matches!(by, Subject::Apps | Subject::Ports) {
        let what = "pairs are of vms, hosts, tenants or addresses";
        return Err(Status::invalid_argument(what));
    }
    let answer = reader.sums(Kind::Pair(subject(by)), ask).map_err(|error| failed(&error))?;
    let matrix = answer.matrix(by_of(by), most.min(MOST_ROWS));
    let (rows, others) = matrix.pairs();
    let rows = rows.into_iter().map(|(ends, sums)| (ends.map(str::to_owned), pair_of(&sums)));
    Ok(Answer::Pairs(Pairs {
        rows: rows.collect(),
        others: pair_of(&others),
        totals: totals_of(matrix.totals()),
        is_widened: answer.is_widened,
    }))
}

fn series(reader: &Reader, ask: &Ask, step_s: u64) -> Result<Answer, Status> {
    let found = reader.series(ask, Duration::from_secs(step_s)).map_err(|error| failed(&error))?;
    let count = found.moments.len();
    if count > MOST_MOMENTS {
        return Err(Status::invalid_argument(format!(
            "these are {count} times; ask about a shorter one, or with longer steps"
        )));
    }
    let moment = |moment: &flowstore::Moment| {
        let flowstore::Moment { begin, flows, packets, octets, by_split } = *moment;
        Moment { begin_ns: begin.as_nanos(), flows, packets, octets, by_split }
    };
    let moments = found.moments.iter().map(moment).collect();
    Ok(Answer::Series(Series { step_s: found.step.as_secs(), moments }))
}

fn tell_flows(
    reader: &Reader,
    ask: &Ask,
    is_once: bool,
    tell: &mut dyn FnMut(&Answer) -> bool,
) -> Result<(), Status> {
    let (mut told, mut is_heard) = (Vec::new(), true);
    let read = reader.rows(ask, &mut |row| {
        if !is_heard || (is_once && row.is_copy()) {
            return;
        }
        told.push(Flow { rank: String::new(), fields: row.fields() });
        if told.len() >= FLOWS_AT_ONCE {
            is_heard = tell(&Answer::Flows(std::mem::take(&mut told)));
        }
    });
    read.map_err(|error| failed(&error))?;
    if is_heard {
        tell(&Answer::Flows(told));
    }
    Ok(())
}

/// Who moved much of late and nothing before, with their bytes. Nobody is new to a store that began
/// only then.
pub(in crate::server) fn new_talkers(
    folder: &Path,
    talker: Talker,
    now_s: u64,
) -> Result<BTreeMap<String, u64>, StoreError> {
    let reader = Reader::open(folder)?;
    let begin_s = now_s.saturating_sub(talker.within.as_secs());
    let sums = |from_s, to_s| {
        let [from, to] = [from_s, to_s].map(|seconds| Timestamp::from_parts(seconds, 0));
        let ask = Ask { from, to, ..Ask::everything() };
        Ok::<_, StoreError>(reader.sums(VMS, &ask)?.summary(By::Vms, MOST_ROWS))
    };
    // Sums are about whole minutes: the one they meet in is of late.
    let begin_s = begin_s - begin_s % 60;
    let (late, before) =
        (sums(begin_s, now_s)?, sums(begin_s.saturating_sub(talker.unseen.as_secs()), begin_s)?);
    if before.totals().flows == 0 {
        return Ok(BTreeMap::new());
    }
    let (before, _) = before.rows();
    let known: BTreeSet<&str> = before.iter().map(|(name, _)| *name).collect();
    let (late, _) = late.rows();
    let new = late
        .iter()
        .filter(|(name, sums)| sums.octets() > talker.more_than && !known.contains(name));
    Ok(new.map(|(name, sums)| ((*name).to_owned(), sums.octets())).collect())
}

const VMS: Kind = Kind::One(flowstore::Subject::Vms);

fn failed(error: &StoreError) -> Status {
    Status::internal(error.to_string())
}

const fn subject(by: Subject) -> flowstore::Subject {
    match by {
        Subject::Vms => flowstore::Subject::Vms,
        Subject::Hosts => flowstore::Subject::Hosts,
        Subject::Tenants => flowstore::Subject::Tenants,
        Subject::Apps => flowstore::Subject::Apps,
        Subject::Ports => flowstore::Subject::Ports,
        Subject::Addresses => flowstore::Subject::Addresses,
    }
}

const fn by_of(by: Subject) -> By {
    match by {
        Subject::Vms => By::Vms,
        Subject::Hosts => By::Hosts,
        Subject::Tenants => By::Tenants,
        Subject::Apps => By::Apps,
        Subject::Ports => By::Ports,
        Subject::Addresses => By::Addresses,
    }
}

const fn sums_of(sums: &flows::Sums) -> Sums {
    let flows::Sums { flows, packets, sent, received, by_split } = *sums;
    Sums { flows, packets, sent, received, by_split }
}

const fn pair_of(sums: &flows::PairSums) -> Sums {
    let flows::PairSums { flows, packets, octets: [sent, received], by_split } = *sums;
    Sums { flows, packets, sent, received, by_split }
}

const fn totals_of(totals: &flows::Totals) -> Totals {
    let flows::Totals { flows, copies, packets, octets, by_split, copied, carried, unknown_rates } =
        *totals;
    Totals { flows, copies, packets, octets, by_split, copied, carried, unknown_rates }
}

/// Rows of sums in one answer; the rest is summed up.
const MOST_ROWS: usize = 1 << 17;
/// Flows in one answer.
const MOST_FLOWS: usize = 1001;
/// Flows that are told together where all are.
const FLOWS_AT_ONCE: usize = 500;
/// Times in one answer: a minute each, these are a week.
const MOST_MOMENTS: usize = 10_080;
