//! Connections that can only read, lent from the few that a tenant has open.

use std::fmt;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};

use super::authorizer::Mode;
use super::open::{Guards, flags, settle};
use super::writer::Gate;
use super::{Caller, FileSettings, limits as bounds, pause};
use crate::config::Limits;
use crate::error::{Error, ErrorKind, Result};

/// A tenant's readers. Opened when first needed, on the thread that reads; at most `limits.readers` of them, for the
/// caller lets no more in at once.
pub(crate) struct Readers {
    idle: Mutex<Idle>,
    path: PathBuf,
    gate: Gate,
    limits: Limits,
}

#[derive(Default)]
struct Idle {
    open: Vec<Reader>,
    /// How often they were shed: one that was lent before is closed when it comes back.
    sheds: u64,
}

/// Nothing any more: readers are opened where they read.
#[derive(Clone)]
pub(crate) struct ReaderThreads;

impl ReaderThreads {
    #[must_use]
    pub(crate) fn start() -> Self {
        Self
    }
}

struct Reader {
    conn: Connection,
    guards: Guards,
}

impl Readers {
    pub(super) fn new(path: &Path, gate: Gate, settings: &FileSettings) -> Self {
        Self { idle: Mutex::default(), path: path.to_path_buf(), gate, limits: settings.limits.clone() }
    }

    /// Closes those that nobody reads with, and the others when they come back.
    pub(crate) fn shed(&self) {
        let old = {
            let mut idle = self.idle();
            idle.sheds += 1;
            mem::take(&mut idle.open)
        };
        // Not under the lock: the last of a tenant closes its files.
        drop(old);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on a reader, inside one read transaction: every statement sees the same state.
    ///
    /// # Errors
    /// What `work` returns; [`ErrorKind::Limit`] past the statement deadline.
    pub(crate) fn read<T>(&self, mode: Mode, caller: Caller, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if caller.is_gone() {
            return Err(Error::new(ErrorKind::Busy, "never begun: the caller is gone"));
        }
        let _open = match self.gate.try_read() {
            Ok(open) => open,
            // The writer empties the log.
            Err(_) => pause::on_disk(|| self.gate.read()).unwrap_or_else(PoisonError::into_inner),
        };
        let (mut reader, sheds) = self.lend()?;
        let Reader { conn, guards: Guards { watch, authorizer } } = &mut reader;
        let tx = conn.transaction()?;
        let result = watch.limited(&self.limits, caller, || authorizer.during(mode, || work(&tx)));
        // Nothing was written; dropping rolls back. A panic of `work` does so too, and closes the reader.
        drop(tx);
        let mut idle = self.idle();
        if idle.sheds == sheds {
            idle.open.push(reader);
        }
        drop(idle);
        result.map_err(|error| bounds::name_bound(error, &self.limits))
    }

    fn lend(&self) -> Result<(Reader, u64)> {
        let sheds = {
            let mut idle = self.idle();
            if let Some(reader) = idle.open.pop() {
                return Ok((reader, idle.sheds));
            }
            idle.sheds
        };
        let opened = self.open().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the tenant's database can't be opened for reading").with_source(error)
        })?;
        Ok((opened, sheds))
    }

    fn open(&self) -> rusqlite::Result<Reader> {
        let conn = Connection::open_with_flags(&self.path, flags() - OpenFlags::SQLITE_OPEN_CREATE)?;
        settle(&conn)?;
        conn.pragma_update(None, "query_only", true)?;
        conn.set_prepared_statement_cache_capacity(16);
        bounds::restrict(&conn, self.limits.value_bytes.as_u64())?;
        // Once per connection, for a new authorizer would make SQLite prepare every cached statement anew.
        let guards = Guards::install(&conn)?;
        Ok(Reader { conn, guards })
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Readers({} idle)", self.idle().open.len())
    }
}
