//! Logging a browser in and out, and who one is.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use remote::Connection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::door::Door;
use crate::person::{Via, Visitor, cookie, cookie_name, peer};
use crate::problem::{Body, Problem};

/// A token to log in with.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Token {
    /// A user token, as `overtap tokens add` printed it; or the word of a link that
    /// `overtap serve --local` printed, which is good once.
    token: String,
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    /// Their name.
    name: String,
    /// `viewer`, `operator` or `admin`.
    role: String,
    /// Whether they may manage users, tokens, grants and agents.
    is_admin: bool,
    /// How they are known.
    via: Via,
}

/// The connection that a question came by.
pub(crate) struct From(std::net::SocketAddr);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for From {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        peer(parts).map(Self)
    }
}

/// Logs a browser in: sets a cookie that stands for the token.
#[utoipa::path(
    post, path = "/login", tag = "login", security(()),
    request_body = Token,
    responses(
        (status = 204, description = "Logged in; the cookie is set."),
        (status = 400, description = "It is no token.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "Nobody has this token.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn log_in(
    State(door): State<Arc<Door>>,
    From(peer): From,
    Body(Token { token }): Body<Token>,
) -> Result<Response, Problem> {
    let invited = door.invitation.as_ref().and_then(|invitation| invitation.redeem(&token));
    let token = invited.unwrap_or(token);
    let controller = Connection::within(door.passage.clone(), peer, Some(&token))?;
    controller.who_am_i().await?;
    let cookie = door.logins.add(token.trim().to_owned(), Instant::now());
    let cookie = cookie.ok_or_else(|| Problem::internal("there is no randomness"))?;
    Ok(set_cookie(&door, &cookie, ""))
}

/// Logs a browser out.
#[utoipa::path(
    delete, path = "/login", tag = "login",
    responses((status = 204, description = "Logged out, or was not logged in.")),
)]
pub(crate) async fn log_out(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    if let Some(cookie) = cookie(&headers, door.is_tls) {
        door.logins.remove(cookie);
    }
    set_cookie(&door, "", "; Max-Age=0")
}

/// Who asks. Asking with nothing to show is not in the audit log.
#[utoipa::path(
    get, path = "/me", tag = "login",
    responses(
        (status = 200, description = "Who asks.", body = Me),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn me(visitor: Visitor) -> Result<Json<Me>, Problem> {
    let person = visitor.known()?;
    let reply = person.controller.who_am_i().await?;
    let is_admin = reply.role == "admin";
    Ok(Json(Me { name: reply.name, role: reply.role, is_admin, via: person.via }))
}

fn set_cookie(door: &Door, value: &str, more: &str) -> Response {
    let name = cookie_name(door.is_tls);
    let secure = if door.is_tls { "; Secure" } else { "" };
    let line = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}");
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, line)]).into_response()
}
