//! The span of one request or of other work, and the steps under it, named as OpenTelemetry's conventions for MCP name them. It holds a
//! caller's words only where they are known ones, and nothing of arguments, results, tokens or statements.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use super::parent::Carried;

/// Steps of one request that are told one by one; of a tool that reads a thousand times the sums say enough.
const STEPS_MAX: usize = 64;
/// Of a request's id and of other words, in bytes.
const WORD_BYTES_MAX: usize = 128;

/// The methods that a span may be called by: a caller can send any, and names are few.
const METHODS: &[&str] = &[
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/directory/read",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "skills/get",
    "skills/list",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// What is known of a request when its span begins.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    /// When it came.
    pub begun: Instant,
    /// The way that it came.
    pub way: Way<'a>,
    /// The message's method, as it came.
    pub method: Option<&'a str>,
    /// The tool that it calls, if the server has one of that name.
    pub tool: Option<&'a str>,
    /// The message's id.
    pub id: Option<&'a str>,
    /// How many messages came at once.
    pub messages: usize,
    /// The version of MCP that its client names.
    pub protocol: Option<&'a str>,
    /// Whose it is.
    pub tenant: &'a str,
    /// What the message carried in `_meta` (SEP-414).
    pub in_message: Carried<'a>,
}

/// How a request came, and what its way adds to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'a> {
    /// Over HTTP.
    Http {
        /// What it is called where it brings no message: `GET /mcp`.
        name: &'static str,
        /// HTTP's version: `1.1`, `2`.
        version: &'static str,
        /// The id of the answer.
        request_id: &'a str,
        /// What its headers carried.
        in_headers: Carried<'a>,
    },
    /// Over a pipe, where the message is all.
    Pipe,
}

/// What is known of work that no message of MCP asks for, when its span begins.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    /// When it began.
    pub begun: Instant,
    /// What it is called: one of few names.
    pub name: String,
    /// Somebody asks for it, and an answer goes back.
    pub asked: bool,
    /// What came along with the question.
    pub carried: Carried<'a>,
    /// What it is about.
    pub about: Vec<(&'static str, String)>,
}

/// A part of a request's way that took its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Waited for a place among the tenant's calls.
    Admission,
    /// Waited for its turn at the tenant's file: in the mailbox, or for a reader.
    Queue,
    /// Read the tenant's file.
    Read,
    /// Wrote into a transaction.
    Write,
    /// Waited until what was written was durable.
    Commit,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Queue => "queue",
            Self::Read => "sqlite read",
            Self::Write => "sqlite write",
            Self::Commit => "sqlite commit",
        }
    }
}

/// The trace of one request. Cheap to clone; what it says of itself is lost once the last [`Hold`] is gone.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Open>);

struct Open {
    context: Context,
    tracer: SdkTracer,
    recording: bool,
    begun: Instant,
    began: SystemTime,
    holds: AtomicUsize,
    steps: AtomicUsize,
    /// Microseconds in the queue, in SQL, and until a commit.
    sums: [AtomicU64; 3],
    failed: AtomicBool,
}

/// Keeps a request's span from ending.
pub(crate) struct Hold(Trace);

impl Hold {
    /// Whose end this is.
    pub(crate) fn trace(&self) -> &Trace {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.0.holds.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.end();
        }
    }
}

