//! How tenants come to be in the catalog and how they leave it: each a change that a crash leaves whole, or half in
//! a way that the next start sees.

use rusqlite::{OptionalExtension, Row};

use super::Catalog;
use crate::clock::Clock;
use crate::db::{emptying_log, overwriting};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// A tenant as the catalog lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantRecord {
    /// Its name.
    pub id: TenantId,
    /// When it was created, in seconds since 1970.
    pub created_at: u64,
    /// The class whose limits it has.
    pub class: String,
    /// Whether nobody may call it.
    pub suspended: bool,
    /// Where it is in its life.
    pub state: TenantState,
}

/// Where a tenant is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TenantState {
    /// It can be called.
    Served,
    /// A file is being made into it.
    Arriving,
    /// What there is of it is being removed.
    Leaving,
}

/// What the catalog held of a tenant that was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Forgotten {
    /// Entries in the log of issued tokens.
    pub issued_tokens: usize,
    /// API keys, all of them void from now on.
    pub api_keys: usize,
    /// Wake-ups for reminders.
    pub wake_ups: usize,
}

const COLUMNS: &str = "id, created_at, class, suspended, state";

impl Catalog {
    /// Enters a tenant of `class`; its file comes with its first request. Under the name of one that was deleted,
    /// that one's tokens stay void.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when there is one of that name.
    pub(crate) fn create(&self, tenant: &TenantId, class: &str, clock: &dyn Clock) -> Result<()> {
        self.enter(tenant, class, TenantState::Served, clock)
    }

    /// Enters a tenant whose file is about to be put in its place: nobody can call it before
    /// [`Catalog::arrived`].
    ///
    /// # Errors
    /// As [`Catalog::create`].
    pub(crate) fn arriving(&self, tenant: &TenantId, class: &str, clock: &dyn Clock) -> Result<()> {
        self.enter(tenant, class, TenantState::Arriving, clock)
    }

    fn enter(&self, tenant: &TenantId, class: &str, state: TenantState, clock: &dyn Clock) -> Result<()> {
        let created_at = i64::try_from(clock.unix_seconds()).unwrap_or(i64::MAX);
        let mut conn = self.conn();
        let tx = conn.transaction()?;
        let made = tx.execute(
            "INSERT INTO tenant (id, created_at, class, state, epoch, not_before)
             SELECT ?1, ?2, ?3, ?4, coalesce((SELECT epoch FROM tombstone WHERE id = ?1), 0),
                    coalesce((SELECT not_before FROM tombstone WHERE id = ?1), 0)
             WHERE true ON CONFLICT DO NOTHING",
            (tenant.as_str(), created_at, class, state as i64),
        )?;
        if made == 0 {
            return Err(Error::new(ErrorKind::Conflict, format!("tenant {tenant} is there already")));
        }
        tx.execute("DELETE FROM tombstone WHERE id = ?1", [tenant.as_str()])?;
        Ok(tx.commit()?)
    }

    /// The tenant's file is in its place: it can be called.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it is not arriving.
    pub(crate) fn arrived(&self, tenant: &TenantId) -> Result<()> {
        let sql = "UPDATE tenant SET state = 0 WHERE id = ?1 AND state = 1";
        match self.conn().execute(sql, [tenant.as_str()])? {
            0 => Err(there_is_no(tenant)),
            _ => Ok(()),
        }
    }

    /// From here on nobody can call the tenant, and the next start removes what this process does not.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such tenant.
    pub(crate) fn leaving(&self, tenant: &TenantId) -> Result<()> {
        match self.conn().execute("UPDATE tenant SET state = 2 WHERE id = ?1", [tenant.as_str()])? {
            0 => Err(there_is_no(tenant)),
            _ => Ok(()),
        }
    }

    /// Removes what the catalog has of a tenant whose files are gone, overwritten in the catalog's file too. Its
    /// tokens stay void: that it was there is all that stays.
    ///
    /// # Errors
    /// What SQLite says; then the next start does it.
    pub(crate) fn forget(&self, tenant: &TenantId, clock: &dyn Clock) -> Result<Forgotten> {
        let now = i64::try_from(clock.unix_seconds()).unwrap_or(i64::MAX);
        let mut conn = self.conn();
        let tx = conn.transaction()?;
        let forgotten = overwriting(&tx, || {
            let delete = |sql| tx.execute(sql, [tenant.as_str()]);
            let forgotten = Forgotten {
                issued_tokens: delete("DELETE FROM issued_token WHERE tenant = ?1")?,
                api_keys: delete("DELETE FROM api_key WHERE tenant = ?1")?,
                wake_ups: delete("DELETE FROM wake WHERE tenant = ?1")?,
            };
            tx.execute(
                "INSERT INTO tombstone (id, epoch, not_before, deleted_at)
                 SELECT id, epoch + (state <> 1), CASE state WHEN 1 THEN not_before ELSE max(not_before, ?2) END, ?2
                 FROM tenant WHERE id = ?1 AND (state <> 1 OR epoch > 0) ON CONFLICT DO NOTHING",
                (tenant.as_str(), now),
            )?;
            delete("DELETE FROM tenant WHERE id = ?1")?;
            Ok(forgotten)
        })?;
        tx.commit()?;
        emptying_log(&conn)?;
        Ok(forgotten)
    }

    /// Tenants that were being made or deleted when a process ended, at most `most`.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn unfinished(&self, most: usize) -> Result<Vec<TenantRecord>> {
        let conn = self.conn();
        let mut listed = conn.prepare(&format!("SELECT {COLUMNS} FROM tenant WHERE state <> 0 LIMIT ?1"))?;
        let rows = listed.query_map([i64::try_from(most).unwrap_or(i64::MAX)], record)?;
        rows.map(|row| row?).collect()
    }

    /// One tenant.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such tenant.
    pub(crate) fn tenant(&self, tenant: &TenantId) -> Result<TenantRecord> {
        let conn = self.conn();
        let mut found = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM tenant WHERE id = ?1"))?;
        found.query_row([tenant.as_str()], record).optional()?.ok_or_else(|| there_is_no(tenant))?
    }

    /// At most `limit` tenants by name, from the one after `after` on.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn list(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantRecord>> {
        let conn = self.conn();
        let mut listed =
            conn.prepare_cached(&format!("SELECT {COLUMNS} FROM tenant WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
        let after = after.map_or("", TenantId::as_str);
        let rows = listed.query_map((after, i64::try_from(limit).unwrap_or(i64::MAX)), record)?;
        rows.map(|row| row?).collect()
    }

    /// How many tenants there are.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn count(&self) -> Result<u64> {
        let count: i64 = self.conn().query_row("SELECT count(*) FROM tenant", [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Result<TenantRecord>> {
    let (id, created_at): (String, i64) = (row.get(0)?, row.get(1)?);
    let state = match row.get(4)? {
        0 => TenantState::Served,
        1 => TenantState::Arriving,
        _ => TenantState::Leaving,
    };
    let (class, suspended) = (row.get(2)?, row.get(3)?);
    Ok(TenantId::parse(&id).map(|id| TenantRecord {
        id,
        created_at: u64::try_from(created_at).unwrap_or(0),
        class,
        suspended,
        state,
    }))
}

pub(super) fn there_is_no(tenant: &TenantId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no tenant {tenant}"))
}
