//! Reminders come when they are due, whether anybody is there or not, and none is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use freehold::rusqlite::Connection;
use freehold::{Error, Host, Pack, Settings, TestHost};
use serde_json::{Value, json};

use crate::support::process::{Server, call, must};
use crate::support::token::ByName;
use crate::support::{PATIENCE, Plain, content, plain, refusal, start, tree};

/// When a test's clock begins to stand.
const NOW: u64 = 1_893_456_000;

fn reminders(settings: &mut Settings) {
    settings.packs = vec![Pack::Reminders];
    // A clock that stands gives back no calls, and these tests look again and again.
    settings.limits.requests_per_second = 0;
    settings.limits.principal_requests_per_second = 0;
}

async fn set(host: &TestHost, tenant: &str, when: &str, message: &str) -> Value {
    let answer = host.call(tenant, "reminder_set", json!({ "when": when, "message": message })).await;
    content(&answer).clone()
}

async fn inbox(host: &TestHost, tenant: &str) -> Vec<Value> {
    let answer = host.call(tenant, "inbox_read", json!({ "limit": 200 })).await;
    content(&answer)["messages"].as_array().expect("messages").clone()
}

/// Reads the inbox until it holds `count` messages.
async fn inbox_of(host: &TestHost, tenant: &str, count: usize) -> Vec<Value> {
    let waiting = async {
        loop {
            let messages = inbox(host, tenant).await;
            if messages.len() >= count {
                return messages;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let messages = tokio::time::timeout(PATIENCE, waiting).await.expect("messages come");
    assert_eq!(messages.len(), count, "{messages:?}");
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_waits_in_the_inbox_until_it_is_acknowledged() {
    let host = plain(&["acme", "globex"], reminders);
    let payload = json!({ "invoice": 7 });
    let asked = json!({ "when": "in 2h", "message": "call back", "payload": payload });
    let made = host.call("acme", "reminder_set", asked).await;
    assert_eq!(content(&made)["due_at"], "2030-01-01T02:00:00Z");
    set(&host, "acme", "in 3h", "later").await;
    let listed = host.call("acme", "reminder_list", json!({})).await;
    assert_eq!(content(&listed)["reminders"][0]["message"], "call back");
    assert_eq!(content(&listed)["reminders"][1]["message"], "later");

    host.clock().set(NOW + 7_199);
    assert!(inbox(&host, "acme").await.is_empty());
    host.clock().set(NOW + 7_201);
    let messages = inbox_of(&host, "acme", 1).await;
    assert_eq!(messages[0]["message"], "call back");
    assert_eq!(messages[0]["payload"], payload);
    assert_eq!(messages[0]["due_at"], "2030-01-01T02:00:00Z");
    assert!(inbox(&host, "globex").await.is_empty());

    let ids = json!({ "ids": [messages[0]["id"]] });
    assert_eq!(content(&host.call("acme", "inbox_ack", ids.clone()).await)["acknowledged"], 1);
    assert_eq!(content(&host.call("acme", "inbox_ack", ids).await)["acknowledged"], 0);
    assert!(inbox(&host, "acme").await.is_empty());
    let listed = host.call("acme", "reminder_list", json!({})).await;
    assert_eq!(content(&listed)["reminders"].as_array().expect("a list").len(), 1);
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_does_not_come() {
    let host = plain(&["acme"], reminders);
    // The first of all, one in the middle, and one that stays.
    let first = set(&host, "acme", "in 1h", "first").await;
    let middle = set(&host, "acme", "in 2h", "middle").await;
    set(&host, "acme", "in 3h", "last").await;
    for gone in [&first, &middle] {
        content(&host.call("acme", "reminder_cancel", json!({ "id": gone["id"] })).await);
        let again = host.call("acme", "reminder_cancel", json!({ "id": gone["id"] })).await;
        assert!(refusal(&again).contains("reminder_list"), "{again}");
    }
    host.clock().set(NOW + 4 * 3_600);
    let messages = inbox_of(&host, "acme", 1).await;
    assert_eq!(messages[0]["message"], "last");
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_one_goes_on_and_makes_up_for_nothing() {
    let host = plain(&["acme"], reminders);
    set(&host, "acme", "every 15m", "tick").await;
    set(&host, "acme", "0 9 * * * Europe/Berlin", "morning").await;
    host.clock().set(NOW + 15 * 60);
    inbox_of(&host, "acme", 1).await;
    // Nobody served for two days: each comes once, then in step again.
    host.clock().set(NOW + 2 * 86_400 + 60);
    let messages = inbox_of(&host, "acme", 3).await;
    assert_eq!(messages.iter().filter(|message| message["message"] == "tick").count(), 2);
    let listed = host.call("acme", "reminder_list", json!({})).await;
    assert_eq!(content(&listed)["reminders"][0]["due_at"], "2030-01-03T00:15:00Z");
    assert_eq!(content(&listed)["reminders"][1]["due_at"], "2030-01-03T08:00:00Z");
    assert_eq!(content(&listed)["reminders"][1]["repeats"], "0 9 * * * Europe/Berlin");
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_due_while_stopped_comes_at_the_start() {
    let host = plain(&["acme", "globex"], reminders);
    set(&host, "acme", "in 1h", "one").await;
    set(&host, "globex", "in 2h", "two").await;
    host.clock().set(NOW + 60);
    let host = host.restart().await.expect("a start");
    host.clock().set(NOW + 86_400);
    let host = host.restart().await.expect("a start");
    assert_eq!(inbox_of(&host, "acme", 1).await[0]["message"], "one");
    assert_eq!(inbox_of(&host, "globex", 1).await[0]["message"], "two");
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bound_says_what_it_is() {
    let host = plain(&["acme", "globex"], |settings| {
        reminders(settings);
        settings.limits.reminders = 2;
        settings.limits.inbox = 1;
        settings.limits.reminder_bytes = bytesize::ByteSize::b(64);
    });
    let long = json!({ "when": "in 1h", "message": "x".repeat(65) });
    let refused = host.call("acme", "reminder_set", long).await;
    assert!(refusal(&refused).contains("may have 64"), "{refused}");
    assert_eq!(refused["result"]["_meta"]["freehold/refusal"]["limit"], "reminder_bytes");
    let refused = host.call("acme", "reminder_set", json!({ "when": "every 5s", "message": "x" })).await;
    assert_eq!(refused["result"]["_meta"]["freehold/refusal"]["limit"], "reminder_interval");
    set(&host, "acme", "in 1h", "one").await;
    set(&host, "acme", "in 2h", "two").await;
    let refused = host.call("acme", "reminder_set", json!({ "when": "in 3h", "message": "three" })).await;
    assert_eq!(refused["result"]["_meta"]["freehold/refusal"]["limit"], "reminders");
    set(&host, "globex", "in 3h", "a neighbour's").await;

    // A full inbox loses nothing: the second one waits until there is room.
    host.clock().set(NOW + 3 * 3_600);
    let messages = inbox_of(&host, "acme", 1).await;
    assert_eq!(messages[0]["message"], "one");
    inbox_of(&host, "globex", 1).await;
    content(&host.call("acme", "inbox_ack", json!({ "ids": [messages[0]["id"]] })).await);
    assert_eq!(inbox_of(&host, "acme", 1).await[0]["message"], "two");
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_may_look_and_not_set() {
    let host = plain(&["acme"], reminders);
    let tenant = host.tenant("acme").await.expect("a tenant");
    tenant.reminders().set("in 1h", "by the program", None).await.expect("set");
    let token = host.token_with("acme", "read", Duration::from_secs(60)).expect("a token");
    let ask = |tool: &str, arguments: Value| crate::support::wire::Ask::tool(tool, &arguments).bearer(&token);
    let listed = ask("reminder_list", json!({})).send(&host).await.json();
    assert_eq!(content(&listed)["reminders"][0]["message"], "by the program");
    let refused = ask("reminder_set", json!({ "when": "in 1h", "message": "x" })).send(&host).await.text().to_owned();
    assert!(refused.contains("write"), "{refused}");
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_hears_of_each_until_it_takes_it() {
    let heard = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let told = Arc::clone(&heard);
    let act = move |tenant: freehold::Tenant, reminder: freehold::Reminder| {
        let told = Arc::clone(&told);
        async move {
            assert_eq!(tenant.id().as_str(), "acme");
            let tries = {
                let mut told = told.lock().expect("whole");
                let tries = told.entry(reminder.message.clone()).or_default();
                *tries += 1;
                *tries
            };
            match (reminder.message.as_str(), tries) {
                ("good", _) | ("late", 3) => Ok(()),
                ("late", _) => Err(Error::invalid("not yet")),
                _ => panic!("panicked as told"),
            }
        }
    };
    let host = start(Host::new(|_tenant| Plain).on_reminder(act), &["acme"], reminders);
    for message in ["good", "late", "never"] {
        set(&host, "acme", "in 1h", message).await;
    }
    host.clock().set(NOW + 3_600);
    // Each further try comes when its wait is over, and no sooner.
    let mut now = NOW + 3_600;
    host.clock().set(now);
    for (failed, wait) in (1..).zip([2, 4, 8, 16, 32, 64]) {
        let attempts = async || {
            let listed = host.call("acme", "reminder_list", json!({})).await;
            let all = content(&listed)["reminders"].as_array().expect("a list").clone();
            let never = all.iter().find(|one| one["message"] == "never").expect("it is still there");
            never["attempts"].as_u64().unwrap_or(0)
        };
        let begun = std::time::Instant::now();
        while attempts().await < failed {
            assert!(begun.elapsed() < PATIENCE, "the try that fails as number {failed} never came");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        now += wait - 1;
        host.clock().set(now);
        assert_eq!(attempts().await, failed, "it was tried too soon");
        now += 1;
        host.clock().set(now);
    }
    let messages = inbox_of(&host, "acme", 3).await;
    let failure = |message: &str| &messages.iter().find(|one| one["message"] == message).expect("it")["failure"];
    assert_eq!(failure("good"), &Value::Null);
    assert_eq!(failure("late"), &Value::Null);
    assert_eq!(failure("never"), "it was not handled");
    assert_eq!(
        *heard.lock().expect("whole"),
        BTreeMap::from([("good".into(), 1), ("late".into(), 3), ("never".into(), 7)])
    );
    host.close().await;
}

/// `each` reminders for each of `tenants`, due over `over` from `ahead` on, with few tenants open: each comes
/// once and soon.
async fn storm(tenants: usize, each: usize, resident_max: usize, ahead: Duration, over: Duration) -> Vec<Duration> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut settings = Settings { data_dir: dir.path().to_path_buf().into(), ..Settings::default() };
    reminders(&mut settings);
    settings.tenants.auto_create = true;
    settings.tenants.resident_max = resident_max;
    settings.durability = freehold::Durability::Full;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let open = Arc::new(AtomicUsize::new(0));
    let (most, told) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&heard));
    let server = {
        let (open, most) = (Arc::clone(&open), Arc::clone(&most));
        move |_tenant| {
            let now = open.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            Counted(Arc::clone(&open))
        }
    };
    let host = Host::new(server).authenticate(ByName).on_reminder(move |tenant, reminder| {
        let late = now_millis() - reminder.due_at;
        told.lock().expect("whole").push((tenant.id().to_string(), reminder.message, late));
        std::future::ready(Ok(()))
    });
    let (router, service) = host.into_router(&settings).expect("a host");
    let begin = now_millis() + i64::try_from(ahead.as_millis()).expect("near");
    let step = over.as_millis() / (tenants * each) as u128;
    for nth in 0..tenants * each {
        // Neighbours in time are of different tenants.
        let (tenant, message) = (format!("t{}", nth % tenants), format!("{nth}"));
        let due = begin + i64::try_from(step * nth as u128).expect("near");
        let when = jiff::Timestamp::from_millisecond(due).expect("near").to_string();
        let ask = crate::support::wire::Ask::tool("reminder_set", &json!({ "when": when, "message": message }));
        content(&ask.bearer(&tenant).send_to(router.clone()).await.json());
    }
    assert!(now_millis() < begin, "the machine was too slow to set them in {ahead:?}");
    let count = || heard.lock().expect("whole").len();
    let deadline = ahead + over + PATIENCE;
    let waiting = async {
        while count() < tenants * each {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(deadline, waiting).await.expect("all of them come");
    service.close().await;
    assert!(most.load(Ordering::SeqCst) <= resident_max, "{} open of {resident_max}", most.load(Ordering::SeqCst));
    let heard = std::mem::take(&mut *heard.lock().expect("whole"));
    let mut once: Vec<_> = heard.iter().map(|(tenant, message, _)| (tenant.clone(), message.clone())).collect();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), tenants * each);
    assert_eq!(heard.len(), tenants * each, "some came twice");
    let mut late: Vec<_> =
        heard.iter().map(|(.., late)| Duration::from_millis(u64::try_from(*late).expect("none is early"))).collect();
    late.sort();
    late
}

/// A server that knows how many of its kind there are: as many as there are open tenants.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl rmcp::ServerHandler for Counted {}

fn now_millis() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis()).expect("near")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_them_comes_once_each_with_few_tenants_open() {
    let late = storm(24, 5, 4, Duration::from_secs(20), Duration::from_secs(2)).await;
    assert_eq!(late.len(), 120);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "large: cargo test --test it thousand -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "it is run for its figures")]
async fn ten_thousand_over_a_thousand_tenants() {
    let late = storm(1_000, 10, 100, Duration::from_secs(240), Duration::from_secs(60)).await;
    let at = |part: usize| late[(late.len() - 1) * part / 100];
    println!("10,000 reminders, 1,000 tenants, 100 open: late by p50 {:?} p99 {:?} max {:?}", at(50), at(99), at(100));
    assert!(at(100) < Duration::from_secs(2), "the last was {:?} late", at(100));
}

/// `each` reminders for each of `tenants`, due over `over` from `ahead` on; each process lives until it has delivered
/// a quarter of them more, then falls.
fn killed(tenants: usize, each: usize, resident_max: usize, ahead: Duration, over: Duration) {
    let all = tenants * each;
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    let config = dir.path().join("freehold.toml");
    let settings = format!("packs = ['reminders']\n[tenants]\nauto_create = true\nresident_max = {resident_max}\n");
    std::fs::write(&config, settings).expect("a file");
    let serve = || Server::start(&data, &["--config", config.to_str().expect("UTF-8")]);
    let names: Vec<_> = (0..tenants).map(|nth| format!("t{nth}")).collect();
    let token = |name: &String| must(&data, &["token", "issue", "--tenant", name]).trim().to_owned();
    let tokens: Vec<_> = names.iter().map(token).collect();
    let server = serve();
    let begin = now_millis() + i64::try_from(ahead.as_millis()).expect("near");
    let step = over.as_millis() / all as u128;
    for nth in 0..all {
        // Neighbours in time are of different tenants.
        let due = begin + i64::try_from(step * nth as u128).expect("near");
        let when = jiff::Timestamp::from_millisecond(due).expect("near").to_string();
        let arguments = json!({ "when": when, "message": (nth / tenants).to_string() });
        content(&call(server.address(), &tokens[nth % tenants], "reminder_set", &arguments).expect("an answer"));
    }
    assert!(now_millis() < begin, "the machine was too slow to set them in {ahead:?}");
    let files: Vec<_> =
        tree(&data).into_iter().filter(|path| path.ends_with("tenant.db")).map(|path| data.join(path)).collect();
    assert_eq!(files.len(), tenants);
    let delivered = || files.iter().map(|file| messages(file).len()).sum::<usize>();
    let wait_for = |count: usize| {
        let begun = std::time::Instant::now();
        while delivered() < count {
            assert!(begun.elapsed() < ahead + over + PATIENCE, "{} of {count}", delivered());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let mut server = Some(server);
    for quarter in 1..4 {
        wait_for((all * quarter).div_ceil(4));
        server.take().expect("a server").kill();
        server = Some(serve());
    }
    wait_for(all);
    assert!(server.take().expect("a server").terminate().success());
    for file in &files {
        let mut found = messages(file);
        found.sort_by_key(|message| message.parse::<usize>().expect("a number of ours"));
        assert_eq!(found, (0..each).map(|nth| nth.to_string()).collect::<Vec<_>>(), "{}", file.display());
    }
}

#[test]
fn none_is_lost_by_kill_9() {
    killed(6, 5, 3, Duration::from_secs(10), Duration::from_secs(2));
}

#[test]
#[ignore = "large: cargo test --test it thousand -- --ignored --nocapture"]
fn none_of_ten_thousand_over_a_thousand_tenants_is_lost_by_kill_9() {
    killed(1_000, 10, 100, Duration::from_secs(360), Duration::from_secs(60));
}

/// What a tenant's inbox holds, as another process sees it.
fn messages(file: &std::path::Path) -> Vec<String> {
    let read = || -> freehold::rusqlite::Result<Vec<String>> {
        let conn = Connection::open_with_flags(file, freehold::rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        conn.busy_timeout(Duration::from_secs(5))?;
        let mut read = conn.prepare("SELECT message FROM _fh_inbox")?;
        read.query_map([], |row| row.get(0))?.collect()
    };
    // The host may hold the file at this moment: then it is looked at again.
    read().unwrap_or_default()
}
