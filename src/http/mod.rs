//! The edge, to be read from top to bottom as a request goes: id and log, then who, then whose, then in.
//!
//! One router, so that no fallback gets another's layers. Every answer is JSON or an event stream and
//! carries `x-request-id`; every refusal leaves as early as it can.

mod authenticate;
mod health;
mod request_log;
mod respond;
mod route;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{any, get};

use crate::auth::Authenticate;
use crate::config::Limits;
use crate::drain::Drain;
use crate::mcp::Hosted;
use crate::tenant::Registry;

/// What a request meets on its way.
#[derive(Clone)]
pub(crate) struct Edge(Arc<Parts>);

struct Parts {
    authenticate: Arc<dyn Authenticate>,
    tenants: Registry<Hosted>,
    limits: Limits,
    drain: Drain,
}

impl Edge {
    /// Puts the pieces together.
    #[must_use]
    pub(crate) fn new(
        authenticate: Arc<dyn Authenticate>,
        tenants: Registry<Hosted>,
        limits: Limits,
        drain: Drain,
    ) -> Self {
        Self(Arc::new(Parts { authenticate, tenants, limits, drain }))
    }

    /// The public listener's routes.
    pub(crate) fn router(self) -> Router {
        Router::new()
            // Both forms, for a redirect would lose a browser's preflight and curl's body.
            .route("/mcp", any(route::mcp))
            .route("/mcp/", any(route::mcp))
            .route("/healthz", get(health::alive))
            .route("/readyz", get(health::ready))
            .fallback(respond::no_such_path)
            .method_not_allowed_fallback(respond::no_such_method)
            .layer(from_fn(request_log::request_log))
            .with_state(self)
    }
}
