//! What a tenant has computed lately, in seconds of CPU: who is in debt begins in the background.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::id::TenantId;

/// How much of one core a tenant may use for good and stay in the fast lane: a tenth. A small write takes
/// some 50 µs, so that this is 2,000 of them a second.
const SHARE: u64 = 10;
/// What it may use at once on top.
const BURST: Duration = Duration::from_millis(20);

thread_local! {
    /// What this thread had computed when it was last booked: the system is asked once for each piece of work.
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A leaky bucket of thread-CPU time, kept as the moment at which it will be empty (GCRA).
#[derive(Debug)]
pub(crate) struct Credit {
    origin: Instant,
    /// Nanoseconds after `origin`.
    empty_at: AtomicU64,
    /// Nanoseconds computed that nobody has counted yet.
    computed: AtomicU64,
    /// Whose it is, for the log.
    tenant: Option<TenantId>,
}

impl Default for Credit {
    fn default() -> Self {
        Self { origin: Instant::now(), empty_at: AtomicU64::new(0), computed: AtomicU64::new(0), tenant: None }
    }
}

impl Credit {
    /// A tenant's, with nothing spent.
    pub(crate) fn of(tenant: TenantId) -> Self {
        Self { tenant: Some(tenant), ..Self::default() }
    }

    /// Whose it is; nobody's is the host's.
    pub(super) fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// Whether the tenant has computed more than its share and burst.
    pub(crate) fn is_spent(&self) -> bool {
        self.empty_at.load(Ordering::Relaxed) > self.now() + SHARE * nanos(BURST)
    }

    /// Runs `work` on this thread and books the CPU time that it took, with the microsecond in which the thread got it.
    pub(super) fn charge<T>(&self, work: impl FnOnce() -> T) -> T {
        let done = work();
        self.book();
        done
    }

    /// Books what this thread has computed since it last booked.
    pub(super) fn book(&self) {
        let spent = thread_cpu();
        let took = nanos(spent.saturating_sub(SPENT.replace(spent)));
        self.computed.fetch_add(took, Ordering::Relaxed);
        let cost = SHARE * took;
        let now = self.now();
        let book = |empty_at: u64| Some(empty_at.max(now) + cost);
        // Never refuses, for `book` never does.
        let _ = self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, book);
    }

    /// What was computed since it was last asked, in whole microseconds.
    pub(crate) fn take_computed_us(&self) -> u64 {
        let computed = self.computed.load(Ordering::Relaxed);
        let whole = computed / 1_000;
        self.computed.fetch_sub(whole * 1_000, Ordering::Relaxed);
        whole
    }

    fn now(&self) -> u64 {
        nanos(self.origin.elapsed())
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{BURST, Credit, SHARE, nanos};
    use std::sync::atomic::Ordering;

    #[test]
    fn is_spent_past_the_burst_and_comes_back() {
        let credit = Credit::default();
        assert!(!credit.is_spent());
        let debt = credit.now() + SHARE * nanos(BURST);
        credit.empty_at.store(debt + 3_600_000_000_000, Ordering::Relaxed);
        assert!(credit.is_spent());
        credit.empty_at.store(debt, Ordering::Relaxed);
        assert!(!credit.is_spent());
    }
}
