//! kill -9 in the middle of writes: nothing that was acknowledged is lost, and the file is whole.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use serde_json::json;

use crate::support::process::{Server, call, must};
use crate::support::{PATIENCE, content, numbers, recovered, tenant_file};

const ROUNDS: usize = 20;
const WRITERS: usize = 4;

#[test]
fn nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "a"]);
    let token = must(&data, &["token", "issue", "--tenant", "a"]).trim().to_owned();
    let next = AtomicU64::new(0);
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let server = Server::start(&data, &[]);
        if round == 0 {
            let make = json!({ "statements": [{ "sql": "CREATE TABLE hit (n INTEGER PRIMARY KEY)" }] });
            content(&call(server.address(), &token, "sql_execute", &make).expect("an answer"));
        }
        // What the round before left, as the host itself finds it.
        let count = call(server.address(), &token, "sql_query", &json!({ "sql": "SELECT count(*) FROM hit" }));
        let count = content(&count.expect("an answer"))["rows"][0][0].as_u64().expect("a count");
        assert!(count >= acknowledged.len() as u64, "round {round}: {count} of {}", acknowledged.len());

        let address = server.address();
        let (told, heard) = channel();
        let more = 3 + 2 * round;
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                let told = told.clone();
                scope.spawn(|| write(address, &token, &next, told));
            }
            drop(told);
            acknowledged.extend((0..more).map(|_| heard.recv_timeout(PATIENCE).expect("writes go on")));
            server.kill();
            // Answers that were under way as the process fell count as well.
            acknowledged.extend(heard.iter());
        });

        let (file, _copy) = recovered(&tenant_file(&data, "a"));
        let stored = numbers(&file, "hit");
        let lost: Vec<_> = acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged and lost: {lost:?}");
        // A round leaves at most one unanswered write per writer.
        let unasked = stored.difference(&acknowledged).count();
        assert!(unasked <= WRITERS * (round + 1), "round {round}: {unasked} rows of nobody");
    }
    assert!(acknowledged.len() >= ROUNDS * 3, "{}", acknowledged.len());
}

/// Writes rows of numbers never used before until the connection breaks.
fn write(address: SocketAddr, token: &str, next: &AtomicU64, told: Sender<u64>) {
    loop {
        let n = next.fetch_add(1, Ordering::SeqCst);
        let insert = json!({ "statements": [{ "sql": "INSERT INTO hit VALUES (?)", "params": [n] }] });
        let Some(answer) = call(address, token, "sql_execute", &insert) else {
            return drop(told);
        };
        assert_eq!(content(&answer)["results"][0]["changes"], 1);
        told.send(n).expect("someone who counts");
    }
}
