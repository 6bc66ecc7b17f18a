//! A base: a whole copy of the file as it is when a log begins. A small one is made where it is asked for; a larger one
//! beside the file's writer, which goes on meanwhile. Who runs that, and how many at once, it does not know.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::past::Past;
use super::{History, Keep, base_of, bases, log_of, numbers};
use crate::clock::millis;
use crate::db::checkpoints::open_source;
use crate::db::open::make_private;
use crate::db::{paced, pause};
use crate::error::{Error, ErrorKind, Result};

/// Something to be done on a thread for SQL.
pub(crate) type Work = Box<dyn FnOnce() + Send>;
/// What runs it; dropped, the turn is somebody else's.
pub(crate) type Turn = Box<dyn FnOnce(Work) + Send>;
/// Where bases of open files are made: asks for a turn and does not wait for it.
pub(crate) type Beside = Arc<dyn Fn() -> Option<Turn> + Send + Sync>;

type Source = Arc<Mutex<Option<Connection>>>;

/// A base that is to be made.
pub(super) struct Base {
    pub(super) keep: Keep,
    pub(super) folder: PathBuf,
    pub(super) number: u64,
    /// When that was the file, in milliseconds since 1970.
    pub(super) at_ms: u64,
}

/// One that is made beside. Dropped, it is stopped: what it reads from can be closed then.
pub(super) struct Making {
    /// What it is made of, until it is begun.
    source: Source,
    stop: Arc<AtomicBool>,
    /// Until it is asked for the end.
    made: Option<Receiver<io::Result<()>>>,
}

impl fmt::Debug for Making {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Making")
    }
}

impl History {
    /// Whether a base is being made beside the writer.
    pub(in crate::db) fn is_being_copied(&self) -> bool {
        self.making.is_some()
    }
}

impl Base {
    /// Makes it of what `source` sees.
    pub(super) fn make(&self, source: &Connection) -> io::Result<()> {
        self.make_unless(source, || false)
    }

    fn make_unless(&self, source: &Connection, stopped: impl Fn() -> bool) -> io::Result<()> {
        let base = base_of(&self.folder, (self.number, self.at_ms));
        let draft = base.with_extension("new");
        let copied = self.copy(source, &draft, stopped).map_err(|error| io::Error::other(error.chain()));
        let landed = copied.and_then(|file| {
            pause::on_disk(|| {
                file.sync_all()?;
                fs::rename(&draft, &base)?;
                File::open(&self.folder)?.sync_all()
            })
        });
        if let Err(error) = landed {
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        self.keep.tell();
        self.let_go()
    }

    fn copy(&self, source: &Connection, draft: &Path, stopped: impl Fn() -> bool) -> Result<File> {
        let _ = fs::remove_file(draft);
        make_private(draft)?;
        let unwritten = |error| Error::new(ErrorKind::Unavailable, "a base can't be written").with_source(error);
        let file = File::open(draft).map_err(unwritten)?;
        let mut copy = Connection::open(draft)?;
        copy.pragma_update(None, "synchronous", "off")?;
        paced::database(source, &mut copy, &file, stopped)?;
        copy.pragma_update(None, "journal_mode", "delete")?;
        copy.close().map_err(|(_, error)| error)?;
        Ok(file)
    }

    /// Makes it of `file` as it is now, with the help of `turn`.
    pub(super) fn make_beside(self, file: &Path, turn: Turn) -> Result<Making> {
        let source = open_source(file)?;
        // From here on it sees what is there now, whatever is written meanwhile.
        source.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
        let (source, stop) = (Arc::new(Mutex::new(Some(source))), Arc::default());
        let (told, made) = sync_channel(1);
        let making = Making { source: Arc::clone(&source), stop: Arc::clone(&stop), made: Some(made) };
        turn(Box::new(move || {
            let Some(source) = take(&source) else { return };
            let done = self.make_unless(&source, || stop.load(Ordering::Relaxed));
            // Its file may be closed as soon as this is known.
            drop(source);
            // Nobody may be there any more to hear it.
            let _ = told.send(done);
        }));
        Ok(making)
    }

    /// Removes what is older, more or larger than is to be kept. The last base and what follows it stays. What is to
    /// be kept elsewhere too stays until it is there, but not beyond the bytes that it may have: storage that does not
    /// answer fills no disk.
    fn let_go(&self) -> io::Result<()> {
        let (settings, folder) = (&self.keep.settings, &self.folder);
        let oldest = self.at_ms.saturating_sub(millis(settings.keep));
        loop {
            let bases = bases(folder)?;
            let [first, second, ..] = &bases[..] else { return Ok(()) };
            let bytes: u64 =
                fs::read_dir(folder)?.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
            let most = settings.bytes.as_u64();
            if second.1 >= oldest && bases.len() <= settings.bases && bytes <= most {
                return Ok(());
            }
            let logs: Vec<u64> = numbers(folder)?.into_iter().filter(|number| *number < second.0).collect();
            let waits = || self.keep.grown.is_some() && !Past::at(folder.clone()).has_left(*first, &logs);
            if bytes <= most && waits() {
                return Ok(());
            }
            fs::remove_file(base_of(folder, *first))?;
            for number in logs {
                fs::remove_file(log_of(folder, number))?;
            }
        }
    }
}

impl Making {
    /// What became of it; `None`: it is still being made.
    pub(super) fn look(&self) -> Option<io::Result<()>> {
        match self.made.as_ref().map(Receiver::try_recv)? {
            Ok(made) => Some(made),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(never_made())),
        }
    }

    /// Waits for it if it has begun; else it never does.
    pub(super) fn end(&mut self) -> Option<io::Result<()>> {
        let made = self.made.take()?;
        if take(&self.source).is_some() {
            return None;
        }
        Some(pause::on_disk(|| made.recv()).unwrap_or_else(|_| Err(never_made())))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.end();
    }
}

fn take(source: &Source) -> Option<Connection> {
    source.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn never_made() -> io::Error {
    io::Error::other("a base was begun and not made")
}
