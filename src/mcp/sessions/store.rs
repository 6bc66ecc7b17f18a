//! rmcp's door to the rows: what a session begins again with.

use std::sync::Arc;

use rmcp::transport::streamable_http_server::session::{SessionState, SessionStore, SessionStoreError};

use super::super::subscriptions::notification;
use super::records::{self, Record};
use super::session::Session;
use super::{Inner, TenantSessions, caller};
use crate::error::{Error, Result};

impl Inner {
    /// The session `id` if it is the present caller's and has not ended.
    pub(super) async fn load(&self, id: &str) -> Result<Option<Record>> {
        let Some(owner) = caller::principal() else { return Ok(None) };
        records::load(&self.tenant, id.to_owned(), owner, self.bounds()).await
    }

    /// Gives `session` what an earlier life of it has left, and the news that it missed.
    pub(super) fn put_back(&self, session: &Arc<Session>, record: Record) {
        let Record { mut missed, events, .. } = record;
        session.restore(events);
        // What is on its way to the file is not in the record yet.
        if let Some(watch) = self.watches().as_mut().and_then(|all| all.get_mut(&*session.id)) {
            let news = std::mem::take(&mut watch.missed);
            missed.extend(news.into_iter().filter(|news| !missed.contains(news)).collect::<Vec<_>>());
        }
        if missed.is_empty() {
            return;
        }
        for news in &missed {
            session.push(notification(news));
        }
        if let Err(error) = records::told(&self.tenant, Arc::clone(&session.id)) {
            tracing::debug!(error = error.chain(), "a session will be told once more what it missed");
        }
    }

    async fn enter(&self, id: &str, state: &SessionState) -> Result<()> {
        let Some(session) = self.own(id) else { return Err(super::no_such_session()) };
        if !session.is_initialized() {
            // Its `initialize` was answered with an error, which is all that there will be of it.
            self.forget(id);
            return Ok(());
        }
        let initialize = serde_json::to_string(&state.initialize_params)
            .map_err(|error| Error::internal("a session can't be written down").with_source(error))?;
        let live = self.live().values().map(|other| (Arc::clone(&other.id), other.is_in_use())).collect();
        let record = Record { initialize, created_at: session.created_at, missed: Vec::new(), events: Vec::new() };
        let owner = session.owner.clone();
        self.know_watches().await;
        let gone = records::enter(&self.tenant, id.to_owned(), owner, record, self.bounds(), live).await?;
        gone.iter().for_each(|id| self.forget(id));
        if let Some(all) = &mut *self.watches() {
            all.entry(id.to_owned()).or_default();
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl SessionStore for TenantSessions {
    async fn load(&self, id: &str) -> std::result::Result<Option<SessionState>, SessionStoreError> {
        let Some(record) = self.0.load(id).await? else { return Ok(None) };
        Ok(Some(SessionState::new(serde_json::from_str(&record.initialize)?)))
    }

    /// Durable before the answer to `initialize` leaves, or there is no session.
    async fn store(&self, id: &str, state: &SessionState) -> std::result::Result<(), SessionStoreError> {
        if let Err(error) = self.0.enter(id, state).await {
            self.0.forget(id);
            caller::refuse(error);
        }
        Ok(())
    }

    /// What ends a session for good is [`TenantSessions::delete`], which the endpoint calls in rmcp's place.
    async fn delete(&self, _id: &str) -> std::result::Result<(), SessionStoreError> {
        Ok(())
    }
}
