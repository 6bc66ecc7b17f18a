//! Which tenants have a name in the metrics: those that do the most. The others are told together.
//!
//! What is counted under a name stays there, so that no series ever falls: a tenant that comes to the top is counted
//! by name from then on, one that leaves it under `_other` again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::meter::{Meter, Reading};
use crate::id::TenantId;
use crate::telemetry::{Did, Metrics};

/// The name of all who have none.
const OTHER: &str = "_other";
/// Tenants that have a name at once.
const NAMED_MAX: usize = 20;
/// What is left of a tenant's weight when the tenants are looked at again.
const FADES: f64 = 0.5;

/// The open tenants' meters, and who of them is told by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tops {
    metrics: Arc<Metrics>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<TenantId, Open>,
    named: HashSet<TenantId>,
}

#[derive(Debug)]
struct Open {
    meter: Arc<Meter>,
    told: Reading,
    /// How much it did of late, in microseconds of SQL and of requests.
    weight: f64,
}

/// A tenant that does much, as `freehold top` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    /// Who.
    pub tenant: TenantId,
    /// All that it did since it was opened.
    pub reading: Reading,
}

impl Tops {
    /// Counts for `metrics`.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, state: Arc::default() }
    }

    /// A tenant was opened: what it does is counted by the meter.
    pub(super) fn enter(&self, tenant: &TenantId) -> Arc<Meter> {
        let meter = Arc::new(Meter::default());
        let open = Open { meter: Arc::clone(&meter), told: Reading::default(), weight: 0.0 };
        let state = &mut *self.state();
        let name = if state.named.contains(tenant) { tenant.as_str() } else { OTHER };
        if let Some(before) = state.open.insert(tenant.clone(), open) {
            self.metrics.tenant(name, did(before.meter.read().since(before.told)));
        }
        meter
    }

    /// A tenant was closed: what is not told of it yet is told now.
    pub(super) fn leave(&self, tenant: &TenantId, meter: &Arc<Meter>) {
        let state = &mut *self.state();
        // One that was opened anew since then has a meter of its own.
        if state.open.get(tenant).is_some_and(|open| Arc::ptr_eq(&open.meter, meter))
            && let Some(open) = state.open.remove(tenant)
        {
            let name = if state.named.contains(tenant) { tenant.as_str() } else { OTHER };
            self.metrics.tenant(name, did(open.meter.read().since(open.told)));
        }
    }

    /// Tells the metrics what was done since the last time, and looks anew who does the most. Costs a step for each
    /// open tenant.
    pub(crate) fn settle(&self) {
        let state = &mut *self.state();
        for (tenant, open) in &mut state.open {
            let now = open.meter.read();
            let done = now.since(open.told);
            open.told = now;
            open.weight = open.weight * FADES + weight(done);
            let name = if state.named.contains(tenant) { tenant.as_str() } else { OTHER };
            if done != Reading::default() {
                self.metrics.tenant(name, did(done));
            }
        }
        let mut by_weight: Vec<_> = state.open.iter().filter(|(_, open)| open.weight >= 1.0).collect();
        by_weight.sort_unstable_by(|a, b| b.1.weight.total_cmp(&a.1.weight).then_with(|| a.0.cmp(b.0)));
        let named: HashSet<TenantId> =
            by_weight.into_iter().take(NAMED_MAX).map(|(tenant, _)| tenant.clone()).collect();
        for gone in state.named.difference(&named) {
            self.metrics.forget(gone.as_str());
        }
        state.named = named;
    }

    /// Who does the most, the first in front.
    pub(crate) fn top(&self) -> Vec<Top> {
        let state = self.state();
        let mut open: Vec<_> = state.open.iter().collect();
        open.sort_unstable_by(|a, b| b.1.weight.total_cmp(&a.1.weight).then_with(|| a.0.cmp(b.0)));
        let told = open.into_iter().take(NAMED_MAX);
        told.map(|(tenant, open)| Top { tenant: tenant.clone(), reading: open.meter.read() }).collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weight(done: Reading) -> f64 {
    // A request that runs no SQL costs about so many microseconds at the edge.
    (done.sql_us + 100 * done.requests) as f64
}

fn did(done: Reading) -> Did {
    Did {
        requests: done.requests,
        refused: done.refused,
        sql_seconds: done.sql_us as f64 / 1e6,
        queue_seconds: done.queue_us as f64 / 1e6,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{NAMED_MAX, Tops};
    use crate::id::TenantId;
    use crate::telemetry::{Levels, Metrics};

    fn value(text: &str, series: &str) -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// 1,000 tenants, each of which is noisy once: the series have an end, and nothing that was counted is lost.
    #[test]
    fn the_series_are_bounded_and_the_sum_is_right() {
        let metrics = Arc::new(Metrics::default());
        let tops = Tops::new(Arc::clone(&metrics));
        let mut other = 0.0;
        for round in 0..1_000 {
            let tenant = TenantId::parse(&format!("t{round}")).expect("a name");
            let meter = tops.enter(&tenant);
            (0..10).for_each(|_| meter.request());
            tops.settle();
            (0..5).for_each(|_| meter.request());
            tops.settle();
            if round % 2 == 0 {
                tops.leave(&tenant, &meter);
                tops.settle();
            }
            let text = metrics.told(Levels::default()).expect("text");
            let of_tenants = text.lines().filter(|line| line.starts_with("freehold_tenant_requests_total{")).count();
            assert!(of_tenants <= NAMED_MAX + 1, "round {round}: {of_tenants} series");
            let now = value(&text, "freehold_tenant_requests_total{tenant=\"_other\"}").unwrap_or(0.0);
            assert!(now >= other, "a counter fell from {other} to {now}");
            other = now;
        }
        // What came first is under `_other` for each, what came when it was known under its name.
        assert_eq!(other, 10_000.0);
    }
}
