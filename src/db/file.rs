//! One tenant's file: how it is opened, and which connections there are. The one that comes first reads until somebody
//! writes, and is the writer's from then on: whoever only reads, or does one thing at a time, needs no second one, whose
//! schema would be read once more. Nothing of it is open while the tenant rests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

use super::checkpoints::bytes_of;
use super::first::{First, Lent, Reading};
use super::history::History;
use super::open::{FileSettings, Guards, connect, wal_of};
use super::writer::Gate;
use super::{Checkpoints, DataDir, LazyWriter, Migrations, ReaderThreads, Readers, Template, Writer, limits, pause};
use crate::config::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// A tenant's file, for the actor and for those who read.
#[derive(Debug)]
pub(crate) struct Database {
    /// The one connection that writes; the actor owns it.
    pub writer: LazyWriter,
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
        settings: FileSettings,
        template: &Template,
        threads: &ReaderThreads,
    ) -> Result<Self> {
        let path = dir.tenant_file(tenant)?;
        let checkpoints = Checkpoints::beside(&path);
        let file = Arc::new(TenantFile {
            path,
            dir: dir.clone(),
            settings,
            template: template.clone(),
            gate: Gate::default(),
            first: First::default(),
        });
        let (bytes, writer) = file.wake().map_err(unopened)?;
        checkpoints.sweep();
        Ok(Self {
            bytes,
            writer: LazyWriter::new(Arc::clone(&file), writer),
            readers: Readers::new(file, threads),
            checkpoints,
            template: template.clone(),
        })
    }
}

/// Where one tenant's file is, and how it is opened.
#[derive(Debug)]
pub(super) struct TenantFile {
    path: PathBuf,
    dir: DataDir,
    settings: FileSettings,
    template: Template,
    gate: Gate,
    first: First,
}

impl TenantFile {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The tenant's bounds.
    pub(super) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Held by whoever reads.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Opens the file for whoever comes, and says how large it is. What a crash left, or what this program adds, is the
    /// writer's business, at once.
    fn wake(&self) -> Result<(u64, Option<Writer>)> {
        pause::on_disk(|| {
            let (conn, is_ready) = self.connect()?;
            let bytes = bytes_of(&conn)?;
            if !is_ready {
                self.first.begin_writing();
                return Ok((bytes, Some(self.write_with(conn, Restricted(false))?)));
            }
            self.first.is(self.reading(conn)?);
            Ok((bytes, None))
        })
    }

    /// A connection to the file, made if it is not there, which this program is not too old for; and whether it can be
    /// read as it is: nothing was left in its log, and it is up to date.
    fn connect(&self) -> Result<(Connection, bool)> {
        self.template.copy_to(&self.path, &self.dir)?;
        let conn = connect(&self.path, self.settings.durability)?;
        let mut is_ready = !log_is_left(&self.path);
        // Closed for being newer than this program, it keeps even the log that its own program left.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !is_ready)?;
        for owner in [&Migrations::of_host(), self.template.app()] {
            is_ready &= owner.check(&conn)? == owner.len();
        }
        Ok((conn, is_ready))
    }

    /// Lets `conn` read and nothing else.
    fn reading(&self, conn: Connection) -> Result<Box<Reading>> {
        limits::restrict(&conn, self.settings.limits.value_bytes.as_u64())?;
        conn.pragma_update(None, "query_only", true)?;
        let guards = Guards::install(&conn)?;
        Ok(Box::new(Reading { conn, guards }))
    }

    /// The writer, with the connection that is there if nobody reads with it. There is one at a time: whose it is sees to
    /// that, and says when it is [`closed`](Self::closed).
    ///
    /// # Errors
    /// As [`Database::open`].
    pub(super) fn writer(&self) -> Result<Writer> {
        let first = self.first.begin_writing();
        let opened = pause::on_disk(|| match first {
            Some(reading) => self.write_with(reading.conn, Restricted(true)),
            None => self.write_with(self.connect()?.0, Restricted(false)),
        });
        opened.map_err(|error| {
            self.closed();
            unopened(error)
        })
    }

    /// Makes `conn` the writer's: takes in what a crash left in the log, and brings the file up to date.
    fn write_with(&self, mut conn: Connection, Restricted(restricted): Restricted) -> Result<Writer> {
        conn.pragma_update(None, "query_only", false)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        let (wal, settings) = (wal_of(&self.path), &self.settings);
        // Before the log is copied back.
        let history = settings.history.as_ref().map(|keep| History::open(keep, &self.path, &wal));
        if log_is_left(&self.path) {
            history.iter().for_each(History::empties);
            take_in_log(&conn)?;
        }
        if let Some(history) = &history {
            history.settled();
        }
        Migrations::of_host().apply(&mut conn)?;
        self.template.app().apply(&mut conn)?;
        // What the program's own migrations may do has no such bounds.
        if !restricted {
            limits::restrict(&conn, settings.limits.value_bytes.as_u64())?;
        }
        // A file that came from elsewhere may have other pages than ours.
        let page = page_size(&conn)?;
        let most = settings.limits.database_bytes.as_u64() / page;
        conn.pragma_update(None, "max_page_count", i64::try_from(most).unwrap_or(i64::MAX))?;
        Writer::new(conn, self.path.clone(), page, Arc::clone(&self.gate), settings, history)
    }

    /// The writer is gone.
    pub(super) fn closed(&self) {
        self.first.end_writing();
    }

    /// Lends the first connection to one who reads, opened if there is none; `None`: there is a writer, or another reads
    /// with it.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub(super) fn lend(&self) -> Result<Option<Lent<'_>>> {
        self.first.lend(|| pause::on_disk(|| self.reading(self.connect()?.0)).map_err(unopened))
    }

    /// Closes the first connection, if nobody has it.
    pub(super) fn shed(&self) {
        pause::on_disk(|| self.first.shed());
    }
}

/// Whether a connection has a tenant's bounds already.
struct Restricted(bool);

/// Whether there is something in the log of the file `path`.
fn log_is_left(path: &Path) -> bool {
    fs::metadata(wal_of(path)).is_ok_and(|log| log.len() > 0)
}

/// The size of a page of the file that `conn` sees, in bytes.
pub(super) fn page_size(conn: &Connection) -> Result<u64> {
    Ok(conn.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))?.unsigned_abs().max(1))
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
