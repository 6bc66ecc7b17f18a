//! An operator's own SQL in a tenant's file, through the tenant's actor and inside its bounds.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use crate::db::Mode;
use crate::error::{ErrorKind, Result};
use crate::id::TenantId;
use crate::packs::run_text;

/// What to run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Statement {
    /// One or more statements; those that write are one transaction.
    sql: String,
    /// Whether it may write.
    #[serde(default)]
    write: bool,
    /// Rows of each statement at most, never more than the tenant's `result_rows`.
    limit: Option<usize>,
}

impl Admin {
    /// Runs SQL in a tenant's file: all of one moment, or all in one transaction.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: no such tenant; what SQLite says, with how to let it write if that is what it wants.
    pub(crate) async fn sql(&self, tenant: TenantId, statement: Statement) -> Result<Value> {
        let Statement { sql, write, limit } = statement;
        let id = tenant.clone();
        self.run(move |parts| super::lifecycle::served(&parts.catalog, &id)).await?;
        let open = self.0.tenants.get(&tenant).await?;
        let (limits, most) = (open.tenant.limits().clone(), limit.unwrap_or(usize::MAX));
        if !write {
            let ran = open.tenant.read(Mode::Embedder, move |conn| run_text(conn, &sql, &limits, most)).await;
            return ran.map_err(|error| {
                let writes = error.kind() == ErrorKind::Forbidden && error.to_string().contains("readonly");
                if writes { error.reworded("this writes, and was to read only: give --write") } else { error }
            });
        }
        self.record("tenant.sql", json!({ "tenant": tenant.as_str(), "write": true }));
        open.tenant.write(Mode::Embedder, move |tx| run_text(tx, &sql, &limits, most)).await
    }
}
