//! How a file was left, told to who opens it next: two small files beside its past. `closed` has what the file looks like,
//! so that it shows if somebody wrote past its past; `emptying` says that SQLite's log was about to be emptied and all of
//! it was kept, so that a log that a crash left empty is no gap.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::History;

const CLOSED: &str = "closed";
const EMPTYING: &str = "emptying";

impl History {
    /// Everything in SQLite's log is kept, and it is emptied next.
    pub(in crate::db) fn empties(&self) {
        if self.log.is_some() && !self.told {
            // Without it a crash at that moment is taken for a gap.
            let _ = fs::write(self.folder.join(EMPTYING), []);
        }
    }

    /// Everything is kept and SQLite's log is empty: as the file is now it is found again, closed in order or not.
    pub(in crate::db) fn settled(&self) {
        if self.log.is_some() && !self.told && !self.closed {
            let write = || fs::write(self.folder.join(CLOSED), state_of(&self.file)?);
            if let Err(error) = write() {
                tracing::warn!(%error, "a tenant's history has a gap from here on");
            }
        }
    }

    /// Whether the file is as it was left, if that was told.
    pub(super) fn was_closed(&self) -> io::Result<Option<bool>> {
        match fs::read_to_string(self.folder.join(CLOSED)) {
            Ok(told) => Ok(Some(told == state_of(&self.file)?)),
            Err(_) => Ok(None),
        }
    }

    /// Whether a log that is empty was emptied after all of it was kept.
    pub(super) fn was_emptied(&self) -> bool {
        self.folder.join(EMPTYING).exists()
    }
}

/// Nothing of it holds any more: something is kept that it does not know of.
pub(super) fn forget(folder: &Path) {
    for told in [CLOSED, EMPTYING] {
        let _ = fs::remove_file(folder.join(told));
    }
}

/// How a file that nobody has open looks from outside.
fn state_of(file: &Path) -> io::Result<String> {
    let file = fs::metadata(file)?;
    Ok(format!("{} {} {}", file.len(), file.mtime(), file.mtime_nsec()))
}
