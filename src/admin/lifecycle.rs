//! Tenants come, rest and go.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Admin, Parts};
use crate::archive::{Archive, Erased};
use crate::catalog::{Catalog, Forgotten, TenantRecord, TenantState};
use crate::clock::{Clock, rfc3339};
use crate::db::{DataDir, Removed, remove_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// Tenants on one page of the list.
const PAGE_MAX: usize = 1_000;
/// Tenants that a start finishes before it serves; more than a crash can leave.
const UNFINISHED_MAX: usize = 10_000;

/// What stays of a tenant that was deleted: proof for whoever asked for it.
#[derive(Debug, Serialize)]
pub(crate) struct Receipt {
    tenant: String,
    /// RFC 3339, in UTC.
    deleted_at: String,
    files: Vec<Removed>,
    /// Of all files together.
    bytes: u64,
    #[serde(flatten)]
    catalog: Forgotten,
    /// What was in the storage of `history.remote`, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<Remote>,
}

/// What became of a deleted tenant's objects.
#[derive(Debug, Serialize)]
pub(crate) struct Remote {
    /// Whether none of them is left. If not, the host tries again until it is so, and the tenant stays `deleting`.
    erased: bool,
    #[serde(flatten)]
    what: Erased,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl TenantRecord {
    /// As every list tells it.
    pub(crate) fn told(&self) -> Value {
        let state = match self.state {
            TenantState::Served if self.suspended => "suspended",
            TenantState::Served => "active",
            TenantState::Arriving => "arriving",
            TenantState::Leaving => "deleting",
        };
        json!({ "id": self.id.as_str(), "created_at": self.created_at, "class": self.class, "state": state })
    }
}

impl Admin {
    /// Enters a tenant; its file comes with its first request.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`]: there is one of that name; [`ErrorKind::Invalid`]: no such class.
    pub(crate) async fn create(&self, tenant: TenantId, class: String) -> Result<Value> {
        self.0.settings().class(&class)?;
        let id = tenant.clone();
        let made = self.run(move |parts| {
            parts.catalog.create(&id, &class, &*parts.clock)?;
            parts.catalog.tenant(&id)
        });
        let made = made.await?.told();
        self.record_of("tenant.create", &tenant);
        Ok(made)
    }

    /// Puts a tenant into another class. One that is open is closed, so that its next call finds the new limits.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], or [`ErrorKind::Invalid`]: no such class.
    pub(crate) async fn set_class(&self, tenant: TenantId, class: String) -> Result<Value> {
        self.0.settings().class(&class)?;
        let (id, told) = (tenant.clone(), json!({ "tenant": tenant.as_str(), "class": class }));
        let changed = self.run(move |parts| {
            parts.catalog.set_class(&id, &class)?;
            parts.catalog.tenant(&id)
        });
        let changed = changed.await?.told();
        self.record("tenant.class", told);
        Ok(changed)
    }

    /// Suspends a tenant, or lets it be called again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub(crate) async fn suspend(&self, tenant: TenantId, suspended: bool) -> Result<Value> {
        let id = tenant.clone();
        let changed = self.run(move |parts| {
            parts.catalog.suspend(&id, suspended)?;
            parts.catalog.tenant(&id)
        });
        let changed = changed.await?.told();
        self.record_of(if suspended { "tenant.suspend" } else { "tenant.resume" }, &tenant);
        Ok(changed)
    }

    /// A page of tenants by name, and the name after which the next one begins.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) async fn list(&self, after: Option<TenantId>, limit: Option<usize>) -> Result<Value> {
        let limit = limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let listed = self.run(move |parts| parts.catalog.list(after.as_ref(), limit)).await?;
        let next = (listed.len() == limit).then(|| listed.last().map(|last| last.id.to_string())).flatten();
        Ok(json!({ "tenants": listed.iter().map(TenantRecord::told).collect::<Vec<_>>(), "next": next }))
    }

    /// Deletes a tenant for good: its calls end, its files go, and what the catalog has of it. Broken off, it goes on
    /// when it is called again, or at the next start.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Conflict`] while something else is done with it.
    pub(crate) async fn delete(&self, tenant: TenantId) -> Result<Receipt> {
        let own = self.clone();
        // Once begun it ends, whether or not anybody waits for the receipt.
        let deleting = tokio::spawn(async move {
            let _taken = own.take(&tenant)?;
            let id = tenant.clone();
            own.run(move |parts| parts.catalog.leaving(&id)).await?;
            own.0.tenants.close_now(&tenant).await;
            own.remove(&tenant).await
        });
        deleting.await.map_err(|error| Error::internal("deleting a tenant panicked").with_source(error))?
    }

    /// Removes what there still is of a tenant that is being deleted. Nothing, if that is somebody's business just now.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: something can't be removed.
    pub(crate) async fn finish_deletion(&self, tenant: TenantId) -> Result<()> {
        let Ok(_taken) = self.take(&tenant) else { return Ok(()) };
        let receipt = self.remove(&tenant).await?;
        match receipt.remote.and_then(|remote| remote.why) {
            Some(why) => Err(Error::new(ErrorKind::Unavailable, why)),
            None => Ok(()),
        }
    }

    /// The tenant is `leaving`, and closed. Its rows in the catalog go last: they say what is to be finished.
    async fn remove(&self, tenant: &TenantId) -> Result<Receipt> {
        let id = tenant.clone();
        let files = self.run(move |parts| remove_tenant(&parts.dir, &id)).await?;
        let remote = match &self.0.archive {
            Some(archive) => Some(erased(archive, tenant).await),
            None => None,
        };
        let catalog = match &remote {
            Some(Remote { erased: false, .. }) => Forgotten::default(),
            _ => {
                let id = tenant.clone();
                let forgotten = self.run(move |parts| parts.catalog.forget(&id, &*parts.clock)).await?;
                // The name may be given to somebody else now: the tokens of this one are void before that.
                self.0.gate.has_heard_of(tenant).await;
                forgotten
            }
        };
        if let Some(archive) = self.0.archive.as_ref().filter(|_| remote.as_ref().is_some_and(|remote| remote.erased)) {
            archive.forgotten(tenant);
            // Its keys and its rows are in the list there, too.
            if let Err(error) = archive.own_and_list().await {
                tracing::warn!(%tenant, error = error.chain(), "the list in storage still has a deleted tenant; trying again");
            }
        }
        let receipt = receipt(tenant, &*self.0.clock, files, catalog, remote);
        self.record("tenant.delete", json!(receipt));
        Ok(receipt)
    }
}

