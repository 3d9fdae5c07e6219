//! The page: files that are part of the program. Every other path is one of its views.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::problem::Problem;

#[derive(RustEmbed)]
#[folder = "page/"]
struct Page;

/// A file of the page; the page itself for what is none, so that a view can be linked to.
pub(crate) async fn page(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        let detail = format!("there is no {}; see /api/v1/openapi.json", uri.path());
        return Problem::not_found(detail).into_response();
    }
    let is_view = !path.rsplit('/').next().unwrap_or_default().contains('.');
    let (name, file) = match Page::get(path) {
        Some(file) => (path, file),
        None if is_view => match Page::get("index.html") {
            Some(file) => ("index.html", file),
            None => return Problem::not_found("the page is not in this build").into_response(),
        },
        None => return Problem::not_found(format!("there is no /{path}")).into_response(),
    };
    send(name, file, &headers)
}

fn send(name: &str, file: EmbeddedFile, asked: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", HEXLOWER.encode(&file.metadata.sha256_hash()));
    let tag = HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
    // Asked for again each time, and sent only if it is another one.
    let caching = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if asked.get(header::IF_NONE_MATCH) == Some(&tag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag), caching]).into_response();
    }
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    ([kind, (header::ETAG, tag), caching], file.data.into_owned()).into_response()
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// What every answer says besides: nothing of it may be used by, or use, anybody else.
pub(crate) async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in GUARDS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

const GUARDS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
         object-src 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];
