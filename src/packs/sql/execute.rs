//! `sql_execute`: some statements, all or none.

use rmcp::schemars::{self, JsonSchema};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::params::Params;
use super::query::{Most, only_statement, rows};
use crate::config::Limits;
use crate::error::{Error, Result};

/// What to do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// Run in order, in one transaction.
    statements: Vec<Step>,
}

/// One statement.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Step {
    /// One INSERT, UPDATE, DELETE, CREATE, ALTER or DROP. Use ? for values.
    sql: String,
    #[serde(default)]
    params: Params,
}

/// What was done, durably.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// One for each statement, in order.
    results: Vec<Outcome>,
}

/// What one statement did.
#[derive(Debug, Serialize, JsonSchema)]
struct Outcome {
    /// Rows inserted, updated or deleted, those by triggers included.
    changes: i64,
    /// After an INSERT: the rowid of the last inserted row, for tables that have rowids.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_insert_rowid: Option<i64>,
    /// What RETURNING gave.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rows: Vec<Vec<Value>>,
}

impl Batch {
    pub(super) fn run(&self, tx: &Transaction<'_>, limits: &Limits) -> Result<Done> {
        let count = self.statements.len();
        if count == 0 {
            return Err(Error::invalid("statements is empty: send at least one"));
        }
        if count > limits.statements {
            let most = limits.statements;
            return Err(Error::limit(
                "statements",
                most as u64,
                format!(
                    "{count} statements in one call and {most} are allowed: nothing was done; send them in several calls"
                ),
            ));
        }
        let run =
            |(at, step): (usize, &Step)| step.run(tx, limits).map_err(|error| error.at(format!("statements[{at}]")));
        Ok(Done { results: self.statements.iter().enumerate().map(run).collect::<Result<_>>()? })
    }
}

impl Step {
    fn run(&self, tx: &Transaction<'_>, limits: &Limits) -> Result<Outcome> {
        let before = tx.total_changes();
        let inserts = ["insert", "replace", "with"].iter().any(|verb| starts_with(&self.sql, verb));
        let mut statement = only_statement(tx, &self.sql, &self.params)?;
        self.params.bind(&mut statement)?;
        let most = Most::of(limits);
        let (rows, more) = rows(&mut statement, 0, most)?;
        if more {
            return Err(Error::limit(
                "result_rows",
                most.rows as u64,
                "RETURNING gives more than one result may hold, and nothing was done: leave RETURNING out, or change fewer rows",
            ));
        }
        let changes = i64::try_from(tx.total_changes() - before).unwrap_or(i64::MAX);
        Ok(Outcome { changes, last_insert_rowid: (inserts && changes > 0).then(|| tx.last_insert_rowid()), rows })
    }
}

fn starts_with(sql: &str, verb: &str) -> bool {
    sql.trim_start().get(..verb.len()).is_some_and(|start| start.eq_ignore_ascii_case(verb))
}
