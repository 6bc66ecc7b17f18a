//! Requests that two readers could read differently, or that are out of proportion: refused before anybody
//! asks who sent them, in JSON.

use http::Method;
use serde_json::json;

use crate::support::plain;
use crate::support::wire::{Ask, MODERN};

fn call() -> Ask {
    Ask::tool("sql_query", &json!({ "sql": "SELECT 7" }))
}

/// Each case: what is odd about it, the request, and the status it gets with a good token.
#[tokio::test]
async fn odd_requests_are_refused_with_a_good_token_too() {
    let host = plain(&["a"], |_| {});
    let long = "x".repeat(20_000);
    let headers = (0..70).fold(call(), |ask, n| ask.header(&format!("x-{n}"), "1"));
    let cases: Vec<(&str, Ask, u16)> = vec![
        ("no Host", call().without("host"), 400),
        ("two Hosts", call().header("host", "127.0.0.1:8000"), 400),
        ("a user in Host", call().without("host").header("host", "u@127.0.0.1:8000"), 403),
        ("a space in Host", call().without("host").header("host", "127.0.0.1:8000 x"), 403),
        ("a Host of more", call().without("host").header("host", "127.0.0.1:8000.evil.example"), 403),
        ("another port", call().without("host").header("host", "127.0.0.1:8001"), 403),
        ("a foreign target", call().at("http://evil.example/mcp"), 400),
        (
            "a foreign target and Host",
            call().without("host").header("host", "evil.example").at("http://evil.example/mcp"),
            403,
        ),
        ("our own target in full", call().at("http://127.0.0.1:8000/mcp"), 200),
        ("a query", call().at("/mcp?access_token=x"), 400),
        ("an empty query", call().at("/mcp?"), 400),
        ("two sessions", call().header("mcp-session-id", "a").header("mcp-session-id", "b"), 400),
        ("two versions", call().header("mcp-protocol-version", MODERN), 400),
        ("two types", call().header("content-type", "application/json"), 400),
        ("two ends", call().header("last-event-id", "1").header("last-event-id", "2"), 400),
        ("an encoding", call().header("content-encoding", "gzip"), 415),
        ("an encoding that is none", call().header("content-encoding", "identity"), 415),
        ("an upgrade", call().header("connection", "upgrade").header("upgrade", "websocket"), 400),
        ("an expectation", call().header("expect", "200-ok"), 417),
        ("a long header", call().header("x-long", &long), 431),
        ("many headers", headers, 431),
        ("a long target", call().at(&format!("/mcp?{}", "x".repeat(3_000))), 414),
        ("a long path", Ask::new(Method::GET, &format!("/{}", "x".repeat(3_000))), 414),
    ];
    for (what, ask, status) in cases {
        let answer = ask.of(&host, "a").send(&host).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        if status != 200 {
            answer.expect_refusal(status);
        }
    }
    host.close().await;
}

/// The same without a token: what is odd is told as odd, and nothing is told of who may call.
#[tokio::test]
async fn oddness_is_told_before_identity() {
    let host = plain(&["a"], |_| {});
    call().at("/mcp?access_token=x").send(&host).await.expect_refusal(400);
    call().without("host").header("host", "evil.example").send(&host).await.expect_refusal(403);
    for method in [Method::GET, Method::DELETE, Method::HEAD, Method::PUT, Method::PATCH, Method::TRACE] {
        let answer = Ask::new(method.clone(), "/mcp").send(&host).await;
        assert_eq!(answer.status, 401, "{method}: {answer:?}");
    }
    let tunnel = Ask::new(Method::CONNECT, "/mcp").send(&host).await;
    assert!(!tunnel.header("allow").is_empty(), "{tunnel:?}");
    tunnel.expect_refusal(405);
    host.close().await;
}

/// Who is told to be who, by headers that anybody can write, stays who the token says.
#[tokio::test]
async fn a_header_makes_nobody_else() {
    let host = plain(&["a", "b"], |_| {});
    let write = json!({ "statements": [{ "sql": "CREATE TABLE of_a (n)" }] });
    let ask = Ask::tool("sql_execute", &write).of(&host, "a");
    let ask = ["x-forwarded-user", "x-tenant-id", "x-user", "x-original-url", "x-http-method-override"]
        .into_iter()
        .fold(ask, |ask, name| ask.header(name, "b"));
    let answer =
        ask.header("x-forwarded-host", "evil.example").header("forwarded", "for=6.6.6.6;host=b").send(&host).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let of = async |tenant: &str| {
        host.call(tenant, "sql_schema", json!({})).await["result"]["structuredContent"]["tables"].clone()
    };
    assert_eq!(of("b").await, json!([]));
    assert_eq!(of("a").await[0]["name"], "of_a");
    host.close().await;
}

/// An id from a stranger could be made to look like another's: only a proxy that is trusted gives one.
#[tokio::test]
async fn a_stranger_s_request_id_is_not_taken() {
    let host = plain(&["a"], |_| {});
    let answer = call().of(&host, "a").header("x-request-id", "mine").send(&host).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_ne!(answer.header("x-request-id"), "mine");
    host.close().await;
}
