//! The official Rust client over HTTP, in both generations, against the real binary.

use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::json;

use crate::support::process::{Server, must};
use crate::support::soon;

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
        let config = StreamableHttpClientTransportConfig::with_uri(address.as_str()).auth_header(token);
        let client = soon(().serve(StreamableHttpClientTransport::from_config(config))).await.expect("a connection");
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
    let config = StreamableHttpClientTransportConfig::with_uri(address.as_str()).auth_header("no.token.this");
    let refused = soon(().serve(StreamableHttpClientTransport::from_config(config))).await;
    assert!(refused.is_err(), "a bad token was let in");
    assert!(server.terminate().success());
}
