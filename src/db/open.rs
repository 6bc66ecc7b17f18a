//! Opens a file the way every file of this host is opened, and hands out its one writer and its readers.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::authorizer::Authorizer;
use super::history::{History, Keep};
use super::writer::{CHECKPOINT_FROM, Gate};
use super::{Checkpoints, DataDir, Migrations, ReaderThreads, Readers, Template, Watch, Writer, limits, memory, pause};
use crate::config::{Durability, Limits};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

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

/// A tenant's open file.
#[derive(Debug)]
pub(crate) struct Database {
    /// The one connection that writes; the actor owns it.
    pub writer: Writer,
    /// Connections that can only read.
    pub readers: Readers,
    /// Copies of it, as it was.
    pub checkpoints: Checkpoints,
    /// The size of the file, in bytes.
    pub bytes: u64,
    /// What a checkpoint from before has to be brought up to.
    pub template: Template,
}

impl Database {
    /// Opens `tenant`'s file, making it if it is not there, and brings it up to date.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the file is damaged, newer than this program, or can't be reached; it is
    /// left as it is.
    pub(crate) fn open(
        dir: &DataDir,
        tenant: &TenantId,
        settings: &FileSettings,
        template: &Template,
        threads: &ReaderThreads,
    ) -> Result<Self> {
        Self::open_file(dir, tenant, settings, template, threads).map_err(unopened)
    }

    fn open_file(
        dir: &DataDir,
        tenant: &TenantId,
        settings: &FileSettings,
        template: &Template,
        threads: &ReaderThreads,
    ) -> Result<Self> {
        let path = dir.tenant_file(tenant)?;
        let (mut history, mut readers, gate) = (None, None, Gate::default());
        let read = || Readers::new(&path, Arc::clone(&gate), settings, threads);
        let conn = pause::on_disk(|| {
            template.copy_to(&path, dir)?;
            let mut conn = connect(&path, settings.durability)?;
            // Closed for being newer than this program, it keeps even the log that its own program left.
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            let (ours, theirs) = (&Migrations::of_host(), template.app());
            let done = [ours.check(&conn)?, theirs.check(&conn)?];
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
            let wal = wal_of(&path);
            let left = fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0);
            // A log that was left is copied back before anybody reads.
            readers = (!left).then(read);
            // What a crash left in the log, before it is copied back.
            history = settings.history.as_ref().map(|keep| History::open(keep, &path, &wal));
            if left {
                take_in_log(&conn)?;
            }
            if let Some(history) = &history {
                history.settled();
            }
            for (owner, done) in [ours, theirs].into_iter().zip(done) {
                owner.run(&mut conn, done..owner.len())?;
            }
            Result::<Connection>::Ok(conn)
        })?;
        let readers = readers.unwrap_or_else(read);
        let checkpoints = Checkpoints::beside(&path);
        checkpoints.sweep();
        // A file that came from elsewhere may have other pages than ours.
        let page = conn.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))?.unsigned_abs().max(1);
        let pages = settings.limits.database_bytes.as_u64() / page;
        conn.pragma_update(None, "max_page_count", i64::try_from(pages).unwrap_or(i64::MAX))?;
        limits::restrict(&conn, settings.limits.value_bytes.as_u64())?;
        let bytes = conn.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))?.unsigned_abs() * page;
        Ok(Self {
            bytes,
            writer: Writer::new(conn, path.clone(), page, Arc::clone(&gate), settings, history)?,
            readers,
            checkpoints,
            template: template.clone(),
        })
    }
}

/// Copies a log that was left into the file and empties it. A log is left where nobody closed the file: by a
/// crash, or where the disk failed, and then what Linux holds for written has to be written again.
fn take_in_log(conn: &Connection) -> Result<()> {
    let busy = match conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0)) {
        // Nothing is lost by that, and it can still be read.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => false,
        done => done?,
    };
    if busy {
        let said = "the tenant's database is still being read from before; call again";
        return Err(Error::new(ErrorKind::Unavailable, said).with_retry_after(Duration::from_secs(1)));
    }
    Ok(())
}

/// Whatever SQLite says while it opens a file, the caller can only come back later: an operator has to act.
fn unopened(error: Error) -> Error {
    let said = match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Busy => return error,
        ErrorKind::Limit => "the disk is full: the tenant's database can't be opened until an operator makes room",
        _ => "the tenant's database can't be opened at present: an operator has to look at it",
    };
    Error::new(ErrorKind::Unavailable, said).with_source(error)
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
/// As [`Database::open`].
pub(crate) fn open_catalog(dir: &DataDir) -> Result<Connection> {
    open_catalog_with(dir, Durability::Full)
}

/// A copy of the host's own database, brought up to date where it lies.
///
/// # Errors
/// As [`Database::open`].
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
/// As [`Database::open`].
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
