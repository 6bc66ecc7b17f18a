//! Which tenants are open. A cache: it opens what is asked for, once, lets go of what is idle, and closes the
//! least recently used to make room. It is generic over what is open, so that it can know nothing above it.

mod idle;
mod quarantine;
mod sweeper;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use self::idle::{Idle, Place};
use self::quarantine::Quarantine;
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// The bound of what all tenants have open together.
const OPEN_FILES: &str = "open_files";
/// How long callers wait for a tenant that is to be opened anew while others still hold it.
const RENEW_WITHIN: Duration = Duration::from_secs(2);

/// What the registry keeps open.
pub(crate) trait Resident: Send + Sync + 'static {
    /// Whether it has ended on its own, so that it has to be opened anew.
    fn is_closed(&self) -> bool;
    /// Whether work goes on in it that nobody holds it for: it is then not idle.
    fn is_busy(&self) -> bool;
    /// Lets go of what it can open again in an instant. Called when nobody has held it for a while.
    fn rest(&self) -> impl Future<Output = ()> + Send;
    /// Closes it. Called once, when nobody holds it.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// How many tenants are open, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Residency {
    /// At most so many.
    pub most: usize,
    /// The key that a refusal names: what made it that number.
    pub bound: &'static str,
    /// And at most so many files of theirs.
    pub files: Files,
    /// One that nobody has held for so long is closed.
    pub idle_after: Duration,
    /// What open tenants may hold of memory, in bytes, and what they hold: beyond it idle ones are closed.
    pub bytes: u64,
    pub held: fn() -> u64,
}

/// Files that tenants may have open, and how many of them one takes. One that rests has none open.
#[derive(Clone, Copy)]
pub(crate) struct Files {
    /// At most so many, of all tenants together.
    pub most: u64,
    /// One that is in use, or was a short time ago.
    pub each: u64,
}

type Opened<R> = Pin<Box<dyn Future<Output = Result<R>> + Send>>;
type Open<R> = Box<dyn Fn(TenantId) -> Opened<R> + Send + Sync>;

/// The open tenants. Cheap to clone.
pub(crate) struct Registry<R>(Arc<Shared<R>>);

struct Shared<R> {
    tenants: Mutex<Tenants<R>>,
    residency: Residency,
    open: Open<R>,
}

struct Tenants<R> {
    slots: HashMap<TenantId, Slot<R>>,
    idle: Idle,
    quarantine: Quarantine,
    /// How often what tenants are opened with has changed, and when it last did.
    renewed: (u64, Instant),
    /// Nothing is to be open any more.
    ended: bool,
}

struct Slot<R> {
    /// Falls with the slot: who waits on it then looks again.
    state: watch::Sender<State<R>>,
    leases: usize,
    /// How often what it is opened with had changed by then: with fewer times than now it is to be opened anew.
    renewal: u64,
    /// While it is open and nobody holds it.
    idle: Option<Place>,
}

enum State<R> {
    Opening,
    Open(Arc<R>),
    /// Told to those who waited for the opening; the slot is gone by then.
    Failed(Error),
    Closing,
}

/// Keeps a tenant open while it is held.
pub(crate) struct Lease<R: Resident> {
    value: Arc<R>,
    tenant: TenantId,
    registry: Registry<R>,
}

impl<R> Clone for Registry<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Resident> Registry<R> {
    /// An empty registry that opens tenants with `open`. Inside a runtime, for it closes what is idle.
    pub(crate) fn new<F, O>(residency: Residency, open: F) -> Self
    where
        F: Fn(TenantId) -> O + Send + Sync + 'static,
        O: Future<Output = Result<R>> + Send + 'static,
    {
        let open: Open<R> = Box::new(move |tenant| Box::pin(open(tenant)));
        let tenants = Tenants {
            slots: HashMap::new(),
            idle: Idle::default(),
            quarantine: Quarantine::default(),
            renewed: (0, Instant::now()),
            ended: false,
        };
        let shared = Arc::new(Shared { tenants: Mutex::new(tenants), residency, open });
        sweeper::start(&shared);
        Self(shared)
    }

