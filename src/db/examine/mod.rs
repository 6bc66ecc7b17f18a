//! Whether a file that somebody else made may become a tenant's: nothing in it is believed, and nothing of it changes.
//!
//! It has to be a whole SQLite database in which every object is either one that our migrations make or one that an
//! agent could have made with `sql_execute`, for expressions in a schema are never shown to an authorizer again once
//! they are there. It knows no tenant: whose file that will be is the caller's business.

mod header;
mod schema;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::limits::{DATABASE_BYTES, VALUE_BYTES, restrict};
use super::open::settle;
use super::{Caller, Migrations, Watch, memory, pause};
use crate::config::Limits;
use crate::error::{Error, ErrorKind, Result};

/// What SQLite may take of memory to read the schema and to check the file: more than a statement has, since one
/// check reads all tables at once.
const MEMORY: ByteSize = ByteSize::mib(64);
/// Of that for pages, as SQLite takes it: each index is looked up in its table, all over the file.
const CACHE_KIB: i64 = -16 * 1024;
/// Steps of the check's own program, some hundreds for each table.
const STEPS_MOST: i32 = 1_000_000;
/// Of SQLite's own words, in characters.
const WORDS_MOST: usize = 200;

/// What a stranger's file is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Examination<'a> {
    /// The bounds of the tenant that it is to be.
    pub limits: &'a Limits,
    /// The tables of the program that embeds the host.
    pub app: &'a Migrations,
    /// How long it may take in all. Beyond it the file is refused, as it is where one call in it, which nothing
    /// can cut short, comes back later than that.
    pub within: Duration,
}

impl Examination<'_> {
    /// Copies `from` to `to`, a new file that only we may read, and looks at the copy, so that nobody changes it
    /// afterwards. Refused, the copy is gone. What it is refused for stands at [`Examination::look_at`].
    ///
    /// # Errors
    /// As [`Examination::look_at`]; [`ErrorKind::Conflict`]: `to` is there already; [`ErrorKind::Unavailable`]: one of
    /// the two can't be used.
    pub(crate) fn take_in(&self, from: &Path, to: &Path) -> Result<()> {
        alone(from)?;
        let source = regular(from)?;
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(unmade)?;
        let taken = self.copy(source, &mut copy).and_then(|()| self.look_at(to));
        if taken.is_err() {
            // What is left of it is in nobody's way: the next try says that it is there.
            let _ = fs::remove_file(to);
        }
        taken
    }

    fn copy(&self, source: File, copy: &mut File) -> Result<()> {
        let most = self.limits.database_bytes.as_u64();
        // One byte more than may be shows that there are more, whatever it was said to be.
        let copied = pause::on_disk(|| {
            let copied = io::copy(&mut source.take(most.saturating_add(1)), copy)?;
            copy.sync_all().map(|()| copied)
        });
        if copied.map_err(unmade)? > most { Err(too_large(most)) } else { Ok(()) }
    }

    /// Looks at the file `path`, which nobody may be writing to meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is no SQLite database, not a whole one, or holds what a tenant's file may not; the
    /// message says what. [`ErrorKind::Limit`]: it is larger, in one of the tenant's bounds, than may be, or
    /// took too long. [`ErrorKind::Unavailable`]: it is newer than this program, or can't be read.
    pub(crate) fn look_at(&self, path: &Path) -> Result<()> {
        let begun = Instant::now();
        alone(path)?;
        let mut file = regular(path)?;
        let bytes = file.metadata().map_err(unread)?.len();
        let most = self.limits.database_bytes.as_u64();
        if bytes > most {
            return Err(too_large(most));
        }
        header::check(&mut file, bytes)?;
        let checked = || -> Result<()> {
            let conn = open(path, self.limits)?;
            let watch = Watch::install(&conn)?;
            let found = watch.limited(&self.bounds(begun), Caller::default(), || schema::read(&conn, self))?;
            schema::check(&found, self, &self.bounds(begun))?;
            watch.limited(&self.bounds(begun), Caller::default(), || integrity(&conn))
        };
        checked().map_err(|error| self.told(error))
    }

    /// The tenant's bounds with those of the check in the place of a statement's.
    fn bounds(&self, begun: Instant) -> Limits {
        let statement_deadline = self.within.saturating_sub(begun.elapsed());
        Limits { statement_deadline, statement_memory: MEMORY, ..self.limits.clone() }
    }

    /// SQLite's errors, said of a file and not of a statement.
    fn told(&self, error: Error) -> Error {
        match error.bound().map(|bound| bound.name) {
            Some("statement_deadline") => {
                let seconds = self.within.as_secs_f64();
                return error.reworded(format!("the file could not be checked within {seconds} s: it is too large"));
            }
            Some(memory::STATEMENT_MEMORY) => {
                return error.reworded(format!("the file takes more than {MEMORY} of memory to be checked"));
            }
            Some(VALUE_BYTES) => {
                let most = self.limits.value_bytes.as_u64();
                let said = format!("the file holds a value, a row or a definition of more than {most} bytes");
                return error.reworded(said).with_bound(VALUE_BYTES, most);
            }
            _ => {}
        }
        let Some(cause) = sqlite(&error) else { return error };
        match cause.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                damaged(&cause.to_string()).with_source(error)
            }
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Error::new(ErrorKind::Unavailable, "the file can't be read").with_source(error)
            }
            _ if error.kind() == ErrorKind::Internal => damaged("SQLite can't read it").with_source(error),
            _ => error,
        }
    }
}

