//! The past of tenants in S3-compatible storage: whatever happens to the machine, all of them come back; and nothing
//! of one who was deleted stays there. Against a real S3 server.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use http::Method;
use serde_json::{Value, json};

use crate::support::place::{Place, begin, hit, hits, rfc3339, sql, until};
use crate::support::process::{Server, call};
use crate::support::s3::{S3, SECRET};
use crate::support::wire::Ask;
use crate::support::{PATIENCE, content, plain, tree};

/// When the clock of a host of tests stands.
const NOW: u64 = 1_893_456_000;

const CANARY: &str = "canary-5d1b7e-this-must-be-gone";

fn up_to(rows: u64) -> Vec<u64> {
    (0..rows).collect()
}

/// Lines of the log that say `word`.
fn said(server: &Server, word: &str) -> usize {
    server.log().lines().filter(|line| line.contains(word)).count()
}

#[test]
fn a_machine_burns_and_every_tenant_comes_back() {
    let (s3, dir) = (S3::start(), tempfile::tempdir().expect("a folder"));
    let place = Place::new(&s3, dir.path());
    let names = ["acme", "globex", "initech"];
    let tokens: Vec<_> = names.iter().map(|name| place.tenant(name, &["--class", "gold"])).collect();
    place.must(&["tenant", "create", "silent"]);
    let key = place.must(&["token", "issue", "--tenant", "acme", "--kind", "key"]).trim().to_owned();
    let void = place.must(&["token", "issue", "--tenant", "acme", "--kind", "key"]).trim().to_owned();
    let file = dir.path().join("void");
    fs::write(&file, &void).expect("written");
    place.must(&["token", "revoke", "--file", file.to_str().expect("text")]);
    place.must(&["tenant", "suspend", "silent"]);
    let server = place.serve();
    tokens.iter().for_each(|token| begin(&server, token));
    // What was acknowledged, and when.
    let mut journal = Vec::new();
    for n in 0..12 {
        let at = tokens.iter().map(|token| hit(&server, token, n)).max().expect("three");
        journal.push(at);
        // The moments that are asked for lie apart.
        std::thread::sleep(Duration::from_millis(150));
    }
    names.iter().for_each(|name| place.until_there(name, 12));
    // And what nobody waited for: it may be lost, in order.
    tokens.iter().for_each(|token| hits(&server, token, 12..20));
    server.kill();
    place.burn();

    // A host that is started before anybody restores does no harm to what is there.
    place.must(&["key", "generate"]);
    place.tenant("stranger", &[]);
    let early = place.serve();
    until("it says whose the storage is", || said(&early, "restore --all --from-remote") == 1);
    assert!(early.terminate().success());
    assert!(!s3.objects().iter().any(|name| name.contains("stranger")), "{:?}", s3.objects());

    let told: Value =
        serde_json::from_str(&place.must(&["tenant", "restore", "--all", "--from-remote", "--json"])).expect("JSON");
    assert_eq!(
        (&told["restored"], &told["without_file"], &told["failed"]),
        (&json!(3), &json!(1), &json!(0)),
        "{told}"
    );
    let listed = place.must(&["tenant", "list", "--json"]);
    assert_eq!(listed.matches("\"class\":\"gold\"").count(), 3, "{listed}");
    assert!(listed.lines().any(|line| line.contains("silent") && line.contains("suspended")), "{listed}");
    let server = place.serve();
    for name in names {
        let rows = content(
            &call(server.address(), &place.token(name), "sql_query", &json!({ "sql": "SELECT n FROM hit ORDER BY n" }))
                .expect("an answer"),
        )["rows"]
            .clone();
        let rows: Vec<u64> = rows.as_array().expect("rows").iter().filter_map(|row| row[0].as_u64()).collect();
        assert!(rows.len() >= 12 && rows == up_to(rows.len() as u64), "{name}: {rows:?}");
    }
    // Keys are as they were, also those that were taken back.
    content(&call(server.address(), &key, "kv_set", &json!({ "key": "k", "value": 1 })).expect("an answer"));
    assert!(
        call(server.address(), &void, "kv_set", &json!({ "key": "k", "value": 1 })).expect("an answer")["error"]
            .is_object()
    );

    // Its past goes on, and that from before the fire is still there: in place, and beside it.
    let acme = place.token("acme");
    hit(&server, &acme, 100);
    // Its first whole copy is sent last, and without that there is no new past.
    until("the new past is there", || place.looked("acme", None, "now").is_ok_and(|rows| rows.contains(&100)));
    let asked = journal[5] + Duration::from_millis(120);
    let rows = place.there("acme", Some(asked), "then");
    assert!(rows.len() >= 4 && rows.len() <= 7 && rows == up_to(rows.len() as u64), "{rows:?}");
    let undo = place.must(&["tenant", "restore", "acme", "--at", &rfc3339(asked), "--from-remote"]);
    assert_eq!(
        place.must(&["tenant", "sql", "acme", "SELECT count(*) FROM hit"]).lines().nth(1),
        Some(&*rows.len().to_string())
    );
    place.must(&["tenant", "restore", "acme", "--at", undo.trim()]);
    assert!(place.must(&["tenant", "sql", "acme", "SELECT max(n) FROM hit"]).contains("100"));
    assert!(server.terminate().success());

    // One tenant alone, on yet another machine, at a time of choice; and never where there is nothing.
    place.burn();
    place.must(&["tenant", "restore", "globex", "--at", &rfc3339(asked), "--from-remote"]);
    let rows = place.must(&["tenant", "sql", "globex", "SELECT count(*) FROM hit"]);
    let rows: u64 = rows.lines().nth(1).and_then(|rows| rows.parse().ok()).expect("a count");
    assert!((4..=7).contains(&rows), "{rows}");
    assert!(place.fails(&["tenant", "restore", "nobody", "--from-remote"]).contains("nothing of tenant nobody"));
    let early = place.fails(&["tenant", "restore", "acme", "--at", "2001-01-01T00:00:00Z", "--from-remote"]);
    assert!(early.contains("bookmarks"), "{early}");
    assert_eq!(place.must(&["tenant", "list"]), "globex\n");
    assert!(place.must(&["tenant", "bookmarks", "acme", "--from-remote"]).contains("any time from"));
}

