//! The audit log, for administrators.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::person::Person;
use crate::problem::{Problem, Query};
use crate::view::AuditEntry;

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// The first one; if nothing is said, only the last ones are given.
    #[param(minimum = 1)]
    first: Option<u64>,
    /// Most entries, 1 to 1000; 100 if nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Entries of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditEntries {
    /// They, the oldest first.
    items: Vec<AuditEntry>,
    /// The number of the entry to go on with; `null` at the end.
    next: Option<u64>,
}

/// The audit log. Reading it is an entry of its own. For administrators.
#[utoipa::path(
    get, path = "/audit", tag = "office", params(Wanted),
    responses(
        (status = 200, description = "Entries, the oldest first.", body = AuditEntries),
        (status = 400, description = "What was asked makes no sense.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No good token.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not an administrator.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn audit(
    person: Person,
    Query(Wanted { first, limit }): Query<Wanted>,
) -> Result<Json<AuditEntries>, Problem> {
    let limit = limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is 1 to 1000, not {limit}")));
    }
    let last = if first.is_some() { 0 } else { limit as u64 };
    let mut pages = person.controller.audit(first.unwrap_or(0), last).await?;
    let mut items = Vec::new();
    while let Some(lines) = person.controller.audit_page(&mut pages).await? {
        for line in lines {
            let entry = AuditEntry::read(&line).map_err(Problem::internal)?;
            if items.len() == limit {
                return Ok(Json(AuditEntries { items, next: Some(entry.seq) }));
            }
            items.push(entry);
        }
    }
    Ok(Json(AuditEntries { items, next: None }))
}
