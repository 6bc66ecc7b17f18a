//! Every bound, reached: who is refused is told which one, and nothing was begun.

use std::time::Duration;

use axum::body::{Body, Bytes};
use freehold::{Overrides, TestHost};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::probe::Shared;
use crate::support::wire::Ask;
use crate::support::{content, plain, refusal, soon, start, until};

/// A refusal of a full queue: it names the bound and says when to come back.
#[track_caller]
fn expect_busy(answer: &Value, limit: &str) {
    assert!(refusal(answer).contains(limit), "{answer}");
    let details = &answer["result"]["_meta"]["freehold/refusal"];
    assert_eq!((&details["kind"], &details["limit"]), (&json!("busy"), &json!(limit)), "{answer}");
    assert!(details["retryAfterMs"].as_u64().is_some_and(|after| after > 0), "{answer}");
}

/// Holds with `hold`, sends `tool` twice where one place is free, then lets go.
async fn overfill(host: &TestHost, shared: &Shared, hold: &str, tool: [(&str, Value); 2]) -> Vec<Value> {
    let gate = shared.gate();
    let begun = shared.begun() + 1;
    let holding = host.call("a", hold, json!({}));
    let filling = async {
        until("it is held", || shared.begun() == begun).await;
        let mut calls = tool.map(|(name, arguments)| Box::pin(host.call("a", name, arguments)));
        let [first, second] = &mut calls;
        let (early, first_was_early) = tokio::select! {
            early = first => (early, true),
            early = second => (early, false),
        };
        drop(gate);
        let [first, second] = calls;
        let late = if first_was_early { second.await } else { first.await };
        vec![early, late]
    };
    let (held, answers) = soon(async { futures_util::join!(holding, filling) }).await;
    content(&held);
    answers
}

#[tokio::test]
async fn a_full_mailbox_refuses() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |settings| settings.limits.mailbox = 1);
    let put = |n: i64| ("put", json!({ "n": n, "then": "succeed" }));
    let answers = overfill(&host, &shared, "hold_write", [put(1), put(2)]).await;
    expect_busy(&answers[0], "mailbox");
    content(&answers[1]);
    assert_eq!(content(&host.call("a", "count", json!({})).await)["value"], 1);
    content(&host.call("a", "put", json!({ "n": 3, "then": "succeed" })).await);
    host.close().await;
}

#[tokio::test]
async fn full_readers_refuse() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |settings| {
        settings.limits.readers = 1;
        settings.limits.reads_waiting = 1;
    });
    let count = || ("count", json!({}));
    let answers = overfill(&host, &shared, "hold_read", [count(), count()]).await;
    expect_busy(&answers[0], "reads_waiting");
    content(&answers[1]);
    content(&host.call("a", "count", json!({})).await);
    host.close().await;
}

/// A reader that is held keeps no writer waiting, nor the other way round.
#[tokio::test]
async fn reads_and_writes_do_not_wait_for_each_other() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |_| {});
    for (hold, tool, arguments) in
        [("hold_write", "count", json!({})), ("hold_read", "put", json!({ "n": 1, "then": "succeed" }))]
    {
        let gate = shared.gate();
        let begun = shared.begun() + 1;
        let beside = async {
            until("it is held", || shared.begun() == begun).await;
            content(&host.call("a", tool, arguments).await);
            drop(gate);
        };
        soon(async { futures_util::join!(host.call("a", hold, json!({})), beside) }).await;
    }
    host.close().await;
}

/// Refused for waiting too long means not begun, ever: the caller may send it again.
#[tokio::test]
async fn work_that_waited_too_long_is_never_begun() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |settings| {
        settings.limits.queue_deadline = Duration::from_millis(20);
        settings.limits.readers = 1;
    });
    for (hold, tool, arguments) in
        [("hold_write", "put", json!({ "n": 1, "then": "succeed" })), ("hold_read", "count", json!({}))]
    {
        let gate = shared.gate();
        let begun = shared.begun() + 1;
        let waiting = async {
            until("it is held", || shared.begun() == begun).await;
            let refused = host.call("a", tool, arguments).await;
            drop(gate);
            refused
        };
        let (held, refused) = soon(async { futures_util::join!(in_time(&host, hold, json!({})), waiting) }).await;
        // Its own deadline bounds what has begun, not that of the queue.
        content(&held);
        expect_busy(&refused, "queue_deadline");
    }
    // A write behind it: whatever stood before it in the mailbox has been looked at.
    content(&in_time(&host, "put", json!({ "n": 2, "then": "succeed" })).await);
    let rows = in_time(&host, "sql_query", json!({ "sql": "SELECT n FROM mark" })).await;
    assert_eq!(content(&rows)["rows"], json!([[2]]));
    host.close().await;
}

/// On a slow machine a short deadline passes where nothing is held, too: then it is said, and tried again.
async fn in_time(host: &TestHost, tool: &str, arguments: Value) -> Value {
    loop {
        let answer = host.call("a", tool, arguments.clone()).await;
        if answer["result"]["_meta"]["freehold/refusal"]["limit"] != "queue_deadline" {
            return answer;
        }
    }
}

