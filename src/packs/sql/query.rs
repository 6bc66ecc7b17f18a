//! `sql_query`: one reading statement, a page at a time.

use rmcp::ErrorData;
use rmcp::handler::server::tool::IntoCallToolResult;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use rmcp::schemars::{self, JsonSchema};
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection, Statement};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::params::Params;
use super::place::{Place, last_of, rest_of, rowid_column};
use super::value::{json_bytes, to_json};
use crate::config::Limits;
use crate::db::{check_statement, check_terms, searched};
use crate::error::{Error, ErrorKind, Result};

/// What to read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// One SELECT (or VALUES, WITH … SELECT, EXPLAIN). Use ? for values.
    sql: String,
    #[serde(default)]
    params: Params,
    /// At most this many rows, 1 or more.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// A page of rows: what [`Answer`] holds, as its schema tells it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Page {
    /// Column names, in the order of the values in a row.
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    /// Set when there are more rows: pass it as `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// A page, written where it was read: on a thread for SQL, once, with no copy of its values.
#[derive(Debug)]
pub(super) struct Answer {
    text: String,
    content: Map<String, Value>,
}

impl Answer {
    fn of(columns: Vec<String>, rows: Vec<Vec<Value>>) -> Self {
        let rows = Value::Array(rows.into_iter().map(Value::Array).collect());
        let content = Map::from_iter([("columns".to_owned(), columns.into()), ("rows".to_owned(), rows)]);
        let content = Value::Object(content);
        let text = serde_json::to_string(&content).unwrap_or_default();
        let Value::Object(content) = content else { return Self { text, content: Map::new() } };
        Self { text, content }
    }

    /// The same with where the next page begins: of letters that JSON writes as they are.
    pub(super) fn with_cursor(mut self, cursor: String) -> Self {
        self.text.pop();
        self.text.push_str(",\"next_cursor\":\"");
        self.text.push_str(&cursor);
        self.text.push_str("\"}");
        self.content.insert("next_cursor".to_owned(), cursor.into());
        self
    }
}

impl IntoCallToolResult for Answer {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        let mut result = CallToolResult::success(vec![ContentBlock::text(self.text)]);
        result.structured_content = Some(Value::Object(self.content));
        Ok(result.into())
    }
}

impl Query {
    /// The page that begins at `place`, and where the next one does. Run anew for every page, so that nothing is
    /// held between calls. Where rows come in the order of a rowid that is told, a page goes on behind it; else
    /// behind as many rows, which keep their places as long as the statement orders them and nobody adds or removes
    /// one before them, and it costs what all before it cost, within the statement's deadline.
    pub(super) fn run(self, conn: &Connection, limits: &Limits, place: Place) -> Result<(Answer, Option<Place>)> {
        let mut statement = only_statement(conn, &self.sql, &self.params)?;
        if !statement.readonly() {
            return Err(Error::new(ErrorKind::Forbidden, "sql_query only reads: use sql_execute to change data"));
        }
        let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        let skip = match place {
            Place::Skip(rows) => usize::try_from(rows).unwrap_or(usize::MAX),
            Place::Behind { column, ascending, last } => {
                let gone =
                    || Error::invalid("the table has changed since this cursor was given: begin again without it");
                let rest = rest_of(&self.sql, &columns, column, ascending, last).ok_or_else(gone)?;
                statement = only(conn, &rest).map_err(|error| gone().with_source(error))?;
                0
            }
        };
        self.params.bind(&mut statement)?;
        let asked = match self.limit.map(usize::try_from) {
            Some(Err(_) | Ok(0)) => return Err(Error::invalid("limit is below 1: ask for 1 row or more")),
            Some(Ok(asked)) => asked,
            None => usize::MAX,
        };
        let most = Most { rows: limits.result_rows.min(asked), ..Most::of(limits) };
        let (rows, more) = rows(&mut statement, skip, most)?;
        let behind = match place {
            Place::Behind { column, ascending, .. } => Some((column, ascending)),
            // Before the first page nothing is known; on a further one it was looked for.
            Place::Skip(0) if more => rowid_column(conn, &self.sql, &columns).filter(|(column, ascending)| {
                // What stands behind the statement, a comment say, may keep it from being a part of another.
                rest_of(&self.sql, &columns, *column, *ascending, 0).is_some_and(|rest| only(conn, &rest).is_ok())
            }),
            Place::Skip(_) => None,
        };
        let behind = behind.and_then(|(column, ascending)| {
            Some(Place::Behind { column, ascending, last: last_of(&rows, column, ascending)? })
        });
        let next = match (behind, place) {
            _ if !more => None,
            (Some(behind), _) => Some(behind),
            (None, Place::Skip(_)) => Some(Place::Skip((skip + rows.len()) as u64)),
            (None, Place::Behind { .. }) => return Err(Error::internal("rows by rowid came out of order")),
        };
        Ok((Answer::of(columns, rows), next))
    }

    /// What a cursor belongs to: this statement with these values.
    pub(super) fn question(&self) -> [Vec<u8>; 3] {
        [b"sql_query".to_vec(), self.sql.clone().into_bytes(), self.params.text().into_bytes()]
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

/// The one statement in `sql`, which an agent wrote.
pub(super) fn only_statement<'conn>(conn: &'conn Connection, sql: &str, params: &Params) -> Result<Statement<'conn>> {
    check_statement(sql)?;
    if searched(conn)?.check(sql)? {
        params.texts().try_for_each(|text| check_terms(&text))?;
    }
    only(conn, sql)
}

/// The one statement in `sql`, which was looked at before, or is made of one that was. Not `Connection::prepare`: it
/// looks for a second one by calling itself, as deep as there are statements, and a stack that overflows ends every
/// tenant's process.
fn only<'conn>(conn: &'conn Connection, sql: &str) -> Result<Statement<'conn>> {
    let mut batch = Batch::new(conn, sql);
    let only = batch.next()?.ok_or_else(|| Error::invalid("there is no statement in this text"))?;
    if batch.next()?.is_some() {
        return Err(Error::invalid("this text holds several statements: send one at a time"));
    }
    Ok(only)
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
        let (mut size, mut values) = (2, Vec::with_capacity(width));
        for at in 0..width {
            let value = row.get_ref(at)?;
            size += json_bytes(value);
            // Else the row is not told, and only its size is.
            if bytes + size <= most.bytes {
                values.push(to_json(value));
            }
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
        told.push(values);
    }
    Ok((told, false))
}
