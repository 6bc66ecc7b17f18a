//! `sql_schema`: what tables there are. The host's own are left out.

use rmcp::schemars::{self, JsonSchema};
use rusqlite::Connection;
use serde::Serialize;

use crate::error::Result;

/// Tables and views told at most: more would drown a model, and a database of that many is a mistake.
const TABLES_MAX: i64 = 500;

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
        Ok(Table { columns: columns(conn, &name)?, indexes: indexes(conn, &name)?, name, kind })
    };
    Ok(Schema { tables: named.into_iter().map(table).collect::<Result<_>>()? })
}

fn columns(conn: &Connection, table: &str) -> Result<Vec<Column>> {
    let mut listed = conn.prepare_cached("SELECT name, type, \"notnull\", pk FROM pragma_table_info(?1)")?;
    let columns = listed.query_map([table], |row| {
        Ok(Column {
            name: row.get(0)?,
            r#type: row.get(1)?,
            not_null: row.get(2)?,
            primary_key: row.get::<_, i64>(3)? > 0,
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
