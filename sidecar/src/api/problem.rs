//! Errors as RFC 9457 has them, and what comes in, taken apart in a way that leads to such errors.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::ControlError;

/// Why a request was not carried out.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    /// What kind of problem it is; the status says it.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "code")]
    status: StatusCode,
    detail: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem");
        Self { kind: "about:blank", title, status, detail: detail.into(), field: None, retry_after: None }
    }

    /// Something that passes.
    pub(super) fn later(status: StatusCode, detail: impl Into<Cow<'static, str>>, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(status, detail) }
    }

    /// Says which field of the request is wrong.
    pub(super) fn in_field(self, field: Option<&'static str>) -> Self {
        Self { field, ..self }
    }

    pub(super) fn no_call() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such call")
    }
}

fn code<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after {
            // Whole seconds, and not less than it takes.
            headers.insert(RETRY_AFTER, (after.as_millis().div_ceil(1000) as u64).max(1).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let detail = error.to_string();
        match error {
            ControlError::NoSession => Self::new(StatusCode::NOT_FOUND, "no such call is up"),
            ControlError::Empty | ControlError::TooLong { .. } | ControlError::Keys(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
            }
            ControlError::NotAllowed(_) => Self::new(StatusCode::FORBIDDEN, detail),
            ControlError::NotConnected
            | ControlError::Unsupported
            | ControlError::NoAgent
            | ControlError::Exchange(_) => Self::new(StatusCode::CONFLICT, detail),
            ControlError::Busy | ControlError::NoAnswer => {
                Self::later(StatusCode::SERVICE_UNAVAILABLE, detail, Duration::from_secs(1))
            }
        }
    }
}

/// What axum itself has to say, as a problem.
macro_rules! rejected {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for Problem {
            fn from(rejection: $rejection) -> Self {
                Self::new(rejection.status(), rejection.body_text())
            }
        }
    )*};
}
rejected!(JsonRejection, QueryRejection, PathRejection);

/// A request's JSON.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Ok(Self(Json::from_request(request, state).await?.0))
    }
}

/// A request's query.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(axum::extract::Query::from_request_parts(parts, state).await?.0))
    }
}

/// The id in a request's path.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(axum::extract::Path::from_request_parts(parts, state).await?.0))
    }
}

/// There is nothing at that path.
pub(super) async fn no_path() -> Problem {
    missing()
}

/// As [`no_path`].
pub(super) fn missing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path; /api/openapi.json lists what there is")
}

/// There is, but not with that method. Which ones there are is added by the router.
pub(super) async fn no_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method; the header Allow says which")
}
