//! Migrations: forward only, each in a transaction of its own, and never into a file from the future.
//!
//! Two lists meet in a tenant's file, the host's and the embedder's; each counts for itself.

use std::borrow::Cow;
use std::ops::Range;

use rusqlite::Connection;

use crate::error::{Error, ErrorKind, Result};

/// One step of a schema. Its number is its place in the list, so that the list may only grow at its end.
#[derive(Clone, Debug)]
pub struct Migration {
    /// What an operator reads: usually the file's name.
    pub name: Cow<'static, str>,
    /// One or more statements, run as one transaction.
    pub sql: Cow<'static, str>,
}

/// One owner's migrations, in order.
#[derive(Clone, Debug)]
pub(crate) struct Migrations {
    owner: &'static str,
    steps: Vec<Migration>,
}

macro_rules! host_migrations {
    ($($file:literal),*) => {
        vec![$(Migration { name: Cow::Borrowed($file), sql: Cow::Borrowed(include_str!(concat!("../../migrations/", $file))) }),*]
    };
}

impl Migrations {
    /// The host's own tables in a tenant's file.
    #[must_use]
    pub(crate) fn of_host() -> Self {
        Self {
            owner: "host",
            steps: host_migrations![
                "tenant/0001_host.sql",
                "tenant/0002_sessions.sql",
                "tenant/0003_tasks.sql",
                "tenant/0004_kv.sql",
                "tenant/0005_memory.sql",
                "tenant/0006_reminders.sql",
                "tenant/0007_journal.sql",
                "tenant/0008_usage.sql"
            ],
        }
    }

    /// The host's catalog.
    #[must_use]
    pub(crate) fn of_catalog() -> Self {
        Self {
            owner: "catalog",
            steps: host_migrations![
                "catalog/0001_tenants.sql",
                "catalog/0002_class.sql",
                "catalog/0003_auth.sql",
                "catalog/0004_wake.sql",
                "catalog/0005_lifecycle.sql"
            ],
        }
    }

    /// The tables of the program that embeds the host.
    #[must_use]
    pub(crate) fn of_app(steps: Vec<Migration>) -> Self {
        Self { owner: "app", steps }
    }

    /// Their names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| &*step.name)
    }

    /// Their texts, in order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| &*step.sql)
    }

    /// How many steps the file has behind it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the file is newer than this program.
    pub(super) fn check(&self, conn: &Connection) -> Result<usize> {
        let (done, known) = (self.version(conn)?, self.steps.len());
        if done <= known {
            return Ok(done);
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the database is at version {done} of its {} schema and this program knows {known}: \
                 run a newer program; the file was left as it is",
                self.owner
            ),
        ))
    }

    /// Brings `conn`'s file up to date.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the file is newer than this program, or a step failed; the file is
    /// then as it was before that step.
    pub(super) fn apply(&self, conn: &mut Connection) -> Result<()> {
        let done = self.check(conn)?;
        self.run(conn, done..self.len())
    }

    /// How many steps there are.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Runs those of `steps`, whatever the file has behind it.
    ///
    /// # Errors
    /// As [`Migrations::apply`].
    pub(super) fn run(&self, conn: &mut Connection, steps: Range<usize>) -> Result<()> {
        for (at, step) in self.steps.iter().enumerate().take(steps.end).skip(steps.start) {
            self.step(conn, at + 1, step).map_err(|error| {
                Error::new(
                    ErrorKind::Unavailable,
                    format!("migration {} of the {} schema failed; the file was left as it was", step.name, self.owner),
                )
                .with_source(error)
            })?;
        }
        Ok(())
    }

    fn version(&self, conn: &Connection) -> Result<usize> {
        // Kept prepared for the other owner.
        let version = conn.prepare_cached("SELECT coalesce(max(version), 0) FROM _fh_migration WHERE owner = ?1");
        let mut version = match version {
            // Only where it fails, for this is part of every wake.
            Err(_) if !has_any(conn)? => return Ok(0),
            version => version?,
        };
        let version: i64 = version.query_row([self.owner], |row| row.get(0))?;
        Ok(usize::try_from(version).unwrap_or(usize::MAX))
    }

    fn step(&self, conn: &mut Connection, version: usize, step: &Migration) -> rusqlite::Result<()> {
        let tx = conn.transaction()?;
        tx.execute_batch(
            "CREATE TABLE IF NOT EXISTS _fh_migration (
                 owner TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, applied_at INTEGER NOT NULL,
                 PRIMARY KEY (owner, version)
             ) STRICT, WITHOUT ROWID",
        )?;
        tx.execute_batch(&step.sql)?;
        // SQLite's clock: this is for an operator to read, and nothing decides by it.
        tx.execute(
            "INSERT INTO _fh_migration (owner, version, name, applied_at) VALUES (?1, ?2, ?3, unixepoch())",
            (self.owner, i64::try_from(version).unwrap_or(i64::MAX), &step.name),
        )?;
        tx.commit()
    }
}

/// Whether the file has seen a migration.
fn has_any(conn: &Connection) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_fh_migration')";
    Ok(conn.query_row(sql, [], |row| row.get(0))?)
}
