//! A tenant as it was: checkpoints made, listed, gone back to; and any other time of late.

use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::Admin;
use super::lifecycle::served;
use crate::clock::{LAST_MS, rfc3339, rfc3339_millis as time};
use crate::db::{Bookmark, Checkpoint, CheckpointKind, Checkpoints, Rebuilt, Window, rebuild, windows};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// Where a tenant's past is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Beside its file.
    Disk,
    /// In the storage of `history.remote`, whether or not the tenant is here.
    Storage,
}

impl Source {
    /// As a request says it.
    pub(crate) fn of(from_remote: bool) -> Self {
        if from_remote { Self::Storage } else { Self::Disk }
    }
}

impl Admin {
    /// Keeps a copy of all that a tenant has.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: no such tenant, or it has no file yet; or as
    /// [`Tenant::checkpoint`](crate::Tenant::checkpoint).
    pub(crate) async fn checkpoint(&self, tenant: TenantId, label: Option<String>) -> Result<Value> {
        self.checkpoints_of(&tenant).await?;
        let open = self.0.tenants.get(&tenant).await?;
        let made = told(&open.tenant.checkpoint(CheckpointKind::Named, label).await?);
        self.record("tenant.checkpoint", json!({ "tenant": tenant.as_str(), "bookmark": made["bookmark"] }));
        Ok(made)
    }

    /// The checkpoints of a tenant, the newest first, and the stretches of time that it can be brought back to.
    ///
    /// # Errors
    /// As [`Admin::checkpoint`].
    pub(crate) async fn bookmarks(&self, tenant: TenantId, from: Source) -> Result<Value> {
        if from == Source::Storage {
            let windows = self.archive()?.windows(&tenant).await?;
            return Ok(json!({ "checkpoints": [], "windows": windows.iter().map(window).collect::<Vec<_>>() }));
        }
        let checkpoints = self.checkpoints_of(&tenant).await?;
        self.run(move |parts| {
            let windows = windows(&parts.dir, &tenant)?;
            let windows = windows.iter().map(window);
            let listed = checkpoints.list()?;
            Ok(json!({
                "checkpoints": listed.iter().map(told).collect::<Vec<_>>(), "windows": windows.collect::<Vec<_>>(),
            }))
        })
        .await
    }

    /// Puts a tenant back to a checkpoint, or to the last change that is kept of before a time. What is replaced
    /// becomes a checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: nothing is kept of that time; or as [`Tenant::restore`](crate::Tenant::restore): nothing is changed then.
    pub(crate) async fn restore(&self, tenant: TenantId, at: Option<String>, from: Source) -> Result<Value> {
        let at = match (at, from) {
            (Some(at), _) => at,
            (None, Source::Storage) => time(LAST_MS),
            (None, Source::Disk) => return Err(Error::invalid("say to when, or to which checkpoint: --at")),
        };
        if from == Source::Storage {
            let (id, at_ms) = (tenant.clone(), moment(&at)?);
            if self.run(move |parts| parts.catalog.tenant(&id)).await.is_err() {
                return self.bring_back(tenant, at_ms).await;
            }
            // One that nobody has called yet gets its file.
            self.0.tenants.get(&tenant).await.map(drop)?;
        }
        let checkpoints = self.checkpoints_of(&tenant).await?;
        let _taken = self.take(&tenant)?;
        let (bookmark, made) = match (Bookmark::parse(&at), moment(&at)) {
            (Ok(bookmark), _) => (bookmark, None),
            (Err(error), Err(_)) => return Err(error),
            (_, Ok(at_ms)) => {
                let Rebuilt { staged, at_ms } = self.past(tenant.clone(), at_ms, from).await?;
                let adopting = checkpoints.clone();
                (self.run(move |_| adopting.adopt(staged, at_ms)).await?, Some(checkpoints))
            }
        };
        let open = self.0.tenants.get(&tenant).await?;
        let restored = open.tenant.restore(bookmark).await;
        if let Some(checkpoints) = made {
            // Made for this alone: the time it is of can be had again.
            self.run(move |_| checkpoints.delete(bookmark)).await?;
        }
        let restored = restored?;
        let told = json!({
            "tenant": tenant.as_str(), "restored": time(bookmark.at_ms()), "bookmark": restored.restored.to_string(),
            "undo": restored.undo.to_string(),
        });
        self.record("tenant.restore", told.clone());
        Ok(told)
    }

