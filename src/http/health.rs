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

/// 503 until tokens of every issuer can be verified, and from the moment stopping is announced, so that a balancer
/// looks elsewhere.
pub(super) async fn ready(State(edge): State<Edge>, request: Request) -> Response {
    let said = if edge.0.drain.is_announced() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if edge.0.gate.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "an issuer's keys are not here yet\n")
    };
    enter(&edge, request, async |_, _| said.into_response()).await
}
