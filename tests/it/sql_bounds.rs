//! SQL that takes too much: of time, of room, of memory. It is stopped, it is told why, and all goes on.

use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use freehold::TestHost;
use serde_json::{Value, json};

use crate::support::process::{Server, call, must};
use crate::support::{content, plain, refusal, soon};

/// As good as endless: minutes where it is not stopped, so that the test fails then and does not hang.
const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000000)";

async fn query(host: &TestHost, sql: &str) -> Value {
    soon(host.call("a", "sql_query", json!({ "sql": sql }))).await
}

async fn execute(host: &TestHost, sql: &str) -> Value {
    soon(host.call("a", "sql_execute", json!({ "statements": [{ "sql": sql }] }))).await
}

fn limit_of(answer: &Value) -> &Value {
    refusal(answer);
    &answer["result"]["_meta"]["freehold/refusal"]["limit"]
}

#[tokio::test]
async fn endless_sql_ends_at_its_deadline() {
    let host = plain(&["a", "b"], |settings| settings.limits.statement_deadline = Duration::from_millis(200));
    content(&execute(&host, "CREATE TABLE t (n)").await);
    content(&execute(&host, "INSERT INTO t VALUES (7)").await);
    let endless = [
        format!("{ENDLESS} SELECT count(*) FROM c"),
        format!("{ENDLESS} SELECT n FROM c WHERE n < 0"),
        "SELECT count(*) FROM json_each('[1,2,3,4,5,6,7,8,9]') a, json_each('[1,2,3,4,5,6,7,8,9]') b,
         json_each('[1,2,3,4,5,6,7,8,9]') c, json_each('[1,2,3,4,5,6,7,8,9]') d, json_each('[1,2,3,4,5,6,7,8,9]') e,
         json_each('[1,2,3,4,5,6,7,8,9]') f, json_each('[1,2,3,4,5,6,7,8,9]') g, json_each('[1,2,3,4,5,6,7,8,9]') h"
            .to_owned(),
    ];
    for sql in &endless {
        for answer in [query(&host, sql).await, execute(&host, sql).await] {
            assert_eq!(limit_of(&answer), "statement_deadline", "{answer}");
        }
        assert_eq!(content(&query(&host, "SELECT n FROM t").await)["rows"], json!([[7]]));
    }
    for sql in
        ["INSERT INTO t SELECT n FROM c", "UPDATE t SET n = (SELECT count(*) FROM c)", "DELETE FROM t WHERE n IN c"]
    {
        let answer = execute(&host, &format!("{ENDLESS} {sql}")).await;
        assert_eq!(limit_of(&answer), "statement_deadline", "{answer}");
        assert_eq!(content(&query(&host, "SELECT n FROM t").await)["rows"], json!([[7]]), "{sql}");
        content(&execute(&host, "UPDATE t SET n = n").await);
    }
    content(&host.call("b", "sql_schema", json!({})).await);
    host.close().await;
}

/// One call's time is over; what others wrote meanwhile stands.
#[tokio::test]
async fn a_stopped_call_takes_nobody_along() {
    let host = plain(&["a"], |settings| settings.limits.statement_deadline = Duration::from_millis(200));
    content(&execute(&host, "CREATE TABLE t (n)").await);
    let endless = format!("{ENDLESS} INSERT INTO t SELECT n FROM c");
    let insert = |n: i64| format!("INSERT INTO t VALUES ({n})");
    let (one, two) = (insert(1), insert(2));
    let calls = async { futures_util::join!(execute(&host, &one), execute(&host, &endless), execute(&host, &two)) };
    let (first, stopped, second) = soon(calls).await;
    content(&first);
    content(&second);
    assert_eq!(limit_of(&stopped), "statement_deadline", "{stopped}");
    assert_eq!(content(&query(&host, "SELECT n FROM t ORDER BY n").await)["rows"], json!([[1], [2]]));
    host.close().await;
}

