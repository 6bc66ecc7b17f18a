//! Reminders and the inbox as rows. Every function is one step of a transaction that somebody else opened.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use super::when::Rule;
use super::{InboxMessage, Reminder};
use crate::config::Limits;
use crate::error::{Error, ErrorKind, Result};

/// Reminders delivered in one transaction.
const AT_ONCE: i64 = 100;
/// Tries before a reminder that fails goes to the inbox with its failure.
pub(super) const TRIES: i64 = 7;
/// The wait after the first failure; each further one doubles it.
const FIRST_WAIT: i64 = 2_000;
/// The longest wait between two tries.
const LONGEST_WAIT: i64 = 3_600_000;

const COLUMNS: &str = "id, message, payload, rule, due_at, attempts";

/// When the first reminder wants its tenant opened. A cancelled one counts until its time.
pub(in crate::tenant) fn next(conn: &Connection) -> Result<Option<i64>> {
    Ok(conn.prepare_cached("SELECT min(try_at) FROM _fh_reminder")?.query_row([], |row| row.get(0))?)
}

pub(super) fn insert(conn: &Connection, reminder: &Reminder, limits: &Limits) -> Result<i64> {
    let most = limits.reminders;
    let count = "SELECT count(*) FROM _fh_reminder WHERE NOT cancelled";
    let there: i64 = conn.prepare_cached(count)?.query_row([], |row| row.get(0))?;
    if usize::try_from(there).unwrap_or(usize::MAX) >= most {
        let said = format!("there are {most} reminders, as many as may be: cancel one that is no longer needed");
        return Err(Error::limit("reminders", most as u64, said));
    }
    let payload = reminder.payload.as_ref().map(Value::to_string);
    conn.prepare_cached(
        "INSERT INTO _fh_reminder (message, payload, rule, due_at, try_at, attempts, cancelled)
         VALUES (?1, ?2, ?3, ?4, ?4, 0, 0)",
    )?
    .execute((&reminder.message, payload, &reminder.repeats, reminder.due_at))?;
    Ok(conn.last_insert_rowid())
}

/// The next `most` reminders, from the one after `after` (its time and its id) on.
pub(super) fn list(conn: &Connection, after: (i64, i64), most: usize) -> Result<Vec<Reminder>> {
    let mut listed = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM _fh_reminder WHERE NOT cancelled AND (due_at, id) > (?1, ?2) ORDER BY due_at, id LIMIT ?3"
    ))?;
    let rows = listed.query_map((after.0, after.1, i64::try_from(most).unwrap_or(i64::MAX)), reminder)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Strikes a reminder out. The first of all is only marked: as long as its row is there, no wake-up is put off
/// past it, whatever becomes of this transaction.
pub(super) fn cancel(conn: &Connection, id: i64) -> Result<()> {
    let try_at: Option<i64> = conn
        .prepare_cached("SELECT try_at FROM _fh_reminder WHERE id = ?1 AND NOT cancelled")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let Some(try_at) = try_at else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no reminder {id}: reminder_list shows those there are"),
        ));
    };
    let earlier = "SELECT 1 FROM _fh_reminder WHERE try_at <= ?1 AND id <> ?2";
    if conn.prepare_cached(earlier)?.exists((try_at, id))? {
        conn.prepare_cached("DELETE FROM _fh_reminder WHERE id = ?1")?.execute([id])?;
    } else {
        conn.prepare_cached("DELETE FROM _fh_reminder WHERE cancelled")?.execute([])?;
        conn.prepare_cached("UPDATE _fh_reminder SET cancelled = 1 WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

/// What is due at `now`, the earliest first.
pub(super) fn due(conn: &Connection, now: i64) -> Result<Vec<Reminder>> {
    let mut due = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM _fh_reminder WHERE try_at <= ?1 AND NOT cancelled ORDER BY try_at, id LIMIT {AT_ONCE}"
    ))?;
    Ok(due.query_map([now], reminder)?.collect::<Result<_, _>>()?)
}

/// Removes what was cancelled and would be due.
pub(super) fn forget_cancelled(conn: &Connection, now: i64) -> Result<()> {
    conn.prepare_cached("DELETE FROM _fh_reminder WHERE cancelled AND try_at <= ?1")?.execute([now])?;
    Ok(())
}

