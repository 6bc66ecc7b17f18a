//! Where one thread waits to be told what to do.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::lanes::{Job, Lane};

/// What a waiting thread is told.
pub(super) enum Order {
    /// Do this, in that lane.
    Work(Job, Lane),
    /// Go on with what you were kept from.
    GoOn,
}

/// One thread's place to wait.
#[derive(Default)]
pub(super) struct Seat {
    order: Mutex<Option<Order>>,
    given: Condvar,
}

impl Seat {
    /// Tells the thread. It waits, or is about to.
    pub(super) fn give(&self, order: Order) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
        self.given.notify_one();
    }

    /// Waits for an order, at most `within`.
    pub(super) fn wait(&self, within: Duration) -> Option<Order> {
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.given.wait_timeout_while(order, within, |order| order.is_none());
        let (mut order, _) = waited.unwrap_or_else(PoisonError::into_inner);
        order.take()
    }
}
