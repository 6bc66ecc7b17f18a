//! Lets idle tenants rest and then closes them, one at a time: the copy of a log back into its file must
//! not be many at once. It looks at those whose time has come and at no others.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Registry, Residency, Resident, Shared, Slot};

/// A tenant rests after this part of the time after which it is closed.
const REST: u32 = 10;
/// How long the next one waits for that.
const REST_WITHIN: Duration = Duration::from_secs(5);
/// Looks in the time until a tenant rests.
const LOOKS: u32 = 4;

/// Runs until the registry is gone.
pub(super) fn start<R: Resident>(shared: &Arc<Shared<R>>) {
    let idle_after = shared.residency.idle_after;
    let every = (idle_after / REST / LOOKS).clamp(Duration::from_millis(5), Duration::from_secs(10));
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            let Some(shared) = Weak::upgrade(&shared) else { return };
            Registry(shared).sweep(idle_after).await;
        }
    });
}

impl<R: Resident> Registry<R> {
    async fn sweep(&self, idle_after: Duration) {
        while let Some(resting) = self.next_to_rest(idle_after / REST) {
            // One in a step that nothing can interrupt keeps no other from its rest.
            let _ = timeout(REST_WITHIN, resting.rest()).await;
        }
        let Residency { bytes, held, .. } = self.0.residency;
        loop {
            let after = if held() > bytes { Duration::ZERO } else { idle_after };
            let Some(mut falling) = self.next_to_close(after) else { return };
            // Never true: it ends when the slot falls.
            let _ = falling.wait_for(|_| false).await;
        }
    }

    pub(super) fn next_to_rest(&self, after: Duration) -> Option<Arc<R>> {
        let then = Instant::now().checked_sub(after)?;
        let tenants = &mut *self.tenants();
        loop {
            let tenant = tenants.idle.rest(then)?;
            if let Some(value) = tenants.slots.get(&tenant).and_then(Slot::open) {
                return Some(value);
            }
        }
    }

    fn next_to_close(&self, after: Duration) -> Option<tokio::sync::watch::Receiver<super::State<R>>> {
        let then = Instant::now().checked_sub(after)?;
        let tenants = &mut *self.tenants();
        loop {
            let tenant = tenants.idle.first_before(then)?.clone();
            let slot = tenants.slots.get_mut(&tenant)?;
            if slot.is_idle() {
                return self.close(tenants, &tenant).ok();
            }
            // Work of its own goes on in it: its time begins anew.
            if let Some(place) = slot.idle.take() {
                tenants.idle.leave(place);
            }
            slot.idle = Some(tenants.idle.enter(&tenant));
        }
    }
}
