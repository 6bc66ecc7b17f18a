//! The log: one line for each request, whatever became of it, with whose it was, which tool, and what it cost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::process::{Server, call, exchange, must};
use crate::support::wire::{LEGACY, MODERN};

/// The lines of `count` requests: a stream's comes with its end, which its client may see first.
fn requests(server: &Server, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let log = server.log();
        // The last one may be on its way still.
        let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let lines = whole.map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
        let told: Vec<_> = lines.filter(|line| line["message"] == "request").collect();
        if told.len() >= count {
            return told;
        }
        assert!(begun.elapsed() < PATIENCE, "{log}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn every_request_is_one_line_with_what_it_cost() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "acme"]);
    let token = must(&data, &["token", "issue", "--tenant", "acme"]).trim().to_owned();
    let reads = must(&data, &["token", "issue", "--tenant", "acme", "--scope", "read"]).trim().to_owned();
    let server = Server::start(&data, &[]);
    let address = server.address();

    let slow = json!({ "sql": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 200000) SELECT count(*) FROM c" });
    call(address, &token, "sql_query", &slow).expect("an answer");
    let old = |token: &str, session: &str, body: &Value| {
        let body = body.to_string();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{session}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        exchange(address, format!("{head}{body}").as_bytes()).expect("an answer")
    };
    let client =
        json!({ "protocolVersion": LEGACY[2], "capabilities": {}, "clientInfo": { "name": "it", "version": "0" } });
    let opened = old(&token, "", &json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client }));
    let id = opened.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).expect("a session");
    let session = format!("mcp-session-id: {id}\r\n");
    old(&token, &session, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    let asked = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "sql_query", "arguments": slow } });
    old(&token, &session, &asked);
    let denied = json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] });
    call(address, &reads, "sql_execute", &denied).expect("an answer");
    call(address, "not.a.token", "sql_query", &slow).expect("an answer");
    assert!(
        exchange(address, b"GET /nowhere?secret=s3cret HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").is_some()
    );

    // One whose client does not wait for the answer.
    let long = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": "sql_query", "arguments": { "sql": long }, "_meta": meta });
    let body = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params }).to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nMCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: sql_query\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut leaves = TcpStream::connect(address).expect("a connection");
    leaves.write_all(head.as_bytes()).expect("sent");
    // One that leaves before the server has seen it at all has no line.
    let mut go_on = [0; 25];
    leaves.read_exact(&mut go_on).expect("an answer to the head");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    leaves.write_all(body.as_bytes()).expect("sent");
    drop(leaves);

    let mut told = requests(&server, 8);
    assert_eq!(told.len(), 8, "{told:#?}");
    // In the order in which they came: ids count up.
    told.sort_by_key(|line| line["request.id"].as_str().map(str::to_owned));
    let [first, opened, ready, old, denied, stranger, nowhere, gone] = &told[..] else { unreachable!("eight") };
    assert!(gone.get("http.status").is_none(), "{gone}");
    assert!(gone["cause"].as_str().is_some_and(|cause| cause.contains("no answer")), "{gone}");
    for (line, status, tool) in [(first, 200, Some("sql_query")), (opened, 200, None), (ready, 202, None)] {
        assert_eq!((&line["http.status"], &line["tenant.id"]), (&json!(status), &json!("acme")), "{line}");
        assert_eq!(line.get("tool").and_then(Value::as_str), tool, "{line}");
    }
    for line in [first, old] {
        assert_eq!((&line["tool"], &line["tenant.id"]), (&json!("sql_query"), &json!("acme")), "{line}");
        let (wait, sql, took) = (&line["queue.wait_us"], &line["sql_us"], &line["duration_us"]);
        assert!(wait.is_u64() && took.is_u64() && sql.as_u64().is_some_and(|sql| sql > 1_000), "{line}");
        assert!(took.as_u64() >= sql.as_u64(), "{line}");
    }
    assert_eq!((&denied["http.status"], &denied["tenant.id"]), (&json!(403), &json!("acme")), "{denied}");
    assert_eq!(denied["tool"], "sql_execute", "{denied}");
    assert!(stranger.get("tenant.id").is_none() && stranger["http.status"] == 401, "{stranger}");
    assert_eq!(nowhere["http.path"], "/nowhere", "{nowhere}");
    for line in &told {
        assert!(line["request.id"].is_string() && line["client.address"] == "127.0.0.1", "{line}");
        // Off: no trace, and nothing of one.
        assert!(line.get("trace_id").is_none(), "{line}");
        assert_eq!(line["http.method"], if line["http.path"] == "/nowhere" { "GET" } else { "POST" }, "{line}");
    }
    let all = server.log();
    for secret in [token.as_str(), reads.as_str(), "s3cret", "RECURSIVE", id] {
        assert!(!all.contains(secret), "{secret}");
    }
    assert!(server.terminate().success());
}
