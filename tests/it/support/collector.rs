//! A collector of traces: an HTTP server of this process that takes OTLP and keeps what it was sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use freehold::{CollectorUrl, Settings};
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::until;

/// A collector that listens.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    kept: Arc<Kept>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Kept {
    status: Mutex<StatusCode>,
    /// While it is held nobody is answered.
    held: Mutex<Option<Arc<Notify>>>,
    asked: Mutex<Vec<(HeaderMap, Bytes)>>,
}

/// One span as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) links: Vec<String>,
    pub(crate) failed: bool,
    pub(crate) nanos: (u64, u64),
    pub(crate) attributes: BTreeMap<String, String>,
    /// Of the process.
    pub(crate) resource: BTreeMap<String, String>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let kept = Arc::new(Kept { status: Mutex::new(StatusCode::OK), ..Kept::default() });
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&kept));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, kept, serving }
    }

    /// Has `settings` send here.
    pub(crate) fn takes(&self, settings: &mut Settings) {
        settings.traces.endpoint = Some(endpoint(self.address));
    }

    /// Answers so from now on.
    pub(crate) fn answers(&self, status: StatusCode) {
        *self.kept.status.lock().expect("no panic") = status;
    }

    /// Answers nobody until what is returned is notified.
    pub(crate) fn hold(&self) -> Arc<Notify> {
        let held = Arc::new(Notify::new());
        *self.kept.held.lock().expect("no panic") = Some(Arc::clone(&held));
        held
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.kept.asked.lock().expect("no panic").len()
    }

    /// The headers of the last message.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.kept.asked.lock().expect("no panic").last().expect("a message").0.clone()
    }

    /// Every byte that came.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.kept.asked.lock().expect("no panic").iter().flat_map(|(_, body)| body.to_vec()).collect()
    }

    /// Every span that came.
    pub(crate) fn spans(&self) -> Vec<Seen> {
        let asked = self.kept.asked.lock().expect("no panic").clone();
        let mut spans = Vec::new();
        for (_, body) in asked {
            let sent = ExportTraceServiceRequest::decode(body).expect("OTLP");
            for of_process in sent.resource_spans {
                let resource = told(&of_process.resource.expect("a resource").attributes);
                let all = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(all.map(|span| seen(&span, &resource)));
            }
        }
        spans
    }

    /// The spans of `trace`, once that of its request is among them: it ends last.
    pub(crate) async fn trace(&self, trace: &str) -> Vec<Seen> {
        let of = || self.spans().into_iter().filter(|span| span.trace == trace).collect::<Vec<_>>();
        until(trace, || of().iter().any(|span| span.kind == SERVER)).await;
        of()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The kind of a span that nobody asked for.
pub(crate) const INTERNAL: i32 = 1;

/// The kind of a request's span.
pub(crate) const SERVER: i32 = 2;

pub(crate) fn endpoint(address: SocketAddr) -> CollectorUrl {
    CollectorUrl::try_from(format!("http://{address}")).expect("an address")
}

async fn take(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Bytes) {
    let held = kept.held.lock().expect("no panic").clone();
    if let Some(held) = held {
        // An end, should a test have forgotten it.
        let _ = tokio::time::timeout(Duration::from_secs(120), held.notified()).await;
    }
    let status = *kept.status.lock().expect("no panic");
    kept.asked.lock().expect("no panic").push((headers, body));
    (status, Bytes::new())
}

fn seen(span: &Span, resource: &BTreeMap<String, String>) -> Seen {
    Seen {
        name: span.name.clone(),
        kind: span.kind,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state.clone(),
        links: span.links.iter().map(|link| format!("{}-{}", hex(&link.trace_id), hex(&link.span_id))).collect(),
        failed: span.status.as_ref().is_some_and(|status| status.code == 2),
        nanos: (span.start_time_unix_nano, span.end_time_unix_nano),
        attributes: told(&span.attributes),
        resource: resource.clone(),
    }
}

fn told(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &KeyValue| match value.value.as_ref().and_then(|value| value.value.clone()) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|value| (value.key.clone(), text(value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
