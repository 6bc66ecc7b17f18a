//! What the journal keeps of a call: taken from the request before it, and from its answer.

use std::time::{Instant, UNIX_EPOCH};

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use rmcp::ErrorData;
use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult};
use serde_json::{Map, Value};

use super::weight::text_of;
use crate::clock::millis;
use crate::config::Arguments;
use crate::store::call::Call;
use crate::tenant::{Handle, Tenant};

/// Of a call's arguments, in bytes of JSON.
const ARGUMENTS_BYTES: usize = 4_096;
/// Of a tool's name, in bytes: a caller may send any.
const TOOL_BYTES: usize = 128;

/// A call that has begun. One that falls before its end was cancelled: its caller is gone.
pub(super) struct Begun {
    tenant: Handle,
    call: Option<Call>,
    at: Instant,
}

/// The call that `request` begins.
pub(super) fn begin(tenant: &Handle, caller: &Tenant, parts: Option<&Parts>, request: &CallToolRequestParams) -> Begun {
    let settings = tenant.journal();
    let header = |name: &str| parts.and_then(|parts| parts.headers.get(name)?.to_str().ok());
    let since = tenant.clock().now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let call = Call {
        at_ms: millis(since),
        request_id: header("x-request-id").unwrap_or_default().to_owned(),
        subject: caller.principal().subject().to_owned(),
        tool: cut(request.name.to_string(), TOOL_BYTES),
        arguments: request
            .arguments
            .as_ref()
            .filter(|_| settings.enabled)
            .and_then(|arguments| kept(settings.arguments, arguments)),
        bytes_in: header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok()).unwrap_or(0),
        bytes_out: 0,
        rows: None,
        duration_us: 0,
        outcome: String::new(),
        missed: 0,
    };
    Begun { tenant: tenant.clone(), call: Some(call), at: Instant::now() }
}

impl Begun {
    /// Keeps it with what came of it.
    pub(super) fn end(mut self, cancelled: bool, answer: &Result<CallToolResponse, ErrorData>) {
        if cancelled {
            return;
        }
        let Some(mut call) = self.call.take() else { return };
        match answer {
            Err(error) => call.outcome = format!("error {}", error.code.0),
            Ok(CallToolResponse::Complete(result)) => {
                call.outcome = outcome(result);
                call.bytes_out = text_of(result) as u64;
                call.rows = result.structured_content.as_ref().and_then(rows);
            }
            Ok(CallToolResponse::InputRequired(_)) => "asked".clone_into(&mut call.outcome),
            Ok(_) => "task".clone_into(&mut call.outcome),
        }
        self.record(call);
    }

    fn record(&self, mut call: Call) {
        call.duration_us = u64::try_from(self.at.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tenant.record(call);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(mut call) = self.call.take() {
            "cancelled".clone_into(&mut call.outcome);
            self.record(call);
        }
    }
}

fn kept(how: Arguments, arguments: &Map<String, Value>) -> Option<String> {
    match how {
        Arguments::None => None,
        Arguments::Keys => {
            let names: Vec<&String> = arguments.keys().collect();
            serde_json::to_string(&names).ok().map(|names| cut(names, ARGUMENTS_BYTES))
        }
        Arguments::Full => serde_json::to_string(arguments).ok().map(|text| cut(text, ARGUMENTS_BYTES)),
    }
}

fn outcome(result: &CallToolResult) -> String {
    if result.is_error != Some(true) {
        return "ok".to_owned();
    }
    let why = result.meta.as_ref().and_then(|meta| meta.get("freehold/refusal")?.get("kind")?.as_str());
    why.map_or_else(|| "refused".to_owned(), |why| format!("refused {why}"))
}

/// How many of what the built-in tools tell by the list, or how many rows their statements changed.
fn rows(content: &Value) -> Option<u64> {
    if let Some(results) = content.get("results").and_then(Value::as_array) {
        return Some(results.iter().filter_map(|one| one.get("changes")?.as_u64()).sum());
    }
    let listed = ["rows", "keys", "notes", "tables", "reminders", "messages", "checkpoints"]
        .into_iter()
        .find_map(|name| content.get(name)?.as_array());
    listed.map(|list| list.len() as u64)
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}
