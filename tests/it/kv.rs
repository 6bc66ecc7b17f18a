//! Keys: what a model map says, they say; versions guard against a lost change, time takes what has an end.

use std::collections::BTreeMap;

use freehold::{Clock, ErrorKind, KvSet, TestHost};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::wire::{Ask, LEGACY, Session};
use crate::support::{content, plain, refusal, soon};

async fn call(host: &TestHost, tool: &str, arguments: Value) -> Value {
    soon(host.call("a", tool, arguments)).await
}

#[tokio::test]
async fn any_json_comes_back_as_it_went_in() {
    let host = plain(&["a"], |_| {});
    let values = [
        json!(null),
        json!(true),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(9_007_199_254_740_993_i64),
        json!(0.1),
        json!("é\u{0}\u{1f600}"),
        json!([1, [2, { "a": null }]]),
        json!({ "": {}, "b": [] }),
    ];
    for value in values {
        let set = call(&host, "kv_set", json!({ "key": "k", "value": value })).await;
        let version = &content(&set)["version"];
        let got = call(&host, "kv_get", json!({ "key": "k" })).await;
        assert_eq!(content(&got), &json!({ "found": true, "value": value, "version": version }));
    }
    assert_eq!(content(&call(&host, "kv_get", json!({ "key": "other" })).await), &json!({ "found": false }));
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let older = session.call(&host, "kv_get", json!({ "key": "k" })).await;
    assert_eq!(content(&older)["value"], json!({ "": {}, "b": [] }));
    host.close().await;
}

#[tokio::test]
async fn a_change_on_a_stale_version_is_refused_with_the_present_one() {
    let host = plain(&["a"], |_| {});
    let set = |value: i64, at: Option<u64>| {
        let mut arguments = json!({ "key": "k", "value": value });
        if let Some(at) = at {
            arguments["if_version"] = json!(at);
        }
        call(&host, "kv_set", arguments)
    };
    let absent = set(0, Some(7)).await;
    assert!(refusal(&absent).contains("not there"), "{absent}");
    let first = content(&set(1, Some(0)).await)["version"].as_u64().expect("a version");
    let there = set(2, Some(0)).await;
    assert!(refusal(&there).contains(&format!("at version {first}")), "{there}");
    let second = content(&set(2, Some(first)).await)["version"].as_u64().expect("a version");
    let stale = set(3, Some(first)).await;
    assert!(refusal(&stale).contains(&format!("at version {second}")), "{stale}");
    assert_eq!(stale["result"]["_meta"]["freehold/refusal"]["kind"], "conflict");
    refusal(&call(&host, "kv_delete", json!({ "key": "k", "if_version": first })).await);
    assert_eq!(content(&call(&host, "kv_get", json!({ "key": "k" })).await)["value"], 2);

    // Deleted and set anew it is another thing: no older version fits it again.
    let gone = call(&host, "kv_delete", json!({ "key": "k", "if_version": second })).await;
    assert_eq!(content(&gone)["deleted"], true);
    assert_eq!(content(&call(&host, "kv_delete", json!({ "key": "k" })).await)["deleted"], false);
    let third = content(&set(4, Some(0)).await)["version"].as_u64().expect("a version");
    assert!(third > second);
    host.close().await;
}

#[tokio::test]
async fn time_takes_what_has_an_end() {
    let host = plain(&["a"], |_| {});
    let now = host.clock().unix_seconds();
    let set = call(&host, "kv_set", json!({ "key": "k", "value": 1, "ttl_seconds": 10 })).await;
    assert_eq!(content(&set)["expires_at"], "2030-01-01T00:00:10Z");
    host.clock().set(now + 9);
    assert_eq!(content(&call(&host, "kv_get", json!({ "key": "k" })).await)["found"], true);
    host.clock().set(now + 10);
    assert_eq!(content(&call(&host, "kv_get", json!({ "key": "k" })).await)["found"], false);
    assert_eq!(content(&call(&host, "kv_list", json!({})).await)["keys"], json!([]));
    assert_eq!(content(&call(&host, "kv_delete", json!({ "key": "k" })).await)["deleted"], false);
    content(&call(&host, "kv_set", json!({ "key": "k", "value": 2, "if_version": 0 })).await);

    // What is over is cleared away by the writes that follow, so that it does not fill the file.
    for n in 0..40 {
        content(&call(&host, "kv_set", json!({ "key": format!("e{n}"), "value": n, "ttl_seconds": 1 })).await);
    }
    host.clock().set(now + 12);
    for n in 0..3 {
        content(&call(&host, "kv_set", json!({ "key": format!("x{n}"), "value": n })).await);
    }
    let tenant = host.tenant("a").await.expect("a tenant");
    let left = tenant.read(|conn| Ok(conn.query_row("SELECT count(*) FROM _fh_kv", [], |row| row.get::<_, i64>(0))?));
    assert_eq!(left.await.expect("a count"), 4);
    host.close().await;
}

