//! One event per request, and the id that ties an answer to it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue};

use super::respond::panicked;
use crate::id::TenantId;

const PATH_BYTES_MAX: usize = 64;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id: 16 hex digits, half of them this process's, half of them a count. It names a line in
/// a log and guards nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId([u8; 16]);

impl RequestId {
    fn next() -> Self {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish() << 32);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = *PROCESS | u64::from(COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::array::from_fn(|at| b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 15]))
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What the way down leaves for the log line: a handler adds to it by the response's extensions.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) TenantId);

/// Why a request was refused, for the log alone.
#[derive(Clone, Debug)]
pub(super) struct Cause(pub(super) String);

/// Numbers the request, answers for it if a bug of ours panics, and writes one line when its answer's head is ready.
pub(super) async fn request_log(mut request: Request, next: Next) -> Response {
    let id = RequestId::next();
    let begun = Instant::now();
    let method = request.method().clone();
    let uri = request.uri().clone();
    request.extensions_mut().insert(id);
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut answer = answered.unwrap_or_else(|_| panicked(id));
    if let Ok(value) = HeaderValue::from_bytes(&id.0) {
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
