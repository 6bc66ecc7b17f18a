//! Tasks as rows of the tenant's file.

use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde_json::Value;

use crate::auth::Principal;
use crate::db::Mode;
use crate::error::{Error, Result};
use crate::tenant::Handle;

/// What a task has come to, as far as the file knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Working,
    Completed,
    Failed,
    Cancelled,
}

/// One task.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub id: String,
    pub status: Status,
    pub message: Option<String>,
    /// The result or the error.
    pub outcome: Option<Value>,
    /// In milliseconds since 1970, as `updated_at`.
    pub created_at: i64,
    pub updated_at: i64,
    pub ttl_ms: i64,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn of(name: &str) -> Self {
        match name {
            "working" => Self::Working,
            "completed" => Self::Completed,
            "cancelled" => Self::Cancelled,
            _ => Self::Failed,
        }
    }
}

/// Enters a task, after taking out those that have ended their time. No more than `most` are kept.
pub(super) async fn create(handle: &Handle, owner: &Principal, record: Record, most: usize) -> Result<()> {
    let (issuer, subject) = (owner.issuer().to_owned(), owner.subject().to_owned());
    let enter = move |tx: &Transaction<'_>| {
        // A task that works has a timer of its own. One that has outlived that was taken by its process, and nobody
        // has asked for it since.
        let sweep = "DELETE FROM _fh_task
                     WHERE updated_at + ttl_ms * (CASE status WHEN 'working' THEN 2 ELSE 1 END) <= ?1";
        tx.prepare_cached(sweep)?.execute([record.created_at])?;
        let kept: u32 = tx.prepare_cached("SELECT count(*) FROM _fh_task")?.query_row([], |row| row.get(0))?;
        if kept as usize >= most {
            let message =
                format!("{most} tasks are kept already: wait for their time to end, the shortest comes first");
            return Err(Error::limit("tasks", most as u64, message));
        }
        let insert = "INSERT INTO _fh_task (id, issuer, subject, status, created_at, updated_at, ttl_ms)
                      VALUES (?1, ?2, ?3, 'working', ?4, ?4, ?5)";
        tx.prepare_cached(insert)?.execute((record.id, issuer, subject, record.created_at, record.ttl_ms))?;
        Ok(())
    };
    handle.write(Mode::Host, enter).await
}

/// Says what a task has come to. What has ended stays as it is.
pub(super) async fn settle(
    handle: &Handle,
    id: &str,
    status: Status,
    outcome: Option<&Value>,
    message: Option<String>,
    now: i64,
) -> Result<()> {
    let (id, outcome) = (id.to_owned(), outcome.map(Value::to_string));
    let update = move |tx: &Transaction<'_>| {
        let update = "UPDATE _fh_task SET status = ?2, outcome = ?3, message = coalesce(?4, message), updated_at = ?5
                      WHERE id = ?1 AND status = 'working'";
        tx.prepare_cached(update)?.execute((id, status.name(), outcome, message, now))?;
        Ok(())
    };
    handle.write(Mode::Host, update).await
}

/// The task, if it is `owner`'s and its time has not ended.
pub(super) async fn find(handle: &Handle, owner: &Principal, id: &str, now: i64) -> Result<Option<Record>> {
    let key = (id.to_owned(), owner.issuer().to_owned(), owner.subject().to_owned(), now);
    let read = move |conn: &Connection| {
        let select = "SELECT id, status, message, outcome, created_at, updated_at, ttl_ms FROM _fh_task
                      WHERE id = ?1 AND issuer = ?2 AND subject = ?3
                        AND (status = 'working' OR updated_at + ttl_ms > ?4)";
        Ok(conn.prepare_cached(select)?.query_row(key, record).optional()?)
    };
    handle.read(Mode::Host, read).await
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let outcome: Option<String> = row.get(3)?;
    Ok(Record {
        id: row.get(0)?,
        status: Status::of(&row.get::<_, String>(1)?),
        message: row.get(2)?,
        outcome: outcome.and_then(|json| serde_json::from_str(&json).ok()),
        created_at: row.get(4)?,
        updated_at: row.get(5)?,
        ttl_ms: row.get(6)?,
    })
}
