//! A caller who is gone: what it asked for is stopped where it stands, and what was not begun never is.

use std::time::Duration;

use freehold::Tenant;
use serde_json::json;

use crate::support::probe::Shared;
use crate::support::{content, refusal, soon, start, until};

const ENDLESS: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000000000) SELECT count(*) FROM c";

/// Much longer than this test has patience for: what is not stopped before shows as a hang.
const DEADLINE: Duration = Duration::from_secs(3_600);

async fn read(tenant: &Tenant, sql: &'static str) -> freehold::Result<i64> {
    tenant.read(move |conn| Ok(conn.query_row(sql, [], |row| row.get(0))?)).await
}

async fn write(tenant: &Tenant, sql: &'static str) -> freehold::Result<usize> {
    tenant.write(move |tx| Ok(tx.execute(sql, [])?)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_left_running_is_stopped() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |settings| {
        settings.limits.statement_deadline = DEADLINE;
        settings.limits.readers = 1;
    });
    let tenant = host.tenant("a").await.expect("a tenant");
    for round in 0..3 {
        let (reader, writer) = (tenant.clone(), tenant.clone());
        let reading = tokio::spawn(async move { read(&reader, ENDLESS).await });
        let writing = tokio::spawn(async move {
            let sql =
                "INSERT INTO mark WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000000000)
                       SELECT n FROM c WHERE n < 0";
            write(&writer, sql).await
        });
        // Whether they have begun or not by then, they must not stand in the way.
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        reading.abort();
        writing.abort();
        assert_eq!(soon(read(&tenant, "SELECT 7")).await.expect("a free reader"), 7);
        assert_eq!(soon(write(&tenant, "INSERT INTO mark VALUES (1)")).await.expect("a free writer"), 1);
    }
    host.close().await;
}

#[tokio::test]
async fn what_it_left_waiting_never_runs() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |_| {});
    let gate = shared.gate();
    let beside = async {
        until("it is held", || shared.begun() == 1).await;
        let mut waiting = Box::pin(host.call("a", "put", json!({ "n": 1, "then": "succeed" })));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        drop(gate);
    };
    soon(async { futures_util::join!(host.call("a", "hold_write", json!({})), beside) }).await;
    // A write behind it: whatever stood before it in the mailbox has been looked at.
    content(&host.call("a", "put", json!({ "n": 2, "then": "succeed" })).await);
    let rows = host.call("a", "sql_query", json!({ "sql": "SELECT n FROM mark" })).await;
    assert_eq!(content(&rows)["rows"], json!([[2]]));
    host.close().await;
}

/// A schema is kept in memory as a whole, by every connection.
#[tokio::test]
async fn a_schema_has_a_size() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |settings| settings.limits.schema_objects = 150);
    let mut refused = json!(null);
    for round in 0..200 {
        let table = format!("CREATE TABLE t{round} (n)");
        let answer = host.call("a", "sql_execute", json!({ "statements": [{ "sql": table }] })).await;
        if answer["result"]["isError"] == true {
            refused = answer;
            break;
        }
    }
    refusal(&refused);
    let details = &refused["result"]["_meta"]["freehold/refusal"];
    assert_eq!((&details["limit"], &details["value"]), (&json!("schema_objects"), &json!(150)), "{refused}");
    let drop = json!({ "statements": [{ "sql": "DROP TABLE t0" }, { "sql": "CREATE TABLE again (n)" }] });
    content(&host.call("a", "sql_execute", drop).await);
    host.close().await;
}
