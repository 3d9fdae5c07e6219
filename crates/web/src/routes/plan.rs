//! Where a machine's packets can be seen, and how an expression is understood.

use api::document::HostFound;
use axum::Json;
use inventory::{Episode, History, Host, Machine, Period, Site};
use plan::{Names, Point};
use select::bpf::{Kernel, MAX_INSTRUCTIONS, TagPlace};
use select::{Filter, NoNames};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use wire::TunnelPorts;

use crate::person::Person;
use crate::problem::{Problem, Query};

/// Whose packets.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// The machine: name, UUID, MAC, IP, tap or port id.
    vm: String,
    /// Which of its packets; all if nothing is said.
    #[serde(default)]
    filter: String,
}

/// Every place where a machine's packets can be seen.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Plan {
    /// The machine's name.
    vm: String,
    /// Its id.
    id: String,
    /// The host it is on.
    host: String,
    /// The filter in its normal form.
    filter: Option<String>,
    /// The places: those that can be used before the others, and the one that misses least first.
    points: Vec<Place>,
}

/// A place where a machine's packets can be seen.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Place {
    /// 1 for the best.
    rank: usize,
    /// What to ask for as `point` of a session.
    point: &'static str,
    /// What place it is, in words.
    kind: String,
    /// Why it cannot be used; `null` if it can.
    refusal: Option<String>,
    /// The vNICs that are seen here.
    vnics: Vec<String>,
    /// Where a capture listens.
    interfaces: Vec<ListenedTo>,
    /// What is seen, and in which shape.
    sees: String,
    /// What is not seen, one sentence each.
    misses: Vec<String>,
    /// What the host pays.
    costs: String,
    /// Whom it disturbs.
    disturbs: String,
}

/// An interface of a place.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListenedTo {
    /// Device name.
    name: String,
    /// The vNIC, or several.
    vnic: String,
    /// One sentence about it.
    description: String,
}

/// What is to be looked at.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Checked {
    /// The expression.
    expression: String,
    /// Most bytes kept of each packet, for the kernel's program.
    #[param(minimum = 1, maximum = 262_144)]
    snaplen: Option<u32>,
}

/// How an expression is understood.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Understood {
    /// As it was typed.
    expression: String,
    /// Its normal form.
    normal: String,
    /// One line a question, indented by what it belongs to.
    explanation: Vec<String>,
    /// What of it the kernel decides.
    kernel: InKernel,
}

/// What of an expression the kernel decides.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InKernel {
    /// Whether that is all of it.
    exact: bool,
    /// What passes there although it may not be wanted.
    passes: Vec<String>,
    /// Most bytes kept of each packet.
    snaplen: u32,
    /// The program.
    listing: Vec<String>,
}

