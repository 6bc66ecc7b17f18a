//! [`Tasks`]: long work that outlives its call (SEP-2663, `io.modelcontextprotocol/tasks`).
//!
//! What a task has come to is a row in the tenant's file, so that its owner can fetch it after a restart. The
//! work itself is a future of this process: when the process ends first, the task is told as failed.

mod board;
mod store;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use rmcp::ErrorData;
use rmcp::handler::server::common::{AsRequestContext, FromContextPart};
use rmcp::model::{CallToolResponse, CallToolResult, ClientCapabilities, CreateTaskResult, InputRequest};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::auth::Principal;
use crate::error::{Error, ErrorKind, Result};
use crate::random;
use crate::tenant::Tenant;

pub(crate) use board::TaskBoard;
use board::{Running, summary};
use store::Status;

/// Long work that outlives its call. A tool asks for it by taking an argument of this type, and returns what
/// [`Tasks::run`] returns. The server's capabilities must name tasks:
/// `ServerCapabilities::builder().enable_tools().enable_tasks()`. Clients follow it by `tasks/get`: rmcp 3.9 brings
/// no `notifications/tasks` to a listener (its `SubscriptionFilter` has no task ids).
///
/// ```
/// use freehold::{Tasks, Tenant};
/// use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
/// # use rmcp::{ErrorData, tool, tool_router};
/// # struct Reports;
/// # #[tool_router(server_handler)]
/// # impl Reports {
/// /// Add everything up.
/// #[tool]
/// async fn report(&self, tenant: Tenant, tasks: Tasks) -> Result<CallToolResponse, ErrorData> {
///     tasks
///         .run(move |task| async move {
///             task.say("counting");
///             let rows: i64 = tenant.read(|conn| Ok(conn.query_row("SELECT count(*) FROM note", [], |row| row.get(0))?)).await?;
///             Ok(CallToolResult::success(vec![ContentBlock::text(rows.to_string())]))
///         })
///         .await
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tasks {
    board: TaskBoard,
    owner: Principal,
    /// Whether both sides speak of tasks.
    agreed: bool,
    ttl: Duration,
}

/// A task as its own work sees it.
#[derive(Clone)]
pub struct TaskContext {
    id: Option<String>,
    running: Arc<Running>,
}

impl Tasks {
    /// Keeps the result for `ttl` after the work has ended, and ends the work after `ttl`. Without this,
    /// `limits.task_ttl`, which is also the most.
    #[must_use]
    pub fn keep_for(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.min(self.board.limits().task_ttl);
        self
    }

    /// Whether the client can follow a task. If not, [`Tasks::run`] does the work within the call.
    #[must_use]
    pub fn agreed(&self) -> bool {
        self.agreed
    }

    /// For work that makes no sense within a call.
    ///
    /// # Errors
    /// -32021 (SEP-2663, "Required Capabilities") when the client can't follow a task.
    pub fn required(self) -> Result<Self, ErrorData> {
        if self.agreed {
            return Ok(self);
        }
        let required = ClientCapabilities::builder().enable_tasks().build();
        Err(ErrorData::missing_required_client_capability(required))
    }

    /// Begins `work` as a task and answers with its id once that is durable; within the call when the
    /// client knows no tasks. The task is its caller's alone. It is kept open by no connection; cancelling
    /// drops it where it waits, and a write that it has begun is still done.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`], [`ErrorKind::Limit`] as a
    /// JSON-RPC error: `limits.tasks_running` or `limits.tasks` is reached. Within the call, what `work` returns.
    pub async fn run<F, W>(&self, work: F) -> Result<CallToolResponse, ErrorData>
    where
        F: FnOnce(TaskContext) -> W,
        W: Future<Output = Result<CallToolResult, ErrorData>> + Send + 'static,
    {
        if !self.agreed {
            let running = Arc::new(Running { cancelled: CancellationToken::new(), spoken: Mutex::default() });
            return Ok(work(TaskContext { id: None, running }).await?.into());
        }
        let id = fresh_id()?;
        let (running, record) = self.board.enter(&self.owner, &id, self.ttl).await?;
        let work = work(TaskContext { id: Some(id.clone()), running: Arc::clone(&running) });
        tokio::spawn(carry(self.board.clone(), id, running, self.ttl, self.result_bytes(), work));
        Ok(CreateTaskResult::new(summary(&record)).into())
    }

