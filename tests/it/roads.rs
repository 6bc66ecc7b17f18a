//! Two roads to a tool: most calls go past rmcp's queues, odd ones through them. Nobody can tell by the answer.

use std::sync::{Arc, Mutex};

use freehold::{Host, TestHost};
use http::Method;
use proptest::prelude::*;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorCode, JsonObject,
    ProgressNotificationParam, ServerCapabilities, ServerConfig, ServerRequest, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData, Peer, ServerHandler};
use serde_json::{Value, json};

use crate::support::events::Events;
use crate::support::wire::{Answer, Ask, LEGACY, MODERN, Session, rpc};
use crate::support::{start, until};

/// Does what the arguments say.
#[derive(Clone, Default)]
struct Puppet {
    kept: Arc<Mutex<Vec<Peer<RoleServer>>>>,
}

impl Puppet {
    fn host(&self) -> Host {
        let own = self.clone();
        Host::new(move |_tenant| own.clone())
    }
}

fn told(context: &RequestContext<RoleServer>, n: u32) -> Option<ProgressNotificationParam> {
    Some(ProgressNotificationParam::new(context.meta.get_progress_token()?, f64::from(n)))
}

impl ServerHandler for Puppet {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let annotated =
            json!({ "type": "object", "properties": { "say": { "type": "string", "x-mcp-header": "Say" } } });
        let schema = if name == "annotated" { annotated } else { json!({ "type": "object" }) };
        let Value::Object(schema) = schema else { return None };
        (name != "unknown").then(|| Tool::new(name.to_owned(), "does as it is told", schema))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let number = |name: &str| arguments.get(name).and_then(Value::as_u64).unwrap_or(0);
        for n in 0..number("tell") as u32 {
            if let Some(progress) = told(&context, n) {
                context.peer.notify_progress(progress).await.expect("somebody who hears of it");
            }
        }
        for _ in 0..number("yield") {
            tokio::task::yield_now().await;
        }
        if arguments.contains_key("keep") {
            self.kept.lock().expect("whole").push(context.peer.clone());
        }
        if request.name == "ping" {
            let ping = rmcp::model::PingRequest::default();
            context.peer.send_request(ServerRequest::PingRequest(ping)).await.expect("an answer");
        }
        let say = arguments.get("say").and_then(Value::as_str).unwrap_or_default();
        let refused = |code| Err(ErrorData::new(code, say.to_owned(), Some(json!({ "say": say }))));
        match request.name.as_ref() {
            "explode" => panic!("exploded as told"),
            "params" => refused(ErrorCode::INVALID_PARAMS),
            "method" => refused(ErrorCode::METHOD_NOT_FOUND),
            "headers" => refused(ErrorCode::HEADER_MISMATCH),
            "able" => refused(ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY),
            "internal" => refused(ErrorCode::INTERNAL_ERROR),
            "fails" => Ok(CallToolResult::error(vec![ContentBlock::text(say)]).into()),
            _ => {
                let seen = json!({
                    "arguments": arguments,
                    "version": context.protocol_version().map(|version| version.to_string()),
                    "client": context.client_info().map(|client| client.name),
                    "meta": JsonObject::from_iter(context.meta.0.0.clone()),
                    "id": matches!(context.id, rmcp::model::RequestId::String(_)),
                });
                Ok(CallToolResult::structured(seen).into())
            }
        }
    }
}

/// Status, kind and messages: all that a client makes something of.
fn seen(answer: &Answer) -> (u16, String, Vec<Value>) {
    let kind = answer.header("content-type").to_owned();
    let mut all = match answer.body.is_empty() {
        true => Vec::new(),
        false if kind.starts_with("text/event-stream") => answer.frames(),
        false => vec![answer.json()],
    };
    for message in &mut all {
        // Of refusals that the edge says in its own words.
        if let Some(data) = message["error"]["data"].as_object_mut() {
            data.remove("requestId");
        }
    }
    (answer.status.as_u16(), kind, all)
}

