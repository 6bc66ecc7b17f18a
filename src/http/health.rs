//! Whether the process lives, and whether it takes traffic. No token, no version, no tenant.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Edge;
use super::request_log::logged;

/// 200 as long as the process answers at all.
pub(super) async fn alive(request: Request) -> Response {
    logged(request, async |_, _| "ok\n".into_response()).await
}

/// 503 from the moment stopping begins, so that a balancer looks elsewhere.
pub(super) async fn ready(State(edge): State<Edge>, request: Request) -> Response {
    let stopping = edge.0.drain.is_stopping();
    let said = if stopping { (StatusCode::SERVICE_UNAVAILABLE, "stopping\n") } else { (StatusCode::OK, "ready\n") };
    logged(request, async |_, _| said.into_response()).await
}
