//! The host's own resources, beside an embedder's and in both generations.

use serde_json::{Value, json};

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
