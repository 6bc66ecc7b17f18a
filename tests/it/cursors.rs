//! Cursors while others write: what each kind promises, tried with writes by chance between the pages.

use std::collections::BTreeMap;

use freehold::TestHost;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::{content, plain, soon};

async fn did(host: &TestHost, tool: &str, arguments: Value) -> Value {
    content(&soon(host.call("a", tool, arguments)).await).clone()
}

async fn execute(host: &TestHost, sql: String) {
    did(host, "sql_execute", json!({ "statements": [{ "sql": sql }] })).await;
}

/// What happens between two pages.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Append,
    Change(i64),
    Elsewhere,
    Delete(i64),
    Insert(i64),
}

async fn happen(host: &TestHost, what: Meanwhile, last: &mut i64) {
    let sql = match what {
        Meanwhile::Append => {
            *last += 10;
            format!("INSERT INTO t VALUES ({last}, 'appended')")
        }
        Meanwhile::Change(n) => format!("UPDATE t SET word = 'changed' WHERE n = {n}"),
        Meanwhile::Elsewhere => "INSERT INTO u VALUES (1)".to_owned(),
        Meanwhile::Delete(n) => format!("DELETE FROM t WHERE n = {n}"),
        Meanwhile::Insert(n) => format!("INSERT OR IGNORE INTO t VALUES ({}, 'between')", n + 5),
    };
    execute(host, sql).await;
}

/// All pages of `limit` rows, and how often each row of the beginning was told.
async fn read(host: &TestHost, limit: usize, between: &[Meanwhile]) -> (BTreeMap<i64, usize>, bool) {
    execute(host, "DELETE FROM t".to_owned()).await;
    let fill = "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 10 UNION ALL SELECT n + 10 FROM c WHERE n < 300) SELECT n, '' FROM c";
    execute(host, fill.to_owned()).await;
    let (mut told, mut sorted, mut before, mut last) = (BTreeMap::new(), true, i64::MIN, 300);
    let (mut cursor, mut between) = (Value::Null, between.iter());
    loop {
        let asked = json!({ "sql": "SELECT n FROM t ORDER BY n", "limit": limit, "cursor": cursor });
        let page = did(host, "sql_query", asked).await;
        for row in page["rows"].as_array().expect("rows") {
            let n = row[0].as_i64().expect("a number");
            sorted &= n > before;
            before = n;
            if n <= 300 && n % 10 == 0 {
                *told.entry(n).or_insert(0) += 1;
            }
        }
        if page["next_cursor"].is_null() {
            return (told, sorted);
        }
        cursor = page["next_cursor"].clone();
        if let Some(what) = between.next() {
            happen(host, *what, &mut last).await;
        }
    }
}

fn cases(meanwhile: impl Strategy<Value = Meanwhile>, check: impl Fn(&BTreeMap<i64, usize>, bool) -> bool) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let host = runtime.block_on(async {
        let host = plain(&["a"], |_| {});
        execute(&host, "CREATE TABLE t (n INTEGER PRIMARY KEY, word TEXT)".to_owned()).await;
        execute(&host, "CREATE TABLE u (n)".to_owned()).await;
        host
    });
    let story = (1_usize..12, prop::collection::vec(meanwhile, 0..30));
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&story, |(limit, between)| {
        let (told, sorted) = runtime.block_on(read(&host, limit, &between));
        prop_assert!(check(&told, sorted), "{told:?}, sorted: {sorted}");
        Ok(())
    });
    outcome.expect("the promise holds");
    runtime.block_on(host.close());
}

fn place() -> impl Strategy<Value = i64> {
    (1_i64..=30).prop_map(|n| n * 10)
}

/// Where nobody adds or removes rows before it, a cursor of `sql_query` tells each row once.
#[test]
fn rows_that_keep_their_places_are_told_once() {
    let meanwhile =
        prop_oneof![Just(Meanwhile::Append), place().prop_map(Meanwhile::Change), Just(Meanwhile::Elsewhere)];
    cases(meanwhile, |told, sorted| sorted && told.len() == 30 && told.values().all(|times| *times == 1));
}

/// Where rows are removed, none comes twice, and the order stands.
#[test]
fn removed_rows_make_none_come_twice() {
    let meanwhile = prop_oneof![Just(Meanwhile::Append), place().prop_map(Meanwhile::Delete)];
    cases(meanwhile, |told, sorted| sorted && told.values().all(|times| *times == 1));
}

/// Where rows are added, none is passed over.
#[test]
fn added_rows_make_none_be_passed_over() {
    let meanwhile = prop_oneof![Just(Meanwhile::Append), place().prop_map(Meanwhile::Insert)];
    cases(meanwhile, |told, _| told.len() == 30);
}

/// A cursor of `kv_list` stands at a key: whatever comes and goes, what stays is told once.
#[test]
fn keys_that_stay_are_told_once_whatever_comes_and_goes() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let host = runtime.block_on(async {
        let host = plain(&["a"], |_| {});
        for n in 0..20 {
            did(&host, "kv_set", json!({ "key": format!("k{:03}", n * 10), "value": n })).await;
        }
        host
    });
    let story = (1_usize..8, prop::collection::vec((0_u32..20, 1_u32..10, any::<bool>()), 0..20));
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&story, |(limit, between)| {
        let told = runtime.block_on(async {
            let (mut told, mut cursor, mut between) = (Vec::new(), Value::Null, between.iter());
            loop {
                let page = did(&host, "kv_list", json!({ "prefix": "k", "limit": limit, "cursor": cursor })).await;
                told.extend(
                    page["keys"]
                        .as_array()
                        .expect("keys")
                        .iter()
                        .map(|key| key["key"].as_str().expect("text").to_owned()),
                );
                if page["next_cursor"].is_null() {
                    return told;
                }
                cursor = page["next_cursor"].clone();
                if let Some((at, beside, sets)) = between.next() {
                    // Never one of those that stay: their numbers end in 0.
                    let key = format!("k{:03}", at * 10 + beside);
                    match sets {
                        true => did(&host, "kv_set", json!({ "key": key, "value": 0 })).await,
                        false => did(&host, "kv_delete", json!({ "key": key })).await,
                    };
                }
            }
        });
        let stayed: Vec<_> = told.iter().filter(|key| key.ends_with('0')).cloned().collect();
        let expected: Vec<_> = (0..20).map(|n| format!("k{:03}", n * 10)).collect();
        prop_assert_eq!(stayed, expected);
        prop_assert!(told.is_sorted(), "{:?}", told);
        Ok(())
    });
    outcome.expect("the promise holds");
    runtime.block_on(host.close());
}