#[test]
fn a_storage_that_is_down_costs_nobody_an_answer_and_is_caught_up_with() {
    let (s3, dir) = (S3::start(), tempfile::tempdir().expect("a folder"));
    let place = Place::new(&s3, dir.path());
    let token = place.tenant("acme", &[]);
    s3.switch(false);
    let server = place.serve();
    begin(&server, &token);
    hits(&server, &token, 0..5);
    until("it says that it can't", || said(&server, "can't be sent to history.remote") == 1);
    s3.switch(true);
    place.until_there("acme", 5);
    until("it says that it can again", || said(&server, "answers again") == 1);
    s3.switch(false);
    hits(&server, &token, 5..10);
    until("it says it once more", || said(&server, "can't be sent to history.remote") == 2);
    // Neither does it hold up the end; the next start sends what is left, without a call.
    assert!(server.terminate().success());
    s3.switch(true);
    let server = place.serve();
    place.until_there("acme", 10);
    // What is sent at the end comes with the end.
    hit(&server, &token, 10);
    assert!(server.terminate().success());
    assert_eq!(place.there("acme", None, "end"), up_to(11));
    let objects = s3.objects();
    assert!(
        objects.iter().filter(|name| name.contains("tenants/")).all(|name| name.contains("fleet/a/tenants/acme/")),
        "{objects:?}"
    );
}

#[test]
fn wrong_credentials_are_one_clear_error() {
    let (s3, dir) = (S3::start(), tempfile::tempdir().expect("a folder"));
    let place = Place::new(&s3, dir.path());
    let token = place.tenant("acme", &[]);
    let wrong = "another-secret-that-nobody-may-tell";
    s3.config(dir.path(), "fleet/a", wrong, "");
    let server = place.serve();
    begin(&server, &token);
    hits(&server, &token, 0..20);
    until("it says so", || said(&server, "the storage refuses the credentials") >= 1);
    let told = place.fails(&["tenant", "verify", "acme", "--from-remote"]);
    assert!(told.contains("the storage refuses the credentials") && told.contains("SignatureDoesNotMatch"), "{told}");
    assert!(server.log().lines().count() < 100, "{}", server.log());
    for text in [told, server.log()] {
        assert!(!text.contains(wrong) && !text.contains(SECRET), "{text}");
    }
    assert_eq!(said(&server, "the storage refuses the credentials"), 1);
    assert!(server.terminate().success());
    // What others can read is no secret.
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir.path().join("secret"), fs::Permissions::from_mode(0o640)).expect("a file of ours");
    let told = place.fails(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(told.contains("chmod 600") && !told.contains(wrong), "{told}");
    assert_eq!(s3.objects(), Vec::<String>::new());
}

