//! The server itself, which `benches/` run too: it knows nothing of how it is served.

use freehold::{Host, Tenant, migrations};
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::schemars::JsonSchema;
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use serde::{Deserialize, Serialize};

/// The host of this server.
pub(crate) fn host() -> Host {
    Host::new(|_tenant| Counter { tool_router: Counter::tool_router() })
        .migrations(migrations!("examples/counter/migrations"))
}

#[derive(Deserialize, JsonSchema)]
struct Terms {
    a: i64,
    b: i64,
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    sum: i64,
}

#[derive(Deserialize, JsonSchema)]
struct Key {
    /// The counter's name.
    key: String,
}

#[derive(Serialize, JsonSchema)]
struct Count {
    value: i64,
}

pub(crate) struct Counter {
    tool_router: ToolRouter<Self>,
}

#[tool_router]
impl Counter {
    /// Add two integers.
    #[tool(annotations(read_only_hint = true))]
    fn add(&self, Parameters(Terms { a, b }): Parameters<Terms>) -> Result<Json<Sum>, String> {
        a.checked_add(b).map(|sum| Json(Sum { sum })).ok_or_else(|| "the sum does not fit 64 bits".to_owned())
    }

    /// Add 1 to a counter of this account, durably, and return its new value.
    #[tool(annotations(destructive_hint = false))]
    async fn increment(
        &self,
        tenant: Tenant,
        Parameters(Key { key }): Parameters<Key>,
    ) -> freehold::Result<Json<Count>> {
        tenant
            .write(move |tx| {
                let mut bump = tx.prepare_cached(
                    "INSERT INTO counter (key, value) VALUES (?1, 1)
                     ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value",
                )?;
                Ok(Json(Count { value: bump.query_row([key], |row| row.get(0))? }))
            })
            .await
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Counter {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("counter", env!("CARGO_PKG_VERSION")))
    }
}
