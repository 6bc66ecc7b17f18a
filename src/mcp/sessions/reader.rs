//! A connection that reads one of a session's streams. Dropping it is how a connection tells that it has gone.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use rmcp::ErrorData;
use rmcp::model::{ErrorCode, RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::ServerSseMessage;

use super::session::Session;
use super::stream::Turn;

/// What a client whose stream broke is asked to wait before it comes back.
const RETRY: Duration = Duration::from_secs(3);

/// What a reader says before anything else.
pub(super) enum Start {
    Plain,
    /// An event without data, so that there is an id to come back with (SEP-1699).
    Priming(String),
}

pub(super) struct Reader {
    session: Arc<Session>,
    place: Option<(u64, u64)>,
    first: VecDeque<ServerSseMessage>,
}

impl Reader {
    pub(super) fn new(session: Arc<Session>, stream: u64, reader: u64, start: Start) -> Self {
        let first = match start {
            Start::Plain => VecDeque::new(),
            Start::Priming(id) => VecDeque::from([ServerSseMessage::priming(id, RETRY)]),
        };
        Self { session, place: Some((stream, reader)), first }
    }

    /// The answers to `requests` are nowhere any more: their client is told, for it would wait for ever.
    pub(super) fn lost(session: Arc<Session>, requests: Vec<RequestId>) -> Self {
        let first = requests.into_iter().map(|request| ServerSseMessage::from_message(lost(request))).collect();
        Self { session, place: None, first }
    }
}

/// What a client is told whose answer is nowhere any more.
pub(super) fn lost(request: RequestId) -> ServerJsonRpcMessage {
    let message = "the answer to this call is lost (the server restarted during it, or it was kept for too long): \
                   look at what it did before calling again";
    ServerJsonRpcMessage::error(ErrorData::new(ErrorCode(-32000), message, None), Some(request))
}

impl Stream for Reader {
    type Item = ServerSseMessage;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ServerSseMessage>> {
        let this = self.get_mut();
        if let Some(first) = this.first.pop_front() {
            return Poll::Ready(Some(first));
        }
        let Some((stream, reader)) = this.place else { return Poll::Ready(None) };
        match this.session.turn(stream, reader, cx) {
            Turn::Event(id, message) => {
                let mut said = ServerSseMessage::default();
                (said.event_id, said.message) = (Some(id), Some(message));
                Poll::Ready(Some(said))
            }
            Turn::Wait => Poll::Pending,
            Turn::End => Poll::Ready(None),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some((stream, reader)) = self.place {
            self.session.leave(stream, reader);
        }
    }
}
