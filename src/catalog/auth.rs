//! What the catalog knows of tokens: what was issued, what was taken back, and in which standing a tenant is.

use std::collections::{HashMap, HashSet};

use rusqlite::{OptionalExtension, Row};

use super::Catalog;
use crate::auth::{ApiKeyRecord, CredentialId, Minted, Standing, TenantStanding};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// Single revocations that may stand at once: each is 32 bytes of every host's memory.
const REVOCATIONS_MAX: i64 = 100_000;
/// How long the log of issued tokens remembers one that has expired.
const REMEMBER_SECONDS: u64 = 30 * 24 * 3600;
/// `last_used` is told to the hour: a write for every call would cost more than the call.
const LAST_USED_SECONDS: u64 = 3600;

/// A line of `freehold token list`.
#[derive(Clone, Debug)]
pub(crate) struct IssuedRecord {
    /// A token's `jti`, or an API key's id: what `freehold token revoke` takes.
    pub id: String,
    /// `jwt` or `key`.
    pub kind: String,
    /// Whose state it opens.
    pub tenant: String,
    /// Who carries it.
    pub subject: String,
    /// What it grants.
    pub scope: String,
    /// When it was issued, in seconds since 1970.
    pub issued_at: u64,
    /// When it ends, if it does.
    pub expires_at: Option<u64>,
    /// When an API key was last used, to the hour.
    pub last_used: Option<u64>,
}

