//! What the modules share: both wires over a router, a server to misbehave, tokens, and the real program.

pub(crate) mod collector;
pub(crate) mod events;
pub(crate) mod http2;
pub(crate) mod link;
pub(crate) mod listening;
pub(crate) mod place;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod provider;
pub(crate) mod s3;
pub(crate) mod slow;
pub(crate) mod token;
pub(crate) mod wire;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use freehold::rusqlite::Connection;
use freehold::{Host, Settings, TestHost};
use rmcp::ServerHandler;
use serde_json::Value;
use tempfile::TempDir;

/// The longest that anything here may take: far above what a slow machine needs, and an end to a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server of no tools beside the built-in ones.
pub(crate) struct Plain;

impl ServerHandler for Plain {}

/// A host with the built-in tools and these tenants.
pub(crate) fn plain(tenants: &[&str], edit: impl FnOnce(&mut Settings)) -> TestHost {
    start(Host::new(|_tenant| Plain), tenants, edit)
}

/// `host` with these tenants.
pub(crate) fn start(host: Host, tenants: &[&str], edit: impl FnOnce(&mut Settings)) -> TestHost {
    let host = TestHost::start(host, edit).expect("a host starts");
    for tenant in tenants {
        host.create_tenant(tenant).expect("a new tenant");
    }
    host
}

/// Awaits `work`, or fails the test: nothing in here may hang.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("this hangs")
}

/// Turns to the others until `done` holds. Bounded; it measures nothing.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never came: {what}");
}

/// What a tool returned; fails on a refusal or an error.
pub(crate) fn content(answer: &Value) -> &Value {
    let result = &answer["result"];
    assert!(result.is_object() && result["isError"] != true, "not a success: {answer}");
    &result["structuredContent"]
}

/// The words with which a tool refused; fails when it did not.
pub(crate) fn refusal(answer: &Value) -> &str {
    assert_eq!(answer["result"]["isError"], true, "not a refusal: {answer}");
    answer["result"]["content"][0]["text"].as_str().expect("a refusal says why")
}

/// Every file and folder below `dir`, by its path from there.
pub(crate) fn tree(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path.strip_prefix(dir).expect("a path below").to_path_buf());
        }
    }
    found
}

/// The file of `tenant` below `dir`.
pub(crate) fn tenant_file(dir: &Path, tenant: &str) -> PathBuf {
    let wanted = Path::new(tenant).join("tenant.db");
    let found = tree(dir).into_iter().find(|path| path.ends_with(&wanted));
    dir.join(found.unwrap_or_else(|| panic!("{tenant} has no file")))
}

/// A copy of a tenant's file, opened so that its log is copied in; the host itself still has to recover the original.
/// Fails when it is not whole. The folder goes with what is returned beside it.
pub(crate) fn recovered(file: &Path) -> (Connection, TempDir) {
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["tenant.db", "tenant.db-wal"] {
        let from = file.with_file_name(name);
        if from.exists() {
            std::fs::copy(from, copy.path().join(name)).expect("a copy");
        }
    }
    let conn = Connection::open(copy.path().join("tenant.db")).expect("a database");
    let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict");
    assert_eq!(check, "ok", "{}", file.display());
    (conn, copy)
}

/// The numbers in the column `n` of `table`.
pub(crate) fn numbers(conn: &Connection, table: &str) -> BTreeSet<u64> {
    let mut rows = conn.prepare(&format!("SELECT n FROM {table}")).expect("a table");
    let rows = rows.query_map([], |row| row.get::<_, i64>(0)).expect("rows");
    rows.map(|n| u64::try_from(n.expect("a row")).expect("a number of ours")).collect()
}
