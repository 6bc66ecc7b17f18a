//! The tenant's actor: a mailbox, the writer that it owns, and a task that keeps its times. Whoever puts something
//! in where nothing was under way lends the writer to a thread for SQL, which commits what waits together, answers,
//! and looks again before it gives the writer back. It knows nothing of what is written.

use std::collections::VecDeque;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::behind::Behind;
use super::executor::{Credit, Executor};
use crate::db::{Jobs, LazyWriter, WriteJob, Writer};
use crate::error::{Error, Result};

/// Groups that one turn on a thread commits at most: then others get theirs, and the tenant's account is looked at.
const GROUPS_A_TURN: usize = 8;

/// What is lent the writer.
type Borrow = Box<dyn FnOnce(&mut Writer) + Send>;

/// What can be asked of the actor.
pub(super) enum Message {
    /// Run this and answer after the commit.
    Write(Box<dyn WriteJob>),
    /// Let this have the writer, between two commits.
    Lend(Borrow),
    /// Close the file until somebody writes again; this falls when that is done.
    Rest(oneshot::Sender<()>),
}

/// Why a message was not taken in.
pub(super) enum Refused {
    /// As many wait as may.
    Full,
    /// The actor ends, or has ended.
    Closed,
}

/// Where the actor's messages are put. As it falls, the actor does what waits and closes the file.
pub(super) struct Mailbox(Arc<Actor>);

struct Actor {
    state: Mutex<State>,
    /// Messages that may wait.
    length: usize,
    behind: Arc<Behind>,
    executor: Executor,
    credit: Arc<Credit>,
    /// Tells the task that `due` has come or gone.
    timed: Notify,
    ended: watch::Sender<bool>,
}

struct State {
    waiting: VecDeque<Message>,
    /// At home while no thread has it.
    writer: Option<Box<LazyWriter>>,
    /// Nothing more is taken in. What waits is still done, unless the writer is broken.
    closed: bool,
    /// Wants to know how the file was closed.
    closing: Option<oneshot::Sender<Result<()>>>,
    /// When what was committed has to be kept, if something was.
    due: Option<Instant>,
}

impl Mailbox {
    /// Starts the actor that owns `writer`, with room for `length` messages.
    pub(super) fn start(
        writer: LazyWriter,
        behind: Arc<Behind>,
        length: usize,
        executor: Executor,
        credit: Arc<Credit>,
    ) -> Self {
        let writer = Some(Box::new(writer));
        let state = State { waiting: VecDeque::new(), writer, closed: false, closing: None, due: None };
        let (state, timed, ended) = (Mutex::new(state), Notify::new(), watch::Sender::new(false));
        let actor = Arc::new(Actor { state, length, behind, executor, credit, timed, ended });
        tokio::spawn(keep_time(Arc::clone(&actor)));
        Self(actor)
    }

    /// Puts `message` in and waits for nothing.
    pub(super) fn post(&self, message: Message) -> Result<(), Refused> {
        let mut state = self.0.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.waiting.len() >= self.0.length {
            return Err(Refused::Full);
        }
        state.waiting.push_back(message);
        self.0.begin(state);
        Ok(())
    }

    /// Whether nothing is taken in any more.
    pub(super) fn is_closed(&self) -> bool {
        self.0.state().closed
    }

    /// Does what waits, closes the file and says how that went; where that was begun before, only waits for it.
    ///
    /// # Errors
    /// As [`Writer::close`].
    pub(super) async fn close(&self) -> Result<()> {
        let (done, closed) = oneshot::channel();
        self.0.close(Some(done));
        match closed.await {
            Ok(closed) => closed,
            // Closed for another, or lost.
            Err(_) => {
                // An error says that the actor is gone, and it is not.
                let _ = self.0.ended.subscribe().wait_for(|ended| *ended).await;
                Ok(())
            }
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.0.close(None);
    }
}

/// Begins a turn where something has waited for long enough that no caller waits for.
async fn keep_time(actor: Arc<Actor>) {
    let mut ended = actor.ended.subscribe();
    let mut overdue = pin!(actor.behind.overdue());
    loop {
        let due = actor.state().due;
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => return,
            () = &mut overdue => overdue.set(actor.behind.overdue()),
            () = actor.timed.notified() => continue,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        let mut state = actor.state();
        state.due = None;
        actor.begin(state);
    }
}

impl Actor {
    /// Begins a turn, unless one is under way, which sees for itself what has come.
    fn begin(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let writer = state.writer.take();
        // The executor may drop the turn where it stands, and that looks at the state.
        drop(state);
        if let Some(writer) = writer {
            self.submit(writer);
        }
    }

    fn submit(self: &Arc<Self>, writer: Box<LazyWriter>) {
        let turn = Turn { actor: Arc::clone(self), writer: Some(writer), over: false };
        self.executor.begin(&self.credit, move || turn.run());
    }

