//! Whether what is kept would bring the tenants back: asked of all of them, here and in storage, and told by name where
//! it would not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant, UNIX_EPOCH};

use freehold::TestHost;
use freehold::rusqlite::Connection;
use http::Method;
use serde_json::{Value, json};

use crate::support::place::{Place, begin, hit, hits, rfc3339, until};
use crate::support::process::{Server, must, run};
use crate::support::s3::S3;
use crate::support::wire::{Answer, Ask};
use crate::support::{PATIENCE, content, numbers, plain, tenant_file, tree};

/// The whole copies in the history of `tenant` below `data`.
fn bases(data: &Path, tenant: &str) -> Vec<PathBuf> {
    let folder = tenant_file(data, tenant).with_file_name("history");
    let all = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|path| path.extension().is_some_and(|kind| kind == "base")).collect()
}

fn lines(done: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&done.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn last(done: &Output) -> Value {
    lines(done).pop().expect("the counts")
}

#[test]
fn all_are_looked_at_and_a_failure_stops_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    let names = ["a", "b", "c", "d"];
    for name in names.into_iter().chain(["silent"]) {
        must(&data, &["tenant", "create", name]);
    }
    let tokens = names.map(|name| must(&data, &["token", "issue", "--tenant", name]).trim().to_owned());
    let server = Server::start_with(&data, &[], &[("FREEHOLD_HISTORY__EVERY", "50ms".as_ref())]);
    tokens.iter().for_each(|token| begin(&server, token));
    names.iter().for_each(|name| until("its past begins", || !bases(&data, name).is_empty()));
    let counted = |whole, failed| {
        json!({
            "tenants": 5, "whole": whole, "without_file": 1, "not_yet": 0, "deleted": 0, "failed": failed,
        })
    };
    let all = run(&data, &["tenant", "verify", "--all", "--json"]);
    assert!(all.status.success(), "{all:?}");
    assert_eq!(last(&all), counted(4, 0));
    let told = lines(&all);
    let of = |name: &str| told.iter().find(|line| line["tenant"] == name).cloned().expect("a line");
    assert_eq!((&of("a")["integrity"], &of("silent")["why"]), (&json!("ok"), &json!("without_file")));
    assert!(must(&data, &["tenant", "verify", "--all"]).contains("5 tenants: 4 whole, 1 had no file yet"));
    // None of them was there that early, and that is nobody's failure.
    let early = run(&data, &["tenant", "verify", "--all", "--at", "2001-01-01T00:00:00Z", "--json"]);
    assert!(early.status.success(), "{early:?}");
    assert_eq!((&last(&early)["not_yet"], &last(&early)["whole"]), (&json!(5), &json!(0)));

    // Two are damaged, one of them in the middle of the list, and one has lost all of its past.
    let damage = |name: &str| {
        bases(&data, name).iter().for_each(|base| fs::write(base, "no database").expect("written"));
    };
    damage("b");
    let folder = tenant_file(&data, "d").with_file_name("history");
    fs::remove_dir_all(folder).expect("gone");
    for running in [true, false] {
        let all = run(&data, &["tenant", "verify", "--all", "--json"]);
        assert_eq!(all.status.code(), Some(1), "running {running}: {all:?}");
        assert_eq!(last(&all), counted(2, 2), "running {running}");
        let failed: Vec<_> = lines(&all).into_iter().filter(|line| line.get("error").is_some()).collect();
        assert_eq!(failed.iter().map(|line| &line["tenant"]).collect::<Vec<_>>(), ["b", "d"], "{failed:?}");
        assert!(failed[1]["error"].as_str().is_some_and(|said| said.contains("nothing is kept")), "{failed:?}");
        let plain = run(&data, &["tenant", "verify", "--all"]);
        let said = String::from_utf8_lossy(&plain.stderr);
        assert!(!plain.status.success() && said.contains("b: ") && said.contains("d: "), "{plain:?}");
        if running {
            // In order, which checkpoints and leaves what is broken as it is.
            server.signal(rustix::process::Signal::TERM);
            until("it has ended", || !data.join("admin.sock").exists());
        }
    }
    assert!(server.ended().success());
}

