//! Opens tenants when their reminders are due. One task; it knows when from the catalog's index alone.
//!
//! Fire and forget it is not: an entry is put off only by the tenant whose reminders were delivered, so that
//! whatever breaks off is begun anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use tokio::task::{Id, JoinSet};

use crate::catalog::{Wake, Wakes};
use crate::clock::Clock;
use crate::drain::Drain;
use crate::error::{Error, ErrorKind, Result};
use crate::mcp::Hosted;
use crate::telemetry::{Carried, Hold, Traces, Work};
use crate::tenant::{Credit, Executor, OnReminder, Registry, fire};

/// Tenants opened for reminders at once, and never more than this part of those that may be open: callers
/// come first.
const AT_ONCE: usize = 16;
const PART: usize = 4;
/// When a tenant that can't be opened now is tried again.
const LATER: Duration = Duration::from_secs(30);
/// The same where a place has to become free.
const SOON: Duration = Duration::from_millis(250);

/// What the task needs.
pub(super) struct Scheduler {
    pub(super) tenants: Registry<Hosted>,
    pub(super) wakes: Arc<Wakes>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) executor: Executor,
    pub(super) drain: Drain,
    pub(super) on_reminder: Option<OnReminder>,
    pub(super) traces: Traces,
}

impl Scheduler {
    /// Runs until stopping begins. What is under way by then holds the drain until it has ended.
    pub(super) async fn run(self) {
        let at_once = (self.tenants.most() / PART).clamp(1, AT_ONCE);
        let account = Arc::new(Credit::default());
        let mut firing = JoinSet::new();
        let mut under_way: HashMap<Id, Wake> = HashMap::new();
        loop {
            let now = self.clock.unix_millis();
            // As many as there may be under way, for those stand first in the index.
            let wakes = Arc::clone(&self.wakes);
            let look = move || Result::<_>::Ok((wakes.due(now, 2 * at_once)?, wakes.next(now)?));
            let (due, next) = match self.executor.run(&account, look).await.and_then(|looked| looked) {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::error!(error = error.chain(), "the index of reminders can't be read; trying again");
                    (Vec::new(), Some(now + millis(LATER)))
                }
            };
            for wake in due {
                let known = under_way.values().any(|other| other.tenant == wake.tenant);
                if known || firing.len() >= at_once {
                    continue;
                }
                let Some(in_flight) = self.drain.enter() else { break };
                let (tenants, on_reminder, due) = (self.tenants.clone(), self.on_reminder.clone(), wake.clone());
                let traces = self.traces.clone();
                let task = firing.spawn(async move {
                    let fired = wake_up(tenants, &due, on_reminder, &traces).await;
                    // Last: whoever waits for it may count on the tenant's being let go of.
                    drop(in_flight);
                    fired
                });
                under_way.insert(task.id(), wake);
            }
            tokio::select! {
                () = self.drain.stopping() => return firing.detach_all(),
                Some(ended) = firing.join_next_with_id() => {
                    let (id, fired) = match ended {
                        Ok((id, fired)) => (id, fired),
                        Err(error) => (error.id(), Err(Error::internal("a wake-up panicked").with_source(error))),
                    };
                    if let (Some(wake), Err(error)) = (under_way.remove(&id), fired) {
                        self.postpone(&account, wake, &error).await;
                    }
                }
                () = self.wakes.changed() => {}
                () = self.clock.reach(UNIX_EPOCH + Duration::from_millis(next.unwrap_or(0).try_into().unwrap_or(0))),
                    if next.is_some() => {}
            }
        }
    }

    async fn postpone(&self, account: &Arc<Credit>, wake: Wake, error: &Error) {
        let wait = match error.kind() {
            ErrorKind::Busy => SOON,
            _ => {
                let tenant = &wake.tenant;
                tracing::warn!(%tenant, error = error.chain(), "reminders are due and can't be delivered; trying again");
                LATER
            }
        };
        let (wakes, at) = (Arc::clone(&self.wakes), self.clock.unix_millis() + millis(wait));
        let postponed = self.executor.run(account, move || wakes.try_again(&wake, at)).await.and_then(|done| done);
        if let Err(error) = postponed {
            tracing::error!(error = error.chain(), "the index of reminders can't be written");
        }
    }
}

/// In a trace of its own: whoever set a reminder may have done so weeks ago.
async fn wake_up(
    tenants: Registry<Hosted>,
    wake: &Wake,
    on_reminder: Option<OnReminder>,
    traces: &Traces,
) -> Result<()> {
    let span = traces.begin_work(|| Work {
        begun: Instant::now(),
        name: "reminders".to_owned(),
        asked: false,
        carried: Carried::default(),
        about: vec![("tenant.id", wake.tenant.to_string())],
    });
    let fired = async {
        let tenant = tenants.get(&wake.tenant).await?;
        fire(&tenant.tenant, on_reminder.as_ref(), span.as_ref().map(Hold::trace)).await
    };
    let fired = fired.await;
    if let (Some(span), Err(error)) = (&span, &fired) {
        span.trace().failed(&format!("{:?}", error.kind()).to_lowercase());
    }
    fired
}

fn millis(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
}
