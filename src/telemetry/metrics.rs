//! Counts for Prometheus (`/metrics` of the admin listener). The number of series is bounded whatever anybody sends:
//! no label holds a caller's words, and of tenants only those that do the most have a name (`tops`).
//!
//! The names are an interface: docs and alerts use them.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::error::{Error, Result};

/// Seconds: from a call that only reads memory to one that its deadline cuts.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The host's counts, shared by all who have something to count.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<OfRequest, Counter>,
    request_seconds: Histogram,
    refused: Family<OfRefusal, Counter>,
    spans: Family<OfSpan, Counter>,
    levels: [Gauge; LEVELS.len()],
    in_flight: Gauge,
    elsewhere_lag: Gauge<f64, AtomicU64>,
    sent_elsewhere: Counter,
    failed_elsewhere: Counter,
    tenant_requests: Family<OfTenant, Counter>,
    tenant_refused: Family<OfTenant, Counter>,
    tenant_sql_seconds: Family<OfTenant, Counter<f64, AtomicU64>>,
    tenant_queue_seconds: Family<OfTenant, Counter<f64, AtomicU64>>,
}

/// Reads one level.
type Read = fn(&Levels) -> u64;

/// What is read when somebody asks: its name, what it is, its unit, and where it is read.
const LEVELS: [(&str, &str, Option<Unit>, Read); 10] = [
    ("tenants", "Tenants in the catalog", None, |levels| levels.tenants),
    ("tenants_open", "Tenants that are open: in use, or at rest with their file closed", None, |levels| {
        levels.tenants_open
    }),
    ("tenants_open_max", "Tenants that may be open at once", None, |levels| levels.tenants_open_max),
    ("sql_threads", "Threads for SQL", None, |levels| levels.threads),
    ("sql_fast_waiting", "Jobs that wait for the fast lane", None, |levels| levels.fast_waiting),
    ("sql_background_waiting", "Jobs that wait in the background", None, |levels| levels.background_waiting),
    ("sql_stuck", "Statements in one step for a second or more", None, |levels| levels.stuck),
    ("open_files", "File descriptors of the process", None, |_| files()),
    ("resident_memory", "Memory of the process", Some(Unit::Bytes), |_| memory()),
    ("history_remote_waiting", "Tenants whose past is not all in the storage", None, |levels| levels.elsewhere_waiting),
];

/// What is read when somebody asks, and not counted as it happens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    /// Tenants in the catalog.
    pub tenants: u64,
    /// Of those, open.
    pub tenants_open: u64,
    /// How many may be open at once.
    pub tenants_open_max: u64,
    /// Threads for SQL.
    pub threads: u64,
    /// Jobs that wait for the fast lane.
    pub fast_waiting: u64,
    /// Jobs that wait in the background.
    pub background_waiting: u64,
    /// Statements in one step for a second or more, which nothing can interrupt.
    pub stuck: u64,
    /// Tenants whose past is not all in the storage yet.
    pub elsewhere_waiting: u64,
    /// Seconds since the first of them.
    pub elsewhere_lag: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    /// `2xx`, `3xx`, `4xx`, `5xx`.
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRefusal {
    /// The bound's key under `[limits]`, or a word for the reason: of a fixed list in the program.
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSpan {
    /// One of [`SpanEnd`]'s words.
    outcome: &'static str,
}

/// What became of a span (`[traces]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanEnd {
    /// The collector took it.
    Sent,
    /// The collector did not, or was not there.
    Lost,
    /// Too many waited.
    QueueFull,
    /// The host was stopping.
    Stopped,
}

impl SpanEnd {
    const ALL: [Self; 4] = [Self::Sent, Self::Lost, Self::QueueFull, Self::Stopped];

    fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Lost => "lost",
            Self::QueueFull => "queue_full",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTenant {
    /// A tenant's name, or `_other` for all that have none here.
    tenant: String,
}

/// What one tenant did since it was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Did {
    /// Requests that reached it.
    pub requests: u64,
    /// Of those, turned away.
    pub refused: u64,
    /// Seconds of SQL.
    pub sql_seconds: f64,
    /// Seconds that its work waited for its turn.
    pub queue_seconds: f64,
}

