//! Refusals. The one place that chooses a status and a JSON-RPC code from an error's kind, and the words
//! for what rmcp refuses in bare text.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::guard::Refusal;
use super::request_id::RequestId;
use crate::error::{Bound, Error, ErrorKind};

type RmcpBody = BoxBody<Bytes, Infallible>;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// JSON-RPC 2.0 section 5.1.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const INTERNAL: i32 = -32603;
/// -32000 to -32019 are the implementation's own.
const REFUSED: i32 = -32000;

/// The answer to a request that was refused for `error`.
pub(super) fn refuse(error: &Error, id: RequestId) -> Response {
    let status = status_of(error);
    let code = match error.kind() {
        ErrorKind::Invalid => INVALID_REQUEST,
        ErrorKind::Internal => INTERNAL,
        _ => REFUSED,
    };
    let message = if error.kind() == ErrorKind::Internal { "internal error".to_owned() } else { error.to_string() };
    let mut answer = rpc_error(status, code, &message, error.data(), id);
    let headers = answer.headers_mut();
    if let Some(after) = error.retry_after() {
        // In seconds (RFC 9110 section 10.2.3).
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    }
    if let (Some(bound), Some(after)) = (error.bound(), error.retry_after())
        && bound.name.ends_with("requests_per_second")
    {
        rate_limit(headers, bound, after);
    }
    if std::error::Error::source(error).is_some() || error.kind() == ErrorKind::Internal {
        answer.extensions_mut().insert(Cause(error.chain()));
    }
    answer
}

/// The status that says what `error` says.
pub(super) fn status_of(error: &Error) -> StatusCode {
    match (error.kind(), error.bound().map(|bound| bound.name)) {
        (ErrorKind::Invalid, _) => StatusCode::BAD_REQUEST,
        (ErrorKind::Unauthenticated, _) => StatusCode::UNAUTHORIZED,
        (ErrorKind::Forbidden, _) => StatusCode::FORBIDDEN,
        (ErrorKind::NotFound, _) => StatusCode::NOT_FOUND,
        (ErrorKind::Conflict, _) => StatusCode::CONFLICT,
        (ErrorKind::Limit, Some("body_bytes")) => StatusCode::PAYLOAD_TOO_LARGE,
        (ErrorKind::Limit, Some("body_deadline" | "body_idle")) => StatusCode::REQUEST_TIMEOUT,
        (ErrorKind::Unavailable, Some("answer_deadline")) => StatusCode::GATEWAY_TIMEOUT,
        // The host's own room is nothing that this tenant used up.
        (ErrorKind::Unavailable, _)
        | (ErrorKind::Busy, None | Some("resident_max" | "resident_bytes" | "open_files" | "in_flight")) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        (ErrorKind::Limit | ErrorKind::Busy, _) => StatusCode::TOO_MANY_REQUESTS,
        (ErrorKind::Internal, _) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// draft-ietf-httpapi-ratelimit-headers, for clients that pace themselves by them.
fn rate_limit(headers: &mut HeaderMap, Bound { name, value, .. }: Bound, after: Duration) {
    let policy = format!("\"{name}\";q={value};w=1");
    let left = format!("\"{name}\";r=0;t={}", whole_seconds(after));
    for (header, text) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, left)] {
        if let Ok(text) = HeaderValue::from_str(&text) {
            headers.insert(header, text);
        }
    }
}

