//! One tenant never meets another: not in rows, sessions, memory or words.

use std::os::unix::fs::symlink;

use freehold::TestHost;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::support::probe::Shared;
use crate::support::wire::{Answer, Ask, LEGACY, Session, rpc};
use crate::support::{content, plain, refusal, soon, start, tenant_file};

async fn execute(host: &TestHost, tenant: &str, sql: &str) -> Value {
    host.call(tenant, "sql_execute", json!({ "statements": [{ "sql": sql }] })).await
}

async fn rows(host: &TestHost, tenant: &str, sql: &str) -> Value {
    content(&host.call(tenant, "sql_query", json!({ "sql": sql })).await)["rows"].clone()
}

#[tokio::test]
async fn rows_are_their_tenants_own() {
    let host = plain(&["a", "b"], |_| {});
    content(&execute(&host, "a", "CREATE TABLE t AS SELECT 'of a' AS whose").await);
    let refused = host.call("b", "sql_query", json!({ "sql": "SELECT * FROM t" })).await;
    assert!(refusal(&refused).contains("no such table"), "{refused}");
    content(&execute(&host, "b", "CREATE TABLE t AS SELECT 'of b' AS whose").await);
    for (tenant, whose) in [("a", "of a"), ("b", "of b")] {
        assert_eq!(rows(&host, tenant, "SELECT whose FROM t").await, json!([[whose]]));
    }
    content(&execute(&host, "b", "DROP TABLE t").await);
    assert_eq!(rows(&host, "a", "SELECT whose FROM t").await, json!([["of a"]]));
    host.close().await;
}

/// A cursor tells a place in a result; it is no key to another's.
#[tokio::test]
async fn a_cursor_of_a_shows_b_its_own_rows() {
    let host = plain(&["a", "b"], |_| {});
    for tenant in ["a", "b"] {
        let made = format!("CREATE TABLE t AS SELECT '{tenant}1' AS n UNION ALL SELECT '{tenant}2'");
        content(&execute(&host, tenant, &made).await);
    }
    let sql = "SELECT n FROM t ORDER BY n";
    let first = host.call("a", "sql_query", json!({ "sql": sql, "limit": 1 })).await;
    let cursor = &content(&first)["next_cursor"];
    let second = host.call("b", "sql_query", json!({ "sql": sql, "limit": 1, "cursor": cursor })).await;
    assert!(!second.to_string().contains("a2"), "{second}");
    host.close().await;
}

/// The same 404 as for an id that never was: B can't even ask whether A has a session.
#[tokio::test]
async fn anothers_session_is_an_unknown_one() {
    let host = plain(&["a", "b"], |_| {});
    for version in LEGACY {
        let of_a = Session::open(&host, "a", version).await;
        let unknown = "00000000-0000-4000-8000-000000000000";
        let asks: [fn() -> Ask; 3] = [
            || Ask::post(rpc("tools/call", &json!({ "name": "sql_schema", "arguments": {} }))),
            || Ask::new(Method::GET, "/mcp").header("accept", "text/event-stream"),
            || Ask::new(Method::DELETE, "/mcp"),
        ];
        for ask in asks {
            let mut said = Vec::new();
            for id in [&of_a.id, unknown] {
                let ask = ask().header("mcp-session-id", id).header("mcp-protocol-version", version);
                said.push(without_id(&ask.of(&host, "b").send(&host).await));
            }
            assert_eq!(said[0], said[1], "{version}");
        }
        let resumed = Ask::new(Method::GET, "/mcp").header("accept", "text/event-stream").header("last-event-id", "0");
        let resumed = resumed.header("mcp-session-id", &of_a.id).of(&host, "b").send(&host).await;
        resumed.expect_refusal(404);
        let still = of_a.call(&host, "sql_query", json!({ "sql": "SELECT 7" })).await;
        assert_eq!(content(&still)["rows"], json!([[7]]), "{version}");
    }
    host.close().await;
}

