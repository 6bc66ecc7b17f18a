//! What every request meets first and every answer meets last, whatever it is for: an id, the client's
//! address, the guard, the preflight's answer, the bounds over all tenants; then, on the way out, the log
//! line and the headers for browsers. A function and not layers: a layer boxes and copies what it wraps.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Edge;
use super::client::{ClientAddr, identify};
use super::cors::{Readers, dress, is_preflight, preflight};
use super::guard::{Guard, Place};
use super::request_id::RequestId;
use super::request_log::Line;
use super::respond::{panicked, refuse, turned_away};
use crate::clock::millis;
use crate::config::{AddressBlock, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::{Metrics, Traces};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// nginx holds an event stream back until it has a buffer full, unless the answer says this.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
/// As many headers as a usual answer gets on its way out, so that their table grows once.
const LEAVE_HEADERS: usize = 8;
/// How soon a caller whom the host had no room for may come again.
const SHED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The door's own state.
pub(crate) struct Door {
    guard: Guard,
    trusted: Vec<AddressBlock>,
    in_flight: Semaphore,
    in_flight_max: usize,
    answer_deadline: Duration,
    secure: bool,
    metrics: Arc<Metrics>,
    traces: Traces,
}

impl Door {
    pub(crate) fn new(settings: &Settings, metrics: Arc<Metrics>, traces: Traces) -> Self {
        let connections = &settings.connections;
        Self {
            guard: Guard::new(settings),
            trusted: settings.trusted_proxies(),
            in_flight: Semaphore::new(connections.in_flight.min(Semaphore::MAX_PERMITS)),
            in_flight_max: connections.in_flight,
            answer_deadline: connections.answer_deadline,
            secure: settings.speaks_tls(),
            metrics,
            traces,
        }
    }

    /// What is counted.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where spans go.
    pub(super) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Awaits an answer from behind the door, if there is room and while there is time for it.
    async fn bounded(&self, answer: impl Future<Output = Response>) -> Result<Response> {
        let _room = self.in_flight.try_acquire().map_err(|_| {
            Error::busy("in_flight", u64::try_from(self.in_flight_max).unwrap_or(u64::MAX), SHED_RETRY_AFTER)
        })?;
        let _counted = self.metrics.answering();
        timeout(self.answer_deadline, answer).await.map_err(|_| {
            let millis = millis(self.answer_deadline);
            let message = format!("no answer within {millis} ms: what was asked may or may not have been done");
            Error::new(ErrorKind::Unavailable, message).with_bound("answer_deadline", millis)
        })
    }

    /// Lets `answer` answer the request if it may come in, or answers for it: also where a bug of ours panics.
    pub(super) async fn enter<F>(&self, request: Request, answer: impl FnOnce(RequestId, Request) -> F) -> Response
    where
        F: Future<Output = Response>,
    {
        let (mut head, body) = request.into_parts();
        let by_proxy = identify(&mut head, &self.trusted);
        let id = RequestId::of(&head.headers, by_proxy);
        let line = Line::begin(id, &head, head.extensions.get::<ClientAddr>().copied());
        let place = Place::of(head.uri.path());
        let readers = self.guard.readers(place, &head.headers);
        let answering = async {
            if let Err(refusal) = self.guard.check(place, &head, &readers) {
                return turned_away(refusal, id);
            }
            if place != Place::Health && is_preflight(&head) {
                return preflight(&head.headers, &readers);
            }
            if place == Place::Mcp && head.method == Method::OPTIONS {
                return methods();
            }
            let answer = answer(id, Request::from_parts(head, body));
            match place {
                Place::Mcp => self.bounded(answer).await.unwrap_or_else(|error| refuse(&error, id)),
                _ => answer.await,
            }
        };
        let answered = AssertUnwindSafe(answering).catch_unwind().await;
        let (mut answer, took) = line.end(answered.unwrap_or_else(|_| panicked(id)));
        self.metrics.answered(answer.status().as_u16(), took);
        leave(answer.headers_mut(), place, readers, id, self.secure);
        answer
    }
}

/// Lets `answer` answer the request if it may come in, or answers for it: also where a bug of ours panics.
pub(super) async fn enter<F>(edge: &Edge, request: Request, answer: impl FnOnce(RequestId, Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    edge.0.door.enter(request, answer).await
}

/// OPTIONS of somebody who is no browser (RFC 9110 section 9.3.7).
fn methods() -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE, OPTIONS"));
    answer
}

fn leave(headers: &mut HeaderMap, place: Place, readers: Readers, id: RequestId, secure: bool) {
    headers.reserve(LEAVE_HEADERS);
    if let Ok(value) = HeaderValue::from_bytes(id.as_str().as_bytes()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if secure {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    if matches!(place, Place::Mcp | Place::Elsewhere) {
        // Said also to those who sent no Origin, or a cache would give their answer to a page.
        headers.append(VARY, HeaderValue::from_static("origin"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    if headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    }
    dress(headers, readers);
}
