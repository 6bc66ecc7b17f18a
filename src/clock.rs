//! The time of day, handed in from outside so that a test can hold it.
//!
//! Deadlines inside one process are measured with `std::time::Instant`, which no operator can turn
//! back; this clock is for what outlives a process or crosses machines: expiry, creation times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> SystemTime;

    /// Whole seconds since 1970, as JWT's `NumericDate` counts them (RFC 7519 section 2).
    fn unix_seconds(&self) -> u64 {
        self.now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
    }
}

/// `seconds` since 1970 as RFC 3339 writes them, in UTC; no later than its last year.
pub(crate) fn rfc3339(seconds: u64) -> String {
    const LAST: u64 = 253_402_300_799;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST))).to_string()
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until it is told to move.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct HeldClock(std::sync::atomic::AtomicU64);

#[cfg(any(test, feature = "testing"))]
impl HeldClock {
    /// Stands at `unix_seconds`.
    #[must_use]
    pub fn at(unix_seconds: u64) -> Self {
        Self(unix_seconds.into())
    }

    /// Moves to `unix_seconds`, forwards or back.
    pub fn set(&self, unix_seconds: u64) {
        self.0.store(unix_seconds, std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for HeldClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}
