//! What a token does not grant is not done.

use std::time::Duration;

use freehold::TestHost;
use serde_json::{Value, json};

use crate::support::token::Forge;
use crate::support::wire::Ask;
use crate::support::{content, plain, refusal};

async fn call(host: &TestHost, scope: &str, tool: &str, arguments: Value) -> Value {
    let token = host.token_with("a", scope, Duration::from_secs(60)).expect("a token");
    Ask::tool(tool, &arguments).bearer(&token).send(host).await.json()
}

fn create(table: &str) -> Value {
    json!({ "statements": [{ "sql": format!("CREATE TABLE {table} (n)") }] })
}

#[tokio::test]
async fn who_may_only_read_writes_nothing() {
    let host = plain(&["a"], |_| {});
    assert_eq!(content(&call(&host, "read", "sql_query", json!({ "sql": "SELECT 7" })).await)["rows"][0][0], 7);
    let refused = call(&host, "read", "sql_execute", create("t")).await;
    assert!(refusal(&refused).contains("`write`"), "{refused}");
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
            let answer = Ask::tool(tool, &arguments).bearer(&token).send(&host).await.json();
            refusal(&answer);
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
