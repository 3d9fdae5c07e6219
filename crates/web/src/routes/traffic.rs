//! Who talks to whom: sums, flows, exporters.

use api::traffic::{Answer, Question, Subject, What};
use axum::Json;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::list::Pages;
use crate::person::Person;
use crate::problem::{Problem, Query};
use crate::view::{BySplit, Exporter, Flow, Moment, Pair, Talker, Totals, time_if_any};

/// Which flows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct About {
    /// Those going on at this time or later, RFC 3339; from the first that is kept if nothing is said. Sums are about whole minutes.
    #[param(value_type = Option<String>)]
    from: Option<jiff::Timestamp>,
    /// Those going on before this time, RFC 3339.
    #[param(value_type = Option<String>)]
    to: Option<jiff::Timestamp>,
    /// Only those of which this holds: `vm=acme/web-01`, `port=443 and app=tls`. Words are vm, host, tenant, address, mac, client, server, port, app, split and point.
    #[serde(default)]
    filter: String,
}

impl About {
    fn question(&self, what: What) -> Question {
        let nanoseconds = |time: Option<jiff::Timestamp>| {
            time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or(0)
        };
        let conditions = self.filter.split(" and ").map(str::trim).filter(|one| !one.is_empty());
        Question {
            what,
            from_ns: nanoseconds(self.from),
            to_ns: nanoseconds(self.to),
            conditions: conditions.map(str::to_owned).collect(),
            is_from_rows: false,
        }
    }

    /// How long the times of a series are if nobody says: about 120 of them, whole minutes.
    fn usual_step_s(&self) -> u64 {
        let (Some(from), to) = (self.from, self.to.unwrap_or_else(jiff::Timestamp::now)) else {
            return 3600;
        };
        let seconds = u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0);
        let step = (seconds / 120).next_multiple_of(60).max(60);
        if step > 3600 { step.next_multiple_of(3600) } else { step }
    }
}

/// Sums of what.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct By {
    /// `vms`, `hosts`, `tenants` or `addresses`, of talkers also `apps` and `ports`; vms if nothing is said.
    #[serde(default = "vms")]
    #[param(value_type = Option<String>)]
    by: Subject,
}

const fn vms() -> Subject {
    Subject::Vms
}

/// Times of which length.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Step {
    /// In seconds, taken as whole minutes or whole hours; about 120 times if nothing is said.
    #[param(minimum = 60)]
    step_s: Option<u64>,
}

/// Who moves how much.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Talkers {
    /// They, the largest first.
    items: Vec<Talker>,
    /// Over everything that was asked about.
    totals: Totals,
    /// Whether the minutes at the ends of the time are no longer known, so that hours were taken whole.
    is_widened: bool,
    /// The cursor for more; `null` at the end.
    next: Option<String>,
}

/// Between whom.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pairs {
    /// They, the largest first.
    items: Vec<Pair>,
    /// Over everything that was asked about.
    totals: Totals,
    /// Whether the minutes at the ends of the time are no longer known, so that hours were taken whole.
    is_widened: bool,
    /// The cursor for more; `null` at the end.
    next: Option<String>,
}

/// How much there was in each of many times.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Series {
    /// The length of each time; longer than asked for where minutes are no longer known.
    step_s: u64,
    /// Times in which there was anything, in their order.
    items: Vec<Moment>,
}

/// Where the two ends of all flows are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Split {
    /// Bytes.
    by_split: BySplit,
    /// Over everything that was asked about.
    totals: Totals,
}

/// Flows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Flows {
    /// They, those with most bytes first.
    items: Vec<Flow>,
    /// The cursor for more; `null` at the end.
    next: Option<String>,
}

/// Who exports flows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Exporters {
    /// They, by address.
    items: Vec<Exporter>,
    /// When the collector wrote this down.
    written: Option<String>,
    /// The cursor for more; `null` at the end.
    next: Option<String>,
}

