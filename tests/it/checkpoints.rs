//! Checkpoints: all of a tenant's data comes back, what is the present's stays, and nothing that a restore replaces
//! is lost.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use freehold::rusqlite::Connection;
use freehold::{Host, Migration, Settings, TestHost};
use http::Method;
use serde_json::{Value, json};

use crate::support::events::Events;
use crate::support::process::{Server, call as call_at, must, run};
use crate::support::token::ByName;
use crate::support::wire::{Ask, LEGACY, Session, rpc};
use crate::support::{Plain, content, numbers, plain, refusal, soon, tree};

async fn call(host: &TestHost, tool: &str, arguments: Value) -> Value {
    soon(host.call("a", tool, arguments)).await
}

async fn did(host: &TestHost, tool: &str, arguments: Value) -> Value {
    content(&call(host, tool, arguments).await).clone()
}

async fn execute(host: &TestHost, statements: &[&str]) {
    let statements: Vec<_> = statements.iter().map(|sql| json!({ "sql": sql })).collect();
    did(host, "sql_execute", json!({ "statements": statements })).await;
}

async fn query(host: &TestHost, sql: &str) -> Value {
    did(host, "sql_query", json!({ "sql": sql })).await["rows"].clone()
}

async fn checkpoint(host: &TestHost, label: &str) -> String {
    did(host, "checkpoint_create", json!({ "label": label })).await["bookmark"].as_str().expect("a name").to_owned()
}

/// As a client does that can't ask its user.
async fn restore(host: &TestHost, bookmark: &str) -> String {
    let done = did(host, "checkpoint_restore", json!({ "bookmark": bookmark, "replace_everything": true })).await;
    assert_eq!(done["restored"], bookmark);
    done["undo"].as_str().expect("a name").to_owned()
}

/// The file of a checkpoint below `dir`.
fn file_of(dir: &Path, bookmark: &str) -> PathBuf {
    let wanted = Path::new("snapshots").join(format!("{bookmark}.sqlite"));
    dir.join(tree(dir).into_iter().find(|path| path.ends_with(&wanted)).expect("a file of its name"))
}

