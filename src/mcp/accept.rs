//! What a client takes for an answer. rmcp serves those alone who name both types, as the specification has it; curl
//! and clients of plain JSON name less, and are served as well: where an answer is a stream that they could not read,
//! they get the messages in it that answer them.

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use sse_stream::SseStream;

use super::endpoint::Answer;
use super::weight::{BIG, aside};
use crate::error::{Error, ErrorKind, Result};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// What a client makes of the answer to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// It as it is.
    Anything,
    /// Of a stream the answers alone: one message, or a list of them if it asked with a list.
    Json { list: bool },
    /// Nothing that there is: rmcp refuses it.
    Nothing,
}

/// Names both types in `headers` for a client that takes what it will get.
pub(super) fn widen(method: &Method, headers: &mut HeaderMap, waits_for_news: bool, list: bool) -> Reads {
    // What most clients write, to the letter.
    if *method == Method::POST && headers.get(ACCEPT) == Some(&BOTH) && headers.get_all(ACCEPT).iter().count() == 1 {
        return Reads::Anything;
    }
    let (json, events) = (takes(headers, JSON), takes(headers, EVENTS));
    match (json, events) {
        _ if *method == Method::GET && events => {
            headers.insert(ACCEPT, HeaderValue::from_static(EVENTS));
            Reads::Anything
        }
        (true, true) => {
            headers.insert(ACCEPT, BOTH);
            Reads::Anything
        }
        // News have no end, and are no answer.
        (true, false) if *method == Method::POST && !waits_for_news => {
            headers.insert(ACCEPT, BOTH);
            Reads::Json { list }
        }
        _ => Reads::Nothing,
    }
}

/// Whether `headers` accept `wanted` (RFC 9110 section 12.5.1): the most precise range that covers it decides, and no
/// header at all accepts everything.
fn takes(headers: &HeaderMap, wanted: &str) -> bool {
    let mut lines = headers.get_all(ACCEPT).iter().peekable();
    if lines.peek().is_none() {
        return true;
    }
    let ranges = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let best = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let precision = match parts.next()? {
            "*/*" => 1,
            name if name.strip_suffix("/*").is_some_and(|family| wanted.starts_with(family)) => 2,
            name if name.eq_ignore_ascii_case(wanted) => 3,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((precision, weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0))))
    });
    best.max().is_some_and(|(_, taken)| taken)
}

/// Whether `answer` is told event by event.
pub(super) fn is_stream(answer: &Answer) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(EVENTS.as_bytes()))
}

/// `answer` as its client reads it.
///
/// # Errors
/// [`ErrorKind::Unavailable`]: the stream ended before what was asked was answered.
pub(super) async fn fold(answer: Answer, reads: Reads) -> Result<Answer> {
    let Reads::Json { list } = reads else { return Ok(answer) };
    if !is_stream(&answer) {
        return Ok(answer);
    }
    let (mut head, body) = answer.into_parts();
    let mut events = SseStream::new(body);
    let mut answers: Vec<Box<str>> = Vec::new();
    while let Some(event) = events.next().await {
        let event =
            event.map_err(|error| Error::internal("a stream of ours can't be read").with_source(error.to_string()))?;
        let Some(data) = event.data.filter(|data| aside(data.len() >= BIG, || is_answer(data))) else { continue };
        answers.push(data.into());
    }
    let json = match (list, answers.pop()) {
        (_, None) => {
            let message = "the session ended before the answer: look at what was done before calling again";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        (false, Some(answer)) => String::from(answer),
        (true, Some(last)) => {
            answers.push(last);
            format!("[{}]", answers.join(","))
        }
    };
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(Response::from_parts(head, Full::new(Bytes::from(json)).boxed()))
}

/// Whether `data` answers something, rather than tell or ask.
fn is_answer(data: &str) -> bool {
    serde_json::from_str::<Value>(data).is_ok_and(|message| message.get("method").is_none())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::ACCEPT;

    use super::{EVENTS, JSON, takes};

    #[test]
    fn the_most_precise_range_decides() {
        for (line, json, events) in [
            (None, true, true),
            (Some("*/*"), true, true),
            (Some("application/json"), true, false),
            (Some("application/*, text/html"), true, false),
            (Some("Application/JSON; charset=utf-8, text/event-stream;q=0.5"), true, true),
            (Some("text/event-stream;q=0, */*"), true, false),
            (Some("*/*;q=0, application/json"), true, false),
            (Some("application/json;q=0.0, application/*"), false, false),
            (Some("text/html"), false, false),
            (Some(""), false, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(line.map(|line| (ACCEPT, line.parse().expect("a header"))));
            assert_eq!((takes(&headers, JSON), takes(&headers, EVENTS)), (json, events), "{line:?}");
        }
    }
}
