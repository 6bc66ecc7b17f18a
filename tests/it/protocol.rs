//! Both generations of the protocol on one URL, and what is said to a request of neither.

use axum::body::Body;
use bytes::Bytes;
use freehold::Pack;
use futures_util::stream;
use http::Method;
use serde_json::{Value, json};

use crate::support::events::Events;
use crate::support::slow::Slow;
use crate::support::wire::{Ask, LEGACY, MODERN, Session, initialize, rpc};
use crate::support::{content, plain, start};

#[tokio::test]
async fn every_older_generation_has_sessions() {
    let host = plain(&["a"], |settings| settings.packs = vec![Pack::Sql]);
    for version in LEGACY {
        let opened = initialize(version).of(&host, "a").send(&host).await;
        assert_eq!(opened.status, 200, "{version}: {opened:?}");
        assert!(!opened.header("mcp-session-id").is_empty(), "{version}: {opened:?}");
        let frames = opened.frames();
        assert_eq!(frames.len(), 1, "{version}: {frames:?}");
        assert_eq!(frames[0]["result"]["protocolVersion"], version);
        assert!(frames[0]["result"]["capabilities"]["tools"].is_object(), "{frames:?}");

        let session = Session::open(&host, "a", version).await;
        let listed = session.ask(&host, "tools/list", json!({})).await;
        assert_eq!(names(&listed.frames()[0]), ["sql_execute", "sql_query", "sql_schema"], "{version}");
        let called = session.call(&host, "sql_query", json!({ "sql": "SELECT 7" })).await;
        assert_eq!(content(&called)["rows"], json!([[7]]), "{version}");

        let ended = session.dress(Ask::new(Method::DELETE, "/mcp")).send(&host).await;
        assert!(ended.status.is_success(), "{version}: {ended:?}");
        let after = session.ask(&host, "tools/list", json!({})).await;
        after.expect_refusal(404);
        let again = session.dress(Ask::new(Method::DELETE, "/mcp")).send(&host).await;
        again.expect_refusal(404);
    }
    host.close().await;
}

#[tokio::test]
async fn the_newest_generation_just_calls() {
    let host = plain(&["a"], |settings| settings.packs = vec![Pack::Sql]);
    let found = Ask::modern("server/discover", json!({})).of(&host, "a").send(&host).await;
    assert_eq!(found.status, 200, "{found:?}");
    let versions = &found.json()["result"]["supportedVersions"];
    for version in LEGACY.iter().chain([&MODERN]) {
        assert!(versions.as_array().is_some_and(|all| all.contains(&json!(version))), "{version}: {versions}");
    }
    assert!(!versions.to_string().contains("2024-11-05"), "{versions}");
    assert_eq!(found.json()["result"]["cacheScope"], "private");

    let listed = Ask::modern("tools/list", json!({})).of(&host, "a").send(&host).await;
    assert_eq!(listed.header("content-type"), "application/json", "{listed:?}");
    assert!(listed.headers.get("mcp-session-id").is_none(), "{listed:?}");
    assert_eq!(names(&listed.json()), ["sql_execute", "sql_query", "sql_schema"]);
    assert_eq!(listed.json()["result"]["cacheScope"], "private");

    let called = Ask::tool("sql_query", &json!({ "sql": "SELECT 7" })).of(&host, "a").send(&host).await;
    assert_eq!((called.status.as_u16(), called.header("content-type")), (200, "application/json"), "{called:?}");
    assert_eq!(content(&called.json())["rows"], json!([[7]]));
    host.close().await;
}

/// Nobody is told that 2024-11-05 is spoken: its transport of two endpoints is not there.
#[tokio::test]
async fn the_oldest_generation_is_offered_another() {
    let host = plain(&["a"], |_| {});
    let answer = initialize("2024-11-05").of(&host, "a").send(&host).await;
    assert!(!answer.text().contains("\"protocolVersion\":\"2024-11-05\""), "{answer:?}");
    host.close().await;
}

#[tokio::test]
async fn a_slash_more_is_the_same_place() {
    let host = plain(&["a"], |_| {});
    for path in ["/mcp", "/mcp/"] {
        let modern = Ask::tool("sql_query", &json!({ "sql": "SELECT 7" })).at(path).of(&host, "a");
        assert_eq!(content(&modern.send(&host).await.json())["rows"], json!([[7]]), "{path}");
        let legacy = initialize(LEGACY[1]).at(path).of(&host, "a").send(&host).await;
        assert_eq!(legacy.status, 200, "{path}: {legacy:?}");
        let stranger = Ask::post("{}").at(path).send(&host).await;
        stranger.expect_refusal(401);
    }
    for path in ["/", "/mcp//", "//mcp", "/MCP", "/mcp;x", "/%6dcp", "/mcp/../mcp", "/metrics", "/admin", "/v1"] {
        let answer = Ask::new(Method::GET, path).of(&host, "a").send(&host).await;
        answer.expect_refusal(404);
    }
    host.close().await;
}

