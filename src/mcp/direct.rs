//! The short way of the call that agents make most: a `tools/call` with nothing odd about it, handed to the handler
//! where it is read. rmcp's own way leads a request of 2026-07-28 through a service with three queues and two tasks and
//! writes its body out again to compare it with its headers, and a session's through three tasks; what it would
//! refuse goes that way still, to be refused in its words. This file knows no token.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{poll, stream};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientJsonRpcMessage, ClientRequest, ErrorCode,
    Implementation, InitializeRequestParams, JsonObject, JsonRpcVersion2_0, ProtocolVersion, RequestId,
    RequestMetaObject, ServerCapabilities, ServerConfig, ServerJsonRpcMessage, Tool,
};
use rmcp::service::{RequestContext, RunningService, serve_directly_with_ct};
use rmcp::transport::Transport;
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use rmcp::{Peer, RoleServer, ServerHandler, Service};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::endpoint::Answer;
use super::sessions::{Seat, no_such_session};
use super::{sse, weight};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::Handle;

const METHOD: &str = "tools/call";
/// How a header names what is not plain text (SEP-2243): rmcp decodes it.
const ENCODED: &str = "=?";
/// The annotation of a parameter that a header repeats (SEP-2243): rmcp compares them.
const IN_HEADER: &str = "x-mcp-header";
/// What a tool tells before its answer waits here for its reader, and the tool with it.
const TOLD: usize = 16;
/// The versions that have sessions.
const WITH_SESSIONS: [ProtocolVersion; 3] =
    [ProtocolVersion::V_2025_03_26, ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25];

type Called = Pin<Box<dyn Future<Output = ServerJsonRpcMessage> + Send>>;

/// A call as it stands in a body. A field that is not known here may mean something to rmcp.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(rename = "jsonrpc")]
    _jsonrpc: JsonRpcVersion2_0,
    id: RequestId,
    #[serde(rename = "method")]
    _method: CallMethod,
    params: CallToolRequestParams,
}

#[derive(Deserialize)]
enum CallMethod {
    #[serde(rename = "tools/call")]
    Call,
}

/// A call that may go the short way.
pub(super) struct Call {
    id: RequestId,
    meta: RequestMetaObject,
    params: CallToolRequestParams,
}

impl Call {
    /// The call in `request`, if it is one and rmcp would find no fault with it: its headers say what its body says
    /// (SEP-2243), and its `_meta` has all that a request without a session needs (SEP-2575).
    pub(super) fn of(request: &Request<Bytes>, described: impl FnOnce(&str) -> Option<Tool>) -> Option<Self> {
        let headers = request.headers();
        let modern = &ProtocolVersion::V_2026_07_28;
        if request.method() != Method::POST
            || only_text(headers, "mcp-method")? != METHOD
            || only_text(headers, "mcp-protocol-version")? != modern.as_str()
        {
            return None;
        }
        let Message { id, mut params, .. } = serde_json::from_slice(request.body()).ok()?;
        let meta = params.meta.take()?;
        let name = only_text(headers, "mcp-name")?;
        let whole = meta.protocol_version().as_ref() == Some(modern) && meta.missing_required_keys(modern).is_empty();
        let annotated = || described(&params.name).is_some_and(|tool| mentions(&tool.input_schema, IN_HEADER));
        (whole && name == params.name && !name.starts_with(ENCODED) && !annotated()).then_some(Self {
            id,
            meta,
            params,
        })
    }

    /// The call in `request`, which names a session, if it is one and rmcp would find no fault with it.
    pub(super) fn in_session(request: &Request<Bytes>) -> Option<Self> {
        let version = request.headers().get("mcp-protocol-version");
        if !version.is_none_or(|version| WITH_SESSIONS.iter().any(|with| version == with.as_str())) {
            return None;
        }
        let Message { id, mut params, .. } = serde_json::from_slice(request.body()).ok()?;
        let meta = params.meta.take().unwrap_or_default();
        meta.protocol_version().is_none().then_some(Self { id, meta, params })
    }

    /// Has `handler`, which is `tenant`'s, answer it in JSON, or where it tells of something first, in a stream. A caller
    /// who leaves ends the call.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: `stop` came before anything was said.
    pub(super) async fn alone<S: ServerHandler>(
        self,
        tenant: &Handle,
        handler: Arc<S>,
        parts: Parts,
        stop: &CancellationToken,
    ) -> Result<Answer> {
        let ended = CancellationToken::new();
        let (sender, mut told) = mpsc::channel(TOLD);
        // Falls with this future, and ends the call then.
        let line = line(sender.clone(), ended.clone());
        let mut called = self.call(handler, parts, line.peer().clone(), ended.clone());
        let (first, called) = tokio::select! {
            biased;
            first = told.recv() => (first, called),
            answer = &mut called => match told.try_recv() {
                Ok(first) => (Some(first), Box::pin(ready(answer)) as Called),
                Err(_) => return json(tenant, answer).await,
            },
            () = stop.cancelled() => (None, called),
        };
        let stopping = || Error::new(ErrorKind::Unavailable, "this tenant is being closed: send the request again");
        let first = first.ok_or_else(|| stopping().with_retry_after(Duration::from_secs(1)))?;
        // From here on it is told in a stream, whose reader may be slow: the tool must not stand still with it.
        tokio::spawn(async move {
            // That the reader has gone ends the call; then nobody is left to hear of it.
            let _ = sender.send(called.await).await;
            drop(line);
        });
        let told = stream::unfold((Some(first), told, ended.drop_guard()), async |(first, mut told, guard)| {
            let message = match first {
                Some(first) => first,
                None => told.recv().await?,
            };
            Some((ServerSseMessage::from_message(message), (None, told, guard)))
        });
        Ok(sse::answer(Box::pin(told), stop.child_token()))
    }

