//! The example `notes`, as a customer would have it: tables of its own, found and removed.

use serde_json::json;

use crate::support::wire::{Ask, rpc};
use crate::support::{content, refusal, start};

#[path = "../../examples/notes/server.rs"]
mod server;

#[tokio::test]
async fn notes_are_kept_found_and_removed_after_a_yes() {
    let host = start(server::host(), &["acme", "globex"], |_| {});
    let milk = host.call("acme", "note_add", json!({ "body": "milk", "tags": ["shop", "shop"] })).await;
    let id = content(&milk)["id"].clone();
    host.call("acme", "note_add", json!({ "body": "call Ada" })).await;
    let all = host.call("acme", "note_find", json!({})).await;
    assert_eq!(content(&all)["notes"].as_array().map(Vec::len), Some(2), "{all}");
    let shop = host.call("acme", "note_find", json!({ "tag": "shop" })).await;
    assert_eq!(content(&shop)["notes"], json!([{ "id": id, "body": "milk" }]));
    let theirs = host.call("globex", "note_find", json!({})).await;
    assert_eq!(content(&theirs)["notes"], json!([]));
    assert!(!refusal(&host.call("acme", "note_add", json!({ "body": "" })).await).is_empty());

    let remove = async |answered: serde_json::Value| {
        let mut params = json!({ "name": "note_remove", "arguments": { "id": id }, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
            "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
        }});
        if answered.is_string() {
            params["inputResponses"] = json!({ "remove": { "action": "accept", "content": { "confirm": true } } });
            params["requestState"] = answered;
        }
        let call = Ask::post(rpc("tools/call", &params)).header("mcp-protocol-version", "2026-07-28");
        let call = call.header("mcp-method", "tools/call").header("mcp-name", "note_remove");
        call.of(&host, "acme").send(&host).await.json()
    };
    let asked = remove(json!(null)).await;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let removed = remove(asked["result"]["requestState"].clone()).await;
    assert_eq!(content(&removed)["id"], id);
    let shop = host.call("acme", "note_find", json!({ "tag": "shop" })).await;
    assert_eq!(content(&shop)["notes"], json!([]));
    host.close().await;
}