#[tokio::test]
async fn everything_comes_back_and_the_present_goes_on() {
    let host = plain(&["a", "b"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    execute(&host, &["CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1), (2)"]).await;
    did(&host, "kv_set", json!({ "key": "k", "value": "old" })).await;
    let note = did(&host, "memory_save", json!({ "text": "an old thought" })).await["id"].clone();
    did(&host, "reminder_set", json!({ "when": "in 2h", "message": "old" })).await;
    let bookmark = checkpoint(&host, "before the mistake").await;

    execute(&host, &["DROP TABLE t", "CREATE TABLE u (n INTEGER)"]).await;
    let newer = did(&host, "kv_set", json!({ "key": "k", "value": "new" })).await["version"].clone();
    did(&host, "memory_forget", json!({ "id": note })).await;
    let later = did(&host, "memory_save", json!({ "text": "a new thought" })).await["id"].clone();
    did(&host, "reminder_set", json!({ "when": "in 1h", "message": "new" })).await;
    let during = Session::open(&host, "a", LEGACY[2]).await;
    content(&soon(host.call("b", "kv_set", json!({ "key": "k", "value": "theirs" }))).await);

    let undo = restore(&host, &bookmark).await;
    assert_eq!(query(&host, "SELECT n FROM t ORDER BY n").await, json!([[1], [2]]));
    assert_eq!(query(&host, "SELECT count(*) FROM pragma_table_list WHERE name = 'u'").await, json!([[0]]));
    assert_eq!(did(&host, "kv_get", json!({ "key": "k" })).await["value"], "old");
    assert_eq!(did(&host, "memory_search", json!({ "query": "thought" })).await["notes"][0]["id"], note);
    let listed = did(&host, "reminder_list", json!({})).await;
    assert_eq!(listed["reminders"].as_array().expect("a list").len(), 1);
    // Numbers that were given out are not given out again.
    let stale = call(&host, "kv_set", json!({ "key": "k", "value": "x", "if_version": newer })).await;
    assert!(refusal(&stale).contains("nothing was changed"), "{stale}");
    let next = did(&host, "kv_set", json!({ "key": "k2", "value": 1 })).await["version"].as_u64();
    assert!(next > newer.as_u64(), "{next:?} after {newer}");
    let fresh = did(&host, "memory_save", json!({ "text": "yet another" })).await["id"].as_i64();
    assert!(fresh > later.as_i64(), "{fresh:?} after {later}");
    // Sessions from before and after the checkpoint go on, in memory and from the file; so does the journal.
    for session in [&session, &during] {
        assert_eq!(content(&session.call(&host, "kv_get", json!({ "key": "k" })).await)["value"], "old");
    }
    let host = host.restart().await.expect("a host");
    for session in [&session, &during] {
        assert_eq!(content(&session.call(&host, "kv_get", json!({ "key": "k" })).await)["value"], "old");
    }
    let tenant = host.tenant("a").await.expect("a tenant");
    let tools: Vec<_> = tenant.calls(100).await.expect("calls").into_iter().map(|call| call.tool).collect();
    assert!(tools.iter().any(|tool| tool == "memory_forget"), "{tools:?}");
    assert_eq!(content(&soon(host.call("b", "kv_get", json!({ "key": "k" }))).await)["value"], "theirs");

    // A reminder of before comes when it is due, though the index of wake-ups had been put off.
    host.clock().set(1_893_456_000 + 3 * 3_600);
    let inbox = async {
        loop {
            let messages = did(&host, "inbox_read", json!({})).await["messages"].clone();
            if messages[0]["message"] == "old" {
                return messages;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    assert_eq!(soon(inbox).await.as_array().expect("messages").len(), 1);

    // And back to where it was before.
    restore(&host, &undo).await;
    assert_eq!(query(&host, "SELECT count(*) FROM u").await, json!([[0]]));
    assert_eq!(did(&host, "kv_get", json!({ "key": "k" })).await["value"], "new");
    assert_eq!(did(&host, "memory_search", json!({ "query": "thought" })).await["notes"][0]["id"], later);
    host.close().await;
}

#[tokio::test]
async fn a_checkpoint_is_an_ordinary_file_of_one_moment() {
    let host = plain(&["a"], |_| {});
    execute(
        &host,
        &["CREATE TABLE t (n INTEGER PRIMARY KEY, pad)", "CREATE TABLE last (n)", "INSERT INTO last VALUES (0)"],
    )
    .await;
    // Each write changes both tables: a copy between two commits shows.
    let over = Arc::new(AtomicBool::new(false));
    let (writer, stop) = (host.tenant("a").await.expect("a tenant"), Arc::clone(&over));
    let writing = tokio::spawn(async move {
        let mut n = 0_i64;
        while !stop.load(Ordering::Relaxed) {
            n += 1;
            let both = writer.write(move |tx| {
                tx.execute("INSERT INTO t VALUES (?1, zeroblob(20000))", [n])?;
                Ok(tx.execute("UPDATE last SET n = ?1", [n])?)
            });
            both.await.expect("a commit");
        }
        n
    });
    let mut made = Vec::new();
    for nth in 0..4 {
        made.push(checkpoint(&host, &format!("number {nth}")).await);
    }
    over.store(true, Ordering::Relaxed);
    assert!(soon(writing).await.expect("no panic") > 0);
    let listed = did(&host, "checkpoint_list", json!({})).await["checkpoints"].clone();
    let labels: Vec<_> = listed.as_array().expect("a list").iter().map(|one| one["label"].clone()).collect();
    assert_eq!(labels, ["number 3", "number 2", "number 1", "number 0"]);
    let mut before = -1;
    for (bookmark, told) in made.iter().zip(listed.as_array().expect("a list").iter().rev()) {
        let path = file_of(host.dir(), bookmark);
        assert_eq!(told["bytes"], std::fs::metadata(&path).expect("a file").len());
        let conn = Connection::open(&path).expect("a database");
        let say = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0)).expect("a word");
        assert_eq!(say("PRAGMA integrity_check"), "ok");
        assert_eq!(say("PRAGMA journal_mode"), "delete");
        let (count, last): (i64, i64) = conn
            .query_row("SELECT (SELECT count(*) FROM t), (SELECT n FROM last)", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .expect("a row");
        assert!(count == last && last >= before, "{bookmark}: {count} rows, the last {last}, before {before}");
        before = last;
    }
    host.close().await;
}

#[tokio::test]
async fn what_a_restore_replaces_is_kept_under_load() {
    let host = Arc::new(plain(&["a"], |_| {}));
    execute(&host, &["CREATE TABLE t (n INTEGER PRIMARY KEY)"]).await;
    let bookmark = checkpoint(&host, "empty").await;
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for lane in 0..4_u64 {
        let (host, over) = (Arc::clone(&host), Arc::clone(&over));
        writers.spawn(async move {
            let mut acknowledged = BTreeSet::new();
            let mut n = lane;
            while !over.load(Ordering::Relaxed) {
                let insert = json!({ "statements": [{ "sql": "INSERT INTO t VALUES (?)", "params": [n] }] });
                if call(&host, "sql_execute", insert).await["result"]["isError"] != true {
                    acknowledged.insert(n);
                }
                n += 4;
            }
            acknowledged
        });
    }
    let mut undos = Vec::new();
    for _ in 0..3 {
        undos.push(restore(&host, &bookmark).await);
        // Some writes between two restores; how many does not matter.
        while query(&host, "SELECT count(*) FROM t").await == json!([[0]]) {}
    }
    over.store(true, Ordering::Relaxed);
    let acknowledged: BTreeSet<u64> = soon(writers.join_all()).await.into_iter().flatten().collect();
    let mut kept: BTreeSet<u64> = query(&host, "SELECT n FROM t")
        .await
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row[0].as_u64())
        .collect();
    for undo in &undos {
        kept.extend(numbers(&Connection::open(file_of(host.dir(), undo)).expect("a database"), "t"));
    }
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty() && !acknowledged.is_empty(), "acknowledged and nowhere: {lost:?}");
}

#[tokio::test]
async fn the_user_is_asked_in_the_newer_generation() {
    let host = plain(&["a"], |_| {});
    did(&host, "kv_set", json!({ "key": "k", "value": 1 })).await;
    let bookmark = checkpoint(&host, "one").await;
    did(&host, "kv_set", json!({ "key": "k", "value": 2 })).await;
    let ask = |answers: Value, state: &Value| {
        // The argument is for clients that can't ask: it takes no question away from those that can.
        let arguments = json!({ "bookmark": bookmark, "replace_everything": true });
        let mut params = json!({ "name": "checkpoint_restore", "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
            "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
        }});
        if !answers.is_null() {
            (params["inputResponses"], params["requestState"]) = (answers, state.clone());
        }
        let ask = Ask::post(rpc("tools/call", &params)).header("mcp-protocol-version", "2026-07-28");
        ask.header("mcp-method", "tools/call").header("mcp-name", "checkpoint_restore").of(&host, "a")
    };
    let asked = ask(Value::Null, &Value::Null).send(&host).await.json();
    let question = &asked["result"]["inputRequests"]["restore"]["params"]["message"];
    assert!(question.as_str().is_some_and(|said| said.contains("\"one\"") && said.contains("replaced")), "{asked}");
    let state = &asked["result"]["requestState"];
    let no = ask(json!({ "restore": { "action": "decline" } }), state).send(&host).await.json();
    assert!(refusal(&no).contains("declined"), "{no}");
    assert_eq!(did(&host, "kv_get", json!({ "key": "k" })).await["value"], 2);
    let yes = json!({ "restore": { "action": "accept", "content": { "confirm": true } } });
    let done = ask(yes, state).send(&host).await.json();
    assert_eq!(content(&done)["restored"], bookmark);
    assert_eq!(did(&host, "kv_get", json!({ "key": "k" })).await["value"], 1);
    host.close().await;
}

#[tokio::test]
async fn the_user_is_asked_in_the_older_generation() {
    let host = plain(&["a"], |_| {});
    did(&host, "kv_set", json!({ "key": "k", "value": 1 })).await;
    let bookmark = checkpoint(&host, "one").await;
    did(&host, "kv_set", json!({ "key": "k", "value": 2 })).await;
    let session = Session::open_able(&host, "a", LEGACY[2], json!({ "elicitation": {} })).await;
    for yes in [false, true] {
        let params = json!({ "name": "checkpoint_restore", "arguments": { "bookmark": bookmark } });
        let mut events = Events::open(&host, session.dress(Ask::post(rpc("tools/call", &params)))).await;
        let (_, question) = events.message().await;
        assert_eq!(question["method"], "elicitation/create", "{question}");
        let result = if yes {
            json!({ "action": "accept", "content": { "confirm": true } })
        } else {
            json!({ "action": "cancel" })
        };
        let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
        assert_eq!(session.dress(Ask::post(answer.to_string())).send(&host).await.status, 202);
        let (_, done) = events.message().await;
        let now = did(&host, "kv_get", json!({ "key": "k" })).await["value"].clone();
        if yes {
            assert_eq!((&content(&done)["restored"], &now), (&json!(bookmark), &json!(1)));
        } else {
            assert!(refusal(&done).contains("declined") && now == 2, "{done}");
        }
    }
    host.close().await;
}

#[tokio::test]
async fn a_client_that_cannot_ask_says_that_it_may() {
    let host = plain(&["a"], |_| {});
    let bookmark = checkpoint(&host, "one").await;
    let refused = call(&host, "checkpoint_restore", json!({ "bookmark": bookmark })).await;
    let said = refusal(&refused);
    assert!(said.contains("replace_everything: true") && said.contains("tables, keys, memories"), "{said}");
    restore(&host, &bookmark).await;
    let token = host.token_with("a", "read", std::time::Duration::from_secs(60)).expect("a token");
    for (tool, arguments) in [
        ("checkpoint_create", json!({})),
        ("checkpoint_restore", json!({ "bookmark": bookmark, "replace_everything": true })),
        ("checkpoint_delete", json!({ "bookmark": bookmark })),
    ] {
        let refused = Ask::tool(tool, &arguments).bearer(&token).send(&host).await;
        assert!(refused.text().contains("write"), "{tool}: {}", refused.text());
    }
    let listed = Ask::tool("checkpoint_list", &json!({})).bearer(&token).send(&host).await.json();
    assert_eq!(content(&listed)["checkpoints"].as_array().expect("a list").len(), 2);
    host.close().await;
}

#[tokio::test]
async fn every_bound_says_what_it_is() {
    let host = plain(&["a", "b"], |settings| {
        settings.limits.checkpoints = 2;
        settings.limits.checkpoints_automatic = 1;
    });
    let limit = |answer: &Value| answer["result"]["_meta"]["freehold/refusal"]["limit"].clone();
    let first = checkpoint(&host, "first").await;
    checkpoint(&host, "second").await;
    let refused = call(&host, "checkpoint_create", json!({ "label": "third" })).await;
    assert!(refusal(&refused).contains("2 checkpoints"), "{refused}");
    assert_eq!(limit(&refused), "checkpoints");
    for wrong in [json!({ "label": "" }), json!({ "label": "x".repeat(201) })] {
        refusal(&call(&host, "checkpoint_create", wrong).await);
    }
    // A restore is not kept from keeping what it replaces; of those one is left.
    let older = restore(&host, &first).await;
    let newer = restore(&host, &older).await;
    assert_ne!(older, newer);
    let listed = did(&host, "checkpoint_list", json!({})).await["checkpoints"].clone();
    let kinds: Vec<_> = listed.as_array().expect("a list").iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "undo").count(), 1, "{listed}");
    assert_eq!(did(&host, "checkpoint_delete", json!({ "bookmark": first })).await["deleted"], first);
    checkpoint(&host, "third").await;
    for missing in [&first, &older, "cp-2001-01-01T00-00-00.000Z", "../../catalog", ""] {
        for tool in ["checkpoint_restore", "checkpoint_delete"] {
            refusal(&call(&host, tool, json!({ "bookmark": missing })).await);
        }
    }
    // Another tenant's is none.
    let theirs =
        soon(host.call("b", "checkpoint_restore", json!({ "bookmark": newer, "replace_everything": true }))).await;
    assert!(refusal(&theirs).contains("checkpoint_list"), "{theirs}");
    host.close().await;

    let small = plain(&["a"], |settings| settings.limits.checkpoint_bytes = bytesize::ByteSize::kib(600));
    let kept = checkpoint(&small, "one").await;
    did(&small, "sql_execute", json!({ "statements": [{ "sql": "CREATE TABLE t AS SELECT zeroblob(500000) AS b" }] }))
        .await;
    for tool in ["checkpoint_create", "checkpoint_restore"] {
        let arguments = match tool {
            "checkpoint_create" => json!({}),
            _ => json!({ "bookmark": kept, "replace_everything": true }),
        };
        let refused = call(&small, tool, arguments).await;
        assert!(refusal(&refused).contains("delete one"), "{refused}");
        assert_eq!(limit(&refused), "checkpoint_bytes");
    }
    assert_eq!(query(&small, "SELECT count(*) FROM t").await, json!([[1]]), "a refused restore changes nothing");
    small.close().await;
}

