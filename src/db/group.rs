//! Writes that wait together share one transaction and one fsync, each in a savepoint of its own.
//!
//! [`Writer::group`] is the commit point: whatever has to stand between "committed here" and "told
//! the caller" (a replica, say) belongs between its COMMIT and its answers.
//!
//! A write that SQLite interrupts takes its whole transaction with it (sqlite.org/c3ref/interrupt.html). So
//! what can be run again (an agent's SQL) goes first, and what such a cut undid is run again without it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rusqlite::{Transaction, TransactionBehavior};

use super::authorizer::Mode;
use super::error::{disk_failed, is_disk_failure};
use super::open::Guards;
use super::writer::{Before, Writer, host_objects};
use super::{Caller, Searched, limits, pause, unfold};
use crate::config::Limits;
use crate::error::{Error, ErrorKind, Result};

/// How long a transaction may take before it is committed without those that still wait: what has run
/// must not wait for all that has not.
const SHARED_FOR: Duration = Duration::from_millis(20);

/// A caller's write, as the writer sees it.
pub(crate) trait WriteJob: Send {
    /// On whose behalf it runs.
    fn mode(&self) -> Mode;
    /// Who waits for it, if its leaving is to stop it.
    fn caller(&self) -> Caller;
    /// Asked once, right before it would run: `false` if nobody waits for it any more.
    fn begin(&mut self) -> bool;
    /// Runs it; `Err` undoes what it did and nothing else.
    ///
    /// # Errors
    /// What the caller is to be told.
    fn run(&mut self, tx: &Transaction<'_>) -> Result<()>;
    /// Told after a `run` that changed the schema, and succeeded.
    fn schema_changed(&mut self);
    /// Whether `run` may be called again after what it did was undone.
    fn repeats(&self) -> bool;
    /// Answers the caller: `Ok` if what `run` did is durable, else why it is not.
    fn finish(self: Box<Self>, outcome: Result<()>);
}

pub(crate) type Jobs = Vec<Box<dyn WriteJob>>;

/// A job on its way through one or more transactions.
struct Entry {
    job: Box<dyn WriteJob>,
    begun: bool,
    /// Has a transaction of its own, since one with others failed.
    alone: bool,
    outcome: Result<()>,
}

/// Why nothing of a transaction stands.
enum Fallen {
    /// It never began.
    Begin(Error),
    /// A job took it along: the last one that ran.
    Cut,
    /// It did not commit.
    Commit(Error),
}

impl Fallen {
    fn is_of_the_disk(&self, done: &[Entry]) -> bool {
        match self {
            Self::Begin(error) | Self::Commit(error) => is_disk_failure(error),
            Self::Cut => done.last().is_some_and(Entry::met_a_disk_failure),
        }
    }
}

impl From<Box<dyn WriteJob>> for Entry {
    fn from(job: Box<dyn WriteJob>) -> Self {
        Self { job, begun: false, alone: false, outcome: Ok(()) }
    }
}

impl Entry {
    fn begin(&mut self) -> bool {
        self.begun = self.begun || self.job.begin();
        self.begun
    }

    fn met_a_disk_failure(&self) -> bool {
        self.outcome.as_ref().err().is_some_and(is_disk_failure)
    }

    fn answer(self) {
        self.job.finish(self.outcome);
    }

    /// Answers that it was undone, unless it failed by itself.
    fn undone(self, why: Error) {
        self.job.finish(self.outcome.and(Err(why)));
    }
}

impl Writer {
    /// Runs `jobs`, commits, answers every one of them. `behind` rides along: nobody waits for it. Returns what of
    /// it could not be begun.
    pub(crate) fn group(&mut self, jobs: Jobs, behind: Jobs) -> Jobs {
        self.begins();
        let (again, once): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.repeats());
        let mut waiting: VecDeque<_> = again.into_iter().chain(once).map(Entry::from).collect();
        let mut behind: VecDeque<_> = behind.into_iter().map(Entry::from).collect();
        let mut most = usize::MAX;
        while !self.broken && (!waiting.is_empty() || !behind.is_empty()) {
            let mut done = Vec::new();
            match self.transact(&mut waiting, &mut behind, most, &mut done) {
                Ok(()) => {
                    self.broken |= done.iter().any(Entry::met_a_disk_failure);
                    done.into_iter().for_each(Entry::answer);
                    most = usize::MAX;
                }
                Err(fallen) if fallen.is_of_the_disk(&done) => {
                    self.broken = true;
                    done.into_iter().for_each(|entry| entry.undone(disk_failed()));
                }
                Err(Fallen::Begin(error)) => {
                    waiting.drain(..).for_each(|entry| entry.undone(error.repeat()));
                    break;
                }
                Err(fallen) => {
                    self.before.set(None);
                    most = requeue(&fallen, done, &mut waiting);
                }
            }
        }
        if self.broken {
            waiting.into_iter().for_each(|entry| entry.undone(disk_failed()));
        } else {
            self.checkpoint();
        }
        behind.into_iter().map(|entry| entry.job).collect()
    }

