//! `_fh_meta`: single facts about a tenant.

use rusqlite::Connection;

use crate::error::Result;

/// What stands at `key`; `value` from now on, if nothing did.
pub(crate) fn get_or_put(conn: &Connection, key: &str, value: &str) -> Result<String> {
    conn.prepare_cached("INSERT INTO _fh_meta (key, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((key, value))?;
    Ok(conn.prepare_cached("SELECT value FROM _fh_meta WHERE key = ?1")?.query_row([key], |row| row.get(0))?)
}

/// The size of the file, in bytes.
pub(crate) fn file_bytes(conn: &Connection) -> Result<u64> {
    let bytes: i64 = conn
        .prepare_cached("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")?
        .query_row([], |row| row.get(0))?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}