/// Open is a cache: whoever's turn it is gets a place, and nobody's rows are lost over it.
#[tokio::test]
async fn more_tenants_than_places_take_turns() {
    let shared = Shared::default();
    let tenants = ["a", "b", "c", "d", "e"];
    let host = start(shared.host(), &tenants, |settings| settings.tenants.resident_max = 2);
    for round in 1..=3 {
        for tenant in tenants {
            content(&soon(host.call(tenant, "put", json!({ "n": round, "then": "succeed" }))).await);
            assert_eq!(content(&host.call(tenant, "count", json!({})).await)["value"], round, "{tenant}");
        }
    }
    assert_eq!(shared.made(), 15, "each turn opens anew, and opens once");
    // The one that was used last is still there.
    content(&host.call("e", "count", json!({})).await);
    content(&host.call("d", "count", json!({})).await);
    assert_eq!(shared.made(), 15);
    host.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_tenants_than_places_at_once() {
    let shared = Shared::default();
    let tenants = ["a", "b", "c", "d", "e"];
    let host = start(shared.host(), &tenants, |settings| settings.tenants.resident_max = 2);
    let one = async |n: usize| {
        let tenant = tenants[n % tenants.len()];
        let mut answer = json!(null);
        // A place may be taken by two that are busy: then this is said, and the next try succeeds.
        until_served(&host, tenant, n, &mut answer).await;
        assert_eq!(content(&answer)["value"], n);
    };
    soon(join_all((0..50).map(one))).await;
    for tenant in tenants {
        let mut rows = json!(null);
        retry(&mut rows, async || host.call(tenant, "count", json!({})).await).await;
        assert_eq!(content(&rows)["value"], 10, "{tenant}");
    }
    host.close().await;
}

async fn until_served(host: &TestHost, tenant: &str, n: usize, answer: &mut Value) {
    retry(answer, async || host.call(tenant, "put", json!({ "n": n, "then": "succeed" })).await).await;
}

async fn retry(answer: &mut Value, call: impl AsyncFn() -> Value) {
    for _ in 0..10_000 {
        *answer = call().await;
        if answer["error"]["data"]["limit"] != "resident_max" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never served: {answer}");
}

#[tokio::test]
async fn busy_tenants_are_not_closed_for_another() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a", "b", "c"], |settings| settings.tenants.resident_max = 2);
    let gates = [shared.gate(), shared.gate()];
    let third = async {
        until("both are held", || shared.begun() == 2).await;
        let refused = Ask::tool("count", &json!({})).of(&host, "c").send(&host).await;
        let said = refused.expect_refusal(503);
        assert_eq!(said["error"]["data"]["limit"], "resident_max", "{said}");
        assert!(said["error"]["message"].as_str().is_some_and(|text| text.contains("resident_max")), "{said}");
        assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
        drop(gates);
    };
    let holding =
        async { futures_util::join!(host.call("a", "hold_write", json!({})), host.call("b", "hold_read", json!({}))) };
    let ((a, b), ()) = soon(async { futures_util::join!(holding, third) }).await;
    content(&a);
    content(&b);
    content(&soon(host.call("c", "count", json!({}))).await);
    host.close().await;
}

/// Who sends half a request and waits holds nothing for long.
#[tokio::test]
async fn a_body_that_does_not_come_is_not_awaited() {
    let host = plain(&["a"], |settings| settings.limits.body_deadline = Duration::from_millis(20));
    let endless = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
    let answer = Ask::post(Body::from_stream(endless)).of(&host, "a").send(&host).await;
    let said = answer.expect_refusal(408);
    assert_eq!(said["error"]["data"]["limit"], "body_deadline", "{said}");
    host.close().await;
}

#[tokio::test]
async fn statements_in_one_call_are_counted() {
    let host = plain(&["a"], |settings| settings.limits.statements = 3);
    let many = |count: usize| json!({ "statements": vec![json!({ "sql": "SELECT 1" }); count] });
    content(&host.call("a", "sql_execute", many(3)).await);
    let refused = host.call("a", "sql_execute", many(4)).await;
    assert_eq!(refused["result"]["_meta"]["freehold/refusal"]["limit"], "statements", "{refused}");
    refusal(&host.call("a", "sql_execute", many(0)).await);
    host.close().await;
}

/// Each class has its own, and what it does not name it has of all.
#[tokio::test]
async fn a_tenants_limits_are_those_of_its_class() {
    let host = plain(&["a"], |settings| {
        settings.limits.statements = 3;
        settings.limits.result_rows = 2;
        let gold = Overrides::default().with("statements", 5).with("value_bytes", "10KiB").with("durability", "normal");
        settings.limits.class.insert("gold".to_owned(), gold);
    });
    host.create_tenant_of("g", "gold").expect("a new tenant");
    // As if the configuration had lost the class since.
    host.create_tenant_of("x", "lost").expect("a new tenant");
    let many = |count: usize| json!({ "statements": vec![json!({ "sql": "SELECT 1" }); count] });
    for (tenant, most) in [("a", 3), ("g", 5), ("x", 3)] {
        content(&host.call(tenant, "sql_execute", many(most)).await);
        let refused = host.call(tenant, "sql_execute", many(most + 1)).await;
        assert_eq!(refused["result"]["_meta"]["freehold/refusal"]["value"], most, "{refused}");
        let page = host.call(tenant, "sql_query", json!({ "sql": "VALUES (1), (2), (3)" })).await;
        assert_eq!(content(&page)["rows"].as_array().map(Vec::len), Some(2), "{page}");
        let large = host.call(tenant, "sql_query", json!({ "sql": "SELECT length(randomblob(20000))" })).await;
        assert_eq!(large["result"]["isError"] == true, tenant == "g", "{large}");
    }
    host.close().await;
}
