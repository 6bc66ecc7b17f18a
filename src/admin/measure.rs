//! What is told of the host as a whole: its metrics, and who does the most.

use serde_json::{Value, json};

use super::Admin;
use crate::archive::Archive;
use crate::error::Result;
use crate::telemetry::Levels;

impl Admin {
    /// The metrics as Prometheus reads them.
    ///
    /// # Errors
    /// What SQLite says of the count of tenants.
    pub(crate) async fn metrics(&self) -> Result<String> {
        self.run(|parts| {
            parts.tops.settle();
            let load = parts.executor.load();
            let (elsewhere_waiting, lag_ms) = parts.archive.as_ref().map_or((0, 0), Archive::behind);
            parts.metrics.told(Levels {
                tenants: parts.catalog.count()?,
                tenants_open: parts.tenants.count() as u64,
                tenants_open_max: parts.tenants.most() as u64,
                threads: load.threads as u64,
                fast_waiting: load.fast_waiting as u64,
                background_waiting: load.background_waiting as u64,
                stuck: parts.executor.stuck().now as u64,
                elsewhere_waiting: elsewhere_waiting as u64,
                elsewhere_lag: lag_ms as f64 / 1_000.0,
            })
        })
        .await
    }

    /// The open tenants that do the most, the first in front, with sums since each was opened.
    ///
    /// # Errors
    /// As [`Admin::metrics`].
    pub(crate) async fn top(&self) -> Result<Value> {
        self.run(|parts| {
            parts.tops.settle();
            let told = parts.tops.top().into_iter().map(|top| {
                let of = top.reading;
                let open = parts.tenants.open_one(&top.tenant);
                let limits = open.as_ref().map(|open| open.tenant.limits());
                json!({
                    "tenant": top.tenant.as_str(), "requests": of.requests, "refused": of.refused, "sql_us": of.sql_us,
                    "queue_us": of.queue_us, "last_refusal": open.as_ref().and_then(|open| open.tenant.meter().last_refusal()),
                    "requests_per_second_max": limits.map(|limits| limits.requests_per_second),
                    "in_background": open.as_ref().is_some_and(|open| open.tenant.is_in_debt()),
                })
            });
            let (load, stuck) = (parts.executor.load(), parts.executor.stuck());
            Ok(json!({
                "tenants": told.collect::<Vec<_>>(),
                "open": parts.tenants.count(),
                "threads": load.threads, "fast_waiting": load.fast_waiting, "background_waiting": load.background_waiting,
                "stuck": { "now": stuck.now, "longest_ms": u64::try_from(stuck.longest.as_millis()).unwrap_or(u64::MAX), "total": stuck.total },
            }))
        })
        .await
    }
}
