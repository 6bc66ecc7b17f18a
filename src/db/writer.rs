//! The one connection that writes: its checkpoints and its end. What it writes is `group`'s business.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::erase::take_forgotten;
use super::error::is_disk_failure;
use super::history::History;
use super::open::{Guards, wal_of};
use super::room::Room;
use super::{FileSettings, Searched, pause};
use crate::config::Limits;
use crate::error::Result;

/// The log's size, in bytes, from which on it is copied back into the file: 1,000 pages, SQLite's own
/// habit, but after the replies and not before one.
pub(super) const CHECKPOINT_FROM: u64 = 4 * 1024 * 1024;

/// The log's size, in bytes, at which no more reads begin until it is empty: readers that overlap keep it from being
/// emptied, and it counts to nobody's database.
const FORCED_FROM: u64 = 32 * 1024 * 1024;

/// What SQLite writes before each page in the log, in bytes (sqlite.org/fileformat2.html#walformat).
const FRAME_HEADER: u64 = 24;

thread_local! {
    /// The pages in the log after the last commit on this thread. Asking the system for the file's size instead costs
    /// as much as the statement did.
    static LOG_PAGES: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Held by whoever reads, and as a whole by the writer who empties the log.
pub(super) type Gate = Arc<RwLock<()>>;

/// The write connection of one tenant's file.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(super) conn: Connection,
    pub(super) guards: Guards,
    pub(super) file: PathBuf,
    gate: Gate,
    /// The size of a page with its header in the log, and of all that is in the log.
    frame_bytes: u64,
    log_bytes: u64,
    room: Room,
    /// The size of the log from which on it is emptied by force: more, where somebody else's reader stood in the way.
    forced_from: u64,
    pub(super) limits: Limits,
    /// What the schema held before agents changed it, once one of them is about to.
    pub(super) before: Cell<Option<Before>>,
    /// Writes that nobody waits for may not share a transaction with those that somebody does.
    pub(super) behind_alone: bool,
    /// The file's past, if it is kept.
    pub(super) history: Option<History>,
    /// The log holds what was forgotten, and is to be emptied.
    forgotten: bool,
    /// The disk failed under it. Linux says so once and holds what it could not write for written, so that
    /// nothing may be tried again on what this connection knows: it is let go of, and the file opened anew.
    pub(super) broken: bool,
}

