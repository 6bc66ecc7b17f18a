//! [`Handles`]: ids that a tool gives out in the place of a session (SEP-2567). What one stands for is a row in the
//! tenant's file, its caller's alone.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use rusqlite::{Connection, Transaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Tenant;
use crate::db::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::random;
use crate::store::handle::{self, Whose};

/// How far the file may be behind about when a handle was used: a read should cost no commit.
const NOTED_EVERY_MS: i64 = 1_000;

/// Handles to values of type `T`: ids that a tool gives to its client, and that bring the value back in later calls.
/// See [`Tenant::handles`].
pub struct Handles<T> {
    tenant: Tenant,
    kind: String,
    idle: Duration,
    of: PhantomData<fn() -> T>,
}

impl Tenant {
    /// Handles to values of type `T`, of the present caller: what a tool gives out where earlier protocols had a
    /// session (SEP-2567). The id is this host's and can't be guessed; another caller's, an unknown, a forged and an
    /// ended one are refused alike. A handle survives restarts. It ends when nobody has used it for
    /// [`Handles::idle_after`], and a tenant has `limits.handles` of them at most.
    ///
    /// ```
    /// use freehold::Tenant;
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Serialize, Deserialize)]
    /// struct Cart {
    ///     items: Vec<String>,
    /// }
    ///
    /// async fn shop(tenant: Tenant) -> freehold::Result<()> {
    ///     let carts = tenant.handles::<Cart>();
    ///     // One tool opens it and returns the id; its description says how long it lives.
    ///     let id = carts.open(&Cart { items: Vec::new() }).await?;
    ///     // Another one takes the id as an argument.
    ///     carts.update(&id, |cart| cart.items.push("milk".to_owned())).await?;
    ///     assert_eq!(carts.get(&id).await?.items, ["milk"]);
    ///     carts.close(&id).await
    /// }
    /// # #[cfg(feature = "testing")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> freehold::Result<()> {
    /// # struct Plain; impl rmcp::ServerHandler for Plain {}
    /// # let host = freehold::TestHost::start(freehold::Host::new(|_tenant| Plain), |_| {})?;
    /// # host.create_tenant("acme")?;
    /// # shop(host.tenant("acme").await?).await?;
    /// # host.close().await;
    /// # Ok(()) }
    /// # #[cfg(not(feature = "testing"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn handles<T: Serialize + DeserializeOwned + Send + 'static>(&self) -> Handles<T> {
        Handles { tenant: self.clone(), kind: String::new(), idle: self.limits().handle_idle, of: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Handles<T> {
    /// The same under a name of their own: a handle to one sort of thing is none to another.
    #[must_use]
    pub fn named(mut self, kind: &str) -> Self {
        kind.clone_into(&mut self.kind);
        self
    }

    /// Handles that are opened from now on end when nobody has used them for `idle`; `limits.handle_idle` is the
    /// most, and what holds without this.
    #[must_use]
    pub fn idle_after(mut self, idle: Duration) -> Self {
        self.idle = idle.min(self.tenant.limits().handle_idle);
        self
    }

    /// Opens a handle to `value`, durably; its id.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`]: `limits.handles` are open, or `value` takes more than `limits.handle_bytes`; or as
    /// [`Tenant::write`].
    pub async fn open(&self, value: &T) -> Result<String> {
        let (id, value) = (fresh_id()?, text(value)?);
        let (whose, limits, now) = (self.whose(), self.tenant.limits().clone(), self.now());
        let (entered, idle) = (id.clone(), i64::try_from(self.idle.as_millis()).unwrap_or(i64::MAX / 2));
        let open = move |tx: &Transaction<'_>| handle::open(tx, &limits, &whose, &entered, &value, idle, now);
        self.tenant.write_as(Mode::Host, open).await?;
        Ok(id)
    }

    /// What `id` stands for. It counts as used.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: there is no such handle of this caller's, whatever the reason; or as
    /// [`Tenant::read`].
    pub async fn get(&self, id: &str) -> Result<T> {
        let (whose, sought, now) = (self.whose(), id.to_owned(), self.now());
        let read = move |conn: &Connection| handle::get(conn, &whose, &sought, now);
        let (value, used_at) = self.tenant.read_as(Mode::Host, read).await?.ok_or_else(unknown)?;
        if now - used_at >= NOTED_EVERY_MS {
            let (id, limits) = (id.to_owned(), self.tenant.limits().clone());
            // If it can't be noted now, the next use notes it.
            let _ = self.tenant.handle.later(move |tx| handle::used(tx, &limits, &id, None, now));
        }
        value_of(&value)
    }

    /// Changes what `id` stands for, durably, and returns what `change` does. Nothing comes between its reading and
    /// its writing.
    ///
    /// # Errors
    /// As [`Handles::get`] and [`Handles::open`].
    pub async fn update<R, F>(&self, id: &str, change: F) -> Result<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut T) -> R + Send + 'static,
    {
        let (whose, id, limits, now) = (self.whose(), id.to_owned(), self.tenant.limits().clone(), self.now());
        let update = move |tx: &Transaction<'_>| {
            let (value, _) = handle::get(tx, &whose, &id, now)?.ok_or_else(unknown)?;
            let mut value: T = value_of(&value)?;
            let told = change(&mut value);
            handle::used(tx, &limits, &id, Some(&text(&value)?), now)?;
            Ok(told)
        };
        self.tenant.write_as(Mode::Host, update).await
    }

    /// Ends a handle, durably.
    ///
    /// # Errors
    /// As [`Handles::get`]; or as [`Tenant::write`].
    pub async fn close(&self, id: &str) -> Result<()> {
        let (whose, id, now) = (self.whose(), id.to_owned(), self.now());
        let close = move |tx: &Transaction<'_>| handle::close(tx, &whose, &id, now);
        if self.tenant.write_as(Mode::Host, close).await? { Ok(()) } else { Err(unknown()) }
    }

    /// The caller's handles with what they stand for, at most `most`, the one that was used last first. They do not
    /// count as used by it.
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn list(&self, most: usize) -> Result<Vec<(String, T)>> {
        let (whose, now) = (self.whose(), self.now());
        let listed = self.tenant.read_as(Mode::Host, move |conn| handle::list(conn, &whose, most, now)).await?;
        Ok(listed.into_iter().filter_map(|(id, value)| Some((id, value_of(&value).ok()?))).collect())
    }

    fn whose(&self) -> Whose {
        let caller = self.tenant.principal();
        Whose { issuer: caller.issuer().to_owned(), subject: caller.subject().to_owned(), kind: self.kind.clone() }
    }

    fn now(&self) -> i64 {
        self.tenant.clock().unix_millis()
    }
}

impl<T> Clone for Handles<T> {
    fn clone(&self) -> Self {
        Self { tenant: self.tenant.clone(), kind: self.kind.clone(), idle: self.idle, of: PhantomData }
    }
}

impl<T> fmt::Debug for Handles<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handles({:?}, {:?})", self.kind, self.tenant)
    }
}

/// One answer, whatever the reason: who guesses learns nothing.
fn unknown() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such handle, or its time is over: get a new one")
}

fn text<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("a handle's value is no JSON").with_source(error))
}

/// What does not read as a `T` was opened as something else.
fn value_of<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| unknown())
}

/// 128 random bits. That it is its owner's is checked all the same.
fn fresh_id() -> Result<String> {
    Ok(format!("h-{:032x}", u128::from_be_bytes(random::bytes()?)))
}
