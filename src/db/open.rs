//! How every connection of this host is opened and what it is set to. Who it is for it does not know.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::authorizer::Authorizer;
use super::history::Keep;
use super::writer::CHECKPOINT_FROM;
use super::{DataDir, Migrations, Watch, memory};
use crate::config::{Durability, Limits};
use crate::error::{Error, ErrorKind, Result};

/// How files are opened.
#[derive(Clone, Debug)]
pub(crate) struct FileSettings {
    /// What an acknowledged write has survived.
    pub durability: Durability,
    /// The tenant's bounds.
    pub limits: Limits,
    /// How its past is kept, if it is.
    pub history: Option<Keep>,
}

/// The callbacks of a connection, a writer's or a reader's.
#[derive(Clone, Debug)]
pub(super) struct Guards {
    pub(super) authorizer: Authorizer,
    pub(super) watch: Watch,
}

impl Guards {
    pub(super) fn install(conn: &Connection) -> rusqlite::Result<Self> {
        Ok(Self { authorizer: Authorizer::install(conn)?, watch: Watch::install(conn)? })
    }
}

/// The host's own database, used by the host alone.
///
/// # Errors
/// As [`Database::open`](super::Database::open).
pub(crate) fn open_catalog(dir: &DataDir) -> Result<Connection> {
    open_catalog_with(dir, Durability::Full)
}

/// A copy of the host's own database, brought up to date where it lies.
///
/// # Errors
/// As [`Database::open`](super::Database::open).
pub(crate) fn open_catalog_copy(path: &Path) -> Result<Connection> {
    let mut conn = Connection::open_with_flags(path, flags() - OpenFlags::SQLITE_OPEN_CREATE)?;
    settle(&conn)?;
    conn.pragma_update(None, "journal_mode", "delete")?;
    Migrations::of_catalog().apply(&mut conn)?;
    Ok(conn)
}

/// The same, for what need not survive a loss of power.
///
/// # Errors
/// As [`Database::open`](super::Database::open).
pub(crate) fn open_catalog_with(dir: &DataDir, durability: Durability) -> Result<Connection> {
    let mut conn = connect(&dir.catalog(), durability)?;
    Migrations::of_catalog().apply(&mut conn)?;
    // Nobody looks after this log as a tenant's writer looks after its own.
    conn.pragma_update(None, "wal_autocheckpoint", 1_000)?;
    Ok(conn)
}

pub(super) fn connect(path: &Path, durability: Durability) -> Result<Connection> {
    memory::install();
    make_private(path)?;
    let conn = Connection::open_with_flags(path, flags())?;
    settle(&conn)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    let synchronous = match durability {
        Durability::Full => "full",
        Durability::Normal => "normal",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // The writer checkpoints between replies; on its own SQLite would do it before one.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    // A log that was copied back shrinks to this at the next commit: what commits write until the next checkpoint, for
    // to write over what is there costs less than to let the file grow anew.
    conn.pragma_update(None, "journal_size_limit", CHECKPOINT_FROM.cast_signed())?;
    // What an agent forgets is gone from the file too, not only from its index.
    conn.pragma_update(None, "secure_delete", "fast")?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

/// What every connection is set to, whether it writes or reads.
pub(super) fn settle(conn: &Connection) -> rusqlite::Result<()> {
    // An operator who looks into the file with another program may hold it for a moment.
    conn.busy_timeout(Duration::from_millis(250))?;
    conn.pragma_update(None, "cache_size", -256)?;
    // On disk they would have no bound; in memory a statement has one.
    conn.pragma_update(None, "temp_store", "memory")
}

/// SQLite would make the file readable by whom the umask lets; its log takes over what the file has.
pub(super) fn make_private(path: &Path) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::new(ErrorKind::Unavailable, "a database file can't be made").with_source(error))
        }
        _ => Ok(()),
    }
}

/// No `SQLITE_OPEN_URI`: a path that begins with `file:` is a path. No shared cache. No mutex of
/// SQLite's, since a connection is only ever used by the thread that holds it.
pub(super) fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
}

/// Where SQLite has the log of the file `path`.
pub(super) fn wal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
