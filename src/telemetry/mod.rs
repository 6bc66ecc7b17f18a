//! Where log lines go: standard error, so that standard output stays the protocol's and the commands'.

mod audit;
mod line;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use audit::{Audit, append};
use line::JsonLine;

/// rmcp tells arguments and results at DEBUG and session ids at INFO: nothing of that is for a log.
const DEFAULT_FILTER: &str = "info,rmcp=warn";

/// Starts logging: text on a terminal, one JSON object a line elsewhere. `FREEHOLD_LOG` filters, as
/// `RUST_LOG` does. A second call changes nothing.
pub(crate) fn start() {
    let asked = std::env::var("FREEHOLD_LOG").ok();
    let filter = EnvFilter::builder().parse_lossy(asked.as_deref().unwrap_or(DEFAULT_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    let terminal = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = if terminal {
        registry.with(layer.with_target(false)).try_init()
    } else {
        registry.with(layer.event_format(JsonLine)).try_init()
    };
    if started.is_ok() {
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
