//! Sends tenants' past to the storage of `history.remote`: one task of the host, never in front of an answer. While the
//! storage does not answer it is asked ever more seldom, by one tenant at a time, and what waits is a name a tenant.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, pending};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::archive::Archive;
use crate::catalog::{Catalog, TenantState};
use crate::clock::{Clock, millis};
use crate::error::{Error, Result};
use crate::id::TenantId;
use crate::random;
use crate::telemetry::Metrics;
use crate::tenant::{Credit, Executor};

/// Between two tries at a storage that fails: twice as long each time, to this at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often the list of tenants is looked at, whose storage it is, and which deletions are not finished.
const LIST_EVERY: Duration = Duration::from_secs(60);
/// From here on it is behind, and the log says so.
const BEHIND: Duration = Duration::from_secs(300);
/// Tenants that are looked at in one go at the start, and so many wait before more are.
const PAGE: usize = 256;

/// What the task needs.
pub(super) struct Shipper {
    pub(super) archive: Archive,
    pub(super) admin: Admin,
    pub(super) catalog: Arc<Catalog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) executor: Executor,
    pub(super) metrics: Arc<Metrics>,
    pub(super) at_once: usize,
}

/// How it goes with the storage.
#[derive(Default)]
struct Going {
    failures: u32,
    /// Nothing is tried before.
    again_ms: u64,
    /// It was told that it is behind.
    told: bool,
    /// When the list is looked at next.
    list_ms: u64,
}

impl Shipper {
    /// Runs until `stop`; then sends what is left, as long as the storage answers.
    pub(super) async fn run(self, stop: CancellationToken) {
        let account = Arc::new(Credit::default());
        let (mut going, mut under_way) = (Going::default(), JoinSet::new());
        // What an earlier process left, page after page of tenants.
        let mut unseen = Some(None);
        loop {
            let now = self.now();
            let stopping = stop.is_cancelled();
            if stopping && going.failures > 0 {
                return;
            }
            if now >= going.again_ms && (now >= going.list_ms || (stopping && going.list_ms != u64::MAX)) {
                let listed = self.list(&account).await;
                going.list_ms = if stopping { u64::MAX } else { now + millis(LIST_EVERY) };
                self.went(&mut going, listed);
                continue;
            }
            if let Some(after) = unseen.take_if(|_| self.archive.behind().0 < PAGE && !stopping) {
                match self.look(&account, after).await {
                    Ok(next) => unseen = next.map(Some),
                    Err(error) => tracing::error!(error = error.chain(), "tenants can't be looked at"),
                }
                continue;
            }
            let most = if going.failures > 0 { 1 } else { self.at_once };
            let until = if stopping { u64::MAX } else { now };
            if now >= going.again_ms
                && under_way.len() < most
                && let Some(due) = self.archive.due(until)
            {
                let archive = self.archive.clone();
                under_way.spawn(async move { archive.ship(due).await });
                continue;
            }
            if stopping && under_way.is_empty() {
                return;
            }
            let next = self.archive.next_due().map_or(going.list_ms, |due| due.min(going.list_ms)).max(going.again_ms);
            let full = under_way.len() >= most;
            let at = std::time::UNIX_EPOCH + Duration::from_millis(next.min(u64::from(u32::MAX) * 1_000));
            tokio::select! {
                Some(done) = under_way.join_next() => {
                    let panicked = |error| Err(Error::internal("sending a tenant's past panicked").with_source(error));
                    self.went(&mut going, done.unwrap_or_else(panicked));
                }
                () = self.archive.changed() => {}
                () = self.clock.reach(at), if !full && next > now => {}
                () = if stopping { Either::Left(pending()) } else { Either::Right(stop.cancelled()) } => {}
            }
            self.tell(&mut going);
        }
    }

    /// Whose storage it is, what has to be removed from it, and who there is.
    async fn list(&self, account: &Arc<Credit>) -> Result<()> {
        self.archive.own(false).await?;
        let catalog = Arc::clone(&self.catalog);
        let unfinished = self.executor.run(account, move || catalog.unfinished(PAGE)).await??;
        for record in unfinished.into_iter().filter(|record| record.state == TenantState::Leaving) {
            self.admin.finish_deletion(record.id).await?;
        }
        self.archive.ship_catalog().await
    }

    /// Marks those of the next tenants that are not all in the storage, and opens those that a crash left with something
    /// that is in no past yet: nobody may call them for long. The last of them, if there are more.
    async fn look(&self, account: &Arc<Credit>, after: Option<TenantId>) -> Result<Option<TenantId>> {
        let (catalog, archive) = (Arc::clone(&self.catalog), self.archive.clone());
        let look = move || {
            let (page, mut left) = (catalog.list(after.as_ref(), PAGE)?, Vec::new());
            for record in page.iter().filter(|record| record.state == TenantState::Served) {
                match archive.look(&record.id) {
                    Ok(true) => left.push(record.id.clone()),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(tenant = %record.id, error = error.chain(), "a tenant's past can't be sent");
                    }
                }
            }
            let next = (page.len() == PAGE).then(|| page.last().map(|last| last.id.clone())).flatten();
            Result::<_>::Ok((next, left))
        };
        let (next, left) = self.executor.run(account, look).await??;
        for tenant in left {
            if let Err(error) = self.admin.wake(&tenant).await {
                tracing::warn!(%tenant, error = error.chain(), "what a crash left of a tenant is not in its past yet");
            }
        }
        Ok(next)
    }

    fn went(&self, going: &mut Going, done: Result<()>) {
        match done {
            Ok(()) if going.failures > 0 => {
                (going.failures, going.again_ms) = (0, 0);
                tracing::info!("the storage of history.remote answers again");
            }
            Ok(()) => {}
            Err(error) => {
                self.metrics.failed_elsewhere();
                if going.failures == 0 {
                    tracing::error!(
                        error = error.chain(),
                        "tenants' past can't be sent to history.remote; trying again"
                    );
                }
                let wait = FIRST_WAIT.saturating_mul(1 << going.failures.min(10)).min(LONGEST_WAIT);
                going.failures = going.failures.saturating_add(1);
                going.again_ms = self.now() + spread(millis(wait));
                // What is whose and who there is comes first again.
                going.list_ms = 0;
            }
        }
    }

    fn tell(&self, going: &mut Going) {
        let (tenants, lag_ms) = self.archive.behind();
        if lag_ms >= millis(BEHIND) && !std::mem::replace(&mut going.told, true) {
            let behind_s = lag_ms / 1_000;
            tracing::warn!(tenants, behind_s, "history.remote falls behind: what is not there is on this disk alone");
        } else if lag_ms < millis(BEHIND) / 2 && std::mem::take(&mut going.told) {
            tracing::info!("history.remote has caught up");
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.unix_millis()).unwrap_or(0)
    }
}

/// Between three quarters and five quarters of it, so that hosts do not come back together.
fn spread(wait_ms: u64) -> u64 {
    let chance = random::bytes::<1>().map_or(128, |drawn| u64::from(drawn[0]));
    wait_ms * 3 / 4 + wait_ms * chance / 510
}

/// What stopping waits for.
pub(super) struct Sending {
    pub(super) stop: CancellationToken,
    pub(super) task: tokio_util::task::AbortOnDropHandle<()>,
}

impl Sending {
    /// Sends what is left, for `within` at most.
    pub(super) async fn end(self, within: Duration) -> std::result::Result<(), Error> {
        self.stop.cancel();
        match tokio::time::timeout(within, self.task).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(
                crate::error::ErrorKind::Unavailable,
                "the last changes were not all sent to history.remote within stop_within: the next start sends them",
            )),
        }
    }
}
