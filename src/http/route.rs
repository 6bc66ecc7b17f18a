//! `/mcp`, and what is not `/mcp`: who calls, whose it is, and in. Each step refuses what the next one should not see.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::{Instant, timeout_at};

use super::Edge;
use super::admit::admit;
use super::audit::{Seen, word};
use super::authenticate::authenticate;
use super::client::ClientAddr;
use super::door::enter;
use super::pieces::Pieces;
use super::request_id::RequestId;
use super::respond::{is_json, no_such_method, no_such_path, said_again, wrong_type};
use super::scope::Wanted;
use super::trace::Traced;
use super::until::Until;
use crate::clock::millis;
use crate::config::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::mcp::waits_for_news;
use crate::tenant::Meter;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Every method of `/mcp`. A caller without a token learns nothing else, not even which methods there are.
pub(super) async fn mcp(State(edge): State<Edge>, request: Request) -> Response {
    let answer = async |id, request: Request| {
        let (begun, mut seen) = (Instant::now(), Seen::default());
        let parts = &edge.0;
        match serve(&edge, id, request, &mut seen, begun.into_std()).await {
            Ok(mut answer) => {
                seen.served(&parts.audit, parts.clock.now(), answer.status(), begun.elapsed(), id);
                seen.leave(&mut answer);
                answer
            }
            Err(error) => {
                seen.count(parts.door.metrics(), &error, id);
                let mut answer = parts.challenges.answer(&error, id);
                seen.refused(&parts.audit, parts.clock.now(), &error, answer.status(), id);
                seen.leave(&mut answer);
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

async fn serve(
    edge: &Edge,
    id: RequestId,
    request: Request,
    seen: &mut Seen,
    begun: std::time::Instant,
) -> Result<Response> {
    let parts = &edge.0;
    let (mut head, body) = request.into_parts();
    let in_flight = parts.drain.enter().ok_or_else(stopping)?;
    let client = head.extensions.get::<ClientAddr>().map(|client| client.0);
    *seen = Seen::of(&head, client);
    seen.traced = Traced::of(parts.door.traces(), &head, begun);
    let principal = authenticate(&parts.gate, &parts.failures, &mut head, seen).await?;
    seen.caller = Some(principal.clone());
    let tenant = parts.tenants.get(principal.tenant()).await?;
    let waits_for_news = waits_for_news(&head.method, &head.headers);
    seen.tenant = Some(tenant.tenant.clone());
    tenant.tenant.meter().request();
    let admitted = admit(&tenant.tenant, &principal, &head, waits_for_news, &*parts.clock)?;
    if head.method == Method::POST {
        if !is_json(head.headers.get(CONTENT_TYPE)) {
            return Ok(wrong_type(id));
        }
        // In the one spelling that everybody behind here knows.
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    head.extensions.insert(principal.clone());
    // What is kept of a call bears the id of its answer.
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        head.headers.insert(X_REQUEST_ID, id);
    }
    let body = collect(&head.headers, body, tenant.tenant.limits()).await?;
    seen.bytes = body.len();
    let wanted = Wanted::all(&body)?;
    if let Some(traced) = &mut seen.traced {
        let has = |tool: &str| tenant.endpoint.scope_of(tool).is_some();
        traced.begin(&tenant.tenant, id, (&body, &wanted), has);
    }
    let trace = seen.traced.as_ref().and_then(|traced| traced.trace()).cloned();
    let spent = Arc::new(Meter::of(trace.clone()));
    seen.spent = Some(Arc::clone(&spent));
    head.extensions.insert(spent);
    for wanted in &wanted {
        (seen.method, seen.tool) = (wanted.method().map(word), wanted.tool().map(word));
        wanted.check(&principal, |tool| tenant.endpoint.scope_of(tool))?;
    }
    let held = admitted.begin(Wanted::any_call(&wanted, &body), trace.as_ref()).await?;
    head.extensions.insert(held.clone());
    let in_flight = Arc::new(in_flight);
    if !waits_for_news {
        // With the request: a call of an older client goes on when its client is gone.
        head.extensions.insert(Arc::clone(&in_flight));
    }
    let answer = tenant.endpoint.handle(Request::from_parts(head, body.clone())).await?;
    let status = answer.status();
    Ok(if status.is_client_error() || status.is_server_error() {
        said_again(answer, &body, id).await
    } else if is_stream(&answer) {
        // An answer keeps its tenant open until it ends, and the process waits for it. A stream of notifications
        // ends with its tenant: who only listens keeps no file open.
        seen.streams = !waits_for_news;
        let open = (!waits_for_news).then(|| (tenant, in_flight, trace.map(|trace| trace.hold())));
        let held = (held, open);
        let end = Arc::clone(&parts.gate).ended(principal);
        answer.map(|body| Body::new(Until::new(Body::new(body), held, end)))
    } else {
        answer.map(|body| Body::new(Pieces::new(Body::new(body), held)))
    })
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
    let mut body = Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX));
    let end = Instant::now() + limits.body_deadline;
    let mut whole = BytesMut::new();
    loop {
        let silent = Instant::now() + limits.body_idle;
        match timeout_at(end.min(silent), body.frame()).await {
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Ok(frame))) => {
                // Trailers say nothing here: a token in them came too late.
                if let Ok(data) = frame.into_data() {
                    whole.extend_from_slice(&data);
                }
            }
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(too_large()),
            Ok(Some(Err(_))) => return Err(Error::invalid("the body broke off")),
            Err(_) if silent < end => return Err(late("body_idle", limits.body_idle)),
            Err(_) => return Err(late("body_deadline", limits.body_deadline)),
        }
    }
}

fn late(bound: &'static str, within: Duration) -> Error {
    let millis = millis(within);
    Error::limit(bound, millis, format!("the body did not arrive in time: {millis} ms ({bound})"))
}

fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "this server is stopping: send the request again, to another")
        .with_retry_after(Duration::from_secs(1))
}
