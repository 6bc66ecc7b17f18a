//! Stops a statement: at its deadline, or when nobody waits for it any more.
//!
//! SQLite calls the progress handler between VM steps, and the handler looks at this. A single
//! function call in SQL is one step: nothing here can cut it short.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rusqlite::Connection;

use super::{memory, pause};
use crate::clock::millis;
use crate::config::Limits;
use crate::error::{ErrorKind, Result};

/// VM steps between two looks at the clock: some tens of microseconds.
const STEPS: i32 = 1_000;
const NEVER: u64 = u64::MAX;

/// Whether somebody still waits for a piece of work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller(Arc<AtomicBool>);

/// What the caller holds while it waits; dropped, it is gone.
pub(crate) struct Waiting(Caller);

impl Caller {
    /// Both sides of it.
    #[must_use]
    pub(crate) fn new() -> (Self, Waiting) {
        let caller = Self::default();
        (caller.clone(), Waiting(caller))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// The deadline, and the caller, of what a connection does at present.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    origin: Instant,
    /// Nanoseconds after `origin`.
    deadline: Arc<AtomicU64>,
    caller: Arc<Mutex<Caller>>,
}

impl Watch {
    /// Installs a watch on `conn`, with no deadline yet.
    pub(super) fn install(conn: &Connection) -> rusqlite::Result<Self> {
        let watch = Self { origin: Instant::now(), deadline: Arc::new(AtomicU64::new(NEVER)), caller: Arc::default() };
        let seen = watch.clone();
        conn.progress_handler(
            STEPS,
            Some(move || {
                pause::between_steps();
                seen.is_over() || seen.caller().is_gone()
            }),
        )?;
        Ok(watch)
    }

    /// Runs `work` within the deadline and the memory of a statement; what SQLite stops then is told as that
    /// limit. When `caller` is gone it is stopped too, and nobody is told.
    pub(super) fn limited<T>(&self, limits: &Limits, caller: Caller, work: impl FnOnce() -> Result<T>) -> Result<T> {
        *self.caller() = caller;
        let within = limits.statement_deadline;
        let at = self.origin.elapsed() + within;
        self.deadline.store(u64::try_from(at.as_nanos()).unwrap_or(NEVER), Ordering::Relaxed);
        let until = Instant::now().checked_add(within);
        let result = memory::within(limits.statement_memory.as_u64(), until, work);
        let over = self.is_over();
        self.deadline.store(NEVER, Ordering::Relaxed);
        *self.caller() = Caller::default();
        match result {
            Err(error) if over && error.kind() == ErrorKind::Limit && error.bound().is_none() => {
                let millis = millis(within);
                let said = format!(
                    "stopped after {millis} ms, nothing was changed: \
                     make it cheaper (an index, a LIMIT, a smaller range) and call again"
                );
                Err(error.reworded(said).with_bound("statement_deadline", millis))
            }
            other => other,
        }
    }

    fn caller(&self) -> MutexGuard<'_, Caller> {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        deadline != NEVER && self.origin.elapsed().as_nanos() >= u128::from(deadline)
    }
}
