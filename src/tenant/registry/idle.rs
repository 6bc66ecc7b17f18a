//! In which order idle tenants were left: who is closed first. Every step is a search in a tree, so that it
//! costs the same with five tenants and with five thousand.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::id::TenantId;

/// The idle tenants, the one that was left first in front.
#[derive(Default)]
pub(super) struct Idle {
    /// Left a short time ago: they have all that they had.
    warm: Order,
    /// Left some time ago, and told to rest. All of them before the warm ones.
    resting: Order,
    next: u64,
}

type Order = BTreeMap<u64, (Instant, TenantId)>;

/// A tenant's place among the idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Idle {
    /// Takes a tenant in behind all others.
    pub(super) fn enter(&mut self, tenant: &TenantId) -> Place {
        let place = self.next;
        self.next += 1;
        self.warm.insert(place, (Instant::now(), tenant.clone()));
        Place(place)
    }

    /// Its tenant is idle no longer.
    pub(super) fn leave(&mut self, Place(place): Place) {
        if self.resting.remove(&place).is_none() {
            self.warm.remove(&place);
        }
    }

    /// Whether the tenant of `place` was told to rest.
    pub(super) fn is_resting(&self, Place(place): Place) -> bool {
        self.resting.contains_key(&place)
    }

    /// How many were told to rest.
    pub(super) fn resting(&self) -> usize {
        self.resting.len()
    }

    /// The idle tenants, from the first that was left on.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TenantId> {
        self.resting.values().chain(self.warm.values()).map(|(_, tenant)| tenant)
    }

    /// One that was left before `then` and has not been told to rest: it counts as told.
    pub(super) fn rest(&mut self, then: Instant) -> Option<TenantId> {
        let (place, left) = self.warm.pop_first()?;
        if left.0 > then {
            self.warm.insert(place, left);
            return None;
        }
        let tenant = left.1.clone();
        self.resting.insert(place, left);
        Some(tenant)
    }

    /// The first, if it was left before `then`.
    pub(super) fn first_before(&self, then: Instant) -> Option<&TenantId> {
        let (left, tenant) = self.resting.values().chain(self.warm.values()).next()?;
        (*left <= then).then_some(tenant)
    }
}
