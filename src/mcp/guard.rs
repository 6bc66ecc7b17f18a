//! What the host adds to any server: an end for a call that panics or is left, and capabilities of its own. It
//! knows no tenant.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use rmcp::ErrorData;
use rmcp::model::{ResourcesCapability, ServerCapabilities, ToolsCapability};
use tokio_util::sync::CancellationToken;

/// Awaits `call`; a panic in it becomes -32603, and the caller's leaving ends it.
pub(super) async fn guarded<T>(
    ended: CancellationToken,
    call: impl Future<Output = Result<T, ErrorData>>,
) -> Result<T, ErrorData> {
    let failed = || ErrorData::internal_error("internal error", None);
    tokio::select! {
        biased;
        answer = AssertUnwindSafe(call).catch_unwind() => answer.unwrap_or_else(|_| Err(failed())),
        () = ended.cancelled() => Err(ErrorData::internal_error("the request was cancelled", None)),
    }
}

/// What the server can, and what the host adds: its tools (`packs`: it has some), and news of whatever there is.
pub(super) fn with_host(mut capabilities: ServerCapabilities, packs: bool) -> ServerCapabilities {
    if packs {
        capabilities.tools.get_or_insert_with(ToolsCapability::default);
        capabilities.resources.get_or_insert_with(ResourcesCapability::default);
    }
    if let Some(tools) = &mut capabilities.tools {
        tools.list_changed = Some(true);
    }
    if let Some(prompts) = &mut capabilities.prompts {
        prompts.list_changed = Some(true);
    }
    if let Some(resources) = &mut capabilities.resources {
        (resources.subscribe, resources.list_changed) = (Some(true), Some(true));
    }
    capabilities
}
