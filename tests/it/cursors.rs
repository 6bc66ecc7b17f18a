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
async fn read(host: &TestHost, sql: &str, limit: usize, between: &[Meanwhile]) -> (BTreeMap<i64, usize>, bool) {
    execute(host, "DELETE FROM t".to_owned()).await;
    let fill = "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 10 UNION ALL SELECT n + 10 FROM c WHERE n < 300) SELECT n, '' FROM c";
    execute(host, fill.to_owned()).await;
    let (mut told, mut sorted, mut before, mut last) = (BTreeMap::new(), true, i64::MIN, 300);
    let (mut cursor, mut between) = (Value::Null, between.iter());
    loop {
        let asked = json!({ "sql": sql, "limit": limit, "cursor": cursor });
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

/// In the order of the rowid, and in one that is as good as it and has to be sorted.
const BY_ROWID: &str = "SELECT n, word FROM t ORDER BY n";
const SORTED: &str = "SELECT n, word FROM t ORDER BY n + 0";

fn cases(sql: &str, meanwhile: impl Strategy<Value = Meanwhile>, check: impl Fn(&BTreeMap<i64, usize>, bool) -> bool) {
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
        let (told, sorted) = runtime.block_on(read(&host, sql, limit, &between));
        prop_assert!(check(&told, sorted), "{told:?}, sorted: {sorted}");
        Ok(())
    });
    outcome.expect("the promise holds");
    runtime.block_on(host.close());
}

fn place() -> impl Strategy<Value = i64> {
    (1_i64..=30).prop_map(|n| n * 10)
}

/// A cursor that stands at a rowid: whatever comes and goes, what stays is told once.
#[test]
fn rows_that_stay_are_told_once_whatever_comes_and_goes() {
    // Those that go end in 50, so that the others can be counted.
    let gone = (0_i64..6).prop_map(|n| n * 50 + 50);
    let meanwhile = prop_oneof![
        Just(Meanwhile::Append),
        place().prop_map(Meanwhile::Change),
        Just(Meanwhile::Elsewhere),
        gone.prop_map(Meanwhile::Delete),
        place().prop_map(Meanwhile::Insert),
    ];
    cases(BY_ROWID, meanwhile, |told, sorted| {
        let stay = (1..=30).map(|n| n * 10).filter(|n| n % 50 != 0).all(|n| told.get(&n) == Some(&1));
        sorted && stay && told.values().all(|times| *times == 1)
    });
}

/// Where nobody adds or removes rows before it, any cursor of `sql_query` tells each row once.
#[test]
fn rows_that_keep_their_places_are_told_once() {
    let meanwhile =
        prop_oneof![Just(Meanwhile::Append), place().prop_map(Meanwhile::Change), Just(Meanwhile::Elsewhere)];
    cases(SORTED, meanwhile, |told, sorted| sorted && told.len() == 30 && told.values().all(|times| *times == 1));
}

/// Where rows are removed, none comes twice, and the order stands.
#[test]
fn removed_rows_make_none_come_twice() {
    let meanwhile = prop_oneof![Just(Meanwhile::Append), place().prop_map(Meanwhile::Delete)];
    cases(SORTED, meanwhile, |told, sorted| sorted && told.values().all(|times| *times == 1));
}

/// Where rows are added, none is passed over.
#[test]
fn added_rows_make_none_be_passed_over() {
    let meanwhile = prop_oneof![Just(Meanwhile::Append), place().prop_map(Meanwhile::Insert)];
    cases(SORTED, meanwhile, |told, _| told.len() == 30);
}

/// Each page begins where the last one ended, in every shape that such a statement has.
#[tokio::test]
async fn all_rows_come_by_cursor_whatever_the_statement() {
    let host = plain(&["a"], |_| {});
    execute(&host, "CREATE TABLE t (n INTEGER PRIMARY KEY, word TEXT)".to_owned()).await;
    let fill = "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT -20 UNION ALL SELECT n + 1 FROM c WHERE n < 20) SELECT n, 'w' || (n % 3) FROM c";
    execute(&host, fill.to_owned()).await;
    for (sql, rows) in [
        ("SELECT n FROM t", 41),
        ("SELECT word, n FROM t ORDER BY n DESC", 41),
        ("SELECT n FROM t; -- the end", 41),
        ("SELECT n FROM t -- the end", 41),
        ("SELECT n FROM t LIMIT 17", 17),
        ("SELECT n FROM t ORDER BY n DESC LIMIT 17 OFFSET 3", 17),
        ("SELECT n AS \"a \"\"b\"\"\" FROM t WHERE n > ?", 25),
        ("SELECT DISTINCT word FROM t", 5),
        ("SELECT word, count(*) FROM t GROUP BY word ORDER BY 2, 1", 5),
        ("SELECT n FROM t ORDER BY abs(n), n", 41),
        ("SELECT a.n FROM t AS a JOIN t AS b ON b.n = a.n + 1", 40),
        ("VALUES (1), (2), (3), (4), (5)", 5),
    ] {
        let params = if sql.contains('?') { json!([-5]) } else { json!([]) };
        let whole = did(&host, "sql_query", json!({ "sql": sql, "params": params })).await;
        let (mut paged, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let asked = json!({ "sql": sql, "params": params, "limit": 2, "cursor": cursor });
            let page = did(&host, "sql_query", asked).await;
            assert_eq!(page["columns"], whole["columns"], "{sql}");
            paged.extend(page["rows"].as_array().expect("rows").iter().cloned());
            if page["next_cursor"].is_null() {
                break;
            }
            cursor = page["next_cursor"].clone();
        }
        assert_eq!(&paged, whole["rows"].as_array().expect("rows"), "{sql}");
        assert_eq!(paged.len(), rows, "{sql}");
    }
    host.close().await;
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
