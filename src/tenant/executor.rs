//! Where SQLite runs: on threads that may block, never on the runtime's own.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::error::{Error, Result};

/// Jobs that run at once over all tenants. Most of them wait for an fsync and use no CPU, so there are
/// many more than cores; a tenant holds at most one and its readers.
const SLOTS: usize = 128;

/// Runs blocking work, a bounded amount of it at a time. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Executor(Arc<Semaphore>);

impl Default for Executor {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SLOTS)))
    }
}

impl Executor {
    /// Runs `work` once a slot is free, first come first served.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when `work` panicked.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        // The semaphore is never closed, so that this fails only if that changes.
        let slot = Arc::clone(&self.0).acquire_owned().await;
        let slot = slot.map_err(|error| Error::internal("the executor is closed").with_source(error))?;
        let ran = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        ran.await.map_err(|error| Error::internal("work on the database panicked").with_source(error))
    }
}