    /// The tenant, opened if it was not. Callers who come while it opens share that one opening.
    ///
    /// # Errors
    /// What opening says, and says again until the next try; [`ErrorKind::Busy`] when as
    /// many tenants are open as may be and none is idle.
    pub(crate) async fn get(&self, tenant: &TenantId) -> Result<Lease<R>> {
        loop {
            let (mut settling, patience) = {
                let tenants = &mut *self.tenants();
                let (renewals, renewed) = tenants.renewed;
                let patience = (renewed + RENEW_WITHIN).saturating_duration_since(Instant::now());
                let (full, crowded) = (self.full_for(tenants, None), self.full_for(tenants, Some(tenant)));
                match tenants.slots.get_mut(tenant) {
                    Some(slot) => match slot.open() {
                        Some(value) if value.is_closed() => (self.close(tenants, tenant)?, None),
                        Some(_) if slot.renewal < renewals && slot.is_idle() => (self.close(tenants, tenant)?, None),
                        Some(_) if slot.renewal < renewals && !patience.is_zero() => {
                            (slot.state.subscribe(), Some(patience))
                        }
                        Some(_) if let Some(crowded) = crowded => (self.make_room(tenants, tenant, crowded)?, None),
                        Some(value) => {
                            slot.leases += 1;
                            if let Some(place) = slot.idle.take() {
                                tenants.idle.leave(place);
                            }
                            return Ok(Lease { value, tenant: tenant.clone(), registry: self.clone() });
                        }
                        None => (slot.state.subscribe(), None),
                    },
                    None if tenants.ended => return Err(ended()),
                    None => match tenants.quarantine.refusal(tenant) {
                        Some(refusal) => return Err(refusal),
                        None => match full {
                            Some(full) => (self.make_room(tenants, tenant, full)?, None),
                            None => (self.begin(tenants, tenant), None),
                        },
                    },
                }
            };
            if let Some(patience) = patience {
                // Its last holder closes it. Where that one takes long, it is served as it is.
                let _ = timeout(patience, settling.wait_for(|state| !matches!(state, State::Open(_)))).await;
                continue;
            }
            // Ends too when the slot that is waited for falls: it is closed now, or made room.
            let settled = settling.wait_for(|state| matches!(state, State::Open(_) | State::Failed(_))).await;
            if let Ok(state) = settled
                && let State::Failed(error) = &*state
            {
                return Err(error.repeat());
            }
        }
    }

    /// How many tenants may be open at once.
    pub(crate) fn most(&self) -> usize {
        self.0.residency.most
    }

    /// Has every tenant opened anew, since what they are opened with has changed: at its next call, and before that
    /// call if nobody holds it; if somebody does, callers wait for that within a bound.
    pub(crate) fn renew(&self) {
        let tenants = &mut *self.tenants();
        tenants.renewed = (tenants.renewed.0 + 1, Instant::now());
    }

    /// How many tenants are open, opening or closing.
    pub(crate) fn count(&self) -> usize {
        self.tenants().slots.len()
    }

    /// One tenant if it is open now. Not held.
    pub(crate) fn open_one(&self, tenant: &TenantId) -> Option<Arc<R>> {
        self.tenants().slots.get(tenant).and_then(Slot::open)
    }

    /// Closes `tenant`, whoever holds it, and returns when its file is closed. The next call opens it again, if it may.
    pub(crate) async fn close_now(&self, tenant: &TenantId) {
        loop {
            let mut state = {
                let tenants = &mut *self.tenants();
                if !tenants.slots.contains_key(tenant) {
                    return;
                }
                match self.close(tenants, tenant) {
                    Ok(state) => state,
                    Err(_) => return,
                }
            };
            // One that is just being opened is closed at the next look; else this ends when the slot falls.
            let _ = state.wait_for(|state| matches!(state, State::Open(_))).await;
        }
    }

    /// Closes `tenant` if nobody holds it and nothing goes on in it, and does not wait for that.
    pub(crate) fn let_go(&self, tenant: &TenantId) {
        let tenants = &mut *self.tenants();
        if tenants.slots.get(tenant).is_some_and(Slot::is_idle) {
            let _ = self.close(tenants, tenant);
        }
    }

    /// Closes every tenant, whoever holds it: for the end of the process.
    pub(crate) async fn close_all(&self) {
        let falling: Vec<_> = {
            let tenants = &mut *self.tenants();
            tenants.ended = true;
            let names: Vec<_> = tenants.slots.keys().cloned().collect();
            names.iter().filter_map(|name| self.close(tenants, name).ok()).collect()
        };
        for mut state in falling {
            // Never true: it ends when the slot falls.
            let _ = state.wait_for(|_| false).await;
        }
    }

