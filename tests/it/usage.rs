//! What a tenant uses of what it may: told by a tool, a resource and to the program, and counted by day.

use freehold::UsageDay;
use serde_json::{Value, json};

use crate::support::events::Events;
use crate::support::wire::Ask;
use crate::support::{content, plain, refusal, soon};

const DAY: u64 = 86_400;
const NOW: u64 = 1_893_456_000;

#[tokio::test]
async fn what_is_used_stands_beside_what_may_be() {
    let host = plain(&["a", "b"], |settings| {
        settings.limits.reminders = 7;
    });
    let call = async |tool: &str, arguments: Value| content(&soon(host.call("a", tool, arguments)).await).clone();
    call("kv_set", json!({ "key": "k", "value": 1 })).await;
    call("memory_save", json!({ "text": "a thought" })).await;
    call("reminder_set", json!({ "when": "in 1h", "message": "m" })).await;
    call("sql_execute", json!({ "statements": [{ "sql": "CREATE TABLE t AS SELECT zeroblob(100000) AS b" }] })).await;
    call("checkpoint_create", json!({})).await;
    refusal(&soon(host.call("a", "kv_get", json!({ "key": "" }))).await);
    let tenant = host.tenant("a").await.expect("a tenant");
    // What was counted is there with the next commit.
    tenant.write(|tx| Ok(tx.execute("DELETE FROM t", [])?)).await.expect("a commit");
    let status = call("tenant_status", json!({})).await;
    let usage = &status["usage"];
    for one in ["kv_keys", "memory_notes", "reminders", "checkpoints"] {
        assert_eq!(usage[one]["used"], 1, "{one}: {usage}");
    }
    assert_eq!(usage["reminders"]["limit"], 7);
    assert!(usage["database_bytes"]["used"].as_u64() > Some(100_000), "{usage}");
    assert!(usage["checkpoint_bytes"]["used"].as_u64() > Some(100_000), "{usage}");
    assert_eq!(usage["database_bytes"]["limit"], 1 << 30);
    assert_eq!((&status["today"]["calls"], &status["today"]["refused"]), (&json!(6), &json!(1)), "{status}");
    let read = Ask::modern("resources/read", json!({ "uri": "tenant://usage" })).header("mcp-name", "tenant://usage");
    let read = read.of(&host, "a").send(&host).await.json();
    let text: Value =
        serde_json::from_str(read["result"]["contents"][0]["text"].as_str().expect("text")).expect("JSON");
    assert_eq!(text["usage"]["kv_keys"]["used"], 1);
    let theirs = soon(host.call("b", "tenant_status", json!({}))).await;
    assert_eq!(content(&theirs)["usage"]["kv_keys"]["used"], 0);
    host.close().await;
}

#[tokio::test]
async fn calls_are_counted_by_day_with_or_without_a_journal() {
    for journal in [true, false] {
        let host = plain(&["a"], |settings| settings.journal.enabled = journal);
        let mut expected = Vec::new();
        for (day, calls) in [(0, 3), (1, 5), (4, 2)] {
            host.clock().set(NOW + day * DAY);
            for n in 0..calls {
                content(&soon(host.call("a", "kv_set", json!({ "key": format!("k{n}"), "value": "v" }))).await);
            }
            // Counts ride in a commit: this one is of the same day.
            let tenant = host.tenant("a").await.expect("a tenant");
            tenant.write(|_| Ok(())).await.expect("a commit");
            expected.insert(0, (NOW / DAY + day, calls));
        }
        let host = host.restart().await.expect("a host");
        let tenant = host.tenant("a").await.expect("a tenant");
        let days = tenant.usage_by_day(10).await.expect("days");
        let told: Vec<_> = days.iter().map(|day| (day.day, day.calls)).collect();
        assert_eq!(told, expected, "journal: {journal}");
        let UsageDay { bytes_out, call_us, refused, failed, .. } = days[1];
        assert!(bytes_out > 0 && call_us > 0 && (refused, failed) == (0, 0), "{:?}", days[1]);
        assert!(days.iter().map(|day| day.sql_us).sum::<u64>() > 0, "{days:?}");
        assert_eq!(tenant.usage_by_day(2).await.expect("days").len(), 2);
        assert_eq!(tenant.calls(100).await.expect("calls").is_empty(), !journal);
        host.close().await;
    }
}

#[tokio::test]
async fn days_long_past_are_let_go_of() {
    let host = plain(&["a"], |_| {});
    let tenant = host.tenant("a").await.expect("a tenant");
    for day in [0, 399, 401] {
        host.clock().set(NOW + day * DAY);
        content(&soon(host.call("a", "kv_get", json!({ "key": "k" }))).await);
        tenant.write(|_| Ok(())).await.expect("a commit");
    }
    let days: Vec<_> = tenant.usage_by_day(1_000).await.expect("days").iter().map(|day| day.day - NOW / DAY).collect();
    assert_eq!(days, [401, 399]);
    host.close().await;
}

#[tokio::test]
async fn a_file_that_grows_is_news() {
    let host = plain(&["a"], |settings| settings.limits.database_bytes = bytesize::ByteSize::mib(4));
    let filter = json!({ "notifications": { "resourceSubscriptions": ["tenant://usage"] } });
    let mut ear = Events::open(&host, Ask::modern("subscriptions/listen", filter).of(&host, "a")).await;
    ear.message().await;
    let grow = json!({ "statements": [{ "sql": "CREATE TABLE t AS SELECT zeroblob(200000) AS b" }] });
    content(&soon(host.call("a", "sql_execute", grow)).await);
    let (_, news) = ear.message().await;
    assert_eq!(news["params"]["uri"], "tenant://usage", "{news}");
    host.close().await;
}
