//! Whose past has grown, since when, and whose turn it is. At most one entry for each tenant.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::id::TenantId;

/// Cheap to add to: a tenant's writer does.
#[derive(Debug, Default)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<TenantId, Waits>,
    due: BTreeSet<(u64, TenantId)>,
    /// Being copied, or erased.
    busy: HashMap<TenantId, u64>,
    /// Nothing more of them may be copied.
    leaving: HashSet<TenantId>,
}

#[derive(Clone, Copy, Debug)]
struct Waits {
    since_ms: u64,
    due_ms: u64,
}

/// One tenant's turn, held.
#[derive(Debug)]
pub(super) struct Turn {
    board: Arc<Board>,
    tenant: TenantId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.board.state().busy.remove(&self.tenant);
        self.board.changed.notify_waiters();
        self.board.changed.notify_one();
    }
}

impl Board {
    /// There is something of `tenant` since `since_ms`, to be copied at `due_ms`; sooner, if it was to be sooner.
    pub(super) fn add(&self, tenant: &TenantId, since_ms: u64, due_ms: u64) {
        let state = &mut *self.state();
        if state.leaving.contains(tenant) {
            return;
        }
        let before = state.waiting.get(tenant).copied();
        let now = before.map_or(Waits { since_ms, due_ms }, |before| Waits {
            since_ms: before.since_ms.min(since_ms),
            due_ms: before.due_ms.min(due_ms),
        });
        if let Some(before) = before {
            state.due.remove(&(before.due_ms, tenant.clone()));
        }
        state.due.insert((now.due_ms, tenant.clone()));
        state.waiting.insert(tenant.clone(), now);
        if before.is_none() {
            self.changed.notify_one();
        }
    }

    /// The next one that is due, if its turn is free, and since when it waits.
    pub(super) fn take(self: &Arc<Self>, now_ms: u64) -> Option<(Turn, u64)> {
        let state = &mut *self.state();
        let free = |entry: &&(u64, TenantId)| entry.0 <= now_ms && !state.busy.contains_key(&entry.1);
        let (due, tenant) = state.due.iter().take_while(|entry| entry.0 <= now_ms).find(free)?.clone();
        state.due.remove(&(due, tenant.clone()));
        let since = state.waiting.remove(&tenant).map_or(now_ms, |waits| waits.since_ms);
        state.busy.insert(tenant.clone(), since);
        Some((Turn { board: Arc::clone(self), tenant }, since))
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<u64> {
        let state = self.state();
        state.due.iter().find(|entry| !state.busy.contains_key(&entry.1)).map(|entry| entry.0)
    }

    /// How many wait or are being copied, and since when the first of them.
    pub(super) fn behind(&self) -> (usize, Option<u64>) {
        let state = self.state();
        let waiting = state.waiting.values().map(|waits| waits.since_ms);
        (state.waiting.len() + state.busy.len(), waiting.chain(state.busy.values().copied()).min())
    }

    /// Nothing more of `tenant` is copied; the turn is the caller's as soon as what is being copied has stopped.
    pub(super) async fn leave(self: &Arc<Self>, tenant: &TenantId) -> Turn {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let state = &mut *self.state();
                state.leaving.insert(tenant.clone());
                if let Some(waits) = state.waiting.remove(tenant) {
                    state.due.remove(&(waits.due_ms, tenant.clone()));
                }
                if !state.busy.contains_key(tenant) {
                    state.busy.insert(tenant.clone(), u64::MAX);
                    return Turn { board: Arc::clone(self), tenant: tenant.clone() };
                }
            }
            changed.await;
        }
    }

    /// It is gone, and its name may be another's.
    pub(super) fn left(&self, tenant: &TenantId) {
        self.state().leaving.remove(tenant);
    }

    /// Whether it is to be copied no more.
    pub(super) fn is_leaving(&self, tenant: &TenantId) -> bool {
        self.state().leaving.contains(tenant)
    }

    /// Returns when there may be something new to do.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Whose it is.
    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}
