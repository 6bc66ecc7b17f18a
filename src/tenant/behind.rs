//! Write-behind: the host's own small writes that nobody waits for. They ride in the tenant's next commit.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::db::{Jobs, WriteJob};
use crate::error::{Error, ErrorKind, Result};

/// How long such a write may wait for a commit to ride in: then it gets one of its own.
pub(super) const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// What waits, at most `most` of it.
pub(super) struct Behind {
    state: Mutex<State>,
    most: usize,
    /// Tells the actor that something waits where nothing did.
    arrived: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn WriteJob>>,
    closed: bool,
}

impl Behind {
    pub(super) fn new(most: usize) -> Self {
        Self { state: Mutex::default(), most, arrived: Notify::new() }
    }

    /// Takes a write in.
    pub(super) fn push(&self, job: Box<dyn WriteJob>) -> Result<()> {
        let mut state = self.state();
        if state.closed {
            return Err(Error::new(ErrorKind::Unavailable, "the tenant is being closed; call again")
                .with_retry_after(FLUSH_AFTER));
        }
        if state.waiting.len() >= self.most {
            return Err(Error::busy("behind", self.most as u64, FLUSH_AFTER));
        }
        state.waiting.push_back(job);
        if state.waiting.len() == 1 {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes out what waits, in order.
    pub(super) fn take(&self) -> Jobs {
        std::mem::take(&mut self.state().waiting).into()
    }

    /// Puts back in front what could not be begun; it has been counted once.
    pub(super) fn put_back(&self, jobs: Jobs) {
        if jobs.is_empty() {
            return;
        }
        let mut state = self.state();
        jobs.into_iter().rev().for_each(|job| state.waiting.push_front(job));
        self.arrived.notify_one();
    }

    /// The same as `take`, once and for all: whoever comes later is refused.
    pub(super) fn take_last(&self) -> Jobs {
        let mut state = self.state();
        state.closed = true;
        std::mem::take(&mut state.waiting).into()
    }

    /// Resolves when something has waited for long enough.
    pub(super) async fn overdue(&self) {
        loop {
            while self.is_empty() {
                self.arrived.notified().await;
            }
            tokio::time::sleep(FLUSH_AFTER).await;
            if !self.is_empty() {
                return;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
