//! The tasks of one tenant that run in this process, and the way to all of them, running or not.
//!
//! A task is on the board before its row is written and leaves it after its last word is: who finds it neither
//! on the board, looked at first, nor ended in the file knows that its process is gone.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use rmcp::ErrorData;
use rmcp::model::{
    DetailedTask, InputRequest, InputRequests, InputResponses, JsonObject, Task, TaskPayload, TaskStatus,
};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::store::{self, Record, Status};
use crate::auth::Principal;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::Handle;

/// How often a client is asked to look, in milliseconds.
const POLL_MS: u64 = 1_000;

/// One tenant's tasks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TaskBoard(Arc<Board>);

struct Board {
    tenant: Handle,
    clock: Arc<dyn Clock>,
    running: Mutex<HashMap<String, Arc<Running>>>,
    /// Ends every task: the tenant is closed.
    stop: CancellationToken,
    /// Whether the server names tasks among its capabilities.
    named: bool,
}

/// One task under way.
pub(super) struct Running {
    /// `tasks/cancel`, or the end of the tenant.
    pub cancelled: CancellationToken,
    pub spoken: Mutex<Spoken>,
}

/// What a task says while it runs.
#[derive(Default)]
pub(super) struct Spoken {
    pub message: Option<String>,
    pub questions: HashMap<String, (InputRequest, oneshot::Sender<Value>)>,
    /// Every key so far: none is asked twice (SEP-2663).
    pub asked: Vec<String>,
}

impl TaskBoard {
    /// The tasks of `tenant`; `named` says whether its server names them among its capabilities.
    pub(crate) fn new(tenant: Handle, clock: Arc<dyn Clock>, named: bool) -> Self {
        Self(Arc::new(Board { tenant, clock, running: Mutex::default(), stop: CancellationToken::new(), named }))
    }

    /// Whether a task runs, so that its tenant has to stay open.
    pub(crate) fn is_busy(&self) -> bool {
        !self.running().is_empty()
    }

