//! What the audit log is told of a request: who, from where, what was asked, and how it ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::response::Response;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::request_id::RequestId;
use super::request_log::Caller;
use super::trace::Traced;
use crate::auth::{InsufficientScope, Principal, Rejected};
use crate::error::{Error, ErrorKind};
use crate::hex::hex;
use crate::telemetry::{Audit, Metrics};
use crate::tenant::{Handle, Meter};

/// As much of a word out of a request as a record should hold.
const WORD_BYTES_MAX: usize = 128;

/// What is learned of a request on its way in.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) client: Option<IpAddr>,
    pub(super) agent: Option<String>,
    /// The first 8 hex digits of a token's SHA-256: enough to find it again, no use to anybody else.
    pub(super) token: Option<String>,
    pub(super) caller: Option<Principal>,
    pub(super) method: Option<String>,
    pub(super) tool: Option<String>,
    pub(super) bytes: usize,
    /// Whose it is, once it is known and open.
    pub(super) tenant: Option<Handle>,
    /// What it has cost, once its body is here.
    pub(super) spent: Option<Arc<Meter>>,
    /// Whether its answer is a stream that ends with it.
    pub(super) streams: bool,
    /// Its span, where there are any.
    pub(super) traced: Option<Box<Traced>>,
}

impl Seen {
    pub(super) fn of(head: &Parts, client: Option<IpAddr>) -> Self {
        let agent = |headers: &HeaderMap| Some(word(&String::from_utf8_lossy(headers.get(USER_AGENT)?.as_bytes())));
        Self { client, agent: agent(&head.headers), ..Self::default() }
    }

    /// Counts a refusal: in all, and to the tenant whose own bound it was, and to its trace.
    pub(super) fn count(&mut self, metrics: &Metrics, error: &Error, id: RequestId) {
        let bound = error.bound().map(|bound| bound.name);
        let why = bound.or_else(|| error.reason()).unwrap_or_else(|| match error.kind() {
            ErrorKind::Invalid => "invalid",
            ErrorKind::Unauthenticated => "unauthenticated",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Limit | ErrorKind::Busy => "busy",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Internal => "internal",
        });
        metrics.refused(why);
        if let (Some(tenant), Some(bound)) = (&self.tenant, bound) {
            tenant.meter().refused(bound);
        }
        if let (Some(tenant), Some(traced)) = (&self.tenant, &mut self.traced) {
            let trace = traced.refused(tenant, id, why);
            self.spent.get_or_insert_with(|| Arc::new(Meter::of(trace)));
        }
    }

    /// Leaves in `answer` what the log line and the trace tell of it.
    pub(super) fn leave(&self, answer: &mut Response) {
        let Some(caller) = &self.caller else { return };
        if let Some(traced) = &self.traced {
            traced.answered(answer.status());
        }
        let (tenant, tool) = (caller.tenant().clone(), self.tool.clone());
        let spent = self.spent.clone().unwrap_or_default();
        answer.extensions_mut().insert(Caller { tenant, tool, spent, streams: self.streams });
    }

    /// Tells `audit` of a refusal for want of a right, of the others only if it takes calls.
    pub(super) fn refused(&self, audit: &Audit, now: SystemTime, error: &Error, status: StatusCode, id: RequestId) {
        let source = std::error::Error::source(error);
        let reason = match source {
            Some(source) if source.is::<Rejected>() || source.is::<InsufficientScope>() => Some(source.to_string()),
            _ => None,
        };
        let by_right = matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Forbidden)
            || reason.is_some()
            || error.bound().is_some_and(|bound| bound.name == "failures_burst");
        if !audit.is_on() || !(by_right || audit.takes_calls()) {
            return;
        }
        let mut told = self.told(status, id);
        told["reason"] = json!(reason.or_else(|| error.reason().map(str::to_owned)).unwrap_or_else(|| {
            match (error.kind(), error.bound()) {
                (_, Some(bound)) => bound.name.to_owned(),
                (ErrorKind::Unauthenticated, _) => "token_missing".to_owned(),
                (kind, _) => format!("{kind:?}").to_lowercase(),
            }
        }));
        audit.record(now, if by_right { "auth.refused" } else { "call.refused" }, told);
    }

    /// Tells `audit` of a call that was let in, if it takes calls.
    pub(super) fn served(&self, audit: &Audit, now: SystemTime, status: StatusCode, took: Duration, id: RequestId) {
        if audit.takes_calls() {
            let mut told = self.told(status, id);
            told["duration_us"] = json!(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            audit.record(now, "call", told);
        }
    }

    fn told(&self, status: StatusCode, id: RequestId) -> Value {
        let caller = self.caller.as_ref();
        let credential = caller.and_then(|caller| caller.credential().id);
        json!({
            "request_id": id.as_str(),
            "status": status.as_u16(),
            "ip": self.client.map(|client| client.to_string()),
            "user_agent": self.agent,
            "token": self.token,
            "tenant": caller.map(|caller| caller.tenant().as_str()),
            "issuer": caller.map(Principal::issuer),
            "subject": caller.map(Principal::subject),
            "client_id": caller.and_then(Principal::client),
            "credential": credential.map(|id| hex(&id[..8])),
            "method": self.method,
            "tool": self.tool,
            "bytes": (self.bytes > 0).then_some(self.bytes),
        })
    }
}

/// `text`, cut at the bound.
pub(super) fn word(text: &str) -> String {
    text.chars()
        .scan(0, |bytes, letter| {
            *bytes += letter.len_utf8();
            (*bytes <= WORD_BYTES_MAX).then_some(letter)
        })
        .collect()
}