    /// Opens in a task of its own: a caller who leaves must not leave it half-way for the others.
    fn begin(&self, tenants: &mut Tenants<R>, tenant: &TenantId) -> watch::Receiver<State<R>> {
        let (registry, name) = (self.clone(), tenant.clone());
        tokio::spawn(async move {
            let opened = (registry.0.open)(name.clone()).await;
            let tenants = &mut *registry.tenants();
            match opened {
                Ok(value) => {
                    tenants.quarantine.recovered(&name);
                    if let Some(slot) = tenants.slots.get_mut(&name) {
                        slot.idle = Some(tenants.idle.enter(&name));
                        slot.state.send_replace(State::Open(Arc::new(value)));
                        if tenants.ended {
                            let _ = registry.close(tenants, &name);
                        }
                    }
                }
                Err(error) => {
                    let error = tenants.quarantine.failed(&name, error);
                    if let Some(slot) = tenants.slots.remove(&name) {
                        slot.state.send_replace(State::Failed(error));
                    }
                }
            }
        });
        let (state, settling) = watch::channel(State::Opening);
        let renewal = tenants.renewed.0;
        tenants.slots.insert(tenant.clone(), Slot { state, leases: 0, renewal, idle: None });
        settling
    }

    /// The bound that keeps one more from being opened, or `awoken`, which is open, from leaving its rest.
    fn full_for(&self, tenants: &Tenants<R>, awoken: Option<&TenantId>) -> Option<(&'static str, u64)> {
        let Residency { most, bound, files, .. } = self.0.residency;
        let (open, resting) = (tenants.slots.len(), tenants.idle.resting());
        match awoken {
            Some(tenant) => {
                let place = tenants.slots.get(tenant)?.idle?;
                if !tenants.idle.is_resting(place) {
                    return None;
                }
            }
            None if open >= most => return Some((bound, most as u64)),
            None => {}
        }
        (files.each * (open - resting + 1) as u64 > files.most).then_some((OPEN_FILES, files.most))
    }

    /// Closes the least recently used tenant that nobody holds, other than `for_whom`; its fall is what to wait for.
    fn make_room(
        &self,
        tenants: &mut Tenants<R>,
        for_whom: &TenantId,
        (bound, most): (&'static str, u64),
    ) -> Result<watch::Receiver<State<R>>> {
        let is_idle = |tenant: &&TenantId| tenants.slots.get(*tenant).is_some_and(Slot::is_idle);
        // Those at rest have no files to give.
        let without = if bound == OPEN_FILES { tenants.idle.resting() } else { 0 };
        let first = tenants.idle.iter().skip(without).filter(|tenant| *tenant != for_whom).find(is_idle).cloned();
        match first {
            Some(first) => self.close(tenants, &first),
            None => Err(Error::busy(bound, most, Duration::from_secs(1))),
        }
    }

    /// The slot stays until the file is closed: whoever wants the tenant meanwhile waits, or two writers
    /// would own one file. What is not open yet, or closes already, is waited for.
    fn close(&self, tenants: &mut Tenants<R>, tenant: &TenantId) -> Result<watch::Receiver<State<R>>> {
        let slot =
            tenants.slots.get_mut(tenant).ok_or_else(|| Error::internal("a tenant that is not open was closed"))?;
        if let Some(place) = slot.idle.take() {
            tenants.idle.leave(place);
        }
        if let Some(value) = slot.open() {
            slot.state.send_replace(State::Closing);
            let (registry, tenant) = (self.clone(), tenant.clone());
            tokio::spawn(async move {
                value.close().await;
                drop(value);
                registry.tenants().slots.remove(&tenant);
            });
        }
        Ok(slot.state.subscribe())
    }

    fn tenants(&self) -> MutexGuard<'_, Tenants<R>> {
        self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "this server is stopping: send the request again, to another")
        .with_retry_after(Duration::from_secs(1))
}

impl<R> Slot<R> {
    fn open(&self) -> Option<Arc<R>> {
        match &*self.state.borrow() {
            State::Open(value) => Some(Arc::clone(value)),
            _ => None,
        }
    }
}

impl<R: Resident> Slot<R> {
    fn is_idle(&self) -> bool {
        self.leases == 0 && self.open().is_some_and(|value| !value.is_busy())
    }
}

impl<R: Resident> Deref for Lease<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.value
    }
}

impl<R: Resident> Drop for Lease<R> {
    fn drop(&mut self) {
        let tenants = &mut *self.registry.tenants();
        let renewals = tenants.renewed.0;
        // Another opening of the same tenant may stand in the slot by now: its leases are not ours.
        if let Some(slot) = tenants.slots.get_mut(&self.tenant)
            && slot.open().is_some_and(|open| Arc::ptr_eq(&open, &self.value))
        {
            slot.leases -= 1;
            if slot.leases > 0 {
                return;
            }
            slot.idle = Some(tenants.idle.enter(&self.tenant));
            // Callers may wait for just this. Outside a runtime nobody does.
            if slot.renewal < renewals && slot.is_idle() && tokio::runtime::Handle::try_current().is_ok() {
                let _ = self.registry.close(tenants, &self.tenant);
            }
        }
    }
}