/// Who moves most, of what the asker may see.
#[utoipa::path(
    get, path = "/traffic/top", tag = "traffic", params(By, About, Pages),
    responses(
        (status = 200, description = "The largest first.", body = Talkers),
        (status = 400, description = "What was asked makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "No grant shows any.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This controller has no flows.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many ask at this time.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn top(
    person: Person,
    Query(by): Query<By>,
    Query(about): Query<About>,
    Query(pages): Query<Pages>,
) -> Result<Json<Talkers>, Problem> {
    let what = What::Top { by: by.by, most: MOST_ROWS };
    let Answer::Top(top) = person.controller.traffic_at_once(&about.question(what)).await? else {
        return Err(nonsense());
    };
    let all: Vec<Talker> = top.rows.into_iter().map(Talker::from).collect();
    let key = |it: &Talker| format!("{:020}{}", u64::MAX - it.octets, it.name);
    let (items, next) = pages.of(all, key)?;
    Ok(Json(Talkers { items, totals: top.totals.into(), is_widened: top.is_widened, next }))
}

/// Who talks to whom, of what the asker may see.
#[utoipa::path(
    get, path = "/traffic/pairs", tag = "traffic", params(By, About, Pages),
    responses(
        (status = 200, description = "The largest first.", body = Pairs),
        (status = 400, description = "What was asked makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "No grant shows any.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This controller has no flows.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many ask at this time.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn pairs(
    person: Person,
    Query(by): Query<By>,
    Query(about): Query<About>,
    Query(pages): Query<Pages>,
) -> Result<Json<Pairs>, Problem> {
    let what = What::Pairs { by: by.by, most: MOST_ROWS };
    let answer = person.controller.traffic_at_once(&about.question(what)).await?;
    let Answer::Pairs(pairs) = answer else { return Err(nonsense()) };
    let all: Vec<Pair> = pairs.rows.into_iter().map(Pair::from).collect();
    let key = |it: &Pair| format!("{:020}{}\0{}", u64::MAX - it.octets, it.one, it.other);
    let (items, next) = pages.of(all, key)?;
    Ok(Json(Pairs { items, totals: pairs.totals.into(), is_widened: pairs.is_widened, next }))
}

/// How much stays within hosts, goes between them, and leaves for what is no machine.
#[utoipa::path(
    get, path = "/traffic/split", tag = "traffic", params(About),
    responses(
        (status = 200, description = "Bytes by where the two ends are.", body = Split),
        (status = 400, description = "What was asked makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "No grant shows any.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This controller has no flows.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many ask at this time.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn split(
    person: Person,
    Query(about): Query<About>,
) -> Result<Json<Split>, Problem> {
    let what = What::Top { by: Subject::Hosts, most: 0 };
    let Answer::Top(top) = person.controller.traffic_at_once(&about.question(what)).await? else {
        return Err(nonsense());
    };
    Ok(Json(Split { by_split: top.totals.by_split.into(), totals: top.totals.into() }))
}

/// How much there was over time.
#[utoipa::path(
    get, path = "/traffic/series", tag = "traffic", params(Step, About),
    responses(
        (status = 200, description = "Times with anything in them.", body = Series),
        (status = 400, description = "What was asked makes no sense, or these are too many times.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "No grant shows any.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This controller has no flows.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many ask at this time.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn series(
    person: Person,
    Query(step): Query<Step>,
    Query(about): Query<About>,
) -> Result<Json<Series>, Problem> {
    let step_s = step.step_s.unwrap_or_else(|| about.usual_step_s());
    let what = What::Series { step_s };
    let answer = person.controller.traffic_at_once(&about.question(what)).await?;
    let Answer::Series(series) = answer else { return Err(nonsense()) };
    let items = series.moments.into_iter().map(Moment::from).collect();
    Ok(Json(Series { step_s: series.step_s, items }))
}

/// The flows behind a number. Each has all its bytes, also those of another time than was asked about.
#[utoipa::path(
    get, path = "/traffic/flows", tag = "traffic", params(About, Pages),
    responses(
        (status = 200, description = "Those with most bytes first.", body = Flows),
        (status = 400, description = "What was asked makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "No grant shows any.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This controller has no flows.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many ask at this time.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn flows(
    person: Person,
    Query(about): Query<About>,
    Query(pages): Query<Pages>,
) -> Result<Json<Flows>, Problem> {
    let (limit, after) = pages.bounds()?;
    // One more says whether there are more.
    let what = What::Largest { most: limit + 1, after };
    let answer = person.controller.traffic_at_once(&about.question(what)).await?;
    let Answer::Flows(mut flows) = answer else { return Err(nonsense()) };
    let has_more = flows.len() > limit;
    flows.truncate(limit);
    let next = flows.last().filter(|_| has_more).map(|last| Pages::cursor(&last.rank));
    let read = |flow: api::traffic::Flow| serde_json::from_value(Value::Object(flow.fields));
    let items = flows.into_iter().map(read).collect::<Result<_, _>>();
    Ok(Json(Flows { items: items.map_err(Problem::internal)?, next }))
}

/// Who exports flows to the collector, and how that goes. For those who may see all machines.
#[utoipa::path(
    get, path = "/exporters", tag = "traffic", params(Pages),
    responses(
        (status = 200, description = "They, by address.", body = Exporters),
        (status = 400, description = "What was asked makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The asker may not see all machines.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This controller knows none.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many ask at this time.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn exporters(
    person: Person,
    Query(pages): Query<Pages>,
) -> Result<Json<Exporters>, Problem> {
    let question = Question {
        what: What::Exporters,
        from_ns: 0,
        to_ns: 0,
        conditions: Vec::new(),
        is_from_rows: false,
    };
    let answer = person.controller.traffic_at_once(&question).await?;
    let Answer::Exporters(known) = answer else { return Err(nonsense()) };
    let all: Vec<Exporter> = known.exporters.into_iter().map(Exporter::from).collect();
    let key = |it: &Exporter| {
        format!("{}\0{}\0{:?}\0{:010}", it.address, it.protocol, it.port, it.domain)
    };
    let (items, next) = pages.of(all, key)?;
    Ok(Json(Exporters { items, written: time_if_any(known.written_ns), next }))
}

fn nonsense() -> Problem {
    Problem::internal("the controller answered another question")
}

/// Rows of which pages are made; what is beyond is in the totals alone.
const MOST_ROWS: usize = 10_000;
