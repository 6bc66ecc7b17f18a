//! One thread: does jobs, and lets itself be kept between two steps of a long one.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lanes::{Job, Lane, Lanes, Next};
use super::seat::{Mark, Order, Seat};
use crate::db::{Pause, install_pause};

/// How long a job may compute before others get their turn. The system may let a thread of the background finish it while
/// one of the runtime's waits on the same core, so that it is what a call is held up by now and then.
const SLICE: Duration = Duration::from_micros(250);
/// So many of them a job has in the fast lane; then it is a long one.
const FAST_SLICES: u32 = 4;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

struct Worker {
    lanes: Arc<Lanes>,
    seat: Arc<Seat>,
    lane: Cell<Lane>,
    slice_from: Cell<Instant>,
    /// Slices that the job has had in the fast lane.
    slices: Cell<u32>,
    /// It computes nothing, and has no slice: FTS5 runs statements of its own inside a COMMIT.
    on_disk: Cell<bool>,
}

/// A thread's life, from its first job until it has been idle for long.
pub(super) fn run(lanes: &Arc<Lanes>, job: Job, lane: Lane) {
    let seat = Arc::new(Seat::here());
    let worker = Rc::new(Worker {
        lanes: Arc::clone(lanes),
        seat: Arc::clone(&seat),
        lane: Cell::new(lane),
        slice_from: Cell::new(Instant::now()),
        slices: Cell::new(0),
        on_disk: Cell::new(false),
    });
    install_pause(Rc::clone(&worker) as Rc<dyn Pause>);
    lanes.enter(&seat);
    let mut next = Some((job, lane));
    while let Some((job, lane)) = next {
        worker.begin(&job, lane);
        (job.work)();
        next = match lanes.finished(worker.lane.get(), &seat) {
            Next::Work(job, lane) => Some((job, lane)),
            Next::Wait => worker.idle(),
            Next::End => None,
        };
    }
}

impl Worker {
    fn begin(&self, job: &Job, lane: Lane) {
        self.lane.set(lane);
        self.slices.set(0);
        if lane == Lane::Background {
            self.seat.join_background();
        }
        *self.seat.mark() = Mark { lane, whose: Some(Arc::clone(&job.whose)), ..Mark::default() };
        self.slice();
    }

    /// A slice begins, and with it the thread shows that it lives.
    fn slice(&self) {
        self.slice_from.set(Instant::now());
        self.seat.lives(self.lanes.now());
    }

    fn idle(&self) -> Option<(Job, Lane)> {
        loop {
            match self.seat.wait(IDLE) {
                Some(Order::Work(job, lane)) => return Some((job, lane)),
                // Never given to an idle thread; harmless.
                Some(Order::GoOn) => {}
                None if self.lanes.retire(&self.seat) => return None,
                None => {}
            }
        }
    }
}

impl Pause for Worker {
    fn between_steps(&self) {
        let lane = self.lane.get();
        if self.on_disk.get() || self.slice_from.get().elapsed() < SLICE {
            return;
        }
        // While it lasts, and not at its end alone: what the tenant asks for meanwhile is to find it in debt.
        self.seat.mark().whose.iter().for_each(|whose| whose.book());
        let slices = self.slices.get() + 1;
        self.slices.set(slices);
        let goes_to = if lane == Lane::Fast && slices < FAST_SLICES { Lane::Fast } else { Lane::Background };
        if self.lanes.slice_over(lane, goes_to, &self.seat) {
            // Turns go round, so that this ends; the bound is only how often it looks again.
            while self.seat.wait(IDLE).is_none() {}
            self.lane.set(goes_to);
            self.seat.mark().lane = goes_to;
            if goes_to == Lane::Background {
                self.seat.join_background();
            }
        }
        self.slice();
    }

    fn waits_for_disk(&self, waits: bool) {
        self.on_disk.set(waits);
        self.lanes.on_disk(self.lane.get(), &self.seat, waits);
        if waits {
            self.slice_from.set(Instant::now());
        } else {
            self.slice();
        }
    }
}
