//! The list of tenants from a copy of it that was kept elsewhere, into this one: what is here is not changed by it.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::{Catalog, TenantState};
use crate::db::open_catalog_copy;
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

impl Catalog {
    /// What voids tokens: all that was revoked, and which names were deleted. For whoever brings back tenants, first.
    ///
    /// # Errors
    /// What SQLite says; [`ErrorKind::Unavailable`]: newer than this program.
    pub(crate) fn take_over_standing(&self, copy: &Path) -> Result<()> {
        self.beside(copy, |conn| {
            conn.execute_batch(
                "INSERT OR IGNORE INTO main.revocation SELECT * FROM copy.revocation;
                 INSERT OR IGNORE INTO main.tombstone SELECT * FROM copy.tombstone
                    WHERE id NOT IN (SELECT id FROM main.tenant);",
            )?;
            Ok(())
        })
    }

    /// Enters `tenant` as it is listed in `copy`, with its keys and its standing, as one whose file is about to be put
    /// in its place. `false` if it is not listed there.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn arriving_as(&self, tenant: &TenantId, copy: &Path) -> Result<bool> {
        self.beside(copy, |conn| {
            let tx = conn.transaction()?;
            let columns = "id, created_at, class, suspended, epoch, not_before, state";
            let made = tx.execute(
                &format!(
                    "INSERT OR IGNORE INTO main.tenant ({columns})
                     SELECT id, created_at, class, suspended, epoch, not_before, 1 FROM copy.tenant
                     WHERE id = ?1 AND id NOT IN (SELECT id FROM main.tenant)"
                ),
                [tenant.as_str()],
            )?;
            if made == 1 {
                tx.execute("DELETE FROM main.tombstone WHERE id = ?1", [tenant.as_str()])?;
                for table in ["api_key", "issued_token"] {
                    let sql =
                        format!("INSERT OR IGNORE INTO main.{table} SELECT * FROM copy.{table} WHERE tenant = ?1");
                    tx.execute(&sql, [tenant.as_str()])?;
                }
                // Whoever watches who may call looks again.
                tx.execute("UPDATE main.standing SET changes = changes + 1", [])?;
            }
            tx.commit()?;
            Ok(made == 1)
        })
    }

    /// Who is listed in `copy`, but for those that were just being made, and where each is in its life.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn listed_in(&self, copy: &Path) -> Result<Vec<(TenantId, TenantState)>> {
        self.beside(copy, |conn| {
            let mut listed = conn.prepare("SELECT id, state FROM copy.tenant WHERE state <> 1 ORDER BY id")?;
            let rows = listed.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            rows.map(|row| {
                let (id, state) = row?;
                let state =
                    if state == TenantState::Leaving as i64 { TenantState::Leaving } else { TenantState::Served };
                Ok((TenantId::parse(&id)?, state))
            })
            .collect()
        })
    }

    /// The class of `tenant` as it is listed in `copy`; `None` if it is not.
    ///
    /// # Errors
    /// What SQLite says; [`ErrorKind::Conflict`]: it was being deleted.
    pub(crate) fn class_in(&self, tenant: &TenantId, copy: &Path) -> Result<Option<String>> {
        self.beside(copy, |conn| {
            let mut listed = conn.prepare("SELECT class, state FROM copy.tenant WHERE id = ?1")?;
            let row = listed.query_row([tenant.as_str()], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
            match row.optional()? {
                Some((_, state)) if state == TenantState::Leaving as i64 => {
                    Err(Error::new(ErrorKind::Conflict, format!("tenant {tenant} was being deleted")))
                }
                row => Ok(row.map(|(class, _)| class)),
            }
        })
    }

    fn beside<T>(&self, copy: &Path, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        // Brought up to date first, so that its columns are ours.
        drop(open_catalog_copy(copy)?);
        let mut conn = self.conn();
        conn.execute("ATTACH ?1 AS copy", [copy.to_string_lossy()])?;
        let done = work(&mut conn);
        conn.execute_batch("DETACH copy")?;
        done
    }
}