    /// Ends all that run. Whoever asks for them later learns that they were interrupted.
    pub(crate) fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Enters a task and its row; `Err` when there are as many as may be.
    pub(super) async fn enter(&self, owner: &Principal, id: &str, ttl: Duration) -> Result<(Arc<Running>, Record)> {
        let limits = self.0.tenant.limits();
        let running = Arc::new(Running { cancelled: self.0.stop.child_token(), spoken: Mutex::default() });
        {
            let mut board = self.running();
            if board.len() >= limits.tasks_running {
                return Err(Error::busy("tasks_running", limits.tasks_running as u64, Duration::from_secs(5)));
            }
            board.insert(id.to_owned(), Arc::clone(&running));
        }
        let now = self.now();
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2);
        let record = Record {
            id: id.to_owned(),
            status: Status::Working,
            message: None,
            outcome: None,
            created_at: now,
            updated_at: now,
            ttl_ms,
        };
        match store::create(&self.0.tenant, owner, record.clone(), limits.tasks).await {
            Ok(()) => Ok((running, record)),
            Err(error) => {
                self.running().remove(id);
                Err(error)
            }
        }
    }

    /// Writes down what a task has come to, and takes it off the board.
    pub(super) async fn leave(&self, id: &str, status: Status, outcome: Option<Value>) {
        if self.0.stop.is_cancelled() {
            // A closing tenant takes no more writes; the next one who asks learns what happened.
            self.running().remove(id);
            return;
        }
        let message = self.running().get(id).and_then(|task| task.spoken().message.clone());
        let mut wait = Duration::from_millis(20);
        loop {
            let said = store::settle(&self.0.tenant, id, status, outcome.as_ref(), message.clone(), self.now()).await;
            match said {
                // The queue is full of calls whose callers wait: the result of an hour's work must not be lost to it.
                Err(error) if error.kind() == ErrorKind::Busy && !self.0.stop.is_cancelled() => {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
                Err(error) => {
                    tracing::error!(tenant = %self.0.tenant.id(), error = error.chain(), "a task's result is lost");
                    break;
                }
                Ok(()) => break,
            }
        }
        self.running().remove(id);
    }

    /// The task as its owner may see it; `None` when there is none, or it is another's.
    ///
    /// # Errors
    /// As a read of the tenant.
    pub(crate) async fn get(&self, owner: &Principal, id: &str) -> Result<Option<DetailedTask>> {
        let running = self.find_running(id);
        let Some(mut record) = store::find(&self.0.tenant, owner, id, self.now()).await? else {
            return Ok(None);
        };
        let mut questions = InputRequests::new();
        if let Some(running) = running {
            let spoken = running.spoken();
            record.message = spoken.message.clone().or(record.message);
            questions = spoken.questions.iter().map(|(key, (request, _))| (key.clone(), request.clone())).collect();
        } else if record.status == Status::Working {
            let outcome = interrupted();
            store::settle(&self.0.tenant, id, Status::Failed, Some(&outcome), None, self.now()).await?;
            record = Record { status: Status::Failed, outcome: Some(outcome), updated_at: self.now(), ..record };
        }
        Ok(Some(detailed(&record, questions)))
    }

    /// Hands answers to the task's questions; keys that it does not wait for are passed over (SEP-2663).
    ///
    /// # Errors
    /// As [`TaskBoard::get`]. `false`: no such task.
    pub(crate) async fn update(&self, owner: &Principal, id: &str, answers: InputResponses) -> Result<bool> {
        let running = self.find_running(id);
        if store::find(&self.0.tenant, owner, id, self.now()).await?.is_none() {
            return Ok(false);
        }
        if let Some(running) = running {
            let mut spoken = running.spoken();
            for (key, answer) in answers {
                if let Some((_, waits)) = spoken.questions.remove(&key) {
                    // It went on without the answer; that is its choice.
                    let _ = waits.send(answer);
                }
            }
        }
        Ok(true)
    }

    /// Asks the task to end.
    ///
    /// # Errors
    /// As [`TaskBoard::get`]. `false`: no such task.
    pub(crate) async fn cancel(&self, owner: &Principal, id: &str) -> Result<bool> {
        let running = self.find_running(id);
        let known = store::find(&self.0.tenant, owner, id, self.now()).await?.is_some();
        if let Some(running) = running.filter(|_| known) {
            running.cancelled.cancel();
        }
        Ok(known)
    }

    pub(super) fn named(&self) -> bool {
        self.0.named
    }

    pub(super) fn limits(&self) -> &crate::config::Limits {
        self.0.tenant.limits()
    }

    fn find_running(&self, id: &str) -> Option<Arc<Running>> {
        self.running().get(id).cloned()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Arc<Running>>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970.
    fn now(&self) -> i64 {
        let now = self.0.clock.now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Running {
    pub(super) fn spoken(&self) -> MutexGuard<'_, Spoken> {
        self.spoken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TaskBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskBoard({})", self.0.tenant.id())
    }
}

fn interrupted() -> Value {
    let message = "the server was stopped while this task ran: what it had written by then is kept; \
         call the tool again";
    serde_json::to_value(ErrorData::internal_error(message, None)).unwrap_or_default()
}

/// A task as the wire has it (SEP-2663, `DetailedTask`).
fn detailed(record: &Record, questions: InputRequests) -> DetailedTask {
    let outcome = || -> JsonObject { record.outcome.as_ref().and_then(Value::as_object).cloned().unwrap_or_default() };
    let payload = match record.status {
        Status::Working if questions.is_empty() => TaskPayload::Working,
        Status::Working => TaskPayload::InputRequired { input_requests: questions },
        Status::Completed => TaskPayload::Completed { result: outcome() },
        Status::Failed => TaskPayload::Failed { error: outcome() },
        Status::Cancelled => TaskPayload::Cancelled,
    };
    DetailedTask::new(summary(record), payload)
}

/// A task without what it has come to.
pub(super) fn summary(record: &Record) -> Task {
    let time = |ms: i64| {
        let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
    };
    let task = Task::new(&record.id, TaskStatus::Working, time(record.created_at), time(record.updated_at))
        .with_ttl_ms(u64::try_from(record.ttl_ms).unwrap_or(0))
        .with_poll_interval_ms(POLL_MS);
    match &record.message {
        Some(message) => task.with_status_message(message),
        None => task,
    }
}