#[tokio::test]
async fn what_can_not_be_read_is_told_in_json() {
    let host = plain(&["a"], |_| {});
    let list = rpc("tools/list", &json!({}));
    let code = async |status: u16, ask: Ask| {
        ask.of(&host, "a").send(&host).await.expect_refusal(status)["error"]["code"].clone()
    };
    for broken in ["{", "", "nul", "{\"jsonrpc\":\"2.0\",}", "\u{feff}{}", &"[".repeat(5_000)] {
        assert_eq!(code(400, Ask::post(broken.to_owned())).await, -32700, "{broken:.20}");
    }
    let batch = format!("[{list}]");
    for wrong in ["{}", "[]", "7", "\"x\"", "null", &batch] {
        assert_eq!(code(400, Ask::post(wrong.to_owned())).await, -32600, "{wrong}");
    }
    code(415, Ask::post(list.clone()).without("content-type")).await;
    code(415, Ask::post(list.clone()).without("content-type").header("content-type", "text/plain")).await;
    for accept in ["text/event-stream", "text/html", "application/json;q=0, text/event-stream", ""] {
        code(406, Ask::post(list.clone()).without("accept").header("accept", accept)).await;
    }
    let news = Ask::modern("subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } }));
    code(406, news.without("accept").header("accept", "application/json")).await;
    code(406, Ask::new(Method::GET, "/mcp").header("accept", "application/json")).await;
    host.close().await;
}

/// curl says that it takes anything, many clients of plain JSON say so or nothing: they are served.
#[tokio::test]
async fn who_takes_less_is_served_what_it_takes() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    for (accept, streams) in [
        (None, true),
        (Some("*/*"), true),
        (Some("application/json"), false),
        (Some("application/*"), false),
        (Some("application/json, */*;q=0.1"), true),
    ] {
        let as_told = |ask: Ask| {
            let ask = ask.without("accept");
            accept.iter().fold(ask, |ask, accept| ask.header("accept", accept))
        };
        let modern = as_told(Ask::tool("now", &json!({}))).of(&host, "a").send(&host).await;
        assert_eq!(modern.header("content-type"), "application/json", "{accept:?}: {modern:?}");
        assert_eq!(modern.json()["result"]["content"][0]["text"], "done", "{accept:?}");
        let kind = if streams { "text/event-stream" } else { "application/json" };
        for version in LEGACY {
            let opened = as_told(initialize(version)).of(&host, "a").send(&host).await;
            assert_eq!((opened.status.as_u16(), opened.header("content-type")), (200, kind), "{accept:?}: {opened:?}");
            assert_eq!(opened.json()["result"]["protocolVersion"], version, "{accept:?}");
            let session = Session::open(&host, "a", version).await;
            slow.release();
            // Its progress comes before its answer.
            let arguments = json!({ "name": "wait", "arguments": {}, "_meta": { "progressToken": 1 } });
            let called = as_told(session.dress(Ask::post(rpc("tools/call", &arguments)))).send(&host).await;
            assert_eq!(called.header("content-type"), kind, "{accept:?}: {called:?}");
            assert_eq!(called.json()["result"]["content"][0]["text"], "done", "{accept:?}");
            if streams {
                let get = as_told(session.dress(Ask::new(Method::GET, "/mcp")));
                assert_eq!(Events::open(&host, get).await.status, 200, "{accept:?}");
            }
        }
    }
    host.close().await;
}

/// Of the right type and in the right place, but no request that there is: it is not the header that is wrong.
#[tokio::test]
async fn a_message_out_of_shape_is_an_invalid_request() {
    let host = plain(&["a"], |_| {});
    let mut told = Vec::new();
    for wrong in [
        json!({ "jsonrpc": "1.0", "id": 1, "method": "tools/list" }),
        json!({ "jsonrpc": "2.0" }),
        json!({ "jsonrpc": "2.0", "id": 1 }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": 7 }),
        json!({ "jsonrpc": "2.0", "id": {}, "method": "tools/list" }),
    ] {
        let answer = Ask::post(wrong.to_string()).of(&host, "a").send(&host).await;
        let code = answer.json()["error"]["code"].clone();
        if answer.status != 400 || code != -32600 {
            told.push(format!("{wrong}: {} {code}", answer.status));
        }
    }
    assert!(told.is_empty(), "{told:#?}");
    host.close().await;
}

/// JSON is UTF-8 (RFC 8259 section 8.1): other bytes are no JSON, wherever they stand.
#[tokio::test]
async fn bytes_that_are_no_text_are_no_json() {
    let host = plain(&["a"], |_| {});
    let mut body =
        rpc("tools/call", &json!({ "name": "sql_query", "arguments": { "sql": "SELECT '?'" } })).into_bytes();
    let at = body.iter().position(|byte| *byte == b'?').expect("a mark");
    body[at] = 0xff;
    let said = Ask::post(body).of(&host, "a").send(&host).await.expect_refusal(400);
    assert_eq!(said["error"]["code"], -32700, "{said}");
    host.close().await;
}

/// What the header says must be what the body says, or a balancer would route by a lie.
#[tokio::test]
async fn a_header_that_lies_about_the_body_is_refused() {
    let host = plain(&["a"], |_| {});
    let create = json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] });
    let lie = Ask::tool("sql_execute", &create).without("mcp-name").header("mcp-name", "sql_query");
    let answer = lie.of(&host, "a").send(&host).await;
    assert_eq!(answer.json()["error"]["code"], -32020, "{answer:?}");
    answer.expect_refusal(400);
    let schema = host.call("a", "sql_schema", json!({})).await;
    assert_eq!(content(&schema)["tables"], json!([]));
    host.close().await;
}