/// A request that is being answered.
pub(crate) struct Answering(Gauge);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let (requests, refused) = (Family::default(), Family::default());
        let request_seconds = Histogram::new(SECONDS);
        let (tenant_requests, tenant_refused) = (Family::default(), Family::default());
        let (tenant_sql_seconds, tenant_queue_seconds) = (Family::default(), Family::default());
        let spans = Family::<OfSpan, Counter>::default();
        for end in SpanEnd::ALL {
            // There from the beginning: an alert on what was never lost has a 0 to look at.
            let _ = spans.get_or_create(&OfSpan { outcome: end.word() });
        }
        let mut registry = Registry::with_prefix("freehold");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
        registry.register("http_requests", "Answers on the public listener, by status", requests.clone());
        let said = "From a request's first byte to its answer's head, public listener";
        registry.register_with_unit("http_request_duration", said, Unit::Seconds, request_seconds.clone());
        registry.register("refusals", "Requests that were refused, by the bound or the reason", refused.clone());
        registry.register("trace_spans", "Spans of traces, by what became of them", spans.clone());
        let levels = LEVELS.map(|(name, said, unit, _)| {
            let gauge = Gauge::default();
            match unit {
                Some(unit) => registry.register_with_unit(name, said, unit, gauge.clone()),
                None => registry.register(name, said, gauge.clone()),
            }
            gauge
        });
        let (in_flight, elsewhere_lag) = (Gauge::default(), Gauge::<f64, AtomicU64>::default());
        registry.register("http_requests_in_flight", "Requests that are being answered", in_flight.clone());
        let (sent_elsewhere, failed_elsewhere) = (Counter::default(), Counter::default());
        let said = "How long the oldest change waits that is not in the storage";
        registry.register_with_unit("history_remote_lag", said, Unit::Seconds, elsewhere_lag.clone());
        let said = "Bytes of tenants' past sent to the storage";
        registry.register_with_unit("history_remote_sent", said, Unit::Bytes, sent_elsewhere.clone());
        let said = "Tries to send that failed";
        registry.register("history_remote_failures", said, failed_elsewhere.clone());
        let who = "of the tenants that do most; the others together are _other";
        registry.register("tenant_requests", format!("Requests {who}"), tenant_requests.clone());
        registry.register(
            "tenant_refusals",
            format!("Requests that the tenant's own bounds refused, {who}"),
            tenant_refused.clone(),
        );
        let said = format!("Time in SQL {who}");
        registry.register_with_unit("tenant_sql", said, Unit::Seconds, tenant_sql_seconds.clone());
        let said = format!("Time that work waited for its turn, {who}");
        registry.register_with_unit("tenant_queue", said, Unit::Seconds, tenant_queue_seconds.clone());
        Self {
            registry: Mutex::new(registry),
            requests,
            request_seconds,
            refused,
            spans,
            levels,
            in_flight,
            elsewhere_lag,
            sent_elsewhere,
            failed_elsewhere,
            tenant_requests,
            tenant_refused,
            tenant_sql_seconds,
            tenant_queue_seconds,
        }
    }
}

impl Metrics {
    /// One answer on the public listener.
    pub(crate) fn answered(&self, status: u16, took: Duration) {
        let status = match status / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&OfRequest { status }).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// One more request is being answered, for as long as this is held.
    pub(crate) fn answering(&self) -> Answering {
        self.in_flight.inc();
        Answering(self.in_flight.clone())
    }

    /// One refusal; `reason` is one of the program's own words.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&OfRefusal { reason }).inc();
    }

    /// `count` spans that ended so.
    pub(crate) fn spans(&self, count: usize, end: SpanEnd) {
        self.spans.get_or_create(&OfSpan { outcome: end.word() }).inc_by(count as u64);
    }

    /// Bytes that went to the storage of tenants' past.
    pub(crate) fn sent_elsewhere(&self, bytes: u64) {
        self.sent_elsewhere.inc_by(bytes);
    }

    /// One try that failed there.
    pub(crate) fn failed_elsewhere(&self) {
        self.failed_elsewhere.inc();
    }

    /// Adds to the account of `tenant`.
    pub(crate) fn tenant(&self, tenant: &str, did: Did) {
        let of = OfTenant { tenant: tenant.to_owned() };
        self.tenant_requests.get_or_create(&of).inc_by(did.requests);
        self.tenant_refused.get_or_create(&of).inc_by(did.refused);
        self.tenant_sql_seconds.get_or_create(&of).inc_by(did.sql_seconds);
        self.tenant_queue_seconds.get_or_create(&of).inc_by(did.queue_seconds);
    }

    /// Tells `tenant` by name no longer.
    pub(crate) fn forget(&self, tenant: &str) {
        let of = OfTenant { tenant: tenant.to_owned() };
        self.tenant_requests.remove(&of);
        self.tenant_refused.remove(&of);
        self.tenant_sql_seconds.remove(&of);
        self.tenant_queue_seconds.remove(&of);
    }

    /// All of it, as Prometheus reads it (OpenMetrics text 1.0).
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal): it can't be written.
    pub(crate) fn told(&self, levels: Levels) -> Result<String> {
        self.elsewhere_lag.set(levels.elsewhere_lag);
        for (gauge, (.., read)) in self.levels.iter().zip(LEVELS) {
            gauge.set(i64::try_from(read(&levels)).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        let failed = |error| Error::internal("the metrics can't be written").with_source(error);
        encode(&mut text, &self.registry()).map_err(failed)?;
        Ok(text)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of this process, in bytes; 0 where the system does not tell (proc(5)).
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1_024
}

fn files() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64)
}