/// Where a machine's packets can be seen, the best place first.
#[utoipa::path(
    get, path = "/plan", tag = "site", params(Wanted),
    responses(
        (status = 200, description = "The places.", body = Plan),
        (status = 400, description = "The filter makes no sense, or several machines are called so.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nothing is called so.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn plan(
    person: Person,
    Query(Wanted { vm, filter }): Query<Wanted>,
) -> Result<Json<Plan>, Problem> {
    let (found, suggestions) = person.controller.find(&vm, 0).await?;
    let Some(host) = found.first().map(|found| found.host.clone()) else {
        let near = suggestions.first().map(|near| format!("; perhaps {near}?"));
        let detail = format!("nothing is called {vm}{}", near.unwrap_or_default());
        return Err(Problem::not_found(detail));
    };
    // Who else is on its wires decides what is its own there.
    let (all, _) = person.controller.find("", 0).await?;
    let site = all.into_iter().find(|found| found.host == host).map(site_of).unwrap_or_default();
    let machine = site.one(&vm).map_err(|error| Problem::bad_request(error.to_string()))?;
    let filter = understood(&filter, &Names::new(&history(&site)))?;
    let points = plan::plan(&site, machine).points;
    Ok(Json(Plan {
        vm: machine.name.clone(),
        id: machine.id.to_string(),
        filter: filter.map(|filter| filter.to_string()),
        points: points.into_iter().zip(1..).map(|(point, rank)| Place::new(point, rank)).collect(),
        host,
    }))
}

/// How an expression is understood, of names that the asker may know.
#[utoipa::path(
    get, path = "/filter/check", tag = "site", params(Checked),
    responses(
        (status = 200, description = "It is understood.", body = Understood),
        (status = 400, description = "It is not; `mistake` says where.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn check(
    person: Person,
    Query(Checked { expression, snaplen }): Query<Checked>,
) -> Result<Json<Understood>, Problem> {
    person.controller.who_am_i().await?;
    let snaplen = snaplen.unwrap_or(MOST_SNAPLEN).clamp(1, MOST_SNAPLEN);
    if expression.trim().is_empty() {
        return Err(Problem::bad_request("there is no expression; all packets need none"));
    }
    // Most expressions name nothing, and all that is known of every host is a lot to go through.
    if let Ok(filter) = Filter::parse_with(&expression, &NoNames) {
        return Ok(Json(Understood::new(expression, &filter, &TunnelPorts::default(), snaplen)));
    }
    let (found, _) = person.controller.find("", 0).await?;
    let mut known = History::default();
    found.into_iter().map(site_of).for_each(|site| known.merge(history(&site)));
    let names = Names::new(&known);
    let filter = Filter::parse_with(&expression, &names).map_err(|error| Problem::from(&error))?;
    let mut ports = TunnelPorts::default();
    names.add_tunnel_ports(&mut ports);
    Ok(Json(Understood::new(expression, &filter, &ports, snaplen)))
}

impl Place {
    fn new(point: Point, rank: usize) -> Self {
        let interface = |interface: plan::Interface| ListenedTo {
            name: interface.name,
            vnic: interface.vnic,
            description: interface.description,
        };
        Self {
            rank,
            point: point.kind.word(),
            kind: point.kind.to_string(),
            refusal: point.refusal,
            vnics: point.vnics,
            interfaces: point.interfaces.into_iter().map(interface).collect(),
            sees: point.sees,
            misses: point.misses,
            costs: point.costs,
            disturbs: point.disturbs,
        }
    }
}

impl Understood {
    fn new(expression: String, filter: &Filter, ports: &TunnelPorts, snaplen: u32) -> Self {
        let place = TagPlace::MetadataOrBytes;
        let kernel = Kernel::new(filter, ports, snaplen, place, MAX_INSTRUCTIONS);
        let program = kernel.program.or_keep_all(snaplen);
        let explanation = filter.explanation();
        let lines = explanation.lines().map(|(depth, line)| format!("{:1$}{line}", "", depth * 2));
        Self {
            expression,
            normal: filter.to_string(),
            explanation: lines.collect(),
            kernel: InKernel {
                exact: kernel.is_exact(),
                passes: kernel.passed.iter().map(ToString::to_string).collect(),
                snaplen,
                listing: program.to_string().lines().map(str::to_owned).collect(),
            },
        }
    }
}

fn understood(expression: &str, names: &Names<'_>) -> Result<Option<Filter>, Problem> {
    if expression.trim().is_empty() {
        return Ok(None);
    }
    Filter::parse_with(expression, names).map(Some).map_err(|error| Problem::from(&error))
}

fn site_of(found: HostFound) -> Site {
    Site { host: Host { name: found.host }, machines: found.machines, sources: found.sources }
}

/// As it is now, taken to have been so always.
fn history(site: &Site) -> History {
    let episode = |machine: &Machine| Episode {
        host: site.host.clone(),
        machine: machine.clone(),
        during: Period::ALWAYS,
    };
    History::new(site.machines.iter().map(episode))
}

/// No packet is longer.
const MOST_SNAPLEN: u32 = 262_144;
