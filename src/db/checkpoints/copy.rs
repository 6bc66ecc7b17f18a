//! How the two ends of a copy are opened: a tenant's file, beside its owner, and one that nobody else knows yet.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::super::open::{flags, make_private, settle};
use super::super::{Watch, memory};
use crate::error::Result;

/// Opens a tenant's file to copy from it, beside its owner: in this process or in another.
pub(in crate::db) fn open_source(path: &Path) -> Result<Connection> {
    memory::install();
    let conn = Connection::open_with_flags(path, flags() - OpenFlags::SQLITE_OPEN_CREATE)?;
    settle(&conn)?;
    conn.pragma_update(None, "query_only", true)?;
    // The last one to close copies the log into the file: that is its owner's business.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Watch::install(&conn)?;
    Ok(conn)
}

/// Opens a file of ours that nobody else knows yet. If the process falls, it is thrown away: SQLite does not wait for
/// the disk.
pub(super) fn open_draft(path: &Path) -> Result<Connection> {
    memory::install();
    make_private(path)?;
    let conn = Connection::open_with_flags(path, flags())?;
    settle(&conn)?;
    conn.pragma_update(None, "synchronous", "off")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    Watch::install(&conn)?;
    Ok(conn)
}
