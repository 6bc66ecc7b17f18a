//! The task that owns a tenant's writer. Where something waits it lends the writer and the mailbox to a thread
//! for SQL, which commits what waits together, answers, and looks again before it gives both back.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::behind::Behind;
use super::executor::{Credit, Executor};
use crate::db::{Jobs, WriteJob, Writer};
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
    /// Let go of what can be had again in an instant.
    Rest,
    /// Finish what waits, close the file, then say so.
    Close(oneshot::Sender<Result<()>>),
}

/// What a thread for SQL is lent.
struct Desk {
    writer: Writer,
    inbox: mpsc::Receiver<Message>,
    behind: Arc<Behind>,
    /// Messages that are taken at once: as many as can wait.
    at_once: usize,
    closing: Vec<oneshot::Sender<Result<()>>>,
    /// Has the writer after the group that was taken before it.
    borrows: Option<Borrow>,
}

/// Starts the actor that owns `writer` and returns its mailbox of `length`.
pub(super) fn start(
    writer: Writer,
    behind: Arc<Behind>,
    length: usize,
    executor: Executor,
    credit: Arc<Credit>,
) -> mpsc::Sender<Message> {
    let (mailbox, inbox) = mpsc::channel(length);
    tokio::spawn(run(
        Desk { writer, inbox, behind, at_once: length, closing: Vec::new(), borrows: None },
        executor,
        credit,
    ));
    mailbox
}

async fn run(mut desk: Desk, executor: Executor, credit: Arc<Credit>) {
    let behind = Arc::clone(&desk.behind);
    while desk.closing.is_empty() && !desk.writer.is_broken() {
        let keep = desk.writer.history_due();
        let first = tokio::select! {
            biased;
            first = desk.inbox.recv() => match first {
                Some(first) => Some(first),
                None => break,
            },
            () = behind.overdue() => None,
            () = tokio::time::sleep(keep.unwrap_or_default()), if keep.is_some() => None,
        };
        let turn = move || {
            desk.turn(first);
            desk
        };
        match executor.run(&credit, turn).await {
            Ok(back) => desk = back,
            // Jobs catch their own panics, so this one is ours, and the writer is gone with it. The
            // mailbox closes as this task ends: its callers are answered, the next one opens the file anew.
            Err(error) => {
                let lost = behind.take_last().len();
                return tracing::error!(error = error.chain(), lost, "a tenant's writer was lost");
            }
        }
    }
    // From here on nothing comes in; what is still in the mailbox is answered by its fall.
    desk.inbox.close();
    let closing = std::mem::take(&mut desk.closing);
    let closed = executor.run(&credit, move || desk.close()).await.and_then(|closed| closed);
    if let Err(error) = &closed {
        tracing::warn!(error = error.chain(), "a tenant's file was not closed cleanly; the next open replays its log");
    }
    for done in closing {
        let _ = done.send(closed.as_ref().copied().map_err(Error::repeat));
    }
}

impl Desk {
    /// Commits group after group, from `first` on, until nothing waits or the turn is over.
    fn turn(&mut self, first: Option<Message>) {
        let mut jobs = Vec::new();
        let mut flow = first.map_or(ControlFlow::Continue(()), |first| self.take(first, &mut jobs));
        for _ in 0..GROUPS_A_TURN {
            while flow.is_continue() && jobs.len() < self.at_once {
                let Ok(next) = self.inbox.try_recv() else { break };
                flow = self.take(next, &mut jobs);
            }
            let behind = self.behind.take();
            if jobs.is_empty() && behind.is_empty() && self.borrows.is_none() {
                if self.writer.history_due().is_some_and(|left| left.is_zero()) {
                    self.writer.ship();
                }
                return;
            }
            let unbegun = self.writer.group(std::mem::take(&mut jobs), behind);
            self.behind.put_back(unbegun);
            if let Some(borrows) = self.borrows.take().filter(|_| !self.writer.is_broken()) {
                borrows(&mut self.writer);
                flow = ControlFlow::Continue(());
            }
            if self.writer.is_broken() {
                return;
            }
        }
    }

    fn take(&mut self, message: Message, jobs: &mut Jobs) -> ControlFlow<()> {
        match message {
            Message::Write(job) => jobs.push(job),
            Message::Lend(borrows) => {
                self.borrows = Some(borrows);
                return ControlFlow::Break(());
            }
            Message::Rest => self.writer.rest(),
            Message::Close(done) => {
                self.closing.push(done);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn close(mut self) -> Result<()> {
        if self.writer.is_broken() {
            let lost = self.behind.take_last().len();
            tracing::error!(
                lost,
                "the disk failed under a tenant's file: it is closed, and opened anew when asked for"
            );
            self.writer.abandon();
            return Ok(());
        }
        let unbegun = self.writer.group(Vec::new(), self.behind.take_last());
        if !unbegun.is_empty() {
            tracing::warn!(lost = unbegun.len(), "writes that nobody waited for are lost: the file is locked");
        }
        self.writer.close()
    }
}
