//! Memory: found by words whatever stands in the query, in any script, by tag and by age; and gone when forgotten.

use freehold::{Clock, TestHost};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::wire::{LEGACY, Session};
use crate::support::{content, plain, refusal, soon, tree};

async fn call(host: &TestHost, tool: &str, arguments: Value) -> Value {
    soon(host.call("a", tool, arguments)).await
}

async fn save(host: &TestHost, text: &str, tags: &[&str]) -> i64 {
    let saved = call(host, "memory_save", json!({ "text": text, "tags": tags })).await;
    content(&saved)["id"].as_i64().expect("an id")
}

async fn ids(host: &TestHost, tool: &str, arguments: Value) -> Vec<i64> {
    let answer = call(host, tool, arguments).await;
    let notes = content(&answer)["notes"].as_array().expect("notes");
    notes.iter().map(|note| note["id"].as_i64().expect("an id")).collect()
}

async fn found(host: &TestHost, query: &str) -> Vec<i64> {
    ids(host, "memory_search", json!({ "query": query })).await
}

#[tokio::test]
async fn a_note_is_found_by_its_words() {
    let host = plain(&["a", "b"], |_| {});
    let blue = save(&host, "The customer prefers the blue theme", &["ui"]).await;
    let deploy = save(&host, "Deploys happen on Fridays, never on Mondays", &[]).await;
    assert_eq!(found(&host, "which theme?").await, [blue]);
    assert_eq!(found(&host, "DEPLOYS blue").await.len(), 2);
    assert_eq!(found(&host, "\"on fridays\"").await, [deploy]);
    assert_eq!(found(&host, "\"fridays on\"").await, Vec::<i64>::new());
    assert_eq!(found(&host, "ui").await, [blue], "tags are words too");
    let whole = call(&host, "memory_search", json!({ "query": "fridays" })).await;
    let note = &content(&whole)["notes"][0];
    assert_eq!(note["text"], "Deploys happen on Fridays, never on Mondays");
    assert_eq!(note["created_at"], "2030-01-01T00:00:00Z");
    assert!(note["score"].as_f64().expect("a score") > 0.0);
    let theirs = soon(host.call("b", "memory_search", json!({ "query": "theme fridays" }))).await;
    assert_eq!(content(&theirs)["notes"], json!([]));
    let session = Session::open(&host, "a", LEGACY[0]).await;
    let older = session.call(&host, "memory_search", json!({ "query": "theme" })).await;
    assert_eq!(content(&older)["notes"][0]["id"], blue);
    let host = host.restart().await.expect("a host");
    assert_eq!(found(&host, "theme").await, [blue]);
    host.close().await;
}

#[tokio::test]
async fn every_script_is_searched() {
    let host = plain(&["a"], |_| {});
    let cases = [
        ("Crème brûlée für Zoë", "creme BRULEE zoe"),
        ("Встреча в пятницу", "ПЯТНИЦУ"),
        ("東京タワーで会議", "京タ"),
        ("서울에서 만나요", "서울"),
        ("cafe\u{301} latte", "café"),
        ("🦀 crab emoji", "crab"),
        ("snake_case and kebab-case", "kebab-case"),
        ("mail: someone@example.com", "someone@example.com"),
        ("nul\u{0}byte", "byte"),
    ];
    for (text, query) in cases {
        let id = save(&host, text, &[]).await;
        assert_eq!(found(&host, query).await.first(), Some(&id), "{query} in {text}");
    }
    host.close().await;
}

