//! Every tenant's past brought back beside it and looked at, one after the other. Nothing of any tenant changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Admin;
use super::fleet::{Progress, Step};
use super::past::{Source, moment};
use crate::catalog::TenantState;
use crate::db::sizes;
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// Tenants read from the catalog at a time.
const PAGE: usize = 500;

/// Which moment, and where it is looked for. Each key as the flag of `freehold tenant verify --all`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VerifyAll {
    at: Option<String>,
    from_remote: bool,
}

/// What was found of one tenant.
enum Found {
    Whole(Value),
    /// Nobody ever called it: there is nothing to lose.
    WithoutFile,
    /// It is younger than the time that was asked for.
    NotYet,
    /// It is being deleted, or just made.
    Deleted,
}

/// How many of each.
#[derive(Default)]
struct Counts {
    whole: u64,
    without_file: u64,
    not_yet: u64,
    deleted: u64,
}

impl Admin {
    /// Verifies every tenant, and tells of each: `verified` (as [`Admin::verify`] tells it), `skipped` (`{"tenant", "why"}`) or
    /// `failure`. Dropping
    /// what is returned stops it after the tenant under way.
    pub(crate) fn verify_all(&self, asked: VerifyAll) -> mpsc::Receiver<Step> {
        self.long_work(move |own, words| async move { own.run_verify_all(asked, words).await })
    }

    async fn run_verify_all(&self, asked: VerifyAll, words: mpsc::Sender<Step>) -> Result<Value> {
        let busy = || Error::new(ErrorKind::Conflict, "all tenants are being verified: wait until that has ended");
        let _turn = self.0.state.verifying.try_acquire().map_err(|_| busy())?;
        let source = Source::of(asked.from_remote);
        let at_ms = asked.at.as_deref().map(moment).transpose()?;
        let mut elsewhere = match source {
            Source::Storage => self.elsewhere().await?,
            Source::Disk => BTreeSet::new(),
        };
        let count = self.run(move |parts| parts.catalog.count()).await?;
        let mut progress = Progress::new(words, count + elsewhere.len() as u64);
        let mut counts = Counts::default();
        let mut after = None;
        loop {
            let from = after.clone();
            let page = self.run(move |parts| parts.catalog.list(from.as_ref(), PAGE)).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for record in page {
                if elsewhere.remove(&record.id) {
                    // It was counted twice.
                    progress.of -= 1;
                }
                let found = match record.state {
                    TenantState::Served => self.look_at(&record.id, &asked, source, at_ms, record.created_at).await,
                    TenantState::Arriving | TenantState::Leaving => Ok(Found::Deleted),
                };
                counts.tell(&mut progress, &record.id, found).await?;
            }
        }
        for tenant in elsewhere {
            let found = self.verify(tenant.clone(), asked.at.clone(), source).await.map(Found::Whole);
            counts.tell(&mut progress, &tenant, found).await?;
        }
        let Counts { whole, without_file, not_yet, deleted } = counts;
        Ok(json!({
            "tenants": whole + without_file + not_yet + deleted + progress.failed, "whole": whole,
            "without_file": without_file, "not_yet": not_yet, "deleted": deleted, "failed": progress.failed,
        }))
    }

    /// Who has a past in the storage, but for those who were being deleted.
    async fn elsewhere(&self) -> Result<BTreeSet<TenantId>> {
        let archive = self.archive()?;
        let mut there = archive.tenants().await?;
        if let Some(copy) = archive.catalog().await?.map(Arc::new) {
            let listed = self.run(move |parts| parts.catalog.listed_in(copy.path())).await?;
            listed.iter().filter(|(_, state)| *state == TenantState::Leaving).for_each(|(tenant, _)| {
                there.remove(tenant);
            });
        }
        Ok(there)
    }

    async fn look_at(
        &self,
        tenant: &TenantId,
        asked: &VerifyAll,
        source: Source,
        at_ms: Option<u64>,
        created_at: u64,
    ) -> Result<Found> {
        let error = match self.verify(tenant.clone(), asked.at.clone(), source).await {
            Ok(told) => return Ok(Found::Whole(told)),
            Err(error) if error.kind() == ErrorKind::NotFound => error,
            Err(error) => return Err(error),
        };
        if at_ms.is_some_and(|at| at < created_at.saturating_add(1).saturating_mul(1_000)) {
            return Ok(Found::NotYet);
        }
        let id = tenant.clone();
        let (gone, has_file) = self
            .run(move |parts| {
                let served = parts.catalog.tenant(&id).is_ok_and(|record| record.state == TenantState::Served);
                Ok((!served, sizes(&parts.dir, &id)?.database > 0))
            })
            .await?;
        match (gone, has_file) {
            // Deleted while it was looked at.
            (true, _) => Ok(Found::Deleted),
            (_, false) => Ok(Found::WithoutFile),
            _ => Err(error),
        }
    }
}

impl Counts {
    async fn tell(&mut self, progress: &mut Progress, tenant: &TenantId, found: Result<Found>) -> Result<()> {
        let (count, word) = match found {
            Ok(Found::Whole(told)) => (&mut self.whole, json!({ "verified": told })),
            Ok(Found::WithoutFile) => (&mut self.without_file, skipped(tenant, "without_file")),
            Ok(Found::NotYet) => (&mut self.not_yet, skipped(tenant, "not_yet")),
            Ok(Found::Deleted) => (&mut self.deleted, skipped(tenant, "deleted")),
            Err(error) => return progress.step_of(tenant, Some(&error.chain()), 1).await,
        };
        *count += 1;
        progress.tell(word).await?;
        progress.step_of(tenant, None, 1).await
    }
}

fn skipped(tenant: &TenantId, why: &str) -> Value {
    json!({ "skipped": { "tenant": tenant.as_str(), "why": why } })
}
