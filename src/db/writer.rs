//! The one connection that writes. Here a group of writes becomes durable, and only then is answered.
//!
//! [`Writer::group`] is the commit point: whatever has to stand between "committed here" and "told
//! the caller" (a replica, say) belongs between its COMMIT and its replies.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::authorizer::Mode;
use super::open::Guards;
use super::{FileSettings, limits, pause, unfold};
use crate::config::Limits;
use crate::error::{Error, ErrorKind, Result};

/// The log's size, in bytes, from which on it is copied back into the file: 1,000 pages, SQLite's own
/// habit, but after the replies and not before one.
const CHECKPOINT_FROM: u64 = 4 * 1024 * 1024;

/// A caller's write, as the writer sees it.
pub(crate) trait WriteJob: Send {
    /// On whose behalf it runs.
    fn mode(&self) -> Mode;
    /// Asked once, right before it would run: `false` if nobody waits for it any more.
    fn begin(&mut self) -> bool;
    /// Runs it; `Err` undoes what it did and nothing else.
    ///
    /// # Errors
    /// What the caller is to be told.
    fn run(&mut self, tx: &Transaction<'_>) -> Result<()>;
    /// Answers the caller: `Ok` if what `run` did is durable, else why it is not.
    fn finish(self: Box<Self>, outcome: Result<()>);
}

/// The write connection of one tenant's file.
#[derive(Debug)]
pub(crate) struct Writer {
    conn: Connection,
    guards: Guards,
    wal: PathBuf,
    limits: Limits,
    /// How many schema objects are the host's: what an agent's ALTER TABLE may not change.
    host_objects: i64,
}

impl Writer {
    pub(super) fn new(conn: Connection, wal: PathBuf, settings: &FileSettings) -> Result<Self> {
        let host_objects = host_objects(&conn)?;
        let guards = Guards::install(&conn)?;
        Ok(Self { conn, guards, wal, limits: settings.limits.clone(), host_objects })
    }

    /// Runs `jobs` in order, commits, answers every one of them.
    ///
    /// Jobs share a commit, each in a savepoint, so that one fsync serves them all. An agent's SQL gets
    /// a transaction of its own: cut at its deadline it may take the whole transaction with it
    /// (sqlite.org/c3ref/interrupt.html), and nobody else's write.
    pub(crate) fn group(&mut self, jobs: Vec<Box<dyn WriteJob>>) {
        let mut together = Vec::new();
        for job in jobs {
            if job.mode() == Mode::Tenant {
                self.commit(std::mem::take(&mut together));
                self.commit(vec![job]);
            } else {
                together.push(job);
            }
        }
        self.commit(together);
        self.checkpoint();
    }

    fn commit(&mut self, mut jobs: Vec<Box<dyn WriteJob>>) {
        jobs.retain_mut(|job| job.begin());
        if jobs.is_empty() {
            return;
        }
        let mut outcomes = Vec::with_capacity(jobs.len());
        if let Err(undone) = self.run_all(&mut jobs, &mut outcomes) {
            outcomes.resize_with(jobs.len(), || Ok(()));
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                *outcome = Err(undone.repeat());
            }
        }
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            job.finish(outcome);
        }
    }

    /// One transaction. `Err` means that nothing of it stands.
    fn run_all(&mut self, jobs: &mut [Box<dyn WriteJob>], outcomes: &mut Vec<Result<()>>) -> Result<()> {
        let Guards { authorizer, watch } = &self.guards;
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // A job alone needs no savepoint: what it did is the transaction.
        let shared = jobs.len() > 1;
        for job in jobs {
            // Many small jobs are as long as one that is large.
            pause::between_steps();
            if shared {
                tx.prepare_cached("SAVEPOINT _fh_job")?.execute([])?;
            }
            let outcome = watch.limited(self.limits.statement_deadline, || {
                authorizer.during(job.mode(), || unpanicked(|| job.run(&tx)))?;
                // SQLite does not tell an authorizer the new name that an ALTER TABLE gives.
                if authorizer.take_altered() && host_objects(&tx)? != self.host_objects {
                    return Err(Error::new(ErrorKind::Forbidden, "names that begin with _fh_ belong to the host"));
                }
                if authorizer.take_viewed() { unfold::check_views(&tx) } else { Ok(()) }
            });
            let outcome = outcome.map_err(|error| limits::name_bound(error, &self.limits));
            let failed = outcome.is_err();
            outcomes.push(outcome);
            if tx.is_autocommit() {
                // An interrupted write or a full disk makes SQLite give up the transaction as a whole.
                return Err(Error::new(ErrorKind::Busy, "nothing was changed: another call was stopped; call again"));
            }
            if !shared && failed {
                return Ok(tx.rollback()?);
            }
            if shared && failed {
                tx.prepare_cached("ROLLBACK TO _fh_job")?.execute([])?;
            }
            if shared {
                tx.prepare_cached("RELEASE _fh_job")?.execute([])?;
            }
        }
        Ok(pause::on_disk(|| tx.commit())?)
    }

    /// Copies the log back into the file once it is long. Not forced: a reader may hold it up, and the
    /// next group tries again.
    fn checkpoint(&mut self) {
        let long = fs::metadata(&self.wal).is_ok_and(|wal| wal.len() >= CHECKPOINT_FROM);
        if long && let Err(error) = pause::on_disk(|| self.pragma("PRAGMA wal_checkpoint(PASSIVE)")) {
            tracing::warn!(%error, "checkpoint failed; the log grows until one succeeds");
        }
    }

    /// Copies the log back, empties it and closes the file. The readers must be gone.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when SQLite can't: nothing is lost, the next open replays the log.
    pub(crate) fn close(self) -> Result<()> {
        self.pragma("PRAGMA wal_checkpoint(TRUNCATE)")?;
        self.conn.close().map_err(|(_, error)| error.into())
    }

    fn pragma(&self, sql: &str) -> Result<()> {
        Ok(self.conn.query_row(sql, [], |_| Ok(()))?)
    }
}

/// A panic in a closure costs that call: the savepoint undoes what it did, and the caller is told.
fn unpanicked<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::internal("a closure panicked")))
}

fn host_objects(conn: &Connection) -> Result<i64> {
    Ok(conn.query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_fh\\_%' ESCAPE '\\'", [], |row| {
        row.get(0)
    })?)
}
