//! The edge, to be read from top to bottom as a request goes: the door, then who, then whose, then in.
//!
//! One router, so that no fallback gets another's layers. Every answer is JSON or an event stream and
//! carries `x-request-id`; every refusal leaves as early as it can.

mod admin;
mod admit;
mod audit;
mod authenticate;
mod challenge;
mod client;
mod cors;
mod door;
mod failures;
mod guard;
mod health;
mod lobby;
mod pieces;
mod request_id;
mod request_log;
mod respond;
mod route;
mod scope;
mod trace;
mod until;
mod well_known;
mod word;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use tower_http::set_header::SetResponseHeaderLayer;

use challenge::Challenges;
use failures::Failures;
use well_known::Metadata;

use crate::auth::Gate;
use crate::clock::Clock;
use crate::config::Settings;
use crate::drain::Drain;
use crate::mcp::Hosted;
use crate::telemetry::Audit;
use crate::tenant::Registry;
pub(crate) use admin::Desk;
pub(crate) use door::Door;
pub(crate) use lobby::lobby;

/// What a request meets on its way.
#[derive(Clone)]
pub(crate) struct Edge(Arc<Parts>);

struct Parts {
    gate: Arc<Gate>,
    failures: Failures,
    challenges: Challenges,
    audit: Audit,
    metadata: Option<Metadata>,
    tenants: Registry<Hosted>,
    drain: Drain,
    clock: Arc<dyn Clock>,
    door: Arc<Door>,
}

impl Edge {
    /// Puts the pieces together.
    #[must_use]
    pub(crate) fn new(
        gate: Arc<Gate>,
        tenants: Registry<Hosted>,
        drain: Drain,
        clock: Arc<dyn Clock>,
        door: Arc<Door>,
        audit: Audit,
        settings: &Settings,
    ) -> Self {
        let metadata = Metadata::of(settings);
        let challenges = Challenges::new(metadata.as_ref().map(|metadata| metadata.url.as_str()));
        let failures = Failures::new(&settings.auth);
        Self(Arc::new(Parts { gate, failures, challenges, audit, metadata, tenants, drain, clock, door }))
    }

    /// The public listener's routes.
    pub(crate) fn router(self) -> Router {
        // Yesterday's health, out of a cache, is worse than none.
        let fresh = SetResponseHeaderLayer::overriding(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let discovery = self.0.metadata.as_ref().map(Metadata::routes).unwrap_or_default();
        discovery
            // Both forms, for a redirect would lose a browser's preflight and curl's body.
            .route("/mcp", any(route::mcp))
            .route("/mcp/", any(route::mcp))
            .route("/healthz", get(health::alive).layer(fresh.clone()))
            .route("/readyz", get(health::ready).layer(fresh))
            .fallback(route::elsewhere)
            .method_not_allowed_fallback(route::otherwise)
            .with_state(self)
    }
}
