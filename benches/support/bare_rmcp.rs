//! Owns the baseline of a call: the tool `add` on bare rmcp and axum, the way the SDK is at its
//! fastest. No authentication, no tenants, no limits, no log.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::serve::ListenerExt;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// Where the endpoint is mounted.
pub const PATH: &str = "/mcp";

#[derive(Deserialize, JsonSchema)]
struct Terms {
    a: i64,
    b: i64,
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    sum: i64,
}

struct Bare {
    tool_router: ToolRouter<Self>,
}

#[tool_router]
impl Bare {
    /// Add two numbers.
    #[tool]
    async fn add(&self, Parameters(Terms { a, b }): Parameters<Terms>) -> Json<Sum> {
        Json(Sum { sum: a.wrapping_add(b) })
    }
}

// The router lives in the struct: the default form builds it anew for each request.
#[tool_handler(router = self.tool_router)]
impl ServerHandler for Bare {}

/// Serves it on a free port of 127.0.0.1, on the caller's runtime and for as long as that lives.
pub async fn spawn() -> SocketAddr {
    let handler = Arc::new(Bare { tool_router: Bare::tool_router() });
    let config = StreamableHttpServerConfig::default().with_legacy_session_mode(true).with_json_response(true);
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
    let router = Router::new().route_service(PATH, service);

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    // Without it an answer in two writes waits 40 ms for the client's delayed ACK.
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("TCP_NODELAY"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    addr
}