#[tokio::test]
async fn a_listing_pages_by_a_cursor_of_its_own() {
    let host = plain(&["a", "b"], |_| {});
    for tenant in ["a", "b"] {
        for n in 0..25 {
            let set = json!({ "key": format!("p:{n:02}"), "value": n });
            content(&soon(host.call(tenant, "kv_set", set)).await);
        }
    }
    content(&call(&host, "kv_set", json!({ "key": "q", "value": 0 })).await);
    let (mut all, mut cursor) = (Vec::new(), json!(null));
    loop {
        let answer = call(&host, "kv_list", json!({ "prefix": "p:", "limit": 10, "cursor": cursor })).await;
        let page = content(&answer).clone();
        all.extend(page["keys"].as_array().expect("keys").iter().map(|key| key["value"].clone()));
        if page["next_cursor"].is_null() {
            break;
        }
        cursor = page["next_cursor"].clone();
    }
    assert_eq!(json!(all), json!((0..25).collect::<Vec<_>>()));

    let ask = |cursor: &Value, prefix: &str| json!({ "prefix": prefix, "limit": 10, "cursor": cursor });
    assert!(refusal(&call(&host, "kv_list", ask(&cursor, "p")).await).contains("cursor"));
    assert!(refusal(&call(&host, "kv_list", ask(&json!("garbage"), "p:")).await).contains("cursor"));
    assert!(refusal(&soon(host.call("b", "kv_list", ask(&cursor, "p:"))).await).contains("cursor"));
    let another = crate::support::token::Forge::of(&host).with("sub", "another");
    let theirs = Ask::tool("kv_list", &ask(&cursor, "p:")).bearer(&another).send(&host).await.json();
    assert!(refusal(&theirs).contains("cursor"), "{theirs}");
    content(&call(&host, "kv_list", ask(&cursor, "p:")).await);

    // It holds after a restart: its secret is in the tenant's file.
    let host = host.restart().await.expect("a host");
    content(&call(&host, "kv_list", ask(&cursor, "p:")).await);
    host.close().await;
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let host = plain(&["a"], |settings| settings.limits.kv_value_bytes = bytesize::ByteSize::b(100));
    let long = "k".repeat(512);
    content(&call(&host, "kv_set", json!({ "key": long, "value": "x".repeat(98) })).await);
    let refused = call(&host, "kv_set", json!({ "key": "k", "value": "x".repeat(99) })).await;
    assert!(refusal(&refused).contains("100"), "{refused}");
    assert_eq!(refused["result"]["_meta"]["freehold/refusal"]["limit"], "kv_value_bytes");
    for key in ["", &"k".repeat(513)] {
        refusal(&call(&host, "kv_set", json!({ "key": key, "value": 1 })).await);
        refusal(&call(&host, "kv_get", json!({ "key": key })).await);
    }
    refusal(&call(&host, "kv_set", json!({ "key": "k", "value": 1, "ttl_seconds": 0 })).await);
    refusal(&call(&host, "kv_list", json!({ "limit": 0 })).await);
    assert_eq!(content(&call(&host, "kv_list", json!({})).await)["keys"].as_array().map(Vec::len), Some(1));
    host.close().await;
}

#[tokio::test]
async fn keys_join_a_transaction_of_the_embedder() {
    let host = plain(&["a"], |_| {});
    let tenant = host.tenant("a").await.expect("a tenant");
    let kv = tenant.kv();
    let within = kv.clone();
    let undone = tenant.write(move |tx| {
        within.on(tx).set("k", &json!(1), KvSet::default())?;
        assert_eq!(within.on(tx).get("k")?.map(|entry| entry.value), Some(json!(1)));
        Err::<(), _>(freehold::Error::invalid("no"))
    });
    assert!(undone.await.is_err());
    assert_eq!(kv.get("k").await.expect("an answer"), None);
    let within = kv.clone();
    tenant.write(move |tx| within.on(tx).set("k", &json!(2), KvSet::default())).await.expect("set");
    assert_eq!(kv.get("k").await.expect("an answer").map(|entry| entry.value), Some(json!(2)));
    let stale = kv.set("k", json!(3), KvSet { if_version: Some(99), ..KvSet::default() }).await;
    assert_eq!(stale.expect_err("a conflict").kind(), ErrorKind::Conflict);
    let refused = soon(host.call("a", "sql_query", json!({ "sql": "SELECT * FROM _fh_kv" }))).await;
    assert!(refusal(&refused).contains("_fh_"), "{refused}");
    host.close().await;
}

