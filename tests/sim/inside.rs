//! Faults inside one process: closures that panic and fail, a mailbox that overflows, a clock that jumps.

use std::collections::BTreeSet;
use std::sync::Arc;

use freehold::TestHost;
use serde_json::{Value, json};

use crate::seed::Seed;
use crate::support::probe::Shared;
use crate::support::{content, soon, start};

/// The rows that `put` left.
async fn stored(host: &TestHost, tenant: &str) -> Vec<i64> {
    let rows = host.call(tenant, "sql_query", json!({ "sql": "SELECT n FROM mark ORDER BY n" })).await;
    let rows = content(&rows)["rows"].as_array().expect("rows").clone();
    rows.iter().map(|row| row[0].as_i64().expect("a number")).collect()
}

async fn is_whole(host: &TestHost, tenant: &str) {
    let check = host.tenant(tenant).await.expect("a tenant");
    let check = check.read(|conn| Ok(conn.query_row("PRAGMA quick_check", [], |row| row.get::<_, String>(0))?)).await;
    assert_eq!(check.expect("a verdict"), "ok");
}

/// Sends all at once and returns the numbers of those that were acknowledged.
async fn put_all(host: &Arc<TestHost>, puts: Vec<(i64, &'static str)>) -> (BTreeSet<i64>, Vec<Value>) {
    let mut calls = tokio::task::JoinSet::new();
    for (n, then) in puts {
        let host = Arc::clone(host);
        calls.spawn(async move { (n, host.call("a", "put", json!({ "n": n, "then": then })).await) });
    }
    let (mut acknowledged, mut refused) = (BTreeSet::new(), Vec::new());
    for (n, answer) in soon(calls.join_all()).await {
        if answer["error"].is_null() && answer["result"]["isError"] != true {
            acknowledged.insert(n);
        } else {
            refused.push(answer);
        }
    }
    (acknowledged, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_undoes_its_own_call_and_no_other() {
    let mut seed = Seed::of("panic");
    let shared = Shared::default();
    let host = Arc::new(start(shared.host(), &["a"], |_| {}));
    let mut acknowledged = BTreeSet::new();
    for round in 0..10 {
        let puts = (0..24).map(|at| (round * 24 + at, ["succeed", "succeed", "fail", "panic"][seed.below(4) as usize]));
        let puts: Vec<_> = puts.collect();
        let expected: BTreeSet<i64> = puts.iter().filter(|(_, then)| *then == "succeed").map(|(n, _)| *n).collect();
        let (done, _) = put_all(&host, puts).await;
        assert_eq!(done, expected, "round {round}");
        acknowledged.extend(done);
        assert_eq!(stored(&host, "a").await, acknowledged.iter().copied().collect::<Vec<_>>());
    }
    is_whole(&host, "a").await;
    let host = Arc::into_inner(host).expect("nobody else").restart().await.expect("a restart");
    assert_eq!(stored(&host, "a").await, acknowledged.into_iter().collect::<Vec<_>>());
    host.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overflowing_mailbox_keeps_its_word() {
    let mut seed = Seed::of("mailbox");
    let shared = Shared::default();
    let host = Arc::new(start(shared.host(), &["a", "b"], |settings| {
        settings.limits.mailbox = 2;
        settings.limits.concurrent_calls = 1_000;
    }));
    let (mut acknowledged, mut refusals) = (BTreeSet::new(), 0);
    for round in 0..8 {
        // Held, so that it does overflow, however fast the machine is.
        let gate = shared.gate();
        let holder = Arc::clone(&host);
        let holding = tokio::spawn(async move { holder.call("a", "hold_write", json!({})).await });
        crate::support::until("it is held", || shared.begun() == round + 1).await;
        let from = 1_000 * round as i64;
        let puts = (0..(8 + seed.below(40)) as i64).map(|at| (from + at, "succeed")).collect();
        let letting_go = async {
            content(&host.call("b", "put", json!({ "n": from, "then": "succeed" })).await);
            drop(gate);
        };
        let ((done, refused), ()) = futures_util::join!(put_all(&host, puts), letting_go);
        content(&holding.await.expect("no panic"));
        for refusal in &refused {
            let details = &refusal["result"]["_meta"]["freehold/refusal"];
            assert_eq!((&details["kind"], &details["limit"]), (&json!("busy"), &json!("mailbox")), "{refusal}");
        }
        refusals += refused.len();
        acknowledged.extend(done);
        assert_eq!(stored(&host, "a").await, acknowledged.iter().copied().collect::<Vec<_>>(), "round {round}");
    }
    assert!(refusals > 0, "it never overflowed");
    is_whole(&host, "a").await;
    Arc::into_inner(host).expect("nobody else").close().await;
}

#[tokio::test]
async fn a_clock_that_jumps_loses_nothing() {
    let mut seed = Seed::of("clock");
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |settings| {
        settings.limits.requests_per_second = 5;
        settings.limits.burst = 10;
    });
    let (now, year) = (1_893_456_000, 366 * 24 * 3_600);
    for n in 0..60 {
        // Years forth and back, and now and then not at all.
        let there = now + seed.below(20) / 10 * seed.below(2 * year) - year / 2;
        host.clock().set(there);
        let answer = host.call("a", "put", json!({ "n": n, "then": "succeed" })).await;
        content(&answer);
        // A moment later, so that no bucket is empty for lack of time.
        host.clock().set(there + 2);
        assert_eq!(stored(&host, "a").await, (0..=n).collect::<Vec<_>>());
    }
    is_whole(&host, "a").await;
    let host = host.restart().await.expect("a restart");
    assert_eq!(stored(&host, "a").await, (0..60).collect::<Vec<_>>());
    host.close().await;
}