#[tokio::test]
async fn tags_choose_and_age_weighs() {
    let host = plain(&["a"], |_| {});
    let old = save(&host, "the plan is good", &["work", "q1"]).await;
    host.clock().set(host.clock().unix_seconds() + 60 * 86_400);
    let new = save(&host, "the plan is good", &["work"]).await;
    let home = save(&host, "the plan is better, and this note is a long one about the house", &["home"]).await;
    assert_eq!(found(&host, "plan good").await, [new, old, home]);
    let search = |tags: Value| ids(&host, "memory_search", json!({ "query": "plan", "tags": tags }));
    assert_eq!(search(json!(["work"])).await, [new, old]);
    assert_eq!(search(json!(["q1", "work"])).await, [old]);
    assert_eq!(search(json!(["nowhere"])).await, Vec::<i64>::new());
    assert_eq!(ids(&host, "memory_list", json!({ "tags": ["work"] })).await, [new, old]);
    assert_eq!(ids(&host, "memory_list", json!({})).await, [home, new, old]);
    host.close().await;
}

#[tokio::test]
async fn a_list_pages_while_notes_come_and_go() {
    let host = plain(&["a"], |_| {});
    let mut saved = Vec::new();
    for n in 0..25 {
        saved.push(save(&host, &format!("note {n}"), &["t"]).await);
    }
    let (mut all, mut cursor) = (Vec::new(), json!(null));
    loop {
        let answer = call(&host, "memory_list", json!({ "limit": 7, "tags": ["t"], "cursor": cursor })).await;
        let page = content(&answer).clone();
        all.extend(page["notes"].as_array().expect("notes").iter().filter_map(|note| note["id"].as_i64()));
        if page["next_cursor"].is_null() {
            break;
        }
        cursor = page["next_cursor"].clone();
        save(&host, "later", &["t"]).await;
        let told = all[all.len() - 2];
        content(&call(&host, "memory_forget", json!({ "id": told })).await);
    }
    saved.reverse();
    assert_eq!(all, saved, "each that was there is told once, whatever comes and goes");
    refusal(&call(&host, "memory_list", json!({ "tags": ["u"], "cursor": cursor })).await);
    host.close().await;
}

#[tokio::test]
async fn time_takes_a_note() {
    let host = plain(&["a"], |_| {});
    let kept = call(&host, "memory_save", json!({ "text": "short lived", "ttl_seconds": 5 })).await;
    let id = content(&kept)["id"].clone();
    assert_eq!(found(&host, "lived").await.len(), 1);
    host.clock().set(host.clock().unix_seconds() + 5);
    assert_eq!(found(&host, "lived").await, Vec::<i64>::new());
    assert_eq!(ids(&host, "memory_list", json!({})).await, Vec::<i64>::new());
    save(&host, "another", &[]).await;
    assert_eq!(content(&call(&host, "memory_forget", json!({ "id": id })).await)["forgotten"], false);
    host.close().await;
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let host = plain(&["a"], |settings| settings.limits.memory_text_bytes = bytesize::ByteSize::b(100));
    save(&host, &"x".repeat(100), &[]).await;
    let refused = call(&host, "memory_save", json!({ "text": "x".repeat(101) })).await;
    assert!(refusal(&refused).contains("100"), "{refused}");
    assert_eq!(refused["result"]["_meta"]["freehold/refusal"]["limit"], "memory_text_bytes");
    let many: Vec<_> = (0..17).map(|n| n.to_string()).collect();
    for wrong in [
        json!({ "text": "" }),
        json!({ "text": " \n" }),
        json!({ "text": "x", "tags": many }),
        json!({ "text": "x", "tags": [""] }),
        json!({ "text": "x", "tags": ["t".repeat(65)] }),
        json!({ "text": "x", "source": "s".repeat(513) }),
        json!({ "text": "x", "ttl_seconds": 0 }),
    ] {
        refusal(&call(&host, "memory_save", wrong).await);
    }
    assert_eq!(ids(&host, "memory_list", json!({})).await.len(), 1);
    host.close().await;
}

