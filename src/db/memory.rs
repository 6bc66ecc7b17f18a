//! The memory that one statement may take, temporary tables and sorts included: they are kept in memory, so
//! that this bounds them too.
//!
//! SQLite asks its allocator for every byte, on the thread that runs the statement. So the allocator, set once
//! for the process and before its first connection, counts by thread and says no where a statement is over
//! its bound. SQLite undoes the statement then, as it does when a machine has no more (SQLITE_NOMEM). Nothing
//! else stops `SELECT printf(…), printf(…), …`: it makes a gigabyte in one go, with no progress handler asked.
//! For the same reason it says no past the deadline: thousands of costly calls in one row are one row.
//!
//! All statements together have a bound too. What a statement takes beyond its first megabyte it takes from that, and
//! where nothing is left of it the one that asks is refused: a small statement never is for what others have.
#![expect(
    unsafe_code,
    reason = "an allocator of SQLite is made of C functions, and rusqlite has no safe way to set it"
)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

use rusqlite::ffi;

use crate::error::{Error, ErrorKind, Result};

pub(super) const STATEMENT_MEMORY: &str = "statement_memory";

/// What every statement has for itself.
const FREE: i64 = 1024 * 1024;
/// What it takes of the common share at once: all threads meet there.
const PORTION: i64 = 256 * 1024;

/// The common share, and what of it is taken, in bytes.
static SHARE: AtomicI64 = AtomicI64::new(i64::MAX);
static TAKEN: AtomicI64 = AtomicI64::new(0);

/// What a thread's statement has of SQLite's memory.
#[derive(Clone, Copy)]
struct Meter {
    /// In bytes. Below zero where it let go of what another thread took.
    used: i64,
    /// What that was as it began.
    from: i64,
    most: i64,
    /// Whether it was told no for that.
    refused: bool,
    /// What it has of the common share.
    taken: i64,
    /// Whether it was told no for that.
    crowded: bool,
    until: Option<Instant>,
    /// Whether it was told no for that.
    late: bool,
    /// Small pieces asked for since the clock was looked at.
    unlooked: u8,
}

impl Meter {
    const IDLE: Self = Self {
        used: 0,
        from: 0,
        most: i64::MAX,
        refused: false,
        taken: 0,
        crowded: false,
        until: None,
        late: false,
        unlooked: 0,
    };

    /// Takes of the common share what `more` bytes need beyond its own.
    fn take(&mut self, more: i64) -> bool {
        let need = self.used.saturating_sub(self.from).saturating_add(more) - FREE - self.taken;
        if need <= 0 || self.most == i64::MAX {
            return true;
        }
        let portion = need.max(PORTION);
        if TAKEN.fetch_add(portion, Ordering::Relaxed).saturating_add(portion) > SHARE.load(Ordering::Relaxed) {
            TAKEN.fetch_sub(portion, Ordering::Relaxed);
            return false;
        }
        self.taken += portion;
        true
    }
}

/// What a connection takes at once for its small pieces: the size of the larger ones, in bytes, and how many.
const LOOKASIDE: (c_int, c_int) = (512, 16);

/// A piece of this size, in bytes, costs more than a look at the clock.
const LARGE: i64 = 16 * 1024;

thread_local! {
    static METER: Cell<Meter> = const { Cell::new(Meter::IDLE) };
    static UNTOLD: Untold = const { Untold(Cell::new(0)) };
}

/// What SQLite holds in this process, in bytes, but for what threads have not told yet.
static HELD: AtomicI64 = AtomicI64::new(0);

/// What a thread took and gave back since it last told, less than `PORTION`.
struct Untold(Cell<i64>);

impl Untold {
    fn tell(&self) {
        HELD.fetch_add(self.0.take(), Ordering::Relaxed);
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        self.tell();
    }
}

/// What SQLite holds for all open files and running statements, in bytes, to a quarter of a megabyte for each thread.
pub(crate) fn held() -> u64 {
    u64::try_from(HELD.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Runs `work` with at most `most` bytes more of SQLite's memory than this thread has now, and none from
/// `until` on.
///
/// # Errors
/// What `work` returns; [`ErrorKind::Limit`] where that came of the bound. Past `until` it is as if the machine
/// had no more: whoever set the deadline knows better.
pub(super) fn within<T>(most: u64, until: Option<Instant>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    METER.with(|meter| {
        let from = meter.get().used;
        let most = from.saturating_add(i64::try_from(most).unwrap_or(i64::MAX)).min(i64::MAX - 1);
        meter.set(Meter { used: from, from, most, until, ..Meter::IDLE });
    });
    // rusqlite takes a value that there was no memory for as a broken promise of SQLite's, and panics.
    let done = catch_unwind(AssertUnwindSafe(work));
    let Meter { refused, crowded, taken, late, .. } =
        METER.with(|meter| meter.replace(Meter { used: meter.get().used, ..Meter::IDLE }));
    TAKEN.fetch_sub(taken, Ordering::Relaxed);
    let stopped = || {
        if crowded {
            return crowd();
        }
        if !refused {
            return Error::new(ErrorKind::Limit, "the statement was interrupted");
        }
        let said = format!(
            "the statement needs more than {most} bytes of memory, and nothing was changed: \
             sort, group or join fewer rows at once, or fetch fewer large values"
        );
        Error::limit(STATEMENT_MEMORY, most, said)
    };
    match done {
        // A refusal may have been harmless, and the error another one.
        Ok(Err(error)) if (refused || crowded || late) && error.bound().is_none() && is_of_memory(&error) => {
            Err(stopped().with_source(error))
        }
        Ok(result) => result,
        Err(_) if refused || crowded || late => Err(stopped()),
        Err(panic) => resume_unwind(panic),
    }
}

/// Lets all statements of this process have at most `most` bytes beyond the first megabyte of each. Of several hosts in
/// one process the last one says.
pub(crate) fn share(most: u64) {
    SHARE.store(i64::try_from(most).unwrap_or(i64::MAX), Ordering::Relaxed);
}

fn crowd() -> Error {
    let most = u64::try_from(SHARE.load(Ordering::Relaxed)).unwrap_or(0);
    let said = format!(
        "nothing was changed: the statements that run now take all of the {most} bytes that there are for large ones; \
         try again shortly, or sort, group and join fewer rows at once"
    );
    Error::busy("statements_bytes", most, Duration::from_secs(1)).reworded(said)
}

/// SQLite tells of it as such, or as a page that could not be read.
fn is_of_memory(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Limit | ErrorKind::Internal)
}

/// Puts the counting allocator in, before this process's first connection.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if !set() {
            tracing::warn!(
                "limits.statement_memory does not hold: this program used SQLite before it started the host"
            );
        }
    });
}

