//! The official Rust client over HTTP, in both generations, against the real binary.

use std::sync::{Arc, Mutex};

use freehold::Host;
use rmcp::model::{CallToolRequestParams, ProgressNotificationParam};
use rmcp::service::{NotificationContext, RequestContext, RoleClient, RoleServer};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ServiceExt, tool, tool_router};
use serde_json::json;

use crate::support::process::{Server, must};
use crate::support::{soon, start};

fn config(address: &str, token: &str) -> StreamableHttpClientTransportConfig {
    StreamableHttpClientTransportConfig::with_uri(address).auth_header(token)
}

#[tokio::test]
async fn lists_and_calls_as_its_own_tenant() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = &dir.path().join("data");
    must(data, &["key", "generate"]);
    let server = {
        for tenant in ["a", "b"] {
            must(data, &["tenant", "create", tenant]);
        }
        Server::start(data, &[])
    };
    let address = format!("http://{}/mcp", server.address());
    for (tenant, expected) in [("a", 1), ("b", 1), ("a", 2)] {
        let token = must(data, &["token", "issue", "--tenant", tenant]).trim().to_owned();
        let transport = StreamableHttpClientTransport::from_config(config(&address, &token));
        let client = soon(().serve(transport)).await.expect("a connection");
        let tools = soon(client.list_all_tools()).await.expect("tools");
        assert!(tools.iter().any(|tool| tool.name == "sql_query"), "{tools:?}");
        let statements = json!([
            { "sql": "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)" },
            { "sql": "INSERT INTO t DEFAULT VALUES RETURNING n" },
        ]);
        let arguments = json!({ "statements": statements }).as_object().expect("an object").clone();
        let asked = CallToolRequestParams::new("sql_execute").with_arguments(arguments);
        let answer = serde_json::to_value(soon(client.call_tool(asked)).await.expect("an answer")).expect("JSON");
        assert_eq!(answer["structuredContent"]["results"][1]["rows"], json!([[expected]]), "{tenant}: {answer}");
        soon(client.cancel()).await.expect("an end");
    }
    let transport = StreamableHttpClientTransport::from_config(config(&address, "no.token.this"));
    let refused = soon(().serve(transport)).await;
    assert!(refused.is_err(), "a bad token was let in");
    assert!(server.terminate().success());
}

/// Modern calls need no session: a client goes on where the server was killed and started again.
#[tokio::test]
async fn goes_on_after_the_server_was_killed() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = &dir.path().join("data");
    must(data, &["key", "generate"]);
    must(data, &["tenant", "create", "a"]);
    let server = Server::start(data, &[]);
    let listen = server.address().to_string();
    let address = format!("http://{listen}/mcp");
    let token = must(data, &["token", "issue", "--tenant", "a"]).trim().to_owned();
    let transport = StreamableHttpClientTransport::from_config(config(&address, &token));
    let client = soon(().serve(transport)).await.expect("a connection");
    let insert = || {
        let statements = json!([
            { "sql": "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)" },
            { "sql": "INSERT INTO t DEFAULT VALUES RETURNING n" },
        ]);
        let arguments = json!({ "statements": statements }).as_object().expect("an object").clone();
        CallToolRequestParams::new("sql_execute").with_arguments(arguments)
    };
    let before = serde_json::to_value(soon(client.call_tool(insert())).await.expect("an answer")).expect("JSON");
    assert_eq!(before["structuredContent"]["results"][1]["rows"], json!([[1]]), "{before}");
    server.kill();
    let server = Server::start(data, &["--listen", &listen]);
    let after = serde_json::to_value(soon(client.call_tool(insert())).await.expect("an answer")).expect("JSON");
    assert_eq!(after["structuredContent"]["results"][1]["rows"], json!([[2]]), "{after}");
    soon(client.cancel()).await.expect("an end");
    assert!(server.terminate().success());
}

struct Steps;

#[tool_router(server_handler)]
impl Steps {
    #[tool]
    async fn climb(&self, context: RequestContext<RoleServer>) -> String {
        if let Some(token) = context.meta.get_progress_token() {
            for step in [1.0, 2.0, 3.0] {
                let report = ProgressNotificationParam::new(token.clone(), step).with_total(3.0);
                context.peer.notify_progress(report).await.expect("a caller who listens");
            }
        }
        "up".to_owned()
    }
}

#[derive(Clone, Default)]
struct Watcher(Arc<Mutex<Vec<f64>>>);

impl ClientHandler for Watcher {
    async fn on_progress(&self, report: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.0.lock().expect("a lock").push(report.progress);
    }
}

#[tokio::test]
async fn streams_progress() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listen = listener.local_addr().expect("an address");
    let host = start(Host::new(|_tenant| Steps), &["a"], |settings| settings.listen = listen);
    let serving = tokio::spawn(axum::serve(listener, host.router()).into_future());
    let watcher = Watcher::default();
    let token = host.token("a").expect("a token");
    let transport = StreamableHttpClientTransport::from_config(config(&format!("http://{listen}/mcp"), &token));
    let client = soon(watcher.clone().serve(transport)).await.expect("a connection");
    soon(client.call_tool(CallToolRequestParams::new("climb"))).await.expect("an answer");
    crate::support::until("three steps", || watcher.0.lock().expect("a lock").len() == 3).await;
    assert_eq!(*watcher.0.lock().expect("a lock"), [1.0, 2.0, 3.0]);
    soon(client.cancel()).await.expect("an end");
    host.close().await;
    serving.abort();
}
