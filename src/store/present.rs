//! What a tenant's file says of its use: who has a session, when it was last called.

use rusqlite::Connection;

use crate::error::Result;

/// Sessions of older clients, those that rest among them.
pub(crate) fn sessions(conn: &Connection) -> Result<u64> {
    let count: i64 = conn.query_row("SELECT count(*) FROM _fh_session", [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// When the first reminder wants its tenant opened, in milliseconds since 1970. A file that never was a tenant's has
/// none.
pub(crate) fn first_reminder(conn: &Connection) -> Result<Option<i64>> {
    let there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_fh_reminder')";
    if !conn.query_row(there, [], |row| row.get::<_, bool>(0))? {
        return Ok(None);
    }
    Ok(conn.query_row("SELECT min(try_at) FROM _fh_reminder", [], |row| row.get(0))?)
}

/// When a tool was last called, in milliseconds since 1970, as far as the journal knows.
pub(crate) fn last_call(conn: &Connection) -> Result<Option<u64>> {
    let at: Option<i64> = conn
        .query_row("SELECT at_ms FROM _fh_call WHERE id = (SELECT max(id) FROM _fh_call)", [], |row| row.get(0))
        .or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok(None),
            error => Err(error),
        })?;
    Ok(at.and_then(|at| u64::try_from(at).ok()))
}
