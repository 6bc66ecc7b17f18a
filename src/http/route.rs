//! `/mcp`, and what is not `/mcp`: who calls, whose it is, and in. Each step refuses what the next one should not see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::Edge;
use super::admit::admit;
use super::audit::{Seen, word};
use super::authenticate::authenticate;
use super::client::ClientAddr;
use super::door::enter;
use super::request_id::RequestId;
use super::request_log::Caller;
use super::respond::{Asked, no_such_method, no_such_path, said_again};
use super::scope::Wanted;
use super::until::Until;
use crate::config::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::mcp::waits_for_news;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Every method of `/mcp`. A caller without a token learns nothing else, not even which methods there are.
pub(super) async fn mcp(State(edge): State<Edge>, request: Request) -> Response {
    let answer = async |id, request: Request| {
        let (begun, mut seen) = (Instant::now(), Seen::default());
        let parts = &edge.0;
        match serve(&edge, id, request, &mut seen).await {
            Ok(answer) => {
                seen.served(&parts.audit, parts.clock.now(), answer.status(), begun.elapsed(), id);
                answer
            }
            Err(error) => {
                let answer = parts.challenges.answer(&error, id);
                seen.refused(&parts.audit, parts.clock.now(), &error, answer.status(), id);
                answer
            }
        }
    };
    enter(&edge, request, answer).await
}

/// Every other path.
pub(super) async fn elsewhere(State(edge): State<Edge>, request: Request) -> Response {
    enter(&edge, request, async |id, _| no_such_path(id)).await
}

/// Every method that a path has not.
pub(super) async fn otherwise(State(edge): State<Edge>, request: Request) -> Response {
    enter(&edge, request, async |id, _| no_such_method(id)).await
}

async fn serve(edge: &Edge, id: RequestId, request: Request, seen: &mut Seen) -> Result<Response> {
    let parts = &edge.0;
    let (mut head, body) = request.into_parts();
    let in_flight = parts.drain.enter().ok_or_else(stopping)?;
    let client = head.extensions.get::<ClientAddr>().map(|client| client.0);
    *seen = Seen::of(&head, client);
    let principal = authenticate(&parts.gate, &parts.failures, &mut head, seen).await?;
    seen.caller = Some(principal.clone());
    let tenant = parts.tenants.get(principal.tenant()).await?;
    let waits_for_news = waits_for_news(&head.method, &head.headers);
    let caller = Caller(principal.tenant().clone());
    let admitted = admit(&tenant.tenant, &principal, &head, waits_for_news, &*parts.clock)?;
    head.extensions.insert(principal.clone());
    // What is kept of a call bears the id of its answer.
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        head.headers.insert(X_REQUEST_ID, id);
    }
    let body = collect(&head.headers, body, tenant.tenant.limits()).await?;
    seen.bytes = body.len();
    for wanted in Wanted::all(&body)? {
        if parts.audit.is_on() {
            (seen.method, seen.tool) = (wanted.method().map(word), wanted.tool().map(word));
        }
        wanted.check(&principal, |tool| tenant.endpoint.scope_of(tool))?;
    }
    let held = admitted.begin(&body).await?;
    head.extensions.insert(held.clone());
    let in_flight = Arc::new(in_flight);
    if !waits_for_news {
        // With the request: a call of an older client goes on when its client is gone.
        head.extensions.insert(Arc::clone(&in_flight));
    }
    let asked = Asked { kind: head.headers.get(CONTENT_TYPE).cloned(), body: body.clone() };
    let answer = tenant.endpoint.handle(Request::from_parts(head, body)).await?;
    let status = answer.status();
    let mut answer = if status.is_client_error() || status.is_server_error() {
        said_again(answer, &asked, id).await
    } else if is_stream(&answer) {
        // An answer keeps its tenant open until it ends, and the process waits for it. A stream of notifications
        // ends with its tenant: who only listens keeps no file open.
        let held = (held, (!waits_for_news).then_some((tenant, in_flight)));
        let end = Arc::clone(&parts.gate).ended(principal);
        answer.map(|body| Body::new(Until::new(Body::new(body), held, end)))
    } else {
        answer.map(Body::new)
    };
    answer.extensions_mut().insert(caller);
    Ok(answer)
}

fn is_stream<B>(answer: &http::Response<B>) -> bool {
    answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// The whole body, within its bounds of size and time: a tool begins when all of its arguments are here.
async fn collect(headers: &http::HeaderMap, body: Body, limits: &Limits) -> Result<Bytes> {
    let most = limits.body_bytes.as_u64();
    let too_large =
        || Error::limit("body_bytes", most, format!("the body is larger than {most} bytes: send less at once"));
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let limited = Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX));
    let late = || {
        let millis = u64::try_from(limits.body_deadline.as_millis()).unwrap_or(u64::MAX);
        Error::limit("body_deadline", millis, format!("the body did not arrive within {millis} ms"))
    };
    match timeout(limits.body_deadline, limited.collect()).await.map_err(|_| late())? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Error::invalid("the body broke off")),
    }
}

fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "this server is stopping: send the request again, to another")
        .with_retry_after(Duration::from_secs(1))
}
