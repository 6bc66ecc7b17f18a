//! What a token does not grant is not done.

use std::time::Duration;

use freehold::TestHost;
use serde_json::{Value, json};

use crate::support::token::Forge;
use crate::support::wire::{Ask, LEGACY, initialize, rpc};
use crate::support::{content, plain, refusal};

async fn call(host: &TestHost, scope: &str, tool: &str, arguments: Value) -> Value {
    let token = host.token_with("a", scope, Duration::from_secs(60)).expect("a token");
    Ask::tool(tool, &arguments).bearer(&token).send(host).await.json()
}

/// The call's refusal: before anything has begun, with the scope that it wants (RFC 6750 section 3.1).
async fn forbidden(host: &TestHost, scope: &str, tool: &str, arguments: Value, wants: &str) -> Value {
    let token = host.token_with("a", scope, Duration::from_secs(60)).expect("a token");
    let answer = Ask::tool(tool, &arguments).bearer(&token).send(host).await;
    let said = answer.expect_refusal(403);
    let challenge = format!(
        "Bearer realm=\"mcp\", error=\"insufficient_scope\", scope=\"{wants}\", \
         error_description=\"{wants} scope required\""
    );
    assert_eq!(answer.header("www-authenticate"), challenge);
    assert_eq!(said["error"]["data"]["reason"], "insufficient_scope");
    said
}

fn create(table: &str) -> Value {
    json!({ "statements": [{ "sql": format!("CREATE TABLE {table} (n)") }] })
}

#[tokio::test]
async fn who_may_only_read_writes_nothing() {
    let host = plain(&["a"], |_| {});
    assert_eq!(content(&call(&host, "read", "sql_query", json!({ "sql": "SELECT 7" })).await)["rows"][0][0], 7);
    let refused = forbidden(&host, "read", "sql_execute", create("t"), "write").await;
    assert!(refused["error"]["message"].as_str().is_some_and(|said| said.contains("`write`")), "{refused}");
    let sneaky = [
        "CREATE TABLE t (n)",
        "PRAGMA user_version = 1",
        "WITH x AS (SELECT 1) INSERT INTO sqlite_schema SELECT * FROM x",
    ];
    for sql in sneaky {
        refusal(&call(&host, "read", "sql_query", json!({ "sql": sql })).await);
    }
    let schema = call(&host, "read", "sql_schema", json!({})).await;
    assert_eq!(content(&schema)["tables"], json!([]));
    host.close().await;
}

#[tokio::test]
async fn higher_scopes_hold_the_lower_ones() {
    let host = plain(&["a"], |_| {});
    for (at, scope) in ["write", "admin", "read write", "admin read"].into_iter().enumerate() {
        content(&call(&host, scope, "sql_execute", create(&format!("t{at}"))).await);
        content(&call(&host, scope, "sql_query", json!({ "sql": "SELECT 7" })).await);
    }
    // The host issues no tokens of unknown words; other issuers do.
    let token = Forge::of(&host).with("scope", "openid write tool:x");
    content(&Ask::tool("sql_execute", &create("t")).bearer(&token).send(&host).await.json());
    host.close().await;
}

#[tokio::test]
async fn words_that_are_not_ours_grant_nothing() {
    let host = plain(&["a"], |_| {});
    let forge = Forge::of(&host);
    for scope in ["", "Read", "reader", "write:all", "*", "openid profile"] {
        let token = forge.with("scope", scope);
        for (tool, arguments) in [("sql_query", json!({ "sql": "SELECT 7" })), ("sql_execute", create("t"))] {
            Ask::tool(tool, &arguments).bearer(&token).send(&host).await.expect_refusal(403);
        }
    }
    host.close().await;
}

/// An operator who wants a scope in every token says so.
#[tokio::test]
async fn a_token_without_scope_can_be_refused() {
    let host = plain(&["a"], |settings| settings.auth.scope_default = String::new());
    let token = Forge::of(&host).lacking("scope");
    Ask::tool("sql_query", &json!({ "sql": "SELECT 7" })).bearer(&token).send(&host).await.expect_refusal(401);
    host.close().await;
}

