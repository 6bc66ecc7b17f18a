//! `sql_query`, `sql_execute`, `sql_schema`: the tenant's own database, as text that an agent writes.

mod execute;
mod operator;
mod params;
mod place;
mod query;
mod schema;
mod value;

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{tool, tool_router};

use self::place::Place;
pub(crate) use operator::run_text;

use super::Packs;
use crate::db::Mode;
use crate::error::Result;
use crate::tenant::Tenant;

#[tool_router(router = sql_tools, vis = "pub(super)")]
impl Packs {
    /// Read from this account's private SQLite database with one SELECT. Returns columns and rows. When
    /// more rows exist, `next_cursor` is set: call again with the same sql and params and that cursor.
    #[tool(
        annotations(title = "Query SQL", read_only_hint = true, open_world_hint = false),
        output_schema = rmcp::handler::server::tool::schema_for_output::<query::Page>()
    )]
    async fn sql_query(&self, tenant: Tenant, Parameters(query): Parameters<query::Query>) -> Result<query::Answer> {
        let limits = tenant.limits().clone();
        let question = query.question();
        let question = question.each_ref().map(Vec::as_slice);
        let place = match &query.cursor {
            Some(cursor) => Place::from_bytes(&tenant.unseal(&question, cursor).await?)?,
            None => Place::Skip(0),
        };
        let (page, next) = tenant.read_as(Mode::Tenant, move |conn| query.run(conn, &limits, place)).await?;
        match next {
            Some(next) => Ok(page.with_cursor(tenant.seal(&question, &next.to_bytes()).await?)),
            None => Ok(page),
        }
    }

    /// Change this account's private SQLite database. All statements run in one transaction: either all
    /// take effect, durably, or none. Creates tables too. Do not send BEGIN or COMMIT.
    #[tool(annotations(
        title = "Execute SQL",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn sql_execute(
        &self,
        tenant: Tenant,
        Parameters(batch): Parameters<execute::Batch>,
    ) -> Result<Json<execute::Done>> {
        let limits = tenant.limits().clone();
        tenant.write_again(Mode::Tenant, move |tx| batch.run(tx, &limits)).await.map(Json)
    }

    /// List the tables and views of this account's private SQLite database, with columns, indexes, row counts
    /// and the types of values found.
    #[tool(annotations(title = "Show schema", read_only_hint = true, open_world_hint = false))]
    async fn sql_schema(
        &self,
        tenant: Tenant,
        Parameters(schema::Nothing {}): Parameters<schema::Nothing>,
    ) -> Result<Json<schema::Schema>> {
        let mut found = read_schema(&tenant).await?;
        // With an agent's rights: its tables may hold expressions of its own.
        tenant.read_as(Mode::Tenant, move |conn| found.look(conn).map(|()| Json(found))).await
    }
}

/// The tables and views of `tenant`.
pub(super) async fn read_schema(tenant: &Tenant) -> Result<schema::Schema> {
    tenant.read_as(Mode::Host, schema::read).await
}