/// Upwards: too early would be refused again.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn rpc_error(status: StatusCode, code: i32, message: &str, mut data: Value, id: RequestId) -> Response {
    data["requestId"] = json!(id.as_str());
    let body = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": message, "data": data } });
    let mut answer = Response::new(Body::from(body.to_string()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// What rmcp refuses of the body `asked`, as this host says it: its JSON with the request's id put in, its bare text (in part the
/// request's own words) in JSON and in ours.
pub(super) async fn said_again(refusal: http::Response<RmcpBody>, asked: &[u8], id: RequestId) -> Response {
    let is_json =
        refusal.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_json {
        return in_our_words(&refusal, asked, id);
    }
    let (mut head, body) = refusal.into_parts();
    let Ok(body) = body.collect().await;
    let mut said: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    if let Some(error) = said.get_mut("error").and_then(Value::as_object_mut) {
        let data = error.entry("data").or_insert_with(|| json!({}));
        if let Some(data) = data.as_object_mut() {
            data.insert("requestId".to_owned(), json!(id.as_str()));
        }
    }
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(said.to_string()))
}

/// Whether `kind` says JSON, which is UTF-8 (RFC 8259 section 8.1).
pub(super) fn is_json(kind: Option<&HeaderValue>) -> bool {
    let mut parts = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
            !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
}

/// The answer to a body that is said to be something else than JSON.
pub(super) fn wrong_type(id: RequestId) -> Response {
    let message = "send one JSON-RPC message with the header `Content-Type: application/json`";
    rpc_error(StatusCode::UNSUPPORTED_MEDIA_TYPE, REFUSED, message, json!({}), id)
}

fn in_our_words(refusal: &http::Response<RmcpBody>, asked: &[u8], id: RequestId) -> Response {
    let status = refusal.status();
    let say = |status, code, message| rpc_error(status, code, message, json!({}), id);
    let mut answer = match status {
        StatusCode::NOT_FOUND => say(status, REFUSED, "no such session: send `initialize` to open one"),
        StatusCode::METHOD_NOT_ALLOWED => {
            say(status, REFUSED, "this method is not for /mcp here: see the Allow header")
        }
        StatusCode::NOT_ACCEPTABLE => {
            say(status, REFUSED, "send the header `Accept: application/json, text/event-stream`")
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => return unreadable(asked, id),
        StatusCode::BAD_REQUEST => say(
            status,
            INVALID_REQUEST,
            "not a request that this session can take: send `initialize` first, then its Mcp-Session-Id and a \
             MCP-Protocol-Version that this server speaks",
        ),
        _ if status.is_client_error() => say(status, INVALID_REQUEST, "this request can't be served as it is"),
        _ => say(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL, "internal error"),
    };
    if let Some(allow) = refusal.headers().get(ALLOW) {
        answer.headers_mut().insert(ALLOW, allow.clone());
    }
    answer
}

/// rmcp answers 415 to whatever it can't read; only a second look tells what was wrong.
fn unreadable(asked: &[u8], id: RequestId) -> Response {
    // JSON is UTF-8, which serde_json looks at only where it has to.
    let is_json = std::str::from_utf8(asked).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let (code, message) = if is_json {
        (INVALID_REQUEST, "the body is not one JSON-RPC 2.0 message that MCP knows")
    } else {
        (PARSE_ERROR, "the body is not JSON")
    };
    rpc_error(StatusCode::BAD_REQUEST, code, message, json!({}), id)
}

/// The answer to a request that the guard did not let in.
pub(super) fn turned_away(refusal: Refusal, id: RequestId) -> Response {
    let code = if refusal.status == StatusCode::FORBIDDEN { REFUSED } else { INVALID_REQUEST };
    let mut answer = rpc_error(refusal.status, code, &refusal.message, json!({}), id);
    if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE, OPTIONS"));
    }
    if let Some(cause) = refusal.cause {
        answer.extensions_mut().insert(Cause(cause));
    }
    answer
}

/// The answer to a path that there is not.
pub(super) fn no_such_path(id: RequestId) -> Response {
    rpc_error(StatusCode::NOT_FOUND, REFUSED, "nothing is served here: MCP is at /mcp", json!({}), id)
}

/// The answer to a method that a path has not.
pub(super) fn no_such_method(id: RequestId) -> Response {
    rpc_error(StatusCode::METHOD_NOT_ALLOWED, REFUSED, "this path takes GET", json!({}), id)
}

/// Why a request was refused, for the log alone.
#[derive(Clone, Debug)]
pub(super) struct Cause(pub(super) String);

/// A bug of ours costs one answer. The hook has logged where.
pub(super) fn panicked(id: RequestId) -> Response {
    rpc_error(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL, "internal error", json!({}), id)
}
