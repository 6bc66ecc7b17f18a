//! One tenant's long statements are its own business: a neighbour's short ones go through beside them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::support::{content, plain, refusal};

const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

/// Sixteen statements that never end, of eight tenants, are many more than there are cores; all of them
/// compute until their deadline, and by then the quiet tenant has long had its answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_calls_pass_by_endless_ones() {
    let noisy = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];
    let tenants: Vec<_> = noisy.into_iter().chain(["quiet"]).collect();
    let host = Arc::new(plain(&tenants, |settings| settings.limits.statement_deadline = Duration::from_secs(8)));
    content(&host.call("quiet", "sql_execute", json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] })).await);
    let noise: Vec<_> = noisy
        .into_iter()
        .flat_map(|tenant| [tenant, tenant])
        .map(|tenant| {
            let host = Arc::clone(&host);
            tokio::spawn(async move { host.call(tenant, "sql_query", json!({ "sql": ENDLESS })).await })
        })
        .collect();
    for n in 0..10 {
        let insert = json!({ "statements": [{ "sql": "INSERT INTO t VALUES (?)", "params": [n] }] });
        content(&host.call("quiet", "sql_execute", insert).await);
        let count = host.call("quiet", "sql_query", json!({ "sql": "SELECT count(*) FROM t" })).await;
        assert_eq!(content(&count)["rows"], json!([[n + 1]]));
    }
    assert!(noise.iter().all(|endless| !endless.is_finished()), "the quiet tenant had to wait for the noise");
    for endless in noise {
        let answer = endless.await.expect("no panic");
        refusal(&answer);
        assert_eq!(answer["result"]["_meta"]["freehold/refusal"]["limit"], "statement_deadline", "{answer}");
    }
}
