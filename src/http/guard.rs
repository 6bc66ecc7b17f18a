//! What a request has to look like before anybody asks who sent it: one meaning, a bounded head, a Host that
//! is ours and an Origin that may call. It knows no token.
//!
//! What two readers of one request could read differently is refused (RFC 9112 section 11.2): a balancer
//! must not have routed by one Host, or one session id, what is served by another.

use std::borrow::Cow;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST, ORIGIN, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::cors::Readers;
use crate::config::{AllowedOrigin, Origin, PublicUrl, Settings};

const URI_BYTES_MAX: usize = 2_048;
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 * 1_024;
/// As much of a stranger's word as the log repeats.
const TOLD_BYTES_MAX: usize = 128;

/// Headers that say one thing or nothing.
const SINGLE: [HeaderName; 7] = [
    HOST,
    ORIGIN,
    CONTENT_TYPE,
    HeaderName::from_static("mcp-session-id"),
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("access-control-request-method"),
];

/// What a path is for, as far as the door treats it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The protocol: pages that are allowed, Hosts that are ours.
    Mcp,
    /// What everybody may read: where a token is to be had.
    WellKnown,
    /// For a balancer, which asks by address and reads a status.
    Health,
    /// Nothing is served there; a page that is allowed may read that.
    Elsewhere,
}

impl Place {
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/mcp" | "/mcp/" => Self::Mcp,
            "/healthz" | "/readyz" => Self::Health,
            _ if path.starts_with("/.well-known/") => Self::WellKnown,
            _ => Self::Elsewhere,
        }
    }
}

/// Why a request was not let in, in words for its sender and, where it helps an operator, for the log.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: Cow<'static, str>,
    pub(super) cause: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), cause: None }
    }

    fn told(mut self, what: &str, value: &str) -> Self {
        let shown: String = value.chars().take(TOLD_BYTES_MAX).collect();
        self.cause = Some(format!("{what}: {shown}"));
        self
    }
}

/// Whose requests are let in.
#[derive(Debug)]
pub(super) struct Guard {
    own: Vec<Origin>,
    /// How most clients write them.
    own_names: Vec<String>,
    allowed: Vec<AllowedOrigin>,
}

impl Guard {
    /// What `settings` call this host, and whom they let call it.
    pub(super) fn new(settings: &Settings) -> Self {
        let listen = settings.listen;
        // Where it listens for this machine alone, it is called by all of this machine's names.
        let local: &[&str] = if listen.ip().is_loopback() { &["localhost", "127.0.0.1", "[::1]"] } else { &[] };
        let names = local.iter().map(|name| format!("{name}:{}", listen.port())).chain([listen.to_string()]);
        let named = names.filter_map(|name| Origin::new(settings.speaks_tls(), &name).ok());
        let own: Vec<Origin> = settings.public_url.iter().map(PublicUrl::as_origin).cloned().chain(named).collect();
        let allowed = own.iter().cloned().map(AllowedOrigin::Exact);
        let allowed = allowed.chain(settings.cors.allowed_origins.iter().cloned()).collect();
        let own_names = own.iter().map(Origin::authority).collect();
        Self { own, own_names, allowed }
    }

    /// Who may read what is answered, whatever it is.
    pub(super) fn readers(&self, place: Place, headers: &HeaderMap) -> Readers {
        match place {
            Place::WellKnown => Readers::Everybody,
            Place::Health => Readers::Nobody,
            Place::Mcp | Place::Elsewhere => {
                let mut sent = headers.get_all(ORIGIN).iter();
                match (sent.next(), sent.next()) {
                    (Some(origin), None) if origin.to_str().is_ok_and(|origin| self.lets_call(origin)) => {
                        Readers::Origin(origin.clone())
                    }
                    _ => Readers::Nobody,
                }
            }
        }
    }

    fn lets_call(&self, origin: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.allows(origin))
    }

    /// Lets a request to `place` in, or says why not.
    pub(super) fn check(&self, place: Place, head: &Parts, readers: &Readers) -> Result<(), Refusal> {
        bounded(head)?;
        unequivocal(head)?;
        if place == Place::Health {
            return Ok(());
        }
        self.check_host(head)?;
        if place != Place::Mcp {
            return Ok(());
        }
        if let (Some(origin), Readers::Nobody) = (head.headers.get(ORIGIN), readers) {
            let message = "pages of this Origin may not call here: the operator allows them by cors.allowed_origins";
            let origin = String::from_utf8_lossy(origin.as_bytes());
            return Err(Refusal::new(StatusCode::FORBIDDEN, message).told("Origin not allowed", &origin));
        }
        if head.uri.query().is_some() {
            let message = "nothing behind a `?` is read here: a token goes into the header `Authorization: Bearer`";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
        if head.headers.contains_key(CONTENT_ENCODING) {
            let message = "send the body as it is, without Content-Encoding";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        Ok(())
    }

    fn check_host(&self, head: &Parts) -> Result<(), Refusal> {
        let bad = |message: &'static str| Refusal::new(StatusCode::BAD_REQUEST, message);
        let header = match head.headers.get(HOST).map(|host| host.to_str()) {
            Some(Ok(host)) => Some(host),
            Some(Err(_)) => return Err(bad("the header `Host` has to be a host and perhaps a port")),
            None => None,
        };
        // HTTP/2 says it in `:authority`, a proxy's HTTP/1 form in the target.
        let target = head.uri.authority().map(http::uri::Authority::as_str);
        let host = match (header, target) {
            (None, None) => return Err(bad("send the header `Host` (RFC 9112 section 3.2)")),
            (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => {
                return Err(bad("the target and the header `Host` name two hosts: send one"));
            }
            (Some(host), _) | (None, Some(host)) => host,
        };
        if self.own_names.iter().any(|own| own == host) || self.own.iter().any(|own| own.answers_to(host)) {
            return Ok(());
        }
        let message = "this Host is not served here: set public_url to the address that clients use";
        Err(Refusal::new(StatusCode::FORBIDDEN, message).told("Host not ours", host))
    }
}

fn bounded(head: &Parts) -> Result<(), Refusal> {
    let target = head.uri.path().len() + head.uri.query().map_or(0, str::len);
    if target > URI_BYTES_MAX {
        let message = format!("the target is longer than {URI_BYTES_MAX} bytes");
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, message));
    }
    let bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if head.headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        let message = format!("send at most {HEADERS_MAX} headers of {HEADER_BYTES_MAX} bytes together");
        return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message));
    }
    Ok(())
}

fn unequivocal(head: &Parts) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this is no proxy"));
    }
    for name in &SINGLE {
        let mut values = head.headers.get_all(name).iter();
        if values.next().is_some_and(|value| value.to_str().is_err()) {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, format!("the header `{name}` has to be plain text")));
        }
        if values.next().is_some() {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, format!("send the header `{name}` once")));
        }
    }
    if head.headers.contains_key(UPGRADE) {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "no other protocol is spoken here: leave out `Upgrade`"));
    }
    let expects = head.headers.get(EXPECT);
    if expects.is_some_and(|wanted| !wanted.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::new(StatusCode::EXPECTATION_FAILED, "only `Expect: 100-continue` can be met"));
    }
    Ok(())
}
