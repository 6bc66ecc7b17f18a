//! Looks after steps that nothing can interrupt: one call of a function, in SQL or in a program's closure, that keeps
//! its thread past all measure. Its place in the lane goes to another thread, and it goes on with what others leave.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::lanes::Lanes;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A step of so long loses its place. The longest that are not meant ill, an FTS5 document or a sort, take a third.
pub(super) const ASTRAY_AFTER: Duration = Duration::from_millis(100);
/// From here on an operator is told.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(1);
/// How long it looks on while nothing computes.
const IDLE: Duration = Duration::from_secs(10);

/// Statements in a step of a second and more that nothing can interrupt. Each keeps a thread; its tenant waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stuck {
    /// At present.
    pub now: usize,
    /// For how long the first of those has been.
    pub longest: Duration,
    /// Since the process began.
    pub total: u64,
}

/// The watchdog's life, until nothing has computed for a while.
pub(super) fn run(lanes: &Arc<Lanes>) {
    let mut busy_at = Instant::now();
    loop {
        thread::sleep(LOOK_EVERY);
        if lanes.look_after() {
            busy_at = Instant::now();
        } else if busy_at.elapsed() > IDLE && lanes.unwatched() {
            return;
        }
    }
}
