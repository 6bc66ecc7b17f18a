//! The past of a tenant's file: whole copies of it now and then (bases), and between them every change, a few seconds
//! apart. It is written by the file's one writer, out of SQLite's log and before a checkpoint lets it be written over.
//!
//! In the folder `history/` beside the file: `N-TIME.base`, a copy that was begun when `N.log` was, and `N.log`, what
//! was committed since. All that a `N.log` has is whole pages, so that it does no harm to write some of it once more.
//! `closed` tells how the file was left: if it is another when it is opened again, somebody wrote past this, and the
//! past has a gap there.

mod base;
mod hole;
mod left;
mod past;
mod piece;
mod rebuild;
mod record;
mod remote;
#[cfg(test)]
mod tests;
mod wal;

use std::fmt;
use std::fs;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use self::base::{Base, Making};
use self::wal::Place;
use super::checkpoints::bytes_of;
use super::layout::private_dir;
use super::pause;
use crate::clock::Clock;
use crate::config::HistorySettings;
use crate::error::{Error, ErrorKind};

pub(crate) use base::Beside;
pub(crate) use hole::Hole;
pub(crate) use past::{Errand, Past, Shipped};
pub(crate) use piece::{Piece, PieceKind};
pub(crate) use rebuild::{Rebuilt, Window, rebuild, windows};
pub(crate) use remote::{Choice, Landing, Remains, let_go as let_go_elsewhere};

/// A base of an open file that is larger is made beside its writer: it would hold up its writes.
const INLINE_BYTES: u64 = super::paced::UNSYNCED;
/// Below this much of changes no new base is made for their sake.
const CHANGES_MIN: u64 = 4 * 1024 * 1024;

/// How a tenant's past is kept.
#[derive(Clone)]
pub(crate) struct Keep {
    /// How finely, and for how long.
    pub settings: HistorySettings,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Told that there is more of it, where it is kept elsewhere too. It returns at once.
    pub grown: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Where bases of large files are made; where there is nothing they are made as those of small ones are.
    pub beside: Option<Beside>,
}

