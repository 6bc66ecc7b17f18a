//! Traces: the span of each request and where it is sent. It knows OpenTelemetry, and neither HTTP nor tenants: what
//! they know of a request they tell in plain words. Without a collector there is none of it.

mod parent;
mod request;
mod send;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, ShouldSample};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use parent::Carried;
pub(crate) use request::{Hold, Opening, Step, Trace, Way, Work};
use send::Sending;

use super::Metrics;
use crate::clock::Clock;
use crate::config::TracesSettings;
use crate::error::Result;
use crate::hex::hex;
use crate::random;

/// What a tool may put into one span of its own, so that a full queue has a size.
const ATTRIBUTES_MAX: u32 = 64;
const EVENTS_MAX: u32 = 32;
const LINKS_MAX: u32 = 8;

/// The way that spans take, if they are sent anywhere. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Traces(Option<Arc<On>>);

struct On {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    sending: Mutex<Option<JoinHandle<()>>>,
}

impl Traces {
    /// Starts what sends them, on the runtime that this is called on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): the file of headers can't be used.
    pub(crate) fn start(settings: &TracesSettings, metrics: &Arc<Metrics>, clock: Arc<dyn Clock>) -> Result<Self> {
        let Some(endpoint) = &settings.endpoint else { return Ok(Self::default()) };
        let instance = hex(&random::bytes::<8>()?);
        // OTEL_RESOURCE_ATTRIBUTES is taken too: that is where orchestrators say what they know of a process.
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance))
            .build();
        let (queue, sending) = Sending::new(settings, endpoint, &resource, metrics)?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler(settings))
            .with_max_attributes_per_span(ATTRIBUTES_MAX)
            .with_max_events_per_span(EVENTS_MAX)
            .with_max_links_per_span(LINKS_MAX)
            .with_span_processor(queue)
            .build();
        let stop = CancellationToken::new();
        let sending = Mutex::new(Some(tokio::spawn(sending.run(stop.clone()))));
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        Ok(Self(Some(Arc::new(On { provider, tracer, clock, stop, sending }))))
    }

    /// Whether requests may have a span at all.
    #[must_use]
    pub(crate) fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the span of a request. It ends with the last [`Hold`].
    pub(crate) fn begin(&self, opening: &Opening<'_>) -> Option<Hold> {
        let On { tracer, clock, .. } = &**self.0.as_ref()?;
        Some(Trace::begin(tracer, clock.now(), opening))
    }

    /// Begins the span of work that no message of MCP asks for; `describe` is asked only where there is one.
    pub(crate) fn begin_work<'a>(&self, describe: impl FnOnce() -> Work<'a>) -> Option<Hold> {
        let On { tracer, clock, .. } = &**self.0.as_ref()?;
        Some(Trace::begin_work(tracer, clock.now(), &describe()))
    }

    /// Has spans that tools make themselves, by OpenTelemetry's global tracer, sent the same way: for a program that
    /// is this host's own, for there is one global tracer in a process.
    pub(crate) fn take_globals(&self) {
        if let Some(on) = &self.0 {
            opentelemetry::global::set_tracer_provider(on.provider.clone());
            opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        }
    }

    /// Sends what waits, within `within`; what comes later is dropped.
    pub(crate) async fn close(&self, within: Duration) {
        let Some(on) = &self.0 else { return };
        on.stop.cancel();
        let sending = on.sending.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut sending) = sending else { return };
        if timeout(within, &mut sending).await.is_err() {
            sending.abort();
            tracing::warn!("the last spans did not reach the collector in time and are lost");
        }
    }
}

/// A tool's own spans follow the request's in any case.
fn sampler(settings: &TracesSettings) -> Box<dyn ShouldSample> {
    let ratio = || Sampler::TraceIdRatioBased(settings.sample_ratio.get());
    let based = Sampler::parent_based(ratio());
    Box::new(if settings.follow_callers {
        based
    } else {
        based.with_remote_parent_sampled(ratio()).with_remote_parent_not_sampled(ratio())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use opentelemetry::trace::{Span, TraceContextExt, Tracer};
    use tokio::net::TcpSocket;

    use super::super::metrics::{Levels, Metrics};
    use super::{Carried, Opening, Traces, Way};
    use crate::clock::SystemClock;
    use crate::config::{CollectorUrl, TracesSettings};

    /// A tool's own span, made as OpenTelemetry's documents have it, takes the host's way, under the request's.
    #[tokio::test]
    async fn spans_of_the_global_tracer_go_the_same_way() {
        // Nobody listens there, and nobody else can have it: what is sent is lost, and counted.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = socket.local_addr().expect("an address");
        let endpoint = CollectorUrl::try_from(format!("http://{address}")).ok();
        let settings = TracesSettings { endpoint, ..TracesSettings::default() };
        let metrics = Arc::new(Metrics::default());
        let traces = Traces::start(&settings, &metrics, Arc::new(SystemClock)).expect("they start");
        traces.take_globals();
        let opening = Opening {
            begun: std::time::Instant::now(),
            way: Way::Http { name: "POST /mcp", version: "1.1", request_id: "1", in_headers: Carried::default() },
            method: Some("tools/call"),
            tool: Some("add"),
            id: None,
            messages: 1,
            protocol: None,
            tenant: "acme",
            in_message: Carried::default(),
        };
        let request = traces.begin(&opening).expect("they are on");
        {
            let _attached = request.trace().attach();
            let own = opentelemetry::global::tracer("tool").start("own");
            let here = opentelemetry::Context::current().span().span_context().clone();
            assert_eq!(own.span_context().trace_id(), here.trace_id());
            assert!(own.span_context().is_sampled() && own.span_context().span_id() != here.span_id());
        }
        drop(request);
        traces.close(Duration::from_secs(30)).await;
        let told = metrics.told(Levels::default()).expect("text");
        assert!(told.contains("freehold_trace_spans_total{outcome=\"lost\"} 2"), "{told}");
        // What ends after the stop is counted too.
        drop(traces.begin(&opening));
        let told = metrics.told(Levels::default()).expect("text");
        assert!(told.contains("freehold_trace_spans_total{outcome=\"stopped\"} 1"), "{told}");
    }
}