fn params(tool: &str, arguments: &Value, progress: bool) -> Value {
    let mut params = json!({ "name": tool, "arguments": arguments });
    if progress {
        params["_meta"] = json!({ "progressToken": "p", "example.com/own": [1, "two"] });
    }
    params
}

/// `params` as a request of 2026-07-28 with the id `id`.
fn modern(params: &Value, id: &Value) -> Ask {
    let mut params = params.clone();
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    if let Some(own) = params["_meta"].as_object() {
        meta.as_object_mut().expect("an object").extend(own.clone());
    }
    params["_meta"] = meta;
    let name = params["name"].as_str().unwrap_or_default().to_owned();
    let message = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
    Ask::post(message.to_string())
        .header("mcp-protocol-version", MODERN)
        .header("mcp-method", "tools/call")
        .header("mcp-name", &name)
}

/// A request without a session that names one goes rmcp's way, which does not read that header.
async fn both(host: &TestHost, ask: impl Fn() -> Ask) -> [(u16, String, Vec<Value>); 2] {
    let short = ask().of(host, "a").send(host).await;
    let long = ask().of(host, "a").header("mcp-session-id", "none").send(host).await;
    [seen(&short), seen(&long)]
}

const TOOLS: [&str; 10] =
    ["plain", "explode", "params", "method", "headers", "able", "internal", "fails", "unknown", "annotated"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_roads_lead_to_one_answer(
        tool in prop::sample::select(&TOOLS[..]),
        say in "\\PC{0,12}",
        tell in 0_u64..40,
        yields in 0_u64..3,
        progress: bool,
        id in prop_oneof![any::<i64>().prop_map(Value::from), "[a-z\"\\\\é]{1,8}".prop_map(Value::from)],
    ) {
        let arguments = json!({ "say": say, "tell": tell, "yield": yields });
        let params = params(tool, &arguments, progress);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let host = start(Puppet::default().host(), &["a"], |_| {});
            let [short, long] = both(&host, || modern(&params, &id)).await;
            prop_assert_eq!(short, long);
            for version in LEGACY {
                let (plain, able) = (
                    Session::open(&host, "a", version).await,
                    Session::open_able(&host, "a", version, json!({ "roots": {} })).await,
                );
                let message = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string();
                let mut answers = Vec::new();
                for session in [&plain, &able] {
                    // The first may come before the handler has heard that its client is ready.
                    session.call(&host, "plain", json!({})).await;
                    answers.push(seen(&session.dress(Ask::post(message.clone())).send(&host).await));
                }
                prop_assert_eq!(&answers[0], &answers[1], "{}", version);
            }
            host.close().await;
            Ok(())
        })?;
    }
}

/// What is odd about a call is refused as before, in the same words.
#[tokio::test]
async fn an_odd_call_is_refused_on_both_roads() {
    let host = start(Puppet::default().host(), &["a"], |_| {});
    let call = || modern(&params("plain", &json!({}), false), &json!(1));
    let bare = |message: Value| call().body(message.to_string());
    let odd: Vec<Box<dyn Fn() -> Ask>> = vec![
        Box::new(move || call().without("mcp-name")),
        Box::new(move || call().without("mcp-name").header("mcp-name", "other")),
        Box::new(move || call().header("mcp-name", "plain")),
        Box::new(move || call().without("mcp-name").header("mcp-name", "=?base64?cGxhaW4=?=")),
        Box::new(move || call().without("mcp-method").header("mcp-method", "tools/list")),
        Box::new(move || call().without("mcp-protocol-version")),
        Box::new(move || call().without("mcp-protocol-version").header("mcp-protocol-version", "2099-01-01")),
        Box::new(move || call().without("mcp-protocol-version").header("mcp-protocol-version", LEGACY[2])),
        Box::new(move || call().without("accept").header("accept", "text/event-stream")),
        Box::new(move || bare(json!({ "jsonrpc": "1.0", "id": 1, "method": "tools/call", "params": {} }))),
        Box::new(move || bare(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call" }))),
        Box::new(move || bare(json!({ "jsonrpc": "2.0", "method": "tools/call", "params": { "name": "plain" } }))),
        Box::new(move || {
            bare(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "plain" } }))
        }),
        Box::new(move || {
            bare(json!({ "jsonrpc": "2.0", "id": 1, "result": {}, "method": "tools/call", "params": {} }))
        }),
        Box::new(move || modern(&params("annotated", &json!({ "say": "x" }), false), &json!(1))),
        Box::new(move || {
            modern(&params("annotated", &json!({ "say": "x" }), false), &json!(1)).header("mcp-param-say", "y")
        }),
    ];
    for (at, ask) in odd.iter().enumerate() {
        let [short, long] = both(&host, ask).await;
        assert_eq!(short, long, "{at}");
    }
    host.close().await;
}