/// Not in the file, not in its index, not in its log: neither while the host runs nor after.
#[tokio::test]
async fn what_is_forgotten_is_gone_from_the_disk() {
    let host = plain(&["a"], |_| {});
    let filler = |n: usize| format!("{} filler{n} {}", "lorem ipsum dolor ".repeat(n % 40), "x".repeat(n * 37 % 3000));
    let canary = |n: usize| format!("zzcanary{n}quux");
    let mut marked = Vec::new();
    for n in 0..120 {
        let text = if n % 4 == 0 { format!("{} {} {}", filler(n), canary(n), filler(n + 1)) } else { filler(n) };
        let tag = if n % 4 == 0 { format!("tt{}", canary(n)) } else { format!("tag{n}") };
        let id = save(&host, &text, &["all", &tag]).await;
        marked.push(id);
    }
    // Where it stands, with what stands around it.
    let on_disk = |host: &TestHost, needle: &str| {
        let mut found = Vec::new();
        for path in tree(host.dir()).into_iter().filter(|path| host.dir().join(path).is_file()) {
            // The past is kept for as long as [history] says.
            if path.components().any(|part| part.as_os_str() == "history") {
                continue;
            }
            let bytes = std::fs::read(host.dir().join(&path)).expect("a file");
            for at in memchr::memmem::find_iter(&bytes, needle.as_bytes()) {
                let around = &bytes[at.saturating_sub(24)..(at + 40).min(bytes.len())];
                found.push(format!("{path:?} at {at}: {}", around.escape_ascii()));
            }
        }
        found
    };
    assert!(!on_disk(&host, "zzcanary0quux").is_empty(), "the test looks in the wrong place");
    for (n, id) in marked.iter().enumerate() {
        // All but every third, in an order that makes pages merge.
        let at = (n * 53) % marked.len();
        if at % 3 != 0 || at % 4 == 0 {
            let gone = call(&host, "memory_forget", json!({ "id": marked[at] })).await;
            assert_eq!(content(&gone)["forgotten"], true, "{id}");
        }
    }
    // The log is emptied after the reply that told so, before the next one.
    call(&host, "memory_save", json!({ "text": "the end" })).await;
    call(&host, "memory_forget", json!({ "id": 1 })).await;
    // The index keeps the end of a word apart from its beginning.
    for part in ["quux", "zzcan", "zzc"] {
        assert_eq!(on_disk(&host, part), Vec::<String>::new(), "{part} is still there while the host runs");
    }
    assert_eq!(found(&host, &canary(0)).await, Vec::<i64>::new());
    assert_eq!(found(&host, "filler3").await.len(), 1, "what was not forgotten is there");
    let host = host.restart().await.expect("a host");
    for part in ["quux", "zzcan", "zzc"] {
        assert_eq!(on_disk(&host, part), Vec::<String>::new(), "{part} is still there after a restart");
    }
    host.close().await;
}

/// FTS5 has a syntax of its own, and none of it may reach a model as an error.
#[test]
fn no_query_is_an_error() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let host = runtime.block_on(async {
        let host = plain(&["a"], |_| {});
        save(&host, "AND OR NOT NEAR text tags rowid rank", &["t"]).await;
        host
    });
    let syntax = prop::sample::select(vec![
        "\"",
        "'",
        "*",
        "^",
        "(",
        ")",
        "{",
        "}",
        ":",
        "-",
        "+",
        ",",
        "NEAR(",
        "AND",
        "OR",
        "NOT",
        "text:",
        "{text tags} :",
        "rowid",
        "\u{0}",
        "東",
        "é",
        "\u{200d}",
        "\\",
        ";",
        "--",
        "/*",
        "%",
        "a",
        " ",
        "\"\"",
        "rank",
    ]);
    let query = prop_oneof![prop::collection::vec(syntax, 0..20).prop_map(|parts| parts.concat()), any::<String>(),];
    let mut runner = TestRunner::new(Config { cases: 256, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&query, |query| {
        let answer = runtime.block_on(call(&host, "memory_search", json!({ "query": query })));
        prop_assert!(answer["result"]["structuredContent"]["notes"].is_array(), "{}", answer);
        Ok(())
    });
    outcome.expect("an answer to any query");
    runtime.block_on(host.close());
}