#[tokio::test]
async fn a_full_database_can_still_be_read_and_emptied() {
    let host = plain(&["a", "b"], |settings| settings.limits.database_bytes = ByteSize::mib(1));
    content(&execute(&host, "CREATE TABLE t (b BLOB)").await);
    let mut stored = 0;
    let refused = loop {
        let answer = execute(&host, "INSERT INTO t VALUES (randomblob(50000))").await;
        if answer["result"]["isError"] == true {
            break answer;
        }
        content(&answer);
        stored += 1;
        assert!(stored <= 21, "1 MiB holds no more than that");
    };
    assert!(stored >= 15, "only {stored} fitted");
    assert!(refusal(&refused).contains("full"), "{refused}");
    assert_eq!(content(&query(&host, "SELECT count(*) FROM t").await)["rows"], json!([[stored]]));
    content(&execute(&host, "DELETE FROM t WHERE rowid <= 5").await);
    content(&execute(&host, "INSERT INTO t VALUES (randomblob(50000))").await);
    let host = host.restart().await.expect("a restart");
    assert_eq!(content(&query(&host, "SELECT count(*) FROM t").await)["rows"], json!([[stored - 4]]));
    host.close().await;
}

/// Whoever reads the refusal has to find the key to ask an operator for.
#[tokio::test]
async fn refusals_for_room_name_their_bound() {
    let host = plain(&["a"], |settings| {
        settings.limits.database_bytes = ByteSize::kib(256);
        settings.limits.value_bytes = ByteSize::kib(100);
    });
    content(&execute(&host, "CREATE TABLE t (b BLOB)").await);
    let full = execute(&host, "INSERT INTO t VALUES (zeroblob(90000)), (zeroblob(90000)), (zeroblob(90000))").await;
    assert_eq!(limit_of(&full), "database_bytes", "{full}");
    let large = execute(&host, "INSERT INTO t VALUES (zeroblob(200000))").await;
    assert_eq!(limit_of(&large), "value_bytes", "{large}");
    host.close().await;
}

#[tokio::test]
async fn values_have_a_size() {
    let host = plain(&["a"], |settings| settings.limits.value_bytes = ByteSize::b(10_000));
    content(&execute(&host, "CREATE TABLE t (v)").await);
    let mut refused = Vec::new();
    for bomb in [
        "SELECT zeroblob(20000)",
        "SELECT randomblob(1000000000)",
        "SELECT printf('%.*c', 1000000000, 'x')",
        "SELECT replace(replace(printf('%.*c', 9000, 'x'), 'x', 'xxxx'), 'x', 'xxxx')",
        "SELECT group_concat(a.value || printf('%.*c', 9000, 'x')) FROM json_each('[1,2,3]') a",
        "SELECT json_group_array(printf('%.*c', 9000, 'x')) FROM json_each('[1,2,3]')",
        "SELECT hex(zeroblob(9000))",
        "INSERT INTO t VALUES (zeroblob(20000))",
    ] {
        let answer = execute(&host, bomb).await;
        assert!(answer["result"]["isError"] == true, "{bomb}: {answer}");
        refused.push(answer);
    }
    let param = json!({ "sql": "INSERT INTO t VALUES (?)", "params": ["x".repeat(20_000)] });
    refused.push(host.call("a", "sql_execute", json!({ "statements": [param] })).await);
    refused.push(host.call("a", "sql_query", json!({ "sql": "SELECT ?", "params": ["x".repeat(20_000)] })).await);
    for answer in refused {
        assert_eq!(answer["result"]["_meta"]["freehold/refusal"]["kind"], "limit", "{answer}");
    }
    assert_eq!(content(&query(&host, "SELECT count(*) FROM t").await)["rows"], json!([[0]]));
    host.close().await;
}

