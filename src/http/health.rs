//! Whether the process lives, and whether it takes traffic. No token, no version, no tenant.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Edge;
use super::door::enter;

/// 200 as long as the process answers at all.
pub(super) async fn alive(State(edge): State<Edge>, request: Request) -> Response {
    enter(&edge, request, async |_, _| "ok\n".into_response()).await
}

/// 503 from the moment stopping is announced, so that a balancer looks elsewhere.
pub(super) async fn ready(State(edge): State<Edge>, request: Request) -> Response {
    let stopping = edge.0.drain.is_announced();
    let said = if stopping { (StatusCode::SERVICE_UNAVAILABLE, "stopping\n") } else { (StatusCode::OK, "ready\n") };
    enter(&edge, request, async |_, _| said.into_response()).await
}