/// SQLite's own allocator, which does the work.
struct Own {
    malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    realloc: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    size: unsafe extern "C" fn(*mut c_void) -> c_int,
    roundup: unsafe extern "C" fn(c_int) -> c_int,
}

static OWN: OnceLock<Own> = OnceLock::new();

fn set() -> bool {
    let mut methods = ffi::sqlite3_mem_methods {
        xMalloc: None,
        xFree: None,
        xRealloc: None,
        xSize: None,
        xRoundup: None,
        xInit: None,
        xShutdown: None,
        pAppData: null_mut(),
    };
    // SAFETY: the documented form of both calls (sqlite.org/c3ref/c_config_covering_index_scan.html); they fail,
    // and change nothing, where SQLite is in use already. SQLite copies `methods`.
    unsafe {
        if ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut methods) != ffi::SQLITE_OK {
            return false;
        }
        let (Some(malloc), Some(free), Some(realloc), Some(size), Some(roundup)) =
            (methods.xMalloc, methods.xFree, methods.xRealloc, methods.xSize, methods.xRoundup)
        else {
            return false;
        };
        if OWN.set(Own { malloc, free, realloc, size, roundup }).is_err() {
            return false;
        }
        methods.xMalloc = Some(counted_malloc);
        methods.xFree = Some(counted_free);
        methods.xRealloc = Some(counted_realloc);
        methods.xSize = Some(own_size);
        methods.xRoundup = Some(own_roundup);
        // Its failure costs memory and nothing else: 48 KB a connection in place of 8.
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_LOOKASIDE, LOOKASIDE.0, LOOKASIDE.1);
        // The process-wide count of SQLite's is a lock that all tenants' threads would meet at.
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw mut methods) == ffi::SQLITE_OK
            && ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int) == ffi::SQLITE_OK
    }
}

/// Whether the thread's statement may have `more` bytes. It is not booked by that.
fn may_grow(more: i64) -> bool {
    METER.with(|meter| {
        let mut now = meter.get();
        let fits = now.used.saturating_add(more) <= now.most;
        now.refused |= !fits;
        let shares = fits && now.take(more);
        now.crowded |= fits && !shares;
        now.unlooked = if more >= LARGE { 0 } else { now.unlooked.wrapping_add(1) };
        now.late |= now.unlooked == 0 && now.until.is_some_and(|until| Instant::now() >= until);
        meter.set(now);
        fits && shares && !now.late
    })
}

fn book(bytes: i64) {
    METER.with(|meter| {
        let now = meter.get();
        meter.set(Meter { used: now.used.saturating_add(bytes), ..now });
    });
    // As the thread ends, what closes then is not told.
    let _ = UNTOLD.try_with(|untold| {
        untold.0.set(untold.0.get().saturating_add(bytes));
        if untold.0.get().abs() >= PORTION {
            untold.tell();
        }
    });
}

// SAFETY, for all of these: SQLite calls them as it would its own (sqlite.org/c3ref/mem_methods.html), with
// what they returned and after `OWN` was set, and each hands its arguments on untouched. None can panic.

unsafe extern "C" fn counted_malloc(bytes: c_int) -> *mut c_void {
    let Some(own) = OWN.get().filter(|_| may_grow(bytes.into())) else { return null_mut() };
    unsafe {
        let made = (own.malloc)(bytes);
        if !made.is_null() {
            book((own.size)(made).into());
        }
        made
    }
}

unsafe extern "C" fn counted_free(what: *mut c_void) {
    let Some(own) = OWN.get() else { return };
    unsafe {
        if !what.is_null() {
            book(-i64::from((own.size)(what)));
        }
        (own.free)(what);
    }
}

unsafe extern "C" fn counted_realloc(what: *mut c_void, bytes: c_int) -> *mut c_void {
    let Some(own) = OWN.get() else { return null_mut() };
    unsafe {
        let before = i64::from((own.size)(what));
        if !may_grow(i64::from(bytes) - before) {
            return null_mut();
        }
        let made = (own.realloc)(what, bytes);
        if !made.is_null() {
            book(i64::from((own.size)(made)) - before);
        }
        made
    }
}

unsafe extern "C" fn own_size(what: *mut c_void) -> c_int {
    OWN.get().map_or(0, |own| unsafe { (own.size)(what) })
}

unsafe extern "C" fn own_roundup(bytes: c_int) -> c_int {
    OWN.get().map_or(bytes, |own| unsafe { (own.roundup)(bytes) })
}
