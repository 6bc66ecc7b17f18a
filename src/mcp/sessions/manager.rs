//! rmcp's door to the sessions.

use std::fmt;
use std::iter::once;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use rmcp::model::{ClientJsonRpcMessage, GetExtensions, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::{RestoreOutcome, ServerSseMessage, SessionManager};
use rmcp::transport::streamable_http_server::{SessionId, SessionRestoreMarker};
use tokio::time::timeout;

use super::batch::{Rest, wrong_version};
use super::event_id::new_session_id;
use super::session::Session;
use super::transport::SessionTransport;
use super::{TenantSessions, caller, no_such_session};
use crate::error::{Error, ErrorKind, Result};

/// The longest that a server may take to answer `initialize`.
const INITIALIZE_WITHIN: Duration = Duration::from_secs(60);

/// There is no answer; why is with the caller's request.
#[derive(Debug)]
pub(crate) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

fn refused(error: Error) -> Refused {
    caller::refuse(error);
    Refused
}

fn gone() -> Refused {
    refused(no_such_session())
}

/// What else came with the message that `session` is shown.
fn rest_for(session: &Session) -> Result<Rest, Refused> {
    match caller::take_rest() {
        Some(_) if !session.takes_batches() => Err(refused(wrong_version())),
        rest => Ok(rest.unwrap_or_default()),
    }
}

impl TenantSessions {
    fn session(&self, id: &SessionId) -> Result<Arc<Session>, Refused> {
        self.0.own(id).ok_or_else(gone)
    }

    fn begin(&self, id: SessionId, created_at: u64) -> Result<(Arc<Session>, SessionTransport), Refused> {
        let owner = caller::principal().ok_or_else(gone)?;
        let (tenant, clock) = (self.0.tenant.clone(), Arc::clone(&self.0.clock));
        let shelf = Arc::clone(&self.0.shelf);
        let (session, inbox) = Session::new(Arc::clone(&id), owner, created_at, tenant, clock, shelf);
        let transport = SessionTransport::new(Arc::clone(&session), inbox);
        self.0.live().insert(id, Arc::clone(&session));
        Ok((session, transport))
    }
}

impl SessionManager for TenantSessions {
    type Error = Refused;
    type Transport = SessionTransport;

    async fn create_session(&self) -> Result<(SessionId, SessionTransport), Refused> {
        let id = new_session_id().ok_or_else(|| refused(Error::internal("no randomness for a session's id")))?;
        let id: SessionId = id.into();
        let (_, transport) = self.begin(Arc::clone(&id), self.0.clock.unix_seconds())?;
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Refused> {
        let session = self.session(id)?;
        let late = || {
            let message = "the server took too long to answer `initialize`: try again";
            refused(Error::new(ErrorKind::Unavailable, message).with_retry_after(Duration::from_secs(1)))
        };
        timeout(INITIALIZE_WITHIN, session.initialize(message)).await.map_err(|_| late())?.ok_or_else(gone)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Refused> {
        Ok(self.0.own(id).is_some())
    }

    /// rmcp calls this when the handler of a session has ended, whoever uses the same id by then.
    async fn close_session(&self, id: &SessionId) -> Result<(), Refused> {
        let mut live = self.0.live();
        if live.get(id).is_some_and(|session| session.is_over()) {
            live.remove(id);
        }
        Ok(())
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Refused> {
        let session = self.session(id)?;
        let rest = rest_for(&session)?;
        session.ask(message, rest).await.map_err(refused)?.ok_or_else(gone)
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), Refused> {
        let session = self.session(id)?;
        // rmcp's own, before it comes to the message for whose sake it restores the session.
        let restoring = matches!(&message, ClientJsonRpcMessage::Notification(told)
            if told.notification.extensions().get::<SessionRestoreMarker>().is_some());
        let rest = if restoring { Rest::default() } else { rest_for(&session)? };
        for message in once(message).chain(rest.told) {
            if !session.tell(message).await {
                return Err(gone());
            }
        }
        Ok(())
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Refused> {
        self.session(id)?.listen().ok_or_else(gone)
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Refused> {
        // Without a reason given, rmcp answers with an empty stream: an event id that is none of this session's.
        self.session(id)?.resume(&last_event_id).ok_or(Refused)
    }

    async fn restore_session(&self, id: SessionId) -> Result<RestoreOutcome<SessionTransport>, Refused> {
        if self.0.own(&id).is_some() {
            return Ok(RestoreOutcome::AlreadyPresent);
        }
        let Some(record) = self.0.load(&id).await.map_err(refused)? else { return Ok(RestoreOutcome::NotSupported) };
        let (session, transport) = self.begin(id, record.created_at)?;
        self.0.put_back(&session, record);
        Ok(RestoreOutcome::Restored(transport))
    }
}
