//! Room in a log ahead of what SQLite writes to it, so that a commit changes the size of no file.
//!
//! Where a file grows, making it durable has the file system commit its own journal too: one for all files of the disk,
//! so that a tenant's commit waits for what its neighbours wrote. Bytes that are there are written over for half the
//! CPU time, and by nobody's leave. SQLite takes what it did not write for the end of the log: the salts of a frame that
//! is nothing but zeros are no log's (sqlite.org/fileformat2.html#walformat).

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::pause;

/// The least and the most room that is made at once, in bytes: as much as was written so far, between these.
const LEAST: u64 = 16 * 1024;
const MOST: u64 = 256 * 1024;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// How far a log is written, with room or with frames. Only its writer may ask for more, between two transactions.
#[derive(Debug, Default)]
pub(super) struct Room(u64);

impl Room {
    /// Sees to it that there is some behind the first `written` bytes of `log`, unless the log is emptied from `most`
    /// bytes on anyway. Where the disk has none left, commits find that out for themselves.
    pub(super) fn make(&mut self, log: impl FnOnce() -> PathBuf, written: u64, most: u64) {
        if written >= self.0 && written < most {
            let wanted = (written + written.clamp(LEAST, MOST)).min(most);
            self.0 = pause::on_disk(|| extend(&log(), wanted)).unwrap_or(wanted);
        }
    }

    /// The log was cut to nothing.
    pub(super) fn gone(&mut self) {
        self.0 = 0;
    }
}

/// Makes the file `log` at least `wanted` bytes long, and returns its length; as it was before, if that fails.
fn extend(log: &Path, wanted: u64) -> io::Result<u64> {
    let log = OpenOptions::new().write(true).open(log)?;
    let before = log.metadata()?.len();
    let mut at = before;
    while at < wanted {
        let bytes = &ZEROS[..ZEROS.len().min(usize::try_from(wanted - at).unwrap_or(usize::MAX))];
        if let Err(error) = log.write_all_at(bytes, at) {
            log.set_len(before)?;
            return Err(error);
        }
        at += bytes.len() as u64;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::Connection;

    use super::{LEAST, MOST, Room};
    use crate::db::open::wal_of;

    /// Commits that would each make the log longer make it longer some few times; what a crash leaves is whole, and what
    /// is written over later is too.
    #[test]
    fn a_log_grows_ahead_of_its_commits_and_is_recovered() {
        const PAGE: u64 = 4_096 + 24;
        const WHOLE: u64 = 4 * MOST;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.db");
        let conn = Connection::open(&path).expect("a database");
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (n)")
            .expect("set");
        let length = || fs::metadata(wal_of(&path)).expect("a log").len();
        let (mut room, mut grown, mut was) = (Room::default(), 0, length());
        let mut written = 0;
        let mut commit = |n: u64| {
            conn.execute("INSERT INTO t VALUES (?1)", [n.cast_signed()]).expect("inserted");
            let pages: i64 =
                conn.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).expect("the log's pages");
            written = 32 + pages.unsigned_abs() * PAGE;
            room.make(|| wal_of(&path), written, WHOLE);
            written
        };
        for n in 0..300 {
            let written = commit(n);
            let ahead = length() - written;
            assert!(written >= WHOLE || ahead <= MOST.max(LEAST) + PAGE, "{ahead} bytes ahead of {written}");
            grown += u64::from(length() != was);
            was = length();
        }
        assert!(was > 300 * PAGE, "{was} bytes for 300 pages");
        assert!(grown <= 12 + (300 * PAGE).saturating_sub(WHOLE) / PAGE, "it grew {grown} times");

        let left = dir.path().join("left.db");
        fs::copy(&path, &left).expect("copied");
        fs::copy(wal_of(&path), wal_of(&left)).expect("copied");
        let left = Connection::open(&left).expect("a database");
        let rows: i64 = left.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("a count");
        let sound: String = left.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
        assert_eq!((rows, &*sound), (300, "ok"));
    }

    /// A log that can't be made longer is left as it is.
    #[test]
    fn what_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = dir.path().join("a.db-wal");
        Room::default().make(|| log.clone(), 1, MOST);
        assert!(!log.exists());
    }
}
