//! The host's own database: which tenants there are. It opens no tenant's file.

mod auth;
mod elsewhere;
mod fleet;
mod lifecycle;
mod wakes;

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension};

pub(crate) use auth::IssuedRecord;

use crate::db::{DataDir, open_catalog};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

pub(crate) use fleet::{Fleet, Looked};
pub(crate) use lifecycle::{Forgotten, TenantRecord, TenantState};
pub(crate) use wakes::{Wake, Wakes};

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

    /// The tenant's class, if there is such a tenant and it is neither being made nor being deleted.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn class_of(&self, tenant: &TenantId) -> Result<Option<String>> {
        let conn = self.conn();
        let mut known = conn.prepare_cached("SELECT class FROM tenant WHERE id = ?1 AND state = 0")?;
        Ok(known.query_row([tenant.as_str()], |row| row.get(0)).optional()?)
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

    fn conn(&self) -> MutexGuard<'_, Connection> {
        // A panic in the middle of a statement leaves the connection whole: SQLite rolled back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
