//! One event per request: whose it was, what it asked for, what it cost and how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{Method, Uri};
use http_body_util::BodyExt;

use super::client::ClientAddr;
use super::request_id::RequestId;
use super::respond::Cause;
use crate::id::TenantId;
use crate::tenant::Meter;

const PATH_BYTES_MAX: usize = 64;

/// What the way down leaves for the log line: a handler adds to it by the response's extensions.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) tenant: TenantId,
    pub(super) tool: Option<String>,
    /// What the request has cost until its answer's head is ready.
    pub(super) spent: Arc<Meter>,
    /// Whether the answer is a stream that ends with the call: until then nobody knows what it costs.
    pub(super) streams: bool,
}

/// A request's line in the log. It is written when this is dropped: also where nobody waits for the answer any more.
pub(super) struct Line {
    id: RequestId,
    begun: Instant,
    method: Method,
    uri: Uri,
    client: Option<ClientAddr>,
    /// `None`: there was no answer.
    status: Option<u16>,
    caller: Option<Caller>,
    cause: Option<Cause>,
}

impl Line {
    pub(super) fn begin(id: RequestId, head: &Parts, client: Option<ClientAddr>) -> Self {
        let (method, uri) = (head.method.clone(), head.uri.clone());
        Self { id, begun: Instant::now(), method, uri, client, status: None, caller: None, cause: None }
    }

    /// Writes it, or has the answer's end write it, and tells how long it took to the answer's head.
    pub(super) fn end(mut self, mut answer: Response) -> (Response, Duration) {
        let took = self.begun.elapsed();
        self.status = Some(answer.status().as_u16());
        self.caller = answer.extensions_mut().remove();
        self.cause = answer.extensions_mut().remove();
        if !self.caller.as_ref().is_some_and(|caller| caller.streams) {
            return (answer, took);
        }
        let answer = answer.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _ = &self;
                frame
            }))
        });
        (answer, took)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { id, begun, method, uri, client, status, caller, cause } = self;
        let caller = caller.as_ref();
        let spent = caller.map(|caller| caller.spent.read());
        let gone = status.is_none().then_some("there was no answer: its client left, or was cut");
        tracing::info!(
            request.id = id.as_str(),
            http.method = method.as_str(),
            // The path alone: a query may hold a token that somebody put there by mistake.
            http.path = shortened(uri.path()),
            http.status = *status,
            client.address = client.map(|client| tracing::field::display(client.0)),
            tenant.id = caller.map(|caller| caller.tenant.as_str()),
            trace_id = caller.and_then(|caller| Some(tracing::field::display(caller.spent.trace()?.id()))),
            tool = caller.and_then(|caller| caller.tool.as_deref()),
            queue.wait_us = spent.map(|spent| spent.queue_us),
            sql_us = spent.map(|spent| spent.sql_us),
            cause = cause.as_ref().map(|cause| cause.0.as_str()).or(gone),
            duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            "request"
        );
    }
}

/// As much of a path as a log line should hold. A path is ASCII here, or hyper had refused it.
fn shortened(path: &str) -> &str {
    path.get(..PATH_BYTES_MAX).unwrap_or(path)
}
