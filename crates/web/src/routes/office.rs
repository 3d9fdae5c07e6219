//! Users, tokens, grants and agents: the controller's orders, `control::admin::Command`.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::list::Pages;
use crate::person::Person;
use crate::problem::{Body, Problem, Query};
use crate::view::{Enrolled, Grant, Made, TokenRow, User};

/// A list, page by page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T: ToSchema> {
    /// What is in it.
    items: Vec<T>,
    /// The cursor for more; `null` at the end.
    next: Option<String>,
}

/// A user to be made. It has no token and no grant yet.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// Its name.
    name: String,
    /// `viewer`, `operator` or `admin`.
    role: String,
    /// Whose it is.
    #[serde(default)]
    note: String,
}

/// What changes of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangedUser {
    /// Its role from now on.
    role: Option<String>,
    /// Whether it may do anything from now on.
    is_enabled: Option<bool>,
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// For whom.
    user: String,
    /// When it stops being good, RFC 3339; never if nothing is said.
    expires_at: Option<String>,
    /// Where it will be used.
    #[serde(default)]
    note: String,
}

/// A grant to be made.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGrant {
    /// Who gets it.
    to: String,
    /// Of which machines: `all`, `tenant:NAME`, `vm:NAME`, `vm:TENANT/NAME`, `vm:*/NAME`, `id:ID`;
    /// one at least.
    machines: Vec<String>,
    /// For what: `find`, `capture`, `record`, `mirror`; to capture if nothing is said.
    #[serde(default = "to_capture")]
    purposes: Vec<String>,
    /// How much of each packet: bytes, `headers` or `whole`; whole ones if nothing is said.
    #[serde(default = "whole")]
    snaplen: String,
    /// How long one session may last at most, ISO 8601: `PT1H`.
    longest: Option<String>,
    /// From when it is good, RFC 3339.
    from: Option<String>,
    /// When it stops being good, RFC 3339.
    until: Option<String>,
    /// Whether a reason must be given with each ask.
    #[serde(default)]
    needs_reason: bool,
    /// What for.
    #[serde(default)]
    note: String,
}

fn to_capture() -> Vec<String> {
    vec!["capture".to_owned()]
}

fn whole() -> String {
    "whole".to_owned()
}

/// An invitation for agents.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewInvitation {
    /// Where the agents reach the controller: `HOST:PORT`.
    address: String,
    /// The one agent it is for; any if nothing is said.
    agent: Option<String>,
    /// How many agents may enrol with it.
    #[serde(default = "one")]
    uses: u32,
    /// When it stops being good, RFC 3339.
    expires_at: String,
    /// What it is for.
    #[serde(default)]
    note: String,
}

const fn one() -> u32 {
    1
}

/// Why.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Because {
    /// Why, for the audit log.
    #[serde(default)]
    reason: String,
}

