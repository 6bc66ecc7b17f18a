//! Work that nothing can interrupt: a closure that does not come back stands here for one call of a function in SQL.
//! It costs its own tenant, and neither its neighbours nor the end of the process.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::probe::Shared;
use crate::support::{content, numbers, recovered, soon, start, tenant_file, until};

/// More than any machine has lanes for.
const HELD: usize = 48;

/// As many tenants as there are places for work, and more, are stuck in a write and in a read each: others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_go_on() {
    let shared = Shared::default();
    let names: Vec<String> = (0..HELD).map(|at| format!("held-{at}")).collect();
    let mut tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    tenants.push("quiet");
    let host = start(shared.host(), &tenants, |_| {});
    content(&soon(host.call("quiet", "put", json!({ "n": 1, "then": "succeed" }))).await);
    let gates: Vec<_> = names.iter().map(|_| shared.gate()).collect();
    let held = futures_util::future::join_all(
        names.iter().enumerate().map(|(at, name)| host.call(name, ["hold_write", "hold_read"][at % 2], json!({}))),
    );
    let beside = async {
        // That so many have begun shows it already: there are not as many places.
        until("all are held", || shared.begun() == HELD).await;
        for n in 0..20 {
            content(&soon(host.call("quiet", "put", json!({ "n": n, "then": "succeed" }))).await);
            content(&soon(host.call("quiet", "count", json!({}))).await);
        }
        drop(gates);
    };
    let (answers, ()) = soon(async { futures_util::join!(held, beside) }).await;
    for answer in &answers {
        content(answer);
    }
    // Their threads are gone, or usable again.
    for name in &names {
        content(&soon(host.call(name, "put", json!({ "n": 1, "then": "succeed" }))).await);
    }
    host.close().await;
}

/// A stop does not wait for a writer that does not come back, and what was acknowledged is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_does_not_wait_for_it() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a", "b"], |settings| {
        settings.connections.close_deadline = Duration::from_millis(200);
    });
    for tenant in ["a", "b"] {
        content(&host.call(tenant, "put", json!({ "n": 7, "then": "succeed" })).await);
    }
    let gate = shared.gate();
    {
        let mut holding = Box::pin(host.call("a", "hold_write", json!({})));
        tokio::select! {
            _ = &mut holding => panic!("it is not held"),
            () = until("it is held", || shared.begun() == 1) => {}
        }
        // Its caller is gone, and it is held all the same.
    }
    let kept: Vec<_> = ["a", "b"].map(|tenant| kept(&tenant_file(host.dir(), tenant))).into();
    soon(host.close()).await;
    // Nobody let go of the gate: the writer is still held.
    for (folder, closed) in kept.iter().zip([false, true]) {
        let (file, log) = (folder.path().join("tenant.db"), folder.path().join("tenant.db-wal"));
        assert_eq!(std::fs::metadata(log).is_ok_and(|log| log.len() == 0), closed);
        let (copy, _folder) = recovered(&file);
        assert_eq!(numbers(&copy, "mark"), [7].into());
    }
    drop(gate);
}

/// A tenant's file and log under other names, for the folder of a test host goes with it.
fn kept(file: &Path) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["tenant.db", "tenant.db-wal"] {
        std::fs::hard_link(file.with_file_name(name), folder.path().join(name)).expect("a second name");
    }
    folder
}
