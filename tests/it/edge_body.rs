//! Bodies that two readers could read differently, or that are out of proportion: not one of them creates the table
//! that it asks for.

use freehold::TestHost;
use http::Method;
use serde_json::json;

use crate::support::wire::{Answer, Ask, LEGACY, MODERN, Session};
use crate::support::{content, plain};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sql_execute","arguments":{"statements":[{"sql":"CREATE TABLE t (n)"}]},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"it","version":"0"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#;

fn ask(body: impl Into<axum::body::Body>) -> Ask {
    Ask::post(body)
        .header("mcp-protocol-version", MODERN)
        .header("mcp-method", "tools/call")
        .header("mcp-name", "sql_execute")
}

async fn expect_nothing_done(host: &TestHost, what: &str) {
    let schema = host.call("a", "sql_schema", json!({})).await;
    assert_eq!(content(&schema)["tables"], json!([]), "{what}: refused and done all the same");
}

#[tokio::test]
async fn a_message_with_two_meanings_is_refused() {
    let host = plain(&["a"], |_| {});
    let with = |from: &str, to: &str| {
        assert!(CALL.contains(from), "{from}");
        CALL.replacen(from, to, 1)
    };
    let long = "x".repeat(300_000);
    let cases: Vec<(&str, String)> = vec![
        ("method twice", with(r#""method":"#, r#""method":"ping","method":"#)),
        ("method twice, the other order", with(r#""tools/call","#, r#""tools/call","method":"ping","#)),
        ("id twice", with(r#""id":1"#, r#""id":1,"id":2"#)),
        ("params twice", with(r#""params":"#, r#""params":{"name":"sql_schema"},"params":"#)),
        ("name twice", with(r#""name":"sql_execute""#, r#""name":"sql_schema","name":"sql_execute""#)),
        ("an escaped name twice", with(r#""name":"sql_execute""#, r#""n\u0061me":"sql_schema","name":"sql_execute""#)),
        ("a name in capitals", with(r#""name":"#, r#""Name":"#)),
        ("a method in capitals", with(r#""method":"#, r#""Method":"#)),
        ("a name with a NUL", with(r#""name":"#, r#""name\u0000":"#)),
        ("a tool in capitals", with("sql_execute", "SQL_EXECUTE")),
        ("a tool and a space", with("\"sql_execute\"", "\"sql_execute \"")),
        ("no version of JSON-RPC", with(r#""jsonrpc":"2.0","#, "")),
        ("another version of JSON-RPC", with("2.0", "1.0")),
        ("a number as the version", with("\"2.0\"", "2.0")),
        ("an id that is an object", with(r#""id":1"#, r#""id":{}"#)),
        ("an id that is a list", with(r#""id":1"#, r#""id":[1]"#)),
        ("an id of 300 kB", with(r#""id":1"#, &format!(r#""id":"{long}""#))),
        ("a number without end", with(r#""id":1"#, r#""id":1e400"#)),
        ("half a letter", with("CREATE", r"\ud800CREATE")),
        ("a mark of the byte order", format!("\u{feff}{CALL}")),
        ("two messages", format!("{CALL}{CALL}")),
        ("a message and more", format!("{CALL} x")),
        ("a comment", format!("/* x */{CALL}")),
        ("a comma more", with(r#""id":1,"#, r#""id":1,,"#)),
        (
            "deep down",
            with(r#""statements":"#, &format!(r#""x":{}{},"statements":"#, "[".repeat(5_000), "]".repeat(5_000))),
        ),
        ("a batch of a generation that knows none", format!("[{CALL}]")),
    ];
    for (what, body) in cases {
        let answer = ask(body).of(&host, "a").send(&host).await;
        let refused = answer.status.is_client_error()
            || answer.json()["error"].is_object()
            || answer.json()["result"]["isError"] == true;
        assert!(refused, "{what}: {answer:?}");
        assert!(!answer.status.is_server_error(), "{what}: {answer:?}");
        assert!(answer.text().len() < 4_096, "{what}: an answer of {} bytes", answer.text().len());
        expect_nothing_done(&host, what).await;
    }
    let bytes: Vec<(&str, Vec<u8>)> = vec![
        (
            "bytes that are no text",
            CALL.replacen("CREATE", "\u{1}\u{2}", 1)
                .into_bytes()
                .iter()
                .map(|b| if *b == 1 { 0xff } else { *b })
                .collect(),
        ),
        ("UTF-16", CALL.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("a zip", b"PK\x03\x04".repeat(100)),
    ];
    for (what, body) in bytes {
        ask(body).of(&host, "a").send(&host).await.expect_refusal(400);
        expect_nothing_done(&host, what).await;
    }
    let good = ask(CALL).of(&host, "a").send(&host).await;
    content(&good.json());
    host.close().await;
}

/// What it is said to be has to be JSON, and what is wanted an answer that there is.
#[tokio::test]
async fn types_that_are_not_ours_are_refused() {
    let host = plain(&["a"], |_| {});
    let cases = [
        ("content-type", "text/plain", 415),
        ("content-type", "multipart/form-data; boundary=x", 415),
        ("content-type", "application/x-www-form-urlencoded", 415),
        ("content-type", "application/jsonp", 415),
        ("content-type", "text/json", 415),
        ("content-type", "application/json, text/plain", 415),
        ("content-type", "application/json; charset=utf-16", 415),
        ("accept", "text/html", 406),
        ("content-encoding", "gzip", 415),
        ("content-encoding", "br", 415),
        ("content-encoding", "zstd", 415),
        ("content-encoding", "deflate, gzip", 415),
    ];
    let mut wrong = Vec::new();
    for (header, value, status) in cases {
        let answer = ask(CALL).without(header).header(header, value).of(&host, "a").send(&host).await;
        if answer.status != status {
            wrong.push(format!("{header}: {value}: {} and not {status}", answer.status));
        }
        expect_nothing_done(&host, value).await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=\"UTF-8\""] {
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
        let session = Session::open(&host, "a", LEGACY[2]).await;
        let answer =
            session.dress(Ask::post(list)).without("content-type").header("content-type", kind).send(&host).await;
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
    }
    host.close().await;
}

/// A word of the caller's in an answer stays a word: no event of its own in a stream, no header, no markup.
#[tokio::test]
async fn a_word_that_comes_back_is_only_a_word() {
    let host = plain(&["a"], |_| {});
    let evil = "1\n\ndata: {\"evil\":true}\n\nevent: x\r\nid: 7";
    let session = Session::open(&host, "a", LEGACY[2]).await;
    for (method, params) in [
        ("tools/list", json!({})),
        ("tools/call", json!({ "name": evil, "arguments": {} })),
        ("tools/call", json!({ "name": "sql_query", "arguments": { "sql": format!("SELECT '{evil}'") } })),
        (evil, json!({})),
    ] {
        let body = json!({ "jsonrpc": "2.0", "id": evil, "method": method, "params": params }).to_string();
        let answer = session.dress(Ask::post(body)).send(&host).await;
        if answer.header("content-type").starts_with("text/event-stream") {
            let frames = answer.frames();
            assert!(frames.iter().all(|frame| frame["jsonrpc"] == "2.0"), "{answer:?}");
            assert_eq!(frames.last().expect("an answer")["id"], evil);
        }
        expect_plain(&answer);
    }
    let script = "<script>alert(1)</script>";
    for ask in [
        ask(CALL).without("mcp-protocol-version").header("mcp-protocol-version", script),
        ask(CALL).without("mcp-method").header("mcp-method", script),
        ask(CALL).without("mcp-name").header("mcp-name", script),
        Ask::new(Method::GET, "/mcp").header("mcp-session-id", script).header("accept", "text/event-stream"),
        Ask::new(Method::GET, &format!("/{}", "%3Cscript%3E")),
    ] {
        let answer = ask.of(&host, "a").send(&host).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        expect_plain(&answer);
    }
    host.close().await;
}

fn expect_plain(answer: &Answer) {
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer:?}");
    assert!(!answer.text().contains("\ndata: {\"evil\""), "{answer:?}");
    assert!(answer.headers.values().all(|value| !value.as_bytes().contains(&b'<')), "{answer:?}");
}

/// A caller's own resources are all that there are, however their names are spelt.
#[tokio::test]
async fn a_resource_of_another_has_no_name() {
    let host = plain(&["a", "b"], |_| {});
    let canary = "canary-of-b";
    content(&host.call("b", "memory_save", json!({ "text": canary })).await);
    content(&host.call("b", "sql_execute", json!({ "statements": [{ "sql": "CREATE TABLE canary_of_b (n)" }] })).await);
    for uri in [
        "tenant://b/schema",
        "tenant://b/memory/1",
        "tenant://schema/../b",
        "tenant://memory/../../b/memory/1",
        "tenant://memory/1",
        "tenant://memory/%2e%2e%2fb",
        "tenant://schema?tenant=b",
        "tenant://schema#b",
        "tenant://schema\u{0}b",
        "tenant://b@schema",
        "file:///etc/passwd",
        "file://../b/tenant.db",
        "../b",
        "\\\\b\\tenant.db",
        "tenant:\u{2215}\u{2215}b",
        "",
    ] {
        let answer = Ask::modern("resources/read", json!({ "uri": uri })).of(&host, "a").send(&host).await;
        assert!(!answer.text().contains("canary"), "{uri:?}: {answer:?}");
        assert!(!answer.status.is_server_error(), "{uri:?}: {answer:?}");
        assert!(answer.json()["error"].is_object(), "{uri:?}: {answer:?}");
    }
    host.close().await;
}