/// A token for one tool is that tool's whole right and nobody else's.
#[tokio::test]
async fn a_tool_by_name_may_be_called_and_no_other() {
    let host = plain(&["a"], |_| {});
    content(&call(&host, "tool:sql_execute", "sql_execute", create("t")).await);
    forbidden(&host, "tool:sql_execute", "sql_query", json!({ "sql": "SELECT 7" }), "read").await;
    content(&call(&host, "read tool:sql_execute", "sql_query", json!({ "sql": "SELECT 7" })).await);
    for other in ["tool:sql", "tool:sql_execute2", "tool:*", "tool:SQL_EXECUTE"] {
        forbidden(&host, other, "sql_execute", create("u"), "write").await;
    }
    host.close().await;
}

/// The body says what is called; headers that repeat it are for proxies.
#[tokio::test]
async fn a_header_does_not_make_a_call_another_one() {
    let host = plain(&["a"], |_| {});
    let token = host.token_with("a", "read", Duration::from_secs(60)).expect("a token");
    let lying =
        || Ask::tool("sql_execute", &create("t")).bearer(&token).without("mcp-name").header("mcp-name", "sql_query");
    lying().send(&host).await.expect_refusal(403);
    let older = lying().without("mcp-protocol-version").header("mcp-protocol-version", "2025-06-18");
    older.send(&host).await.expect_refusal(403);
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sql_query","name":"sql_execute"}}"#;
    Ask::post(twice).bearer(&token).send(&host).await.expect_refusal(400);
    let batch = format!(
        r#"[{{"jsonrpc":"2.0","id":1,"method":"ping"}},{}]"#,
        rpc("tools/call", &json!({ "name": "sql_execute", "arguments": create("t") }))
    );
    Ask::post(batch).bearer(&token).send(&host).await.expect_refusal(403);
    // What is not there is not there for anybody.
    let unknown = Ask::tool("nothing_here", &json!({})).bearer(&token).send(&host).await;
    assert_ne!(unknown.status, 403, "{unknown:?}");
    let tables = content(&host.call("a", "sql_schema", json!({})).await)["tables"].clone();
    assert_eq!(tables, json!([]));
    host.close().await;
}

/// Parameters of an odd shape hide nothing: what can't be looked into is not let past.
#[tokio::test]
async fn an_odd_shape_does_not_hide_what_is_asked() {
    let host = plain(&["a"], |_| {});
    let forge = Forge::of(&host);
    let token = forge.with("scope", "tool:sql_query");
    let opened = initialize(LEGACY[0]).bearer(&token).send(&host).await;
    let uri = "tenant://schema";
    for params in [json!({ "uri": uri }), json!({ "uri": uri, "name": 7 }), json!([uri]), json!([null, uri])] {
        let one = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": params });
        let two = json!({ "jsonrpc": "2.0", "id": 2, "method": "x", "params": [1] });
        for body in [one.clone(), json!([one, two])] {
            let ask =
                Ask::post(body.to_string()).bearer(&token).header("mcp-session-id", opened.header("mcp-session-id"));
            let answer = ask.send(&host).await;
            assert!(matches!(answer.status.as_u16(), 400 | 403), "{body}: {answer:?}");
        }
    }
    host.close().await;
}

async fn listed(host: &TestHost, scope: &str) -> Vec<String> {
    let token = host.token_with("a", scope, Duration::from_secs(60)).expect("a token");
    let answer = Ask::modern("tools/list", json!({})).bearer(&token).send(host).await.json();
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}")).iter();
    tools.map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
}

/// Whoever can't get another token is shown what this one is good for.
#[tokio::test]
async fn a_list_shows_what_may_be_called() {
    let packs = |settings: &mut freehold::Settings| settings.packs = vec![freehold::Pack::Sql];
    let host = plain(&["a"], packs);
    assert_eq!(listed(&host, "write").await, ["sql_execute", "sql_query", "sql_schema"]);
    assert_eq!(listed(&host, "read").await, ["sql_query", "sql_schema"]);
    assert_eq!(listed(&host, "tool:sql_execute").await, ["sql_execute"]);
    host.close().await;
    let with_server = plain(&["a"], |settings| {
        packs(settings);
        settings.auth.issuers = vec![freehold::IssuerSettings {
            issuer: "http://127.0.0.1:1".to_owned(),
            jwks_url: Some("http://127.0.0.1:1/jwks".to_owned()),
            tenant_map: Some(freehold::TenantMap::Hash),
            ..freehold::IssuerSettings::default()
        }];
    });
    assert_eq!(listed(&with_server, "read").await, ["sql_execute", "sql_query", "sql_schema"]);
    with_server.close().await;
}
