//! The built-in tools as a model sees them: few tokens, whole schemas, honest hints, one order.

use freehold::Pack;
use serde_json::{Value, json};

use crate::support::wire::Ask;
use crate::support::{plain, refusal, soon};

/// What one tool may cost in the list, in tokens of about four bytes each, and all of them together for
/// each tool. A list is read by the model in every conversation.
const TOKENS_EACH: usize = 470;
const TOKENS_MEAN: usize = 290;

async fn listed(packs: Option<Vec<Pack>>) -> (Vec<Value>, String) {
    let host = plain(&["a"], |settings| {
        if let Some(packs) = packs {
            settings.packs = packs;
        }
    });
    let answer = Ask::modern("tools/list", json!({})).of(&host, "a").send(&host).await.json();
    let again = Ask::modern("tools/list", json!({})).of(&host, "a").send(&host).await.json();
    assert_eq!(answer["result"], again["result"]);
    let host = host.restart().await.expect("a host");
    let restarted = Ask::modern("tools/list", json!({})).of(&host, "a").send(&host).await.json();
    assert_eq!(answer["result"], restarted["result"], "one order, at every start");
    host.close().await;
    let tools = answer["result"]["tools"].as_array().expect("tools").clone();
    (tools, answer["result"]["tools"].to_string())
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are for whoever asks with --nocapture")]
async fn the_list_costs_few_tokens() {
    let (tools, text) = listed(None).await;
    for tool in &tools {
        let tokens = tool.to_string().len().div_ceil(4);
        println!("{:18} {tokens:4} tokens", tool["name"].as_str().unwrap_or_default());
        assert!(tokens <= TOKENS_EACH, "{}: {tokens} tokens and {TOKENS_EACH} are allowed", tool["name"]);
    }
    let (tokens, most) = (text.len().div_ceil(4), TOKENS_MEAN * tools.len());
    println!("tools/list: {} tools, {tokens} tokens of {most}", tools.len());
    assert!(tokens <= most, "{tokens} tokens and {most} are allowed");
}

#[tokio::test]
async fn every_tool_says_what_it_takes_and_gives_and_does() {
    let (tools, _) = listed(None).await;
    for tool in &tools {
        let name = tool["name"].as_str().expect("a name");
        let words = tool["description"].as_str().expect("a description");
        assert!((20..400).contains(&words.len()), "{name}: {words:?}");
        assert_eq!(tool["inputSchema"]["type"], "object", "{name}");

        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}: an unknown argument is a mistake");
        assert_eq!(tool["outputSchema"]["type"], "object", "{name}");
        for schema in [&tool["inputSchema"], &tool["outputSchema"]] {
            let plain = schema["properties"].as_object().into_iter().flatten().find(|(_, one)| !one.is_object());
            assert!(plain.is_none(), "{name}: {plain:?}: the TypeScript SDK 1.x takes no `true` for a schema");
        }
        let hints = &tool["annotations"];
        assert!(hints["title"].is_string(), "{name}");
        assert_eq!(hints["openWorldHint"], false, "{name}");
        let reads = hints["readOnlyHint"].as_bool().expect("a hint");
        let named_so = ["query", "schema", "_get", "list", "search", "status", "read"];
        assert_eq!(reads, named_so.iter().any(|verb| name.ends_with(verb)), "{name}");
        if !reads {
            assert!(hints["destructiveHint"].is_boolean() && hints["idempotentHint"].is_boolean(), "{name}");
        }
    }
}

#[tokio::test]
async fn the_packs_of_a_host_are_chosen() {
    let names = async |packs: &[Pack]| -> Vec<String> {
        let (tools, _) = listed(Some(packs.to_vec())).await;
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&[Pack::Kv]).await, ["kv_delete", "kv_get", "kv_list", "kv_set"]);
    assert_eq!(names(&[Pack::Memory]).await, ["memory_forget", "memory_list", "memory_save", "memory_search"]);
    assert_eq!(names(&[Pack::Sql]).await, ["sql_execute", "sql_query", "sql_schema"]);
    assert_eq!(
        names(&[Pack::Itself]).await,
        ["checkpoint_create", "checkpoint_delete", "checkpoint_list", "checkpoint_restore", "tenant_status"]
    );
    assert_eq!(names(&[]).await, Vec::<String>::new());
}

/// By class, and of those what a token names.
#[tokio::test]
async fn the_packs_of_a_class_are_its_own() {
    let host = plain(&["plain"], |settings| {
        let class = freehold::Overrides::default().with("packs", json!(["kv", "self"]));
        settings.limits.class.insert("small".to_owned(), class);
    });
    host.create_tenant_of("small", "small").expect("a new tenant");
    let names = async |token: &str| -> Vec<String> {
        let answer = Ask::modern("tools/list", json!({})).bearer(token).send(&host).await.json();
        let tools = answer["result"]["tools"].as_array().expect("tools");
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    };
    let token = |tenant: &str, scope: &str| {
        host.token_with(tenant, scope, std::time::Duration::from_secs(600)).expect("a token")
    };
    let of_class = names(&token("small", "read write")).await;
    assert_eq!(of_class.len(), 9, "{of_class:?}");
    assert!(of_class.iter().all(|name| !name.starts_with("sql")), "{of_class:?}");
    assert_eq!(names(&token("plain", "read write")).await.len(), 21);
    assert_eq!(names(&token("small", "read")).await, ["checkpoint_list", "kv_get", "kv_list", "tenant_status"]);
    assert_eq!(names(&token("small", "tool:checkpoint_create")).await, ["checkpoint_create"]);
    let missing = soon(host.call("small", "sql_query", json!({ "sql": "SELECT 1" }))).await;
    assert!(missing["error"].is_object(), "{missing}");
    let other = soon(host.call("small", "checkpoint_restore", json!({ "bookmark": "x" }))).await;
    assert!(refusal(&other).contains("bookmark"), "{other}");
    host.close().await;
}
