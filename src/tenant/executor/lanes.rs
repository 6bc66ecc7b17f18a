//! Who may compute now. One lock, held for some instructions, decides for all threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::credit::{Credit, nanos};
use super::seat::{Mark, Order, Seat};
use super::watchdog::{self, ASTRAY_AFTER, STUCK_AFTER, Stuck};
use super::worker;

/// Work that catches its own panics, and on whose account it is done.
pub(super) struct Job {
    pub(super) work: Box<dyn FnOnce() + Send>,
    pub(super) whose: Arc<Credit>,
}

/// Threads at most. They are few unless many statements are long at once: a kept statement keeps its thread.
const THREADS_MAX: usize = 512;
/// Of those, how many jobs that begin in the background may not take: tenants with credit come first.
const THREADS_RESERVED: usize = 128;
/// Threads in a step without an end that may lose their places to others at once. Those beyond keep theirs, and
/// what waits behind them is refused at its `queue_deadline`.
const ASTRAY_MOST: usize = 64;

/// For how long a job that came for the fast lane says that there are tenants who want it.
const OF_LATE: Duration = Duration::from_millis(20);

/// Where a thread computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lane {
    #[default]
    Fast,
    Background,
}

/// What a thread does after a job.
pub(super) enum Next {
    Work(Job, Lane),
    Wait,
    End,
}

/// How much there is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Threads there are, idle ones among them.
    pub threads: usize,
    /// Jobs that wait for the fast lane.
    pub fast_waiting: usize,
    /// Jobs that wait for their turn in the background.
    pub background_waiting: usize,
}

/// The two lanes and the threads that run in them.
pub(super) struct Lanes {
    state: Mutex<State>,
    began: Instant,
    /// When a job last came for the fast lane, in nanoseconds since the beginning.
    fast_came: AtomicU64,
    /// Threads that may compute at once in each lane.
    fast_most: usize,
    background_most: usize,
}

#[derive(Default)]
struct State {
    /// Wait for the fast lane. Bounded by who may submit: of each resident tenant one group of writes, its readers, and
    /// the big answers of its calls.
    fast: VecDeque<Turn>,
    /// Wait for the background, in the order in which permits go round.
    ring: VecDeque<Turn>,
    in_fast: usize,
    in_background: usize,
    /// Have nothing to do; the one that has had nothing for the shortest time is last.
    idle: Vec<Arc<Seat>>,
    /// The same, of those that compute for the background alone.
    idle_low: Vec<Arc<Seat>>,
    threads: usize,
    /// Of all threads that have begun.
    seats: Vec<Arc<Seat>>,
    /// Threads whose places were given to others.
    astray: usize,
    watched: bool,
    stuck: u64,
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
            began: Instant::now(),
            fast_came: AtomicU64::new(0),
            // Twice the cores, since a slice is short and some of them wait for pages.
            fast_most: cores * 2,
            // A core is always left to the fast lane.
            background_most: (cores - 1).max(1),
        }
    }
}

impl State {
    /// Where `seat` is while it has nothing to do.
    fn idle_of(&mut self, seat: &Seat) -> &mut Vec<Arc<Seat>> {
        if seat.is_low() { &mut self.idle_low } else { &mut self.idle }
    }

    fn has_thread(&self, most: usize) -> bool {
        !self.idle.is_empty() || self.threads < most
    }

    fn waiting(&mut self, lane: Lane) -> &mut VecDeque<Turn> {
        match lane {
            Lane::Fast => &mut self.fast,
            Lane::Background => &mut self.ring,
        }
    }

    /// Whose turn it is in `lane`. Where no thread can be had for a job, those that are kept go first: each that ends
    /// frees one.
    fn next(&mut self, lane: Lane) -> Option<Turn> {
        let begins = match lane {
            Lane::Fast => self.has_thread(THREADS_MAX),
            Lane::Background => !self.idle_low.is_empty() || self.has_thread(THREADS_MAX - THREADS_RESERVED),
        };
        let waiting = self.waiting(lane);
        let next = waiting.iter().position(|turn| begins || matches!(turn, Turn::GoOn(_)))?;
        waiting.remove(next)
    }

