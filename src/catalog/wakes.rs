//! Which tenant has to be opened when, for its reminders. It knows no reminder.
//!
//! An entry stands **no later** than the first reminder in the tenant's file. So it is put forward, durably,
//! before the tenant's own commit, and put off after it; a crash between the two costs one opening for
//! nothing. Both are called from inside the tenant's writer, which does one thing at a time: that is what
//! keeps a reminder that is being set from being overlooked by a wake-up that ends.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension};
use tokio::sync::Notify;

use crate::config::Durability;
use crate::db::{DataDir, open_catalog_with};
use crate::error::Result;
use crate::id::TenantId;

/// The index of wake-ups. Blocking: call it on the executor.
#[derive(Debug)]
pub(crate) struct Wakes {
    connections: Mutex<Connections>,
    changed: Notify,
}

#[derive(Debug)]
struct Connections {
    /// fsyncs: for an entry that is put forward.
    durable: Connection,
    /// Does not: an entry that is put off may be forgotten.
    loose: Connection,
}

impl Wakes {
    /// Opens the index in `catalog.db`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable): damaged, or out of reach.
    pub(crate) fn open(dir: &DataDir) -> Result<Self> {
        let durable = open_catalog_with(dir, Durability::Full)?;
        let loose = open_catalog_with(dir, Durability::Normal)?;
        Ok(Self { connections: Mutex::new(Connections { durable, loose }), changed: Notify::new() })
    }

    /// Has `tenant` opened at `at` at the latest. Durable when this returns.
    ///
    /// # Errors
    /// What SQLite says: then nothing that counts on it may be committed.
    pub(crate) fn no_later_than(&self, tenant: &TenantId, at: i64) -> Result<()> {
        let connections = self.connections();
        connections
            .durable
            .prepare_cached(
                "INSERT INTO wake (tenant, due_at) VALUES (?1, ?2)
                 ON CONFLICT (tenant) DO UPDATE SET due_at = min(due_at, excluded.due_at)",
            )?
            .execute((tenant.as_str(), at))?;
        drop(connections);
        self.changed.notify_one();
        Ok(())
    }

    /// Puts `tenant`'s entry off until `at`, or strikes it out: after what was due has been done.
    ///
    /// # Errors
    /// What SQLite says; the entry is then still there, and the tenant is opened once more.
    pub(crate) fn put_off(&self, tenant: &TenantId, at: Option<i64>) -> Result<()> {
        let connections = self.connections();
        match at {
            Some(at) => connections
                .loose
                .prepare_cached("UPDATE wake SET due_at = ?2 WHERE tenant = ?1")?
                .execute((tenant.as_str(), at))?,
            None => {
                connections.loose.prepare_cached("DELETE FROM wake WHERE tenant = ?1")?.execute([tenant.as_str()])?
            }
        };
        Ok(())
    }

    /// Puts off an entry that stands as it was seen: for a tenant that can't be opened now.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn try_again(&self, wake: &Wake, at: i64) -> Result<()> {
        self.connections()
            .loose
            .prepare_cached("UPDATE wake SET due_at = ?3 WHERE tenant = ?1 AND due_at = ?2")?
            .execute((wake.tenant.as_str(), wake.due_at, at))?;
        Ok(())
    }

    /// The first `most` wake-ups up to `until`, the earliest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn due(&self, until: i64, most: usize) -> Result<Vec<Wake>> {
        let connections = self.connections();
        let mut due = connections
            .loose
            .prepare_cached("SELECT tenant, due_at FROM wake WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2")?;
        let rows = due.query_map((until, i64::try_from(most).unwrap_or(i64::MAX)), |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?))
        })?;
        rows.map(|row| {
            let (tenant, due_at) = row?;
            Ok(Wake { tenant: TenantId::parse(&tenant)?, due_at })
        })
        .collect()
    }

    /// The first moment after `after` for which there is an entry.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn next(&self, after: i64) -> Result<Option<i64>> {
        let connections = self.connections();
        let mut next =
            connections.loose.prepare_cached("SELECT due_at FROM wake WHERE due_at > ?1 ORDER BY due_at LIMIT 1")?;
        Ok(next.query_row([after], |row| row.get(0)).optional()?)
    }

    /// Returns when an entry was put forward since the last time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        // A panic in the middle of a statement leaves the connection whole: SQLite rolled back.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wake {
    /// Who.
    pub tenant: TenantId,
    /// When, in milliseconds since 1970.
    pub due_at: i64,
}
