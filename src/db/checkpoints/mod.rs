//! A tenant's checkpoints: whole copies of its file, ordinary `.sqlite` files in a folder beside it, and the way
//! back to one. It knows files and bounds; who may ask, and who is to be told, it does not.
//!
//! A file has its name only when it is whole and on the disk. What a crash leaves half made ends in `.new` and is
//! removed when the tenant is next opened.

mod bookmark;
mod copy;
mod restore;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

pub use bookmark::{Bookmark, CheckpointKind};
pub(crate) use restore::Prepared;

use self::copy::open_draft;
pub(super) use self::copy::open_source;
use super::file::page_size;
use super::layout::private_dir;
use super::{DataDir, Staged, Template, paced, pause};
use crate::config::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

const ENDING: &str = "sqlite";
const DRAFT: &str = "new";
/// Where a checkpoint's label stands in its own `_fh_meta`.
const LABEL: &str = "checkpoint_label";
/// A label, in bytes of UTF-8.
const LABEL_BYTES: usize = 200;

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Its name.
    pub bookmark: Bookmark,
    /// What it was called by who asked for it.
    pub label: Option<String>,
    /// The size of its file, in bytes.
    pub bytes: u64,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The checkpoint that the tenant is back at.
    pub restored: Bookmark,
    /// All that was there before: restoring this undoes the restore.
    pub undo: Bookmark,
}

/// The folder of one tenant's checkpoints.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    /// The tenant's own file.
    file: PathBuf,
    folder: PathBuf,
}

