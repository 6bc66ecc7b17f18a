//! SQLite's own limits and defences, for every connection to a tenant's file.
//!
//! After sqlite.org/security.html, "Defense Against The Dark Arts". Not from there: untrusted
//! functions are denied by the authorizer, and the page cache is bounded per connection.

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use super::functions;
use crate::config::Limits;
use crate::error::{Error, Result};

pub(super) const DATABASE_BYTES: &str = "database_bytes";
pub(super) const VALUE_BYTES: &str = "value_bytes";

/// The longest statement, in bytes: what a person or a model writes, ten times over.
const SQL_BYTES: i32 = 100_000;

/// Sets what a statement may be at most; `value_bytes` bounds one string, blob or row.
pub(super) fn restrict(conn: &Connection, value_bytes: u64) -> rusqlite::Result<()> {
    functions::install(conn, usize::try_from(value_bytes).unwrap_or(usize::MAX))?;
    let value_bytes = i32::try_from(value_bytes).unwrap_or(i32::MAX);
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, value_bytes),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES),
        (Limit::SQLITE_LIMIT_COLUMN, 100),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
        (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 32),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        (Limit::SQLITE_LIMIT_PARSER_DEPTH, 100),
    ] {
        conn.set_limit(limit, value)?;
    }
    for (defence, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
    ] {
        conn.set_db_config(defence, on)?;
    }
    Ok(())
}

/// Refuses a schema of more objects than there may be: every connection keeps it in memory as a whole.
///
/// # Errors
/// [`ErrorKind::Limit`](crate::ErrorKind::Limit).
pub(super) fn check_objects(conn: &Connection, limits: &Limits) -> Result<()> {
    let most = limits.schema_objects;
    let has = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    if usize::try_from(has).is_ok_and(|has| has <= most) {
        return Ok(());
    }
    let said = format!(
        "tables, indexes, views and triggers may be {most} together, the host's own included, and nothing was \
         changed: drop what is not needed, or keep more rows in fewer tables"
    );
    Err(Error::limit("schema_objects", most as u64, said))
}

/// SQLite says that a limit was reached and not which number it is: put in here.
pub(super) fn name_bound(error: Error, limits: &Limits) -> Error {
    match error.bound().map(|bound| bound.name) {
        Some(DATABASE_BYTES) => {
            let most = limits.database_bytes.as_u64();
            let said = format!(
                "the database is full, and nothing was changed: it may take {most} bytes; delete what is not needed"
            );
            error.reworded(said).with_bound(DATABASE_BYTES, most)
        }
        Some(VALUE_BYTES) => {
            let most = limits.value_bytes.as_u64();
            // A statement that is too long says so itself.
            let error = match error.to_string().contains("string or blob") {
                true => error.reworded(format!("a value or a row is larger than the {most} bytes that it may take: store or select less at once, as with substr()")),
                false => error,
            };
            error.with_bound(VALUE_BYTES, most)
        }
        _ => error,
    }
}
