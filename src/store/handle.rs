//! `_fh_handle`: ids that stand for something of one caller's, until nobody has used them for a while.

use rusqlite::{Connection, OptionalExtension};

use crate::config::Limits;
use crate::error::{Error, Result};

/// Whose a handle is, and what it is a handle of.
#[derive(Clone, Debug)]
pub(crate) struct Whose {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) kind: String,
}

/// Enters a handle; those that have ended make room first.
pub(crate) fn open(
    conn: &Connection,
    limits: &Limits,
    whose: &Whose,
    id: &str,
    value: &str,
    idle_ms: i64,
    now: i64,
) -> Result<()> {
    check(limits, value)?;
    conn.prepare_cached("DELETE FROM _fh_handle WHERE used_at + idle_ms <= ?1")?.execute([now])?;
    let there: i64 = conn.prepare_cached("SELECT count(*) FROM _fh_handle")?.query_row([], |row| row.get(0))?;
    let most = limits.handles;
    if usize::try_from(there).unwrap_or(usize::MAX) >= most {
        let said = format!("{most} handles are open, as many as may be: close one that is no longer needed");
        return Err(Error::limit("handles", most as u64, said));
    }
    conn.prepare_cached(
        "INSERT INTO _fh_handle (id, issuer, subject, kind, value, created_at, used_at, idle_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)",
    )?
    .execute((id, &whose.issuer, &whose.subject, &whose.kind, value, now, idle_ms))?;
    Ok(())
}

/// What the handle stands for, and when it was last used.
pub(crate) fn get(conn: &Connection, whose: &Whose, id: &str, now: i64) -> Result<Option<(String, i64)>> {
    let mut found = conn.prepare_cached(
        "SELECT value, used_at FROM _fh_handle
         WHERE id = ?1 AND issuer = ?2 AND subject = ?3 AND kind = ?4 AND used_at + idle_ms > ?5",
    )?;
    let whose = (id, &whose.issuer, &whose.subject, &whose.kind, now);
    Ok(found.query_row(whose, |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Notes that it is used; with a `value` for what it stands for from now on.
pub(crate) fn used(conn: &Connection, limits: &Limits, id: &str, value: Option<&str>, now: i64) -> Result<()> {
    value.map_or(Ok(()), |value| check(limits, value))?;
    conn.prepare_cached(
        "UPDATE _fh_handle SET used_at = max(used_at, ?2), value = coalesce(?3, value)
         WHERE id = ?1 AND used_at + idle_ms > ?2",
    )?
    .execute((id, now, value))?;
    Ok(())
}

/// Ends it; whether it was there.
pub(crate) fn close(conn: &Connection, whose: &Whose, id: &str, now: i64) -> Result<bool> {
    let there = get(conn, whose, id, now)?.is_some();
    if there {
        conn.prepare_cached("DELETE FROM _fh_handle WHERE id = ?1")?.execute([id])?;
    }
    Ok(there)
}

/// The handles of that caller and kind, the one used last first.
pub(crate) fn list(conn: &Connection, whose: &Whose, most: usize, now: i64) -> Result<Vec<(String, String)>> {
    let mut listed = conn.prepare_cached(
        "SELECT id, value FROM _fh_handle
         WHERE issuer = ?1 AND subject = ?2 AND kind = ?3 AND used_at + idle_ms > ?4
         ORDER BY used_at DESC, id LIMIT ?5",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = listed
        .query_map((&whose.issuer, &whose.subject, &whose.kind, now, most), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn check(limits: &Limits, value: &str) -> Result<()> {
    let most = limits.handle_bytes.as_u64();
    if value.len() as u64 <= most {
        return Ok(());
    }
    let said = format!(
        "what the handle stands for takes {} bytes of JSON and {most} are allowed: nothing was changed",
        value.len()
    );
    Err(Error::limit("handle_bytes", most, said))
}
