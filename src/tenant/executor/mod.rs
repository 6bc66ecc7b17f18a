//! Where SQLite runs: on threads of its own, in two lanes, never on the runtime's.
//!
//! A tenant with CPU credit runs in the **fast lane**: first come, first served, a short slice at a time. Whatever
//! computes longer than some of these leaves that lane where it stands, inside SQLite's progress handler, and goes on in
//! the **background**, where a few permits go round, a slice at a time. So a long statement costs its neighbours some
//! slices and never has to start again. A tenant that used up its credit begins in the background. A thread that waits for the disk uses no CPU and holds no place in either lane; one that is in
//! a single step for too long loses its place and its priority.

mod credit;
mod lanes;
mod seat;
mod watchdog;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::db::rest_thread;
use crate::error::{Error, Result};
use lanes::{Job, Lanes};

pub(crate) use credit::Credit;
pub(crate) use lanes::Load;
pub(crate) use watchdog::Stuck;

/// How long a tenant in debt gives way at most before it goes on.
const GIVES_WAY_MOST: Duration = Duration::from_millis(5);

/// Runs blocking work in two lanes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Executor(Arc<Lanes>);

impl Default for Executor {
    fn default() -> Self {
        Self(Arc::new(Lanes::default()))
    }
}

impl Executor {
    /// The statements that nothing can interrupt.
    pub(crate) fn stuck(&self) -> Stuck {
        self.0.stuck()
    }

    /// What it has to do at the moment.
    pub(crate) fn load(&self) -> Load {
        self.0.load()
    }

    /// Called by what runs on the account of `credit`, after a piece of it that took `took`: a tenant in debt takes at most
    /// every second moment while there are others, for what it is answered makes work for threads that know no account.
    pub(crate) fn give_way(&self, credit: &Credit, took: Duration) {
        if credit.is_spent() && self.0.is_fast_used() {
            rest_thread(took.min(GIVES_WAY_MOST));
        }
    }

    /// Has `work` run on the account of `credit` and waits for nothing. Its fall says that it panicked, or that no
    /// thread could be started for it.
    pub(crate) fn begin(&self, credit: &Arc<Credit>, work: impl FnOnce() + Send + 'static) {
        let account = Arc::clone(credit);
        let work = Box::new(move || {
            let _ = account.charge(|| catch_unwind(AssertUnwindSafe(work)));
        });
        self.0.submit(Job { work, whose: Arc::clone(credit) }, credit.is_spent());
    }

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
        let work = Box::new(move || {
            let done = account.charge(|| catch_unwind(AssertUnwindSafe(work)));
            // A caller who is gone wants no answer.
            let _ = reply.send(done);
        });
        self.0.submit(Job { work, whose: Arc::clone(credit) }, credit.is_spent());
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(Error::internal("work on the database panicked")),
            Err(_) => Err(Error::internal("work on the database was never begun")),
        }
    }
}
