//! Large copies go to the disk a megabyte at a time. With all of one on its way at once, a commit's fsync beside it
//! would wait for all of that, whoever's it is. It knows nothing of what is copied, nor for what.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::pause;
use crate::error::{Error, ErrorKind, Result};

/// What of a copy the disk has not seen yet, at most, in bytes.
pub(super) const UNSYNCED: u64 = 1024 * 1024;

/// Makes `to`, as a whole, what `from` is now, or was when its transaction began; writers of `from` wait for nobody.
/// `to` changes at once or not at all. `file` is what `to` is written to: its file or its log. It stays open as long
/// as `to`: closing it would let go of SQLite's locks (sqlite.org/howtocorrupt.html section 2.2). The last of it is
/// not on the disk.
///
/// # Errors
/// [`ErrorKind::Unavailable`]: another program holds one of the two, the disk fails, or `stopped`; what SQLite says.
pub(super) fn database(from: &Connection, to: &mut Connection, file: &File, stopped: impl Fn() -> bool) -> Result<()> {
    let page = from.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))?.unsigned_abs().max(1);
    let pages = i32::try_from(UNSYNCED / page).unwrap_or(1).max(1);
    // One view for all steps: without it a write beside them would have the copy begin anew, each time.
    let view = from.is_autocommit().then(|| from.unchecked_transaction()).transpose()?;
    from.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let backup = Backup::new(from, to)?;
    loop {
        match backup.step(pages)? {
            StepResult::Done => break,
            StepResult::More if stopped() => {
                return Err(Error::new(ErrorKind::Unavailable, "the copy was stopped: nothing was changed"));
            }
            StepResult::More => {
                pause::on_disk(|| file.sync_data()).map_err(unwritten)?;
                pause::between_steps();
            }
            _ => return Err(Error::new(ErrorKind::Unavailable, "the database is held by another program: call again")),
        }
    }
    drop(backup);
    view.map_or(Ok(()), |view| Ok(view.finish()?))
}

/// Copies what is left of `from` behind what is in `to`. The last of it is not on the disk.
///
/// # Errors
/// What the disk says.
pub(super) fn file(from: &mut impl Read, to: &mut File) -> io::Result<()> {
    while io::copy(&mut from.by_ref().take(UNSYNCED), to)? == UNSYNCED {
        to.sync_data()?;
    }
    Ok(())
}

/// Writes `bytes` to `to`, where it stands. The last of them are not on the disk.
///
/// # Errors
/// What the disk says.
pub(super) fn append(to: &mut File, bytes: &[u8]) -> io::Result<()> {
    let from = to.stream_position()?;
    to.write_all(bytes)?;
    let is_full = (from + bytes.len() as u64) / UNSYNCED > from / UNSYNCED;
    if is_full { to.sync_data() } else { Ok(()) }
}

fn unwritten(error: io::Error) -> Error {
    let said = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full: make room and try again",
        _ => "a copy can't be written: the disk fails",
    };
    Error::new(ErrorKind::Unavailable, said).with_source(error)
}
