//! kill -9 in the middle of a restore: what is there is the old state or the new one, whole, and what was replaced
//! is kept.

use freehold::rusqlite::Connection;
use serde_json::{Value, json};

use crate::seed::Seed;
use crate::support::process::{Server, call, must};
use crate::support::{content, recovered, tenant_file, tree};

const ROUNDS: usize = 10;
const ROWS: i64 = 400;

/// What a file of the tenant says of itself: which state it is, found in each of its rows.
fn state(conn: &Connection) -> String {
    let say = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0)).expect("a word");
    assert_eq!(say("PRAGMA integrity_check"), "ok");
    let (rows, states): (i64, i64) = conn
        .query_row("SELECT count(*), count(DISTINCT state) FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("a row");
    assert_eq!((rows, states), (ROWS, 1), "half of one and half of another");
    let key = say("SELECT value FROM _fh_kv WHERE key = 'state'");
    let state = say("SELECT min(state) FROM t");
    assert_eq!(key, format!("\"{state}\""), "tables and keys are of one moment");
    state
}

#[test]
fn a_restore_is_done_or_not_begun() {
    let mut seed = Seed::of("restore");
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "a"]);
    let token = must(&data, &["token", "issue", "--tenant", "a"]).trim().to_owned();
    let tool = |server: &Server, tool: &str, arguments: &Value| -> Value {
        content(&call(server.address(), &token, tool, arguments).expect("an answer")).clone()
    };
    let become_state = |server: &Server, state: &str| {
        let fill = "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?1) \
                    SELECT n, ?2, randomblob(20000) FROM c";
        let statements = json!({ "statements": [
            { "sql": "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, state TEXT, pad BLOB)" },
            { "sql": "DELETE FROM t" },
            { "sql": fill, "params": [ROWS, state] },
        ]});
        tool(server, "sql_execute", &statements);
        tool(server, "kv_set", &json!({ "key": "state", "value": state }));
    };
    let server = Server::start(&data, &["--config", config(dir.path()).to_str().expect("text")]);
    become_state(&server, "old");
    let bookmark = tool(&server, "checkpoint_create", &json!({ "label": "old" }))["bookmark"].clone();
    become_state(&server, "new");
    // How long one takes here, so that the blows fall all over it.
    let restore = json!({ "bookmark": bookmark, "replace_everything": true });
    let begun = std::time::Instant::now();
    tool(&server, "checkpoint_restore", &restore);
    let takes = begun.elapsed();
    assert!(server.terminate().success());
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..ROUNDS {
        let server = Server::start(&data, &["--config", config(dir.path()).to_str().expect("text")]);
        become_state(&server, "new");
        let before: Vec<_> = undos(&data);
        let address = server.address();
        let after = takes.mul_f64(seed.below(1_200) as f64 / 1_000.0);
        let (token, restore) = (token.clone(), restore.clone());
        let acknowledged = std::thread::spawn(move || call(address, &token, "checkpoint_restore", &restore).is_some());
        // Where in the restore the process falls is what the seed chooses; nothing waits for a state here.
        std::thread::sleep(after);
        server.kill();
        let acknowledged = acknowledged.join().expect("no panic");
        let (conn, _copy) = recovered(&tenant_file(&data, "a"));
        let found = state(&conn);
        println!("round {round}: after {after:?} of {takes:?}: {found}, acknowledged: {acknowledged}");
        assert!(found == "old" || !acknowledged, "acknowledged, and not there");
        if found == "old" {
            let undo =
                undos(&data).into_iter().rfind(|undo| !before.contains(undo)).expect("what was replaced is kept");
            assert_eq!(state(&Connection::open(undo).expect("a database")), "new");
        }
        seen.insert(found);
    }
    println!("seen: {seen:?}");
    // Whatever was left half made is gone once the tenant is open.
    let server = Server::start(&data, &["--config", config(dir.path()).to_str().expect("text")]);
    tool(&server, "checkpoint_restore", &restore);
    assert!(server.terminate().success());
    let left: Vec<_> = tree(&data).into_iter().filter(|path| path.to_string_lossy().contains(".new")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(state(&recovered(&tenant_file(&data, "a")).0), "old");
}

/// Every undo is kept, so that none of them is missed here.
fn config(dir: &std::path::Path) -> std::path::PathBuf {
    let config = dir.join("freehold.toml");
    std::fs::write(&config, "[limits]\ncheckpoints_automatic = 100\nstatement_deadline = '60s'\n").expect("a file");
    config
}

/// The files of what was replaced, the oldest first.
fn undos(data: &std::path::Path) -> Vec<std::path::PathBuf> {
    let undo = |path: &std::path::PathBuf| {
        path.to_string_lossy().contains("snapshots/undo-") && path.extension().is_some_and(|ending| ending == "sqlite")
    };
    tree(data).into_iter().filter(undo).map(|path| data.join(path)).collect()
}