#[tokio::test]
async fn listeners_of_both_generations_hear_of_it() {
    let host = plain(&["a"], |_| {});
    let note = did(&host, "memory_save", json!({ "text": "a thought" })).await["id"].clone();
    let bookmark = checkpoint(&host, "one").await;
    let uris = ["tenant://schema".to_owned(), format!("tenant://memory/{note}")];
    let filter = json!({ "notifications": { "resourceSubscriptions": uris } });
    let mut modern = Events::open(&host, Ask::modern("subscriptions/listen", filter).of(&host, "a")).await;
    modern.message().await;
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let get = session.dress(Ask::new(Method::GET, "/mcp").header("accept", "text/event-stream"));
    let mut older = Events::open(&host, get).await;
    let away = Session::open(&host, "a", LEGACY[2]).await;
    for uri in &uris {
        for one in [&session, &away] {
            one.ask(&host, "resources/subscribe", json!({ "uri": uri })).await;
        }
    }
    restore(&host, &bookmark).await;
    for ear in [&mut modern, &mut older] {
        let mut heard = BTreeSet::new();
        while heard.len() < uris.len() {
            let (_, message) = ear.message().await;
            heard.extend(message["params"]["uri"].as_str().map(str::to_owned));
        }
        assert_eq!(heard, uris.iter().cloned().collect());
    }
    host.close().await;
}

