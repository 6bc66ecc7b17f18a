//! A new tenant's file is a copy of one that has every migration: some bytes and two fsyncs, where each migration
//! would take several. A crash leaves the whole file or none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::open::connect;
use super::{DataDir, Migrations};
use crate::config::Durability;
use crate::error::{Error, ErrorKind, Result};

/// What every new file begins as. Made when the first one is asked for, since it is the migrations' work.
#[derive(Clone, Debug)]
pub(crate) struct Template(Arc<State>);

#[derive(Debug)]
struct State {
    app: Migrations,
    bytes: Mutex<Option<Arc<[u8]>>>,
}

impl Template {
    /// The template of a program with `app`'s tables beside the host's.
    #[must_use]
    pub(crate) fn new(app: Migrations) -> Self {
        Self(Arc::new(State { app, bytes: Mutex::default() }))
    }

    /// The program's own migrations, for files that are there already.
    pub(super) fn app(&self) -> &Migrations {
        &self.0.app
    }

    /// Makes the file `path` in a folder of `dir`, if it is not there.
    pub(super) fn copy_to(&self, path: &Path, dir: &DataDir) -> Result<()> {
        if path.try_exists().unwrap_or(false) {
            return Ok(());
        }
        let bytes = self.bytes(dir)?;
        let made = || -> io::Result<()> {
            let new = sibling(path, "-new");
            // One that a crash left is written over.
            let mut file = private().truncate(true).create(true).open(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            // The file's name, and the names of the folders on the way to it.
            path.ancestors().skip(1).take(3).try_for_each(|folder| File::open(folder)?.sync_all())
        };
        made().map_err(|error| {
            let said = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full: no tenant can be made",
                _ => "a database file can't be made",
            };
            Error::new(ErrorKind::Unavailable, said).with_source(error)
        })
    }

    fn bytes(&self, dir: &DataDir) -> Result<Arc<[u8]>> {
        let mut bytes = self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = &*bytes {
            return Ok(Arc::clone(bytes));
        }
        let path = dir.template();
        // What another process, or a crash, left is of no use: the migrations may be others by now.
        for name in [path.clone(), sibling(&path, "-wal"), sibling(&path, "-shm")] {
            let _ = fs::remove_file(name);
        }
        let mut conn = connect(&path, Durability::Normal)?;
        Migrations::of_host().apply(&mut conn)?;
        self.0.app.apply(&mut conn)?;
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        conn.close().map_err(|(_, error)| error)?;
        let unread = |error| Error::new(ErrorKind::Unavailable, "the template can't be read").with_source(error);
        let read: Arc<[u8]> = fs::read(&path).map_err(unread)?.into();
        let _ = fs::remove_file(&path);
        *bytes = Some(Arc::clone(&read));
        Ok(read)
    }
}

/// A file that nobody else may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
