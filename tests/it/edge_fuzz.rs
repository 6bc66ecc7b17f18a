//! Requests that nobody thought of: headers, tokens and bodies by chance, from a seed that a failure prints.
//! Nothing is served that was not asked for in order, and nothing is our fault.

use http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::listening::{Listening, until_closed};
use crate::support::plain;
use crate::support::wire::{Ask, rpc};

const CASES: u32 = 400;

const NAMES: [&str; 18] = [
    "host",
    "origin",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "accept",
    "authorization",
    "mcp-session-id",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    "last-event-id",
    "expect",
    "upgrade",
    "x-forwarded-for",
    "access-control-request-method",
    "access-control-request-headers",
];

fn config() -> Config {
    Config { cases: CASES, failure_persistence: None, ..Config::default() }
}

/// What a header may hold at all: hyper refuses the rest.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,80}",
        Just("127.0.0.1:8000".to_owned()),
        Just("2026-07-28".to_owned()),
        Just("2025-06-18".to_owned()),
        Just("application/json".to_owned()),
        Just("text/event-stream".to_owned()),
        Just("tools/call".to_owned()),
        Just("null".to_owned()),
        Just("https://a.example, https://b.example".to_owned()),
        "[a-z0-9.:,\\[\\]]{0,40}",
    ]
}

fn method() -> impl Strategy<Value = Method> {
    proptest::sample::select(vec![
        Method::GET,
        Method::POST,
        Method::DELETE,
        Method::OPTIONS,
        Method::PUT,
        Method::HEAD,
        Method::TRACE,
    ])
}

/// JSON that is nearly a message, or no JSON at all.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let list = rpc("tools/list", &json!({}));
    let call = rpc("tools/call", &json!({ "name": "sql_query", "arguments": { "sql": "SELECT 7" } }));
    let broken = (proptest::sample::select(vec![list, call]), vec((any::<prop::sample::Index>(), any::<u8>()), 0..4));
    let broken = broken.prop_map(|(text, edits)| {
        let mut bytes = text.into_bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    });
    prop_oneof![broken, vec(any::<u8>(), 0..200)]
}

/// With headers by chance beside a good token, whatever happens is the sender's business and is told as such.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_our_fault() {
    let host = plain(&["a"], |settings| {
        settings.limits.requests_per_second = 1_000_000;
        settings.limits.principal_requests_per_second = 1_000_000;
    });
    let headers = vec((proptest::sample::select(NAMES.to_vec()), value()), 0..6);
    let token = host.token("a").expect("a token");
    let runtime = tokio::runtime::Handle::current();
    let given = (method(), headers, body(), any::<bool>());
    let tried = tokio::task::block_in_place(|| {
        TestRunner::new(config()).run(&given, |(method, headers, body, plain_post)| {
            let mut ask = if plain_post { Ask::post(body) } else { Ask::new(method, "/mcp") };
            for (name, value) in &headers {
                ask = ask.header(name, value);
            }
            let request = ask.bearer(&token).into_request();
            let answer = runtime.block_on(host.send(request));
            prop_assert!(!answer.status().is_server_error(), "{}", answer.status());
            prop_assert!(answer.headers().contains_key("x-request-id"));
            prop_assert!(!answer.headers().contains_key("access-control-allow-credentials"));
            Ok(())
        })
    });
    host.close().await;
    tried.expect("no request is our fault");
}

/// Bytes on the wire that are nearly a request: nobody without a token is served, and nothing is our fault.
#[tokio::test(flavor = "multi_thread")]
async fn no_bytes_are_our_fault() {
    let host = Listening::start(|_| {}).await;
    let good = host.call("SELECT 7").replacen("Authorization: Bearer x\r\n", "", 1).into_bytes();
    let runtime = tokio::runtime::Handle::current();
    let pieces = [
        "\r\n",
        "\n",
        "\0",
        " ",
        ":",
        "\r\nHost: x\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 1\r\n",
        "0\r\n\r\n",
    ];
    let piece = prop_oneof![
        proptest::sample::select(pieces.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..4),
    ];
    let edits = vec((any::<prop::sample::Index>(), 0..3_usize, piece), 1..5);
    let tried = tokio::task::block_in_place(|| {
        TestRunner::new(config()).run(&edits, |edits| {
            let mut bytes = good.clone();
            for (at, gone, piece) in edits {
                let at = at.index(bytes.len());
                let end = (at + gone).min(bytes.len());
                bytes.splice(at..end, piece);
            }
            let said = runtime.block_on(async {
                let mut stream = host.connect().await;
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                until_closed(stream).await
            });
            let refused =
                said.lines().filter(|line| line.starts_with("HTTP/1.")).all(|line| line[8..].starts_with(" 4"));
            prop_assert!(refused && !said.contains("structuredContent"), "{said}\n{}", String::from_utf8_lossy(&bytes));
            Ok(())
        })
    });
    host.stop().await;
    tried.expect("no bytes are our fault");
}

/// A token that was touched is none: never served, never our fault.
#[tokio::test(flavor = "multi_thread")]
async fn no_touched_token_is_taken() {
    let host = plain(&["a"], |_| {});
    let token = host.token("a").expect("a token");
    let runtime = tokio::runtime::Handle::current();
    let edits = vec((any::<prop::sample::Index>(), "[!-~]"), 1..4);
    let tried = tokio::task::block_in_place(|| {
        TestRunner::new(config()).run(&edits, |edits| {
            let mut touched = token.clone();
            for (at, with) in edits {
                let at = at.index(touched.len());
                touched.replace_range(at..=at, &with);
            }
            prop_assume!(touched != token);
            let ask = Ask::tool("sql_query", &json!({ "sql": "SELECT 7" })).bearer(&touched);
            let status = runtime.block_on(host.send(ask.into_request())).status();
            prop_assert!(status == 401 || status == 400, "{status} {touched}");
            Ok(())
        })
    });
    host.close().await;
    tried.expect("no touched token is taken");
}
