//! Batches: several messages in one POST, as MCP 2025-03-26 has them and no later version (JSON-RPC 2.0 section 6).
//!
//! A batch is taken whole or refused whole. Its requests run one after the other, in the place of one call: so none
//! gives its tenant more at once than as many POSTs would. Their answers share one stream, which its client may come
//! back for as for any other.

use std::collections::HashSet;
use std::sync::Weak;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderValue, Method, Request};
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, GetExtensions, GetMeta, ProgressToken, ProtocolVersion, RequestId,
};
use serde_json::Value;
use tokio::sync::oneshot;

use super::session::Session;
use crate::error::{Error, Result};

/// The version that has them.
pub(super) const VERSION: ProtocolVersion = ProtocolVersion::V_2025_03_26;

/// What came in the same POST as the message that is being served.
#[derive(Default)]
pub(super) struct Rest {
    /// Notifications and answers: they come first, for a request of the same batch may take long.
    pub told: Vec<ClientJsonRpcMessage>,
    /// Requests, in their order.
    pub asked: Vec<ClientJsonRpcMessage>,
}

/// A batch, split into the one message that rmcp is shown and those that follow it to its session.
pub(in crate::mcp) struct Batch {
    pub first: Request<Bytes>,
    pub(super) rest: Rest,
    /// How many messages there are.
    pub length: usize,
}

/// A request on its way to the handler: when it may begin, its id, and what is asked.
pub(super) type Queued = (oneshot::Receiver<()>, RequestId, ClientJsonRpcMessage);

pub(super) fn wrong_version() -> Error {
    Error::invalid(
        "batches are of MCP 2025-03-26 alone, and this is no session of it: send each message in a request of its own",
    )
}

impl Batch {
    /// Whether `request` brings one.
    pub(in crate::mcp) fn is(request: &Request<Bytes>) -> bool {
        let first = request.body().iter().find(|byte| !byte.is_ascii_whitespace());
        *request.method() == Method::POST && first == Some(&b'[')
    }

    /// The batch in `request`, of `most` messages. `None`: its body is no JSON, as others will say.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid): one of its messages is none, or none for a batch, or
    /// there are too many.
    pub(in crate::mcp) fn split(request: &Request<Bytes>, most: usize) -> Result<Option<Self>> {
        let Ok(values) = serde_json::from_slice::<Vec<Value>>(request.body()) else { return Ok(None) };
        let length = values.len();
        if length == 0 {
            return Err(Error::invalid("an empty batch asks for nothing: send at least one message"));
        }
        if length > most {
            let message = format!("a batch of {length} messages, where {most} are the most: send them in several");
            return Err(Error::invalid(message).with_bound("batch_messages", most as u64));
        }
        let head = head_of(request);
        if !head.headers.contains_key("mcp-session-id") {
            return Err(wrong_version());
        }
        let version = head.headers.get("mcp-protocol-version");
        if version.is_some_and(|version| version != VERSION.as_str()) {
            return Err(wrong_version());
        }
        let (mut rest, mut seen, mut first) = (Rest::default(), HashSet::new(), None);
        let lead = values.iter().position(|value| value.get("method").is_some() && value.get("id").is_some());
        for (at, value) in values.into_iter().enumerate() {
            let text = value.to_string();
            let mut message = message_of(value, at)?;
            let own = own_head(&head, text.len());
            match &mut message {
                ClientJsonRpcMessage::Request(request) => {
                    if !seen.insert(request.id.clone()) {
                        return Err(Error::invalid("two requests of this batch have one id: use each id once"));
                    }
                    request.request.extensions_mut().insert(own.clone());
                }
                ClientJsonRpcMessage::Notification(told) => {
                    told.notification.extensions_mut().insert(own.clone()).map_or((), drop)
                }
                _ => {}
            }
            if at == lead.unwrap_or_default() {
                first = Some(Request::from_parts(own, text.into()));
            } else if matches!(message, ClientJsonRpcMessage::Request(_)) {
                rest.asked.push(message);
            } else {
                rest.told.push(message);
            }
        }
        Ok(first.map(|first| Self { first, rest, length }))
    }
}

/// The message `value`, at `place` of its batch.
fn message_of(value: Value, place: usize) -> Result<ClientJsonRpcMessage> {
    let wrong = |why: &str| Error::invalid(format!("message {} of this batch {why}", place + 1));
    let message: ClientJsonRpcMessage =
        serde_json::from_value(value).map_err(|_| wrong("is not a JSON-RPC 2.0 message that MCP knows"))?;
    if let ClientJsonRpcMessage::Request(request) = &message {
        if matches!(request.request, ClientRequest::InitializeRequest(_)) {
            return Err(wrong("is `initialize`, which is sent alone"));
        }
        if request.request.get_meta().protocol_version().is_some() {
            return Err(wrong("is of a version that has no batches: send it alone"));
        }
    }
    Ok(message)
}

fn head_of(request: &Request<Bytes>) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = request.method().clone();
    head.uri = request.uri().clone();
    head.version = request.version();
    head.headers = request.headers().clone();
    head.extensions = request.extensions().clone();
    head
}

/// The head with which a message of `length` bytes would have come alone.
fn own_head(head: &Parts, length: usize) -> Parts {
    let mut own = head.clone();
    own.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    own
}

/// What a session notes of a request: its id, and where its progress is told.
pub(super) fn question(message: &ClientJsonRpcMessage) -> Option<(RequestId, Option<ProgressToken>)> {
    let ClientJsonRpcMessage::Request(request) = message else { return None };
    Some((request.id.clone(), request.request.get_meta().get_progress_token()))
}

/// Sends each of `queue` to the handler of `session` in its turn, but for those that were cancelled meanwhile. It
/// ends with the session.
pub(super) async fn follow(session: Weak<Session>, queue: Vec<Queued>) {
    for (turn, id, message) in queue {
        // The other end falls when the one before is answered or cancelled, or with the session.
        let _ = turn.await;
        let Some(inbox) = session.upgrade().and_then(|session| session.inbox_for(&id)) else { continue };
        if inbox.send(message).await.is_err() {
            return;
        }
    }
}