impl Catalog {
    /// A number that changes with what [`Catalog::standing`] returns, whoever changed it.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn standing_changes(&self) -> Result<i64> {
        let conn = self.conn();
        let mut changes = conn.prepare_cached("SELECT changes FROM standing")?;
        Ok(changes.query_row([], |row| row.get(0))?)
    }

    /// All that has been taken back and would otherwise still be good.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn standing(&self, clock: &dyn Clock) -> Result<Standing> {
        let conn = self.conn();
        let mut revoked = conn.prepare_cached("SELECT id FROM revocation WHERE until > ?1")?;
        let revoked = revoked
            .query_map([seconds(clock.unix_seconds())], |row| row.get::<_, CredentialId>(0))?
            .collect::<rusqlite::Result<HashSet<_>>>()?;
        let mut tenants = conn.prepare_cached(
            "SELECT id, suspended, epoch, not_before FROM tenant WHERE suspended <> 0 OR epoch <> 0 OR not_before <> 0
             UNION ALL SELECT id, 0, epoch, not_before FROM tombstone",
        )?;
        let mut rows = tenants.query([])?;
        let mut standing = Standing { revoked, tenants: HashMap::new() };
        while let Some(row) = rows.next()? {
            let tenant = TenantStanding {
                suspended: row.get(1)?,
                epoch: unsigned(row.get(2)?),
                not_before: unsigned(row.get(3)?),
            };
            standing.tenants.insert(TenantId::parse(&row.get::<_, String>(0)?)?, tenant);
        }
        Ok(standing)
    }

    /// The epoch that a token of `tenant` has to carry; 0 for a tenant that is not there yet.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn epoch(&self, tenant: &TenantId) -> Result<u64> {
        let conn = self.conn();
        let sql = "SELECT epoch FROM tenant WHERE id = ?1 UNION ALL SELECT epoch FROM tombstone WHERE id = ?1";
        let epoch = conn.query_row(sql, [tenant.as_str()], |row| row.get(0));
        Ok(unsigned(epoch.optional()?.unwrap_or(0)))
    }

    /// Takes back the token or API key `id` until `until`, when it would have expired.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] when 100,000 stand already.
    pub(crate) fn revoke(&self, id: &CredentialId, until: u64, clock: &dyn Clock) -> Result<()> {
        let conn = self.conn();
        conn.execute("DELETE FROM revocation WHERE until <= ?1", [seconds(clock.unix_seconds())])?;
        let standing: i64 = conn.query_row("SELECT count(*) FROM revocation", [], |row| row.get(0))?;
        if standing >= REVOCATIONS_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                "100,000 revocations stand and no more are kept: take back a tenant's tokens as a whole with \
                 `freehold token revoke --tenant ID`, or retire the key that signed them",
            ));
        }
        conn.execute(
            "INSERT INTO revocation (id, until) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET until = max(until, excluded.until)",
            (id, seconds(until)),
        )?;
        Ok(())
    }

    /// Takes back every token of `tenant`, API keys too.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such tenant.
    pub(crate) fn revoke_tenant(&self, tenant: &TenantId, clock: &dyn Clock) -> Result<()> {
        self.change_tenant(
            tenant,
            "UPDATE tenant SET epoch = epoch + 1, not_before = max(not_before, ?2) WHERE id = ?1",
            seconds(clock.unix_seconds()),
        )
    }

    /// Suspends `tenant`, so that nobody may call, or lets it be called again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such tenant.
    pub(crate) fn suspend(&self, tenant: &TenantId, suspended: bool) -> Result<()> {
        self.change_tenant(tenant, "UPDATE tenant SET suspended = ?2 WHERE id = ?1", i64::from(suspended))
    }

    fn change_tenant(&self, tenant: &TenantId, change: &str, value: i64) -> Result<()> {
        match self.conn().execute(change, (tenant.as_str(), value))? {
            0 => Err(Error::new(ErrorKind::NotFound, format!("there is no tenant {tenant}"))),
            _ => Ok(()),
        }
    }

    /// Enters that a token was issued, and forgets those that are long over.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn enter_token(&self, minted: &Minted, tenant: &TenantId, subject: &str, scope: &str) -> Result<()> {
        let conn = self.conn();
        let forgotten = minted.issued_at.saturating_sub(REMEMBER_SECONDS);
        conn.execute("DELETE FROM issued_token WHERE expires_at < ?1", [seconds(forgotten)])?;
        conn.execute(
            "INSERT INTO issued_token (jti, tenant, subject, scope, kid, issued_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                &minted.jti,
                tenant.as_str(),
                subject,
                scope,
                &minted.kid,
                seconds(minted.issued_at),
                seconds(minted.expires_at),
            ),
        )?;
        Ok(())
    }

    /// Enters a new API key.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn enter_api_key(&self, record: &ApiKeyRecord) -> Result<()> {
        self.conn().execute(
            "INSERT INTO api_key (id, secret, tenant, subject, scope, epoch, created_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            (
                &record.id,
                record.secret,
                &record.tenant,
                &record.subject,
                &record.scope,
                seconds(record.epoch),
                seconds(record.created_at),
                record.expires_at.map(seconds),
            ),
        )?;
        Ok(())
    }

    /// The API key `id`, and notes to the hour that it is used.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn api_key(&self, id: &str, clock: &dyn Clock) -> Result<Option<ApiKeyRecord>> {
        let conn = self.conn();
        let mut found = conn.prepare_cached(
            "SELECT id, secret, tenant, subject, scope, epoch, created_at, expires_at, last_used FROM api_key WHERE id = ?1",
        )?;
        let record = |row: &Row<'_>| {
            Ok((
                ApiKeyRecord {
                    id: row.get(0)?,
                    secret: row.get(1)?,
                    tenant: row.get(2)?,
                    subject: row.get(3)?,
                    scope: row.get(4)?,
                    epoch: unsigned(row.get(5)?),
                    created_at: unsigned(row.get(6)?),
                    expires_at: row.get::<_, Option<i64>>(7)?.map(unsigned),
                },
                row.get::<_, Option<i64>>(8)?.map_or(0, unsigned),
            ))
        };
        let Some((record, last_used)) = found.query_row([id], record).optional()? else {
            return Ok(None);
        };
        let now = clock.unix_seconds();
        if now >= last_used.saturating_add(LAST_USED_SECONDS) {
            conn.execute("UPDATE api_key SET last_used = ?2 WHERE id = ?1", (id, seconds(now)))?;
        }
        Ok(Some(record))
    }

    /// The end of the issued token or API key `id`, and its kind; `None` when it is not known here.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn issued(&self, id: &str) -> Result<Option<IssuedRecord>> {
        let conn = self.conn();
        let mut found = conn.prepare_cached(&format!("{ISSUED} WHERE id = ?1"))?;
        Ok(found.query_row([id], issued).optional()?)
    }

    /// At most `limit` of what was issued, by id from the one after `after` on; of one tenant, or of all.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn list_issued(
        &self,
        tenant: Option<&TenantId>,
        after: &str,
        limit: usize,
    ) -> Result<Vec<IssuedRecord>> {
        let conn = self.conn();
        let mut listed = conn
            .prepare_cached(&format!("{ISSUED} WHERE id > ?1 AND (?2 IS NULL OR tenant = ?2) ORDER BY id LIMIT ?3"))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = listed.query_map((after, tenant.map(TenantId::as_str), limit), issued)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

const ISSUED: &str = "SELECT id, kind, tenant, subject, scope, issued_at, expires_at, last_used FROM (
    SELECT jti AS id, 'jwt' AS kind, tenant, subject, scope, issued_at, expires_at, NULL AS last_used FROM issued_token
    UNION ALL
    SELECT id, 'key', tenant, subject, scope, created_at, expires_at, last_used FROM api_key)";

fn issued(row: &Row<'_>) -> rusqlite::Result<IssuedRecord> {
    Ok(IssuedRecord {
        id: row.get(0)?,
        kind: row.get(1)?,
        tenant: row.get(2)?,
        subject: row.get(3)?,
        scope: row.get(4)?,
        issued_at: unsigned(row.get(5)?),
        expires_at: row.get::<_, Option<i64>>(6)?.map(unsigned),
        last_used: row.get::<_, Option<i64>>(7)?.map(unsigned),
    })
}

fn seconds(moment: u64) -> i64 {
    i64::try_from(moment).unwrap_or(i64::MAX)
}

fn unsigned(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}
