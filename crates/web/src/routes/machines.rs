//! Where machines are, and the site they are in.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::list::Pages;
use crate::person::Person;
use crate::problem::{Problem, Query};
use crate::view::{MachineAt, Topology};

/// Which machines.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Name, UUID, MAC, IP, tap or port id, or the beginning of a name; all if nothing is said.
    #[serde(default)]
    what: String,
    /// As of then, RFC 3339; now if nothing is said.
    #[param(value_type = Option<String>)]
    at: Option<jiff::Timestamp>,
}

/// Machines.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Machines {
    /// They, by name.
    items: Vec<MachineAt>,
    /// How many there are in all pages.
    total: usize,
    /// Names that were perhaps meant, where nothing was found.
    suggestions: Vec<String>,
    /// The cursor for more; `null` at the end.
    next: Option<String>,
}

/// What of the site.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Seen {
    /// As of then, RFC 3339; now if nothing is said.
    #[param(value_type = Option<String>)]
    at: Option<jiff::Timestamp>,
    /// Only this host.
    host: Option<String>,
    /// `false` for the number of vNICs in each port group alone.
    #[serde(default = "yes")]
    vnics: bool,
}

const fn yes() -> bool {
    true
}

/// Machines that are called so, wherever they are.
#[utoipa::path(
    get, path = "/machines", tag = "site", params(Wanted, Pages),
    responses(
        (status = 200, description = "The machines that the asker may see.", body = Machines),
        (status = 400, description = "What was asked makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn machines(
    person: Person,
    Query(wanted): Query<Wanted>,
    Query(pages): Query<Pages>,
) -> Result<Json<Machines>, Problem> {
    let (found, suggestions) = person.controller.find(&wanted.what, nanoseconds(wanted.at)).await?;
    let all: Vec<MachineAt> = found.into_iter().flat_map(MachineAt::all_of).collect();
    let total = all.len();
    let key = |it: &MachineAt| format!("{}\0{}\0{}", it.machine.name, it.machine.id, it.host);
    let (items, next) = pages.of(all, key)?;
    Ok(Json(Machines { items, total, suggestions, next }))
}

/// The site as a tree.
#[utoipa::path(
    get, path = "/topology", tag = "site", params(Seen),
    responses(
        (status = 200, description = "What the asker may see of the site.", body = Topology),
        (status = 400, description = "What was asked makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn topology(
    person: Person,
    Query(seen): Query<Seen>,
) -> Result<Json<Topology>, Problem> {
    let (mut found, _) = person.controller.find("", nanoseconds(seen.at)).await?;
    if let Some(host) = &seen.host {
        found.retain(|found| found.host == *host);
    }
    Ok(Json(Topology::new(found, seen.vnics)))
}

fn nanoseconds(at: Option<jiff::Timestamp>) -> u64 {
    at.and_then(|at| u64::try_from(at.as_nanosecond()).ok()).unwrap_or(0)
}