    fn close(self: &Arc<Self>, done: Option<oneshot::Sender<Result<()>>>) {
        let mut state = self.state();
        if mem::replace(&mut state.closed, true) {
            return;
        }
        state.closing = done;
        self.begin(state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits what waits together. `false`: there was nothing.
    fn group(&self, lazy: &mut LazyWriter) -> bool {
        let (jobs, borrows, rests) = self.take();
        let behind = self.behind.take();
        let idle = jobs.is_empty() && behind.is_empty() && borrows.is_none();
        if idle {
            lazy.ship_if_due();
        } else {
            match lazy.get() {
                Ok(writer) => self.commit(writer, jobs, behind, borrows),
                Err(error) => self.refuse(&error, jobs, behind),
            }
        }
        if rests.is_some() {
            lazy.rest();
        }
        !idle
    }

    fn commit(&self, writer: &mut Writer, jobs: Jobs, behind: Jobs, borrows: Option<Borrow>) {
        let unbegun = writer.group(jobs, behind);
        self.behind.put_back(unbegun);
        if let Some(borrows) = borrows.filter(|_| !writer.is_broken()) {
            borrows(writer);
        }
    }

    /// The file can't be opened: nothing of `jobs` was begun. Who wanted to borrow is answered by the fall of that.
    fn refuse(&self, error: &Error, jobs: Jobs, behind: Jobs) {
        jobs.into_iter().for_each(|job| job.finish(Err(error.repeat())));
        self.behind.put_back(behind);
    }

    /// Takes out what goes into the next commit, who has the writer after it, and who waits for it to rest.
    fn take(&self) -> (Jobs, Option<Borrow>, Option<oneshot::Sender<()>>) {
        let mut state = self.state();
        let (mut jobs, mut rests) = (Vec::with_capacity(state.waiting.len()), None);
        while let Some(message) = state.waiting.pop_front() {
            match message {
                Message::Write(job) => jobs.push(job),
                Message::Lend(borrows) => return (jobs, Some(borrows), rests),
                Message::Rest(rested) => rests = Some(rested),
            }
        }
        (jobs, None, rests)
    }

    /// Nothing comes in any more: what still waits is answered by its fall.
    fn end(&self, closed: Result<()>) {
        let mut state = self.state();
        state.closed = true;
        let (unanswered, closing) = (mem::take(&mut state.waiting), state.closing.take());
        drop(state);
        drop(unanswered);
        if let Err(error) = &closed {
            tracing::warn!(
                error = error.chain(),
                "a tenant's file was not closed cleanly; the next open replays its log"
            );
        }
        if let Some(closing) = closing {
            // Who asked may be gone.
            let _ = closing.send(closed);
        }
        self.ended.send_replace(true);
    }
}

/// The writer on its way to a thread, and back.
struct Turn {
    actor: Arc<Actor>,
    writer: Option<Box<LazyWriter>>,
    /// The writer is home again, on its next way, or closed.
    over: bool,
}

impl Turn {
    /// Commits group after group until nothing waits or the turn is over.
    fn run(mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        for _ in 0..GROUPS_A_TURN {
            let begun = Instant::now();
            if writer.is_broken() || !self.actor.group(&mut writer) {
                break;
            }
            self.actor.executor.give_way(&self.actor.credit, begun.elapsed());
        }
        self.back(writer);
        self.over = true;
    }

    /// Gives the writer back, takes it along for another turn, or closes the file.
    fn back(&self, writer: Box<LazyWriter>) {
        let actor = &self.actor;
        let mut state = actor.state();
        if writer.is_broken() || (state.closed && state.waiting.is_empty()) {
            state.closed = true;
            drop(state);
            return actor.end(shut(*writer, &actor.behind));
        }
        if !state.waiting.is_empty() {
            drop(state);
            return actor.submit(writer);
        }
        let was_due = state.due.is_some();
        state.due = writer.history_due().map(|left| Instant::now() + left);
        let is_news = state.due.is_some() != was_due;
        state.writer = Some(writer);
        drop(state);
        if is_news {
            actor.timed.notify_one();
        }
    }
}

impl Drop for Turn {
    /// Jobs catch their own panics, so that a turn that was not over is the host's own fault, or no thread could be had
    /// for it. The writer is gone with it: callers are answered, the next one opens the file anew.
    fn drop(&mut self) {
        if !self.over {
            let lost = self.actor.behind.take_last().len();
            tracing::error!(lost, "a tenant's writer was lost");
            self.actor.end(Ok(()));
        }
    }
}

/// Writes what nobody waited for, and closes the file.
fn shut(mut lazy: LazyWriter, behind: &Behind) -> Result<()> {
    let mut last = behind.take_last();
    if !last.is_empty()
        && !lazy.is_broken()
        && let Ok(writer) = lazy.get()
    {
        last = writer.group(Vec::new(), last);
    }
    let lost = last.len();
    if lazy.is_broken() {
        let said = "the disk failed under a tenant's file, or it can't be opened after a rest: \
                    it is closed, and opened anew when asked for";
        tracing::error!(lost, "{said}");
        lazy.abandon();
        return Ok(());
    }
    if lost > 0 {
        tracing::warn!(lost, "writes that nobody waited for are lost: the file is locked");
    }
    lazy.close()
}
