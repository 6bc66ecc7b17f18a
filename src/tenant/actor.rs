//! The task that owns a tenant's writer. One loop: take what waits, commit it together, answer, again.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::executor::{Credit, Executor};
use crate::db::{Database, Readers, WriteJob, Writer};
use crate::error::{Error, Result};

/// What can be asked of the actor.
pub(super) enum Message {
    /// Run this and answer after the commit.
    Write(Box<dyn WriteJob>),
    /// Finish what waits, close the file, then say so.
    Close(oneshot::Sender<Result<()>>),
}

/// Starts the actor of an open database and returns its mailbox of `length` and its readers.
pub(super) fn start(
    database: Database,
    length: usize,
    executor: Executor,
    credit: Arc<Credit>,
) -> (mpsc::Sender<Message>, Readers) {
    let Database { writer, readers } = database;
    let (mailbox, inbox) = mpsc::channel(length);
    tokio::spawn(run(inbox, length, writer, executor, credit));
    (mailbox, readers)
}

async fn run(
    mut inbox: mpsc::Receiver<Message>,
    at_once: usize,
    mut writer: Writer,
    executor: Executor,
    credit: Arc<Credit>,
) {
    let mut closing = Vec::new();
    while closing.is_empty() {
        let mut messages = Vec::new();
        if inbox.recv_many(&mut messages, at_once).await == 0 {
            break;
        }
        let mut jobs = Vec::with_capacity(messages.len());
        for message in messages {
            match message {
                Message::Write(job) => jobs.push(job),
                Message::Close(done) => closing.push(done),
            }
        }
        let group = move || {
            writer.group(jobs);
            writer
        };
        match executor.run(&credit, group).await {
            Ok(back) => writer = back,
            // Jobs catch their own panics, so this one is ours, and the writer is gone with it. The
            // mailbox closes as this task ends: its callers are answered, the next one opens the file anew.
            Err(error) => return tracing::error!(error = error.chain(), "a tenant's writer was lost"),
        }
    }
    // From here on nothing comes in; what is still in the mailbox is answered by its fall.
    inbox.close();
    let closed = executor.run(&credit, move || writer.close()).await.and_then(|closed| closed);
    if let Err(error) = &closed {
        tracing::warn!(error = error.chain(), "a tenant's file was not closed cleanly; the next open replays its log");
    }
    for done in closing {
        let _ = done.send(closed.as_ref().copied().map_err(Error::repeat));
    }
}
