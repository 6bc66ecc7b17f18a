//! One thread as the lanes see it: where it waits to be told what to do, and when it last gave a sign of life.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rustix::process::{Pid, getpriority_process, setpriority_process};
use rustix::thread::gettid;

use super::credit::Credit;
use super::lanes::{Job, Lane};

/// The least that a thread can be given of a core that others want: for a step that nothing can interrupt.
const LOWEST: i32 = 19;
/// By how much less a thread of the background is given: a tenth of what others get who want the same core. The system
/// lets a thread that wakes up take the place of such a one at once, and not at the end of its slice of milliseconds.
const LOWER: i32 = 10;
/// In `seen`: the thread computes nothing.
const RESTS: u64 = u64::MAX;

/// What a waiting thread is told.
pub(super) enum Order {
    /// Do this, in that lane.
    Work(Job, Lane),
    /// Go on with what you were kept from.
    GoOn,
}

/// One thread's place.
pub(super) struct Seat {
    order: Mutex<Option<Order>>,
    thread: Thread,
    id: Pid,
    /// It has a low priority, which only root could take back: it computes for the background alone.
    low: AtomicBool,
    /// When it was last between two steps, in nanoseconds since the lanes began.
    seen: AtomicU64,
    mark: Mutex<Mark>,
}

/// What is known of the job that a thread does. Only looked at under the lock of the lanes.
#[derive(Default)]
pub(super) struct Mark {
    pub(super) lane: Lane,
    pub(super) whose: Option<Arc<Credit>>,
    /// Its place in the lane was given to another.
    pub(super) astray: bool,
    /// It has the lowest priority, which only root could take back: the thread ends with its job.
    pub(super) lowered: bool,
    /// The log has it.
    pub(super) told: bool,
}

impl Seat {
    /// The place of the thread that calls this.
    pub(super) fn here() -> Self {
        Self {
            order: Mutex::default(),
            thread: thread::current(),
            id: gettid(),
            low: AtomicBool::new(false),
            seen: AtomicU64::new(RESTS),
            mark: Mutex::default(),
        }
    }

    /// Tells the thread. It waits, or is about to.
    pub(super) fn give(&self, order: Order) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
        self.thread.unpark();
    }

    /// Waits for an order, at most `within`. Called by the thread itself.
    pub(super) fn wait(&self, within: Duration) -> Option<Order> {
        let until = Instant::now() + within;
        loop {
            if let Some(order) = self.order.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Some(order);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(left);
        }
    }

    pub(super) fn mark(&self) -> MutexGuard<'_, Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It computes, and was between two steps at `now`.
    pub(super) fn lives(&self, now: Duration) {
        self.seen.store(u64::try_from(now.as_nanos()).unwrap_or(RESTS - 1), Ordering::Relaxed);
    }

    /// It computes nothing: it waits for work, for its turn or for the disk.
    pub(super) fn rests(&self) {
        self.seen.store(RESTS, Ordering::Relaxed);
    }

    /// For how long it has been in one step at `now`, if it computes.
    pub(super) fn silent_for(&self, now: Duration) -> Option<Duration> {
        match self.seen.load(Ordering::Relaxed) {
            RESTS => None,
            seen => Some(now.saturating_sub(Duration::from_nanos(seen))),
        }
    }

    /// Lets every other thread go before this one. `false` where the system does not have it so.
    pub(super) fn lower(&self) -> bool {
        self.give_way(LOWEST)
    }

    /// Makes it a thread of the background, if the system has it so.
    pub(super) fn join_background(&self) {
        if !self.is_low() {
            let usual = getpriority_process(Some(self.id)).unwrap_or(0);
            self.low.store(self.give_way((usual + LOWER).min(LOWEST)), Ordering::Relaxed);
        }
    }

    /// Whether it is a thread of the background for good.
    pub(super) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    fn give_way(&self, priority: i32) -> bool {
        cfg!(target_os = "linux") && setpriority_process(Some(self.id), priority).is_ok()
    }
}
