//! The one public error. Its kind says what the caller should do; the rest is a message and a source.
//!
//! It knows no HTTP status and no JSON-RPC code: `http::respond` and `mcp::refusal` choose those.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What the caller should do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong as it stands: mend it, then send it again.
    Invalid,
    /// The caller has not shown who it is: get a new token.
    Unauthenticated,
    /// The caller may not do this: ask for other rights, or do without.
    Forbidden,
    /// There is no such thing, or it is not the caller's.
    NotFound,
    /// It collides with what is there: read the present state, then decide.
    Conflict,
    /// A stated bound was reached: ask for less.
    Limit,
    /// It was not begun, for too much is waiting: the same request may succeed a little later.
    Busy,
    /// It can't be served at present: an operator has to act, or time has to pass.
    Unavailable,
    /// Our fault. The cause is in the log under the request's id; nothing of it is told outside.
    Internal,
}

/// The bound that was reached: its configuration key and its value in the key's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bound {
    /// The key under `[limits]`, such as `result_rows`.
    pub name: &'static str,
    /// Its value: a count, bytes, or milliseconds, as the key says.
    pub value: u64,
}

/// Why something was not done, and through [`Error::kind`] what to do next.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    bound: Option<Bound>,
    retry_after: Option<Duration>,
    /// A word for programs, where the kind alone does not say enough.
    reason: Option<&'static str>,
    /// Which part of the request it is about, told before the message.
    place: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// An error of `kind`; `message` is a lowercase fragment that a caller may read.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            bound: None,
            retry_after: None,
            reason: None,
            place: None,
            source: None,
        }))
    }

    /// The request is wrong as it stands.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Our fault: `message` goes to the log, never to the caller.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The bound `name` of `value` was reached.
    pub fn limit(name: &'static str, value: u64, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Limit, message).with_bound(name, value)
    }

    /// Not begun, since `name` of `value` is full; worth a try after `retry_after`.
    pub fn busy(name: &'static str, value: u64, retry_after: Duration) -> Self {
        let mut error = Self::new(
            ErrorKind::Busy,
            format!("nothing was done: {name} of {value} is full; try again in {} ms", retry_after.as_millis()),
        )
        .with_bound(name, value);
        error.0.retry_after = Some(retry_after);
        error
    }

    /// The same error with the bound that it reached.
    #[must_use]
    pub fn with_bound(mut self, name: &'static str, value: u64) -> Self {
        self.0.bound = Some(Bound { name, value });
        self
    }

    /// The same error with the time after which another try makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// The same error with a word for programs, such as `tenant_suspended`: `reason` in a refusal's `data`.
    #[must_use]
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// The same error with its cause, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error, said of `place`.
    pub(crate) fn at(mut self, place: String) -> Self {
        self.0.place = Some(place);
        self
    }

    /// The same error in other words.
    pub(crate) fn reworded(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.0.message = message.into();
        self
    }

    /// The same answer for one more caller; the cause stays with the first.
    pub(crate) fn repeat(&self) -> Self {
        let Inner { kind, message, bound, retry_after, reason, place, .. } = &*self.0;
        Self(Box::new(Inner {
            kind: *kind,
            message: message.clone(),
            bound: *bound,
            retry_after: *retry_after,
            reason: *reason,
            place: place.clone(),
            source: None,
        }))
    }

    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The bound that was reached, if one was.
    #[must_use]
    pub fn bound(&self) -> Option<Bound> {
        self.0.bound
    }

    /// When another try makes sense, if waiting helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The word for programs, if there is one.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        self.0.reason
    }

    /// What a refusal's `data` has of it: `limit`, `value`, `retryAfterMs`, `reason`.
    pub(crate) fn data(&self) -> Value {
        let mut data = json!({});
        if let Some(bound) = self.bound() {
            data["limit"] = json!(bound.name);
            data["value"] = json!(bound.value);
        }
        if let Some(after) = self.retry_after() {
            data["retryAfterMs"] = json!(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        }
        if let Some(reason) = self.reason() {
            data["reason"] = json!(reason);
        }
        data
    }

    /// The message and every cause below it, for a log line or a terminal.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.place {
            Some(place) => write!(f, "{place}: {}", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
