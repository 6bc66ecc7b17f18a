//! What a browser has to be told so that a page's own script may call: the preflight's answer, and the
//! headers that every answer carries, refusals and bugs included. Without them a page sees no status, no
//! challenge and no reason, only "Failed to fetch".
//!
//! Credentials are never allowed: a page sends its token itself, and no cookie means anything here.

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// Who may read an answer.
#[derive(Clone, Debug)]
pub(super) enum Readers {
    /// No page of another origin.
    Nobody,
    /// The page of this origin, which is allowed.
    Origin(HeaderValue),
    /// Every page there is: what is said is public.
    Everybody,
}

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
const METHODS_OPEN: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
/// Named one by one: `*` would not cover `authorization` (Fetch, "CORS non-wildcard request-header name").
const REQUEST_HEADERS: &str = "authorization, content-type, accept, mcp-protocol-version, mcp-session-id, \
     last-event-id, mcp-method, mcp-name, traceparent, tracestate, baggage, x-request-id";
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "mcp-session-id, mcp-protocol-version, www-authenticate, retry-after, x-request-id, ratelimit, ratelimit-policy",
);
/// Two hours: the most that Chromium keeps.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// A tool's arguments as headers (SEP-2243), whose names the host can't know.
const PARAM_PREFIX: &str = "mcp-param-";
const PARAMS_MAX: usize = 32;
const ASKED_BYTES_MAX: usize = 2_048;

/// Whether this is a browser that asks before it sends (Fetch section 4.8). Any other OPTIONS is none.
pub(super) fn is_preflight(head: &Parts) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight; [`dress`] adds for whom.
pub(super) fn preflight(asked: &HeaderMap, readers: &Readers) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    let (methods, allowed) = match readers {
        Readers::Nobody => return answer,
        Readers::Everybody => (METHODS_OPEN, names(asked).collect::<Vec<_>>().join(", ")),
        Readers::Origin(_) => {
            let params = names(asked).filter(|name| name.starts_with(PARAM_PREFIX)).take(PARAMS_MAX);
            (METHODS, params.fold(REQUEST_HEADERS.to_owned(), |list, name| list + ", " + &name))
        }
    };
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.append(VARY, HeaderValue::from_static("access-control-request-method, access-control-request-headers"));
    answer
}

/// The header names that a preflight asks for, those that are names and no more than a bound of them.
fn names(asked: &HeaderMap) -> impl Iterator<Item = String> {
    let lists = asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    let names = names.filter_map(|name| HeaderName::try_from(name.trim()).ok());
    names.map(|name| name.as_str().to_owned()).scan(0, |bytes, name| {
        *bytes += name.len();
        (*bytes <= ASKED_BYTES_MAX).then_some(name)
    })
}

/// Lets `readers` read an answer.
pub(super) fn dress(headers: &mut HeaderMap, readers: Readers) {
    match readers {
        Readers::Nobody => {}
        Readers::Everybody => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        Readers::Origin(origin) => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}