#[tokio::test]
async fn unknown_hosts_and_origins_are_refused() {
    let host = plain(&["a"], |_| {});
    for (name, value) in [("host", "evil.example"), ("host", "localhost.evil:8000"), ("origin", "https://evil.example")]
    {
        let ask = Ask::tool("sql_query", &json!({ "sql": "SELECT 7" }));
        let ask = if name == "host" { ask.without("host") } else { ask };
        ask.header(name, value).of(&host, "a").send(&host).await.expect_refusal(403);
    }
    host.close().await;
}

#[tokio::test]
async fn a_body_has_an_end() {
    let most = 4096;
    let host = plain(&["a"], |settings| settings.limits.body_bytes = bytesize::ByteSize::b(most));
    let query = |size: usize| {
        let sql = format!("SELECT 7 --{}", " ".repeat(size));
        rpc("tools/call", &json!({ "name": "sql_query", "arguments": { "sql": sql } }))
    };
    let session = Session::open(&host, "a", LEGACY[1]).await;
    let fits = session.dress(Ask::post(query(1_000))).send(&host).await;
    assert_eq!(content(&fits.json())["rows"], json!([[7]]));

    let long = query(5_000);
    let announced = Ask::post(long.clone()).header("content-length", &long.len().to_string());
    let chunks: Vec<Result<Bytes, std::io::Error>> =
        long.as_bytes().chunks(1_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let chunked = Ask::post(Body::from_stream(stream::iter(chunks)));
    for ask in [announced, chunked] {
        let said = ask.of(&host, "a").send(&host).await.expect_refusal(413);
        assert_eq!(said["error"]["data"]["limit"], "body_bytes", "{said}");
        assert_eq!(said["error"]["data"]["value"], most, "{said}");
    }
    host.close().await;
}

#[tokio::test]
async fn methods_that_mcp_has_not_are_refused() {
    let host = plain(&["a"], |_| {});
    for method in [Method::PUT, Method::PATCH] {
        let answer = Ask::new(method, "/mcp").of(&host, "a").send(&host).await;
        answer.expect_refusal(405);
        assert!(!answer.header("allow").is_empty(), "{answer:?}");
    }
    for path in ["/healthz", "/readyz"] {
        Ask::new(Method::POST, path).send(&host).await.expect_refusal(405);
    }
    host.close().await;
}

#[tokio::test]
async fn health_needs_no_token() {
    let host = plain(&[], |_| {});
    for path in ["/healthz", "/readyz"] {
        let answer = Ask::new(Method::GET, path).without("host").send(&host).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(!answer.header("x-request-id").is_empty(), "{answer:?}");
    }
    host.close().await;
}

/// A balancer learns of the stopping first, and a caller who comes late is sent elsewhere.
#[tokio::test]
async fn a_stopping_host_is_alive_and_not_ready() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = freehold::Settings { data_dir: dir.path().to_path_buf().into(), ..Default::default() };
    let host = freehold::Host::new(|_tenant| crate::support::Plain).authenticate(Nobody);
    let (router, service) = host.into_router(&settings).expect("a host");
    let get = |path: &str| Ask::new(Method::GET, path).send_to(router.clone());
    assert_eq!(get("/readyz").await.status, 200);
    service.drain().begin();
    assert_eq!(get("/readyz").await.status, 503);
    assert_eq!(get("/healthz").await.status, 200);
    let late = Ask::post("{}").bearer("x").send_to(router.clone()).await;
    late.expect_refusal(503);
    assert!(!late.header("retry-after").is_empty(), "{late:?}");
    service.close().await;
}

/// Knows no caller.
struct Nobody;

impl freehold::Authenticate for Nobody {
    fn authenticate<'a>(&'a self, _token: &'a str) -> freehold::Verdict<'a> {
        let error = freehold::Error::new(freehold::ErrorKind::Unauthenticated, "nobody");
        Box::pin(std::future::ready(Err(error)))
    }
}

fn names(listed: &Value) -> Vec<&str> {
    let tools = listed["result"]["tools"].as_array().expect("tools");
    let mut names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().expect("a name")).collect();
    names.sort_unstable();
    names
}
