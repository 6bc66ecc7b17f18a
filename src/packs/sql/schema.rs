//! `sql_schema`: what tables there are. The host's own are left out.

use rmcp::schemars::{self, JsonSchema};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Tables and views told at most: more would drown a model, and a database of that many is a mistake.
const TABLES_MAX: i64 = 500;

/// Rows counted in one table, and in all of them: some milliseconds, and a tenth of a second.
const COUNTED: (u64, u64) = (100_000, 1_000_000);
/// Rows whose values are looked at.
const SAMPLED: u32 = 100;

/// It takes no arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The tenant's tables and views.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::packs) struct Schema {
    tables: Vec<Table>,
}

/// One table or view.
#[derive(Debug, Serialize, JsonSchema)]
struct Table {
    name: String,
    /// `table`, `view` or `virtual`.
    kind: String,
    /// Rows; absent for views, and where counting would take long.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    /// There are more rows than were counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more_rows: bool,
    columns: Vec<Column>,
    /// CREATE INDEX statements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    indexes: Vec<String>,
}

/// One column.
#[derive(Debug, Serialize, JsonSchema)]
struct Column {
    name: String,
    /// As declared; may be empty.
    r#type: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    not_null: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    primary_key: bool,
    /// Types of the values in the first rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    found: Vec<String>,
    /// Computed from others: never looked into, for what it costs nobody knows.
    #[serde(skip)]
    generated: bool,
}

pub(super) fn read(conn: &Connection) -> Result<Schema> {
    let mut listed = conn.prepare_cached(
        "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'view', 'virtual')
             AND name NOT LIKE '\\_fh\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         ORDER BY name LIMIT ?1",
    )?;
    let named = listed.query_map([TABLES_MAX], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let named = named.collect::<Result<Vec<(String, String)>, _>>()?;
    let table = |(name, kind): (String, String)| {
        let (columns, indexes) = (columns(conn, &name)?, indexes(conn, &name)?);
        Ok(Table { rows: None, more_rows: false, columns, indexes, name, kind })
    };
    Ok(Schema { tables: named.into_iter().map(table).collect::<Result<_>>()? })
}

impl Schema {
    /// Counts rows and looks at values, of tables alone: what a view costs nobody knows. A table that has gone, or
    /// can't be read, is left as it is.
    pub(super) fn look(&mut self, conn: &Connection) -> Result<()> {
        let (most, mut left) = COUNTED;
        for table in self.tables.iter_mut().filter(|table| table.kind == "table") {
            if left == 0 {
                break;
            }
            let most = most.min(left);
            let Ok(rows) = count(conn, &table.name, most + 1) else { continue };
            left -= rows.min(most);
            (table.rows, table.more_rows) = (Some(rows.min(most)), rows > most);
            if rows > 0 {
                sample(conn, table)?;
            }
        }
        Ok(())
    }
}

fn count(conn: &Connection, table: &str, most: u64) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT {most})", quoted(table));
    let rows: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

fn sample(conn: &Connection, table: &mut Table) -> Result<()> {
    let mut columns: Vec<&mut Column> = table.columns.iter_mut().filter(|column| !column.generated).collect();
    if columns.is_empty() {
        return Ok(());
    }
    let types: Vec<_> = columns.iter().map(|column| format!("typeof({})", quoted(&column.name))).collect();
    let sql = format!("SELECT {} FROM {} LIMIT {SAMPLED}", types.join(", "), quoted(&table.name));
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for (at, column) in columns.iter_mut().enumerate() {
            let kind: String = row.get(at)?;
            if let Err(place) = column.found.binary_search(&kind) {
                column.found.insert(place, kind);
            }
        }
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn columns(conn: &Connection, table: &str) -> Result<Vec<Column>> {
    let mut listed = conn.prepare_cached(
        "SELECT name, type, \"notnull\", pk, hidden > 1 FROM pragma_table_xinfo(?1) WHERE hidden <> 1",
    )?;
    let columns = listed.query_map([table], |row| {
        Ok(Column {
            name: row.get(0)?,
            r#type: row.get(1)?,
            not_null: row.get(2)?,
            primary_key: row.get::<_, i64>(3)? > 0,
            found: Vec::new(),
            generated: row.get(4)?,
        })
    })?;
    Ok(columns.collect::<Result<_, _>>()?)
}

fn indexes(conn: &Connection, table: &str) -> Result<Vec<String>> {
    let mut listed = conn.prepare_cached(
        "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1 AND sql IS NOT NULL ORDER BY name",
    )?;
    let indexes = listed.query_map([table], |row| row.get(0))?;
    Ok(indexes.collect::<Result<_, _>>()?)
}
