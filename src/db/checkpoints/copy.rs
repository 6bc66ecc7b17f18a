//! A copy of a whole file as it is at one moment, page by page, while its owner goes on writing.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::super::open::{flags, make_private, settle};
use super::super::{Watch, memory, pause};
use crate::error::{Error, ErrorKind, Result};

/// Pages between two looks whether somebody else has his turn: half a megabyte, some tenths of a millisecond.
const PAGES_A_STEP: i32 = 128;

/// Opens a tenant's file to copy from it, beside its owner: in this process or in another.
pub(super) fn open_source(path: &Path) -> Result<Connection> {
    memory::install();
    let conn = Connection::open_with_flags(path, flags() - OpenFlags::SQLITE_OPEN_CREATE)?;
    settle(&conn)?;
    conn.pragma_update(None, "query_only", true)?;
    // The last one to close copies the log into the file: that is its owner's business.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Watch::install(&conn)?;
    Ok(conn)
}

/// Opens a file of ours that nobody else knows yet. If the process falls, it is thrown away: nothing waits for
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

/// Makes `to`, as a whole, what `from` is now. `to` changes at once or not at all.
pub(super) fn copy(from: &Connection, to: &mut Connection) -> Result<()> {
    // One view for all steps: without it a write beside them would have the copy begin anew, each time.
    let view = from.unchecked_transaction()?;
    from.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let backup = Backup::new(from, to)?;
    loop {
        match backup.step(PAGES_A_STEP)? {
            StepResult::Done => break,
            StepResult::More => pause::between_steps(),
            _ => return Err(Error::new(ErrorKind::Unavailable, "the database is held by another program: call again")),
        }
    }
    drop(backup);
    Ok(view.finish()?)
}
