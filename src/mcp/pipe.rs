//! The spans of requests that come over a pipe: begun as a request comes in, ended when its answer is written. It knows
//! the messages that go by, and neither what a tool does nor where spans are sent. Without a collector it is not there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, GetExtensions, GetMeta, JsonRpcMessage, ProtocolVersion,
    RequestId, ServerJsonRpcMessage, ServerResult,
};
use rmcp::transport::Transport;

use crate::id::TenantId;
use crate::telemetry::{Carried, Hold, Opening, Traces, Way};
use crate::tenant::Meter;

/// Requests with a span whose answers are awaited. One more has none, so that a client that sends faster than it is
/// answered takes no more memory for being traced.
const AWAITED_MAX: usize = 1_024;

/// Whether the server has a tool of that name: others are the caller's own words.
type Has = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// A transport, and the spans of what it carries.
pub(super) struct Traced<T> {
    inner: T,
    traces: Traces,
    tenant: TenantId,
    has: Has,
    awaited: HashMap<RequestId, Hold>,
    /// What `initialize` agreed on: later messages of such a client do not say it.
    agreed: Option<ProtocolVersion>,
}

impl<T> Traced<T> {
    pub(super) fn new(inner: T, traces: Traces, tenant: TenantId, has: Has) -> Self {
        Self { inner, traces, tenant, has, awaited: HashMap::new(), agreed: None }
    }

    fn came(&mut self, message: &mut ClientJsonRpcMessage) {
        match message {
            JsonRpcMessage::Request(message) => self.begin(&message.id, &mut message.request),
            JsonRpcMessage::Notification(message) => {
                if let ClientNotification::CancelledNotification(cancelled) = &message.notification
                    && let Some(id) = &cancelled.params.request_id
                    && let Some(hold) = self.awaited.remove(id)
                {
                    // It gets no answer. What still runs of its call keeps the span open.
                    hold.trace().failed("cancelled");
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, id: &RequestId, request: &mut ClientRequest) {
        if self.awaited.len() >= AWAITED_MAX {
            return;
        }
        let (meta, told) = (request.get_meta(), id.to_string());
        let version = meta.protocol_version().or_else(|| self.agreed.clone());
        let tool = match &*request {
            ClientRequest::CallToolRequest(call) => Some(&*call.params.name).filter(|name| (self.has)(name)),
            _ => None,
        };
        let hold = self.traces.begin(&Opening {
            begun: Instant::now(),
            way: Way::Pipe,
            method: Some(request.method()),
            tool,
            id: Some(&told),
            messages: 1,
            protocol: version.as_ref().map(ProtocolVersion::as_str),
            tenant: self.tenant.as_str(),
            in_message: Carried { parent: meta.get_traceparent(), state: meta.get_tracestate() },
        });
        let Some(hold) = hold else { return };
        request.extensions_mut().insert(Arc::new(Meter::of(Some(hold.trace().clone()))));
        self.awaited.insert(id.clone(), hold);
    }

    /// The span of the request that `message` answers.
    fn answered(&mut self, message: &ServerJsonRpcMessage) -> Option<Hold> {
        match message {
            JsonRpcMessage::Response(answer) => {
                if let ServerResult::InitializeResult(agreed) = &answer.result {
                    self.agreed = Some(agreed.protocol_version.clone());
                }
                self.awaited.remove(&answer.id)
            }
            JsonRpcMessage::Error(answer) => {
                let hold = self.awaited.remove(answer.id.as_ref()?)?;
                hold.trace().error(answer.error.code.0);
                Some(hold)
            }
            _ => None,
        }
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for Traced<T> {
    type Error = T::Error;

    fn send(&mut self, message: ServerJsonRpcMessage) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        let hold = self.answered(&message);
        let sending = self.inner.send(message);
        async move {
            let sent = sending.await;
            drop(hold);
            sent
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        let mut message = self.inner.receive().await?;
        self.came(&mut message);
        Some(message)
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.inner.close().await
    }
}
