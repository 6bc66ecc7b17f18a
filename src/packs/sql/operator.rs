//! Text that an operator typed: any number of statements, all that they tell within the same bounds as an agent's.

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection};
use serde_json::{Value, json};

use super::query::{Most, rows};
use crate::config::Limits;
use crate::error::{Error, Result};

/// Runs the statements of `sql` one after the other: for each its columns and at most `most` rows, or how many rows
/// it changed.
///
/// # Errors
/// What SQLite says of one of them; nothing of what was done stands then.
pub(crate) fn run_text(conn: &Connection, sql: &str, limits: &Limits, most: usize) -> Result<Value> {
    let mut told = Vec::new();
    let mut batch = Batch::new(conn, sql);
    while let Some(mut statement) = batch.next()? {
        if told.len() == limits.statements {
            let most = limits.statements;
            return Err(Error::limit(
                "statements",
                most as u64,
                format!("more than {most} statements: run them in parts"),
            ));
        }
        let most = Most { rows: limits.result_rows.min(most), ..Most::of(limits) };
        let before = conn.total_changes();
        let (rows, more) = rows(&mut statement, 0, most)?;
        if statement.column_count() == 0 {
            told.push(json!({ "changes": conn.total_changes() - before }));
        } else {
            told.push(json!({ "columns": statement.column_names(), "rows": rows, "more": more }));
        }
    }
    if told.is_empty() {
        return Err(Error::invalid("there is no statement in this text"));
    }
    Ok(json!({ "results": told }))
}
