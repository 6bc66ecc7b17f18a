//! Which tenants are open: none before it is asked for, none for longer than it is used, none that can't be.

use std::path::PathBuf;
use std::time::Duration;

use freehold::{Settings, TestHost};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::probe::Shared;
use crate::support::wire::Ask;
use crate::support::{content, plain, refusal, soon, start, tenant_file, tree, until};

fn without_rates(settings: &mut Settings) {
    settings.limits.concurrent_calls = 2_000;
    settings.limits.requests_per_second = 0;
    settings.limits.principal_requests_per_second = 0;
}

async fn put(host: &TestHost, tenant: &str, n: usize) {
    content(&host.call(tenant, "put", json!({ "n": n, "then": "succeed" })).await);
}

/// Whether the file lies there without its log, as only an orderly close leaves it.
fn is_closed(host: &TestHost, tenant: &str) -> bool {
    let file = tenant_file(host.dir(), tenant);
    let beside = |name: &str| tree(file.parent().expect("a folder")).contains(&PathBuf::from(name));
    beside("tenant.db") && !beside("tenant.db-wal") && !beside("tenant.db-shm")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_first_requests_open_the_file_once() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], without_rates);
    let answers = soon(join_all((0..1_000).map(|_| host.call("a", "bump", json!({}))))).await;
    let mut seen: Vec<_> = answers.iter().map(|answer| content(answer)["value"].as_u64().expect("a number")).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=1_000).collect::<Vec<_>>());
    assert_eq!(shared.made(), 1);
    host.close().await;
}

#[tokio::test]
async fn an_idle_tenant_is_closed_and_comes_back() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |settings| settings.tenants.idle_after = Duration::from_millis(20));
    for n in 0..3 {
        put(&host, "a", n).await;
        assert_eq!(content(&host.call("a", "count", json!({})).await)["value"], n + 1);
        until("it is closed", || host.open_tenants() == 0 && is_closed(&host, "a")).await;
    }
    assert!(shared.made() >= 3, "it was never opened anew");
    host.close().await;
}

#[tokio::test]
async fn a_tenant_in_use_is_not_idle() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a", "b"], |settings| settings.tenants.idle_after = Duration::from_millis(20));
    let gate = shared.gate();
    let beside = async {
        until("it is held", || shared.begun() == 1).await;
        for n in 0..3 {
            put(&host, "b", n).await;
            until("the other is closed", || is_closed(&host, "b")).await;
        }
        drop(gate);
    };
    let (held, ()) = soon(async { futures_util::join!(host.call("a", "hold_write", json!({})), beside) }).await;
    content(&held);
    host.close().await;
}

/// What rests has no file open, and what is in memory still, and opens the file when it is asked for.
#[tokio::test]
async fn a_tenant_at_rest_reads_and_writes() {
    let shared = Shared::default();
    // It rests after a tenth of it.
    let host = start(shared.host(), &["a"], |settings| settings.tenants.idle_after = Duration::from_secs(20));
    put(&host, "a", 0).await;
    let folder = tenant_file(host.dir(), "a").parent().expect("a folder").to_owned();
    let rests = async || {
        let files = || std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
        let is_open = |fd: std::fs::DirEntry| std::fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(&folder));
        until("its file is closed", || is_closed(&host, "a") && !files().any(is_open)).await;
    };
    let count = async || content(&host.call("a", "count", json!({})).await)["value"].clone();
    assert_eq!(count().await, 1);
    rests().await;
    assert_eq!(count().await, 1);
    rests().await;
    // A read, and a write with the connection that it opened.
    assert_eq!(count().await, 1);
    put(&host, "a", 1).await;
    assert_eq!(count().await, 2);
    assert_eq!(shared.made(), 1, "it was closed as a whole");
    host.close().await;
}

/// Who writes while the first connection reads gets one of its own, and both see what is so.
#[tokio::test]
async fn the_first_read_holds_up_no_write() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |_| {});
    put(&host, "a", 0).await;
    let host = host.restart().await.expect("a restart");
    let gate = shared.gate();
    let beside = async {
        until("it reads", || shared.begun() == 1).await;
        put(&host, "a", 1).await;
        assert_eq!(content(&host.call("a", "count", json!({})).await)["value"], 2);
        drop(gate);
    };
    let (held, ()) = soon(async { futures_util::join!(host.call("a", "hold_read", json!({})), beside) }).await;
    content(&held);
    assert_eq!(content(&host.call("a", "count", json!({})).await)["value"], 2);
    let host = host.restart().await.expect("a restart");
    assert!(is_closed(&host, "a"), "{:?}", tree(host.dir()));
    host.close().await;
}