/// The whole answer but for what differs from request to request.
fn without_id(answer: &Answer) -> String {
    let mut said = answer.expect_refusal(404);
    said["error"]["data"]["requestId"] = Value::Null;
    let mut headers = answer.headers.clone();
    headers.remove("x-request-id");
    format!("{said} {headers:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_side_by_side_keep_apart() {
    let host = plain(&["a", "b"], |_| {});
    let sessions = [Session::open(&host, "a", LEGACY[1]).await, Session::open(&host, "b", LEGACY[1]).await];
    for tenant in ["a", "b"] {
        content(&execute(&host, tenant, "CREATE TABLE t (whose TEXT, n INTEGER)").await);
    }
    let one = async |n: usize| {
        let tenant = ["a", "b"][n % 2];
        let insert = json!({ "sql": "INSERT INTO t VALUES (?, ?) RETURNING whose", "params": [tenant, n] });
        let insert = json!({ "statements": [insert] });
        let answer = match n % 4 {
            0 | 1 => host.call(tenant, "sql_execute", insert).await,
            _ => sessions[n % 2].call(&host, "sql_execute", insert).await,
        };
        assert_eq!(content(&answer)["results"][0]["rows"], json!([[tenant]]), "{n}");
        let whose = rows(&host, tenant, "SELECT DISTINCT whose FROM t").await;
        assert_eq!(whose, json!([[tenant]]), "{n}");
    };
    soon(join_all((0..100).map(one))).await;
    for tenant in ["a", "b"] {
        let all = rows(&host, tenant, "SELECT whose, count(*) FROM t GROUP BY whose").await;
        assert_eq!(all, json!([[tenant, 50]]));
    }
    host.close().await;
}

#[tokio::test]
async fn what_a_server_keeps_in_memory_is_one_tenants_own() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a", "b"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    for (tenant, value) in [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2)] {
        let answer = host.call(tenant, "bump", json!({})).await;
        assert_eq!(content(&answer)["value"], value, "{tenant}");
    }
    let in_session = session.call(&host, "bump", json!({})).await;
    assert_eq!(content(&in_session)["value"], 4);
    assert_eq!(shared.made(), 2);
    host.close().await;
}

#[tokio::test]
async fn the_hosts_tables_are_not_shown() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |_| {});
    content(&execute(&host, "a", "CREATE TABLE mine (n)").await);
    let schema = host.call("a", "sql_schema", json!({})).await;
    let tables = content(&schema)["tables"].as_array().expect("tables").clone();
    let names: Vec<_> = tables.iter().map(|table| table["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["mark", "mine"]);
    assert!(!schema.to_string().contains("_fh_"), "{schema}");
    host.close().await;
}

/// A folder that leads elsewhere is not followed: a link is how one tenant's file would become another's.
#[tokio::test]
async fn a_folder_that_is_a_link_is_not_followed() {
    let host = plain(&["a", "b"], |_| {});
    for tenant in ["a", "b"] {
        content(&execute(&host, tenant, &format!("CREATE TABLE of_{tenant} (n)")).await);
    }
    let host = host.restart().await.expect("a restart");
    let folder = |tenant| tenant_file(host.dir(), tenant).parent().expect("a folder").to_path_buf();
    let (of_a, of_b) = (folder("a"), folder("b"));
    std::fs::remove_dir_all(&of_a).expect("removed");
    symlink(&of_b, &of_a).expect("a link");
    let answer = Ask::tool("sql_schema", &json!({})).of(&host, "a").send(&host).await;
    answer.expect_refusal(503);
    assert!(!answer.text().contains("of_b"), "{answer:?}");
    std::fs::remove_file(&of_a).expect("removed");
    std::fs::create_dir(&of_a).expect("a folder");
    symlink(of_b.join("tenant.db"), of_a.join("tenant.db")).expect("a link");
    let answer = Ask::tool("sql_schema", &json!({})).of(&host, "a").send(&host).await;
    assert!(answer.status.is_server_error() && !answer.text().contains("of_b"), "{answer:?}");
    host.close().await;
}

/// Where the files lie is the operator's business.
#[tokio::test]
async fn no_error_tells_a_path() {
    let host = plain(&["a", "damaged"], |_| {});
    content(&execute(&host, "damaged", "CREATE TABLE t (n)").await);
    let host = host.restart().await.expect("a restart");
    std::fs::write(tenant_file(host.dir(), "damaged"), [b'x'; 8192]).expect("written");
    let dir = host.dir().to_str().expect("text").to_owned();
    let mut texts = vec![Ask::tool("sql_schema", &json!({})).of(&host, "damaged").send(&host).await];
    assert_eq!(texts[0].status, 503, "{texts:?}");
    for sql in [
        "SELECT * FROM pragma_database_list",
        "PRAGMA database_list",
        "SELECT file FROM pragma_database_list()",
        "ATTACH 'x.db' AS x",
        "VACUUM INTO 'x.db'",
        "SELECT load_extension('x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT * FROM sqlite_dbpage",
        "SELECT sqlite_compileoption_get(1), * FROM pragma_compile_options",
        "SELECT",
        "SELECT * FROM nowhere",
        "",
        "-- nothing",
    ] {
        let query = Ask::tool("sql_query", &json!({ "sql": sql })).of(&host, "a").send(&host).await;
        let execute = json!({ "statements": [{ "sql": sql }] });
        texts.extend([query, Ask::tool("sql_execute", &execute).of(&host, "a").send(&host).await]);
    }
    for answer in texts {
        let said = answer.json();
        let failed = said["error"].is_object() || said["result"]["isError"] == true;
        assert!(failed, "{said}");
        for secret in [&*dir, "tenant.db", "/tmp", "panicked", "src/"] {
            assert!(!said.to_string().contains(secret), "{secret}: {said}");
        }
    }
    host.close().await;
}
