//! Migrations of all tenants: one failure costs one tenant, a kill -9 costs nothing, and what differs is told.
//!
//! `FREEHOLD_FLEET=10000 cargo test --all-features --test it fleet -- --nocapture` for a large one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use freehold::rusqlite::Connection;
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::process::{freehold, must, run};

fn fleet() -> usize {
    std::env::var("FREEHOLD_FLEET").ok().and_then(|fleet| fleet.parse().ok()).unwrap_or(300)
}

fn name(number: usize) -> String {
    format!("t{number:05}")
}

fn file_of(data: &Path, tenant: &str) -> PathBuf {
    let hash = digest::digest(&digest::SHA256, tenant.as_bytes());
    data.join("tenants").join(format!("{:02x}", hash.as_ref()[0])).join(tenant).join("tenant.db")
}

/// The host's migrations of a tenant's file, in order.
fn migrations() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/tenant");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let read = |path: &PathBuf| {
        let name = format!("tenant/{}", path.file_name().expect("a name").to_string_lossy());
        (name, fs::read_to_string(path).expect("text"))
    };
    files.iter().map(read).collect()
}

/// A file as a program left it that did not know the last migration; `clash`: and somebody has done its work by hand.
fn of_yesterday(path: &Path, clash: bool) {
    let conn = Connection::open(path).expect("a file");
    conn.execute_batch(
        "CREATE TABLE _fh_migration (
             owner TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, applied_at INTEGER NOT NULL,
             PRIMARY KEY (owner, version)
         ) STRICT, WITHOUT ROWID",
    )
    .expect("a table");
    let all = migrations();
    for (at, (name, sql)) in all.iter().enumerate() {
        if at + 1 < all.len() || clash {
            conn.execute_batch(sql).expect("a migration");
        }
        if at + 1 < all.len() {
            let row = ("host", at as i64 + 1, name);
            conn.execute("INSERT INTO _fh_migration VALUES (?1, ?2, ?3, 0)", row).expect("a row");
        }
    }
}

fn told(data: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&must(data, &[args, &["--json"]].concat())).expect("JSON")
}

#[test]
#[expect(clippy::print_stdout, reason = "how long a large fleet takes is what it is run for by hand")]
fn a_fleet_is_migrated_over_a_failure_and_a_kill() {
    let (dir, fleet) = (tempfile::tempdir().expect("a folder"), fleet());
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "zz-never-called"]);
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    of_yesterday(&good, false);
    of_yesterday(&bad, true);
    let broken = name(fleet / 3);
    let catalog = Connection::open(data.join("catalog.db")).expect("the catalog");
    catalog.execute_batch("BEGIN").expect("begun");
    for tenant in (0..fleet).map(name) {
        catalog.execute("INSERT INTO tenant (id, created_at) VALUES (?1, 0)", [&tenant]).expect("a row");
        let file = file_of(&data, &tenant);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::copy(if tenant == broken { &bad } else { &good }, file).expect("a copy");
    }
    catalog.execute_batch("COMMIT").expect("committed");
    // One whose schema somebody changed by hand: it can be served, and it is told.
    let drifted = name(1);
    let conn = Connection::open(file_of(&data, &drifted)).expect("a file");
    conn.execute_batch("DROP INDEX _fh_reminder_next").expect("dropped");
    drop(conn);

    let plan = told(&data, &["migrate", "plan"]);
    assert_eq!(plan["plan"][0]["tenants"], fleet, "{plan}");
    assert_eq!(plan["plan"][0]["migrations"], serde_json::json!([migrations().last().expect("one").0]), "{plan}");
    assert_eq!((&plan["without_file"], &plan["done"]), (&1.into(), &0.into()), "{plan}");

    let canary = told(&data, &["migrate", "apply", "--canary", "10"]);
    assert_eq!((&canary["done"], &canary["failed"]), (&10.into(), &0.into()), "{canary}");
    assert_eq!(canary["pending"], fleet + 1 - 10, "{canary}");

    // Killed in the middle of it.
    let rate = (fleet / 3).to_string();
    let mut apply = freehold(&data, &["migrate", "apply", "--rate", &rate]);
    let mut apply = apply.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let begun = Instant::now();
    let looked = || {
        catalog.query_row("SELECT count(*) FROM tenant_schema", [], |row| row.get::<_, i64>(0)).expect("a count")
            as usize
    };
    while looked() < fleet / 2 {
        assert!(begun.elapsed() < PATIENCE && apply.try_wait().expect("a child").is_none(), "{} of {fleet}", looked());
        std::thread::sleep(Duration::from_millis(5));
    }
    apply.kill().expect("a child of ours");
    apply.wait().expect("an end");
    let at_the_kill = looked();
    assert!(at_the_kill < fleet, "it was done before it was killed");

    let resumed = run(&data, &["migrate", "apply", "--rate", "0", "--json"]);
    let counts: Value = serde_json::from_slice(&resumed.stdout).expect("JSON");
    assert_eq!(
        (&counts["done"], &counts["failed"], &counts["pending"]),
        (&fleet.into(), &1.into(), &0.into()),
        "{counts}"
    );
    assert!(counts["looked"].as_u64().is_some_and(|looked| looked as usize <= fleet + 1 - at_the_kill), "{counts}");
    println!(
        "{fleet} tenants: {at_the_kill} before the kill, {} after it, {:?} in all",
        counts["looked"],
        begun.elapsed()
    );

    let status = told(&data, &["migrate", "status"]);
    let remarkable = status["remarkable"].as_array().expect("a list");
    let names: Vec<_> = remarkable.iter().map(|one| one["tenant"].as_str().expect("a name")).collect();
    assert_eq!(names, [drifted.as_str(), broken.as_str()], "{status}");
    assert!(remarkable[0]["drift"][0].as_str().is_some_and(|said| said.contains("_fh_reminder_next")), "{status}");
    assert!(remarkable[1]["failure"].as_str().is_some_and(|said| said.contains("migration")), "{status}");

    let last = migrations().len() as i64;
    for tenant in (0..fleet).map(name) {
        let conn = Connection::open(file_of(&data, &tenant)).expect("a file");
        let steps = "SELECT max(version) FROM _fh_migration WHERE owner = 'host'";
        let version: i64 = conn.query_row(steps, [], |row| row.get(0)).expect("a version");
        assert_eq!(version, if tenant == broken { last - 1 } else { last }, "{tenant}");
    }
    // Mended by hand, it is the only one that is left to do.
    of_yesterday_again(&file_of(&data, &broken), &good);
    let mended = told(&data, &["migrate", "apply", "--again"]);
    assert_eq!((&mended["looked"], &mended["failed"]), (&1.into(), &0.into()), "{mended}");
}

fn of_yesterday_again(file: &Path, good: &Path) {
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(file.with_file_name(format!("tenant.db{ending}")));
    }
    fs::copy(good, file).expect("a copy");
}
