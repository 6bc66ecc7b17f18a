//! Where SQLite runs: on threads of its own, in two lanes, never on the runtime's.
//!
//! A tenant with CPU credit runs in the **fast lane**, first come first served. Whatever computes longer
//! than a slice leaves that lane where it stands, inside SQLite's progress handler, and goes on in the
//! **background**, where a few permits go round, a slice at a time. So a long statement costs its
//! neighbours one slice and never has to start again. A tenant that used up its credit begins in the
//! background. A thread that waits for the disk uses no CPU and holds no place in either lane.

mod credit;
mod lanes;
mod seat;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::error::{Error, Result};
use lanes::Lanes;

pub(crate) use credit::Credit;

/// Runs blocking work in two lanes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Executor(Arc<Lanes>);

impl Default for Executor {
    fn default() -> Self {
        Self(Arc::new(Lanes::default()))
    }
}

impl Executor {
    /// Runs `work` on the account of `credit`.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when `work` panicked, or when no thread could
    /// be started for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        credit: &Arc<Credit>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let account = Arc::clone(credit);
        let job = Box::new(move || {
            let done = account.charge(|| catch_unwind(AssertUnwindSafe(work)));
            // A caller who is gone wants no answer.
            let _ = reply.send(done);
        });
        self.0.submit(job, credit.is_spent());
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(Error::internal("work on the database panicked")),
            Err(_) => Err(Error::internal("work on the database was never begun")),
        }
    }
}