    /// Brings a tenant's past back beside it and looks whether it is whole: at `at`, or at the last moment that is
    /// kept. Nothing of the tenant changes.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: nothing is kept of that time;
    /// [`ErrorKind::Unavailable`]: what is kept is damaged; or, without a time, a piece
    /// of it is missing anywhere in what the storage has.
    pub(crate) async fn verify(&self, tenant: TenantId, at: Option<String>, from: Source) -> Result<Value> {
        let at_ms = at.as_deref().map_or(Ok(LAST_MS), moment)?;
        let rebuilt = self.past(tenant.clone(), at_ms, from).await?;
        if let (Source::Storage, None) = (from, &at)
            && let Some(missing) = self.archive()?.missing(&tenant).await?
        {
            let whole = format!("as of {} it is whole, but {missing}", time(rebuilt.at_ms));
            return Err(Error::new(ErrorKind::Unavailable, whole));
        }
        let bytes = rebuilt.staged.bytes()?;
        Ok(json!({ "tenant": tenant.as_str(), "at": time(rebuilt.at_ms), "bytes": bytes, "integrity": "ok" }))
    }

    /// The tenant's file as it was at `at_ms`.
    pub(super) async fn past(&self, tenant: TenantId, at_ms: u64, from: Source) -> Result<Rebuilt> {
        // Closed never.
        let _turn = self.0.state.copies.acquire().await;
        if from == Source::Storage {
            return self.archive()?.fetch(&tenant, at_ms).await;
        }
        self.run(move |parts| {
            served(&parts.catalog, &tenant)?;
            let (staged, _) = parts.staging.receive()?;
            rebuild(&parts.dir, &tenant, at_ms, staged)
        })
        .await
    }

    async fn checkpoints_of(&self, tenant: &TenantId) -> Result<Checkpoints> {
        let id = tenant.clone();
        self.run(move |parts| {
            served(&parts.catalog, &id)?;
            Checkpoints::of(&parts.dir, &id)
        })
        .await
    }

    /// What a tenant uses of what it may, and what its calls came to on the last `days` on which there were any.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub(crate) async fn usage(&self, tenant: TenantId, days: usize) -> Result<Value> {
        let id = tenant.clone();
        self.run(move |parts| served(&parts.catalog, &id)).await?;
        let open = self.0.tenants.get(&tenant).await?;
        let mut told = json!(open.tenant.usage().await?);
        let days = open.tenant.usage_by_day(days).await?;
        let by_day = days.iter().map(|day| {
            let mut told = json!(day);
            told["day"] = json!(rfc3339(day.day * 86_400).split('T').next());
            told
        });
        told["days"] = by_day.collect();
        told["tenant"] = json!(tenant.as_str());
        Ok(told)
    }
}

/// A time as an operator writes it, in milliseconds since 1970.
pub(super) fn moment(text: &str) -> Result<u64> {
    let wrong = |error| Error::invalid("write the time as 2030-01-31T09:00:00Z (RFC 3339, in UTC)").with_source(error);
    let at = humantime::parse_rfc3339(text).map_err(wrong)?;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_millis()).unwrap_or(LAST_MS))
}

fn window(window: &Window) -> Value {
    json!({ "from": time(window.from_ms), "to": time(window.to_ms) })
}

fn told(checkpoint: &Checkpoint) -> Value {
    let Checkpoint { bookmark, label, bytes, .. } = checkpoint;
    json!({
        "bookmark": bookmark.to_string(), "kind": bookmark.kind().as_str(), "at_ms": bookmark.at_ms(), "bytes": bytes,
        "label": label,
    })
}
