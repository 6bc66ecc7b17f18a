//! The admin listener's routes: what an operator's program asks, as JSON, and never on the public listener.
//!
//! `/healthz`, `/readyz`, `/metrics`, and below `/v1` what `freehold tenant` and `freehold migrate` do. A refusal is
//! `{"error": {"kind", "message"}}`. Who may come in the listener decides: the socket's owner, or who has the token.

mod fleet;
mod tenants;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::respond::status_of;
use crate::admin::{Admin, told};
use crate::auth::{AdminToken, Gate};
use crate::drain::Drain;
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::Traces;

/// Requests answered at once: operators are few, and long work is one of them.
const IN_FLIGHT_MAX: usize = 32;

/// Scrapes answered at once where nobody needs a token for them: some Prometheus, and each asks for one at a time.
const SCRAPES_MAX: usize = 4;

/// What the routes ask.
#[derive(Clone)]
pub(crate) struct Desk {
    admin: Admin,
    gate: Arc<Gate>,
    drain: Drain,
    traces: Traces,
    in_flight: Arc<Semaphore>,
    most: usize,
}

impl Desk {
    /// Puts the pieces together.
    pub(crate) fn new(admin: Admin, gate: Arc<Gate>, drain: Drain, traces: Traces) -> Self {
        Self { admin, gate, drain, traces, in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)), most: IN_FLIGHT_MAX }
    }

    /// The routes, for whoever reaches them.
    pub(crate) fn router(self) -> Router {
        self.routes().with_state(self)
    }

    /// The routes, for who has `token`; health is everybody's.
    pub(crate) fn guarded(self, token: Arc<AdminToken>) -> Router {
        self.routes().layer(from_fn_with_state(token, with_token)).with_state(self)
    }

    /// `/metrics` and nothing else, for whoever reaches it.
    pub(crate) fn metrics_alone(self) -> Router {
        let own = Self { in_flight: Arc::new(Semaphore::new(SCRAPES_MAX)), most: SCRAPES_MAX, ..self };
        Router::new()
            .route("/metrics", get(metrics))
            .fallback(async || refusal(&Error::new(ErrorKind::NotFound, "there is only /metrics here")))
            .layer(from_fn_with_state(own.clone(), within_bounds))
            .with_state(own)
    }

    fn routes(&self) -> Router<Self> {
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/v1/top", get(top))
            .route("/v1/tenants", get(tenants::list).post(tenants::create))
            .route("/v1/tenants/{id}", get(tenants::show).delete(tenants::delete))
            .route("/v1/tenants/{id}/class", put(tenants::class))
            .route("/v1/tenants/{id}/suspend", post(tenants::suspend))
            .route("/v1/tenants/{id}/resume", post(tenants::resume))
            .route("/v1/tenants/{id}/export", get(tenants::export))
            .route("/v1/tenants/{id}/import", put(tenants::import))
            .route("/v1/tenants/{id}/fork", post(tenants::fork))
            .route("/v1/tenants/{id}/checkpoint", post(tenants::checkpoint))
            .route("/v1/tenants/{id}/bookmarks", get(tenants::bookmarks))
            .route("/v1/tenants/{id}/restore", post(tenants::restore))
            .route("/v1/tenants/{id}/usage", get(tenants::usage))
            .route("/v1/tenants/{id}/verify", post(tenants::verify))
            .route("/v1/tenants/{id}/sql", post(tenants::sql))
            .route("/v1/restore", post(fleet::restore))
            .route("/v1/verify", post(fleet::verify))
            .route("/v1/migrations", get(fleet::status))
            .route("/v1/migrations/plan", post(fleet::plan))
            .route("/v1/migrations/apply", post(fleet::apply))
            .fallback(async || refusal(&Error::new(ErrorKind::NotFound, "there is no such path on the admin listener")))
            .layer(from_fn_with_state(self.traces.clone(), trace::traced))
            .layer(from_fn_with_state(self.clone(), within_bounds))
    }
}

async fn ready(State(desk): State<Desk>) -> Response {
    if desk.drain.is_announced() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else if desk.gate.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "an issuer's keys are not here yet\n").into_response()
    }
}

async fn metrics(State(desk): State<Desk>) -> Said {
    let text = desk.admin.metrics().await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

async fn top(State(desk): State<Desk>) -> Said {
    ok(&desk.admin.top().await?)
}

async fn within_bounds(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let Ok(_turn) = desk.in_flight.try_acquire() else {
        return refusal(&Error::busy("in_flight", desk.most as u64, Duration::from_secs(1)));
    };
    next.run(request).await
}

async fn with_token(State(token): State<Arc<AdminToken>>, request: Request, next: Next) -> Response {
    let sent = request.headers().get(AUTHORIZATION).and_then(|sent| sent.as_bytes().strip_prefix(b"Bearer "));
    if request.uri().path() == "/healthz" || sent.is_some_and(|sent| token.is(sent)) {
        return next.run(request).await;
    }
    let said = "send `Authorization: Bearer` and the token of keys/admin.token in the data directory";
    let mut answer = refusal(&Error::new(ErrorKind::Unauthenticated, said));
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// What a handler says, or why not.
type Said<T = Response> = std::result::Result<T, Refused>;

/// An error on its way out.
struct Refused(Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refusal(&self.0)
    }
}

fn refusal(error: &Error) -> Response {
    if error.kind() == ErrorKind::Internal {
        tracing::error!(error = error.chain(), "an operator's request failed");
    }
    let mut answer = said(status_of(error), &json!({ "error": told(error) }));
    if let Some(after) = error.retry_after() {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    answer
}

fn said(status: StatusCode, value: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], Body::from(format!("{value}\n"))).into_response()
}

fn ok(value: &Value) -> Said {
    Ok(said(StatusCode::OK, value))
}

fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T> {
    let wrong = |error| Error::invalid("the query of this address can't be read").with_source(format!("{error}"));
    Query::try_from_uri(uri).map(|Query(read)| read).map_err(wrong)
}

fn body<T: DeserializeOwned>(sent: &Bytes) -> Result<T> {
    let sent = if sent.is_empty() { b"{}" } else { &sent[..] };
    serde_json::from_slice(sent).map_err(|error| Error::invalid("the body can't be read").with_source(error))
}
