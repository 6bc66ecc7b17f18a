//! How far a migration of all tenants came: one row for each tenant that it has looked at.

use rusqlite::{OptionalExtension, Row};

use super::Catalog;
use crate::error::Result;
use crate::id::TenantId;

/// What a migration of the fleet found at one tenant.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Looked {
    /// Which.
    pub tenant: String,
    /// Why it is set aside.
    pub failure: Option<String>,
    /// What of its schema is not as the migrations make it.
    pub drift: Vec<String>,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// The count of it all, for one list of migrations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Fleet {
    /// Tenants there are.
    pub tenants: u64,
    /// Those that are up to date.
    pub done: u64,
    /// Those that could not be brought up to date.
    pub failed: u64,
    /// Those among the done whose schema is not as the migrations make it.
    pub drifted: u64,
}

impl Catalog {
    /// The next tenants, by name, that were not found up to date with `target`; those that failed only if `again`.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn behind(&self, target: &str, after: &str, again: bool, most: usize) -> Result<Vec<TenantId>> {
        let conn = self.conn();
        let mut listed = conn.prepare_cached(
            "SELECT t.id FROM tenant t LEFT JOIN tenant_schema s ON s.tenant = t.id AND s.target = ?1
             WHERE t.id > ?2 AND t.state = 0 AND (s.tenant IS NULL OR (?3 AND s.failure IS NOT NULL))
             ORDER BY t.id LIMIT ?4",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = listed.query_map((target, after, again, most), |row| row.get::<_, String>(0))?;
        rows.map(|id| TenantId::parse(&id?)).collect()
    }

    /// Notes what was found at `tenant`. Nothing if it was deleted meanwhile.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn looked(&self, tenant: &TenantId, target: &str, looked: &Looked) -> Result<()> {
        let drift = (!looked.drift.is_empty()).then(|| serde_json::Value::from(looked.drift.clone()).to_string());
        self.conn()
            .prepare_cached(
                "INSERT INTO tenant_schema (tenant, target, failure, drift, at)
                 SELECT id, ?2, ?3, ?4, ?5 FROM tenant WHERE id = ?1
                 ON CONFLICT (tenant) DO UPDATE SET target = excluded.target, failure = excluded.failure,
                     drift = excluded.drift, at = excluded.at",
            )?
            .execute((tenant.as_str(), target, &looked.failure, drift, i64::try_from(looked.at).unwrap_or(i64::MAX)))?;
        Ok(())
    }

    /// How many are where.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn fleet(&self, target: &str) -> Result<Fleet> {
        let conn = self.conn();
        let counted = conn
            .query_row(
                "SELECT (SELECT count(*) FROM tenant), count(*) FILTER (WHERE failure IS NULL), count(failure), count(drift)
                 FROM tenant_schema WHERE target = ?1",
                [target],
                |row| {
                    let at = |column| row.get::<_, i64>(column).map(|count| u64::try_from(count).unwrap_or(0));
                    Ok(Fleet { tenants: at(0)?, done: at(1)?, failed: at(2)?, drifted: at(3)? })
                },
            )
            .optional()?;
        Ok(counted.unwrap_or_default())
    }

    /// Those with something to tell, by name, from the one after `after` on.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn remarkable(&self, target: &str, after: &str, most: usize) -> Result<Vec<Looked>> {
        let conn = self.conn();
        let mut listed = conn.prepare_cached(
            "SELECT tenant, failure, drift, at FROM tenant_schema
             WHERE target = ?1 AND tenant > ?2 AND (failure IS NOT NULL OR drift IS NOT NULL) ORDER BY tenant LIMIT ?3",
        )?;
        let rows = listed.query_map((target, after, i64::try_from(most).unwrap_or(i64::MAX)), looked)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

fn looked(row: &Row<'_>) -> rusqlite::Result<Looked> {
    let drift: Option<String> = row.get(2)?;
    Ok(Looked {
        tenant: row.get(0)?,
        failure: row.get(1)?,
        drift: drift.and_then(|drift| serde_json::from_str(&drift).ok()).unwrap_or_default(),
        at: row.get::<_, i64>(3).map(|at| u64::try_from(at).unwrap_or(0))?,
    })
}
