//! What work cost: one of a tenant's for as long as it is open, and one of each request. It decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::{Step, Trace};

/// Sums, each of them only ever growing.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: AtomicU64,
    refused: AtomicU64,
    queue_us: AtomicU64,
    sql_us: AtomicU64,
    /// Why the last one was turned away.
    last: Mutex<Option<&'static str>>,
    /// A request's own trace, if it has one.
    trace: Option<Trace>,
}

/// A meter as it stood at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Requests that reached the tenant.
    pub requests: u64,
    /// Of those, the ones that a bound of the tenant's turned away.
    pub refused: u64,
    /// Microseconds that work waited for its turn on a thread.
    pub queue_us: u64,
    /// Microseconds that statements had a thread, those in which others had its place among them.
    pub sql_us: u64,
}

impl Meter {
    /// One of a request that `trace` tells of.
    pub(crate) fn of(trace: Option<Trace>) -> Self {
        Self { trace, ..Self::default() }
    }

    /// The trace that it belongs to.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// One more request.
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// One more of them turned away, by the bound of this name.
    pub(crate) fn refused(&self, bound: &'static str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(bound);
    }

    /// The bound that turned the last one away.
    pub(crate) fn last_refusal(&self) -> Option<&'static str> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub(crate) fn read(&self) -> Reading {
        let of = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        Reading {
            requests: of(&self.requests),
            refused: of(&self.refused),
            queue_us: of(&self.queue_us),
            sql_us: of(&self.sql_us),
        }
    }
}

impl Reading {
    /// What came on top of `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            refused: self.refused.saturating_sub(before.refused),
            queue_us: self.queue_us.saturating_sub(before.queue_us),
            sql_us: self.sql_us.saturating_sub(before.sql_us),
        }
    }
}

/// One piece of work, on the account of its tenant and of the request that it is for.
#[derive(Clone, Debug)]
pub(super) struct Tab {
    tenant: Arc<Meter>,
    request: Option<Arc<Meter>>,
    sent: Instant,
    /// When it was done, where somebody asks.
    done: Option<Arc<Mutex<Option<Instant>>>>,
}

impl Tab {
    pub(super) fn open(tenant: &Arc<Meter>, request: Option<&Arc<Meter>>) -> Self {
        let traced = request.and_then(|request| request.trace()).is_some_and(Trace::is_recording);
        let done = traced.then(Arc::default);
        Self { tenant: Arc::clone(tenant), request: request.cloned(), sent: Instant::now(), done }
    }

    /// Runs `work`, which reads, and whose turn it is now.
    pub(super) fn read<T>(&self, work: impl FnOnce() -> T) -> T {
        self.run(Step::Read, work)
    }

    /// Runs `work`, which writes, and whose turn it is now.
    pub(super) fn write<T>(&self, work: impl FnOnce() -> T) -> T {
        self.run(Step::Write, work)
    }

    fn run<T>(&self, step: Step, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        self.add(|meter| &meter.queue_us, begun - self.sent);
        let done = work();
        self.add(|meter| &meter.sql_us, begun.elapsed());
        if let Some((trace, mut ended)) = self.traced() {
            let ended_before = ended.replace(Instant::now());
            // Undone and run again: it waits for no turn the second time.
            trace.step(Step::Queue, ended_before.unwrap_or(self.sent).min(begun), begun);
            trace.step(step, begun, Instant::now());
        }
        done
    }

    /// The same account after the work, where somebody asks.
    pub(super) fn watched(&self) -> Option<Self> {
        self.done.is_some().then(|| self.clone())
    }

    /// What was done is durable now.
    pub(super) fn committed(&self) {
        if let Some((trace, ended)) = self.traced()
            && let Some(ended) = *ended
        {
            trace.step(Step::Commit, ended, Instant::now());
        }
    }

    fn traced(&self) -> Option<(&Trace, MutexGuard<'_, Option<Instant>>)> {
        let ended = self.done.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some((self.request.as_ref()?.trace()?, ended))
    }

    fn add(&self, sum: impl Fn(&Meter) -> &AtomicU64, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        for meter in [Some(&self.tenant), self.request.as_ref()].into_iter().flatten() {
            sum(meter).fetch_add(micros, Ordering::Relaxed);
        }
    }
}
