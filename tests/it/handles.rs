//! Handles in the place of sessions: their owner's alone, there after a restart, gone when nobody uses them.

use std::time::Duration;

use freehold::{ErrorKind, Handles, Host, Tenant, TestHost};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{schemars, tool, tool_router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::wire::{Ask, LEGACY, Session};
use crate::support::{refusal, soon, start};

const NOW: u64 = 1_893_456_000;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cart {
    items: Vec<String>,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Add {
    cart: String,
    item: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Which {
    cart: String,
}

struct Shop;

fn carts(tenant: &Tenant) -> Handles<Cart> {
    tenant.handles::<Cart>().named("cart").idle_after(Duration::from_secs(600))
}

#[tool_router(server_handler)]
impl Shop {
    #[tool]
    async fn begin(&self, tenant: Tenant) -> freehold::Result<String> {
        carts(&tenant).open(&Cart::default()).await
    }

    #[tool]
    async fn add(&self, tenant: Tenant, Parameters(Add { cart, item }): Parameters<Add>) -> freehold::Result<String> {
        let push = |cart: &mut Cart| {
            cart.items.push(item);
            cart.items.len()
        };
        Ok(carts(&tenant).update(&cart, push).await?.to_string())
    }

    #[tool]
    async fn show(&self, tenant: Tenant, Parameters(Which { cart }): Parameters<Which>) -> freehold::Result<String> {
        Ok(carts(&tenant).get(&cart).await?.items.join(", "))
    }
}

fn shop() -> TestHost {
    start(Host::new(|_tenant| Shop), &["a", "b"], |settings| {
        settings.limits.handles = 4;
        settings.limits.handle_bytes = bytesize::ByteSize::b(100);
    })
}

fn text(answer: &Value) -> String {
    assert_ne!(answer["result"]["isError"], true, "{answer}");
    answer["result"]["content"][0]["text"].as_str().expect("text").to_owned()
}

async fn call(host: &TestHost, tenant: &str, tool: &str, arguments: Value) -> Value {
    soon(host.call(tenant, tool, arguments)).await
}

#[tokio::test]
async fn a_handle_lives_through_calls_generations_and_restarts() {
    let host = shop();
    let cart = text(&call(&host, "a", "begin", json!({})).await);
    assert_eq!(text(&call(&host, "a", "add", json!({ "cart": cart, "item": "milk" })).await), "1");
    let session = Session::open(&host, "a", LEGACY[0]).await;
    assert_eq!(text(&session.call(&host, "add", json!({ "cart": cart, "item": "bread" })).await), "2");
    let host = host.restart().await.expect("a host");
    assert_eq!(text(&call(&host, "a", "show", json!({ "cart": cart })).await), "milk, bread");
    host.close().await;
}

#[tokio::test]
async fn unknown_forged_foreign_and_ended_are_one() {
    let host = shop();
    let cart = text(&call(&host, "a", "begin", json!({})).await);
    let ended = text(&call(&host, "a", "begin", json!({})).await);
    let tenant = host.tenant("a").await.expect("a tenant");
    let other_kind = tenant.handles::<Cart>().named("list").open(&Cart::default()).await.expect("a handle");
    let other_type = tenant.handles::<u64>().named("cart").open(&7).await.expect("a handle");
    let forged = format!("h-{:032x}", 1);
    let mut said = Vec::new();
    // Another caller of the same tenant.
    let key = host.api_key("a", "read write", None).expect("a key");
    for tool in ["show", "add"] {
        let ask = |cart: &str| Ask::tool(tool, &json!({ "cart": cart, "item": "x" }));
        for cart in [&forged, "", "x", &other_kind, &other_type, &"y".repeat(5_000)] {
            said.push(refusal(&ask(cart).of(&host, "a").send(&host).await.json()).to_owned());
        }
        said.push(refusal(&ask(&cart).bearer(&key).send(&host).await.json()).to_owned());
        said.push(refusal(&ask(&cart).of(&host, "b").send(&host).await.json()).to_owned());
    }
    host.clock().set(NOW + 599);
    call(&host, "a", "show", json!({ "cart": cart })).await;
    // The use is noted with the next commit.
    tenant.kv().set("k", json!(1), freehold::KvSet::default()).await.expect("a commit");
    host.clock().set(NOW + 601);
    said.push(refusal(&call(&host, "a", "show", json!({ "cart": ended })).await).to_owned());
    assert!(said.iter().all(|one| *one == said[0]), "{said:#?}");
    assert_eq!(text(&call(&host, "a", "show", json!({ "cart": cart })).await), "", "one that is used lives on");
    host.clock().set(NOW + 10_000);
    assert_eq!(refusal(&call(&host, "a", "show", json!({ "cart": cart })).await), said[0]);
    host.close().await;
}

#[tokio::test]
async fn there_are_so_many_and_so_large() {
    let host = shop();
    let limit = |answer: &Value| answer["result"]["_meta"]["freehold/refusal"]["limit"].clone();
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(text(&call(&host, "a", "begin", json!({})).await));
    }
    let refused = call(&host, "a", "begin", json!({})).await;
    assert!(refusal(&refused).contains("4 handles"), "{refused}");
    assert_eq!(limit(&refused), "handles");
    text(&call(&host, "b", "begin", json!({})).await);
    let refused = call(&host, "a", "add", json!({ "cart": open[0], "item": "x".repeat(100) })).await;
    assert_eq!(limit(&refused), "handle_bytes", "{refused}");
    assert_eq!(text(&call(&host, "a", "show", json!({ "cart": open[0] })).await), "", "nothing was changed");
    // Closed by its owner, or ended: either makes room.
    let token = host.token("a").expect("a token");
    let mine = Ask::tool("show", &json!({ "cart": open[1] })).bearer(&token).send(&host).await.json();
    text(&mine);
    host.clock().set(NOW + 601);
    text(&call(&host, "a", "begin", json!({})).await);
    host.close().await;
}

#[tokio::test]
async fn the_program_lists_and_closes_its_own() {
    let host = shop();
    let tenant = host.tenant("a").await.expect("a tenant");
    let carts = carts(&tenant);
    let first = carts.open(&Cart { items: vec!["milk".into()] }).await.expect("a handle");
    host.clock().set(NOW + 5);
    let second = carts.open(&Cart::default()).await.expect("a handle");
    let listed = carts.list(10).await.expect("a list");
    assert_eq!(listed.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&second, &first]);
    assert_eq!(listed[1].1.items, ["milk"]);
    carts.close(&second).await.expect("closed");
    assert_eq!(carts.close(&second).await.expect_err("closed before").kind(), ErrorKind::NotFound);
    assert_eq!(carts.list(10).await.expect("a list").len(), 1);
    // Two changes at once are one after the other.
    let change = |item: &'static str| carts.update(&first, move |cart| cart.items.push(item.to_owned()));
    let (one, two) = tokio::join!(change("bread"), change("salt"));
    one.and(two).expect("changed");
    assert_eq!(carts.get(&first).await.expect("a cart").items.len(), 3);
    host.close().await;
}
