//! Who asks: by the token in the header, or by the cookie of a browser that is logged in.
//!
//! Whether the token is good is not decided here: it goes with each question to the controller,
//! which also has the refusals in its audit log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use remote::Connection;
use serde::Serialize;
use utoipa::ToSchema;

use crate::door::Door;
use crate::problem::Problem;

/// The address of whoever is at the other end of an HTTP connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Somebody who asks, with a way to put it to the controller.
pub(crate) struct Person {
    /// The controller, asked with their token.
    pub(crate) controller: Connection,
    /// How they are known.
    pub(crate) via: Via,
}

/// How somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Via {
    /// A browser that is logged in.
    Cookie,
    /// A token with each question.
    Bearer,
}

impl FromRequestParts<Arc<Door>> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, door: &Arc<Door>) -> Result<Self, Problem> {
        if let Visitor(Some(person)) = Visitor::from_request_parts(parts, door).await? {
            return Ok(person);
        }
        // The controller says no, and notes it.
        let nobody = Connection::within(door.passage.clone(), peer(parts)?, None)?;
        nobody.who_am_i().await?;
        Err(unknown())
    }
}

/// Somebody who comes to see whether they are known. That alone is no try to get anything, so that
/// a page that is opened leaves nothing in the audit log.
pub(crate) struct Visitor(Option<Person>);

impl Visitor {
    /// The person they are.
    pub(crate) fn known(self) -> Result<Person, Problem> {
        self.0.ok_or_else(unknown)
    }
}

impl FromRequestParts<Arc<Door>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, door: &Arc<Door>) -> Result<Self, Problem> {
        let peer = peer(parts)?;
        let (token, via) = match bearer(&parts.headers) {
            Some(token) => (Some(token.to_owned()), Via::Bearer),
            None => {
                let cookie = cookie(&parts.headers, door.is_tls);
                let now = Instant::now();
                (cookie.and_then(|cookie| door.logins.token(cookie, now)), Via::Cookie)
            }
        };
        let Some(token) = token else { return Ok(Self(None)) };
        let controller = Connection::within(door.passage.clone(), peer, Some(&token))?;
        if via == Via::Cookie && is_change(&parts.method) && !has_mark(&parts.headers) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "another site may have sent this: send the header X-Overtap: 1 with it",
            ));
        }
        Ok(Self(Some(Person { controller, via })))
    }
}

fn unknown() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "no token was shown, and nobody is logged in")
}

/// Where a question comes from.
pub(crate) fn peer(parts: &Parts) -> Result<SocketAddr, Problem> {
    let peer = parts.extensions.get::<Peer>();
    // Whoever serves the routes puts it there.
    peer.map(|peer| peer.0).ok_or_else(|| Problem::internal("the connection has no address"))
}

/// The cookie of a browser that is logged in.
pub(crate) fn cookie(headers: &HeaderMap, is_tls: bool) -> Option<&str> {
    let name = cookie_name(is_tls);
    let all = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut each = all.flat_map(|line| line.split(';'));
    each.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// The cookie's name: behind TLS one that no other host and no plain HTTP can set.
pub(crate) const fn cookie_name(is_tls: bool) -> &'static str {
    if is_tls { "__Host-overtap" } else { "overtap" }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_change(method: &Method) -> bool {
    !(method == Method::GET || method == Method::HEAD)
}

/// A header that a page of another site cannot send along without being asked first.
fn has_mark(headers: &HeaderMap) -> bool {
    headers.get("x-overtap").is_some_and(|value| value == "1")
}
