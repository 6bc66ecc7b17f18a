//! Whether the process lives, and whether it takes traffic. No token, no version, no tenant.

use axum::extract::State;
use http::StatusCode;

use super::Edge;

/// 200 as long as the process answers at all.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// 503 from the moment stopping begins, so that a balancer looks elsewhere.
pub(super) async fn ready(State(edge): State<Edge>) -> (StatusCode, &'static str) {
    if edge.0.drain.is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}
