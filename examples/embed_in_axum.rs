//! A host as a part of an axum application: its routes beside one's own, its end within one's own.
//!
//! ```text
//! cargo run --example embed_in_axum
//! ```
//!
//! It makes no key: `freehold key generate` does, once, in the same data directory.

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use freehold::{Host, Settings};
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::model::{ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use tokio::net::TcpListener;

struct Greeter {
    tool_router: ToolRouter<Self>,
}

#[tool_router]
impl Greeter {
    /// Say hello.
    #[tool]
    async fn hello(&self, tenant: freehold::Tenant) -> String {
        format!("Hello from {}", tenant.id())
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Greeter {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

async fn run() -> freehold::Result<()> {
    let internal = |error: std::io::Error| freehold::Error::internal("the listener failed").with_source(error);
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 8080))).await.map_err(internal)?;
    let settings = Settings { listen: listener.local_addr().map_err(internal)?, ..Settings::default() };
    let host = Host::new(|_tenant| Greeter { tool_router: Greeter::tool_router() });
    let (mcp, service) = host.into_router(&settings)?;
    // `/mcp`, `/healthz` and whatever else the host serves. What it does not know is the application's: a path
    // of one's own goes first, the host's answer to an unknown path last.
    let app = Router::new().route("/", get(async || "An application with an MCP server in it")).fallback_service(mcp);
    let drain = service.drain().clone();
    let stop = async move {
        // No stop signal can be listened for: serve until killed.
        let _ = tokio::signal::ctrl_c().await;
        // Streams end and new calls are sent elsewhere, or the wait for the last connection is long.
        drain.begin();
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await.map_err(internal)?;
    service.close().await;
    Ok(())
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new();
    let ran = runtime.map_err(|_| freehold::Error::internal("no runtime")).and_then(|runtime| runtime.block_on(run()));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A person reads it, on a terminal.
            #[expect(clippy::print_stderr, reason = "this is a program")]
            {
                eprintln!("{}", error.chain());
            }
            ExitCode::FAILURE
        }
    }
}
