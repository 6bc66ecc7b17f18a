//! The time of day, handed in from outside so that a test can hold it.
//!
//! Deadlines inside one process are measured with `std::time::Instant`, which no operator can turn
//! back; this clock is for what outlives a process or crosses machines: expiry, creation times.

use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a sleeper trusts the clock not to be set.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> SystemTime;

    /// Returns at `at` or soon after. A machine's clock can be set, so that the time is looked at again
    /// every few seconds.
    fn reach(&self, at: SystemTime) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            while let Ok(left) = at.duration_since(self.now())
                && !left.is_zero()
            {
                tokio::time::sleep(left.min(LOOK_AGAIN)).await;
            }
        })
    }

    /// Milliseconds since 1970, as the tables of the host count them.
    fn unix_millis(&self) -> i64 {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Whole seconds since 1970, as JWT's `NumericDate` counts them (RFC 7519 section 2).
    fn unix_seconds(&self) -> u64 {
        self.now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
    }
}

/// `duration` in whole milliseconds; one that is longer than can be counted is as long as can be.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The last moment that is told of, in milliseconds since 1970: of the year 9999.
pub(crate) const LAST_MS: u64 = 253_402_300_799_999;

/// `seconds` since 1970 as RFC 3339 writes them, in UTC; no later than its last year.
pub(crate) fn rfc3339(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_MS / 1_000))).to_string()
}

/// The same of milliseconds.
pub(crate) fn rfc3339_millis(ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS))).to_string()
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }

    fn reach(&self, at: SystemTime) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        (**self).reach(at)
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
pub struct HeldClock(tokio::sync::watch::Sender<u64>);

#[cfg(any(test, feature = "testing"))]
impl HeldClock {
    /// Stands at `unix_seconds`.
    #[must_use]
    pub fn at(unix_seconds: u64) -> Self {
        Self(tokio::sync::watch::Sender::new(unix_seconds))
    }

    /// Moves to `unix_seconds`, forwards or back. Who waits for that time goes on.
    pub fn set(&self, unix_seconds: u64) {
        self.0.send_replace(unix_seconds);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for HeldClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(*self.0.borrow())
    }

    fn reach(&self, at: SystemTime) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut moves = self.0.subscribe();
        Box::pin(async move {
            // Fails only when the clock is gone, and then nobody waits.
            let _ = moves.wait_for(|seconds| UNIX_EPOCH + Duration::from_secs(*seconds) >= at).await;
        })
    }
}