#[test]
fn storage_is_looked_at_from_any_machine_and_forked_from() {
    let (s3, dir) = (S3::start(), tempfile::tempdir().expect("a folder"));
    let place = Place::new(&s3, dir.path());
    let tokens = [place.tenant("acme", &["--class", "gold"]), place.tenant("globex", &[])];
    place.must(&["tenant", "create", "silent"]);
    let server = place.serve();
    tokens.iter().for_each(|token| begin(&server, token));
    hits(&server, &tokens[1], 0..3);
    let then = hit(&server, &tokens[0], 0);
    std::thread::sleep(Duration::from_millis(400));
    hits(&server, &tokens[0], 1..4);
    place.until_there("acme", 4);
    place.until_there("globex", 3);
    until("the list is there too", || s3.objects().iter().any(|name| name.ends_with("catalog.db")));
    let at = rfc3339(then + Duration::from_millis(300));
    // Beside itself, while it is served.
    assert_eq!(place.must(&["tenant", "fork", "acme", "acme-then", "--from-remote", "--at", &at]), "acme-then\n");
    let rows = |tenant: &str| {
        let told = place.must(&["tenant", "sql", tenant, "SELECT count(*) FROM hit"]);
        told.lines().nth(1).and_then(|count| count.parse::<u64>().ok()).expect("a count")
    };
    assert_eq!((rows("acme-then"), rows("acme")), (1, 4));
    place.must(&["tenant", "delete", "acme-then", "--yes"]);
    assert!(server.terminate().success());
    let all = place.run(&["tenant", "verify", "--all", "--from-remote", "--json"]);
    assert!(all.status.success(), "{all:?}");
    assert_eq!((&last(&all)["whole"], &last(&all)["without_file"]), (&json!(2), &json!(1)), "{all:?}");

    // On a machine that has none of them.
    place.burn();
    let all = place.run(&["tenant", "verify", "--all", "--from-remote", "--json"]);
    assert!(all.status.success(), "{all:?}");
    assert_eq!((&last(&all)["tenants"], &last(&all)["whole"]), (&json!(2), &json!(2)), "{all:?}");
    let made = place.must(&["tenant", "fork", "acme", "acme-looked", "--from-remote", "--json"]);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    assert_eq!((&made["id"], &made["class"]), (&json!("acme-looked"), &json!("gold")));
    assert_eq!(rows("acme-looked"), 4);
    assert_eq!(place.must(&["tenant", "list"]), "acme-looked\n");
    assert!(place.fails(&["tenant", "fork", "acme", "acme-looked", "--from-remote"]).contains("there already"));
    assert!(place.fails(&["tenant", "fork", "nobody", "x", "--from-remote"]).contains("nothing of tenant nobody"));
    assert!(place.fails(&["tenant", "fork", "acme", "x"]).contains("no tenant acme"));
    assert_eq!(place.must(&["tenant", "list"]), "acme-looked\n");

    // Without its whole copies one of them can't be brought back; the other one can.
    s3.remove(|name| name.contains("/globex/") && name.ends_with(".base"));
    let all = place.run(&["tenant", "verify", "--all", "--from-remote", "--json"]);
    assert_eq!(all.status.code(), Some(1), "{all:?}");
    assert_eq!((&last(&all)["whole"], &last(&all)["failed"]), (&json!(1), &json!(2)), "{all:?}");
    let failed = lines(&all).into_iter().filter(|line| line.get("error").is_some());
    // The fork is here, and nobody has sent it.
    assert_eq!(failed.map(|line| line["tenant"].clone()).collect::<Vec<_>>(), ["acme-looked", "globex"]);
}

/// The past of one tenant in another folder, written by a host whose clock the test has.
struct Kept {
    host: TestHost,
    now: u64,
}

impl Kept {
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        Ask::new(method, path).body(body.to_string()).send_to(self.host.admin_router()).await
    }

    /// One write, some seconds after the last; returns when all of it is in the other folder.
    async fn write(&mut self, n: u64) -> u64 {
        self.now += 10;
        let at = self.now;
        self.host.clock().set(at);
        let blob = "INSERT OR REPLACE INTO bulk VALUES (1, randomblob(700000))";
        let statements =
            json!({ "statements": [{ "sql": "INSERT INTO hit VALUES (?)", "params": [n] }, { "sql": blob }] });
        content(&self.host.call("acme", "sql_execute", statements).await);
        let begun = Instant::now();
        let asked = rfc3339(UNIX_EPOCH + Duration::from_secs(at));
        loop {
            assert!(begun.elapsed() < PATIENCE, "it is never sent");
            let there = self.ask(Method::GET, "/v1/tenants/acme/bookmarks?from_remote=true", &Value::Null).await;
            let metrics = self.ask(Method::GET, "/metrics", &Value::Null).await;
            let waits = !metrics.text().contains("freehold_history_remote_waiting 0");
            let windows = if there.status == 200 { there.json()["windows"].clone() } else { Value::Null };
            let last = windows.as_array().and_then(|windows| windows.last()).cloned().unwrap_or_default();
            if !waits && last["to"].as_str().is_some_and(|to| *to >= *asked) {
                return at;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.now += 1;
            self.host.clock().set(self.now);
        }
    }

    async fn verified(&self) -> Result<(), String> {
        let answer = self.ask(Method::POST, "/v1/tenants/acme/verify", &json!({ "from_remote": true })).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text().to_owned()) }
    }

    /// The rows as they were at that second.
    async fn rows(&self, at: u64) -> Result<BTreeSet<u64>, String> {
        let at = rfc3339(UNIX_EPOCH + Duration::from_secs(at));
        let path = format!("/v1/tenants/acme/export?from_remote=true&at={at}");
        let answer = self.ask(Method::GET, &path, &Value::Null).await;
        if answer.status != 200 {
            return Err(answer.text().to_owned());
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(&file, &answer.body).expect("written");
        Ok(numbers(&Connection::open(&file).expect("a database"), "hit"))
    }
}

