//! A server that can be watched: a tool that waits until the test lets it go, resources, and counts of what happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use freehold::Host;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ProgressNotificationParam,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer};
use rmcp::{ErrorData, ServerHandler};
use tokio::sync::Semaphore;

/// What the test holds in its hand. Every tenant's server shares it.
#[derive(Clone)]
pub(crate) struct Slow(Arc<Inner>);

struct Inner {
    gate: Semaphore,
    begun: AtomicUsize,
    dropped: AtomicUsize,
    opened: AtomicUsize,
}

struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Slow {
    pub(crate) fn new() -> Self {
        let (begun, dropped, opened) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Inner { gate: Semaphore::new(0), begun, dropped, opened }))
    }

    /// A host of this server.
    pub(crate) fn host(&self) -> Host {
        let own = self.clone();
        Host::new(move |_tenant| own.clone())
    }

    /// Lets one waiting call go on.
    pub(crate) fn release(&self) {
        self.0.gate.add_permits(1);
    }

    /// How many calls have begun to wait.
    pub(crate) fn begun(&self) -> usize {
        self.0.begun.load(Ordering::SeqCst)
    }

    /// How many calls have ended, one way or the other.
    pub(crate) fn ended(&self) -> usize {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// How often a session came into memory.
    pub(crate) fn opened(&self) -> usize {
        self.0.opened.load(Ordering::SeqCst)
    }
}

impl ServerHandler for Slow {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts().build())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        matches!(name, "wait" | "now").then(|| Tool::new(name.to_owned(), "waits", serde_json::Map::new()))
    }

    /// `wait` tells its progress, then waits; `now` does not.
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let _counted = Counted(&self.0.dropped);
        if request.name == "wait" {
            if let Some(token) = context.meta.get_progress_token() {
                let _ = context.peer.notify_progress(ProgressNotificationParam::new(token, 1.0)).await;
            }
            self.0.begun.fetch_add(1, Ordering::SeqCst);
            self.0.gate.acquire().await.expect("a gate").forget();
        }
        Ok(CallToolResult::success(vec![ContentBlock::text("done")]).into())
    }

    async fn on_initialized(&self, _context: NotificationContext<RoleServer>) {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
    }
}
