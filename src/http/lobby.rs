//! What answers while another process still has the data directory: this one lives, is ready as soon as the
//! other one is about to let go, and keeps what comes in until it can serve it. It knows no tenant and no token.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tower::ServiceExt;

use super::door::Door;
use super::respond::refuse;
use crate::config::Settings;
use crate::error::{Error, ErrorKind};
use crate::telemetry::Traces;

/// How soon a caller whom there was no room to keep may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Lobby(Arc<Parts>);

struct Parts {
    door: Door,
    /// Whether the process before this one is about to let go.
    leaves: watch::Receiver<bool>,
    /// The routes of the moment: a change is the end of waiting.
    routes: watch::Receiver<Router>,
    room: Semaphore,
    room_for: usize,
    within: Duration,
}

/// The routes until `routes` has others. At most `connections.in_flight` requests are kept, for
/// `connections.answer_deadline` at most; nothing of them is read but their heads.
pub(crate) fn lobby(settings: &Settings, leaves: watch::Receiver<bool>, routes: watch::Receiver<Router>) -> Router {
    let room_for = settings.connections.in_flight;
    let parts = Parts {
        door: Door::new(settings, Arc::default(), Traces::default()),
        leaves,
        routes,
        room: Semaphore::new(room_for.min(Semaphore::MAX_PERMITS)),
        room_for,
        within: settings.connections.answer_deadline,
    };
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .fallback(keep)
        .with_state(Lobby(Arc::new(parts)))
}

async fn alive(State(lobby): State<Lobby>, request: Request) -> Response {
    lobby.0.door.enter(request, async |_, _| "ok\n".into_response()).await
}

/// Ready before the data directory is free: what a balancer sends is kept meanwhile, and the process before this
/// one is not ready any more.
async fn ready(State(lobby): State<Lobby>, request: Request) -> Response {
    let said = match *lobby.0.leaves.borrow() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "another process has the data directory\n"),
    };
    lobby.0.door.enter(request, async |_, _| said.into_response()).await
}

async fn keep(State(lobby): State<Lobby>, request: Request) -> Response {
    match lobby.0.opened().await {
        Ok(routes) => routes.oneshot(request).await.unwrap_or_else(|never| match never {}),
        Err(error) => lobby.0.door.enter(request, async |id, _| refuse(&error, id)).await,
    }
}

impl Parts {
    /// The routes that serve, once there are any.
    async fn opened(&self) -> Result<Router, Error> {
        let mut routes = self.routes.clone();
        let _room = self
            .room
            .try_acquire()
            .map_err(|_| Error::busy("in_flight", u64::try_from(self.room_for).unwrap_or(u64::MAX), RETRY_AFTER))?;
        match timeout(self.within, routes.changed()).await {
            Ok(Ok(())) => Ok(routes.borrow().clone()),
            _ => Err(Error::new(
                ErrorKind::Unavailable,
                "nothing was done: the server before this one has not let go of its data yet; send the request again",
            )
            .with_retry_after(RETRY_AFTER)),
        }
    }
}