#[tokio::test]
async fn a_damaged_checkpoint_changes_nothing() {
    let host = plain(&["a"], |_| {});
    execute(&host, &["CREATE TABLE t AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) SELECT n, hex(n) AS h FROM c"]).await;
    for damage in ["truncated", "overwritten", "emptied", "gone"] {
        let bookmark = checkpoint(&host, damage).await;
        let path = file_of(host.dir(), &bookmark);
        let mut bytes = std::fs::read(&path).expect("a file");
        match damage {
            "truncated" => bytes.truncate(bytes.len() / 2),
            "overwritten" => bytes[20_000..60_000].fill(0x5a),
            "emptied" => bytes.clear(),
            _ => std::fs::remove_file(&path).expect("a file of ours"),
        }
        if damage != "gone" {
            std::fs::write(&path, &bytes).expect("a file of ours");
        }
        let refused =
            call(&host, "checkpoint_restore", json!({ "bookmark": bookmark, "replace_everything": true })).await;
        let said = refusal(&refused).to_owned();
        assert!(said.contains("damaged") || damage == "gone", "{damage}: {said}");
        assert!(!said.contains(host.dir().to_str().expect("text")), "{said}");
        assert_eq!(query(&host, "SELECT count(*) FROM t").await, json!([[5000]]));
        assert!(
            !tree(host.dir()).iter().any(|path| path.extension().is_some_and(|ending| ending == "new")),
            "left over"
        );
        if damage != "gone" {
            did(&host, "checkpoint_delete", json!({ "bookmark": bookmark })).await;
        }
    }
    host.close().await;
}

