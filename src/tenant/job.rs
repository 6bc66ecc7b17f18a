//! One write on its way: the closure, its result, and the caller who waits, has given up, or never waited.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rusqlite::Transaction;
use tokio::sync::{broadcast, oneshot};

use super::news::{Heard, News, SCHEMA};
use crate::db::{Caller, Mode, Waiting, WriteJob};
use crate::error::{Error, Result};

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Decides, once and for both sides, whether a job begins or its caller gives up.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<AtomicU8>);

impl Turn {
    /// The worker's side: `true` if the job is to run now.
    fn begin(&self) -> bool {
        self.0.compare_exchange(WAITING, BEGUN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The caller's side: `true` if the job will never run.
    pub(super) fn give_up(&self) -> bool {
        self.0.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A closure to run inside the writer's transaction.
pub(super) struct Job<T, F> {
    mode: Mode,
    work: F,
    repeats: bool,
    value: Option<T>,
    defined: bool,
    news: broadcast::Sender<Heard>,
    turn: Turn,
    caller: Caller,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Job<T, F> {
    /// The job, and where its caller waits. `repeats`: `work` may run again after it was undone.
    pub(super) fn new(
        mode: Mode,
        repeats: bool,
        work: F,
        news: broadcast::Sender<Heard>,
    ) -> (Self, Turn, Waiting, oneshot::Receiver<Result<T>>) {
        let (reply, answer) = oneshot::channel();
        let turn = Turn::default();
        let (caller, waiting) = Caller::new();
        let (value, defined) = (None, false);
        (Self { mode, work, repeats, value, defined, news, turn: turn.clone(), caller, reply }, turn, waiting, answer)
    }
}

/// `work`, which can run but once, as something that is asked to run.
pub(super) fn once<T>(
    work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send,
) -> impl FnMut(&Transaction<'_>) -> Result<T> + Send {
    let mut work = Some(work);
    move |tx| work.take().ok_or_else(|| Error::internal("a job was run twice"))?(tx)
}

impl<T, F> WriteJob for Job<T, F>
where
    T: Send,
    F: FnMut(&Transaction<'_>) -> Result<T> + Send,
{
    fn mode(&self) -> Mode {
        self.mode
    }

    fn caller(&self) -> Caller {
        // The host's own work is not left half-way for a client that went.
        if self.mode == Mode::Host { Caller::default() } else { self.caller.clone() }
    }

    fn begin(&mut self) -> bool {
        !self.reply.is_closed() && self.turn.begin()
    }

    fn run(&mut self, tx: &Transaction<'_>) -> Result<()> {
        (self.value, self.defined) = (None, false);
        self.value = Some((self.work)(tx)?);
        Ok(())
    }

    fn schema_changed(&mut self) {
        self.defined = true;
    }

    fn repeats(&self) -> bool {
        self.repeats
    }

    fn finish(self: Box<Self>, outcome: Result<()>) {
        let Self { value, reply, defined, news, .. } = *self;
        if defined && outcome.is_ok() {
            // An error says that nobody listens.
            let _ = news.send(Heard::One(News::Resource(SCHEMA.into())));
        }
        let answer = outcome.and_then(|()| value.ok_or_else(|| Error::internal("a job was never run")));
        // A caller who is gone does not learn that its write is durable; that is its choice.
        let _ = reply.send(answer);
    }
}

/// A write of the host's that nobody waits for, and what is done where it fails.
pub(super) struct Later<F, G> {
    pub(super) work: F,
    pub(super) failed: G,
}

impl<F, G> WriteJob for Later<F, G>
where
    F: FnMut(&Transaction<'_>) -> Result<()> + Send,
    G: FnOnce() + Send,
{
    fn mode(&self) -> Mode {
        Mode::Host
    }

    fn caller(&self) -> Caller {
        Caller::default()
    }

    fn begin(&mut self) -> bool {
        true
    }

    fn run(&mut self, tx: &Transaction<'_>) -> Result<()> {
        (self.work)(tx)
    }

    fn schema_changed(&mut self) {}

    fn repeats(&self) -> bool {
        false
    }

    fn finish(self: Box<Self>, outcome: Result<()>) {
        if let Err(error) = outcome {
            tracing::warn!(error = error.chain(), "a write of the host's own that nobody waits for failed");
            (self.failed)();
        }
    }
}
