//! Tenants come and go: exported while they write, imported, forked, deleted without a trace; on a running host and
//! on a stopped one with the same answer.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use freehold::rusqlite::Connection;
use http::Method;
use serde_json::{Value, json};

use crate::support::process::{Server, call, must, run};
use crate::support::wire::{Ask, Session};
use crate::support::{content, numbers, plain, tenant_file, tree};

const CANARY: &str = "canary-7f3a9c5e-this-must-be-gone";

fn write(server: &Server, token: &str, statements: &[&str]) {
    write_at(server.address(), token, statements);
}

fn write_at(address: SocketAddr, token: &str, statements: &[&str]) {
    let statements: Vec<_> = statements.iter().map(|sql| json!({ "sql": sql })).collect();
    content(&call(address, token, "sql_execute", &json!({ "statements": statements })).expect("an answer"));
}

fn read(server: &Server, token: &str, sql: &str) -> Value {
    content(&call(server.address(), token, "sql_query", &json!({ "sql": sql })).expect("an answer"))["rows"].clone()
}

fn token(data: &Path, tenant: &str) -> String {
    must(data, &["token", "issue", "--tenant", tenant]).trim().to_owned()
}

/// Where the canary is still to be read below `data`.
fn traces(data: &Path) -> Vec<String> {
    let holds = |path: &Path| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
    };
    let files = tree(data).into_iter().filter(|path| data.join(path).is_file() && holds(&data.join(path)));
    files.map(|path| path.display().to_string()).collect()
}

fn integrity(conn: &Connection) -> String {
    conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict")
}

/// A running host whose tenant `a` has two rows.
fn with_rows(data: &Path) -> Server {
    must(data, &["key", "generate"]);
    must(data, &["tenant", "create", "a"]);
    let of_a = token(data, "a");
    let server = Server::start(data, &[]);
    write(&server, &of_a, &["CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1), (2)"]);
    server
}

#[test]
fn the_same_commands_work_on_a_running_host_and_on_a_stopped_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let server = with_rows(&data);
    let mut server = Some(server);
    for (round, running) in [(0, true), (1, false)] {
        if !running {
            assert!(server.take().expect("it runs").terminate().success());
        }
        let named = |what: &str| format!("{what}{round}");
        let shown: Value = serde_json::from_str(&must(&data, &["tenant", "show", "a", "--json"])).expect("JSON");
        assert_eq!((&shown["state"], &shown["class"]), (&json!("active"), &json!("default")), "{shown}");
        assert!(shown["database_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{shown}");
        assert!(shown["last_used_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{shown}");
        assert_eq!(must(&data, &["tenant", "sql", "a", "SELECT count(*) AS c FROM t"]), "c\n2\n");
        let refused = run(&data, &["tenant", "sql", "a", "DELETE FROM t"]);
        assert!(
            !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("--write"),
            "{refused:?}"
        );

        let out = dir.path().join(named("out"));
        let out = out.to_str().expect("text");
        must(&data, &["tenant", "export", "a", "--out", out]);
        let copy = Connection::open(out).expect("a database");
        assert_eq!((integrity(&copy).as_str(), numbers(&copy, "t").len()), ("ok", 2));
        drop(copy);
        assert!(!run(&data, &["tenant", "export", "a", "--out", out]).status.success(), "it wrote over a file");

        assert_eq!(must(&data, &["tenant", "import", &named("in"), out]), format!("{}\n", named("in")));
        assert_eq!(must(&data, &["tenant", "fork", "a", &named("fork")]), format!("{}\n", named("fork")));
        for copied in [named("in"), named("fork")] {
            assert_eq!(must(&data, &["tenant", "sql", &copied, "SELECT count(*) AS c FROM t"]), "c\n2\n", "{copied}");
        }
        // The same refusals, too.
        for wrong in [
            &["tenant", "fork", "a", "a"][..],
            &["tenant", "import", "a", out],
            &["tenant", "fork", "nobody", "x"],
            &["tenant", "show", "nobody"],
            &["tenant", "delete", "nobody", "--yes"],
            &["tenant", "delete", "a"],
        ] {
            let done = run(&data, wrong);
            assert!(!done.status.success() && done.stdout.is_empty(), "{wrong:?}: {done:?}");
        }
        let receipt: Value =
            serde_json::from_str(&must(&data, &["tenant", "delete", &named("in"), "--yes"])).expect("JSON");
        assert_eq!(receipt["tenant"], named("in"));
        assert!(!run(&data, &["tenant", "show", &named("in")]).status.success());
    }
    let listed = must(&data, &["tenant", "list"]);
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["a", "fork0", "fork1"]);
    assert_eq!(must(&data, &["tenant", "list", "--after", "a", "--limit", "1"]), "fork0\n");
}

