//! [`Kv`]: a tenant's keys, for tools and for programs that embed the host.

use rusqlite::Connection;
use serde_json::Value;

use super::Tenant;
use crate::db::Mode;
use crate::error::Result;
use crate::store::kv::{self, KvEntry, KvSet};

/// The tenant's keys: JSON values with a version and, if wished, an end. The same that `kv_get` and its
/// like use, and in the same file as the rest, so that [`Kv::on`] joins them to a transaction.
///
/// ```
/// # use freehold::{KvSet, Result, Tenant};
/// # async fn visit(tenant: Tenant) -> Result<()> {
/// let kv = tenant.kv();
/// kv.set("seen", serde_json::json!({ "times": 1 }), KvSet { ttl_seconds: Some(3600), ..KvSet::default() }).await?;
/// let within = kv.clone();
/// tenant.write(move |tx| {
///     tx.execute("INSERT INTO visit DEFAULT VALUES", [])?;
///     within.on(tx).delete("seen", None)
/// }).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Kv(Tenant);

/// [`Kv`] inside a transaction that is open already.
pub struct KvOn<'a> {
    conn: &'a Connection,
    kv: &'a Kv,
}

impl Tenant {
    /// The tenant's keys.
    #[must_use]
    pub fn kv(&self) -> Kv {
        Kv(self.clone())
    }
}

impl Kv {
    /// The same keys inside the transaction of a [`Tenant::write`], or on the connection of a [`Tenant::read`].
    #[must_use]
    pub fn on<'a>(&'a self, conn: &'a Connection) -> KvOn<'a> {
        KvOn { conn, kv: self }
    }

    /// What `key` (1 to 512 bytes) holds.
    ///
    /// # Errors
    /// As [`Tenant::read`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when `key` is none.
    pub async fn get(&self, key: &str) -> Result<Option<KvEntry>> {
        let (kv, key) = (self.clone(), key.to_owned());
        self.0.read_as(Mode::Host, move |conn| kv.on(conn).get(&key)).await
    }

    /// Sets `key` to `value`, durably; its new version and when it ends, in seconds since 1970.
    ///
    /// # Errors
    /// As [`Tenant::write`]; [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) with the present version when
    /// the key is not at `how.if_version`; [`ErrorKind::Limit`](crate::ErrorKind::Limit) past
    /// `limits.kv_value_bytes`.
    pub async fn set(&self, key: &str, value: Value, how: KvSet) -> Result<(u64, Option<u64>)> {
        let (kv, key) = (self.clone(), key.to_owned());
        self.0.write_as(Mode::Host, move |tx| kv.on(tx).set(&key, &value, how)).await
    }

    /// Deletes `key`; whether it was there.
    ///
    /// # Errors
    /// As [`Kv::set`].
    pub async fn delete(&self, key: &str, if_version: Option<u64>) -> Result<bool> {
        let (kv, key) = (self.clone(), key.to_owned());
        self.0.write_as(Mode::Host, move |tx| kv.on(tx).delete(&key, if_version)).await
    }

    /// At most `most` keys that begin with `prefix`, in the order of their bytes, from the one behind `after`
    /// on; and whether there are more. A page also ends at `limits.result_bytes`.
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn list(&self, prefix: &str, after: Option<&str>, most: usize) -> Result<(Vec<KvEntry>, bool)> {
        let (kv, prefix, after) = (self.clone(), prefix.to_owned(), after.map(str::to_owned));
        self.0.read_as(Mode::Host, move |conn| kv.on(conn).list(&prefix, after.as_deref(), most)).await
    }
}

impl KvOn<'_> {
    /// As [`Kv::get`].
    ///
    /// # Errors
    /// What SQLite says.
    pub fn get(&self, key: &str) -> Result<Option<KvEntry>> {
        kv::get(self.conn, key, self.now())
    }

    /// As [`Kv::set`], durable when the transaction is.
    ///
    /// # Errors
    /// As [`Kv::set`].
    pub fn set(&self, key: &str, value: &Value, how: KvSet) -> Result<(u64, Option<u64>)> {
        kv::set(self.conn, self.kv.0.limits(), self.now(), key, value, how)
    }

    /// As [`Kv::delete`].
    ///
    /// # Errors
    /// As [`Kv::delete`].
    pub fn delete(&self, key: &str, if_version: Option<u64>) -> Result<bool> {
        kv::delete(self.conn, self.now(), key, if_version)
    }

    /// As [`Kv::list`].
    ///
    /// # Errors
    /// What SQLite says.
    pub fn list(&self, prefix: &str, after: Option<&str>, most: usize) -> Result<(Vec<KvEntry>, bool)> {
        let limits = self.kv.0.limits();
        let bytes = usize::try_from(limits.result_bytes.as_u64()).unwrap_or(usize::MAX);
        let most = most.min(limits.result_rows);
        kv::list(self.conn, self.now(), prefix, after, most, bytes)
    }

    fn now(&self) -> u64 {
        self.kv.0.clock().unix_seconds()
    }
}
