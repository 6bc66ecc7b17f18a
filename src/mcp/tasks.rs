//! `tasks/get`, `tasks/update`, `tasks/cancel`: the host's own tasks first, then the server's.
//!
//! A server may keep tasks by itself; an id that is not ours is handed to it. Where it keeps none, an unknown
//! id, another caller's and one whose time has ended are one and the same -32602.

use std::future::Future;

use rmcp::ErrorData;
use rmcp::model::{ErrorCode, GetTaskResult, UpdateTaskParams};

use crate::auth::Principal;
use crate::tasks::TaskBoard;

/// `tasks/get`.
pub(super) async fn get(
    board: &TaskBoard,
    caller: &Principal,
    id: &str,
    theirs: impl Future<Output = Result<GetTaskResult, ErrorData>>,
) -> Result<GetTaskResult, ErrorData> {
    match board.get(caller, id).await? {
        Some(task) => Ok(GetTaskResult::new(task)),
        None => theirs.await.map_err(known),
    }
}

/// `tasks/update`.
pub(super) async fn update(
    board: &TaskBoard,
    caller: &Principal,
    request: UpdateTaskParams,
    theirs: impl Future<Output = Result<(), ErrorData>>,
) -> Result<(), ErrorData> {
    if board.update(caller, &request.task_id, request.input_responses).await? {
        return Ok(());
    }
    theirs.await.map_err(known)
}

/// `tasks/cancel`.
pub(super) async fn cancel(
    board: &TaskBoard,
    caller: &Principal,
    id: &str,
    theirs: impl Future<Output = Result<(), ErrorData>>,
) -> Result<(), ErrorData> {
    if board.cancel(caller, id).await? {
        return Ok(());
    }
    theirs.await.map_err(known)
}

/// A server without tasks of its own has none of that id.
fn known(error: ErrorData) -> ErrorData {
    if error.code == ErrorCode::METHOD_NOT_FOUND {
        return ErrorData::invalid_params(
            "there is no such task: it is unknown, another's, or its time has ended",
            None,
        );
    }
    error
}
