//! What goes on among a tenant's sessions without being asked: those in memory hear the news, those that are quiet
//! go, and those that are gone find the news when they come back.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use super::super::subscriptions::{ALL_LISTS, notification};
use super::super::weight::aside;
use super::session::Session;
use super::{Inner, Watch, records};
use crate::error::Result;
use crate::tenant::{Heard, News};

/// Starts what goes on. It ends when the tenant is let go of.
pub(super) fn tend(sessions: &Arc<Inner>) {
    let every = (sessions.tenant.limits().session_quiet / 2).clamp(Duration::from_millis(5), Duration::from_secs(30));
    tokio::spawn(listen(Arc::downgrade(sessions), sessions.tenant.news(), every));
}

async fn listen(sessions: Weak<Inner>, mut ear: Receiver<Heard>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let heard = tokio::select! {
            heard = ear.recv() => Some(heard),
            _ = ticks.tick() => None,
        };
        let Some(sessions) = sessions.upgrade() else { return };
        match heard {
            Some(Ok(Heard::One(news))) => sessions.tell(&[news]).await,
            // Which changes were missed, nobody knows any more: so all of them.
            Some(Ok(Heard::Everything) | Err(RecvError::Lagged(_))) => sessions.tell_everything().await,
            Some(Err(RecvError::Closed)) => return,
            None => sessions.sweep().await,
        }
    }
}

impl Inner {
    /// Tells the sessions in memory, and notes it for those that rest.
    async fn tell(&self, news: &[News]) {
        if !self.know_watches().await {
            return;
        }
        let (live, missed) = {
            let mut watches = self.watches();
            let live = self.live();
            let mut missed = Vec::new();
            for (id, watch) in watches.iter_mut().flatten() {
                for news in news.iter().filter(|news| watch.wants(news)).cloned().collect::<Vec<_>>() {
                    let told = live.get(id.as_str()).is_some_and(|session| session.push(notification(&news)));
                    if !told && !watch.missed.contains(&news) {
                        watch.missed.push(news.clone());
                        missed.push(news);
                    }
                }
            }
            (live.keys().map(Arc::clone).collect::<Vec<_>>(), missed)
        };
        if !missed.is_empty()
            && let Err(error) = records::note(&self.tenant, missed, &live)
        {
            tracing::warn!(tenant = %self.tenant.id(), error = error.chain(), "kill -9 would lose a notification");
        }
    }

    async fn tell_everything(&self) {
        if !self.know_watches().await {
            return;
        }
        let uris: HashSet<Arc<str>> =
            self.watches().iter().flat_map(HashMap::values).flat_map(|watch| &watch.uris).map(Arc::clone).collect();
        let all: Vec<News> = uris.into_iter().map(News::Resource).chain(ALL_LISTS).collect();
        self.tell(&all).await;
    }

    /// Reads once who has subscribed to what. From then on it is kept up to date.
    pub(super) async fn know_watches(&self) -> bool {
        if self.watches().is_some() {
            return true;
        }
        match records::all(&self.tenant).await {
            Ok(rows) => {
                let mut all: HashMap<String, Watch> = HashMap::new();
                for (id, uri) in rows {
                    all.entry(id).or_default().uris.extend(uri.map(Into::into));
                }
                self.watches().get_or_insert(all);
                true
            }
            Err(error) => {
                tracing::warn!(tenant = %self.tenant.id(), error = error.chain(), "subscriptions can't be read");
                false
            }
        }
    }

    /// Lets go of the sessions that have been quiet for long enough. A call that runs or a stream that is read is
    /// not quiet.
    async fn sweep(&self) {
        let quiet = self.tenant.limits().session_quiet;
        let mut worn = Vec::new();
        for session in self.live().values() {
            session.prune();
            if session.is_unsaved() {
                session.save_soon();
            }
            if session.is_worn(self.tenant.limits().session_idle / 24) {
                worn.push(Arc::clone(&session.id));
            }
        }
        if !worn.is_empty()
            && let Err(error) = records::used(&self.tenant, &worn, self.clock.unix_seconds())
        {
            tracing::debug!(error = error.chain(), "that sessions are used is noted later");
        }
        self.rest(|session| session.quiet_for() >= quiet).await;
    }

    /// Lets go of those that `chosen` names, once what they have not delivered is written down. One that is used
    /// meanwhile stays.
    pub(super) async fn rest(&self, chosen: impl Fn(&Session) -> bool) {
        let resting: Vec<Arc<Session>> = self.live().values().filter(|session| chosen(session)).cloned().collect();
        if let Err(error) = self.write_down(&resting).await {
            tracing::warn!(tenant = %self.tenant.id(), error = error.chain(), "events of sessions are kept in memory");
            return;
        }
        let mut live = self.live();
        for session in resting.iter().filter(|session| chosen(session) && !session.is_unsaved()) {
            if live.get(&session.id).is_some_and(|there| Arc::ptr_eq(there, session)) {
                live.remove(&session.id);
            }
            session.end();
        }
    }

    /// Ends every session, then writes down what was not delivered.
    pub(super) async fn close(&self) {
        let all: Vec<Arc<Session>> = self.live().drain().map(|(_, session)| session).collect();
        all.iter().for_each(|session| session.end());
        if let Err(error) = self.write_down(&all).await {
            tracing::warn!(tenant = %self.tenant.id(), error = error.chain(), "events of sessions were not kept");
        }
    }

    /// Writes down what `sessions` have not delivered, and what they only just have.
    async fn write_down(&self, sessions: &[Arc<Session>]) -> Result<()> {
        if sessions.is_empty() {
            return Ok(());
        }
        let now = self.clock.unix_seconds();
        let work = sessions.iter().map(|session| (Arc::clone(&session.id), session.take_work(now, true)));
        let big = sessions.iter().any(|session| session.has_much());
        let work = Arc::new(aside(big, || work.collect::<Vec<_>>()));
        let written = records::rest(&self.tenant, Arc::clone(&work), Arc::clone(&self.shelf), now).await;
        if written.is_err() {
            sessions.iter().zip(&*work).for_each(|(session, (_, work))| session.put_back(work));
        }
        written
    }
}
