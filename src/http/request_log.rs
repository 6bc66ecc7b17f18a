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

/// A request's line in the log, written when it is answered.
pub(super) struct Line {
    id: RequestId,
    begun: Instant,
    method: Method,
    uri: Uri,
    client: Option<ClientAddr>,
}

impl Line {
    pub(super) fn begin(id: RequestId, head: &Parts, client: Option<ClientAddr>) -> Self {
        Self { id, begun: Instant::now(), method: head.method.clone(), uri: head.uri.clone(), client }
    }

    /// Writes it, or has the answer's end write it, and tells how long it took to the answer's head.
    pub(super) fn end(self, mut answer: Response) -> (Response, Duration) {
        let took = self.begun.elapsed();
        let status = answer.status().as_u16();
        let (caller, cause) = (answer.extensions_mut().remove::<Caller>(), answer.extensions_mut().remove::<Cause>());
        let streams = caller.as_ref().is_some_and(|caller| caller.streams);
        let ending = Ending { line: self, status, caller, cause };
        if !streams {
            return (answer, took);
        }
        let answer = answer.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _ = &ending;
                frame
            }))
        });
        (answer, took)
    }
}

/// What is left to be said. It is when this is dropped.
struct Ending {
    line: Line,
    status: u16,
    caller: Option<Caller>,
    cause: Option<Cause>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Self { line, status, caller, cause } = self;
        let took = line.begun.elapsed();
        let caller = caller.as_ref();
        let spent = caller.map(|caller| caller.spent.read());
        tracing::info!(
            request.id = line.id.as_str(),
            http.method = line.method.as_str(),
            // The path alone: a query may hold a token that somebody put there by mistake.
            http.path = shortened(line.uri.path()),
            http.status = *status,
            client.address = line.client.map(|client| tracing::field::display(client.0)),
            tenant.id = caller.map(|caller| caller.tenant.as_str()),
            trace_id = caller.and_then(|caller| Some(tracing::field::display(caller.spent.trace()?.id()))),
            tool = caller.and_then(|caller| caller.tool.as_deref()),
            queue.wait_us = spent.map(|spent| spent.queue_us),
            sql_us = spent.map(|spent| spent.sql_us),
            cause = cause.as_ref().map(|cause| cause.0.as_str()),
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "request"
        );
    }
}

/// As much of a path as a log line should hold. A path is ASCII here, or hyper had refused it.
fn shortened(path: &str) -> &str {
    path.get(..PATH_BYTES_MAX).unwrap_or(path)
}