/// A program that has grown a table since then.
#[tokio::test]
async fn a_checkpoint_from_an_older_program_is_brought_up_to_date() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut settings = Settings { data_dir: dir.path().to_path_buf().into(), ..Settings::default() };
    settings.tenants.auto_create = true;
    let step =
        |name: &'static str| Migration { name: name.into(), sql: format!("CREATE TABLE {name} (n INTEGER)").into() };
    let host = |steps: Vec<Migration>| {
        Host::new(|_tenant| Plain).authenticate(ByName).migrations(steps).into_router(&settings).expect("a host")
    };
    let ask = async |router: axum::Router, tool: &str, arguments: Value| {
        content(&Ask::tool(tool, &arguments).bearer("a").send_to(router).await.json()).clone()
    };
    let (router, service) = host(vec![step("one")]);
    let bookmark = ask(router, "checkpoint_create", json!({})).await["bookmark"].clone();
    service.close().await;
    drop(service);
    let (router, service) = host(vec![step("one"), step("two")]);
    ask(router.clone(), "checkpoint_restore", json!({ "bookmark": bookmark, "replace_everything": true })).await;
    let counted = ask(router, "sql_query", json!({ "sql": "SELECT count(*) FROM two" })).await;
    assert_eq!(counted["rows"], json!([[0]]));
    service.close().await;
}

