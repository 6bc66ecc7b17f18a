//! Which tenants are open. A cache: it opens what is asked for, once, and closes what is idle to make
//! room. It is generic over what is open, so that it can know nothing above it.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// What the registry keeps open.
pub(crate) trait Resident: Send + Sync + 'static {
    /// Whether it has ended on its own, so that it has to be opened anew.
    fn is_closed(&self) -> bool;
    /// Whether work goes on in it that nobody holds it for: it is then not idle.
    fn is_busy(&self) -> bool;
    /// Closes it. Called once, when nobody holds it.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

type Opened<R> = Pin<Box<dyn Future<Output = Result<R>> + Send>>;
type Open<R> = Box<dyn Fn(TenantId) -> Opened<R> + Send + Sync>;

/// The open tenants, at most `most` of them. Cheap to clone.
pub(crate) struct Registry<R>(Arc<Shared<R>>);

struct Shared<R> {
    slots: Mutex<HashMap<TenantId, Slot<R>>>,
    most: usize,
    open: Open<R>,
}

struct Slot<R> {
    /// Falls with the slot: who waits on it then looks again.
    state: watch::Sender<State<R>>,
    leases: usize,
    last_used: Instant,
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
    /// An empty registry that opens tenants with `open`.
    pub(crate) fn new<F, O>(most: usize, open: F) -> Self
    where
        F: Fn(TenantId) -> O + Send + Sync + 'static,
        O: Future<Output = Result<R>> + Send + 'static,
    {
        let open: Open<R> = Box::new(move |tenant| Box::pin(open(tenant)));
        Self(Arc::new(Shared { slots: Mutex::default(), most, open }))
    }

    /// The tenant, opened if it was not. Callers who come while it opens share that one opening.
    ///
    /// # Errors
    /// What opening says; [`ErrorKind::Busy`] when as many tenants are open as may be and none is idle.
    pub(crate) async fn get(&self, tenant: &TenantId) -> Result<Lease<R>> {
        loop {
            let mut settling = {
                let mut slots = self.slots();
                let full = slots.len() >= self.0.most;
                match slots.get_mut(tenant) {
                    Some(slot) => {
                        match slot.open() {
                            Some(value) if !value.is_closed() => {
                                slot.leases += 1;
                                return Ok(Lease { value, tenant: tenant.clone(), registry: self.clone() });
                            }
                            Some(value) => self.close(tenant, slot, value),
                            None => {}
                        }
                        slot.state.subscribe()
                    }
                    None if !full => self.begin(&mut slots, tenant),
                    None => self.make_room(&mut slots)?,
                }
            };
            // Ends too when the slot that is waited for falls: it is closed now, or made room.
            let settled = settling.wait_for(|state| matches!(state, State::Open(_) | State::Failed(_))).await;
            if let Ok(state) = settled
                && let State::Failed(error) = &*state
            {
                return Err(error.repeat());
            }
        }
    }

    /// Closes every tenant, whoever holds it: for the end of the process.
    pub(crate) async fn close_all(&self) {
        let falling: Vec<_> = self
            .slots()
            .iter_mut()
            .map(|(tenant, slot)| {
                if let Some(value) = slot.open() {
                    self.close(tenant, slot, value);
                }
                slot.state.subscribe()
            })
            .collect();
        for mut state in falling {
            // Never true: it ends when the slot falls.
            let _ = state.wait_for(|_| false).await;
        }
    }

    /// Opens in a task of its own: a caller who leaves must not leave it half-way for the others.
    fn begin(&self, slots: &mut HashMap<TenantId, Slot<R>>, tenant: &TenantId) -> watch::Receiver<State<R>> {
        let (registry, name) = (self.clone(), tenant.clone());
        tokio::spawn(async move {
            let opened = (registry.0.open)(name.clone()).await;
            let mut slots = registry.slots();
            match opened {
                Ok(value) => {
                    if let Some(slot) = slots.get(&name) {
                        slot.state.send_replace(State::Open(Arc::new(value)));
                    }
                }
                Err(error) => {
                    if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Unavailable) {
                        tracing::error!(tenant = %name, error = error.chain(), "a tenant can't be opened");
                    }
                    if let Some(slot) = slots.remove(&name) {
                        slot.state.send_replace(State::Failed(error));
                    }
                }
            }
        });
        let (state, settling) = watch::channel(State::Opening);
        slots.insert(tenant.clone(), Slot { state, leases: 0, last_used: Instant::now() });
        settling
    }

    /// Closes the least recently used tenant that nobody holds; its fall is what to wait for.
    fn make_room(&self, slots: &mut HashMap<TenantId, Slot<R>>) -> Result<watch::Receiver<State<R>>> {
        let idle = slots
            .iter_mut()
            .filter(|(_, slot)| slot.leases == 0)
            .filter_map(|(tenant, slot)| Some((slot.last_used, tenant, slot.open()?, slot)))
            .filter(|(_, _, value, _)| !value.is_busy())
            .min_by_key(|(last_used, ..)| *last_used);
        let Some((_, tenant, value, slot)) = idle else {
            return Err(Error::busy("resident_max", self.0.most as u64, Duration::from_secs(1)));
        };
        self.close(tenant, slot, value);
        Ok(slot.state.subscribe())
    }

    /// The slot stays until the file is closed: whoever wants the tenant meanwhile waits, or two writers
    /// would own one file.
    fn close(&self, tenant: &TenantId, slot: &mut Slot<R>, value: Arc<R>) {
        slot.state.send_replace(State::Closing);
        let (registry, tenant) = (self.clone(), tenant.clone());
        tokio::spawn(async move {
            value.close().await;
            drop(value);
            registry.slots().remove(&tenant);
        });
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<TenantId, Slot<R>>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Slot<R> {
    fn open(&self) -> Option<Arc<R>> {
        match &*self.state.borrow() {
            State::Open(value) => Some(Arc::clone(value)),
            _ => None,
        }
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
        // Another opening of the same tenant may stand in the slot by now: its leases are not ours.
        if let Some(slot) = self.registry.slots().get_mut(&self.tenant)
            && slot.open().is_some_and(|open| Arc::ptr_eq(&open, &self.value))
        {
            slot.leases -= 1;
            slot.last_used = Instant::now();
        }
    }
}
