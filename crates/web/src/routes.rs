//! The routes of the API, and the document that describes them: made of the same lines.

mod audit;
mod events;
mod login;
mod machines;
mod office;
mod packets;
mod plan;
mod sessions;
mod status;
mod traffic;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, header};
use axum::routing::get;
use axum::{Router, middleware};
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::door::Door;
use crate::page;
use crate::person::cookie_name;
use crate::problem::Problem;
use crate::view::{Counted, Packet};

use self::events::{Changed, Refused};

/// Everything that is answered.
pub(crate) fn routes(door: Arc<Door>) -> Router {
    let (api, document) = api().split_for_parts();
    // Written once: what is in it does not change.
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let told = move || async move {
        ([(header::CONTENT_TYPE, "application/json")], String::from(&*document))
    };
    api.route("/api/v1/openapi.json", get(told))
        .fallback(page::page)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .layer(middleware::map_response(page::guarded))
        .with_state(door)
}

/// The document that describes the API (OpenAPI 3.1).
pub fn openapi() -> OpenApi {
    api().into_openapi()
}

fn api() -> OpenApiRouter<Arc<Door>> {
    let v1 = OpenApiRouter::new()
        .routes(routes!(login::log_in, login::log_out))
        .routes(routes!(login::me))
        .routes(routes!(machines::machines))
        .routes(routes!(machines::topology))
        .routes(routes!(sessions::list, sessions::start))
        .routes(routes!(sessions::show, sessions::remove))
        .routes(routes!(sessions::stop))
        .routes(routes!(sessions::filter))
        .routes(routes!(sessions::receipt))
        .routes(routes!(packets::capture))
        .routes(routes!(packets::packets))
        .routes(routes!(plan::plan))
        .routes(routes!(plan::check))
        .routes(routes!(status::status))
        .routes(routes!(events::events))
        .routes(routes!(traffic::top))
        .routes(routes!(traffic::pairs))
        .routes(routes!(traffic::split))
        .routes(routes!(traffic::series))
        .routes(routes!(traffic::flows))
        .routes(routes!(traffic::exporters))
        .routes(routes!(office::users, office::add_user))
        .routes(routes!(office::change_user))
        .routes(routes!(office::tokens, office::add_token))
        .routes(routes!(office::remove_token))
        .routes(routes!(office::grants, office::add_grant))
        .routes(routes!(office::remove_grant))
        .routes(routes!(office::agents))
        .routes(routes!(office::invite))
        .routes(routes!(office::remove_agent))
        .routes(routes!(audit::audit));
    OpenApiRouter::with_openapi(Described::openapi()).nest("/api/v1", v1)
}

async fn wrong_method(method: Method) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not for this path; see /api/v1/openapi.json"),
    )
}

/// What the document says before the paths.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "overtap",
        description = "The controller's HTTP API. Everybody is who their token says; what they may see and do is \
                       what their grants say, and all of it is in the audit log. Problems are told as RFC 9457 says."
    ),
    modifiers(&Locks),
    // What only server-sent events carry.
    components(schemas(Changed, Counted, Packet, Refused)),
    security(("bearer" = []), ("cookie" = [])),
)]
struct Described;

/// How somebody says who they are.
struct Locks;

impl Modify for Locks {
    fn modify(&self, document: &mut OpenApi) {
        document.info.version = env!("CARGO_PKG_VERSION").into();
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A user token: overtap tokens add USER."))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::with_description(
            cookie_name(true),
            "Set by POST /api/v1/login; called `overtap` without TLS. What changes something needs \
             the header X-Overtap: 1 with it.",
        );
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// Bytes of a question: what somebody typed.
const MOST_BODY_BYTES: usize = 64 << 10;