/// All users. For administrators.
#[utoipa::path(
    get, path = "/users", tag = "office", params(Pages),
    responses(
        (status = 200, description = "Users, by name.", body = Page<User>),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn users(
    person: Person,
    Query(pages): Query<Pages>,
) -> Result<Json<Page<User>>, Problem> {
    let all = ask(&person, json!("list-users"), "users").await?;
    page(&pages, all, |user: &User| user.name.clone())
}

/// Makes a user. For administrators.
#[utoipa::path(
    post, path = "/users", tag = "office", request_body = NewUser,
    responses(
        (status = 204, description = "It is there."),
        (status = 400, description = "It makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn add_user(
    person: Person,
    Body(new): Body<NewUser>,
) -> Result<StatusCode, Problem> {
    order(&person, json!({ "add-user": new })).await
}

/// Changes what a user may do at all, or disables it. For administrators. Users are not removed:
/// the audit log goes on meaning somebody.
#[utoipa::path(
    post, path = "/users/{name}", tag = "office", params(("name" = String, Path, description = "Its name.")),
    request_body = ChangedUser,
    responses(
        (status = 204, description = "It is so from now on."),
        (status = 400, description = "It makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn change_user(
    person: Person,
    Path(name): Path<String>,
    Body(ChangedUser { role, is_enabled }): Body<ChangedUser>,
) -> Result<StatusCode, Problem> {
    let change = json!({ "name": name, "role": role, "is_enabled": is_enabled });
    order(&person, json!({ "change-user": change })).await
}

/// Tokens: of administrators all, of others their own.
#[utoipa::path(
    get, path = "/tokens", tag = "office", params(Pages),
    responses(
        (status = 200, description = "Tokens, by id.", body = Page<TokenRow>),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn tokens(
    person: Person,
    Query(pages): Query<Pages>,
) -> Result<Json<Page<TokenRow>>, Problem> {
    let all = ask(&person, json!("list-tokens"), "tokens").await?;
    page(&pages, all, |token: &TokenRow| token.id.clone())
}

/// Makes a token for a user. For administrators.
#[utoipa::path(
    post, path = "/tokens", tag = "office", request_body = NewToken,
    responses(
        (status = 201, description = "The token; it is shown this once.", body = Made),
        (status = 400, description = "It makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn add_token(
    person: Person,
    Body(NewToken { user, expires_at, note }): Body<NewToken>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let new = json!({ "user": user, "expires_at": expires_at, "note": note });
    Ok((StatusCode::CREATED, Json(ask(&person, json!({ "add-token": new }), "made").await?)))
}

/// Removes a token: any for administrators, their own for others.
#[utoipa::path(
    delete, path = "/tokens/{id}", tag = "office", params(("id" = String, Path, description = "Its public half.")),
    responses(
        (status = 204, description = "It opens nothing any more."),
        (status = 400, description = "There is none.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn remove_token(
    person: Person,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    order(&person, json!({ "remove-token": { "id": id } })).await
}

/// Grants: of administrators all, of others their own.
#[utoipa::path(
    get, path = "/grants", tag = "office", params(Pages),
    responses(
        (status = 200, description = "Grants, by id.", body = Page<Grant>),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn grants(
    person: Person,
    Query(pages): Query<Pages>,
) -> Result<Json<Page<Grant>>, Problem> {
    let all = ask(&person, json!("list-grants"), "grants").await?;
    page(&pages, all, |grant: &Grant| grant.id.clone())
}

/// Makes a grant. For administrators.
#[utoipa::path(
    post, path = "/grants", tag = "office", request_body = NewGrant,
    responses(
        (status = 201, description = "The grant.", body = Grant),
        (status = 400, description = "It makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn add_grant(
    person: Person,
    Body(new): Body<NewGrant>,
) -> Result<(StatusCode, Json<Grant>), Problem> {
    let made: Vec<Grant> = ask(&person, json!({ "add-grant": new }), "grants").await?;
    let made = made.into_iter().next();
    let made = made.ok_or_else(|| Problem::internal("the controller made no grant"))?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Removes a grant; sessions that stand on it end. For administrators.
#[utoipa::path(
    delete, path = "/grants/{id}", tag = "office", params(("id" = String, Path, description = "Its id.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 400, description = "There is none.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn remove_grant(
    person: Person,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    order(&person, json!({ "remove-grant": { "id": id } })).await
}

/// Agents that were let in, with their certificates; how they are is in `/status`. For
/// administrators.
#[utoipa::path(
    get, path = "/agents", tag = "office", params(Pages),
    responses(
        (status = 200, description = "Agents, by id.", body = Page<Enrolled>),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn agents(
    person: Person,
    Query(pages): Query<Pages>,
) -> Result<Json<Page<Enrolled>>, Problem> {
    let all = ask(&person, json!("list-agents"), "agents").await?;
    page(&pages, all, |agent: &Enrolled| agent.id.clone())
}

/// Makes a token that lets agents in: `overtap agent enrol --token TOKEN`. For administrators.
#[utoipa::path(
    post, path = "/agents/invitations", tag = "office", request_body = NewInvitation,
    responses(
        (status = 201, description = "The token; it is shown this once.", body = Made),
        (status = 400, description = "It makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn invite(
    person: Person,
    Body(new): Body<NewInvitation>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    Ok((StatusCode::CREATED, Json(ask(&person, json!({ "invite": new }), "made").await?)))
}

/// Removes an agent and revokes its certificates. For administrators.
#[utoipa::path(
    delete, path = "/agents/{id}", tag = "office",
    params(("id" = String, Path, description = "Its id."), Because),
    responses(
        (status = 204, description = "It is turned away from now on."),
        (status = 400, description = "There is none.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn remove_agent(
    person: Person,
    Path(id): Path<String>,
    Query(Because { reason }): Query<Because>,
) -> Result<StatusCode, Problem> {
    order(&person, json!({ "remove-agent": { "id": id, "reason": reason } })).await
}

/// Has an order carried out that is answered by what is in the field `what`.
#[allow(clippy::needless_pass_by_value, reason = "it is made for this")]
async fn ask<T: DeserializeOwned>(person: &Person, order: Value, what: &str) -> Result<T, Problem> {
    let reply = person.controller.administer(order.to_string()).await?;
    let mut reply: Value = serde_json::from_str(&reply).map_err(Problem::internal)?;
    let answer = reply.get_mut(what).map(Value::take).unwrap_or_default();
    serde_json::from_value(answer).map_err(Problem::internal)
}

/// Has an order carried out that has no answer but that it was done.
#[allow(clippy::needless_pass_by_value, reason = "it is made for this")]
async fn order(person: &Person, order: Value) -> Result<StatusCode, Problem> {
    person.controller.administer(order.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn page<T: ToSchema>(
    pages: &Pages,
    all: Vec<T>,
    key: impl Fn(&T) -> String,
) -> Result<Json<Page<T>>, Problem> {
    let (items, next) = pages.of(all, key)?;
    Ok(Json(Page { items, next }))
}
