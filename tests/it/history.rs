//! A tenant as it was: every few seconds of it can be brought back beside it, over restarts and kill -9.
//!
//! `FREEHOLD_DRILL=50 cargo test --all-features --test it history -- --nocapture` for a drill of 50 tenants.

use std::time::{Duration, SystemTime};

use freehold::rusqlite::Connection;
use serde_json::json;

use crate::support::process::{Server, call, must, run};
use crate::support::{content, numbers};

fn drill() -> usize {
    std::env::var("FREEHOLD_DRILL").ok().and_then(|drill| drill.parse().ok()).unwrap_or(5)
}

/// The drill: tenants that write, killed in the middle; each is brought back to a moment of its own and holds what
/// was acknowledged by then, but for ten seconds at most.
#[test]
fn a_restore_drill() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    let every = [("FREEHOLD_HISTORY__EVERY", "500ms".as_ref())];
    let tenants: Vec<(String, String)> = (0..drill())
        .map(|number| {
            let name = format!("t{number}");
            must(&data, &["tenant", "create", &name]);
            let token = must(&data, &["token", "issue", "--tenant", &name]).trim().to_owned();
            (name, token)
        })
        .collect();
    // What was acknowledged, and when.
    let mut journal: Vec<Vec<(SystemTime, u64)>> = vec![Vec::new(); tenants.len()];
    let mut server = Server::start_with(&data, &[], &every);
    for round in 0..6_u64 {
        for (at, (_, token)) in tenants.iter().enumerate() {
            if round == 0 {
                let make = json!({ "statements": [{ "sql": "CREATE TABLE hit (n INTEGER PRIMARY KEY, b BLOB)" }] });
                content(&call(server.address(), token, "sql_execute", &make).expect("an answer"));
            }
            for more in 0..4 {
                let n = round * 4 + more;
                let insert =
                    json!({ "statements": [{ "sql": "INSERT INTO hit VALUES (?, randomblob(500))", "params": [n] }] });
                content(&call(server.address(), token, "sql_execute", &insert).expect("an answer"));
                journal[at].push((SystemTime::now(), n));
            }
        }
        // Time passes between the moments that are asked for: that is what is tried here.
        std::thread::sleep(Duration::from_millis(700));
        if round == 2 {
            server.kill();
            server = Server::start_with(&data, &[], &every);
        }
    }
    assert!(server.terminate().success());
    for (at, (name, _)) in tenants.iter().enumerate() {
        let told = must(&data, &["tenant", "bookmarks", name]);
        assert_eq!(told.matches("any time from").count(), 1, "{name}: a gap: {told}");
        must(&data, &["tenant", "verify", name]);
        for asked in [journal[at][journal[at].len() / 2].0, journal[at].last().expect("one").0 + Duration::from_secs(5)]
        {
            let out = dir
                .path()
                .join(format!("{name}-{}", asked.duration_since(SystemTime::UNIX_EPOCH).expect("since").as_millis()));
            let time = rfc3339(asked);
            must(&data, &["tenant", "export", name, "--at", &time, "--out", out.to_str().expect("text")]);
            let copy = Connection::open(&out).expect("a database");
            let check: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict");
            let found = numbers(&copy, "hit");
            assert_eq!(check, "ok");
            assert!(found.iter().copied().eq(0..found.len() as u64), "{name}: not the first ones: {found:?}");
            let late = asked - Duration::from_secs(10);
            for (when, n) in &journal[at] {
                assert!(*when > late || found.contains(n), "{name}: {n} is missing, acknowledged 10 s before {time}");
                assert!(
                    *when < asked || !found.contains(n) || *when < asked + Duration::from_secs(1),
                    "{name}: {n} came later"
                );
            }
        }
        let fork = format!("{name}-past");
        must(&data, &["tenant", "fork", name, &fork, "--at", &rfc3339(journal[at][5].0 + Duration::from_secs(2))]);
        let rows = must(&data, &["tenant", "sql", &fork, "SELECT count(*) AS c FROM hit"]);
        let rows: u64 = rows.lines().nth(1).and_then(|count| count.parse().ok()).expect("a count");
        assert!(rows >= 4 && rows <= journal[at].len() as u64, "{rows}");
    }
    // In place, and back again.
    let (name, journal) = (&tenants[0].0, &journal[0]);
    let count = || {
        let told = must(&data, &["tenant", "sql", name, "SELECT count(*) AS c FROM hit"]);
        told.lines().nth(1).and_then(|count| count.parse::<usize>().ok()).expect("a count")
    };
    let all = count();
    let undo = must(&data, &["tenant", "restore", name, "--at", &rfc3339(journal[9].0 + Duration::from_secs(1))]);
    assert!(count() < all && count() >= 8, "{} of {all}", count());
    must(&data, &["tenant", "restore", name, "--at", undo.trim()]);
    assert_eq!(count(), all);
    let early = run(&data, &["tenant", "export", "t0", "--at", "2001-01-01T00:00:00Z", "--out", "never"]);
    assert!(!early.status.success() && String::from_utf8_lossy(&early.stderr).contains("bookmarks"), "{early:?}");
}

fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}
