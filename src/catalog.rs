//! The host's own database: which tenants there are. It opens no tenant's file.

mod auth;
mod wakes;

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension};

pub(crate) use auth::IssuedRecord;

use crate::clock::Clock;
use crate::db::{DataDir, open_catalog};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

pub(crate) use wakes::{Wake, Wakes};

/// A tenant as the catalog lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantRecord {
    /// Its name.
    pub id: TenantId,
    /// When it was created, in seconds since 1970.
    pub created_at: u64,
    /// The class whose limits it has.
    pub class: String,
}

/// The list of tenants. Blocking: call it on the executor or in a command.
#[derive(Debug)]
pub(crate) struct Catalog(Mutex<Connection>);

impl Catalog {
    /// Opens `catalog.db`, making it if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: damaged, newer than this program, or out of reach.
    pub(crate) fn open(dir: &DataDir) -> Result<Self> {
        Ok(Self(Mutex::new(open_catalog(dir)?)))
    }

    /// Whether there is such a tenant.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn knows(&self, tenant: &TenantId) -> Result<bool> {
        Ok(self.class_of(tenant)?.is_some())
    }

    /// The tenant's class, if there is such a tenant.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn class_of(&self, tenant: &TenantId) -> Result<Option<String>> {
        let conn = self.conn();
        let mut known = conn.prepare_cached("SELECT class FROM tenant WHERE id = ?1")?;
        Ok(known.query_row([tenant.as_str()], |row| row.get(0)).optional()?)
    }

    /// Enters a tenant of `class`; its file comes with its first request.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when there is one of that name.
    pub(crate) fn create(&self, tenant: &TenantId, class: &str, clock: &dyn Clock) -> Result<()> {
        let created_at = i64::try_from(clock.unix_seconds()).unwrap_or(i64::MAX);
        let made = self.conn().execute(
            "INSERT INTO tenant (id, created_at, class) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            (tenant.as_str(), created_at, class),
        )?;
        match made {
            0 => Err(Error::new(ErrorKind::Conflict, format!("tenant {tenant} is there already"))),
            _ => Ok(()),
        }
    }

    /// Puts a tenant into `class`; its limits are that class's from its next wake on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of that name.
    pub(crate) fn set_class(&self, tenant: &TenantId, class: &str) -> Result<()> {
        let changed = self.conn().execute("UPDATE tenant SET class = ?2 WHERE id = ?1", (tenant.as_str(), class))?;
        match changed {
            0 => Err(Error::new(ErrorKind::NotFound, format!("there is no tenant {tenant}"))),
            _ => Ok(()),
        }
    }

    /// At most `limit` tenants by name, from the one after `after` on.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn list(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantRecord>> {
        let conn = self.conn();
        let mut listed =
            conn.prepare_cached("SELECT id, created_at, class FROM tenant WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let after = after.map_or("", TenantId::as_str);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = listed.query_map((after, limit), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        })?;
        rows.map(|row| {
            let (id, created_at, class) = row?;
            Ok(TenantRecord { id: TenantId::parse(&id)?, created_at: u64::try_from(created_at).unwrap_or(0), class })
        })
        .collect()
    }

    fn conn(&self) -> MutexGuard<'_, Connection> {
        // A panic in the middle of a statement leaves the connection whole: SQLite rolled back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
