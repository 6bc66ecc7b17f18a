//! Connections that can only read, lent from a small pool per tenant.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use r2d2::{Pool, PooledConnection};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use scheduled_thread_pool::ScheduledThreadPool;

use super::authorizer::Mode;
use super::file::TenantFile;
use super::open::{Guards, flags, settle};
use super::{Caller, limits as bounds, pause};
use crate::error::{Error, ErrorKind, Result};

/// The one thread that opens readers for all pools: r2d2 would start three for each.
#[derive(Clone)]
pub(crate) struct ReaderThreads(Arc<ScheduledThreadPool>);

impl ReaderThreads {
    /// Starts the thread.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self(Arc::new(ScheduledThreadPool::builder().num_threads(1).thread_name_pattern("freehold-pool-{}").build()))
    }
}

/// A tenant's readers: the connection that came first while nobody writes, and at most `limits.readers` others, each
/// opened when it is first needed.
pub(crate) struct Readers {
    file: Arc<TenantFile>,
    pool: Mutex<Pool<SqliteConnectionManager>>,
    threads: ReaderThreads,
}

impl Readers {
    pub(super) fn new(file: Arc<TenantFile>, threads: &ReaderThreads) -> Self {
        let pool = Mutex::new(pool(&file, threads));
        Self { file, pool, threads: threads.clone() }
    }

    /// Closes those that nobody reads with, and the others when they come back.
    pub(crate) fn shed(&self) {
        let fresh = pool(&self.file, &self.threads);
        let old = mem::replace(&mut *self.pool(), fresh);
        // Not under the lock: the last of a pool closes its files.
        drop(old);
        self.file.shed();
    }

    fn pool(&self) -> MutexGuard<'_, Pool<SqliteConnectionManager>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on a reader, inside one read transaction: every statement sees the same state.
    /// Blocks until a reader is free; the caller lets in no more than there are readers.
    ///
    /// # Errors
    /// What `work` returns; [`ErrorKind::Limit`] past the statement deadline.
    pub(crate) fn read<T>(&self, mode: Mode, caller: Caller, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if caller.is_gone() {
            return Err(Error::new(ErrorKind::Busy, "never begun: the caller is gone"));
        }
        let gate = self.file.gate();
        let _open = match gate.try_read() {
            Ok(open) => open,
            // The writer empties the log.
            Err(_) => pause::on_disk(|| gate.read()).unwrap_or_else(PoisonError::into_inner),
        };
        if let Some(mut first) = self.file.lend()? {
            let (conn, guards) = first.parts().ok_or_else(|| Error::internal("a connection was lent twice"))?;
            return self.read_with(conn, &guards, mode, caller, work);
        }
        let pool = self.pool().clone();
        let mut conn = pool.get().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the tenant's database can't be opened for reading").with_source(error)
        })?;
        let guards = guards(&mut conn)?;
        self.read_with(&mut conn, &guards, mode, caller, work)
    }

    fn read_with<T>(
        &self,
        conn: &mut Connection,
        Guards { watch, authorizer }: &Guards,
        mode: Mode,
        caller: Caller,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let (tx, limits) = (conn.transaction()?, self.file.limits());
        let result = watch.limited(limits, caller, || authorizer.during(mode, || work(&tx)));
        // Nothing was written; dropping rolls back. A panic of `work` does so too.
        drop(tx);
        result.map_err(|error| bounds::name_bound(error, limits))
    }
}

/// An empty pool, which costs a microsecond.
fn pool(file: &TenantFile, threads: &ReaderThreads) -> Pool<SqliteConnectionManager> {
    let limits = file.limits();
    let value_bytes = limits.value_bytes.as_u64();
    let manager = SqliteConnectionManager::file(file.path())
        .with_flags(flags() - OpenFlags::SQLITE_OPEN_CREATE)
        .with_init(move |conn| {
            settle(conn)?;
            conn.pragma_update(None, "query_only", true)?;
            // Only the writer copies the log back, for it keeps the past: a reader may be the last to close.
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            conn.set_prepared_statement_cache_capacity(16);
            bounds::restrict(conn, value_bytes)
        });
    Pool::builder()
        .max_size(u32::try_from(limits.readers).unwrap_or(u32::MAX))
        .min_idle(Some(0))
        // No reaper: it would wake for every tenant, and hibernation closes readers anyway.
        .idle_timeout(None)
        .max_lifetime(None)
        .test_on_check_out(false)
        .connection_timeout(Duration::from_secs(5))
        .thread_pool(threads.0.clone())
        .build_unchecked(manager)
}

/// The callbacks of a lent connection. Once per connection, for a new authorizer would make SQLite
/// prepare every cached statement anew.
fn guards(conn: &mut PooledConnection<SqliteConnectionManager>) -> Result<Guards> {
    if let Some(guards) = PooledConnection::extensions(conn).get::<Guards>() {
        return Ok(guards.clone());
    }
    let guards = Guards::install(conn)?;
    PooledConnection::extensions_mut(conn).insert(guards.clone());
    Ok(guards)
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Readers({} open)", self.pool().state().connections)
    }
}