/// A file that can't be opened after a rest is told as one that can't be opened at all, and tried again.
#[tokio::test]
async fn what_cannot_be_opened_after_a_rest_is_tried_again() {
    let host = plain(&["a", "b"], |settings| settings.tenants.idle_after = Duration::from_secs(5));
    let insert = json!({ "statements": [{ "sql": "INSERT INTO t VALUES (1)" }] });
    content(&host.call("a", "sql_execute", json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] })).await);
    until("it rests", || is_closed(&host, "a")).await;
    let file = tenant_file(host.dir(), "a");
    let whole = std::fs::read(&file).expect("a file");
    std::fs::write(&file, [b'x'; 8192]).expect("written");
    for arguments in [&insert, &insert, &insert] {
        let answer = Ask::tool("sql_execute", arguments).of(&host, "a").send(&host).await;
        let said = answer.json();
        assert!(said["error"].is_object() || said["result"]["isError"] == true, "{said}");
        content(&host.call("b", "sql_schema", json!({})).await);
    }
    std::fs::write(&file, whole).expect("written");
    let healed = async {
        loop {
            let answer = host.call("a", "sql_execute", insert.clone()).await;
            if answer["result"]["isError"] == false {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon(healed).await;
    let answer = host.call("a", "sql_query", json!({ "sql": "SELECT count(*) AS n FROM t" })).await;
    let rows = content(&answer);
    assert_eq!(rows["rows"][0][0], 1, "{rows}");
    host.close().await;
}

#[tokio::test]
async fn the_one_that_was_left_first_makes_room() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a", "b", "c"], |settings| settings.tenants.resident_max = 2);
    for (tenant, made) in [("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 4)] {
        content(&host.call(tenant, "bump", json!({})).await);
        assert_eq!(shared.made(), made, "after {tenant}");
    }
    host.close().await;
}

#[tokio::test]
async fn memory_bounds_how_many_are_open() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a", "b"], |settings| {
        settings.tenants.resident_bytes = "160KiB".parse().expect("a size");
    });
    content(&host.call("a", "bump", json!({})).await);
    let gate = shared.gate();
    let second = async {
        until("it is held", || shared.begun() == 1).await;
        let answer = Ask::tool("bump", &json!({})).of(&host, "b").send(&host).await;
        let said = answer.expect_refusal(503);
        assert_eq!(said["error"]["data"]["limit"], "resident_bytes", "{said}");
        assert_eq!(said["error"]["data"]["value"], 1, "{said}");
        drop(gate);
    };
    let (held, ()) = soon(async { futures_util::join!(host.call("a", "hold_write", json!({})), second) }).await;
    content(&held);
    content(&host.call("b", "bump", json!({})).await);
    host.close().await;
}

/// 503 with the time of the next try, until it can be opened; its neighbour is served all the while.
#[tokio::test]
async fn what_cannot_be_opened_is_tried_again() {
    let host = plain(&["a", "b"], |_| {});
    content(&host.call("a", "sql_execute", json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] })).await);
    let host = host.restart().await.expect("a restart");
    let file = tenant_file(host.dir(), "a");
    let whole = std::fs::read(&file).expect("a file");
    std::fs::write(&file, [b'x'; 8192]).expect("written");
    for _ in 0..3 {
        let answer = Ask::tool("sql_schema", &json!({})).of(&host, "a").send(&host).await;
        let said = answer.expect_refusal(503);
        assert!(answer.headers.contains_key("retry-after"), "{said}");
        assert!(said["error"]["data"]["retryAfterMs"].as_u64().is_some_and(|after| after > 0), "{said}");
        content(&host.call("b", "sql_schema", json!({})).await);
    }
    std::fs::write(&file, whole).expect("written");
    let tables = |answer: &Value| answer["result"]["structuredContent"]["tables"][0]["name"].clone();
    let healed = async {
        loop {
            let answer = host.call("a", "sql_schema", json!({})).await;
            if answer.get("result").is_some() {
                return tables(&answer);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(soon(healed).await, "t");
    host.close().await;
}

/// A file that a crash left half-way on its way to a name is nobody's.
#[tokio::test]
async fn a_new_file_is_whole_or_not_there() {
    let host = plain(&["a"], |_| {});
    content(&host.call("a", "sql_schema", json!({})).await);
    let host = host.restart().await.expect("a restart");
    let file = tenant_file(host.dir(), "a");
    std::fs::remove_file(&file).expect("removed");
    std::fs::write(file.with_file_name("tenant.db-new"), [b'x'; 100]).expect("written");
    content(&host.call("a", "sql_execute", json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] })).await);
    let host = host.restart().await.expect("a restart");
    assert!(is_closed(&host, "a"), "{:?}", tree(host.dir()));
    assert!(!host.dir().join("template.db").exists(), "the template was left");
    let bad = host.call("a", "sql_query", json!({ "sql": "SELECT * FROM _fh_meta" })).await;
    assert!(refusal(&bad).contains("host"), "{bad}");
    host.close().await;
}