/// Puts `reminder` into the inbox and on to its next time. With a full inbox it is tried again later. Does
/// nothing if it was cancelled or delivered since it was read.
pub(super) fn deliver(
    conn: &Connection,
    reminder: &Reminder,
    failure: Option<&str>,
    now: i64,
    limits: &Limits,
) -> Result<bool> {
    let there = "SELECT 1 FROM _fh_reminder WHERE id = ?1 AND due_at = ?2 AND NOT cancelled";
    if !conn.prepare_cached(there)?.exists((reminder.id, reminder.due_at))? {
        return Ok(false);
    }
    if room(conn, limits)? == 0 {
        retry(conn, reminder, now)?;
        return Ok(false);
    }
    let payload = reminder.payload.as_ref().map(Value::to_string);
    conn.prepare_cached(
        "INSERT INTO _fh_inbox (reminder, message, payload, due_at, delivered_at, failure)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((reminder.id, &reminder.message, payload, reminder.due_at, now, failure))?;
    let next = reminder.repeats.as_deref().map(|rule| Rule::parse(rule)?.next(reminder.due_at, now));
    match next {
        Some(Ok(at)) => conn
            .prepare_cached("UPDATE _fh_reminder SET due_at = ?2, try_at = ?2, attempts = 0 WHERE id = ?1")?
            .execute((reminder.id, at))?,
        // Once, or there is no next time.
        _ => conn.prepare_cached("DELETE FROM _fh_reminder WHERE id = ?1")?.execute([reminder.id])?,
    };
    Ok(true)
}

/// How many messages more the inbox takes.
pub(super) fn room(conn: &Connection, limits: &Limits) -> Result<usize> {
    let held: i64 = conn.prepare_cached("SELECT count(*) FROM _fh_inbox")?.query_row([], |row| row.get(0))?;
    Ok(limits.inbox.saturating_sub(usize::try_from(held).unwrap_or(usize::MAX)))
}

/// Has `reminder` tried again, later each time.
pub(super) fn retry(conn: &Connection, reminder: &Reminder, now: i64) -> Result<()> {
    let doubled = FIRST_WAIT << reminder.attempts.clamp(0, 16);
    conn.prepare_cached("UPDATE _fh_reminder SET attempts = attempts + 1, try_at = ?3 WHERE id = ?1 AND due_at = ?2")?
        .execute((reminder.id, reminder.due_at, now + doubled.min(LONGEST_WAIT)))?;
    Ok(())
}

/// The `most` oldest messages from the one after `after` on.
pub(super) fn inbox(conn: &Connection, after: i64, most: usize) -> Result<Vec<InboxMessage>> {
    let mut read = conn.prepare_cached(
        "SELECT id, reminder, message, payload, due_at, delivered_at, failure FROM _fh_inbox
         WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let rows = read.query_map((after, i64::try_from(most).unwrap_or(i64::MAX)), |row| {
        Ok(InboxMessage {
            id: row.get(0)?,
            reminder: row.get(1)?,
            message: row.get(2)?,
            payload: json(row, 3)?,
            due_at: row.get(4)?,
            delivered_at: row.get(5)?,
            failure: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes messages; says how many were there, and whether reminders that waited for room are now due.
pub(super) fn acknowledge(conn: &Connection, ids: &[i64], now: i64) -> Result<(usize, bool)> {
    let mut removed = 0;
    for id in ids {
        removed += conn.prepare_cached("DELETE FROM _fh_inbox WHERE id = ?1")?.execute([id])?;
    }
    if removed == 0 {
        return Ok((0, false));
    }
    let waited = conn
        .prepare_cached("UPDATE _fh_reminder SET try_at = ?1 WHERE attempts > 0 AND due_at <= ?1 AND try_at > ?1")?
        .execute([now])?;
    Ok((removed, waited > 0))
}

fn reminder(row: &Row<'_>) -> rusqlite::Result<Reminder> {
    Ok(Reminder {
        id: row.get(0)?,
        message: row.get(1)?,
        payload: json(row, 2)?,
        repeats: row.get(3)?,
        due_at: row.get(4)?,
        attempts: row.get(5)?,
    })
}

/// What was written as JSON reads as JSON.
fn json(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Value>> {
    let text: Option<String> = row.get(at)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}
