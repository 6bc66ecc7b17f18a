//! Whole copies of a tenant's file: taken while writes go on, and put in a new tenant's place.
//!
//! A copy is made inside one read transaction, so that it is the file as one commit left it and its writer waits for
//! nobody. While it lasts the log can't be reused.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::layout::private_dir;
use super::{DataDir, look_into, paced, pause};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// What the host keeps of whoever uses the tenant at present: sessions and what they are owed, tasks under way,
/// secrets. It goes with no copy.
const OF_THE_PRESENT: &[&str] = &["_fh_event", "_fh_subscription", "_fh_session", "_fh_task", "_fh_handle"];
/// What only one tenant may do: in a second one it would be done twice.
const OF_THE_ORIGINAL: &[&str] = &["_fh_reminder", "_fh_call", "_fh_usage"];

/// Where copies are made. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Staging {
    dir: DataDir,
    next: Arc<AtomicU64>,
}

/// A file on its way in or out. Dropped, it is gone, unless it was put in a place.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
}

/// A folder on its way in. Dropped, it is gone with all that is in it.
#[derive(Debug)]
pub(crate) struct StagedFolder(PathBuf);

impl StagedFolder {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Staging {
    /// An empty one: what a process left behind is removed. For who holds the data directory's lock.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the folder can't be used.
    pub(crate) fn start(dir: &DataDir) -> Result<Self> {
        let folder = dir.staging();
        let emptied = match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => private_dir(&folder),
        };
        emptied.map_err(unusable)?;
        Ok(Self { dir: dir.clone(), next: Arc::default() })
    }

    /// A new empty file, to be filled by who asks for it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it can't be made.
    pub(crate) fn receive(&self) -> Result<(Staged, File)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.staging().join(format!("{number}.sqlite"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(unusable)?;
        Ok((Staged { path }, file))
    }

    pub(super) fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// A new empty folder.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it can't be made.
    pub(crate) fn folder(&self) -> Result<StagedFolder> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.staging().join(format!("{number}.history"));
        private_dir(&path).map_err(unusable)?;
        Ok(StagedFolder(path))
    }

    /// `tenant`'s file as its last commit left it, without what belongs to the present. Blocking: on the executor.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: it has no file yet; [`ErrorKind::Unavailable`]: no room on the disk, or as
    /// [`look_into`].
    pub(crate) fn copy_of(&self, tenant: &TenantId) -> Result<Staged> {
        let source = look_into(&self.dir, tenant)?;
        let (staged, file) = self.receive()?;
        staged.fill(&source, file)?;
        staged.without_the_present()?;
        Ok(staged)
    }
}

impl Staged {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its size, in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it can't be read.
    pub(crate) fn bytes(&self) -> Result<u64> {
        Ok(fs::metadata(&self.path).map_err(unusable)?.len())
    }

    /// The copy, to be read.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it can't be.
    pub(crate) fn open(&self) -> Result<File> {
        File::open(&self.path).map_err(unusable)
    }

    /// Makes it what `source` is now. `file` is this one.
    pub(super) fn fill(&self, source: &Connection, file: File) -> Result<()> {
        let mut copy = Connection::open(&self.path)?;
        copy.pragma_update(None, "synchronous", "off")?;
        paced::database(source, &mut copy, &file, || false)?;
        // An ordinary file that can be read where nothing can be written: with a log it could not.
        copy.pragma_update(None, "journal_mode", "delete")?;
        copy.close().map_err(|(_, error)| error)?;
        // Not before SQLite has let go of it.
        drop(file);
        Ok(())
    }

    /// Takes out of the copy what belongs to the present.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn without_the_present(&self) -> Result<()> {
        self.without(OF_THE_PRESENT)
    }

    /// Takes out of the copy what a second tenant must not have from the first.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn as_another(&self) -> Result<()> {
        self.without(OF_THE_ORIGINAL)
    }

    /// Empties `tables`, those of them that there are, and the secrets; nothing of them is left in the file.
    fn without(&self, tables: &[&str]) -> Result<()> {
        let mut copy = Connection::open(&self.path)?;
        copy.pragma_update(None, "secure_delete", true)?;
        copy.pragma_update(None, "journal_mode", "memory")?;
        let tx = copy.transaction()?;
        for table in tables.iter().chain(&["_fh_meta"]) {
            let there = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
            if tx.prepare(there)?.exists([table])? {
                let which = if *table == "_fh_meta" { " WHERE key LIKE '%secret%'" } else { "" };
                tx.execute(&format!("DELETE FROM {table}{which}"), [])?;
            }
        }
        tx.commit()?;
        copy.close().map_err(|(_, error)| error)?;
        self.sync()
    }

    /// Puts it in the place of `tenant`'s file, which must not be there. A crash leaves the whole of it or nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`]: there is a file; [`ErrorKind::Unavailable`]: the disk can't.
    pub(crate) fn put(self, dir: &DataDir, tenant: &TenantId) -> Result<()> {
        let place = dir.tenant_file(tenant)?;
        if place.exists() {
            return Err(Error::new(ErrorKind::Conflict, format!("tenant {tenant} has a file already")));
        }
        self.sync()?;
        fs::rename(&self.path, &place).map_err(unusable)?;
        // The file's name, and the names of the folders on the way to it.
        let mut folders = place.ancestors().skip(1).take(3);
        folders.try_for_each(|folder| File::open(folder)?.sync_all()).map_err(unusable)
    }

    /// Gives it another name, on the same disk.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the disk can't.
    pub(super) fn rename_to(self, path: &Path) -> Result<()> {
        fs::rename(&self.path, path).map_err(unusable)
    }

    fn sync(&self) -> Result<()> {
        pause::on_disk(|| OpenOptions::new().write(true).open(&self.path)?.sync_all()).map_err(unusable)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Not there when it was put in a place; what can't be removed goes at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes `bytes` to a file that is being received.
///
/// # Errors
/// [`ErrorKind::Unavailable`] when the disk can't.
pub(crate) fn take_in(file: &mut File, bytes: &[u8]) -> Result<()> {
    paced::append(file, bytes).map_err(unusable)
}

fn unusable(error: io::Error) -> Error {
    let said = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full: make room and try again",
        _ => "a copy can't be made in the data directory",
    };
    Error::new(ErrorKind::Unavailable, said).with_source(error)
}