#[test]
fn a_deleted_tenant_leaves_no_byte_and_no_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    for tenant in ["a", "b"] {
        must(&data, &["tenant", "create", tenant]);
    }
    let issued = must(&data, &["token", "issue", "--tenant", "a", "--kind", "key", "--subject", CANARY]);
    let (of_a, of_b) = (token(&data, "a"), token(&data, "b"));
    let server = Server::start(&data, &[]);
    for of in [&of_a, &of_b] {
        write(&server, of, &["CREATE TABLE t (n INTEGER, text)"]);
    }
    write(&server, &of_a, &[&format!("INSERT INTO t VALUES (1, '{CANARY}')")]);
    content(
        &call(server.address(), issued.trim(), "kv_set", &json!({ "key": "k", "value": CANARY })).expect("an answer"),
    );
    assert!(!traces(&data).is_empty(), "the scan sees nothing");

    let receipt = must(&data, &["tenant", "delete", "a", "--yes"]);
    let receipt: Value = serde_json::from_str(&receipt).expect("JSON");
    let files = receipt["files"].as_array().expect("files");
    assert!(
        files.iter().any(|file| file["file"].as_str().is_some_and(|name| name.ends_with("a/tenant.db"))),
        "{receipt}"
    );
    assert!(files.iter().all(|file| file["sha256"].as_str().is_some_and(|hash| hash.len() == 64)), "{receipt}");
    let bytes: u64 = files.iter().map(|file| file["bytes"].as_u64().expect("a size")).sum();
    assert_eq!((&receipt["bytes"], &receipt["api_keys"]), (&json!(bytes), &json!(1)), "{receipt}");

    assert_eq!(traces(&data), Vec::<String>::new());
    for of in [of_a.as_str(), issued.trim()] {
        assert!(refused(&server, of), "its token opens something");
    }
    read(&server, &of_b, "SELECT * FROM t");
    // Somebody else takes the name: the old tokens are not theirs.
    must(&data, &["tenant", "create", "a"]);
    assert!(refused(&server, &of_a), "a token of the tenant before");
    let again = token(&data, "a");
    assert_eq!(read(&server, &again, "SELECT count(*) FROM sqlite_schema WHERE name = 't'"), json!([[0]]));
    assert!(server.terminate().success());
    assert_eq!(traces(&data), Vec::<String>::new());
}

fn refused(server: &Server, token: &str) -> bool {
    let answer = call(server.address(), token, "sql_query", &json!({ "sql": "SELECT 1" })).expect("an answer");
    answer["error"].is_object()
}

#[test]
fn what_kill_9_leaves_of_a_deletion_the_next_start_finishes() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    for tenant in ["half", "whole"] {
        must(&data, &["tenant", "create", tenant]);
        must(&data, &["tenant", "sql", tenant, "--write", &format!("CREATE TABLE t AS SELECT '{CANARY}' AS n")]);
    }
    must(&data, &["tenant", "delete", "whole", "--yes"]);
    // As a process leaves it that was killed after the first step: the catalog knows, the files are there.
    let catalog = Connection::open(data.join("catalog.db")).expect("the catalog");
    catalog.execute("UPDATE tenant SET state = 2 WHERE id = 'half'", []).expect("changed");
    drop(catalog);
    assert!(!traces(&data).is_empty());
    Server::start(&data, &[]).kill();
    assert_eq!(traces(&data), Vec::<String>::new());
    assert_eq!(must(&data, &["tenant", "list"]), "");
}

/// Tells others to end when its test does.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn an_export_is_one_commit_of_a_tenant_that_writes() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "a"]);
    let of_a = token(&data, "a");
    let server = Server::start(&data, &[]);
    // Two tables that every commit keeps alike.
    write(&server, &of_a, &["CREATE TABLE x (n INTEGER)", "CREATE TABLE y (n INTEGER)", "CREATE TABLE bulk (b)"]);
    write(
        &server,
        &of_a,
        &[
            "INSERT INTO bulk WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 2000) SELECT randomblob(2000) FROM c",
        ],
    );
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (address, of_a, over) = (server.address(), &of_a, &over);
        let writer = scope.spawn(move || {
            let mut n = 0;
            while !over.load(Ordering::SeqCst) {
                n += 1;
                write_at(
                    address,
                    of_a,
                    &[&format!("INSERT INTO x VALUES ({n})"), &format!("INSERT INTO y VALUES ({n})")],
                );
            }
            n
        });
        // Whatever is found: the writer ends, or the test would not.
        let _end = End(over);
        // Whatever is found: the writer ends, or the test would not.
        let end = End(over);
        let mut last = 0;
        for round in 0..5 {
            let out = dir.path().join(format!("{round}.sqlite"));
            must(&data, &["tenant", "export", "a", "--out", out.to_str().expect("text")]);
            let copy = Connection::open(&out).expect("a database");
            assert_eq!(integrity(&copy), "ok");
            let (x, y) = (numbers(&copy, "x"), numbers(&copy, "y"));
            assert_eq!(x, y, "a half commit");
            assert!(x.len() >= last && x.iter().copied().eq(1..=x.len() as u64), "not the first ones: {x:?}");
            last = x.len();
            let sessions: i64 =
                copy.query_row("SELECT count(*) FROM _fh_session", [], |row| row.get(0)).expect("a count");
            let mode: String = copy.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("a mode");
            assert_eq!((sessions, mode.as_str()), (0, "delete"));
        }
        drop(end);
        assert!(writer.join().expect("it wrote") >= last);
    });
    assert!(server.terminate().success());
    assert!(tree(&data.join("staging")).is_empty(), "a copy was left");
}

