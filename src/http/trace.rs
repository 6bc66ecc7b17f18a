//! What a request's span is told: how it came, what its message says of itself, how it ended. Nobody who is not let in
//! has a span, for anybody can send a `traceparent`.

use std::time::Instant;

use http::request::Parts;
use http::{Method, StatusCode, Version};
use serde::Deserialize;

use super::request_id::RequestId;
use super::scope::{Wanted, is_batch};
use super::word::Word;
use crate::mcp::only_text;
use crate::telemetry::{Carried, Hold, Opening, Trace, Traces, Way};
use crate::tenant::Handle;

/// A request whose span has perhaps begun. Only where there are traces.
pub(super) struct Traced {
    traces: Traces,
    begun: Instant,
    http: &'static str,
    version: &'static str,
    protocol: Option<String>,
    parent: Option<String>,
    state: Option<String>,
    hold: Option<Hold>,
}

impl Traced {
    /// What `head` says of it, if anybody asks.
    pub(super) fn of(traces: &Traces, head: &Parts, begun: Instant) -> Option<Box<Self>> {
        if !traces.are_on() {
            return None;
        }
        let one = |name| only_text(&head.headers, name).map(str::to_owned);
        let state: Vec<_> = head.headers.get_all("tracestate").iter().filter_map(|part| part.to_str().ok()).collect();
        Some(Box::new(Self {
            traces: traces.clone(),
            begun,
            http: match head.method {
                Method::POST => "POST /mcp",
                Method::GET => "GET /mcp",
                Method::DELETE => "DELETE /mcp",
                _ => "/mcp",
            },
            version: if head.version == Version::HTTP_2 { "2" } else { "1.1" },
            protocol: one("mcp-protocol-version"),
            parent: one("traceparent"),
            // One list, in however many headers (W3C Trace Context section 3.3.1).
            state: (!state.is_empty()).then(|| state.join(",")),
            hold: None,
        }))
    }

    /// Begins the span of what is wanted of `tenant`. `has`: whether there is such a tool.
    pub(super) fn begin(
        &mut self,
        tenant: &Handle,
        id: RequestId,
        (body, wanted): (&[u8], &[Wanted<'_>]),
        has: impl Fn(&str) -> bool,
    ) {
        let first = wanted.first();
        let message = first.and_then(|_| Message::first(body)).unwrap_or_default();
        let meta = message.params.and_then(|params| params.meta).unwrap_or_default();
        let message_id = message.id.told();
        let in_message = Carried { parent: meta.traceparent.text(), state: meta.tracestate.text() };
        let opening = Opening {
            begun: self.begun,
            way: Way::Http {
                name: self.http,
                version: self.version,
                request_id: id.as_str(),
                in_headers: Carried { parent: self.parent.as_deref(), state: self.state.as_deref() },
            },
            method: first.and_then(Wanted::method),
            tool: first.and_then(Wanted::tool).filter(|tool| has(tool)),
            id: message_id.as_deref(),
            messages: wanted.len(),
            protocol: self.protocol.as_deref(),
            tenant: tenant.id().as_str(),
            in_message,
        };
        self.hold = self.traces.begin(&opening);
    }

    /// The trace, once it has begun.
    pub(super) fn trace(&self) -> Option<&Trace> {
        self.hold.as_ref().map(Hold::trace)
    }

    /// Says how it was answered.
    pub(super) fn answered(&self, status: StatusCode) {
        if let Some(trace) = self.trace() {
            trace.answered(status.as_u16());
        }
    }

    /// Says why it was refused, by the bound's name or a word for the reason: also of what was not looked into.
    pub(super) fn refused(&mut self, tenant: &Handle, id: RequestId, why: &str) -> Option<Trace> {
        if self.hold.is_none() {
            self.begin(tenant, id, (b"", &[]), |_| false);
        }
        let trace = self.trace()?;
        trace.failed(why);
        Some(trace.clone())
    }
}

/// As much of a JSON-RPC message as its span is told, but for what [`Wanted`] has.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    id: Word<'a>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow)]
    traceparent: Word<'a>,
    #[serde(borrow)]
    tracestate: Word<'a>,
}

impl<'a> Message<'a> {
    /// The one in `body`, or the first of many.
    fn first(body: &'a [u8]) -> Option<Self> {
        if is_batch(body) {
            return serde_json::from_slice::<Vec<Self>>(body).ok()?.into_iter().next();
        }
        serde_json::from_slice(body).ok()
    }
}
