//! The smallest server: one tool. `--transport stdio` serves it on a pipe, `--transport http` to many
//! tenants, and the tool does not know which.
//!
//! ```text
//! cargo run --example hello_toolsmith -- --transport stdio
//! cargo run --example hello_toolsmith -- --transport http --dev
//! ```

use std::process::ExitCode;

use freehold::Host;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::schemars::JsonSchema;
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
struct Terms {
    a: i64,
    b: i64,
}

struct HelloToolsmith {
    tool_router: ToolRouter<Self>,
}

#[tool_router]
impl HelloToolsmith {
    /// Add two integers and return the sum.
    #[tool]
    fn add(&self, Parameters(Terms { a, b }): Parameters<Terms>) -> Result<String, String> {
        a.checked_add(b).map(|sum| sum.to_string()).ok_or_else(|| "the sum does not fit 64 bits".to_owned())
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for HelloToolsmith {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("hello-toolsmith", env!("CARGO_PKG_VERSION")))
    }
}

fn main() -> ExitCode {
    Host::new(|_tenant| HelloToolsmith { tool_router: HelloToolsmith::tool_router() }).packs([]).run()
}
