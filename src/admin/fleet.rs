//! Migrations of all tenants: ahead of their next call, at a rate, one failure costing one tenant.
//!
//! What was done is in the tenants' files and noted in the catalog, so that what breaks off goes on where it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::Admin;
use crate::catalog::{Fleet, Looked};
use crate::db::{Expected, Found};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// Tenants that are brought up to date at once.
const AT_ONCE: usize = 4;
/// Tenants read from the catalog at a time.
const PAGE: usize = 500;
/// Tenants between two words of how far it is.
const TELL_EVERY: u64 = 50;
/// Words that may wait for whoever listens.
const WORDS_MAX: usize = 64;
/// Tries for a place among the open tenants.
const TRIES: u32 = 20;
/// Remarkable tenants told at a time.
const REMARKABLE_MAX: usize = 1_000;

/// How to bring the fleet up to date. Each key as the flag of `freehold migrate apply`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Apply {
    /// Only so many tenants, the first by name; the others wait for a second call.
    canary: Option<u64>,
    /// Tenants a second at most; 0 is any number.
    rate: u32,
    /// Also those that failed before.
    again: bool,
    /// Stop when more than so many have failed.
    max_failures: u64,
}

impl Default for Apply {
    fn default() -> Self {
        Self { canary: None, rate: 100, again: false, max_failures: 100 }
    }
}

/// A word of a long piece of work: `progress` (`{"looked", "of", "failed"}`), `failure` (`{"tenant", "error"}`), and
/// at its end `result` or `error`.
pub(crate) type Step = Value;

pub(super) struct Progress {
    words: mpsc::Sender<Step>,
    looked: u64,
    pub(super) of: u64,
    pub(super) failed: u64,
}

impl Progress {
    pub(super) fn new(words: mpsc::Sender<Step>, of: u64) -> Self {
        Self { words, looked: 0, of, failed: 0 }
    }

    /// Whether anybody still listens.
    pub(super) async fn tell(&self, word: Step) -> Result<()> {
        let gone = || Error::new(ErrorKind::Unavailable, "nobody listens any more: stopped; run it again to go on");
        self.words.send(word).await.map_err(|_| gone())
    }

    pub(super) async fn step(&mut self, tenant: &TenantId, failure: Option<&str>) -> Result<()> {
        self.step_of(tenant, failure, TELL_EVERY).await
    }

    /// As `step`, with a word of how far it is for every `often` tenants.
    pub(super) async fn step_of(&mut self, tenant: &TenantId, failure: Option<&str>, often: u64) -> Result<()> {
        self.looked += 1;
        if let Some(error) = failure {
            self.failed += 1;
            self.tell(json!({ "failure": { "tenant": tenant.as_str(), "error": error } })).await?;
        }
        if self.looked.is_multiple_of(often) || self.looked == self.of || failure.is_some() {
            let at = json!({ "looked": self.looked, "of": self.of, "failed": self.failed });
            self.tell(json!({ "progress": at })).await?;
        }
        Ok(())
    }
}

impl Admin {
    /// Looks at every tenant that is not known to be up to date and tells what would be done.
    pub(crate) fn plan(&self) -> mpsc::Receiver<Step> {
        self.long_work(|own, words| async move { own.run_plan(words).await })
    }

    /// Brings tenants up to date. Dropping what is returned stops it after the tenants under way.
    pub(crate) fn apply(&self, apply: Apply) -> mpsc::Receiver<Step> {
        self.long_work(move |own, words| async move { own.run_apply(apply, words).await })
    }

    pub(super) fn long_work<F>(
        &self,
        work: impl FnOnce(Self, mpsc::Sender<Step>) -> F + Send + 'static,
    ) -> mpsc::Receiver<Step>
    where
        F: Future<Output = Result<Value>> + Send + 'static,
    {
        let (words, listening) = mpsc::channel(WORDS_MAX);
        let (own, last) = (self.clone(), words.clone());
        tokio::spawn(async move {
            let word = match work(own, words).await {
                Ok(result) => json!({ "result": result }),
                Err(error) => json!({ "error": told(&error) }),
            };
            // Who does not listen any more does not want it.
            let _ = last.send(word).await;
        });
        listening
    }

