//! What was acknowledged stays, what failed leaves nothing, and nobody pays for another's failure.

use freehold::{TestHost, rusqlite};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::probe::Shared;
use crate::support::process::{Server, must, run};
use crate::support::wire::{Ask, LEGACY, Session};
use crate::support::{content, plain, refusal, soon, start, tenant_file, tree, until};

async fn marks(host: &TestHost) -> Value {
    content(&host.call("a", "sql_query", json!({ "sql": "SELECT n FROM mark ORDER BY n" })).await)["rows"].clone()
}

#[track_caller]
fn expect_failure(answer: &Value) {
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    assert_eq!(answer["error"]["message"], "internal error", "{answer}");
    assert!(!answer.to_string().contains("as told"), "{answer}");
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let host = plain(&["a"], |_| {});
    let make = json!({ "statements": [
        { "sql": "CREATE TABLE t (n INTEGER, b BLOB)" },
        { "sql": "INSERT INTO t VALUES (?, ?)", "params": [7, { "base64": "AAEC/w==" }] },
    ]});
    content(&host.call("a", "sql_execute", make).await);
    let host = host.restart().await.expect("a restart");
    let kept = host.call("a", "sql_query", json!({ "sql": "SELECT n, b FROM t" })).await;
    assert_eq!(content(&kept)["rows"], json!([[7, { "base64": "AAEC/w==" }]]));
    let host = host.restart().await.expect("a restart with nothing open");
    let kept = host.call("a", "sql_query", json!({ "sql": "SELECT n FROM t" })).await;
    assert_eq!(content(&kept)["rows"], json!([[7]]));
    host.close().await;
}

/// After an orderly stop the file alone is the tenant: it can be copied as it lies there.
#[tokio::test]
async fn an_orderly_stop_leaves_one_file() {
    let host = plain(&["a"], |_| {});
    content(&host.call("a", "sql_execute", json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] })).await);
    content(&host.call("a", "sql_query", json!({ "sql": "SELECT 7" })).await);
    let host = host.restart().await.expect("a restart");
    let file = tenant_file(host.dir(), "a");
    // Beside it there is only what was.
    let mut there = tree(file.parent().expect("a folder"));
    there.retain(|path| !path.starts_with("history"));
    assert!(there.iter().eq([std::path::Path::new("tenant.db")]), "{there:?}");
    host.close().await;
}

/// They wait together and share a commit; each stands or falls by itself.
#[tokio::test]
async fn a_failure_undoes_its_own_call_only() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |_| {});
    let gate = shared.gate();
    let hold = host.call("a", "hold_write", json!({}));
    let release = async {
        until("the writer is held", || shared.begun() == 1).await;
        let put = async |n: usize| {
            let then = ["succeed", "fail", "panic"][n % 3];
            let answer = host.call("a", "put", json!({ "n": n, "then": then })).await;
            match n % 3 {
                0 => assert_eq!(content(&answer)["value"], n),
                1 => assert_eq!(refusal(&answer), "failed as told"),
                _ => expect_failure(&answer),
            }
        };
        // Each is polled once, and so is in the mailbox, before the gate opens.
        let open = async { drop(gate) };
        futures_util::join!(join_all((0..60).map(put)), open);
    };
    soon(async { futures_util::join!(hold, release) }).await;
    let stands: Vec<_> = (0..60).step_by(3).map(|n| [n]).collect();
    assert_eq!(marks(&host).await, json!(stands));
    let host = host.restart().await.expect("a restart");
    assert_eq!(marks(&host).await, json!(stands));
    host.close().await;
}

/// What SQLite cuts takes its whole transaction along: the others in it are run again, and never see it.
#[tokio::test]
async fn an_agents_cut_write_costs_no_other() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |settings| {
        settings.limits.statement_deadline = std::time::Duration::from_millis(300);
    });
    content(&host.call("a", "sql_execute", json!({ "statements": [{ "sql": "CREATE TABLE t (n UNIQUE)" }] })).await);
    let gate = shared.gate();
    let hold = host.call("a", "hold_write", json!({}));
    let release = async {
        until("the writer is held", || shared.begun() == 1).await;
        let put = async |n: usize| {
            let sql = match n {
                3 => {
                    "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) \
                      SELECT -n FROM c WHERE n < 2 OR n % 1000 < 0"
                }
                7 => "INSERT OR ROLLBACK INTO t VALUES (0)",
                11 => "INSERT INTO t SELECT 1 / 0 UNION ALL SELECT 2 UNION ALL SELECT 2",
                _ => "INSERT INTO t VALUES (?)",
            };
            let params = if sql.contains('?') { json!([n]) } else { json!([]) };
            let answer =
                host.call("a", "sql_execute", json!({ "statements": [{ "sql": sql, "params": params }] })).await;
            match n {
                3 => assert!(refusal(&answer).contains("stopped after 300 ms"), "{answer}"),
                7 | 11 => assert!(refusal(&answer).contains("UNIQUE"), "{answer}"),
                _ => assert_eq!(content(&answer)["results"][0]["changes"], 1),
            }
        };
        // The program's own writes share what is left of the commit.
        let own = async |n: usize| {
            assert_eq!(content(&host.call("a", "put", json!({ "n": n, "then": "succeed" })).await)["value"], n);
        };
        let open = async { drop(gate) };
        futures_util::join!(join_all((0..20).map(put)), join_all((0..20).map(own)), open);
    };
    soon(async { futures_util::join!(hold, release) }).await;
    let stands = host.call("a", "sql_query", json!({ "sql": "SELECT n FROM t ORDER BY n" })).await;
    let expected: Vec<_> = (0..20).filter(|n| ![3, 7, 11].contains(n)).map(|n| [n]).collect();
    assert_eq!(content(&stands)["rows"], json!(expected));
    assert_eq!(marks(&host).await, json!((0..20).map(|n| [n]).collect::<Vec<_>>()));
    host.close().await;
}