impl Keep {
    fn tell(&self) {
        if let Some(grown) = &self.grown {
            grown();
        }
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// The past of one open file, as its writer adds to it.
#[derive(Debug)]
pub(crate) struct History {
    keep: Keep,
    folder: PathBuf,
    file: PathBuf,
    wal: PathBuf,
    log: Option<record::Writer>,
    number: u64,
    place: Place,
    /// Whether a base is there that the present log goes on from: the one that was last wanted.
    based: bool,
    base_at: Instant,
    /// The base that is made at present.
    making: Option<Making>,
    /// When what was committed is kept at the latest, if something was.
    due_at: Option<Instant>,
    /// How long a commit waits for that.
    wait: Duration,
    /// `closed` tells of the file as it is.
    closed: bool,
    /// It was told that it can't be kept at present.
    told: bool,
}

impl History {
    /// Takes up the past of `file`, which is open and whose log has not been copied back since. What a crash left
    /// in the log is kept first.
    pub(super) fn open(keep: &Keep, file: &Path, wal: &Path) -> Self {
        let wait = wait_of(file, keep.settings.every);
        let mut own = Self {
            keep: keep.clone(),
            folder: file.with_file_name("history"),
            file: file.to_owned(),
            wal: wal.to_owned(),
            log: None,
            number: 0,
            place: Place::default(),
            based: false,
            base_at: Instant::now(),
            making: None,
            // The migrations of its opening.
            due_at: Some(Instant::now() + wait),
            wait,
            closed: false,
            told: false,
        };
        let taken = own.take_up();
        own.note(taken);
        own
    }

    fn take_up(&mut self) -> io::Result<()> {
        let names = names(&self.folder)?;
        // What a crash left of a base, and SQLite's journal of it.
        for draft in names.iter().filter(|name| name.contains(".new") && name.starts_with(|c: char| c.is_ascii_digit()))
        {
            let _ = fs::remove_file(self.folder.join(draft));
        }
        let all = numbers_in(&names);
        let Some(&last) = all.last() else { return Ok(()) };
        self.number = last;
        let based = rebuild::is_based(&self.folder, &all, &bases_in(&names))?;
        if let Some(is_as_left) = self.was_closed()? {
            if is_as_left {
                // In order, and nothing has been kept since: if there is something in SQLite's log, all of it came after.
                (self.log, self.based) = (Some(record::Writer::append(&log_of(&self.folder, last))?), based);
                self.closed = true;
                return self.ship_and_sync();
            }
            return self.gap();
        }
        // Not closed in order: then the log that SQLite left tells.
        let (log, head) = record::Writer::reopen(&log_of(&self.folder, last))?;
        let place = match head {
            Some(head) => head.place,
            // Nothing was committed since its base was made.
            None => place_before(&self.folder, &all)?,
        };
        let follows = match wal::salts(&self.wal)? {
            Some(salts) => salts == place.salts || salts[0] == place.salts[0].wrapping_add(1),
            None => self.was_emptied(),
        };
        if !follows {
            return self.gap();
        }
        (self.log, self.place, self.based) = (Some(log), place, based);
        self.ship_and_sync()
    }

    /// For SQLite's log is copied back next.
    fn ship_and_sync(&mut self) -> io::Result<()> {
        self.ship_now()?;
        self.log.as_mut().map_or(Ok(()), record::Writer::sync)
    }

    fn gap(&mut self) -> io::Result<()> {
        tracing::warn!("a tenant's file was written past its history: the past has a gap here");
        self.begin(false)
    }

    /// Something was committed.
    pub(super) fn committed(&mut self) {
        self.due_at.get_or_insert_with(|| Instant::now() + self.wait);
    }

    /// When what was committed is to be kept at the latest, if something was.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Keeps what was committed, if it is time. `conn` is the file's writer, with no transaction open.
    pub(super) fn ship_if_due(&mut self, conn: &Connection) {
        if self.due().is_some_and(|left| left.is_zero()) {
            self.ship(conn);
        }
    }

    /// Keeps what was committed: before a checkpoint, for then SQLite may write over it.
    pub(super) fn ship(&mut self, conn: &Connection) {
        if self.due_at.is_some() {
            let shipped = pause::on_disk(|| self.ship_now());
            let shipped = shipped.and_then(|()| self.base_if_due(conn, false));
            self.note(shipped);
        }
    }

    /// What is kept so far is on the disk: before a checkpoint.
    pub(super) fn sync(&mut self) {
        let synced = self.log.as_mut().map_or(Ok(()), |log| pause::on_disk(|| log.sync()));
        self.note(synced);
    }

    /// The last of it, before the file is closed. A base, if it is time for one.
    pub(super) fn finish(&mut self, conn: &Connection) {
        self.ship(conn);
        // It reads from the file that is closed next.
        if let Some(made) = self.making.take().and_then(|mut making| making.end()) {
            self.based |= made.is_ok();
            self.note(made);
        }
        let based = self.base_if_due(conn, true);
        self.note(based);
        self.sync();
    }

    fn ship_now(&mut self) -> io::Result<()> {
        self.due_at = None;
        if self.log.is_none() {
            if wal::salts(&self.wal)?.is_none() {
                return Ok(());
            }
            private_dir(&self.folder)?;
            self.begin(false)?;
        }
        let now = u64::try_from(self.keep.clock.unix_millis()).unwrap_or(0);
        let log = self.log.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let (before, folder, closed) = (log.bytes, &self.folder, &mut self.closed);
        self.place = wal::read(&self.wal, self.place, |part| {
            // Before anything is kept that it does not know of.
            left::forget(folder);
            *closed = false;
            log.add(now, &part)
        })?;
        if log.bytes > before {
            self.keep.tell();
        }
        Ok(())
    }

    /// Begins the next file; `follows`: nothing was missed between the two.
    fn begin(&mut self, follows: bool) -> io::Result<()> {
        self.number += 1;
        self.log = Some(record::Writer::create(&log_of(&self.folder, self.number), follows)?);
        self.based &= follows;
        left::forget(&self.folder);
        self.closed = false;
        Ok(())
    }

    fn base_if_due(&mut self, conn: &Connection, closing: bool) -> io::Result<()> {
        match self.making.as_ref().map(Making::look) {
            Some(None) => return Ok(()),
            Some(Some(made)) => {
                self.making = None;
                made?;
                self.based = true;
            }
            None => {}
        }
        let file = fs::metadata(&self.file)?.len();
        let Some(changes) = self.log.as_ref().map(|log| log.bytes) else { return Ok(()) };
        let old = self.base_at.elapsed() >= self.keep.settings.base_every;
        let wanted = !self.based || changes > file.max(CHANGES_MIN) || (old && changes > 1_024);
        if !wanted {
            return Ok(());
        }
        // Nobody waits for a file that is closed.
        let large = bytes_of(conn).map_err(|error| io::Error::other(error.chain()))? > INLINE_BYTES;
        let beside = self.keep.beside.clone().filter(|_| !closing && large);
        let turn = match beside.map(|beside| beside()) {
            // Another one is made: at the next look then.
            Some(None) => return Ok(()),
            Some(turn) => turn,
            None => None,
        };
        self.begin(true)?;
        let at_ms = u64::try_from(self.keep.clock.unix_millis()).unwrap_or(0);
        let base = Base { keep: self.keep.clone(), folder: self.folder.clone(), number: self.number, at_ms };
        match turn {
            Some(turn) => {
                let making = base.make_beside(&self.file, turn).map_err(|error| io::Error::other(error.chain()))?;
                (self.making, self.based) = (Some(making), false);
            }
            None => {
                base.make(conn)?;
                self.based = true;
            }
        }
        self.base_at = Instant::now();
        Ok(())
    }

    /// It is not worth a call that fails: the log says so, once, and the past has a gap.
    fn note(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            if !std::mem::replace(&mut self.told, true) {
                tracing::error!(%error, "a tenant's history can't be kept: it can't be restored to times from now on");
            }
            // Begun anew with the next base, once the disk allows.
            (self.log, self.based, self.making) = (None, false, None);
        } else if self.log.is_some() {
            self.told = false;
        }
    }
}

/// How long what is committed to `file` waits: at most `every`, and not the same for all, or tenants that began together
/// would have the disk sync the whole copies of all of them at once.
fn wait_of(file: &Path, every: Duration) -> Duration {
    let by_chance = BuildHasherDefault::<DefaultHasher>::default().hash_one(file) % 1_000;
    let least = every / 4;
    least + (every - least) / 1_000 * u32::try_from(by_chance).unwrap_or(0)
}

/// How far the log was read before the last of the files `all`, which has nothing in it.
fn place_before(folder: &Path, all: &[u64]) -> io::Result<Place> {
    for number in all.iter().rev() {
        let mut log = record::Reader::open(&log_of(folder, *number))?;
        let mut place = None;
        while let Some(head) = log.skip()? {
            place = if head.commits { Some(head.place) } else { place };
        }
        if place.is_some() || !log.follows {
            return Ok(place.unwrap_or_default());
        }
    }
    Ok(Place::default())
}

fn log_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.log"))
}

fn base_of(folder: &Path, (number, at_ms): (u64, u64)) -> PathBuf {
    folder.join(format!("{number:08}-{at_ms}.base"))
}

/// The numbers of the logs there are, in order.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    Ok(numbers_in(&names(folder)?))
}

fn numbers_in(names: &[String]) -> Vec<u64> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Number and time of the bases there are, in order.
fn bases(folder: &Path) -> io::Result<Vec<(u64, u64)>> {
    Ok(bases_in(&names(folder)?))
}

fn bases_in(names: &[String]) -> Vec<(u64, u64)> {
    let read = |name: &String| {
        let (number, at_ms) = name.strip_suffix(".base")?.split_once('-')?;
        Some((number.parse().ok()?, at_ms.parse().ok()?))
    };
    let mut bases: Vec<_> = names.iter().filter_map(read).collect();
    bases.sort_unstable();
    bases
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn unusable(error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "a tenant's history can't be read").with_source(error)
}
