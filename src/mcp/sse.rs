//! Messages as an event stream on the wire (HTML section 9.2), with a sign of life while nothing is said. It knows
//! nothing of who says what.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use sse_stream::Sse;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::endpoint::Answer;
use super::weight::turn_of;

/// A stream on which nothing is said for so long says that: what is in between takes it for dead otherwise.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An answer that says what `said` says, until `stop`.
pub(super) fn answer<S>(said: S, stop: CancellationToken) -> Answer
where
    S: Stream<Item = ServerSseMessage> + Send + Sync + Unpin + 'static,
{
    let events = stream::unfold((said, stop), async |(mut said, stop)| {
        let next = tokio::select! {
            biased;
            next = said.next() => next,
            () = stop.cancelled() => None,
            () = sleep(KEEP_ALIVE) => return Some((frame(Bytes::from_static(b":\n\n")), (said, stop))),
        };
        let next = next?;
        turn_of(next.message.as_deref()).await;
        Some((frame(event(next)?), (said, stop)))
    });
    let mut answer = Response::new(BodyExt::boxed(StreamBody::new(events)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

fn frame(event: Bytes) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(event))
}

/// One event; `None` if its message can't be written, which ends the stream.
fn event(said: ServerSseMessage) -> Option<Bytes> {
    let data = match &said.message {
        Some(message) => serde_json::to_string(&**message).ok()?,
        // An event without data, so that there is an id to come back with (SEP-1699).
        None => String::new(),
    };
    let mut event = Sse::default().data(data);
    (event.id, event.retry) = (said.event_id, said.retry.and_then(|retry| u64::try_from(retry.as_millis()).ok()));
    Some(event.into())
}