    fn computing(&mut self, lane: Lane) -> &mut usize {
        match lane {
            Lane::Fast => &mut self.in_fast,
            Lane::Background => &mut self.in_background,
        }
    }
}

impl Lanes {
    pub(super) fn load(&self) -> Load {
        let state = self.lock();
        Load { threads: state.threads, fast_waiting: state.fast.len(), background_waiting: state.ring.len() }
    }

    /// Takes a job in; `in_debt` puts it into the background from the start.
    pub(super) fn submit(self: &Arc<Self>, job: Job, in_debt: bool) {
        let mut state = self.lock();
        if in_debt {
            state.ring.push_back(Turn::Begin(job));
        } else {
            self.fast_came.store(nanos(self.now()), Ordering::Relaxed);
            state.fast.push_back(Turn::Begin(job));
        }
        self.dispatch(&mut state);
    }

    /// Whether a job came for the fast lane of late.
    pub(super) fn is_fast_used(&self) -> bool {
        let came = Duration::from_nanos(self.fast_came.load(Ordering::Relaxed));
        !came.is_zero() && self.now().saturating_sub(came) < OF_LATE
    }

    /// A thread begins.
    pub(super) fn enter(&self, seat: &Arc<Seat>) {
        self.lock().seats.push(Arc::clone(seat));
    }

    /// The thread of `seat` has finished a job in `lane`: what it does next.
    pub(super) fn finished(self: &Arc<Self>, lane: Lane, seat: &Arc<Seat>) -> Next {
        let mut state = self.lock();
        let lowered = self.leave(&mut state, lane, seat);
        *seat.mark() = Mark::default();
        let next = match seat.is_low() {
            _ if lowered => Next::End,
            true if state.idle_low.len() >= self.background_most => Next::End,
            false if state.in_fast < self.fast_most => {
                match state.fast.pop_front_if(|turn| matches!(turn, Turn::Begin(_))) {
                    Some(Turn::Begin(job)) => Next::Work(job, Lane::Fast),
                    _ => Next::Wait,
                }
            }
            _ => Next::Wait,
        };
        match next {
            Next::Work(..) => state.in_fast += 1,
            Next::Wait => state.idle_of(seat).push(Arc::clone(seat)),
            Next::End => {
                state.threads -= 1;
                state.seats.retain(|one| !Arc::ptr_eq(one, seat));
            }
        }
        self.dispatch(&mut state);
        next
    }

    /// The thread of `seat` has used up its slice in `lane`, and has its next one in `goes_to`. `true`: it is to wait
    /// until it is told to go on there. `false`: nobody else wants its place.
    pub(super) fn slice_over(self: &Arc<Self>, lane: Lane, goes_to: Lane, seat: &Arc<Seat>) -> bool {
        let mut state = self.lock();
        if lane == goes_to && state.waiting(lane).is_empty() && !seat.mark().astray {
            return false;
        }
        self.leave(&mut state, lane, seat);
        state.waiting(goes_to).push_back(Turn::GoOn(Arc::clone(seat)));
        self.dispatch(&mut state);
        true
    }

    /// The thread of `seat` waits for the disk, or does so no longer. Coming back it does not queue: it has
    /// little left to do, and its caller's write is durable already.
    pub(super) fn on_disk(self: &Arc<Self>, lane: Lane, seat: &Arc<Seat>, waits: bool) {
        let mut state = self.lock();
        if waits {
            self.leave(&mut state, lane, seat);
            self.dispatch(&mut state);
        } else {
            *state.computing(lane) += 1;
        }
    }

    /// The thread of `seat` computes no longer, and its place is free, if another has not got it already. Returns
    /// whether its priority is the lowest for good.
    fn leave(&self, state: &mut State, lane: Lane, seat: &Seat) -> bool {
        seat.rests();
        let mut mark = seat.mark();
        if std::mem::take(&mut mark.astray) {
            state.astray -= 1;
        } else {
            *state.computing(lane) -= 1;
        }
        mark.lowered
    }

