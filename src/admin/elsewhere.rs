//! Tenants back out of the storage of `history.remote`: one, or all of them into an empty data directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Admin;
use super::fleet::{Progress, Step};
use super::past::moment;
use crate::archive::Archive;
use crate::catalog::TenantState;
use crate::clock::{LAST_MS, rfc3339_millis as time};
use crate::config::DEFAULT_CLASS;
use crate::db::Staged;
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// Tenants that are brought back at once.
const AT_ONCE: usize = 4;

/// Which moment of all tenants, and whether those that can't be had are given up. Each key as the flag.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BringBack {
    at: Option<String>,
    skip_failed: bool,
}

/// What became of one tenant.
enum Became {
    Restored,
    /// It was here before, and is as it was.
    Kept,
    /// It is listed and nobody ever called it.
    WithoutFile,
    /// It was being deleted.
    Deleted,
}

impl Admin {
    pub(super) fn archive(&self) -> Result<&Archive> {
        let said =
            "no storage is configured: set history.remote.url (and say where the configuration is, with --config)";
        self.0.archive.as_ref().ok_or_else(|| Error::invalid(said))
    }

    /// A tenant that is not here, out of the storage, with its class, its keys and its standing as they were listed.
    pub(super) async fn bring_back(&self, tenant: TenantId, at_ms: u64) -> Result<Value> {
        let copy = self.archive()?.catalog().await?.map(Arc::new);
        if let Some(copy) = &copy {
            let copy = Arc::clone(copy);
            self.run(move |parts| parts.catalog.take_over_standing(copy.path())).await?;
        }
        let at_ms = self.fetch_one(&tenant, at_ms, copy).await?;
        let told = json!({ "tenant": tenant.as_str(), "restored": time(at_ms), "from_remote": true });
        self.record("tenant.restore", told.clone());
        Ok(told)
    }

    async fn fetch_one(&self, tenant: &TenantId, at_ms: u64, copy: Option<Arc<Staged>>) -> Result<u64> {
        let _taken = self.take(tenant)?;
        let rebuilt = self.archive()?.fetch(tenant, at_ms).await?;
        self.enter(tenant, copy).await?;
        self.settle(tenant, Ok(rebuilt.staged)).await?;
        Ok(rebuilt.at_ms)
    }

    async fn enter(&self, tenant: &TenantId, copy: Option<Arc<Staged>>) -> Result<()> {
        let id = tenant.clone();
        self.run(move |parts| {
            let listed = copy.is_some_and(|copy| parts.catalog.arriving_as(&id, copy.path()).unwrap_or(false));
            if listed { Ok(()) } else { parts.catalog.arriving(&id, DEFAULT_CLASS, &*parts.clock) }
        })
        .await
    }

    /// Brings back every tenant that is in the storage and not here, and has the storage be this data directory's from
    /// then on. Dropping what is returned stops it; called again it goes on.
    pub(crate) fn bring_back_all(&self, asked: BringBack) -> mpsc::Receiver<Step> {
        self.long_work(move |own, words| async move { own.run_bring_back(asked, words).await })
    }

    async fn run_bring_back(&self, asked: BringBack, words: mpsc::Sender<Step>) -> Result<Value> {
        let at_ms = asked.at.as_deref().map_or(Ok(LAST_MS), moment)?;
        let busy = || Error::new(ErrorKind::Conflict, "work on all tenants is under way: wait until it has ended");
        let _turn = self.0.state.fleet.try_acquire().map_err(|_| busy())?;
        let archive = self.archive()?.clone();
        let copy = archive.catalog().await?.map(Arc::new);
        let mut all: BTreeMap<TenantId, Option<TenantState>> = BTreeMap::new();
        if let Some(copy) = &copy {
            let copy = Arc::clone(copy);
            let known = move |path: &Path, parts: &super::Parts| {
                parts.catalog.take_over_standing(path)?;
                parts.catalog.listed_in(path)
            };
            let known = self.run(move |parts| known(copy.path(), parts)).await?;
            all.extend(known.into_iter().map(|(tenant, state)| (tenant, Some(state))));
        }
        let filed = archive.tenants().await?;
        for tenant in &filed {
            all.entry(tenant.clone()).or_insert(None);
        }
        self.record("tenant.restore_all", json!({ "tenants": all.len(), "at": asked.at }));
        let mut progress = Progress::new(words, all.len() as u64);
        let (mut restored, mut kept, mut without_file, mut deleted) = (0_u64, 0_u64, 0_u64, 0_u64);
        let mut coming = stream::iter(all)
            .map(|(tenant, state)| {
                let (copy, filed) = (copy.clone(), filed.contains(&tenant));
                async move {
                    let became = self.bring_one(&tenant, state, filed, at_ms, copy).await;
                    (tenant, became)
                }
            })
            .buffer_unordered(AT_ONCE);
        while let Some((tenant, became)) = coming.next().await {
            let failure = match became {
                Ok(became) => {
                    *match became {
                        Became::Restored => &mut restored,
                        Became::Kept => &mut kept,
                        Became::WithoutFile => &mut without_file,
                        Became::Deleted => &mut deleted,
                    } += 1;
                    None
                }
                Err(error) => Some(error.chain()),
            };
            progress.step(&tenant, failure.as_deref()).await?;
        }
        let owned = progress.failed == 0 || asked.skip_failed;
        if owned {
            archive.own(true).await?;
        }
        Ok(json!({
            "tenants": progress.of, "restored": restored, "kept": kept, "without_file": without_file, "deleted": deleted,
            "failed": progress.failed, "owned": owned,
        }))
    }

    async fn bring_one(
        &self,
        tenant: &TenantId,
        state: Option<TenantState>,
        filed: bool,
        at_ms: u64,
        copy: Option<Arc<Staged>>,
    ) -> Result<Became> {
        let id = tenant.clone();
        if self.run(move |parts| Ok(parts.catalog.tenant(&id).is_ok())).await? {
            return Ok(Became::Kept);
        }
        if state == Some(TenantState::Leaving) {
            // The next one to look finishes it.
            let id = tenant.clone();
            self.enter(tenant, copy).await?;
            self.run(move |parts| parts.catalog.leaving(&id)).await?;
            return Ok(Became::Deleted);
        }
        if filed {
            self.fetch_one(tenant, at_ms, copy).await?;
            return Ok(Became::Restored);
        }
        let id = tenant.clone();
        self.enter(tenant, copy).await?;
        self.run(move |parts| parts.catalog.arrived(&id)).await?;
        Ok(Became::WithoutFile)
    }
}
