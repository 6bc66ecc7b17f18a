//! [`Tenant`]: all that a tool gets of the host. It has no method that takes a tenant's name.

use std::fmt;
use std::sync::Arc;

use rusqlite::{Connection, Transaction};

use super::Handle;
use super::job::once;
use super::meter::Meter;
use super::news::List;
use crate::auth::{Principal, Scope, insufficient};
use crate::clock::Clock;
use crate::config::Limits;
use crate::db::Mode;
use crate::error::Result;
use crate::id::TenantId;

/// A tenant's state on behalf of one caller. A tool asks for it by taking an argument of this type.
#[derive(Clone)]
pub struct Tenant {
    pub(super) handle: Handle,
    pub(super) principal: Principal,
    /// The account of the request that it was made for.
    pub(super) spent: Option<Arc<Meter>>,
}

impl Tenant {
    /// The tenant's name.
    #[must_use]
    pub fn id(&self) -> &TenantId {
        self.handle.id()
    }

    /// Who calls.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Runs `work` in a transaction on the tenant's file and returns its value **after the commit is
    /// durable**. An `Err` or a panic of `work` undoes all that it did. Writes that wait together share
    /// one commit. `work` is synchronous: nothing can be awaited inside a transaction.
    ///
    /// ```
    /// # use freehold::{Tenant, Result};
    /// # async fn keep(tenant: Tenant, body: String) -> Result<i64> {
    /// tenant.write(move |tx| {
    ///     tx.execute("INSERT INTO note (body) VALUES (?1)", [body])?;
    ///     Ok(tx.last_insert_rowid())
    /// }).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `work` returns. [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden): the caller has no `write` scope.
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy): never begun, safe to repeat. [`ErrorKind::Limit`](crate::ErrorKind::Limit): past
    /// `limits.statement_deadline`, undone. [`ErrorKind::Internal`](crate::ErrorKind::Internal): `work` panicked, undone.
    pub async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.write_as(Mode::Embedder, work).await
    }

    /// Runs `work` on a connection that can only read; all that it reads is of one moment.
    ///
    /// # Errors
    /// As [`Tenant::write`], for the `read` scope.
    pub async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.read_as(Mode::Embedder, work).await
    }

    /// Tells every client that subscribed to the resource `uri` that it reads differently now
    /// (`notifications/resources/updated`), in both generations: on `subscriptions/listen`, and in the sessions of
    /// older clients after `resources/subscribe`. Call it after the write that changed it has returned. It waits
    /// for nobody.
    pub fn notify(&self, uri: impl Into<Arc<str>>) {
        self.handle.notify(uri);
    }

    /// Tells every client of this tenant that `list` has other entries now (`notifications/…/list_changed`).
    pub fn list_changed(&self, list: List) {
        self.handle.list_changed(list);
    }

    pub(crate) async fn write_as<T, F>(&self, mode: Mode, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.require(Scope::Write)?;
        self.handle.send(mode, false, self.spent.as_ref(), once(work)).await
    }

    /// As `write_as`, for `work` that may run again after it was undone: so it can share a commit with others of
    /// which one may be cut at its deadline.
    pub(crate) async fn write_again<T, F>(&self, mode: Mode, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.require(Scope::Write)?;
        self.handle.send(mode, true, self.spent.as_ref(), work).await
    }

    pub(crate) async fn read_as<T, F>(&self, mode: Mode, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.require(Scope::Read)?;
        self.handle.fetch(mode, self.spent.as_ref(), work).await
    }

    /// The same tenant on the account of a request.
    pub(crate) fn on_account_of(mut self, spent: Option<Arc<Meter>>) -> Self {
        self.spent = spent;
        self
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.handle.limits()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        self.handle.clock()
    }

    pub(super) fn require(&self, scope: Scope) -> Result<()> {
        if self.principal.scopes().allow(scope) {
            return Ok(());
        }
        Err(insufficient(scope))
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tenant({:?})", self.principal)
    }
}
