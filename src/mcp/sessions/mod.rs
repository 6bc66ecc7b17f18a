//! The sessions of older clients (MCP up to 2025-11-25). Each is a row in the tenant's file, bound to who opened
//! it, and comes into memory when it is used: it outlives the process, and a quiet one costs no memory.
//!
//! What kill -9 loses: never a session, nor what a tool had written. Of the events, those that were handed to a
//! connection within the last minute (a connection that breaks in the same moment as the process dies), and those
//! that found no reader within the last second. A call that runs is cut; its client is told so when it comes back
//! with `Last-Event-ID`. What is delivered after it was written down is struck out within a second, so that kill -9
//! in between may say it again, under the same event id.

mod batch;
mod caller;
mod event_id;
mod events;
mod live;
mod manager;
mod reader;
mod records;
mod saving;
mod seat;
mod session;
mod size;
mod state;
mod store;
mod stream;
mod transport;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::transport::streamable_http_server::SessionId;

pub(super) use self::batch::Batch;
use self::events::Shelf;
use self::records::Bounds;
pub(super) use self::seat::Seat;
use self::session::Session;
use crate::auth::Principal;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Handle, News};

/// One tenant's sessions. Cheap to clone.
#[derive(Clone)]
pub(super) struct TenantSessions(Arc<Inner>);

struct Inner {
    tenant: Handle,
    clock: Arc<dyn Clock>,
    shelf: Arc<Shelf>,
    live: Mutex<HashMap<SessionId, Arc<Session>>>,
    /// What every session wants to hear of, in memory or not. Read when the first news comes.
    watches: Mutex<Option<HashMap<String, Watch>>>,
}

/// What a session has subscribed to, and what of that it has missed while it rested.
#[derive(Default)]
struct Watch {
    uris: HashSet<Arc<str>>,
    missed: Vec<News>,
}

impl Watch {
    fn wants(&self, news: &News) -> bool {
        match news {
            News::Resource(uri) => self.uris.contains(uri),
            News::List(_) => true,
        }
    }
}

impl TenantSessions {
    /// The sessions in `tenant`'s file. Needs a runtime.
    pub(super) fn new(tenant: Handle, clock: Arc<dyn Clock>) -> Self {
        let shelf = Arc::new(Shelf::new(tenant.limits()));
        let inner = Arc::new(Inner { tenant, clock, shelf, live: Mutex::default(), watches: Mutex::default() });
        live::tend(&inner);
        Self(inner)
    }

    /// Serves a request of `principal`, the first of its `batch`; no session but the principal's own is there for it.
    ///
    /// # Errors
    /// Why a session could not be opened or used.
    pub(super) async fn serving<T>(
        &self,
        principal: Principal,
        batch: Option<Batch>,
        request: impl Future<Output = T>,
    ) -> Result<T> {
        caller::serving(principal, batch.map(|batch| batch.rest), request).await
    }

    /// Ends the session `id` of `principal` for good.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: there is none, or it is another's.
    pub(super) async fn delete(&self, id: &str, principal: &Principal) -> Result<()> {
        if !records::delete(&self.0.tenant, id.to_owned(), principal.clone()).await? {
            return Err(no_such_session());
        }
        self.0.forget(id);
        Ok(())
    }

    /// Notes that the session `id` of the present caller wants to hear of `uri`, or no more.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`]: it has subscribed to as many as it may.
    pub(super) async fn subscribe(&self, id: &str, uri: &str, on: bool) -> Result<()> {
        let most = self.0.tenant.limits().session_subscriptions;
        // Known before, or what is entered between reading and knowing would not be.
        self.0.know_watches().await;
        records::subscribe(&self.0.tenant, id.to_owned(), uri.to_owned(), on, most).await?;
        if let Some(all) = &mut *self.0.watches() {
            let own = &mut all.entry(id.to_owned()).or_default().uris;
            if on {
                own.insert(uri.into())
            } else {
                own.remove(uri)
            };
        }
        Ok(())
    }

    /// Whether a call runs whose client may have gone: it is answered when that comes back.
    pub(super) fn is_busy(&self) -> bool {
        self.0.live().values().any(|session| session.is_calling())
    }

    /// Writes down what is not delivered and lets go of every session.
    pub(super) async fn close(&self) {
        self.0.close().await;
    }
}

impl Inner {
    fn live(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Session>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watches(&self) -> MutexGuard<'_, Option<HashMap<String, Watch>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session `id` if it is in memory and the present caller's.
    fn own(&self, id: &str) -> Option<Arc<Session>> {
        self.own_of(id, &caller::principal()?)
    }

    /// The same for `principal`.
    fn own_of(&self, id: &str, principal: &Principal) -> Option<Arc<Session>> {
        // Held until it is touched, so that it is not let go of in between.
        let live = self.live();
        let session = live.get(id)?;
        let young = session.created_at >= self.bounds().created_after;
        (young && caller::same(&session.owner, principal) && session.touch()).then(|| Arc::clone(session))
    }

    fn forget(&self, id: &str) {
        if let Some(session) = self.live().remove(id) {
            session.end();
        }
        if let Some(all) = &mut *self.watches() {
            all.remove(id);
        }
    }

    fn bounds(&self) -> Bounds {
        let (limits, now) = (self.tenant.limits(), self.clock.unix_seconds());
        Bounds {
            sessions: limits.sessions,
            of_one: limits.sessions_per_principal,
            created_after: now.saturating_sub(limits.session_lifetime.as_secs()),
            used_after: now.saturating_sub(limits.session_idle.as_secs()),
            events_after: now.saturating_sub(limits.session_event_age.as_secs()),
        }
    }
}

/// The one answer to an id that is unknown, ended, forged or another's.
pub(super) fn no_such_session() -> Error {
    Error::new(ErrorKind::NotFound, "no such session: send `initialize` to open one")
}
