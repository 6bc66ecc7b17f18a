//! The journal: every call of a tool is kept, none of another tenant's, and no more than was asked for.

use freehold::{Arguments, Call, TestHost};
use serde_json::json;

use crate::support::wire::{Ask, LEGACY, Session};
use crate::support::{content, plain, refusal, soon};

/// The calls of `tenant`, the newest first, once `wanted` of them are written.
async fn calls(host: &TestHost, tenant: &str, wanted: usize) -> Vec<Call> {
    let tenant = host.tenant(tenant).await.expect("a tenant");
    soon(async {
        loop {
            let calls = tenant.calls(1_000).await.expect("calls");
            if calls.len() >= wanted {
                return calls;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn every_call_is_kept_with_what_came_of_it() {
    let host = plain(&["a", "b"], |_| {});
    let create = json!({ "statements": [{ "sql": "CREATE TABLE t AS SELECT 1 AS n UNION SELECT 2" }] });
    content(&soon(host.call("a", "sql_execute", create)).await);
    let asked = Ask::tool("sql_query", &json!({ "sql": "SELECT n FROM t WHERE n < ?", "params": ["secret"] }));
    let answer = asked.of(&host, "a").send(&host).await;
    content(&answer.json());
    refusal(&soon(host.call("a", "sql_query", json!({ "sql": "SELECT nothing" }))).await);
    soon(host.call("a", "no_such_tool", json!({}))).await;
    let session = Session::open(&host, "a", LEGACY[2]).await;
    content(&session.call(&host, "kv_list", json!({})).await);
    content(&soon(host.call("b", "kv_list", json!({}))).await);

    let kept = calls(&host, "a", 5).await;
    let told: Vec<_> = kept.iter().rev().map(|call| (call.tool.as_str(), call.outcome.as_str(), call.rows)).collect();
    assert_eq!(told[0], ("sql_execute", "ok", Some(0)));
    assert_eq!(told[1], ("sql_query", "ok", Some(2)));
    assert_eq!(told[2], ("sql_query", "refused invalid", None));
    assert_eq!((told[3].0, told[3].1.starts_with("error -32")), ("no_such_tool", true), "{told:?}");
    assert_eq!(told[4], ("kv_list", "ok", Some(0)));
    let query = &kept[3];
    assert_eq!(query.request_id, answer.header("x-request-id"));
    assert_eq!(query.subject, "test");
    assert_eq!(query.at_ms, 1_893_456_000_000);
    assert_eq!(query.arguments.as_deref(), Some(r#"["params","sql"]"#));
    assert!(query.bytes_out > 0 && query.duration_us > 0, "{query:?}");
    assert_eq!(calls(&host, "b", 1).await.len(), 1);
    refusal(&soon(host.call("a", "sql_query", json!({ "sql": "SELECT * FROM _fh_call" }))).await);

    // An orderly stop writes what waits.
    content(&soon(host.call("a", "kv_list", json!({}))).await);
    let host = host.restart().await.expect("a host");
    let kept = host.tenant("a").await.expect("a tenant").calls(100).await.expect("calls");
    assert_eq!(kept.len(), 7);
    host.close().await;
}

#[tokio::test]
async fn arguments_are_kept_as_told_and_the_ring_has_an_end() {
    for (how, kept) in
        [(Arguments::None, None), (Arguments::Keys, Some(r#"["key"]"#)), (Arguments::Full, Some(r#"{"key":"k"}"#))]
    {
        let host = plain(&["a"], |settings| {
            settings.journal.arguments = how;
            settings.journal.entries = 5;
        });
        for _ in 0..12 {
            content(&soon(host.call("a", "kv_get", json!({ "key": "k" }))).await);
        }
        let host = host.restart().await.expect("a host");
        let calls = host.tenant("a").await.expect("a tenant").calls(100).await.expect("calls");
        assert_eq!(calls.len(), 5);
        assert_eq!(calls[0].arguments.as_deref(), kept);
        host.close().await;
    }
    let host = plain(&["a"], |settings| settings.journal.enabled = false);
    content(&soon(host.call("a", "kv_get", json!({ "key": "k" }))).await);
    let host = host.restart().await.expect("a host");
    assert_eq!(host.tenant("a").await.expect("a tenant").calls(100).await.expect("calls"), Vec::new());
    host.close().await;
}
