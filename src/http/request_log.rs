//! One event per request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use http::request::Parts;
use http::{Method, Uri};

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
}

/// A request's line in the log, written when the answer's head is ready.
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

    /// Writes it and tells how long the request took.
    pub(super) fn end(self, answer: &Response) -> Duration {
        let took = self.begun.elapsed();
        let caller = answer.extensions().get::<Caller>();
        let spent = caller.map(|caller| caller.spent.read());
        tracing::info!(
            request.id = self.id.as_str(),
            http.method = self.method.as_str(),
            // The path alone: a query may hold a token that somebody put there by mistake.
            http.path = shortened(self.uri.path()),
            http.status = answer.status().as_u16(),
            client.address = self.client.map(|client| tracing::field::display(client.0)),
            tenant.id = caller.map(|caller| caller.tenant.as_str()),
            tool = caller.and_then(|caller| caller.tool.as_deref()),
            queue.wait_us = spent.map(|spent| spent.queue_us),
            sql_us = spent.map(|spent| spent.sql_us),
            cause = answer.extensions().get::<Cause>().map(|cause| cause.0.as_str()),
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "request"
        );
        took
    }
}

/// As much of a path as a log line should hold. A path is ASCII here, or hyper had refused it.
fn shortened(path: &str) -> &str {
    path.get(..PATH_BYTES_MAX).unwrap_or(path)
}
