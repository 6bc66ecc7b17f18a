//! The host's own resources, beside an embedder's and in both generations.

use serde_json::{Value, json};

use crate::support::events::Events;
use crate::support::wire::{Ask, LEGACY, Session};
use crate::support::{content, plain, soon};

fn text(answer: &Value) -> Value {
    let read = &answer["result"]["contents"][0];
    assert_eq!(read["mimeType"], "application/json", "{answer}");
    serde_json::from_str(read["text"].as_str().expect("text")).expect("JSON")
}

#[tokio::test]
async fn what_is_listed_can_be_read() {
    let host = plain(&["a", "b"], |_| {});
    let create = json!({ "statements": [{ "sql": "CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT)" }] });
    content(&soon(host.call("a", "sql_execute", create)).await);
    let saved = soon(host.call("a", "memory_save", json!({ "text": "a secret of a" }))).await;
    let note = format!("tenant://memory/{}", content(&saved)["id"]);
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let modern = |method: &str, params: Value| Ask::modern(method, params);
    for older in [true, false] {
        let ask = async |method: &str, params: Value| {
            if older {
                session.ask(&host, method, params).await.json()
            } else {
                let uri = params["uri"].as_str().map(str::to_owned);
                let mut ask = modern(method, params);
                if let Some(uri) = uri {
                    ask = ask.header("mcp-name", &uri);
                }
                ask.of(&host, "a").send(&host).await.json()
            }
        };
        let listed = ask("resources/list", json!({})).await;
        let uris: Vec<_> = listed["result"]["resources"].as_array().expect("a list").iter().collect();
        assert_eq!(uris.iter().map(|one| &one["uri"]).collect::<Vec<_>>(), ["tenant://schema", "tenant://usage"]);
        let templates = ask("resources/templates/list", json!({})).await;
        assert_eq!(templates["result"]["resourceTemplates"][0]["uriTemplate"], "tenant://memory/{id}");
        let schema = text(&ask("resources/read", json!({ "uri": "tenant://schema" })).await);
        assert_eq!(schema["tables"][0]["name"], "customer");
        let usage = text(&ask("resources/read", json!({ "uri": "tenant://usage" })).await);
        assert!(usage.to_string().contains("database_bytes"), "{usage}");
        assert_eq!(text(&ask("resources/read", json!({ "uri": note })).await)["text"], "a secret of a");
        for missing in
            ["tenant://memory/999", "tenant://memory/x", "tenant://memory/", "tenant://nothing", "file:///etc"]
        {
            let refused = ask("resources/read", json!({ "uri": missing })).await;
            assert!(refused["error"]["code"].is_number(), "{missing}: {refused}");
        }
    }
    let ask = modern("resources/read", json!({ "uri": note })).header("mcp-name", &note);
    let theirs = ask.of(&host, "b").send(&host).await.json();
    assert!(theirs["error"].is_object() && !theirs.to_string().contains("secret"), "{theirs}");
    host.close().await;
}

/// On a stream of 2026-07-28, and on that of a session after `resources/subscribe`.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_touches_one_tells_of_it_in_both_generations() {
    let host = plain(&["a", "b"], |_| {});
    let saved = soon(host.call("a", "memory_save", json!({ "text": "a thought" }))).await;
    let note = content(&saved)["id"].clone();
    let uris = ["tenant://schema".to_owned(), format!("tenant://memory/{note}"), "tenant://inbox".to_owned()];
    let filter = json!({ "notifications": { "resourceSubscriptions": uris } });
    let mut modern = Events::open(&host, Ask::modern("subscriptions/listen", filter).of(&host, "a")).await;
    modern.message().await;
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let get = Ask::new(http::Method::GET, "/mcp").header("accept", "text/event-stream");
    let mut older = Events::open(&host, session.dress(get)).await;
    for uri in &uris {
        let answer = session.ask(&host, "resources/subscribe", json!({ "uri": uri })).await.json();
        assert_eq!(answer["result"], json!({}), "{answer}");
    }
    let create = json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] });
    let remind = json!({ "when": "in 1h", "message": "m" });
    for tenant in ["b", "a"] {
        for (tool, arguments) in [("sql_execute", &create), ("reminder_set", &remind)] {
            content(&soon(host.call(tenant, tool, arguments.clone())).await);
        }
    }
    // What changes no schema, and what changes nothing, is no news.
    content(
        &soon(host.call("a", "sql_execute", json!({ "statements": [{ "sql": "INSERT INTO t VALUES (1)" }] }))).await,
    );
    content(&soon(host.call("a", "memory_forget", json!({ "id": 999 }))).await);
    content(&soon(host.call("a", "memory_forget", json!({ "id": note }))).await);
    for ear in [&mut modern, &mut older] {
        for uri in &uris[..2] {
            let (_, news) = ear.message().await;
            assert_eq!(
                (&news["method"], &news["params"]["uri"]),
                (&json!("notifications/resources/updated"), &json!(uri))
            );
        }
    }
    host.clock().set(1_893_456_000 + 3_601);
    for ear in [&mut modern, &mut older] {
        let (_, news) = ear.message().await;
        assert_eq!(news["params"]["uri"], "tenant://inbox", "{news}");
    }
    host.close().await;
}