impl Parts {
    /// Undoes a tenant that was being made and could not be.
    pub(super) fn undo_arrival(&self, tenant: &TenantId) {
        if let Err(error) = removed(&self.dir, &self.catalog, &*self.clock, tenant) {
            tracing::error!(%tenant, error = error.chain(), "what was begun can't be removed: the next start does it");
        }
    }
}

async fn erased(archive: &Archive, tenant: &TenantId) -> Remote {
    // What is another data directory's is not ours to remove, and nothing of this tenant was sent there.
    let erased = match archive.own(false).await {
        Ok(()) => archive.erase(tenant).await,
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(Erased::default()),
        Err(error) => Err(error),
    };
    match erased {
        Ok(what) => Remote { erased: true, what, why: None },
        Err(error) => Remote { erased: false, what: Erased::default(), why: Some(error.chain()) },
    }
}

fn removed(dir: &DataDir, catalog: &Catalog, clock: &dyn Clock, tenant: &TenantId) -> Result<Receipt> {
    let files = remove_tenant(dir, tenant)?;
    let catalog = catalog.forget(tenant, clock)?;
    Ok(receipt(tenant, clock, files, catalog, None))
}

fn receipt(
    tenant: &TenantId,
    clock: &dyn Clock,
    files: Vec<Removed>,
    catalog: Forgotten,
    remote: Option<Remote>,
) -> Receipt {
    Receipt {
        tenant: tenant.to_string(),
        deleted_at: rfc3339(clock.unix_seconds()),
        bytes: files.iter().map(|file| file.bytes).sum(),
        files,
        catalog,
        remote,
    }
}

/// Removes tenants that were being made or deleted when the process before this one ended. For who holds the data
/// directory's lock, before it serves. With `elsewhere` their past is kept in a storage too: those that were being
/// deleted stay listed until it is erased there.
///
/// # Errors
/// [`ErrorKind::Unavailable`] when the disk can't.
pub(crate) fn finish_unfinished(dir: &DataDir, catalog: &Catalog, clock: &dyn Clock, elsewhere: bool) -> Result<()> {
    for record in catalog.unfinished(UNFINISHED_MAX)? {
        if elsewhere && record.state == TenantState::Leaving {
            remove_tenant(dir, &record.id)?;
            continue;
        }
        let receipt = removed(dir, catalog, clock, &record.id)?;
        let files = receipt.files.len();
        tracing::info!(tenant = %record.id, files, was = ?record.state, "what broke off with a tenant is finished");
    }
    Ok(())
}

/// That there is such a tenant, and it can be called.
pub(super) fn served(catalog: &Catalog, tenant: &TenantId) -> Result<TenantRecord> {
    let record = catalog.tenant(tenant)?;
    match record.state {
        TenantState::Served => Ok(record),
        TenantState::Arriving => Err(Error::new(ErrorKind::Conflict, format!("tenant {tenant} is just being made"))),
        TenantState::Leaving => Err(Error::new(ErrorKind::Conflict, format!("tenant {tenant} is just being deleted"))),
    }
}