    /// Has `handler` answer it in a stream of the session, which keeps the answer for a client who leaves.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: one of its id is under way in the session; [`ErrorKind::NotFound`]: the session is over.
    pub(super) async fn in_seat<S: ServerHandler>(
        self,
        handler: Arc<S>,
        parts: Parts,
        seat: Seat,
        stop: &CancellationToken,
    ) -> Result<Answer> {
        let ended = CancellationToken::new();
        let begun = seat.begin(&self.id, self.meta.get_progress_token(), ended.clone().drop_guard())?;
        let reader = begun.ok_or_else(no_such_session)?;
        let mut called = self.call(handler, parts, seat.peer().clone(), ended);
        match poll!(&mut called) {
            Poll::Ready(answer) => seat.route(answer),
            Poll::Pending => drop(tokio::spawn(async move { seat.route(called.await) })),
        }
        Ok(sse::answer(reader, stop.child_token()))
    }

    fn call<S: ServerHandler>(
        self,
        handler: Arc<S>,
        parts: Parts,
        peer: Peer<RoleServer>,
        ended: CancellationToken,
    ) -> Called {
        let Self { id, meta, params } = self;
        let mut context = RequestContext::new(id.clone(), peer);
        (context.ct, context.meta) = (ended, meta);
        context.extensions.insert(parts);
        Box::pin(async move {
            let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
            match handler.handle_request(request, context).await {
                Ok(result) => ServerJsonRpcMessage::response(result, id),
                Err(error) => ServerJsonRpcMessage::error(error, Some(id)),
            }
        })
    }
}

/// The one value of a header, if it is text.
pub(crate) fn only_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether `key` stands anywhere in `schema`: more than rmcp looks at, and what is too much goes rmcp's way.
fn mentions(schema: &JsonObject, key: &str) -> bool {
    fn within(value: &serde_json::Value, key: &str) -> bool {
        match value {
            serde_json::Value::Object(map) => mentions(map, key),
            serde_json::Value::Array(list) => list.iter().any(|one| within(one, key)),
            _ => false,
        }
    }
    schema.contains_key(key) || schema.values().any(|value| within(value, key))
}

/// A peer of rmcp's for one call: what is sent to it comes out of the other end of `sender`. One for each call, for a
/// handler may keep its peer, and what it sends later must not reach another's answer.
fn line(sender: mpsc::Sender<ServerJsonRpcMessage>, ended: CancellationToken) -> RunningService<RoleServer, Nobody> {
    let client = InitializeRequestParams::new(ClientCapabilities::default(), Implementation::default())
        .with_protocol_version(ProtocolVersion::V_2026_07_28);
    serve_directly_with_ct(Nobody, Line(sender), Some(client), ended)
}

/// Nothing comes in by a [`Line`].
struct Nobody;

impl ServerHandler for Nobody {
    fn get_info(&self) -> ServerConfig {
        // Asked for with each call, and read by nobody.
        ServerConfig::new(ServerCapabilities::default()).with_server_info(Implementation::new("", ""))
    }
}

struct Line(mpsc::Sender<ServerJsonRpcMessage>);

impl Transport<RoleServer> for Line {
    type Error = mpsc::error::SendError<ServerJsonRpcMessage>;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = std::result::Result<(), Self::Error>> + Send + 'static {
        let sender = self.0.clone();
        async move { sender.send(message).await }
    }

    fn receive(&mut self) -> impl Future<Output = Option<ClientJsonRpcMessage>> + Send {
        std::future::pending()
    }

    fn close(&mut self) -> impl Future<Output = std::result::Result<(), Self::Error>> + Send {
        ready(Ok(()))
    }
}

/// The statuses that 2026-07-28 gives to refusals; whatever else a tool says is an answer.
fn status(message: &ServerJsonRpcMessage) -> StatusCode {
    match message {
        ServerJsonRpcMessage::Error(refused) => match refused.error.code {
            ErrorCode::UNSUPPORTED_PROTOCOL_VERSION
            | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
            | ErrorCode::HEADER_MISMATCH => StatusCode::BAD_REQUEST,
            ErrorCode::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
            _ => StatusCode::OK,
        },
        _ => StatusCode::OK,
    }
}

async fn json(tenant: &Handle, message: ServerJsonRpcMessage) -> Result<Answer> {
    let status = status(&message);
    let mut answer = Response::new(Full::new(Bytes::from(weight::write(tenant, message).await?)).boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}