#[test]
fn what_may_not_be_a_tenants_file_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    let file = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    fs::write(file("text"), "not a database ".repeat(1_000)).expect("a file");
    fs::write(file("empty"), "").expect("a file");
    let own = Connection::open(file("own")).expect("a database");
    own.execute_batch("CREATE TABLE note (body TEXT); INSERT INTO note VALUES ('milk')").expect("a table");
    drop(own);
    let mut torn = fs::read(file("own")).expect("bytes");
    torn.truncate(torn.len() - 1_000);
    fs::write(file("torn"), torn).expect("a file");
    let hostile = Connection::open(file("hostile")).expect("a database");
    hostile.execute_batch("CREATE TABLE note (n); CREATE VIEW _fh_session AS SELECT * FROM note").expect("a view");
    drop(hostile);
    let before = tree(&data);
    for (wrong, running) in
        [("text", false), ("empty", false), ("torn", false), ("hostile", false), ("torn", true), ("hostile", true)]
    {
        let server = running.then(|| Server::start(&data, &[]));
        let done = run(&data, &["tenant", "import", "x", &file(wrong)]);
        assert!(!done.status.success() && !done.stderr.is_empty(), "{wrong}: {done:?}");
        assert_eq!(must(&data, &["tenant", "list"]), "", "{wrong} left a tenant");
        assert!(!tree(&data).iter().any(|path| path.ends_with("x")), "{wrong} left a folder");
        drop(server);
    }
    assert!(before.len() <= tree(&data).len());
    // A database of somebody's own is welcome.
    must(&data, &["tenant", "import", "x", &file("own")]);
    assert_eq!(must(&data, &["tenant", "sql", "x", "SELECT body FROM note"]), "body\nmilk\n");
}

#[tokio::test]
async fn a_fork_shares_no_session_and_no_reminder() {
    let host = plain(&["a"], |settings| settings.packs.push(freehold::Pack::Reminders));
    let session = Session::open(&host, "a", "2025-06-18").await;
    content(&host.call("a", "reminder_set", json!({ "when": "in 2h", "message": "once" })).await);
    content(&host.call("a", "kv_set", json!({ "key": "k", "value": 7 })).await);
    let fork = Ask::new(Method::POST, "/v1/tenants/a/fork").body(json!({ "to": "b" }).to_string());
    let made = fork.send_to(host.admin_router()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(content(&host.call("b", "kv_get", json!({ "key": "k" })).await)["value"], 7);
    assert_eq!(content(&host.call("b", "reminder_list", json!({})).await)["reminders"], json!([]));
    assert_eq!(
        content(&host.call("a", "reminder_list", json!({})).await)["reminders"].as_array().map(Vec::len),
        Some(1)
    );
    // What one writes the other does not see.
    content(&host.call("b", "kv_set", json!({ "key": "k", "value": 8 })).await);
    assert_eq!(content(&host.call("a", "kv_get", json!({ "key": "k" })).await)["value"], 7);
    session.ask(&host, "tools/list", json!({})).await.json()["result"].as_object().expect("the session goes on");
    let shown = Ask::new(Method::GET, "/v1/tenants/b").send_to(host.admin_router()).await.json();
    assert_eq!((&shown["sessions"], &shown["open"]), (&json!(0), &json!(true)), "{shown}");
    let own = Connection::open(tenant_file(host.dir(), "b")).expect("a file");
    let owed: i64 = own.query_row("SELECT count(*) FROM _fh_event", [], |row| row.get(0)).expect("a count");
    assert_eq!(owed, 0);
    host.close().await;
}

#[test]
fn usage_is_told_by_day() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let server = with_rows(&data);
    assert!(server.terminate().success());
    let server = Server::start(&data, &[]);
    let told: Value = serde_json::from_str(&must(&data, &["tenant", "usage", "a", "--json"])).expect("JSON");
    assert_eq!((&told["days"][0]["calls"], &told["tenant"]), (&json!(1), &json!("a")), "{told}");
    assert!(told["database_bytes"]["used"].as_u64() <= told["database_bytes"]["limit"].as_u64(), "{told}");
    let csv = must(&data, &["tenant", "usage", "a", "--csv"]);
    let lines: Vec<_> = csv.lines().map(|line| line.split(',').count()).collect();
    assert!(lines.len() == 2 && lines[0] == lines[1], "{csv}");
    assert!(server.terminate().success());
}