/// Shapes of SQL that make the parser or the planner work without end.
#[tokio::test]
async fn statements_have_a_size() {
    let host = plain(&["a"], |_| {});
    let shapes = [
        format!("SELECT {}1{}", "(".repeat(2_000), ")".repeat(2_000)),
        format!("SELECT 1{}", "+1".repeat(10_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(100)),
        format!("SELECT {}", vec!["1"; 2_000].join(",")),
        format!("SELECT max({})", vec!["1"; 100].join(",")),
        format!("SELECT {}1", "-".repeat(5)) + &" ".repeat(200_000),
        format!("SELECT '{}'", "x".repeat(200_000)),
        format!("SELECT 1 WHERE 'a' LIKE '{}'", "%a".repeat(100)),
        format!("CREATE TABLE wide ({})", (0..200).map(|at| format!("c{at}")).collect::<Vec<_>>().join(",")),
    ];
    for sql in &shapes {
        let answer = execute(&host, sql).await;
        assert!(answer["result"]["isError"] == true, "{sql:.60}: {answer}");
    }
    content(&query(&host, "SELECT 1").await);
    host.close().await;
}

/// Three kilobytes that unfold to gigabytes before the first step of a statement, where no deadline looks.
#[test]
fn a_statement_that_unfolds_is_stopped() {
    let (_dir, server, token) = server();
    server.cap_memory(4 << 30);
    for levels in [10, 25] {
        let views = (0..levels).map(|at| format!("v{} AS (SELECT a.n FROM v{at} a, v{at} b)", at + 1));
        let views: Vec<_> = std::iter::once("v0 AS (SELECT 1 AS n)".to_owned()).chain(views).collect();
        let sql = format!("WITH {} SELECT count(*) FROM v{levels}", views.join(", "));
        let answer = call(server.address(), &token, "sql_query", &json!({ "sql": sql }));
        refusal(&answer.unwrap_or_else(|| panic!("{levels} levels: no answer; {}", server.log())));
        let peak = server.peak_memory();
        assert!(peak < 256 << 20, "{levels} levels took {peak} bytes");
    }
    assert!(server.terminate().success());
}

/// Tried on a process of its own: a stack that overflows ends every tenant's.
#[test]
fn a_text_of_many_statements_costs_one_refusal() {
    let (_dir, server, token) = server();
    for count in [2, 1_000, 11_000] {
        let many = json!({ "sql": "SELECT 1;".repeat(count) });
        let answer = call(server.address(), &token, "sql_query", &many);
        let answer = answer.unwrap_or_else(|| panic!("{count} statements: no answer; {}", server.log()));
        refusal(&answer);
    }
    assert!(server.terminate().success());
}

/// A process with tenant `a`, and a token that may only read.
fn server() -> (tempfile::TempDir, Server, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let data: &Path = &dir.path().join("data");
    must(data, &["key", "generate"]);
    must(data, &["tenant", "create", "a"]);
    let token = must(data, &["token", "issue", "--tenant", "a", "--scope", "read"]).trim().to_owned();
    let server = Server::start(data, &[]);
    (dir, server, token)
}

/// One call of such a function is one step, between which and the next nobody looks at a deadline. It need
/// not be refused: it has to come back.
#[tokio::test]
async fn functions_of_large_texts_come_back() {
    let host = plain(&["a"], |settings| settings.limits.statement_deadline = std::time::Duration::from_secs(60));
    let large = "printf('%.*c', 900000, 'a')";
    for (call, expected) in [
        (format!("SELECT instr({large}, printf('%.*c', 450000, 'a') || 'b')"), json!(0)),
        (format!("SELECT length(replace({large}, printf('%.*c', 450000, 'a') || 'b', ''))"), json!(900_000)),
        (format!("SELECT length(trim({large}, printf('%.*c', 900000, 'b') || 'a'))"), json!(0)),
        (format!("SELECT length(rtrim({large} || 'c', printf('%.*c', 900000, 'b')))"), json!(900_001)),
    ] {
        assert_eq!(content(&query(&host, &call).await)["rows"], json!([[expected]]), "{call}");
    }
    let grown = query(&host, &format!("SELECT replace({large}, 'a', {large})")).await;
    assert_eq!(limit_of(&grown), "value_bytes", "{grown}");
    host.close().await;
}
