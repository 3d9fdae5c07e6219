//! What is said when something cannot be done: RFC 9457, one sentence that says what to do.

use std::fmt;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use remote::RemoteError;
use select::ParseError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Code;
use utoipa::ToSchema;

/// An answer that says why there is no other one.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What the status means.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// A sentence, with what to do where something can be done.
    detail: String,
    /// Where an expression was not understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    mistake: Option<Box<Mistake>>,
}

/// Where an expression was not understood.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Mistake {
    /// The expression.
    expression: String,
    /// The first character that was not understood, from 1.
    column: usize,
    /// How many characters were not understood.
    width: usize,
    /// What was expected.
    message: String,
    /// What was perhaps meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: detail.into(),
            mistake: None,
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn internal(error: impl fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<RemoteError> for Problem {
    fn from(error: RemoteError) -> Self {
        let status = match &error {
            RemoteError::Refused { code, .. } => match code {
                Code::Unauthenticated => StatusCode::UNAUTHORIZED,
                Code::PermissionDenied => StatusCode::FORBIDDEN,
                Code::NotFound => StatusCode::NOT_FOUND,
                Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
                Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
                Code::FailedPrecondition | Code::AlreadyExists => StatusCode::CONFLICT,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            RemoteError::Away { .. } => StatusCode::SERVICE_UNAVAILABLE,
            RemoteError::Token => StatusCode::UNAUTHORIZED,
            RemoteError::Connect(_) | RemoteError::Nonsense(_) | RemoteError::Failed(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let detail = match error {
            // Where the controller is is of no use to anybody: it is here.
            RemoteError::Away { reason, .. } => reason,
            error => error.to_string(),
        };
        Self::new(status, detail)
    }
}

impl From<&ParseError> for Problem {
    fn from(error: &ParseError) -> Self {
        let mistake = Mistake {
            expression: error.expression.clone(),
            column: error.column,
            width: error.width,
            message: error.message.clone(),
            suggestion: error.suggestion.clone(),
        };
        let detail = match &error.suggestion {
            Some(near) => format!("column {}: {}; perhaps {near}?", error.column, error.message),
            None => format!("column {}: {}", error.column, error.message),
        };
        Self { mistake: Some(Box::new(mistake)), ..Self::bad_request(detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer realm=\"overtap\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
        }
        response
    }
}

/// What stands behind the question mark; a problem is told as one.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        let read = read.map_err(|error: QueryRejection| Problem::bad_request(error.body_text()))?;
        Ok(Self(read.0))
    }
}

/// The JSON that was sent; a problem is told as one.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = Json::<T>::from_request(request, state).await;
        let read =
            read.map_err(|error: JsonRejection| Problem::new(error.status(), error.body_text()))?;
        Ok(Self(read.0))
    }
}
