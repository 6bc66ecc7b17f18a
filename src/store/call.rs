//! `_fh_call`: the last calls of tools.

use rusqlite::{Connection, Row};

use crate::error::Result;

/// A call of a tool, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Call {
    /// When it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// The id that the answer's `x-request-id` bears; empty on stdio.
    pub request_id: String,
    /// Who called, to the issuer of its token.
    pub subject: String,
    /// The tool.
    pub tool: String,
    /// What `[journal] arguments` keeps: nothing, a JSON array of names, or JSON text, cut at 4,096 bytes.
    pub arguments: Option<String>,
    /// The body of the request, in bytes; 0 on stdio.
    pub bytes_in: u64,
    /// The text of the answer, in bytes.
    pub bytes_out: u64,
    /// How many rows, keys or notes were told or changed, where the answer says so.
    pub rows: Option<u64>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// `ok`, `refused` and why, `error` and its code, `asked`, `task`, or `cancelled`.
    pub outcome: String,
    /// Calls right before this one that came too fast to be kept.
    pub missed: u64,
}

/// Adds `calls` and lets go of the oldest, so that `most` are there.
pub(crate) fn add(conn: &Connection, calls: &[Call], most: u32) -> Result<()> {
    let mut added = conn.prepare_cached(
        "INSERT INTO _fh_call (at_ms, request_id, subject, tool, arguments, bytes_in, bytes_out, rows, duration_us, outcome, missed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    for call in calls {
        added.execute((
            signed(call.at_ms),
            &call.request_id,
            &call.subject,
            &call.tool,
            &call.arguments,
            signed(call.bytes_in),
            signed(call.bytes_out),
            call.rows.map(signed),
            signed(call.duration_us),
            &call.outcome,
            signed(call.missed),
        ))?;
    }
    conn.prepare_cached("DELETE FROM _fh_call WHERE id <= (SELECT max(id) FROM _fh_call) - ?1")?.execute([most])?;
    Ok(())
}

/// The last `most` calls, the newest first.
pub(crate) fn newest(conn: &Connection, most: usize) -> Result<Vec<Call>> {
    let mut listed = conn.prepare_cached(
        "SELECT at_ms, request_id, subject, tool, arguments, bytes_in, bytes_out, rows, duration_us, outcome, missed
         FROM _fh_call ORDER BY id DESC LIMIT ?1",
    )?;
    let calls = listed.query_map([i64::try_from(most).unwrap_or(i64::MAX)], call)?;
    Ok(calls.collect::<rusqlite::Result<_>>()?)
}

fn call(row: &Row<'_>) -> rusqlite::Result<Call> {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(Call {
        at_ms: unsigned(row.get(0)?),
        request_id: row.get(1)?,
        subject: row.get(2)?,
        tool: row.get(3)?,
        arguments: row.get(4)?,
        bytes_in: unsigned(row.get(5)?),
        bytes_out: unsigned(row.get(6)?),
        rows: row.get::<_, Option<i64>>(7)?.map(unsigned),
        duration_us: unsigned(row.get(8)?),
        outcome: row.get(9)?,
        missed: unsigned(row.get(10)?),
    })
}
