//! How stopping is told and awaited. It knows neither HTTP nor tenants.
//!
//! Work enters through [`Drain::enter`] and leaves by dropping its guard; once stopping has begun
//! the door is shut, so the count can only fall and a bounded wait for zero means what it says.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// One process's way out, shared by everyone who has to know of it.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    announced: CancellationToken,
    stopping: CancellationToken,
    in_flight: TaskTracker,
}

/// Keeps the process waiting (within its deadline) for the work that holds it.
pub(crate) type InFlight = TaskTrackerToken;

impl Drain {
    /// Admits one piece of work; `None` once stopping has begun.
    #[must_use]
    pub fn enter(&self) -> Option<InFlight> {
        // Count first, look second: the other way round, work could slip in unseen between the two.
        let guard = self.in_flight.token();
        (!self.is_stopping()).then_some(guard)
    }

    /// Tells whoever asks that stopping is near; the door stays open.
    pub fn announce(&self) {
        self.announced.cancel();
    }

    /// Whether others should be asked from now on.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        self.announced.is_cancelled() || self.is_stopping()
    }

    /// Shuts the door. Calling it again changes nothing.
    pub fn begin(&self) {
        self.stopping.cancel();
        self.in_flight.close();
    }

    /// Whether the door is shut.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Returns when the door is shut.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Cancelled when the door is shut.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Waits at most `within` for all admitted work to end; `false` if some did not.
    pub async fn finished(&self, within: Duration) -> bool {
        tokio::time::timeout(within, self.in_flight.wait()).await.is_ok()
    }
}