    fn result_bytes(&self) -> u64 {
        self.board.limits().value_bytes.as_u64()
    }
}

/// Runs `work` to whichever of its ends comes first, and has that written down.
async fn carry<W>(board: TaskBoard, id: String, running: Arc<Running>, ttl: Duration, most: u64, work: W)
where
    W: Future<Output = Result<CallToolResult, ErrorData>> + Send + 'static,
{
    let guarded = AssertUnwindSafe(work).catch_unwind();
    let done = tokio::select! {
        biased;
        done = timeout(ttl, guarded) => done,
        () = running.cancelled.cancelled() => return board.leave(&id, Status::Cancelled, None).await,
    };
    let (status, outcome) = match done {
        Ok(Ok(Ok(result))) => (Status::Completed, serde_json::to_value(result)),
        Ok(Ok(Err(error))) => (Status::Failed, serde_json::to_value(error)),
        Ok(Err(_)) => (Status::Failed, serde_json::to_value(ErrorData::internal_error("internal error", None))),
        Err(_) => {
            let message = format!("the task did not end within {} s and was stopped", ttl.as_secs());
            (Status::Failed, serde_json::to_value(ErrorData::internal_error(message, None)))
        }
    };
    let outcome = outcome.unwrap_or_default();
    let bytes = outcome.to_string().len() as u64;
    if bytes > most {
        let message = format!("the task's result of {bytes} bytes is larger than value_bytes of {most}");
        let error = serde_json::to_value(ErrorData::internal_error(message, None)).unwrap_or_default();
        return board.leave(&id, Status::Failed, Some(error)).await;
    }
    board.leave(&id, status, Some(outcome)).await;
}

impl TaskContext {
    /// The task's id; `None` where the work is done within the call.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Tells who looks at the task what it is doing.
    pub fn say(&self, message: impl Into<String>) {
        self.running.spoken().message = Some(message.into());
    }

    /// Puts `request` to the user by way of `tasks/get` and `tasks/update`, and waits for the answer: the
    /// client's result, unread. `key` is used once in a task. Questions can be asked side by side.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the work is done within the call, or the key was
    /// used before.
    pub async fn ask(&self, key: &str, request: InputRequest) -> Result<Value> {
        if self.id.is_none() {
            return Err(Error::invalid(
                "this work has to ask its user on the way: call with a client that knows tasks",
            ));
        }
        let (answer, answered) = oneshot::channel();
        {
            let mut spoken = self.running.spoken();
            if spoken.asked.iter().any(|asked| asked == key) {
                return Err(Error::internal("a task asked twice under one key"));
            }
            spoken.asked.push(key.to_owned());
            spoken.questions.insert(key.to_owned(), (request, answer));
        }
        answered.await.map_err(|_| Error::new(ErrorKind::Unavailable, "the task has ended"))
    }

    /// Whether the task has been cancelled; the work is then dropped where it waits.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.running.cancelled.is_cancelled()
    }
}

impl std::fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TaskContext({:?})", self.id)
    }
}

impl<C: AsRequestContext> FromContextPart<C> for Tasks {
    fn from_context_part(context: &mut C) -> Result<Self, ErrorData> {
        Self::of_request(context.as_request_context())
    }
}

impl Tasks {
    /// For a server whose `call_tool` is its own.
    ///
    /// # Errors
    /// -32603 when the server is not served by a freehold host.
    pub fn of_request(context: &rmcp::service::RequestContext<rmcp::RoleServer>) -> Result<Self, ErrorData> {
        let outside = || ErrorData::internal_error("`Tasks` has to be served by a freehold host", None);
        let board = context.extensions.get::<TaskBoard>().ok_or_else(outside)?.clone();
        let owner = context.extensions.get::<Tenant>().ok_or_else(outside)?.principal().clone();
        let agreed = board.named()
            && context.client_capabilities().is_some_and(|able| able.supports_tasks())
            && context.protocol_version().is_some_and(|version| version >= rmcp::model::ProtocolVersion::V_2026_07_28);
        let ttl = board.limits().task_ttl;
        Ok(Self { board, owner, agreed, ttl })
    }
}

/// Unguessable: 128 random bits. That it is its owner's is checked all the same.
fn fresh_id() -> Result<String> {
    Ok(format!("{:032x}", u128::from_be_bytes(random::bytes()?)))
}
