//! The way back: what a checkpoint holds takes the place of what the tenant's file holds, in one transaction of its
//! log, so that a process that falls leaves the one or the other.
//!
//! What is the host's own record of the present stays the present's: sessions, tasks, the journal, usage. It is
//! copied into a draft of the checkpoint first, so that there is no moment without it.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::super::error::is_disk_failure;
use super::super::open::{make_private, wal_of};
use super::super::{Migrations, Writer, limits, paced, pause};
use super::copy::open_draft;
use super::{Bookmark, Draft, LABEL, unwritten};
use crate::error::{Error, ErrorKind, Result};

/// Tables of the present that a restore leaves as they are; parents before their children. All others, the
/// tenant's own, its keys, notes, reminders and handles, become what they were.
const KEPT: [&str; 7] =
    ["_fh_meta", "_fh_session", "_fh_subscription", "_fh_event", "_fh_task", "_fh_call", "_fh_usage"];

/// Numbers that must never come twice, whatever became of what bore them.
const COUNTERS: &str = "
    UPDATE main._fh_kv_version SET last = max(last, (SELECT last FROM live._fh_kv_version));
    UPDATE main.sqlite_sequence SET seq =
        max(seq, (SELECT seq FROM live.sqlite_sequence AS theirs WHERE theirs.name = main.sqlite_sequence.name))
        WHERE name GLOB '_fh_*' AND name IN (SELECT name FROM live.sqlite_sequence);
    INSERT INTO main.sqlite_sequence (name, seq) SELECT name, seq FROM live.sqlite_sequence
        WHERE name GLOB '_fh_*' AND name NOT IN (SELECT name FROM main.sqlite_sequence);";

/// A checkpoint's copy, up to date and found whole.
#[derive(Debug)]
pub(crate) struct Prepared {
    // Closed before its file goes.
    draft: Connection,
    bookmark: Bookmark,
    _file: Draft,
}

impl Prepared {
    pub(super) fn new(from: &Path, file: Draft, bookmark: Bookmark, app: &Migrations) -> Result<Self> {
        make_private(&file.0)?;
        let to = || OpenOptions::new().write(true).truncate(true).open(&file.0);
        pause::on_disk(|| paced::file(&mut File::open(from)?, &mut to()?)).map_err(unwritten)?;
        let mut draft = open_draft(&file.0)?;
        draft.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let damaged = |why: String| {
            Error::new(ErrorKind::Unavailable, "this checkpoint is damaged: nothing was changed; restore another")
                .with_source(why)
        };
        // Whole it has to be, and no more is asked: it is no stranger's file, and what the program that embeds the
        // host had put there comes back, whether an agent could have made it or not.
        let verdict = draft.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
        match verdict {
            Ok(verdict) if verdict == "ok" => {}
            Ok(verdict) => return Err(damaged(verdict)),
            Err(error) => return Err(damaged(error.to_string())),
        }
        // An empty file is a whole database too.
        if Migrations::of_host().check(&draft)? == 0 {
            return Err(damaged("it has none of the host's tables".to_owned()));
        }
        [&Migrations::of_host(), app].into_iter().try_for_each(|owner| owner.apply(&mut draft))?;
        Ok(Self { draft, bookmark, _file: file })
    }

    /// Which checkpoint it is.
    pub(crate) fn bookmark(&self) -> Bookmark {
        self.bookmark
    }

    /// Puts it in the place of what `writer`'s file holds, durably. `before` is told what will be there, before it
    /// is; if it fails, nothing is changed.
    ///
    /// # Errors
    /// What `before` says; [`ErrorKind::Limit`]: it is larger than `limits.database_bytes` allows by now; what
    /// SQLite says. The file is then as it was.
    pub(crate) fn replace(mut self, writer: &mut Writer, before: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
        self.keep_the_present(&writer.file)?;
        before(&self.draft)?;
        let log = File::open(wal_of(&writer.file)).map_err(unwritten)?;
        let done = paced::database(&self.draft, &mut writer.conn, &log, || false);
        if let Err(error) = &done {
            writer.broken |= is_disk_failure(error);
        }
        done.map_err(|error| limits::name_bound(error, &writer.limits))?;
        writer.conn.flush_prepared_statement_cache();
        writer.before.set(None);
        writer.guards.authorizer.schema_replaced();
        // The log holds the whole file now.
        writer.empty_log();
        Ok(())
    }

    fn keep_the_present(&mut self, file: &Path) -> Result<()> {
        let file = file.to_str().ok_or_else(|| Error::internal("a path that is no text"))?;
        self.draft.execute("ATTACH ?1 AS live", [file])?;
        let tx = self.draft.transaction()?;
        for table in KEPT.iter().rev() {
            tx.execute(&format!("DELETE FROM main.{table}"), [])?;
        }
        for table in KEPT {
            tx.execute(&format!("INSERT INTO main.{table} SELECT * FROM live.{table}"), [])?;
        }
        tx.execute("DELETE FROM main._fh_meta WHERE key = ?1", [LABEL])?;
        tx.execute_batch(COUNTERS)?;
        tx.commit()?;
        Ok(self.draft.execute_batch("DETACH live")?)
    }
}