    /// How long the lanes have been.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Gives the places of threads that are in one step for too long to others. Returns whether any computes.
    pub(super) fn look_after(self: &Arc<Self>) -> bool {
        let (mut stuck, mut busy) = (Vec::new(), false);
        let mut state = self.lock();
        let now = self.now();
        for at in 0..state.seats.len() {
            let seat = Arc::clone(&state.seats[at]);
            let Some(silent) = seat.silent_for(now) else { continue };
            busy = true;
            let mut mark = seat.mark();
            if silent >= ASTRAY_AFTER && !mark.astray && state.astray < ASTRAY_MOST {
                mark.astray = true;
                mark.lowered |= seat.lower();
                state.astray += 1;
                *state.computing(mark.lane) -= 1;
            }
            if silent >= STUCK_AFTER && !std::mem::replace(&mut mark.told, true) {
                state.stuck += 1;
                stuck.push((mark.whose.clone(), silent));
            }
        }
        self.dispatch(&mut state);
        drop(state);
        for (whose, silent) in stuck {
            let tenant = whose.as_ref().and_then(|whose| whose.tenant());
            let tenant = tenant.map_or("none", |tenant| tenant.as_str());
            let for_ms = silent.as_millis() as u64;
            tracing::warn!(
                tenant,
                for_ms,
                "a statement is in a step that nothing can interrupt; only its tenant waits"
            );
        }
        busy
    }

    /// Whether the watchdog may end: not if something computes again.
    pub(super) fn unwatched(&self) -> bool {
        let mut state = self.lock();
        let now = self.now();
        state.watched = state.seats.iter().any(|seat| seat.silent_for(now).is_some());
        !state.watched
    }

    /// What is in one step for so long that an operator should know.
    pub(super) fn stuck(&self) -> Stuck {
        let state = self.lock();
        let now = self.now();
        let silent = state.seats.iter().filter_map(|seat| seat.silent_for(now)).filter(|silent| *silent >= STUCK_AFTER);
        let (count, longest) = silent.fold((0, Duration::ZERO), |(count, longest), one| (count + 1, longest.max(one)));
        Stuck { now: count, longest, total: state.stuck }
    }

    /// Whether the idle thread of `seat` may end: not if it was given something just now.
    pub(super) fn retire(&self, seat: &Arc<Seat>) -> bool {
        let mut state = self.lock();
        let idle = state.idle_of(seat);
        let Some(at) = idle.iter().position(|idle| Arc::ptr_eq(idle, seat)) else { return false };
        idle.remove(at);
        state.threads -= 1;
        state.seats.retain(|one| !Arc::ptr_eq(one, seat));
        true
    }

    fn dispatch(self: &Arc<Self>, state: &mut State) {
        for (lane, most) in [(Lane::Fast, self.fast_most), (Lane::Background, self.background_most)] {
            while *state.computing(lane) < most
                && let Some(turn) = state.next(lane)
            {
                *state.computing(lane) += 1;
                match turn {
                    Turn::Begin(job) => self.give(state, job, lane),
                    Turn::GoOn(seat) => seat.give(Order::GoOn),
                }
            }
        }
    }

    fn give(self: &Arc<Self>, state: &mut State, job: Job, lane: Lane) {
        self.watch(state);
        let low = if lane == Lane::Background { state.idle_low.pop() } else { None };
        if let Some(seat) = low.or_else(|| state.idle.pop()) {
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

    fn watch(self: &Arc<Self>, state: &mut State) {
        if state.watched {
            return;
        }
        let lanes = Arc::clone(self);
        let named = thread::Builder::new().name("freehold-watch".to_owned());
        match named.spawn(move || watchdog::run(&lanes)) {
            Ok(_) => state.watched = true,
            Err(error) => tracing::error!(%error, "nobody looks after statements that can't be interrupted"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