impl Writer {
    pub(super) fn new(
        conn: Connection,
        file: PathBuf,
        page: u64,
        gate: Gate,
        settings: &FileSettings,
        history: Option<History>,
    ) -> Result<Self> {
        let guards = Guards::install(&conn)?;
        let limits = settings.limits.clone();
        conn.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(Some(pages.unsigned_abs()));
            Ok(())
        }));
        Ok(Self {
            conn,
            guards,
            file,
            gate,
            frame_bytes: page + FRAME_HEADER,
            log_bytes: 0,
            room: Room::default(),
            forced_from: FORCED_FROM,
            limits,
            before: Cell::default(),
            behind_alone: false,
            history,
            forgotten: false,
            broken: false,
        })
    }

    /// Commits come from now on: what the log's length was on this thread was another file's.
    pub(super) fn begins(&self) {
        LOG_PAGES.set(None);
    }

    /// Copies the log back into the file once it is long. Not forced: a reader may hold it up, and the
    /// next group tries again.
    pub(super) fn checkpoint(&mut self) {
        self.forgotten |= take_forgotten();
        if let Some(history) = &mut self.history {
            history.committed();
            history.ship_if_due(&self.conn);
        }
        if self.forgotten {
            self.keep();
            let emptied = pause::on_disk(|| self.empty());
            self.broken |= emptied.as_ref().err().is_some_and(is_disk_failure);
            self.forgotten = !emptied.unwrap_or(false);
            if !self.forgotten {
                self.emptied();
            }
            return;
        }
        if let Some(pages) = LOG_PAGES.take() {
            self.log_bytes = u64::from(pages) * self.frame_bytes;
            self.room.make(|| wal_of(&self.file), self.log_bytes, CHECKPOINT_FROM);
        }
        let bytes = self.log_bytes;
        if bytes >= CHECKPOINT_FROM {
            self.keep();
        }
        if bytes >= self.forced_from {
            return self.empty_by_force(bytes);
        }
        let long = bytes >= CHECKPOINT_FROM;
        if long && let Err(error) = pause::on_disk(|| self.pragma("PRAGMA wal_checkpoint(PASSIVE)")) {
            self.broken |= is_disk_failure(&error);
            tracing::warn!(%error, "checkpoint failed; the log grows until one succeeds");
        }
    }

    /// Empties the log now, or as soon as no reader stands in the way.
    pub(super) fn empty_log(&mut self) {
        self.forgotten = true;
        self.checkpoint();
    }

    /// Lets nobody read until the log is empty. Readers that have begun end at their deadline.
    fn empty_by_force(&mut self, bytes: u64) {
        let emptied = pause::on_disk(|| {
            let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            self.empty()
        });
        match emptied {
            Ok(true) => {
                self.forced_from = FORCED_FROM;
                self.emptied();
            }
            Ok(false) => self.forced_from = bytes.saturating_mul(2),
            Err(error) => {
                self.broken |= is_disk_failure(&error);
                tracing::warn!(%error, "checkpoint failed; the log grows until one succeeds");
            }
        }
    }

    /// The log is empty, and everything is in the file.
    fn emptied(&mut self) {
        self.log_bytes = 0;
        self.room.gone();
        if let Some(history) = &self.history {
            history.settled();
        }
    }

    /// Keeps what is in the log, on the disk, before it may be written over.
    fn keep(&mut self) {
        if let Some(history) = &mut self.history {
            history.ship(&self.conn);
            history.sync();
        }
    }

    /// Copies all of the log, which is kept, into the file. `false`: a reader stood in the way.
    fn empty(&self) -> Result<bool> {
        self.history.iter().for_each(History::empties);
        Ok(self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0))?)
    }

    /// When what was committed has to be kept, if something was.
    pub(crate) fn history_due(&self) -> Option<Duration> {
        self.history.as_ref().and_then(History::due)
    }

    /// Keeps it.
    pub(crate) fn ship(&mut self) {
        if let Some(history) = &mut self.history {
            history.ship(&self.conn);
        }
    }

    /// Whether a whole copy of the file is being made beside it.
    pub(super) fn is_being_copied(&self) -> bool {
        self.history.as_ref().is_some_and(History::is_being_copied)
    }

    /// Whether the disk failed under it, so that it can only be abandoned.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Closes the file and leaves it as it is: the next open copies the log, read anew, into the file.
    pub(crate) fn abandon(self) {
        // If it fails, the log is copied now, from what the failed writes left in memory: no harm on top.
        let _ = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// Lets go of prepared statements and of cached pages.
    pub(crate) fn rest(&self) {
        self.conn.flush_prepared_statement_cache();
        if let Err(error) = self.conn.execute_batch("PRAGMA shrink_memory") {
            tracing::warn!(%error, "a connection keeps its memory");
        }
    }

    /// Copies the log back, empties it and closes the file. The readers must be gone.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) when SQLite can't: nothing is lost, the next open replays the log.
    pub(crate) fn close(mut self) -> Result<()> {
        if let Some(history) = &mut self.history {
            history.finish(&self.conn);
        }
        pause::on_disk(|| {
            self.empty()?;
            let Self { conn, history, .. } = self;
            conn.close().map_err(|(_, error)| error)?;
            history.iter().for_each(History::settled);
            Ok(())
        })
    }

    fn pragma(&self, sql: &str) -> Result<()> {
        Ok(self.conn.query_row(sql, [], |_| Ok(()))?)
    }
}

/// What of a schema no agent may change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    /// How many schema objects are the host's: what an ALTER TABLE may not change.
    pub(super) host_objects: i64,
    /// How many views and triggers search as an agent's may not: the program's own.
    pub(super) unseen: usize,
}

impl Before {
    pub(super) fn of(conn: &Connection) -> Result<Self> {
        Ok(Self { host_objects: host_objects(conn)?, unseen: Searched::unseen(conn)? })
    }
}

pub(super) fn host_objects(conn: &Connection) -> Result<i64> {
    Ok(conn.query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_fh\\_%' ESCAPE '\\'", [], |row| {
        row.get(0)
    })?)
}
