//! One process is replaced by the next on the same data, and nobody who calls meanwhile is refused.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::process::{Server, call, exchange, must, run};
use crate::support::{PATIENCE, content};

fn get(server: &Server, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address());
    exchange(server.address(), head.as_bytes()).expect("an answer")
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A data directory with one tenant, and its token.
fn prepared() -> (tempfile::TempDir, std::path::PathBuf, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "acme"]);
    let token = must(&data, &["token", "issue", "--tenant", "acme"]).trim().to_owned();
    (dir, data, token)
}

#[test]
fn what_is_asked_while_one_process_replaces_another_is_kept_and_answered() {
    let (_dir, data, token) = prepared();
    let first = Server::start_with(&data, &[], &[("FREEHOLD_CONNECTIONS__DRAIN_DELAY", "2s".as_ref())]);
    let sql = "CREATE TABLE note (body TEXT); INSERT INTO note VALUES ('kept')";
    let statements: Vec<_> = sql.split(';').map(|sql| json!({ "sql": sql })).collect();
    content(&call(first.address(), &token, "sql_execute", &json!({ "statements": statements })).expect("an answer"));

    let second = Server::start_second(&data, &["--wait-for-lock", "120s"]);
    assert!(get(&second, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(&second, "/readyz").starts_with("HTTP/1.1 503"), "the first one serves");

    first.signal(Signal::TERM);
    wait_for("the second is ready once the first leaves", || get(&second, "/readyz").starts_with("HTTP/1.1 200"));
    let asked = json!({ "sql": "SELECT body FROM note" });
    let (address, kept) = (second.address(), token.clone());
    let waiting = std::thread::spawn({
        let asked = asked.clone();
        move || call(address, &kept, "sql_query", &asked)
    });
    // The first one still serves, and asks every connection to end with its answer.
    let said = get(&first, "/readyz");
    assert!(said.starts_with("HTTP/1.1 503") && said.to_lowercase().contains("connection: close"), "{said}");
    let answer = call(first.address(), &token, "sql_query", &asked).expect("the first one still answers");
    assert_eq!(content(&answer)["rows"], json!([["kept"]]));
    assert!(first.ended().success());
    let answer = waiting.join().expect("no panic").expect("the second one answers what came too early");
    assert_eq!(content(&answer)["rows"], json!([["kept"]]));
    assert!(second.line().starts_with("listening on http://"));
    assert!(get(&second, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(second.terminate().success());
}

/// Of the second process alone: the first one never leaves.
#[test]
fn waiting_has_its_bounds() {
    let (_dir, data, token) = prepared();
    let first = Server::start(&data, &[]);
    let late = run(&data, &["serve", "--listen", "127.0.0.1:0", "--wait-for-lock", "100ms"]);
    let said = String::from_utf8(late.stderr).expect("text");
    assert!(!late.status.success() && said.contains(&format!("in use by process {}", first.pid())), "{said}");
    assert!(late.stdout.is_empty(), "it never served");

    let file = data.with_extension("toml");
    let config = file.to_str().expect("text");
    let asks = |second: &Server| {
        let (address, token) = (second.address(), token.clone());
        std::thread::spawn(move || call(address, &token, "sql_schema", &json!({})))
    };

    std::fs::write(&file, "[connections]\nanswer_deadline = '50ms'\n").expect("a file");
    let second = Server::start_second(&data, &["--wait-for-lock", "120s", "--config", config]);
    let refused = asks(&second).join().expect("no panic").expect("an answer");
    assert!(refused["error"]["data"]["retryAfterMs"].is_number(), "kept for no longer than that: {refused}");
    assert!(second.terminate().success(), "who waits can be stopped");

    std::fs::write(&file, "[connections]\nin_flight = 1\n").expect("a file");
    let second = Server::start_second(&data, &["--wait-for-lock", "120s", "--config", config]);
    let mut both = vec![asks(&second), asks(&second)];
    wait_for("one of two is refused", || both.iter().any(std::thread::JoinHandle::is_finished));
    let refused = both.swap_remove(usize::from(both[1].is_finished())).join().expect("no panic").expect("an answer");
    assert_eq!(refused["error"]["data"]["limit"], "in_flight", "{refused}");
    assert!(second.terminate().success());
    both.pop().expect("the other").join().expect("no panic");
    assert!(first.terminate().success());
}