#[test]
fn a_deleted_tenant_is_in_no_object() {
    let (s3, dir) = (S3::start(), tempfile::tempdir().expect("a folder"));
    let place = Place::new(&s3, dir.path());
    let tokens: Vec<_> = ["a", "a-b", "c"].iter().map(|name| place.tenant(name, &[])).collect();
    place.must(&["token", "issue", "--tenant", "a", "--kind", "key", "--subject", CANARY]);
    let server = place.serve();
    for token in &tokens {
        begin(&server, token);
        hit(&server, token, 0);
    }
    for (n, token) in [(1, &tokens[0]), (1, &tokens[2])] {
        sql(&server, token, "INSERT INTO hit VALUES (?, ?)", &json!([n, CANARY]));
    }
    for (name, rows) in [("a", 2), ("a-b", 1), ("c", 2)] {
        place.until_there(name, rows);
    }
    until("the list is there too", || s3.objects().iter().any(|name| name.ends_with("catalog.db")));
    assert!(!s3.traces(CANARY).is_empty(), "the scan sees nothing");
    let receipt: Value = serde_json::from_str(&place.must(&["tenant", "delete", "a", "--yes"])).expect("JSON");
    assert_eq!(receipt["remote"]["erased"], true, "{receipt}");
    assert!(
        receipt["remote"]["objects"].as_u64() >= Some(1) && receipt["remote"]["bytes"].as_u64() > Some(0),
        "{receipt}"
    );
    // Down while another one goes: it is told, and finished later.
    s3.switch(false);
    let half = place.run(&["tenant", "delete", "c", "--yes"]);
    let receipt: Value = serde_json::from_slice(&half.stdout).expect("JSON");
    assert!(!half.status.success() && receipt["remote"]["erased"] == false, "{half:?}");
    assert!(receipt["files"].as_array().is_some_and(|files| !files.is_empty()), "{receipt}");
    assert!(place.must(&["tenant", "list", "--json"]).contains("deleting"));
    assert!(place.fails(&["tenant", "create", "c"]).contains("there already"));
    server.kill();
    s3.switch(true);
    let server = place.serve();
    until("it is finished", || place.must(&["tenant", "list"]) == "a-b\n");
    until("no byte of them is left", || s3.traces(CANARY).is_empty());
    assert_eq!(place.there("a-b", None, "other"), [0], "another tenant's went too");
    // The name is free, and nothing of the one before comes with it.
    let token = place.tenant("a", &[]);
    begin(&server, &token);
    hit(&server, &token, 7);
    until("the new one is there", || place.run(&["tenant", "verify", "a", "--from-remote"]).status.success());
    assert!(server.terminate().success());
    assert_eq!(place.there("a", None, "new"), [7]);
}

/// A disk that was put back to an earlier state writes over nothing: both pasts are there.
#[test]
fn a_disk_put_back_writes_over_nothing() {
    let (s3, dir) = (S3::start(), tempfile::tempdir().expect("a folder"));
    let place = Place::new(&s3, dir.path());
    let token = place.tenant("acme", &[]);
    let server = place.serve();
    begin(&server, &token);
    hits(&server, &token, 0..5);
    assert!(server.terminate().success());
    let copy = dir.path().join("copy");
    let copied = std::process::Command::new("cp").arg("-a").arg(&place.data).arg(&copy).status().expect("cp");
    assert!(copied.success());
    let server = place.serve();
    hits(&server, &token, 5..10);
    assert!(server.terminate().success());
    let before = SystemTime::now();
    std::thread::sleep(Duration::from_millis(20));
    place.burn();
    fs::rename(&copy, &place.data).expect("put back");
    let server = place.serve();
    hits(&server, &token, 50..53);
    assert!(server.terminate().success());
    assert_eq!(place.there("acme", None, "now"), [0, 1, 2, 3, 4, 50, 51, 52]);
    assert_eq!(place.there("acme", Some(before), "then"), up_to(10));
}

/// As at home: what is older than is to be kept goes, and a piece is not one object for each look.
#[test]
fn there_too_the_oldest_goes() {
    let (s3, dir) = (S3::start(), tempfile::tempdir().expect("a folder"));
    let place = Place::with(&s3, dir.path(), "b", "bases = 2\nbase_every = \"0s\"");
    let token = place.tenant("acme", &[]);
    let mut server = place.serve();
    begin(&server, &token);
    for n in 0..6 {
        hit(&server, &token, n);
        assert!(server.terminate().success());
        server = place.serve();
    }
    hits(&server, &token, 6..30);
    assert!(server.terminate().success());
    let bases = s3.objects().iter().filter(|name| name.ends_with(".base")).count();
    assert!((1..=2).contains(&bases), "{:?}", s3.objects());
    assert!(s3.objects().len() < 15, "{:?}", s3.objects());
    assert_eq!(place.there("acme", None, "all"), up_to(30));
}

