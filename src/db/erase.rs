//! Deleting so that nothing is left of it in the file.
//!
//! With `secure_delete=fast`, the rule of every file here, SQLite overwrites what it deletes inside a page but
//! not a page that it gives up, for that would write the whole of a dropped table anew.

use std::cell::Cell;

use rusqlite::Connection;

use crate::error::Result;

thread_local! {
    /// Whether the log of the file that this thread writes holds what was forgotten.
    static LOG_HOLDS_IT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; the pages that it gives up are overwritten too.
///
/// # Errors
/// What `work` returns.
pub(crate) fn overwriting<T>(conn: &Connection, work: impl FnOnce() -> Result<T>) -> Result<T> {
    conn.pragma_update(None, "secure_delete", true)?;
    let done = work();
    conn.pragma_update(None, "secure_delete", "fast")?;
    done
}

/// As [`overwriting`]; and after the commit the writer empties the log, which holds the pages as they were.
///
/// # Errors
/// What `work` returns.
pub(crate) fn forgetting<T>(conn: &Connection, work: impl FnOnce() -> Result<T>) -> Result<T> {
    LOG_HOLDS_IT.set(true);
    overwriting(conn, work)
}

/// Empties the log of a file that has no writer of its own to do it: it holds pages as they were before they were
/// overwritten. Somebody who reads just now keeps it: then the next checkpoint does it.
///
/// # Errors
/// What SQLite says.
pub(crate) fn emptying_log(conn: &Connection) -> Result<()> {
    Ok(conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

/// Whether something was forgotten on this thread since it was last asked.
pub(super) fn take_forgotten() -> bool {
    LOG_HOLDS_IT.take()
}
