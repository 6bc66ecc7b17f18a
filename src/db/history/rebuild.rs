//! A tenant's file as it was at a time: the last base before it, and what was committed since.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::Connection;

use super::record::Reader;
use super::{base_of, bases, log_of, numbers, unusable};
use crate::clock::rfc3339_millis;
use crate::db::{DataDir, Staged, paced, pause};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// A stretch of time that a tenant can be brought back to, both ends included; in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Window {
    /// The first moment.
    pub from_ms: u64,
    /// The last change that is kept.
    pub to_ms: u64,
}

/// A file as it was.
#[derive(Debug)]
pub(crate) struct Rebuilt {
    /// The file: whole, and one that `integrity_check` finds no fault with.
    pub staged: Staged,
    /// The moment that it is of: not after the one that was asked for.
    pub at_ms: u64,
}

/// The times that `tenant` can be brought back to, in order.
///
/// # Errors
/// [`ErrorKind::Unavailable`]: its history can't be read.
pub(crate) fn windows(dir: &DataDir, tenant: &TenantId) -> Result<Vec<Window>> {
    let folder = dir.tenant_dir(tenant).join("history");
    pause::on_disk(|| read_windows(&folder)).map_err(unusable)
}

fn read_windows(folder: &Path) -> io::Result<Vec<Window>> {
    let bases = bases(folder)?;
    let mut windows: Vec<Window> = Vec::new();
    // Whether what comes goes on from a base.
    let (mut based, mut before) = (false, None);
    for number in numbers(folder)? {
        let mut log = Reader::open(&log_of(folder, number))?;
        based &= log.follows && before.replace(number).is_none_or(|before| before + 1 == number);
        if !based {
            let Some((_, from_ms)) = bases.iter().find(|base| base.0 == number) else { continue };
            windows.push(Window { from_ms: *from_ms, to_ms: *from_ms });
            based = true;
        }
        while let Some(head) = log.skip()? {
            if let (true, Some(window)) = (head.commits, windows.last_mut()) {
                window.to_ms = window.to_ms.max(head.at_ms);
            }
        }
    }
    Ok(windows)
}

/// Whether the last of the `logs` in `folder` goes on from one of its `bases`: what is behind a gap wants a new one.
pub(super) fn is_based(folder: &Path, logs: &[u64], bases: &[(u64, u64)]) -> io::Result<bool> {
    let mut before = None;
    for &number in logs.iter().rev() {
        if before.is_some_and(|before| before != number + 1) {
            return Ok(false);
        }
        if bases.iter().any(|base| base.0 == number) {
            return Ok(true);
        }
        if !Reader::open(&log_of(folder, number))?.follows {
            return Ok(false);
        }
        before = Some(number);
    }
    Ok(false)
}

/// Makes `staged`, which is empty, what `tenant`'s file was at `at_ms`.
///
/// # Errors
/// [`ErrorKind::NotFound`]: nothing is kept of that time; the message says of which. [`ErrorKind::Unavailable`]: it
/// can't be read, or is damaged.
pub(crate) fn rebuild(dir: &DataDir, tenant: &TenantId, at_ms: u64, staged: Staged) -> Result<Rebuilt> {
    rebuild_in(&dir.tenant_dir(tenant).join("history"), at_ms, staged)
}

pub(super) fn rebuild_in(folder: &Path, at_ms: u64, staged: Staged) -> Result<Rebuilt> {
    let base = bases(folder).map_err(unusable)?.into_iter().rfind(|base| base.1 <= at_ms);
    let base = base.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            "nothing is kept of that time: `freehold tenant bookmarks` tells of which it is",
        )
    })?;
    let (landed, missing) = pause::on_disk(|| apply(folder, base, at_ms, staged.path())).map_err(unusable)?;
    if let Some(number) = missing.filter(|_| landed < at_ms) {
        let until = rfc3339_millis(landed);
        let said = format!(
            "file {number:08}.log of the tenant's history is missing: the past is good until {until}, which --at can \
             name, and from the next whole copy on"
        );
        return Err(Error::new(ErrorKind::Unavailable, said));
    }
    check(staged.path())?;
    Ok(Rebuilt { staged, at_ms: landed })
}

/// The moment that it landed on, and the number of a log that was missing on the way.
fn apply(folder: &Path, base: (u64, u64), at_ms: u64, to: &Path) -> io::Result<(u64, Option<u64>)> {
    let mut file = OpenOptions::new().read(true).write(true).open(to)?;
    paced::file(&mut File::open(base_of(folder, base))?, &mut file)?;
    let (mut landed, mut next, mut unsynced) = (base.1, base.0, 0);
    for number in numbers(folder)?.into_iter().filter(|number| *number >= base.0) {
        let mut log = Reader::open(&log_of(folder, number))?;
        // What is behind a gap does not follow on what is before it.
        if number > base.0 && !log.follows {
            break;
        }
        if number != next {
            return Ok((done(file, landed)?, Some(next)));
        }
        next += 1;
        // Parts of a transaction count with its last one.
        let mut waiting = Vec::new();
        while let Some((head, pages)) = log.next()? {
            if head.at_ms > at_ms {
                return Ok((done(file, landed)?, None));
            }
            waiting.extend(pages);
            if head.commits {
                let mut size = 0;
                for (page, image) in waiting.drain(..) {
                    size = image.len() as u64;
                    file.seek(SeekFrom::Start(u64::from(page.max(1) - 1) * size))?;
                    file.write_all(&image)?;
                    unsynced += size;
                    if unsynced >= paced::UNSYNCED {
                        file.sync_data()?;
                        unsynced = 0;
                    }
                }
                file.set_len(u64::from(head.pages_after) * size)?;
                landed = head.at_ms;
            }
        }
    }
    Ok((done(file, landed)?, None))
}

/// An ordinary file, without a log beside it (fileformat2.html section 1.3, offsets 18 and 19).
fn done(mut file: File, landed: u64) -> io::Result<u64> {
    file.seek(SeekFrom::Start(18))?;
    file.write_all(&[1, 1])?;
    file.sync_all()?;
    Ok(landed)
}

fn check(path: &Path) -> Result<()> {
    let conn = Connection::open(path)?;
    let said: String = pause::on_disk(|| conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)))?;
    if said == "ok" {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unavailable, "the file as it was then is damaged: choose another time").with_source(said))
}
