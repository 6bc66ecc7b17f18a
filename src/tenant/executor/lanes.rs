//! Who may compute now. One lock, held for some instructions, decides for all threads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::seat::{Order, Seat};
use super::worker;

/// Work that catches its own panics.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Threads at most. They are few unless many statements are long at once: a kept statement keeps its thread.
const THREADS_MAX: usize = 512;
/// Of those, how many jobs that begin in the background may not take: tenants with credit come first.
const THREADS_RESERVED: usize = 128;

/// Where a thread computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Fast,
    Background,
}

/// The two lanes and the threads that run in them.
pub(super) struct Lanes {
    state: Mutex<State>,
    /// Threads that may compute at once in each lane.
    fast_most: usize,
    background_most: usize,
}

#[derive(Default)]
struct State {
    /// Wait for the fast lane. Bounded by who may submit: of each resident tenant one group of writes and its
    /// readers.
    fast: VecDeque<Job>,
    /// Wait for the background, in the order in which permits go round.
    ring: VecDeque<Turn>,
    in_fast: usize,
    in_background: usize,
    /// Have nothing to do; the one that has had nothing for the shortest time is last.
    idle: Vec<Arc<Seat>>,
    threads: usize,
}

enum Turn {
    Begin(Job),
    GoOn(Arc<Seat>),
}

impl Default for Lanes {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        Self {
            state: Mutex::default(),
            // Twice the cores, since a slice is short and some of them wait for pages.
            fast_most: cores * 2,
            // A core is always left to the fast lane.
            background_most: (cores - 1).max(1),
        }
    }
}

impl State {
    fn computing(&mut self, lane: Lane) -> &mut usize {
        match lane {
            Lane::Fast => &mut self.in_fast,
            Lane::Background => &mut self.in_background,
        }
    }
}

impl Lanes {
    /// Takes a job in; `in_debt` puts it into the background from the start.
    pub(super) fn submit(self: &Arc<Self>, job: Job, in_debt: bool) {
        let mut state = self.lock();
        if in_debt {
            state.ring.push_back(Turn::Begin(job));
        } else {
            state.fast.push_back(job);
        }
        self.dispatch(&mut state);
    }

    /// The thread of `seat` has finished a job in `lane`: what it does next, or it is idle now.
    pub(super) fn finished(self: &Arc<Self>, lane: Lane, seat: &Arc<Seat>) -> Option<(Job, Lane)> {
        let mut state = self.lock();
        *state.computing(lane) -= 1;
        let next = if state.in_fast < self.fast_most { state.fast.pop_front() } else { None };
        match next {
            Some(_) => state.in_fast += 1,
            None => state.idle.push(Arc::clone(seat)),
        }
        self.dispatch(&mut state);
        next.map(|job| (job, Lane::Fast))
    }

    /// The thread of `seat` has used up its slice in `lane`. `true`: it is to wait until it is told to go on,
    /// in the background. `false`: nobody else wants its permit.
    pub(super) fn slice_over(self: &Arc<Self>, lane: Lane, seat: &Arc<Seat>) -> bool {
        let mut state = self.lock();
        if lane == Lane::Background && state.ring.is_empty() {
            return false;
        }
        *state.computing(lane) -= 1;
        state.ring.push_back(Turn::GoOn(Arc::clone(seat)));
        self.dispatch(&mut state);
        true
    }

    /// A thread in `lane` waits for the disk, or does so no longer. Coming back it does not queue: it has
    /// little left to do, and its caller's write is durable already.
    pub(super) fn on_disk(self: &Arc<Self>, lane: Lane, waits: bool) {
        let mut state = self.lock();
        if waits {
            *state.computing(lane) -= 1;
            self.dispatch(&mut state);
        } else {
            *state.computing(lane) += 1;
        }
    }

    /// Whether the idle thread of `seat` may end: not if it was given something just now.
    pub(super) fn retire(&self, seat: &Arc<Seat>) -> bool {
        let mut state = self.lock();
        let Some(at) = state.idle.iter().position(|idle| Arc::ptr_eq(idle, seat)) else { return false };
        state.idle.remove(at);
        state.threads -= 1;
        true
    }

    fn dispatch(self: &Arc<Self>, state: &mut State) {
        while state.in_fast < self.fast_most && self.has_thread(state, THREADS_MAX) {
            let Some(job) = state.fast.pop_front() else { break };
            state.in_fast += 1;
            self.give(state, job, Lane::Fast);
        }
        while state.in_background < self.background_most {
            match state.ring.front() {
                Some(Turn::Begin(_)) if !self.has_thread(state, THREADS_MAX - THREADS_RESERVED) => {
                    // Those that are kept go first then: each that ends frees a thread.
                    let Some(kept) = state.ring.iter().position(|turn| matches!(turn, Turn::GoOn(_))) else { return };
                    state.ring.rotate_left(kept);
                }
                Some(_) => {}
                None => return,
            }
            state.in_background += 1;
            match state.ring.pop_front() {
                Some(Turn::Begin(job)) => self.give(state, job, Lane::Background),
                Some(Turn::GoOn(seat)) => seat.give(Order::GoOn),
                None => return,
            }
        }
    }

    fn has_thread(&self, state: &State, most: usize) -> bool {
        !state.idle.is_empty() || state.threads < most
    }

    fn give(self: &Arc<Self>, state: &mut State, job: Job, lane: Lane) {
        if let Some(seat) = state.idle.pop() {
            return seat.give(Order::Work(job, lane));
        }
        let lanes = Arc::clone(self);
        let named = thread::Builder::new().name("freehold-sql".to_owned());
        match named.spawn(move || worker::run(&lanes, job, lane)) {
            Ok(_) => state.threads += 1,
            // The job falls with its closure, which answers its caller.
            Err(error) => {
                *state.computing(lane) -= 1;
                tracing::error!(%error, "no thread can be started for SQL");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
