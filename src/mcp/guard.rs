//! What the host adds to any server: an end for a call that panics or is left, its place in a trace, and capabilities
//! of the host's own. It knows no tenant.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use http::request::Parts;
use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, Extensions, ResourcesCapability, ServerCapabilities, ToolsCapability};
use rmcp::service::{RequestContext, RoleServer};
use tokio_util::sync::CancellationToken;

use crate::telemetry::{Hold, Trace};
use crate::tenant::Meter;

/// What a call's end depends on, and whom it is told to.
#[derive(Clone)]
pub(super) struct Guard {
    ended: CancellationToken,
    /// Its request's span is not over before the call is, whoever still waits for the answer.
    hold: Option<Arc<Hold>>,
}

impl Guard {
    /// That of the call that `context` is of.
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Self {
        let trace = spent(&context.extensions).and_then(|spent| spent.trace());
        Self { ended: context.ct.clone(), hold: trace.map(|trace| Arc::new(trace.hold())) }
    }

    /// One that is part of no trace.
    pub(super) fn until(ended: CancellationToken) -> Self {
        Self { ended, hold: None }
    }

    /// Whether the caller has left.
    pub(super) fn is_cancelled(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Tells the trace what a tool's answer was, where it refused.
    pub(super) fn told(&self, answer: Result<CallToolResponse, ErrorData>) -> Result<CallToolResponse, ErrorData> {
        if let (Some(trace), Ok(CallToolResponse::Complete(result))) = (self.trace(), &answer)
            && result.is_error == Some(true)
        {
            let kind = result.meta.as_ref().and_then(|meta| meta.get("freehold/refusal")?.get("kind")?.as_str());
            trace.refused(kind.unwrap_or_default());
        }
        answer
    }

    fn trace(&self) -> Option<&Trace> {
        self.hold.as_deref().map(Hold::trace)
    }
}

/// The account of the request that `extensions` are of: with HTTP's head, or without it where it came over a pipe.
pub(super) fn spent(extensions: &Extensions) -> Option<&Arc<Meter>> {
    extensions.get::<Parts>().map_or_else(|| extensions.get(), |parts| parts.extensions.get())
}

/// Awaits `call`; a panic in it becomes -32603, and the caller's leaving ends it. While it runs, its trace is the one
/// that spans of its own belong to.
pub(super) async fn guarded<T>(guard: Guard, call: impl Future<Output = Result<T, ErrorData>>) -> Result<T, ErrorData> {
    let failed = || ErrorData::internal_error("internal error", None);
    let mut call = pin!(AssertUnwindSafe(call).catch_unwind());
    let call = poll_fn(|cx| {
        let _attached = guard.trace().map(Trace::attach);
        call.as_mut().poll(cx)
    });
    let answer = tokio::select! {
        biased;
        answer = call => answer.unwrap_or_else(|_| Err(failed())),
        () = guard.ended.cancelled() => Err(ErrorData::internal_error("the request was cancelled", None)),
    };
    if let (Some(trace), Err(error)) = (guard.trace(), &answer) {
        trace.error(error.code.0);
    }
    answer
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