/// Every object of a past that is several whole copies long, each with several pieces behind it, is lost in turn. What is
/// brought back then is as it was, or it is refused with what is missing and until when the past is good.
#[tokio::test]
async fn each_object_that_is_lost_is_named_or_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    let past = folder.path().join("past");
    let start = |tenants: &[&str]| {
        plain(tenants, |settings| {
            settings.history.every = Duration::ZERO;
            settings.history.remote.url = format!("file://{}", past.display()).parse().ok();
            settings.limits.requests_per_second = 0;
            settings.limits.principal_requests_per_second = 0;
        })
    };
    let mut home = Kept { host: start(&["acme"]), now: 1_893_456_000 };
    let tables = ["CREATE TABLE hit (n INTEGER PRIMARY KEY)", "CREATE TABLE bulk (n INTEGER PRIMARY KEY, b)"];
    let tables: Vec<_> = tables.iter().map(|sql| json!({ "sql": sql })).collect();
    content(&home.host.call("acme", "sql_execute", json!({ "statements": tables })).await);
    // Its first whole copy is made.
    home.write(0).await;
    let mut journal = Vec::new();
    for n in 1..19 {
        journal.push(home.write(n).await);
    }
    home.verified().await.expect("all is there");
    let of_acme = past.join("tenants/acme");
    let objects: Vec<_> = tree(&of_acme).into_iter().filter(|path| of_acme.join(path).is_file()).collect();
    let of_kind = |kind| objects.iter().filter(move |path| path.extension().is_some_and(|ending| ending == kind));
    assert!(of_kind("base").count() >= 3 && of_kind("log").count() >= 12, "{objects:?}");
    let newest = of_kind("log").next_back().expect("a piece").clone();

    // Another machine, which knows nothing but what is in the storage. Moments by a seed.
    let away = Kept { host: start(&[]), now: 0 };
    let mut seed = 7_u64;
    let mut moments = vec![journal[17] + 60, journal[0]];
    for _ in 0..4 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        moments.push(journal[(seed >> 33) as usize % 17] + (seed >> 40) % 10);
    }
    let mut before = Vec::new();
    for at in &moments {
        let rows = away.rows(*at).await.expect("nothing is lost yet");
        let written = journal.iter().take_while(|written| *written <= at).count() as u64;
        assert!(rows.iter().copied().eq(0..=written), "at {at}: {rows:?}");
        before.push(rows);
    }
    let (mut refused, mut harmless) = (0, 0);
    for object in &objects {
        let (there, aside) = (of_acme.join(object), folder.path().join("aside"));
        fs::rename(&there, &aside).expect("an object");
        let (mut lost, mut unnoticed) = (false, false);
        for (at, before) in moments.iter().zip(&before) {
            match away.rows(*at).await {
                Ok(after) => unnoticed |= after != *before,
                Err(said) => {
                    let told = said.contains("is missing in storage") && said.contains("--at");
                    assert!(told || said.contains("nothing is kept of that time"), "{object:?}: {said}");
                    lost = true;
                }
            }
        }
        // Nothing elsewhere tells of the last piece of all. Who sent it knows.
        assert!(!unnoticed || *object == newest, "{object:?}");
        match home.verified().await {
            Ok(()) => {
                assert!(!lost && !unnoticed, "{object:?} is lost, and nobody says so");
                harmless += 1;
            }
            Err(said) => {
                assert!(said.contains("is missing in storage"), "{object:?}: {said}");
                refused += 1;
            }
        }
        fs::rename(&aside, &there).expect("an object");
    }
    assert!(refused >= 12 && harmless >= 1, "{refused} refused, {harmless} harmless: {objects:?}");
    home.verified().await.expect("all is there again");
    away.host.close().await;

    // While the machine has it still, it is sent once more: with the first change that the next process sends.
    fs::remove_file(of_acme.join(&newest)).expect("an object");
    assert!(home.verified().await.is_err());
    home.host = home.host.restart().await.expect("it starts again");
    home.write(100).await;
    home.verified().await.expect("it is mended");
    assert_eq!(home.rows(home.now).await.expect("all of it").len(), 20);
    home.host.close().await;
}
