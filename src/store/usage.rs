//! `_fh_usage`: what a tenant's calls came to, by day; and what there is of everything that has a bound.

use rusqlite::{Connection, Row};

use crate::error::Result;

/// Days that are kept: a year and some, for whoever sends a bill.
const DAYS_KEPT: i64 = 400;

/// What a tenant's calls came to in one day.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct UsageDay {
    /// The day, in days since 1970, in UTC.
    pub day: u64,
    /// Calls of tools.
    pub calls: u64,
    /// Those that were answered with a refusal.
    pub refused: u64,
    /// Those that were answered with an error.
    pub failed: u64,
    /// Rows, keys and notes told or changed, where the answers say so.
    pub rows: u64,
    /// The bodies of the requests, in bytes; nothing on stdio.
    pub bytes_in: u64,
    /// The text of the answers, in bytes.
    pub bytes_out: u64,
    /// How long the calls took together, in microseconds.
    pub call_us: u64,
    /// What the threads for SQL computed, in microseconds of CPU.
    pub sql_us: u64,
}

impl UsageDay {
    /// Adds what `other` counted. The day stays.
    pub(crate) fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.calls, other.calls),
            (&mut self.refused, other.refused),
            (&mut self.failed, other.failed),
            (&mut self.rows, other.rows),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.call_us, other.call_us),
            (&mut self.sql_us, other.sql_us),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }
}

/// What there is in a tenant's file of that which has a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) file_bytes: u64,
    pub(crate) schema_objects: u64,
    pub(crate) keys: u64,
    pub(crate) notes: u64,
    pub(crate) reminders: u64,
    pub(crate) inbox: u64,
    pub(crate) sessions: u64,
    pub(crate) tasks: u64,
    pub(crate) handles: u64,
}

/// Adds to the counts of a day, and lets go of days long past.
pub(crate) fn add(conn: &Connection, more: &UsageDay) -> Result<()> {
    let day = signed(more.day);
    conn.prepare_cached(
        "INSERT INTO _fh_usage (day, calls, refused, failed, rows, bytes_in, bytes_out, call_us, sql_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (day) DO UPDATE SET calls = calls + ?2, refused = refused + ?3, failed = failed + ?4,
             rows = rows + ?5, bytes_in = bytes_in + ?6, bytes_out = bytes_out + ?7, call_us = call_us + ?8,
             sql_us = sql_us + ?9",
    )?
    .execute((
        day,
        signed(more.calls),
        signed(more.refused),
        signed(more.failed),
        signed(more.rows),
        signed(more.bytes_in),
        signed(more.bytes_out),
        signed(more.call_us),
        signed(more.sql_us),
    ))?;
    conn.prepare_cached("DELETE FROM _fh_usage WHERE day <= ?1")?.execute([day - DAYS_KEPT])?;
    Ok(())
}

/// The last `most` days on which there were calls, the latest first.
pub(crate) fn days(conn: &Connection, most: usize) -> Result<Vec<UsageDay>> {
    let mut listed = conn.prepare_cached(
        "SELECT day, calls, refused, failed, rows, bytes_in, bytes_out, call_us, sql_us
         FROM _fh_usage ORDER BY day DESC LIMIT ?1",
    )?;
    let days = listed.query_map([i64::try_from(most).unwrap_or(i64::MAX)], day)?;
    Ok(days.collect::<rusqlite::Result<_>>()?)
}

/// What there is now; rows whose time is over and that nobody has cleared away among it.
pub(crate) fn held(conn: &Connection) -> Result<Held> {
    let count = |sql: &str| -> Result<u64> { Ok(unsigned(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?)) };
    Ok(Held {
        file_bytes: super::meta::file_bytes(conn)?,
        schema_objects: count("SELECT count(*) FROM sqlite_schema")?,
        keys: count("SELECT count(*) FROM _fh_kv")?,
        notes: count("SELECT count(*) FROM _fh_memory")?,
        reminders: count("SELECT count(*) FROM _fh_reminder WHERE NOT cancelled")?,
        inbox: count("SELECT count(*) FROM _fh_inbox")?,
        sessions: count("SELECT count(*) FROM _fh_session")?,
        tasks: count("SELECT count(*) FROM _fh_task")?,
        handles: count("SELECT count(*) FROM _fh_handle")?,
    })
}

fn day(row: &Row<'_>) -> rusqlite::Result<UsageDay> {
    let number = |at: usize| row.get(at).map(unsigned);
    Ok(UsageDay {
        day: number(0)?,
        calls: number(1)?,
        refused: number(2)?,
        failed: number(3)?,
        rows: number(4)?,
        bytes_in: number(5)?,
        bytes_out: number(6)?,
        call_us: number(7)?,
        sql_us: number(8)?,
    })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
