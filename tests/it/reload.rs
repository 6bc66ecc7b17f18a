//! SIGHUP has a running host read its configuration again: all of it or nothing.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::process::{Server, call, exchange, must};
use crate::support::{PATIENCE, content};

/// A server on a configuration that can be written anew.
struct Reloading {
    server: Server,
    file: PathBuf,
    token: String,
    _dir: tempfile::TempDir,
}

impl Reloading {
    fn start(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (file, data) = (dir.path().join("freehold.toml"), dir.path().join("data"));
        std::fs::write(&file, text).expect("a file");
        must(&data, &["key", "generate"]);
        must(&data, &["tenant", "create", "acme"]);
        let token = must(&data, &["token", "issue", "--tenant", "acme"]).trim().to_owned();
        let server = Server::start(&data, &["--config", file.to_str().expect("text")]);
        Self { server, file, token, _dir: dir }
    }

    /// Has it read `text`; returns the event with which it says what came of that.
    fn read(&self, text: &str) -> Value {
        std::fs::write(&self.file, text).expect("a file");
        let told = || {
            let log = self.server.log();
            let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let of_it =
                |event: &Value| event["message"].as_str().is_some_and(|said| said.starts_with("the configuration"));
            events.filter(of_it).collect::<Vec<_>>()
        };
        let before = told().len();
        self.server.signal(Signal::HUP);
        let begun = Instant::now();
        loop {
            if let Some(event) = told().get(before) {
                return event.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "nothing came of it: {}", self.server.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The rows that a query for ten returns.
    fn rows(&self) -> usize {
        let ten = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT i FROM n";
        let answer = call(self.server.address(), &self.token, "sql_query", &json!({ "sql": ten })).expect("an answer");
        content(&answer)["rows"].as_array().expect("rows").len()
    }

    fn keys(&self) -> Value {
        call(self.server.address(), &self.token, "kv_list", &json!({})).expect("an answer")
    }

    fn preflight(&self) -> String {
        let address = self.server.address();
        let head = format!(
            "OPTIONS /mcp HTTP/1.1\r\nHost: {address}\r\nOrigin: https://app.example.com\r\n\
             Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n"
        );
        exchange(address, head.as_bytes()).expect("an answer").to_lowercase()
    }

    /// One request of an older client, in its session if it has one.
    fn older(&self, session: Option<&str>, body: &Value) -> String {
        let (address, body) = (self.server.address(), body.to_string());
        let session = session
            .map_or_else(String::new, |id| format!("Mcp-Session-Id: {id}\r\nMCP-Protocol-Version: 2025-11-25\r\n"));
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{session}Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.token,
            body.len()
        );
        exchange(address, format!("{head}{body}").as_bytes()).expect("an answer")
    }
}

#[test]
fn limits_hold_at_once_and_for_tenants_that_are_open() {
    let host = Reloading::start("");
    let client = json!({ "name": "it", "version": "0" });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
    let opened = host.older(None, &json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }));
    let id = opened.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).expect("a session").to_owned();
    host.older(Some(&id), &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    assert_eq!(host.rows(), 10);
    assert!(host.keys()["error"].is_null(), "{}", host.keys());

    let told = host.read("[limits]\nresult_rows = 3\n");
    assert_eq!(told["now"], "limits.result_rows: 1000 -> 3", "{told}");
    assert_eq!(told["at_start"], "", "{told}");
    assert_eq!(host.rows(), 3, "the tenant was open");
    let listed = host.older(Some(&id), &json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }));
    assert!(listed.starts_with("HTTP/1.1 200") && listed.contains("sql_query"), "its session goes on: {listed}");

    let told = host.read("[limits.class.default]\n");
    assert!(told["error"].as_str().is_some_and(|error| error.contains("limits.class.default")), "{told}");
    assert_eq!(host.rows(), 3);
    let told = host.read("packs = ['sql']\n[limits]\nresult_rows = 4\n");
    assert!(told["now"].as_str().is_some_and(|now| now.contains("packs")), "{told}");
    assert_eq!(host.rows(), 4);
    assert!(host.keys()["error"].is_object(), "no such tool any more: {}", host.keys());
    assert!(host.server.terminate().success());
}

#[test]
fn what_cannot_be_used_leaves_everything_as_it_was() {
    let host = Reloading::start("[limits]\nresult_rows = 5\n");
    assert_eq!(host.rows(), 5);
    for (wrong, why) in [
        ("[limits]\nresult_rows = 6\nmailbx = 1\n", "mailbox"),
        ("[limits]\nresult_rows = 6\n[auth]\nhs256_secret_file = 'not-there'\n", "not-there"),
        ("log = 'loud and clear'\n[limits]\nresult_rows = 6\n", "info"),
        ("[limits]\nresult_rows = 0\n", "result_rows"),
    ] {
        let told = host.read(wrong);
        assert_eq!(told["level"], "ERROR", "{told}");
        assert!(told["error"].as_str().is_some_and(|error| error.contains(why)), "{why}: {told}");
        assert_eq!(host.rows(), 5, "{wrong}");
    }
    assert!(host.server.terminate().success());
}

#[test]
fn who_may_call_and_what_is_logged_is_read_again() {
    let host = Reloading::start("");
    assert!(!host.preflight().contains("access-control-allow-origin"), "{}", host.preflight());
    host.read("[cors]\nallowed_origins = ['https://app.example.com']\n");
    assert!(host.preflight().contains("access-control-allow-origin: https://app.example.com"), "{}", host.preflight());

    host.read("[auth]\nissuer = 'another'\n");
    let refused = call(host.server.address(), &host.token, "sql_schema", &json!({})).expect("an answer");
    assert!(refused["error"].is_object(), "a token of an issuer that is no more: {refused}");
    host.read("");
    assert_eq!(host.rows(), 10);

    let lines = |path: &str| host.server.log().lines().filter(|line| line.contains(path)).count();
    let ask = |path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host.server.address());
        exchange(host.server.address(), head.as_bytes()).expect("an answer")
    };
    ask("/before");
    assert_eq!(lines("/before"), 1, "{}", host.server.log());
    host.read("log = 'info,freehold::http=off'\n");
    ask("/after");
    assert_eq!(lines("/after"), 0, "{}", host.server.log());

    let told = host.read("listen = '127.0.0.1:1'\n[connections]\nmax = 7\n[limits]\nresult_rows = 2\n");
    let at_start = told["at_start"].as_str().expect("what a start needs");
    assert!(at_start.contains("connections.max: 10000 -> 7") && !at_start.contains("limits"), "{told}");
    assert_eq!(host.rows(), 2, "and the rest holds");
    assert!(host.server.terminate().success());
}

/// Without a file there is nothing else to read; SIGHUP must not be its end all the same.
#[test]
fn a_host_without_a_file_lives_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let data: &Path = &dir.path().join("data");
    must(data, &["key", "generate"]);
    let server = Server::start(data, &[]);
    server.signal(Signal::HUP);
    let begun = Instant::now();
    while !server.log().contains("read again") {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(server.terminate().success());
}
