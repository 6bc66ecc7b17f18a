//! Answers of a megabyte: many at once are told one after the other, and none waits for a caller who is gone.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{content, plain, soon};

const LETTERS: usize = 900_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_take_turns_and_who_left_has_none() {
    let names: Vec<String> = (0..8).map(|at| format!("big-{at}")).collect();
    let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    let host = plain(&tenants, |_| {});
    let asked = json!({ "sql": format!("SELECT printf('%.*c', {LETTERS}, 'x')") });
    for round in 0..4 {
        // Gone at some moment of its way, another one each time.
        let leaving = tenants.iter().enumerate().map(|(at, tenant)| {
            tokio::time::timeout(
                Duration::from_millis(round * 7 + at as u64),
                host.call(tenant, "sql_query", asked.clone()),
            )
        });
        let _ = soon(join_all(leaving)).await;
        let all = tenants.iter().map(|tenant| host.call(tenant, "sql_query", asked.clone()));
        for answer in soon(join_all(all)).await {
            let told = content(&answer)["rows"][0][0].as_str().map(str::len);
            assert_eq!(told, Some(LETTERS));
        }
    }
    host.close().await;
}