/// A whole copy that takes many requests, and a process that is killed again and again while it is on its way.
#[test]
fn kill_9_while_it_is_sent_loses_nothing_that_was_there() {
    let (s3, dir) = (S3::start(), tempfile::tempdir().expect("a folder"));
    let place = Place::with(&s3, dir.path(), "b", "base_every = \"0s\"");
    let token = place.tenant("acme", &[]);
    let mut server = place.serve();
    begin(&server, &token);
    sql(&server, &token, "CREATE TABLE bulk (b)", &json!([]));
    let fill = "INSERT INTO bulk WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000)
                SELECT randomblob(2000) FROM c";
    let mut there = 0;
    for round in 0..5 {
        // 10 MB and more: each whole copy is in two chunks and more.
        (0..if round == 0 { 5 } else { 1 }).for_each(|_| sql(&server, &token, fill, &json!([])));
        hits(&server, &token, round * 10..round * 10 + 10);
        let before = s3.objects();
        until("something of it arrives", || s3.objects() != before);
        server.kill();
        // What was there is there, whole, whatever the end cut off.
        if place.run(&["tenant", "verify", "acme", "--from-remote"]).status.success() {
            let rows = place.there("acme", None, "cut").len() as u64;
            assert!(rows >= there, "{rows} of {there}");
            there = rows;
        }
        server = place.serve();
    }
    // Without a call: what the last one left in SQLite's log alone is sent as well.
    place.until_there("acme", 50);
    assert!(server.terminate().success());
    assert_eq!(place.there("acme", None, "end"), up_to(50));
    let objects = s3.objects();
    let bases = objects.iter().filter(|name| name.ends_with(".base")).count();
    assert!(bases >= 2, "{objects:?}");
    place.burn();
    place.must(&["tenant", "restore", "--all", "--from-remote"]);
    assert!(place.must(&["tenant", "sql", "acme", "SELECT count(*) FROM bulk"]).contains("9000"));
}

/// Another disk does as well; what waits is told, and nothing is sent more often than is set.
#[tokio::test]
async fn what_waits_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let past = folder.path().join("past");
    let url = format!("file://{}", past.display());
    let host = plain(&["acme"], |settings| {
        settings.history.every = Duration::ZERO;
        settings.history.remote.url = url.parse().ok();
    });
    let metric = async |name: &str| {
        let text = Ask::new(Method::GET, "/metrics").send_to(host.admin_router()).await.text().to_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).parse::<f64>().expect("a number")
    };
    // What nobody waits for is written a moment after its call, so that it may take another turn.
    let settled = async |mut at: u64| {
        let begun = Instant::now();
        while metric("freehold_history_remote_waiting").await > 0.0 {
            assert!(begun.elapsed() < PATIENCE, "it is never there");
            tokio::time::sleep(Duration::from_millis(20)).await;
            at += 11;
            host.clock().set(at);
        }
        at
    };
    let at = settled(NOW).await;
    let begun = Instant::now();
    while !past.join("catalog.db").exists() {
        assert!(begun.elapsed() < PATIENCE, "the list is never there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    content(&host.call("acme", "kv_set", json!({ "key": "k", "value": 1 })).await);
    // It is kept behind the answer.
    let begun = Instant::now();
    while metric("freehold_history_remote_waiting").await < 1.0 {
        assert!(begun.elapsed() < PATIENCE, "it never waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sent = metric("freehold_history_remote_sent_bytes_total").await;
    let held = tree(&past);
    // The clock stands still, and so does what waits for it; then it is told since when.
    host.clock().set(at + 9);
    assert_eq!(metric("freehold_history_remote_lag_seconds").await, 9.0);
    assert_eq!(tree(&past), held);
    let at = settled(at + 9).await;
    assert!(metric("freehold_history_remote_sent_bytes_total").await > sent);
    assert_eq!(metric("freehold_history_remote_lag_seconds").await, 0.0);
    assert!(tree(&past).iter().any(|path| path.to_string_lossy().ends_with(".base")), "{:?}", tree(&past));
    // Nobody else on the machine reads it.
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&past).expect("a folder").permissions().mode() & 0o777, 0o700);
    // A folder that can't be written fails, is counted, and is not asked all the time.
    content(&host.call("acme", "kv_set", json!({ "key": "k", "value": 2 })).await);
    fs::remove_dir_all(&past).expect("gone");
    fs::write(&past, "in the way").expect("written");
    host.clock().set(at + 30);
    let begun = Instant::now();
    while metric("freehold_history_remote_failures_total").await < 1.0 {
        assert!(begun.elapsed() < PATIENCE, "it never fails");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(metric("freehold_history_remote_failures_total").await, 1.0);
    assert_eq!(metric("freehold_history_remote_waiting").await, 1.0);
    content(&host.call("acme", "kv_set", json!({ "key": "k", "value": 3 })).await);
    host.close().await;
}