    /// How far the fleet is, and who failed or differs.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) async fn fleet_status(&self, after: String) -> Result<Value> {
        let expected = self.expected().await?;
        self.run(move |parts| {
            let fleet = parts.catalog.fleet(expected.target())?;
            let remarkable = parts.catalog.remarkable(expected.target(), &after, REMARKABLE_MAX)?;
            let next = (remarkable.len() == REMARKABLE_MAX).then(|| remarkable.last().map(|last| last.tenant.clone()));
            let mut told = summary(&expected, fleet);
            told["remarkable"] = json!(remarkable);
            told["next"] = json!(next);
            Ok(told)
        })
        .await
    }

    async fn expected(&self) -> Result<Arc<Expected>> {
        self.run(|parts| Ok(Arc::new(Expected::new(&parts.app)?))).await
    }

    async fn run_plan(&self, words: mpsc::Sender<Step>) -> Result<Value> {
        let expected = self.expected().await?;
        let mut progress = self.progress(&expected, words).await?;
        let mut wants: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        let (mut after, mut without_file, mut current) = (String::new(), 0_u64, 0_u64);
        loop {
            let page = self.behind(&expected, &after, true).await?;
            let Some(last) = page.last() else { break };
            last.as_str().clone_into(&mut after);
            for tenant in page {
                let (id, wanted) = (tenant.clone(), Arc::clone(&expected));
                let failure = match self.run(move |parts| wanted.look(&parts.dir, &id)).await {
                    Ok(Found::Nothing) => {
                        without_file += 1;
                        None
                    }
                    Ok(Found::At { current: true, .. }) => {
                        current += 1;
                        None
                    }
                    Ok(Found::At { host, app, .. }) => {
                        *wants.entry(expected.missing(host, app)).or_default() += 1;
                        None
                    }
                    Err(error) => Some(error.chain()),
                };
                progress.step(&tenant, failure.as_deref()).await?;
            }
        }
        let wants: Vec<_> = wants
            .into_iter()
            .map(|(migrations, tenants)| json!({ "migrations": migrations, "tenants": tenants }))
            .collect();
        let mut told = summary(&expected, self.counted(&expected).await?);
        told["plan"] = json!(wants);
        told["current"] = json!(current);
        told["without_file"] = json!(without_file);
        told["unreadable"] = json!(progress.failed);
        Ok(told)
    }

    async fn run_apply(&self, apply: Apply, words: mpsc::Sender<Step>) -> Result<Value> {
        let busy = || Error::new(ErrorKind::Conflict, "a migration of the fleet is under way: wait until it has ended");
        let _turn = self.0.state.fleet.try_acquire().map_err(|_| busy())?;
        let expected = self.expected().await?;
        let mut progress = self.progress(&expected, words).await?;
        let most = apply.canary.unwrap_or(u64::MAX);
        progress.of = progress.of.min(most);
        self.record("migrate.apply", json!({ "target": expected.target(), "canary": apply.canary }));
        let mut after = String::new();
        let mut next = Instant::now();
        let mut left = most;
        while left > 0 {
            let mut page = self.behind(&expected, &after, apply.again).await?;
            page.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let Some(last) = page.last() else { break };
            last.as_str().clone_into(&mut after);
            left -= page.len() as u64;
            let paced = stream::iter(page).then(|tenant| {
                let at = next;
                if apply.rate > 0 {
                    next = next.max(Instant::now()) + Duration::from_secs(1) / apply.rate;
                }
                async move {
                    sleep_until(at).await;
                    tenant
                }
            });
            let mut brought =
                std::pin::pin!(paced.map(|tenant| self.bring(&expected, tenant)).buffer_unordered(AT_ONCE));
            while let Some(done) = brought.next().await {
                let (tenant, failure) = done?;
                progress.step(&tenant, failure.as_deref()).await?;
                if progress.failed > apply.max_failures {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        format!(
                            "stopped: more than {} tenants failed; `freehold migrate status` tells why, and \
                             --max-failures lets it go on",
                            apply.max_failures
                        ),
                    ));
                }
            }
        }
        let mut told = summary(&expected, self.counted(&expected).await?);
        told["looked"] = json!(progress.looked);
        told["failed_now"] = json!(progress.failed);
        Ok(told)
    }

    /// Brings one tenant up to date and notes how it went. `Err` only if that can't be noted.
    async fn bring(&self, expected: &Arc<Expected>, tenant: TenantId) -> Result<(TenantId, Option<String>)> {
        let outcome = match self.look(expected, &tenant).await {
            Ok(Found::At { current: false, .. }) => match self.wake(&tenant).await {
                Ok(()) => self.look(expected, &tenant).await,
                Err(error) => Err(error),
            },
            found => found,
        };
        let (failure, drift) = match outcome {
            Ok(Found::Nothing) => (None, Vec::new()),
            Ok(Found::At { current: true, drift, .. }) => (None, drift),
            Ok(Found::At { .. }) => (Some("it was opened and is not up to date".to_owned()), Vec::new()),
            // Deleted or suspended meanwhile: nothing to bring up to date.
            Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) => (None, Vec::new()),
            Err(error) => (Some(error.chain()), Vec::new()),
        };
        let (id, wanted, told) = (tenant.clone(), Arc::clone(expected), failure.clone());
        self.run(move |parts| {
            let looked = Looked { tenant: id.to_string(), failure: told, drift, at: parts.clock.unix_seconds() };
            parts.catalog.looked(&id, wanted.target(), &looked)
        })
        .await?;
        Ok((tenant, failure))
    }

    async fn look(&self, expected: &Arc<Expected>, tenant: &TenantId) -> Result<Found> {
        let (id, wanted) = (tenant.clone(), Arc::clone(expected));
        self.run(move |parts| wanted.look(&parts.dir, &id)).await
    }

    /// Opens a tenant, which migrates its file, and lets it go. Callers come first: it waits for a place.
    pub(crate) async fn wake(&self, tenant: &TenantId) -> Result<()> {
        for _ in 0..TRIES {
            match self.0.tenants.get(tenant).await {
                Err(error) if error.kind() == ErrorKind::Busy => {
                    sleep(error.retry_after().unwrap_or(Duration::from_millis(250))).await;
                }
                Err(error) => return Err(error),
                Ok(open) => {
                    drop(open);
                    self.0.tenants.let_go(tenant);
                    return Ok(());
                }
            }
        }
        Err(Error::new(ErrorKind::Busy, "no place among the open tenants became free for it"))
    }

    async fn behind(&self, expected: &Arc<Expected>, after: &str, again: bool) -> Result<Vec<TenantId>> {
        let (wanted, after) = (Arc::clone(expected), after.to_owned());
        self.run(move |parts| parts.catalog.behind(wanted.target(), &after, again, PAGE)).await
    }

    async fn counted(&self, expected: &Arc<Expected>) -> Result<Fleet> {
        let wanted = Arc::clone(expected);
        self.run(move |parts| parts.catalog.fleet(wanted.target())).await
    }

    async fn progress(&self, expected: &Arc<Expected>, words: mpsc::Sender<Step>) -> Result<Progress> {
        let fleet = self.counted(expected).await?;
        Ok(Progress { words, looked: 0, of: fleet.tenants.saturating_sub(fleet.done), failed: 0 })
    }
}

fn summary(expected: &Expected, fleet: Fleet) -> Value {
    let mut told = json!(fleet);
    told["target"] = json!(expected.target());
    told["pending"] = json!(fleet.tenants.saturating_sub(fleet.done + fleet.failed));
    told
}

/// An error as an operator's program reads it.
pub(crate) fn told(error: &Error) -> Value {
    let mut told = error.data();
    told["kind"] = json!(format!("{:?}", error.kind()).to_lowercase());
    told["message"] = json!(error.chain());
    told
}
