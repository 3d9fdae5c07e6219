//! How controller and agents are.

use axum::Json;

use crate::person::Person;
use crate::problem::Problem;
use crate::view::Status;

/// How controller and agents are.
#[utoipa::path(
    get, path = "/status", tag = "fleet",
    responses(
        (status = 200, description = "How they are.", body = Status),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn status(person: Person) -> Result<Json<Status>, Problem> {
    Ok(Json(person.controller.status().await?.into()))
}