/// For as long as this is there, what this thread does belongs to a trace.
pub(crate) struct Attached(#[expect(dead_code, reason = "dropping it is what it is for")] ContextGuard);

impl Trace {
    /// `now` is the time of day at this moment.
    pub(super) fn begin(tracer: &SdkTracer, now: SystemTime, opening: &Opening<'_>) -> Hold {
        let began = now.checked_sub(opening.begun.elapsed()).unwrap_or(now);
        let method = opening.method.map(|method| METHODS.iter().find(|known| **known == method).copied());
        let (unnamed, in_headers) = match opening.way {
            Way::Http { name, in_headers, .. } => (name, in_headers),
            Way::Pipe => ("stdio", Carried::default()),
        };
        let name: Cow<'static, str> = match (method, opening.tool) {
            (Some(Some(method)), Some(tool)) => format!("{method} {}", cut(tool)).into(),
            (Some(Some(method)), None) => method.into(),
            _ => unnamed.into(),
        };
        // The message's own place before that of the request that brought it: one may bring many (conventions for MCP,
        // "context propagation"). Where both are told and differ, the other one is linked.
        let (message, request) = (opening.in_message.span(), in_headers.span());
        let linked = match (&message, &request) {
            (Some(message), Some(request)) if message != request => Some(request.clone()),
            _ => None,
        };
        let span = tracer.span_builder(name).with_kind(SpanKind::Server).with_start_time(began);
        Self::open(tracer, opening.begun, began, message.or(request), span, |span| {
            span.set_attributes(attributes(opening, method));
            if let Some(linked) = linked {
                span.add_link(linked, Vec::new());
            }
        })
    }

    /// As [`Trace::begin`], of other work.
    pub(super) fn begin_work(tracer: &SdkTracer, now: SystemTime, work: &Work<'_>) -> Hold {
        let began = now.checked_sub(work.begun.elapsed()).unwrap_or(now);
        let kind = if work.asked { SpanKind::Server } else { SpanKind::Internal };
        let span = tracer.span_builder(work.name.clone()).with_kind(kind).with_start_time(began);
        Self::open(tracer, work.begun, began, work.carried.span(), span, |span| {
            span.set_attributes(work.about.iter().map(|(key, value)| KeyValue::new(*key, cut(value))));
        })
    }

    fn open(
        tracer: &SdkTracer,
        begun: Instant,
        began: SystemTime,
        parent: Option<SpanContext>,
        span: SpanBuilder,
        describe: impl FnOnce(&mut SdkSpan),
    ) -> Hold {
        let context = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let mut span = tracer.build_with_context(span, &context);
        let recording = span.is_recording();
        if recording {
            describe(&mut span);
        }
        Hold(Self(Arc::new(Open {
            context: context.with_span(span),
            tracer: tracer.clone(),
            recording,
            begun,
            began,
            holds: 1.into(),
            steps: 0.into(),
            sums: Default::default(),
            failed: false.into(),
        })))
    }

    /// Its number, for the log: 32 hex digits.
    pub(crate) fn id(&self) -> impl fmt::Display + use<> {
        self.0.context.span().span_context().trace_id()
    }

    /// Keeps its span open.
    pub(crate) fn hold(&self) -> Hold {
        self.0.holds.fetch_add(1, Ordering::AcqRel);
        Hold(self.clone())
    }

    /// Makes it the one that spans of this thread belong to.
    pub(crate) fn attach(&self) -> Attached {
        Attached(self.0.context.clone().attach())
    }

    /// Whether anybody will see it.
    pub(crate) fn is_recording(&self) -> bool {
        self.0.recording
    }

    /// One step, from `from` to `to`.
    pub(crate) fn step(&self, step: Step, from: Instant, to: Instant) {
        let open = &*self.0;
        if !open.recording {
            return;
        }
        let [queue, sql, commit] = &open.sums;
        let sum = match step {
            Step::Admission => None,
            Step::Queue => Some(queue),
            Step::Read | Step::Write => Some(sql),
            Step::Commit => Some(commit),
        };
        if let Some(sum) = sum {
            let took = to.saturating_duration_since(from);
            sum.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        if open.steps.fetch_add(1, Ordering::Relaxed) >= STEPS_MAX {
            return;
        }
        let builder =
            open.tracer.span_builder(step.name()).with_kind(SpanKind::Internal).with_start_time(self.at(from));
        let mut span = open.tracer.build_with_context(builder, &open.context);
        if matches!(step, Step::Read | Step::Write | Step::Commit) {
            span.set_attribute(KeyValue::new("db.system.name", "sqlite"));
        }
        span.end_with_timestamp(self.at(to));
    }

    /// Says that it failed, and how: `-32602`, `tool_error`, a bound's name. The first word holds: whether it is this one.
    pub(crate) fn failed(&self, how: &str) -> bool {
        let first = self.0.recording && !self.0.failed.swap(true, Ordering::AcqRel);
        if first {
            let span = self.0.context.span();
            span.set_attribute(KeyValue::new("error.type", cut(how)));
            // What an error says may be about a tenant's data.
            span.set_status(Status::error(""));
        }
        first
    }

    /// Says that the answer was a JSON-RPC error of `code`.
    pub(crate) fn error(&self, code: i32) {
        let code = code.to_string();
        if self.failed(&code) {
            self.0.context.span().set_attribute(KeyValue::new("rpc.response.status_code", code));
        }
    }

    /// Says why a tool refused, in one of the host's own words.
    pub(crate) fn refused(&self, why: &str) {
        if self.0.recording && !why.is_empty() && why.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            self.0.context.span().set_attribute(KeyValue::new("freehold.refusal", cut(why)));
        }
        self.failed("tool_error");
    }

    /// Says how much there was of something.
    pub(crate) fn counted(&self, what: &'static str, count: u64) {
        if self.0.recording {
            self.0.context.span().set_attribute(KeyValue::new(what, i64::try_from(count).unwrap_or(i64::MAX)));
        }
    }

    /// Says what HTTP's status was, to whom a refusal is an answer (conventions for HTTP, servers' spans).
    pub(crate) fn served(&self, status: u16) {
        if self.0.recording {
            self.0.context.span().set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
            if status >= 500 {
                self.failed(&status.to_string());
            }
        }
    }

    /// Says what HTTP's status was.
    pub(crate) fn answered(&self, status: u16) {
        self.served(status);
        if status >= 400 {
            self.failed(&status.to_string());
        }
    }

    fn end(&self) {
        let open = &*self.0;
        if open.recording {
            let [queue, sql, commit] =
                open.sums.each_ref().map(|sum| i64::try_from(sum.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
            let span = open.context.span();
            span.set_attributes([
                KeyValue::new("queue.wait_us", queue),
                KeyValue::new("sql_us", sql),
                KeyValue::new("commit_us", commit),
                KeyValue::new("freehold.steps", i64::try_from(open.steps.load(Ordering::Relaxed)).unwrap_or(i64::MAX)),
            ]);
            span.end_with_timestamp(self.at(Instant::now()));
        }
    }

    /// The time of day at `moment`.
    fn at(&self, moment: Instant) -> SystemTime {
        let since: Duration = moment.saturating_duration_since(self.0.begun);
        self.0.began.checked_add(since).unwrap_or(self.0.began)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({})", self.id())
    }
}

/// `method`: the one that was sent, if any was, and if it is a known one.
fn attributes(opening: &Opening<'_>, method: Option<Option<&'static str>>) -> Vec<KeyValue> {
    let mut told = vec![KeyValue::new("tenant.id", opening.tenant.to_owned())];
    match opening.way {
        Way::Http { version, request_id, .. } => told.extend([
            KeyValue::new("request.id", request_id.to_owned()),
            KeyValue::new("network.transport", "tcp"),
            KeyValue::new("network.protocol.name", "http"),
            KeyValue::new("network.protocol.version", version),
        ]),
        Way::Pipe => told.push(KeyValue::new("network.transport", "pipe")),
    }
    told.extend(method.map(|method| KeyValue::new("mcp.method.name", method.unwrap_or("_OTHER"))));
    if method == Some(Some("tools/call")) {
        told.push(KeyValue::new("gen_ai.operation.name", "execute_tool"));
        told.extend(opening.tool.map(|tool| KeyValue::new("gen_ai.tool.name", cut(tool))));
    }
    told.extend(opening.id.map(|id| KeyValue::new("jsonrpc.request.id", cut(id))));
    // `2026-07-28`: anything else is a caller's word.
    let date =
        |version: &&str| version.len() == 10 && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    told.extend(opening.protocol.filter(date).map(|version| KeyValue::new("mcp.protocol.version", version.to_owned())));
    if opening.messages > 1 {
        told.push(KeyValue::new("freehold.messages", i64::try_from(opening.messages).unwrap_or(i64::MAX)));
    }
    told
}

fn cut(word: &str) -> String {
    word[..word.floor_char_boundary(WORD_BYTES_MAX)].to_owned()
}
