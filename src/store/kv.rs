//! `_fh_kv`: JSON values by key, with versions and an end.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use crate::config::Limits;
use crate::error::{Error, ErrorKind, Result};

/// A key, in bytes of UTF-8.
pub(crate) const KEY_BYTES: usize = 512;
/// Keys whose time is over that one write clears away: more than it can add.
const SWEPT_AT_ONCE: i64 = 16;

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KvEntry {
    /// Its name: 1 to 512 bytes.
    pub key: String,
    /// What it holds.
    pub value: Value,
    /// Counts every change of any key in this tenant, from 1 on: never the same twice.
    pub version: u64,
    /// When it ends, in seconds since 1970.
    pub expires_at: Option<u64>,
}

/// How a key is to be set.
#[derive(Clone, Copy, Debug, Default)]
pub struct KvSet {
    /// Seconds after which it is gone.
    pub ttl_seconds: Option<u64>,
    /// The version that it has to be at, or 0: it must not be there. Else nothing is changed.
    pub if_version: Option<u64>,
}

/// A key of `key`'s name, unless its time is over by `now`.
pub(crate) fn get(conn: &Connection, key: &str, now: u64) -> Result<Option<KvEntry>> {
    check_key(key)?;
    let mut found = conn.prepare_cached(
        "SELECT key, value, version, expires_at FROM _fh_kv WHERE key = ?1 AND coalesce(expires_at, ?2 + 1) > ?2",
    )?;
    Ok(found.query_row((key, signed(now)), entry).optional()?)
}

/// Sets `key`; its new version and end.
pub(crate) fn set(
    conn: &Connection,
    limits: &Limits,
    now: u64,
    key: &str,
    value: &Value,
    how: KvSet,
) -> Result<(u64, Option<u64>)> {
    check_key(key)?;
    let text = value.to_string();
    let most = limits.kv_value_bytes.as_u64();
    if text.len() as u64 > most {
        let size = text.len();
        return Err(Error::limit(
            "kv_value_bytes",
            most,
            format!(
                "the value takes {size} bytes of JSON and {most} are allowed: nothing was set; split it over several keys"
            ),
        ));
    }
    if how.ttl_seconds == Some(0) {
        return Err(Error::invalid("ttl_seconds is 0: pass 1 or more, or delete the key"));
    }
    expect_version(conn, key, now, how.if_version)?;
    sweep(conn, now)?;
    let mut counted = conn.prepare_cached("UPDATE _fh_kv_version SET last = last + 1 RETURNING last")?;
    let version: i64 = counted.query_row([], |row| row.get(0))?;
    let expires_at = how.ttl_seconds.map(|ttl| now.saturating_add(ttl).min(i64::MAX as u64));
    conn.prepare_cached(
        "INSERT INTO _fh_kv (key, value, version, expires_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key)
         DO UPDATE SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at",
    )?
    .execute((key, text, version, expires_at.map(signed)))?;
    Ok((unsigned(version), expires_at))
}

/// Deletes `key`; whether it was there.
pub(crate) fn delete(conn: &Connection, now: u64, key: &str, if_version: Option<u64>) -> Result<bool> {
    check_key(key)?;
    let there = expect_version(conn, key, now, if_version)?;
    conn.prepare_cached("DELETE FROM _fh_kv WHERE key = ?1")?.execute([key])?;
    sweep(conn, now)?;
    Ok(there)
}

/// The keys that begin with `prefix` in the order of their bytes, from the one behind `after` on: at most
/// `most`, and no more than `bytes` of them but for the first. And whether there are more.
pub(crate) fn list(
    conn: &Connection,
    now: u64,
    prefix: &str,
    after: Option<&str>,
    most: usize,
    bytes: usize,
) -> Result<(Vec<KvEntry>, bool)> {
    let mut listed = conn.prepare_cached(
        "SELECT key, value, version, expires_at FROM _fh_kv
         WHERE key >= ?1 AND key > ?2 AND coalesce(expires_at, ?3 + 1) > ?3 ORDER BY key",
    )?;
    // No key is empty, so that all are behind the empty one.
    let mut rows = listed.query((prefix, after.unwrap_or_default(), signed(now)))?;
    let (mut told, mut size) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let next = entry(row)?;
        if !next.key.starts_with(prefix) {
            break;
        }
        size += next.key.len() + row.get_ref(1)?.as_str().map_or(0, str::len) + 64;
        if told.len() == most || (size > bytes && !told.is_empty()) {
            return Ok((told, true));
        }
        told.push(next);
    }
    Ok((told, false))
}

/// Fails unless the key is at `wanted`; whether it is there.
fn expect_version(conn: &Connection, key: &str, now: u64, wanted: Option<u64>) -> Result<bool> {
    let mut found =
        conn.prepare_cached("SELECT version FROM _fh_kv WHERE key = ?1 AND coalesce(expires_at, ?2 + 1) > ?2")?;
    let present: Option<i64> = found.query_row((key, signed(now)), |row| row.get(0)).optional()?;
    let conflict = |said| Err(Error::new(ErrorKind::Conflict, said));
    match (wanted, present.map(unsigned)) {
        (None, present) => Ok(present.is_some()),
        (Some(0), None) => Ok(false),
        (Some(wanted), Some(present)) if wanted == present => Ok(true),
        (Some(0), Some(present)) => conflict(format!(
            "nothing was changed: the key is there, at version {present}, and if_version 0 wants it absent; \
             read it, then decide"
        )),
        (Some(wanted), Some(present)) => conflict(format!(
            "nothing was changed: the key is at version {present} and not at {wanted}; read it, then decide"
        )),
        (Some(wanted), None) => conflict(format!(
            "nothing was changed: the key is not there (deleted or expired), and if_version is {wanted}; \
             pass 0 to create it"
        )),
    }
}

fn sweep(conn: &Connection, now: u64) -> Result<()> {
    conn.prepare_cached(
        "DELETE FROM _fh_kv WHERE rowid IN (SELECT rowid FROM _fh_kv WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
    )?
    .execute((signed(now), SWEPT_AT_ONCE))?;
    Ok(())
}

fn check_key(key: &str) -> Result<()> {
    match key.len() {
        0 => Err(Error::invalid("key is empty: pass 1 to 512 bytes")),
        1..=KEY_BYTES => Ok(()),
        size => Err(Error::invalid(format!("key takes {size} bytes and {KEY_BYTES} are allowed"))),
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<KvEntry> {
    let text = row.get_ref(1)?.as_str()?;
    let value = serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into()))?;
    let expires_at = row.get::<_, Option<i64>>(3)?.map(unsigned);
    Ok(KvEntry { key: row.get(0)?, value, version: unsigned(row.get(2)?), expires_at })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