#[test]
fn the_command_line_does_it_on_a_running_host_and_on_a_stopped_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "acme"]);
    let early = run(&data, &["tenant", "checkpoint", "acme"]);
    assert!(!early.status.success() && String::from_utf8_lossy(&early.stderr).contains("no file yet"));
    let token = must(&data, &["token", "issue", "--tenant", "acme"]).trim().to_owned();
    let set = |server: &Server, value: i64| {
        let arguments = json!({ "key": "k", "value": value });
        content(&call_at(server.address(), &token, "kv_set", &arguments).expect("an answer"));
    };
    let get = |server: &Server| {
        content(&call_at(server.address(), &token, "kv_get", &json!({ "key": "k" })).expect("an answer"))["value"]
            .clone()
    };
    let server = Server::start(&data, &[]);
    set(&server, 1);
    // A log that nobody took in is part of what is copied.
    server.kill();
    let bookmark = must(&data, &["tenant", "checkpoint", "acme", "--label", "by hand"]).trim().to_owned();
    let server = Server::start(&data, &[]);
    set(&server, 2);
    let before = must(&data, &["tenant", "restore", "acme", "--at", &bookmark]).trim().to_owned();
    assert_eq!(get(&server), 1);
    must(&data, &["tenant", "restore", "acme", "--at", &before]);
    assert_eq!(get(&server), 2);
    assert!(must(&data, &["tenant", "bookmarks", "acme"]).contains("by hand"));
    assert!(server.terminate().success());
    let undo = must(&data, &["tenant", "restore", "acme", "--at", &bookmark]).trim().to_owned();
    let listed = must(&data, &["tenant", "bookmarks", "acme", "--json"]);
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<_> = listed.iter().filter_map(|one| one["bookmark"].as_str()).collect();
    assert_eq!((names.first(), names.last()), (Some(&undo.as_str()), Some(&bookmark.as_str())), "{names:?}");
    let server = Server::start(&data, &[]);
    assert_eq!(get(&server), 1);
    assert!(server.terminate().success());
    must(&data, &["tenant", "restore", "acme", "--at", &undo]);
    let server = Server::start(&data, &[]);
    assert_eq!(get(&server), 2);
    assert!(server.terminate().success());
    let wrong = run(&data, &["tenant", "restore", "acme", "--at", "yesterday"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("bookmark"), "{wrong:?}");
}
