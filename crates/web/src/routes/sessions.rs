//! Capture sessions: asked for, looked at, changed, ended.

use std::sync::Arc;

use api::document::{WhenFull, Wish};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::door::Door;
use crate::list::Pages;
use crate::person::Person;
use crate::problem::{Body, Problem, Query};
use crate::view::{Receipt, Session};

/// A capture that is asked for. What is left out is as `overtap capture --detach` has it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSession {
    /// Whose packets: names, ids, MACs, addresses, ports, patterns as `web-*`, `tenant:NAME`; one
    /// at least.
    what: Vec<String>,
    /// Which of them, in the words of the filter language; all if nothing is said.
    #[serde(default)]
    expression: String,
    /// Where to look: `auto`, `tap`, `uplink`, `inside` or an interface.
    point: Option<String>,
    /// Most bytes kept of each packet.
    #[schema(minimum = 1, maximum = 262_144)]
    snaplen: Option<u32>,
    /// Whether tunnels are removed.
    strip: Option<bool>,
    /// Stop after so many packets.
    packets: Option<u64>,
    /// Stop after so many bytes of packets.
    bytes: Option<u64>,
    /// How long it lasts, in seconds.
    #[schema(minimum = 1)]
    duration_s: Option<u64>,
    /// Why; a grant may ask for one.
    #[serde(default)]
    reason: String,
    /// Whether it goes on when nobody follows it; if not, it ends a minute after that.
    detach: Option<bool>,
    /// Most bytes that a host keeps of it until they are fetched.
    spool_bytes: Option<u64>,
    /// What becomes of it when a host keeps that much: `end` or `drop`.
    #[schema(value_type = Option<String>)]
    when_full: Option<WhenFull>,
    /// How far back it begins, with what hosts have recorded, in seconds.
    #[serde(default)]
    last_s: u64,
    /// Whether it ends with what was recorded until now.
    #[serde(default)]
    past_only: bool,
}

/// Sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sessions {
    /// They, the latest first.
    items: Vec<Session>,
    /// The cursor for more; `null` at the end.
    next: Option<String>,
}

/// Other packets of the same machines.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewFilter {
    /// Which, from now on; empty for all.
    expression: String,
}

/// One's own sessions; an administrator's list has everybody's.
#[utoipa::path(
    get, path = "/sessions", tag = "sessions", params(Pages),
    responses(
        (status = 200, description = "Sessions, the latest first.", body = Sessions),
        (status = 400, description = "What was asked makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    person: Person,
    Query(pages): Query<Pages>,
) -> Result<Json<Sessions>, Problem> {
    let all = person.controller.sessions().await?;
    let key = |it: &api::document::Session| format!("{:020}{}", u64::MAX - it.began_ns, it.id);
    let (items, next) = pages.of(all, key)?;
    Ok(Json(Sessions { items: items.into_iter().map(Session::from).collect(), next }))
}

/// Starts a capture.
#[utoipa::path(
    post, path = "/sessions", tag = "sessions", request_body = NewSession,
    responses(
        (status = 201, description = "It runs.", body = Session),
        (status = 400, description = "It makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "No grant allows it.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nothing is called so.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "There are too many sessions.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn start(
    person: Person,
    State(door): State<Arc<Door>>,
    Body(new): Body<NewSession>,
) -> Result<Response, Problem> {
    let wish = new.wish(&door.defaults)?;
    let session = Session::from(person.controller.start(&wish).await?);
    let place = format!("/api/v1/sessions/{}", session.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(session)).into_response())
}

/// One session.
#[utoipa::path(
    get, path = "/sessions/{id}", tag = "sessions", params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 200, description = "The session.", body = Session),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none that the asker may see.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn show(person: Person, Path(id): Path<String>) -> Result<Json<Session>, Problem> {
    Ok(Json(person.controller.session(&id).await?.into()))
}

/// Ends a session and removes its packets everywhere.
#[utoipa::path(
    delete, path = "/sessions/{id}", tag = "sessions", params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none that the asker may see.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn remove(person: Person, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    person.controller.remove(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a session; its packets stay to be fetched.
#[utoipa::path(
    post, path = "/sessions/{id}/stop", tag = "sessions", params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 200, description = "The session, ended.", body = Session),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none that the asker may see.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn stop(person: Person, Path(id): Path<String>) -> Result<Json<Session>, Problem> {
    Ok(Json(person.controller.stop(&id).await?.into()))
}

/// Captures other packets of the same machines from now on.
#[utoipa::path(
    post, path = "/sessions/{id}/filter", tag = "sessions", params(("id" = String, Path, description = "Its id.")),
    request_body = NewFilter,
    responses(
        (status = 200, description = "The session, with the new filter.", body = Session),
        (status = 400, description = "The filter makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "It is somebody else's.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none that the asker may see.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn filter(
    person: Person,
    Path(id): Path<String>,
    Body(new): Body<NewFilter>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(person.controller.refilter(&id, &new.expression).await?.into()))
}

/// The accounts of a session's hosts.
#[utoipa::path(
    get, path = "/sessions/{id}/receipt", tag = "sessions", params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 200, description = "The accounts.", body = Receipt),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none that the asker may see.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn receipt(
    person: Person,
    Path(id): Path<String>,
) -> Result<Json<Receipt>, Problem> {
    Ok(Json(person.controller.session(&id).await?.into()))
}

impl NewSession {
    /// As it is put to the controller.
    fn wish(self, defaults: &Wish) -> Result<Wish, Problem> {
        let (mut vms, mut tenants) = (Vec::new(), Vec::new());
        for word in self.what.iter().map(|word| word.trim()).filter(|word| !word.is_empty()) {
            match word.split_once(':') {
                Some(("tenant", tenant)) => tenants.push(tenant.to_owned()),
                Some(("vm", vm)) => vms.push(vm.to_owned()),
                _ => vms.push(word.to_owned()),
            }
        }
        if vms.is_empty() && tenants.is_empty() {
            return Err(Problem::bad_request("say whose packets: \"what\": [\"web-01\"]"));
        }
        let most = defaults.snaplen;
        let snaplen = self.snaplen.unwrap_or(most);
        if !(1..=most).contains(&snaplen) {
            return Err(Problem::bad_request(format!("snaplen is 1 to {most}, not {snaplen}")));
        }
        let mut limits = defaults.limits;
        limits.packets = self.packets.or(limits.packets);
        limits.bytes = self.bytes.or(limits.bytes);
        Ok(Wish {
            vms,
            tenants,
            expression: self.expression,
            point: self.point.unwrap_or_else(|| defaults.point.clone()),
            snaplen,
            is_stripped: self.strip.unwrap_or(defaults.is_stripped),
            limits,
            lifetime_s: self.duration_s.unwrap_or(defaults.lifetime_s).max(1),
            is_lifetime_meant: self.duration_s.is_some(),
            reason: self.reason,
            is_attached: !self.detach.unwrap_or(true),
            spool_bytes: self.spool_bytes.or(self.bytes).unwrap_or(defaults.spool_bytes),
            when_full: self.when_full.unwrap_or(defaults.when_full),
            last_s: self.last_s,
            is_past_only: self.past_only,
        })
    }
}
