//! A tenant's checkpoints, asked for by a caller or by the host itself: made beside its writer, gone back to through
//! it. What is in a checkpoint and where it lies is `db`'s business.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::OwnedSemaphorePermit;

use super::news::USAGE;
use super::reminders::first_due;
use super::{Handle, Tenant};
use crate::auth::Scope;
use crate::catalog::Wakes;
use crate::config::Limits;
use crate::db::{Bookmark, Checkpoint, CheckpointKind, Checkpoints, Prepared, Restored, Writer};
use crate::error::{Error, Result};
use crate::id::TenantId;

/// When to come back while another is being made: they take some seconds at most.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Handle {
    /// Makes a checkpoint of the tenant as it is after its last commit. Writers go on meanwhile.
    ///
    /// # Errors
    /// As [`Tenant::checkpoint`], but for the scope.
    pub(crate) async fn checkpoint(&self, kind: CheckpointKind, label: Option<String>) -> Result<Checkpoint> {
        let one = self.one_at_a_time()?;
        let (checkpoints, limits, now) = (self.0.checkpoints.clone(), self.limits().clone(), self.now_ms());
        let create = move || {
            let _one = one;
            checkpoints.create(kind, label.as_deref(), now, &limits)
        };
        let made = self.run(create).await?;
        self.notify(USAGE);
        Ok(made)
    }

    /// The tenant's checkpoints, the newest first.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable): they can't be read.
    pub(crate) async fn checkpoints(&self) -> Result<Vec<Checkpoint>> {
        let checkpoints = self.0.checkpoints.clone();
        self.run(move || checkpoints.list()).await
    }

    /// Removes a checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): there is none of that name.
    pub(crate) async fn delete_checkpoint(&self, bookmark: Bookmark) -> Result<()> {
        let checkpoints = self.0.checkpoints.clone();
        self.run(move || checkpoints.delete(bookmark)).await?;
        self.notify(USAGE);
        Ok(())
    }

    /// Puts the tenant back to a checkpoint, with a checkpoint of what it replaces before it. Writes wait meanwhile,
    /// reads see the one state or the other.
    ///
    /// # Errors
    /// As [`Tenant::restore`], but for the scope.
    pub(crate) async fn restore(&self, bookmark: Bookmark) -> Result<Restored> {
        let one = self.one_at_a_time()?;
        let (checkpoints, template) = (self.0.checkpoints.clone(), self.0.template.clone());
        let (prepared, one) = self.run(move || Ok((checkpoints.prepare(bookmark, &template)?, one))).await?;
        let (checkpoints, limits) = (self.0.checkpoints.clone(), self.limits().clone());
        let (id, wakes, clock) = (self.id().clone(), Arc::clone(self.wakes()), Arc::clone(self.clock()));
        let restore = move |writer: &mut Writer| {
            // Held until it is done, also when who asked has gone.
            let _one = one;
            let now = u64::try_from(clock.unix_millis()).unwrap_or(0);
            put_back(&id, writer, prepared, &checkpoints, &limits, &wakes, now)
        };
        let restored = self.with_writer(restore).await?;
        self.everything_changed();
        Ok(restored)
    }

    fn one_at_a_time(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.0.copying).try_acquire_owned().map_err(|_| Error::busy("checkpoints_at_once", 1, RETRY_AFTER))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock().unix_millis()).unwrap_or(0)
    }
}

/// Has `prepared` take the place of what `writer`'s file holds, which becomes a checkpoint of its own first.
///
/// # Errors
/// As [`Tenant::restore`]. Nothing is changed then.
fn put_back(
    tenant: &TenantId,
    writer: &mut Writer,
    prepared: Prepared,
    checkpoints: &Checkpoints,
    limits: &Limits,
    wakes: &Wakes,
    now_ms: u64,
) -> Result<Restored> {
    // Here, and not before: no write comes between what it keeps and what is replaced.
    let undo = checkpoints.create(CheckpointKind::Undo, None, now_ms, limits)?.bookmark;
    // The index of wake-ups has to know of the first reminder before it is there.
    let woken = |coming: &Connection| match first_due(coming)? {
        Some(at) => wakes.no_later_than(tenant, at),
        None => Ok(()),
    };
    let restored = prepared.bookmark();
    prepared.replace(writer, woken)?;
    Ok(Restored { restored, undo })
}

impl Tenant {
    /// Keeps a copy of all that the tenant has, as it is after the last commit: an ordinary SQLite file beside its
    /// own. Writes go on meanwhile. `label`: 1 to 200 bytes.
    ///
    /// ```
    /// # async fn careful(tenant: freehold::Tenant) -> freehold::Result<()> {
    /// let before = tenant.checkpoint(Some("before the import")).await?;
    /// tenant.write(|tx| Ok(tx.execute("DELETE FROM note", [])?)).await?;
    /// let done = tenant.restore(before.bookmark).await?;
    /// // And forth again: what the restore replaced is a checkpoint too.
    /// tenant.restore(done.undo).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit): `limits.checkpoints` are there, or they would take more than
    /// `limits.checkpoint_bytes`; [`ErrorKind::Busy`](crate::ErrorKind::Busy): another is being made or gone back to;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable): the disk is full or fails;
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden): the caller has no `write` scope.
    pub async fn checkpoint(&self, label: Option<&str>) -> Result<Checkpoint> {
        self.require(Scope::Write)?;
        self.handle.checkpoint(CheckpointKind::Named, label.map(str::to_owned)).await
    }

    /// The tenant's checkpoints, the newest first: those that were asked for, and those that the host made.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden): the caller has no `read` scope;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable): they can't be read.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>> {
        self.require(Scope::Read)?;
        self.handle.checkpoints().await
    }

    /// Removes a checkpoint for good.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): there is none of that name; or as
    /// [`Tenant::checkpoint`].
    pub async fn delete_checkpoint(&self, bookmark: Bookmark) -> Result<()> {
        self.require(Scope::Write)?;
        self.handle.delete_checkpoint(bookmark).await
    }

    /// Puts everything that the tenant has back to what it was at `bookmark`: tables, keys, notes, reminders and
    /// their inbox, handles. What it replaces is kept as a checkpoint of its own. Sessions, tasks, subscriptions,
    /// the journal of calls and the counts of usage go on. A process that is killed leaves the one state or the
    /// other. A reminder that has come since then comes once more.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound): there is no such checkpoint;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable): it is damaged; or as [`Tenant::checkpoint`].
    /// Nothing is changed then.
    pub async fn restore(&self, bookmark: Bookmark) -> Result<Restored> {
        self.require(Scope::Write)?;
        self.handle.restore(bookmark).await
    }
}
