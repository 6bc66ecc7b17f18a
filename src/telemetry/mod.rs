//! What is told of the host while it runs. Log lines go to standard error, so that standard output stays the protocol's
//! and the commands'.

mod audit;
mod line;
mod metrics;
mod traces;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

pub(crate) use audit::{Audit, append};
use line::JsonLine;
pub(crate) use metrics::{Did, Levels, Metrics};
pub(crate) use traces::{Carried, Hold, Opening, Step, Trace, Traces, Way, Work};

use crate::config::LogFilter;

/// How the filter is replaced, once there is one.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging: text on a terminal, one JSON object a line elsewhere. A second call changes nothing.
pub(crate) fn start(log: &LogFilter) {
    let (filter, handle) = reload::Layer::new(log.directives());
    let registry = tracing_subscriber::registry().with(filter);
    let terminal = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = if terminal {
        registry.with(layer.with_target(false)).try_init()
    } else {
        registry.with(layer.event_format(JsonLine)).try_init()
    };
    if started.is_ok() {
        let _ = FILTER.set(handle);
        if tracing::enabled!(target: "rmcp", tracing::Level::INFO) {
            tracing::warn!(
                "FREEHOLD_LOG lets rmcp tell more than warnings: session ids, arguments and results of tools are in \
                 this log"
            );
        }
        // A panic's message may hold what a tenant sent; its place says enough.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            tracing::error!(place, "a panic cost one call");
        }));
    }
}

/// Filters by `log` from now on.
pub(crate) fn filter(log: &LogFilter) {
    if let Some(Err(error)) = FILTER.get().map(|filter| filter.reload(log.directives())) {
        tracing::warn!(%error, "the log's filter stays as it was");
    }
}