/// A handler that keeps the way to its client has kept it for that call alone.
#[tokio::test]
async fn what_comes_late_reaches_nobody_else() {
    let puppet = Puppet::default();
    let host = start(puppet.host(), &["a"], |_| {});
    modern(&params("plain", &json!({ "keep": 1 }), true), &json!(1)).of(&host, "a").send(&host).await;
    let peer = puppet.kept.lock().expect("whole").pop().expect("the peer of the first call");
    let mut second =
        Events::open(&host, modern(&params("plain", &json!({ "tell": 3 }), true), &json!(2)).of(&host, "a")).await;
    let late = ProgressNotificationParam::new(
        rmcp::model::ProgressToken(rmcp::model::NumberOrString::String("p".into())),
        99.0,
    );
    peer.notify_progress(late).await.expect_err("its call is over");
    let all = second.rest().await;
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.iter().all(|message| message["params"]["progress"] != 99.0), "{all:?}");
    host.close().await;
}

/// A client is asked where it reads: on the stream of its call, whichever road that went.
#[tokio::test]
async fn a_client_is_asked_beside_its_call() {
    let host = start(Puppet::default().host(), &["a"], |_| {});
    for able in [json!({}), json!({ "roots": {} })] {
        let session = Session::open_able(&host, "a", LEGACY[2], able).await;
        session.call(&host, "plain", json!({})).await;
        let call = rpc("tools/call", &json!({ "name": "ping", "arguments": {} }));
        let mut stream = Events::open(&host, session.dress(Ask::post(call))).await;
        stream.next().await.expect("a priming event");
        let (_, asked) = stream.message().await;
        assert_eq!(asked["method"], "ping", "{asked}");
        let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": {} });
        assert_eq!(session.dress(Ask::post(answer.to_string())).send(&host).await.status, 202);
        let all = stream.rest().await;
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0]["result"].is_object(), "{all:?}");
    }
    host.close().await;
}

/// A call in a session ends with the session, and when its client says so.
#[tokio::test]
async fn a_call_in_a_session_can_be_cancelled() {
    let slow = crate::support::slow::Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    session.call(&host, "now", json!({})).await;
    for (round, end) in ["cancel", "delete"].into_iter().enumerate() {
        let id = format!("wait-{round}");
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "wait" } });
        let mut stream = Events::open(&host, session.dress(Ask::post(call.to_string()))).await;
        assert_eq!(stream.next().await.expect("a priming event").data, None);
        until("the call runs", || slow.begun() > round).await;
        let ended = slow.ended();
        if end == "cancel" {
            let told = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
            assert_eq!(session.dress(Ask::post(told.to_string())).send(&host).await.status, 202);
        } else {
            assert_eq!(session.dress(Ask::new(Method::DELETE, "/mcp")).send(&host).await.status, 204);
        }
        assert!(stream.rest().await.is_empty(), "no answer comes to a call that was {end}led");
        until("the handler is let go of", || slow.ended() > ended).await;
    }
    session.dress(Ask::post(rpc("tools/list", &json!({})))).send(&host).await.expect_refusal(404);
    host.close().await;
}