#[tokio::test]
async fn a_panic_is_an_answer_on_both_wires() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[1]).await;
    let tools = [("explode", json!({})), ("explode_reading", json!({})), ("put", json!({ "n": 7, "then": "panic" }))];
    // More often than there are readers: none may be lost.
    for _ in 0..5 {
        for (tool, arguments) in &tools {
            expect_failure(&soon(host.call("a", tool, arguments.clone())).await);
            expect_failure(&soon(session.call(&host, tool, arguments.clone())).await);
        }
    }
    content(&host.call("a", "put", json!({ "n": 1, "then": "succeed" })).await);
    content(&session.call(&host, "put", json!({ "n": 2, "then": "succeed" })).await);
    assert_eq!(marks(&host).await, json!([[1], [2]]));
    assert_eq!(shared.made(), 1, "the tenant was opened anew");
    host.close().await;
}

#[tokio::test]
async fn a_file_from_the_future_is_left_alone() {
    let host = plain(&["a", "b"], |_| {});
    content(&host.call("a", "sql_execute", json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] })).await);
    let host = host.restart().await.expect("a restart");
    let file = tenant_file(host.dir(), "a");
    let conn = rusqlite::Connection::open(&file).expect("a database");
    let insert = "INSERT INTO _fh_migration (owner, version, name, applied_at) VALUES ('host', 999, 'later', 0)";
    conn.execute(insert, []).expect("a row");
    conn.close().expect("closed");
    let before = std::fs::read(&file).expect("a file");
    for _ in 0..2 {
        let answer = Ask::tool("sql_schema", &json!({})).of(&host, "a").send(&host).await;
        let said = answer.expect_refusal(503);
        let text = said["error"]["message"].as_str().expect("text");
        assert!(text.contains("999") && text.contains("newer program"), "{text}");
    }
    content(&host.call("b", "sql_schema", json!({})).await);
    assert!(std::fs::read(&file).expect("a file") == before, "the file was changed");
    host.close().await;
}

#[tokio::test]
async fn a_damaged_file_is_left_alone() {
    let host = plain(&["a", "b"], |_| {});
    content(&host.call("a", "sql_execute", json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] })).await);
    let host = host.restart().await.expect("a restart");
    let file = tenant_file(host.dir(), "a");
    let damage = [b'x'; 8192];
    std::fs::write(&file, damage).expect("written");
    let answer = Ask::tool("sql_schema", &json!({})).of(&host, "a").send(&host).await;
    let said = answer.expect_refusal(503);
    assert!(said["error"]["message"].as_str().is_some_and(|text| text.contains("operator")), "{said}");
    content(&host.call("b", "sql_schema", json!({})).await);
    assert!(std::fs::read(&file).expect("a file") == damage, "the file was changed");
    host.close().await;
}

/// Two writers of one file would be two truths.
#[test]
fn a_second_process_does_not_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    let first = Server::start(&data, &[]);
    for transport in ["http", "stdio"] {
        let second = run(&data, &["serve", "--listen", "127.0.0.1:0", "--transport", transport]);
        assert!(!second.status.success(), "{transport}: {second:?}");
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(said.contains(&format!("process {}", first.pid())), "{transport}: {said}");
    }
    // Commands beside it go on.
    must(&data, &["tenant", "create", "a"]);
    assert!(first.terminate().success());
    assert!(Server::start(&data, &[]).terminate().success());
}

/// Whoever shares the machine may not read a tenant's file, its log, or the keys.
#[tokio::test]
async fn files_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let host = plain(&["a"], |_| {});
    let made = json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] });
    content(&host.call("a", "sql_execute", made).await);
    let mut open = vec![host.dir().to_path_buf()];
    let mut files = 0;
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            let mode = std::fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} can be reached by others: {mode:o}", path.display());
            if path.is_dir() { open.push(path) } else { files += 1 }
        }
    }
    assert!(files >= 5, "only {files} files were found");
    host.close().await;
}
