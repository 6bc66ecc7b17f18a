//! One event per request.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue};

use super::request_id::RequestId;
use super::respond::{Cause, panicked};
use crate::id::TenantId;

const PATH_BYTES_MAX: usize = 64;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the way down leaves for the log line: a handler adds to it by the response's extensions.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) TenantId);

/// Numbers the request, lets `answer` answer it (or answers for it, if a bug of ours panics), and writes one
/// line when the answer's head is ready. A function and not a layer: a layer boxes and copies what it wraps.
pub(super) async fn logged<F>(request: Request, answer: impl FnOnce(RequestId, Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let id = RequestId::next();
    let begun = Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let answered = AssertUnwindSafe(answer(id, request)).catch_unwind().await;
    let mut answer = answered.unwrap_or_else(|_| panicked(id));
    if let Ok(value) = HeaderValue::from_bytes(id.as_str().as_bytes()) {
        answer.headers_mut().insert(REQUEST_ID, value);
    }
    tracing::info!(
        request.id = id.as_str(),
        http.method = method.as_str(),
        // The path alone: a query may hold a token that somebody put there by mistake.
        http.path = shortened(uri.path()),
        http.status = answer.status().as_u16(),
        tenant.id = answer.extensions().get::<Caller>().map(|caller| caller.0.as_str()),
        cause = answer.extensions().get::<Cause>().map(|cause| cause.0.as_str()),
        duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    answer
}

/// As much of a path as a log line should hold. A path is ASCII here, or hyper had refused it.
fn shortened(path: &str) -> &str {
    path.get(..PATH_BYTES_MAX).unwrap_or(path)
}