    /// One transaction, of at most `most` of those in front. `Err` means that nothing of it stands.
    fn transact(
        &mut self,
        waiting: &mut VecDeque<Entry>,
        behind: &mut VecDeque<Entry>,
        most: usize,
        done: &mut Vec<Entry>,
    ) -> Result<(), Fallen> {
        let most = if waiting.front().is_some_and(|front| front.alone) { 1 } else { most.min(waiting.len()) };
        // Where they were others' undoing they go by themselves, for a while: a full disk undoes all that writes.
        let ride = most == 0 || !self.behind_alone;
        // A job alone needs no savepoint: what it did is the transaction.
        let shared = most > 1 || (ride && !behind.is_empty());
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.map_err(|error| Fallen::Begin(error.into()))?;
        let here = Here { tx: &tx, guards: &self.guards, limits: &self.limits, before: &self.before };
        let begun = Instant::now();
        while done.len() < most && (done.is_empty() || begun.elapsed() < SHARED_FOR) {
            let Some(mut entry) = waiting.pop_front() else { break };
            if entry.begin() {
                here.run(entry, shared, done)?;
            }
        }
        if let [Entry { outcome: Err(_), .. }] = &done[..]
            && !shared
        {
            return tx.rollback().map_err(|error| Fallen::Commit(error.into()));
        }
        if ride {
            self.behind_alone = true;
            while let Some(mut entry) = behind.pop_front() {
                entry.begin();
                here.run(entry, shared, done)?;
            }
            self.behind_alone = false;
        }
        // Prepared once, which `Transaction::commit` is not. Dropped, a transaction that does not commit is rolled back.
        let committed = pause::on_disk(|| tx.prepare_cached("COMMIT")?.execute([]));
        committed.map(drop).map_err(|error| Fallen::Commit(error.into()))
    }
}

/// What a job runs in.
struct Here<'a> {
    tx: &'a Transaction<'a>,
    guards: &'a Guards,
    limits: &'a Limits,
    before: &'a Cell<Option<Before>>,
}

impl Here<'_> {
    /// Runs one job and adds it to `done`; `Err` if that took the transaction along.
    fn run(&self, mut entry: Entry, shared: bool, done: &mut Vec<Entry>) -> Result<(), Fallen> {
        // Many small jobs are as long as one that is large.
        pause::between_steps();
        let ran = self.savepoint(&mut entry, shared);
        let stands = !self.tx.is_autocommit();
        if entry.outcome.is_ok() && (ran.is_err() || !stands) {
            entry.outcome = ran.and(Err(undone()));
        }
        done.push(entry);
        if stands { Ok(()) } else { Err(Fallen::Cut) }
    }

    fn savepoint(&self, entry: &mut Entry, shared: bool) -> Result<()> {
        if !shared {
            entry.outcome = self.job(&mut *entry.job);
            return Ok(());
        }
        let say = |sql| self.tx.prepare_cached(sql)?.execute([]);
        say("SAVEPOINT _fh_job")?;
        entry.outcome = self.job(&mut *entry.job);
        // An interrupted write or a full disk may make SQLite give up the transaction as a whole.
        if self.tx.is_autocommit() {
            return Ok(());
        }
        if entry.outcome.is_err() {
            say("ROLLBACK TO _fh_job")?;
        }
        say("RELEASE _fh_job")?;
        Ok(())
    }

    fn job(&self, job: &mut dyn WriteJob) -> Result<()> {
        let Guards { authorizer, watch } = self.guards;
        let before = match self.before.get() {
            None if job.mode() == Mode::Tenant => Some(Before::of(self.tx)?),
            before => before,
        };
        self.before.set(before);
        let outcome = watch.limited(self.limits, job.caller(), || {
            let ran = authorizer.during(job.mode(), || unpanicked(|| job.run(self.tx)));
            let defined = authorizer.take_defined();
            if defined && job.mode() == Mode::Embedder {
                self.before.set(None);
            }
            ran?;
            if defined {
                job.schema_changed();
            }
            // SQLite does not tell an authorizer the new name that an ALTER TABLE gives.
            let (altered, created) = (authorizer.take_altered(), authorizer.take_created());
            let was = before.unwrap_or_default();
            if altered && host_objects(self.tx)? != was.host_objects {
                return Err(Error::new(ErrorKind::Forbidden, "names that begin with _fh_ belong to the host"));
            }
            // A view may be older than the table that it searches.
            if (altered || created) && Searched::unseen(self.tx)? > was.unseen {
                let said = "a view or a trigger would search a full-text table in a way that can't be bounded: \
                            drop it first, or give the table another name";
                return Err(Error::new(ErrorKind::Forbidden, said));
            }
            if created {
                limits::check_objects(self.tx, self.limits)?;
            }
            if authorizer.take_viewed() { unfold::check_views(self.tx) } else { Ok(()) }
        });
        outcome.map_err(|error| limits::name_bound(error, self.limits))
    }
}

/// Answers those whose work is lost and puts the others back in front; returns how many of them go first, among
/// themselves, so that what was quick does not wait for more.
fn requeue(fallen: &Fallen, done: Vec<Entry>, waiting: &mut VecDeque<Entry>) -> usize {
    let single = done.len() == 1;
    let mut again = Vec::new();
    for mut entry in done {
        if entry.outcome.is_ok() && entry.job.repeats() && !single {
            // At the commit nobody can say whose fault it was: one by one it shows.
            entry.alone = matches!(fallen, Fallen::Commit(_));
            again.push(entry);
        } else {
            entry.undone(match fallen {
                Fallen::Commit(error) if single || error.kind() != ErrorKind::Invalid => error.repeat(),
                _ => undone(),
            });
        }
    }
    let first = again.len();
    again.into_iter().rev().for_each(|entry| waiting.push_front(entry));
    if first == 0 { usize::MAX } else { first }
}

fn undone() -> Error {
    Error::new(ErrorKind::Busy, "nothing was changed: another call was stopped; call again")
}

/// A panic in a closure costs that call: the savepoint undoes what it did, and the caller is told.
fn unpanicked<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::internal("a closure panicked")))
}
