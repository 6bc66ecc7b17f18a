//! The memory that one statement may take, temporary tables and sorts included: they are kept in memory, so
//! that this bounds them too.
//!
//! SQLite asks its allocator for every byte, on the thread that runs the statement. So the allocator, set once
//! for the process and before its first connection, counts by thread and says no where a statement is over
//! its bound. SQLite undoes the statement then, as it does when a machine has no more (SQLITE_NOMEM). Nothing
//! else stops `SELECT printf(…), printf(…), …`: it makes a gigabyte in one go, with no progress handler asked.
//! For the same reason it says no past the deadline: thousands of costly calls in one row are one row.
#![expect(
    unsafe_code,
    reason = "an allocator of SQLite is made of C functions, and rusqlite has no safe way to set it"
)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null_mut;
use std::sync::{Once, OnceLock};
use std::time::Instant;

use rusqlite::ffi;

use crate::error::{Error, ErrorKind, Result};

pub(super) const STATEMENT_MEMORY: &str = "statement_memory";

/// What a thread's statement has of SQLite's memory.
#[derive(Clone, Copy)]
struct Meter {
    /// In bytes. Below zero where it let go of what another thread took.
    used: i64,
    most: i64,
    /// Whether it was told no for that.
    refused: bool,
    until: Option<Instant>,
    /// Whether it was told no for that.
    late: bool,
    /// Small pieces asked for since the clock was looked at.
    unlooked: u8,
}

impl Meter {
    const IDLE: Self = Self { used: 0, most: i64::MAX, refused: false, until: None, late: false, unlooked: 0 };
}

/// What a connection takes at once for its small pieces: the size of the larger ones, in bytes, and how many.
const LOOKASIDE: (c_int, c_int) = (512, 16);

/// A piece of this size, in bytes, costs more than a look at the clock.
const LARGE: i64 = 16 * 1024;

thread_local! {
    static METER: Cell<Meter> = const { Cell::new(Meter::IDLE) };
}

/// Runs `work` with at most `most` bytes more of SQLite's memory than this thread has now, and none from
/// `until` on.
///
/// # Errors
/// What `work` returns; [`ErrorKind::Limit`] where that came of the bound. Past `until` it is as if the machine
/// had no more: whoever set the deadline knows better.
pub(super) fn within<T>(most: u64, until: Option<Instant>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    METER.with(|meter| {
        let used = meter.get().used;
        let most = used.saturating_add(i64::try_from(most).unwrap_or(i64::MAX));
        meter.set(Meter { used, most, until, ..Meter::IDLE });
    });
    // rusqlite takes a value that there was no memory for as a broken promise of SQLite's, and panics.
    let done = catch_unwind(AssertUnwindSafe(work));
    let Meter { refused, late, .. } =
        METER.with(|meter| meter.replace(Meter { used: meter.get().used, ..Meter::IDLE }));
    let stopped = || {
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
        Ok(Err(error)) if (refused || late) && error.bound().is_none() && is_of_memory(&error) => {
            Err(stopped().with_source(error))
        }
        Ok(result) => result,
        Err(_) if refused || late => Err(stopped()),
        Err(panic) => resume_unwind(panic),
    }
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
        now.unlooked = if more >= LARGE { 0 } else { now.unlooked.wrapping_add(1) };
        now.late |= now.unlooked == 0 && now.until.is_some_and(|until| Instant::now() >= until);
        meter.set(now);
        fits && !now.late
    })
}

fn book(bytes: i64) {
    METER.with(|meter| {
        let now = meter.get();
        meter.set(Meter { used: now.used.saturating_add(bytes), ..now });
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
