//! What a thread does between two steps of SQLite: whoever runs the thread decides, and SQL knows nothing
//! of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

/// How the runner of a thread takes part in the work on it.
pub(crate) trait Pause {
    /// Called between steps, every few microseconds to every millisecond. It may keep the thread for a
    /// while: the work goes on where it stood.
    fn between_steps(&self);
    /// Called before the thread waits for the disk (`true`) and after (`false`).
    fn waits_for_disk(&self, waits: bool);
}

thread_local! {
    static PAUSE: RefCell<Option<Rc<dyn Pause>>> = const { RefCell::new(None) };
}

/// Makes `pause` this thread's own, for as long as it lives.
pub(crate) fn install(pause: Rc<dyn Pause>) {
    PAUSE.with(|slot| *slot.borrow_mut() = Some(pause));
}

/// A place where the thread may be kept.
pub(super) fn between_steps() {
    with(|pause| pause.between_steps());
}

/// Runs `work`, which waits for the disk rather than computes.
pub(super) fn on_disk<T>(work: impl FnOnce() -> T) -> T {
    /// A panic must not leave the thread counted as waiting.
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            with(|pause| pause.waits_for_disk(false));
        }
    }
    with(|pause| pause.waits_for_disk(true));
    let _back = Back;
    work()
}

/// Keeps the thread for `time`, in which it computes nothing.
pub(crate) fn rest(time: Duration) {
    on_disk(|| thread::sleep(time));
}

fn with(tell: impl FnOnce(&dyn Pause)) {
    // Cloned out, so that nothing is borrowed while the thread is kept.
    let pause = PAUSE.with(|slot| slot.borrow().clone());
    if let Some(pause) = pause {
        tell(&*pause);
    }
}