/// What of SQLite's is behind `error`.
fn sqlite(error: &Error) -> Option<&rusqlite::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

/// A log that was not copied into the file holds a part of it, which would be lost without a word.
fn alone(path: &Path) -> Result<()> {
    for ending in ["-wal", "-journal"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(ending);
        if fs::symlink_metadata(&beside).is_ok_and(|beside| beside.len() > 0) {
            return Err(Error::invalid(format!(
                "a file that ends in {ending} lies beside it and holds a part of its data: close the program that \
                 uses it, or take a copy with VACUUM INTO"
            )));
        }
    }
    Ok(())
}

/// No folder, no link, no pipe that never ends.
fn regular(path: &Path) -> Result<File> {
    let is_file = fs::symlink_metadata(path).map_err(unread)?.is_file();
    if !is_file {
        return Err(Error::invalid("it is not a regular file"));
    }
    File::open(path).map_err(unread)
}

fn open(path: &Path, limits: &Limits) -> Result<Connection> {
    memory::install();
    let path = path.canonicalize().map_err(unread)?;
    // Only a URI says that a file does not change; then SQLite takes no lock, and looks for no log beside it.
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(uri, flags)?;
    settle(&conn)?;
    restrict(&conn, limits.value_bytes.as_u64())?;
    conn.set_limit(Limit::SQLITE_LIMIT_VDBE_OP, STEPS_MOST)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update(None, "cache_size", CACHE_KIB)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// Every page, every index against its table, every constraint. It evaluates expressions of the schema, so that
/// those have to be looked at before.
fn integrity(conn: &Connection) -> Result<()> {
    let mut check = conn.prepare("PRAGMA integrity_check(3)")?;
    let mut found = check.query([])?;
    let mut wrong = Vec::new();
    while let Some(row) = found.next()? {
        let said = String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned();
        if said != "ok" {
            wrong.push(said);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(damaged(&wrong.join("; "))) }
}

/// A name of the stranger's, or words of SQLite's about one, as they may be told.
fn shortened(words: &str) -> String {
    let mut told: String = words.chars().take(WORDS_MOST).map(|one| if one.is_control() { ' ' } else { one }).collect();
    if told.len() < words.len() {
        told.push('…');
    }
    told
}

fn damaged(words: &str) -> Error {
    Error::invalid(format!("the file is damaged: {}", shortened(words)))
}

fn too_large(most: u64) -> Error {
    Error::limit(DATABASE_BYTES, most, format!("the file is larger than a tenant's may be, which is {most} bytes"))
}

fn unread(error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the file can't be read").with_source(error)
}

fn unmade(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::new(ErrorKind::Conflict, "there is a file in its place already"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::Unavailable, "the disk is full: the file can't be copied").with_source(error)
        }
        _ => Error::new(ErrorKind::Unavailable, "the file can't be copied").with_source(error),
    }
}
