//! `sql_query`: one reading statement, a page at a time.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rmcp::schemars::{self, JsonSchema};
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection, Statement};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::{json_bytes, to_json, to_sql};
use crate::config::Limits;
use crate::db::check_statement;
use crate::error::{Error, ErrorKind, Result};

/// What to read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// One SELECT (or VALUES, WITH … SELECT, EXPLAIN). Use ? for values.
    sql: String,
    /// Values for the ? in order: null, boolean, number, string, or {"base64": "…"} for a blob.
    #[serde(default)]
    params: Vec<Value>,
    /// At most this many rows, 1 or more.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of rows.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Page {
    /// Column names, in the order of the values in a row.
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    /// Set when there are more rows: pass it as `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl Query {
    /// Runs it anew for every page and passes over the rows told already: a page needs no state between
    /// calls, and rows keep their places as long as the statement orders them.
    pub(super) fn run(self, conn: &Connection, limits: &Limits) -> Result<Page> {
        let identity = self.identity();
        let skip = match &self.cursor {
            Some(cursor) => position(cursor, &identity)?,
            None => 0,
        };
        let mut statement = only_statement(conn, &self.sql)?;
        if !statement.readonly() {
            return Err(Error::new(ErrorKind::Forbidden, "sql_query only reads: use sql_execute to change data"));
        }
        bind(&mut statement, self.params)?;
        let asked = match self.limit.map(usize::try_from) {
            Some(Err(_) | Ok(0)) => return Err(Error::invalid("limit is below 1: ask for 1 row or more")),
            Some(Ok(asked)) => asked,
            None => usize::MAX,
        };
        let most = Most { rows: limits.result_rows.min(asked), ..Most::of(limits) };
        let (rows, more) = rows(&mut statement, skip, most)?;
        let next_cursor = more.then(|| write_cursor(skip + rows.len(), &identity));
        Ok(Page { columns: statement.column_names().into_iter().map(str::to_owned).collect(), rows, next_cursor })
    }

    /// What a cursor belongs to: this statement with these values.
    fn identity(&self) -> [u8; 8] {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(self.sql.as_bytes());
        hash.update(&[0]);
        hash.update(Value::from(self.params.clone()).to_string().as_bytes());
        let mut identity = [0; 8];
        identity.copy_from_slice(&hash.finish().as_ref()[..8]);
        identity
    }
}

/// How much of a result is told at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Most {
    pub(super) fn of(limits: &Limits) -> Self {
        Self { rows: limits.result_rows, bytes: usize::try_from(limits.result_bytes.as_u64()).unwrap_or(usize::MAX) }
    }
}

/// The one statement in `sql`. Not `Connection::prepare`: it looks for a second one by calling itself, as deep
/// as there are statements, and a stack that overflows ends every tenant's process.
pub(super) fn only_statement<'conn>(conn: &'conn Connection, sql: &str) -> Result<Statement<'conn>> {
    check_statement(sql)?;
    let mut batch = Batch::new(conn, sql);
    let only = batch.next()?.ok_or_else(|| Error::invalid("there is no statement in this text"))?;
    if batch.next()?.is_some() {
        return Err(Error::invalid("this text holds several statements: send one at a time"));
    }
    Ok(only)
}

/// Binds `params` to the statement's `?` in order.
pub(super) fn bind(statement: &mut Statement<'_>, params: Vec<Value>) -> Result<()> {
    let (wants, has) = (statement.parameter_count(), params.len());
    if wants != has {
        return Err(Error::invalid(format!("the statement has {wants} parameters and params has {has} values")));
    }
    for (at, value) in params.into_iter().enumerate() {
        statement.raw_bind_parameter(at + 1, to_sql(value, at)?)?;
    }
    Ok(())
}

/// The statement's rows from the one after `skip` on, and whether there are more than `most` lets through.
pub(super) fn rows(statement: &mut Statement<'_>, skip: usize, most: Most) -> Result<(Vec<Vec<Value>>, bool)> {
    let width = statement.column_count();
    let mut cursor = statement.raw_query();
    for _ in 0..skip {
        if cursor.next()?.is_none() {
            return Ok((Vec::new(), false));
        }
    }
    let (mut told, mut bytes) = (Vec::new(), 0);
    while let Some(row) = cursor.next()? {
        let mut size = 2;
        for at in 0..width {
            size += json_bytes(row.get_ref(at)?);
        }
        if told.is_empty() && size > most.bytes {
            return Err(Error::limit(
                "result_bytes",
                most.bytes as u64,
                format!(
                    "one row takes {size} bytes and a result may take {}: select fewer columns, or use substr()",
                    most.bytes
                ),
            ));
        }
        if told.len() == most.rows || bytes + size > most.bytes {
            return Ok((told, true));
        }
        bytes += size;
        told.push((0..width).map(|at| Ok(to_json(row.get_ref(at)?))).collect::<Result<_>>()?);
    }
    Ok((told, false))
}

/// A cursor is a place in a result and nothing more: forged, it shows its maker other rows of its own.
fn write_cursor(position: usize, identity: &[u8; 8]) -> String {
    let mut bytes = (position as u64).to_be_bytes().to_vec();
    bytes.extend_from_slice(identity);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn position(cursor: &str, identity: &[u8; 8]) -> Result<usize> {
    let wrong = || Error::invalid("this cursor belongs to another statement or other params: send those, or no cursor");
    let bytes: [u8; 16] =
        URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)?;
    let (position, owner) = bytes.split_at(8);
    if owner != identity {
        return Err(wrong());
    }
    let position: [u8; 8] = position.try_into().map_err(|_| wrong())?;
    usize::try_from(u64::from_be_bytes(position)).map_err(|_| wrong())
}
