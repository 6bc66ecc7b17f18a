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