impl Checkpoints {
    /// Those of `tenant`, which has a file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: it has none yet.
    pub(crate) fn of(dir: &DataDir, tenant: &TenantId) -> Result<Self> {
        let file = dir.tenant_dir(tenant).join("tenant.db");
        if !file.is_file() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("tenant {tenant} has no file yet: nobody has called it"),
            ));
        }
        Ok(Self::beside(&file))
    }

    pub(super) fn beside(file: &Path) -> Self {
        Self { file: file.to_owned(), folder: file.with_file_name("snapshots") }
    }

    /// Removes what a crash left half made. Nobody may be making one.
    pub(super) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            // With what SQLite puts beside a file.
            if path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| ending.starts_with(DRAFT)) {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// All of them, the newest first.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the folder can't be read.
    pub(crate) fn list(&self) -> Result<Vec<Checkpoint>> {
        let mut all: Vec<_> = self.files()?.into_iter().map(|(bookmark, bytes)| self.told(bookmark, bytes)).collect();
        all.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.bookmark));
        Ok(all)
    }

    /// How many of them somebody asked for.
    ///
    /// # Errors
    /// As [`Checkpoints::list`].
    pub(crate) fn named(&self) -> Result<usize> {
        Ok(self.files()?.iter().filter(|(one, _)| one.kind() == CheckpointKind::Named).count())
    }

    /// What they take on the disk together, in bytes.
    ///
    /// # Errors
    /// As [`Checkpoints::list`].
    pub(crate) fn bytes(&self) -> Result<u64> {
        Ok(self.files()?.iter().map(|(_, bytes)| bytes).sum())
    }

    /// Copies the tenant's file as it is now. Writers go on meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`]: `limits.checkpoints` or `limits.checkpoint_bytes`; [`ErrorKind::Invalid`]: the label is
    /// too long; [`ErrorKind::Unavailable`]: the disk is full or fails.
    pub(crate) fn create(
        &self,
        kind: CheckpointKind,
        label: Option<&str>,
        at_ms: u64,
        limits: &Limits,
    ) -> Result<Checkpoint> {
        if label.is_some_and(|label| label.len() > LABEL_BYTES || label.trim().is_empty()) {
            return Err(Error::invalid(format!("a label takes 1 to {LABEL_BYTES} bytes: shorten it, or leave it out")));
        }
        let source = open_source(&self.file)?;
        let bytes = bytes_of(&source)?;
        // One name is never two copies, and their order is that of their names, whatever the clock does.
        let newest = self.files()?.into_iter().filter(|(one, _)| one.kind() == kind).map(|(one, _)| one.at_ms()).max();
        let bookmark = Bookmark::new(kind, newest.map_or(at_ms, |newest| at_ms.max(newest + 1)));
        self.make_room(kind, bytes, limits)?;
        private_folder(&self.folder).map_err(unwritten)?;
        let draft = Draft(self.path(bookmark).with_extension(DRAFT));
        let mut to = open_draft(&draft.0)?;
        let file = File::open(&draft.0).map_err(unwritten)?;
        paced::database(&source, &mut to, &file, || false)?;
        // As a file that any program opens without another beside it.
        to.pragma_update(None, "journal_mode", "delete")?;
        let label = label.map(str::trim);
        match label {
            Some(label) => {
                to.execute("INSERT OR REPLACE INTO _fh_meta (key, value) VALUES (?1, ?2)", (LABEL, label))?
            }
            None => to.execute("DELETE FROM _fh_meta WHERE key = ?1", [LABEL])?,
        };
        to.close().map_err(|(_, error)| error)?;
        drop(source);
        let landed = || -> io::Result<u64> {
            file.sync_all()?;
            fs::rename(&draft.0, self.path(bookmark))?;
            File::open(&self.folder)?.sync_all()?;
            Ok(file.metadata()?.len())
        };
        let bytes = pause::on_disk(landed).map_err(unwritten)?;
        Ok(Checkpoint { bookmark, label: label.map(str::to_owned), bytes })
    }

    /// Removes one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: there is none of that name.
    pub(crate) fn delete(&self, bookmark: Bookmark) -> Result<()> {
        match fs::remove_file(self.path(bookmark)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(not_there(bookmark)),
            done => done.map_err(unwritten),
        }
    }

    /// A copy of the checkpoint, brought up to date and ready to take the place of what is in the tenant's file.
    /// Nothing is changed by it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: there is none of that name; [`ErrorKind::Unavailable`]: it is damaged, it is newer
    /// than this program, or there is no room for the copy.
    pub(crate) fn prepare(&self, bookmark: Bookmark, template: &Template) -> Result<Prepared> {
        let path = self.path(bookmark);
        if !path.is_file() {
            return Err(not_there(bookmark));
        }
        Prepared::new(&path, Draft(self.folder.join(format!("restore.{DRAFT}"))), bookmark, template.app())
    }

    /// Lets go of the oldest of those that nobody asked for, as far as one more of `bytes` needs it.
    fn make_room(&self, kind: CheckpointKind, bytes: u64, limits: &Limits) -> Result<()> {
        let mut there = self.files()?;
        there.sort();
        let named = |all: &[(Bookmark, u64)], wanted: bool| {
            all.iter().filter(|(one, _)| (one.kind() == CheckpointKind::Named) == wanted).count()
        };
        if kind == CheckpointKind::Named && named(&there, true) >= limits.checkpoints {
            let most = limits.checkpoints;
            let said = format!("{most} checkpoints are kept, as many as may be: delete one that is no longer needed");
            return Err(Error::limit("checkpoints", most as u64, said));
        }
        let most = limits.checkpoint_bytes.as_u64();
        loop {
            let full = there.iter().map(|(_, bytes)| bytes).sum::<u64>() + bytes > most;
            let many = kind != CheckpointKind::Named && named(&there, false) >= limits.checkpoints_automatic.max(1);
            if !full && !many {
                return Ok(());
            }
            let Some(oldest) = there.iter().position(|(one, _)| one.kind() != CheckpointKind::Named) else {
                let said = format!(
                    "the checkpoint would take {bytes} bytes and all of them together may take {most}: delete one that \
                     is no longer needed"
                );
                return Err(Error::limit("checkpoint_bytes", most, said));
            };
            self.delete(there.remove(oldest).0)?;
        }
    }

    fn files(&self) -> Result<Vec<(Bookmark, u64)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(unread)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unread)?;
            let path = entry.path();
            let name = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .filter(|_| path.extension().is_some_and(|e| e == ENDING));
            // Somebody may have put other files there, and one may go while we look.
            if let (Some(Ok(bookmark)), Ok(file)) = (name.map(Bookmark::parse), entry.metadata()) {
                files.push((bookmark, file.len()));
            }
        }
        Ok(files)
    }

    fn told(&self, bookmark: Bookmark, bytes: u64) -> Checkpoint {
        // One that can't be read is listed all the same: its restore says why.
        let named = bookmark.kind() == CheckpointKind::Named;
        let label = named.then(|| label_of(&self.path(bookmark)).ok().flatten()).flatten();
        Checkpoint { bookmark, label, bytes }
    }

    /// Makes a checkpoint of a whole file that is of that moment.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the disk can't.
    pub(crate) fn adopt(&self, staged: Staged, at_ms: u64) -> Result<Bookmark> {
        let bookmark = Bookmark::new(CheckpointKind::Automatic, at_ms);
        private_dir(&self.folder).map_err(unread)?;
        staged.rename_to(&self.path(bookmark))?;
        Ok(bookmark)
    }

    fn path(&self, bookmark: Bookmark) -> PathBuf {
        // A time has a dot in it, so that the ending is put on and not exchanged.
        self.folder.join(format!("{bookmark}.{ENDING}"))
    }
}

/// A file that goes unless it was given its name.
#[derive(Debug)]
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        for ending in ["", "-journal", "-wal", "-shm"] {
            let mut name = self.0.as_os_str().to_owned();
            name.push(ending);
            let _ = fs::remove_file(name);
        }
    }
}

fn label_of(path: &Path) -> Result<Option<String>> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    Ok(conn.query_row("SELECT value FROM _fh_meta WHERE key = ?1", [LABEL], |row| row.get(0)).optional()?)
}

/// The size of the file that `conn` sees, in bytes, with what is only in its log.
pub(super) fn bytes_of(conn: &Connection) -> Result<u64> {
    let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    Ok(pages.unsigned_abs() * page_size(conn)?)
}

fn private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn not_there(bookmark: Bookmark) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no checkpoint {bookmark}: list those there are"))
}

fn unread(error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the checkpoints can't be read").with_source(error)
}

fn unwritten(error: io::Error) -> Error {
    let said = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full: nothing was changed",
        _ => "a checkpoint can't be written: nothing was changed",
    };
    Error::new(ErrorKind::Unavailable, said).with_source(error)
}