/// What is done in one case of the property.
#[derive(Clone, Debug)]
enum Step {
    Set { key: String, value: u8, ttl: Option<u64>, guard: Guard },
    Delete { key: String, guard: Guard },
    Get(String),
    List { prefix: String, page: usize },
    Wait(u64),
    Restart,
}

/// Which version a change asks for.
#[derive(Clone, Copy, Debug)]
enum Guard {
    None,
    Absent,
    Present,
    Stale,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::sample::select(vec!["a", "a\u{0}", "ab", "b", "é", "\u{10ffff}", "\u{10ffff}x"]);
    let key = move || key().prop_map(str::to_owned);
    let guard = || prop::sample::select(vec![Guard::None, Guard::None, Guard::Absent, Guard::Present, Guard::Stale]);
    let prefix = prop::sample::select(vec!["", "a", "ab", "é", "\u{10ffff}", "z"]).prop_map(str::to_owned);
    prop_oneof![
        6 => (key(), any::<u8>(), prop::option::of(1..4_u64), guard())
            .prop_map(|(key, value, ttl, guard)| Step::Set { key, value, ttl, guard }),
        3 => (key(), guard()).prop_map(|(key, guard)| Step::Delete { key, guard }),
        3 => key().prop_map(Step::Get),
        2 => (prefix, 1..4_usize).prop_map(|(prefix, page)| Step::List { prefix, page }),
        2 => (1..3_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// A key of the model: value, version, end.
type Model = BTreeMap<String, (u8, u64, Option<u64>)>;

async fn agrees(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut host = plain(&["a"], |_| {});
    let (mut model, mut newest) = (Model::new(), 0);
    for step in steps {
        let now = host.clock().unix_seconds();
        model.retain(|_, (.., end)| end.is_none_or(|end| end > now));
        let kv = host.tenant("a").await.expect("a tenant").kv();
        let guarded = |key: &str, guard| {
            let present = model.get(key).map(|(_, version, _)| *version);
            let wanted = match guard {
                Guard::None => None,
                Guard::Absent => Some(0),
                Guard::Present => Some(present.unwrap_or(0)),
                Guard::Stale => Some(newest + 7),
            };
            (wanted, wanted.is_none_or(|wanted| wanted == present.unwrap_or(0)))
        };
        match step {
            Step::Set { key, value, ttl, guard } => {
                let (if_version, fits) = guarded(&key, guard);
                let set = kv.set(&key, json!(value), KvSet { ttl_seconds: ttl, if_version }).await;
                prop_assert_eq!(set.is_ok(), fits);
                if let Ok((version, end)) = set {
                    prop_assert!(version > newest);
                    prop_assert_eq!(end, ttl.map(|ttl| now + ttl));
                    newest = version;
                    model.insert(key, (value, version, end));
                }
            }
            Step::Delete { key, guard } => {
                let (if_version, fits) = guarded(&key, guard);
                match kv.delete(&key, if_version).await {
                    Ok(there) => prop_assert_eq!((fits, model.remove(&key).is_some()), (true, there)),
                    Err(error) => prop_assert_eq!((fits, error.kind()), (false, ErrorKind::Conflict)),
                }
            }
            Step::Get(key) => {
                let got = kv.get(&key).await.expect("an answer");
                let got = got.map(|entry| (entry.value, entry.version, entry.expires_at));
                let due = model.get(&key).map(|(value, version, end)| (json!(value), *version, *end));
                prop_assert_eq!(got, due);
            }
            Step::List { prefix, page } => {
                let (mut all, mut more) = (Vec::<String>::new(), true);
                while more {
                    let (entries, further) =
                        kv.list(&prefix, all.last().map(String::as_str), page).await.expect("a page");
                    prop_assert!(entries.len() <= page && (!further || entries.len() == page));
                    all.extend(entries.into_iter().map(|entry| entry.key));
                    more = further;
                }
                let due: Vec<_> = model.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
                prop_assert_eq!(all, due);
            }
            Step::Wait(seconds) => host.clock().set(now + seconds),
            Step::Restart => {
                drop(kv);
                host = host.restart().await.expect("a host");
            }
        }
    }
    host.close().await;
    Ok(())
}

#[test]
fn keys_do_what_a_map_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&prop::collection::vec(step(), 1..40), |steps| runtime.block_on(soon(agrees(steps))));
    outcome.expect("the map and the keys agree");
}
