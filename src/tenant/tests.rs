//! The engine alone, on a real file: what only the host itself can ask of a tenant.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::getpriority_process;
use rustix::thread::gettid;
use tempfile::TempDir;

use super::{Credit, Executor, Handle, Surroundings, Tops};
use crate::catalog::Wakes;
use crate::clock::SystemClock;
use crate::config::{Durability, JournalSettings, Limits};
use crate::db::{DataDir, Database, FileSettings, Migrations, Mode, ReaderThreads, Template};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

fn open(dir: &TempDir, limits: Limits) -> Handle {
    open_on(dir, limits, Executor::default())
}

fn open_on(dir: &TempDir, limits: Limits, executor: Executor) -> Handle {
    let id = TenantId::parse("acme").expect("a name");
    let data = DataDir::open(dir.path()).expect("a folder");
    let file = FileSettings { durability: Durability::Full, limits: limits.clone(), history: None };
    let template = Template::new(Migrations::of_app(Vec::new()));
    let database = Database::open(&data, &id, file, &template, &ReaderThreads::start()).expect("a file");
    let wakes = Arc::new(Wakes::open(&data).expect("a catalog"));
    let around = Surroundings {
        clock: Arc::new(SystemClock),
        wakes,
        journal: JournalSettings::default(),
        tops: Tops::default(),
    };
    let credit = Arc::new(Credit::of(id.clone()));
    Handle::start(id, database, limits, (executor, credit), around)
}

fn later(tenant: &Handle, key: &'static str) -> Result<()> {
    tenant.later(move |tx| {
        tx.execute("INSERT INTO _fh_meta (key, value) VALUES (?1, '')", [key])?;
        Ok(())
    })
}

async fn keys(tenant: &Handle) -> Vec<String> {
    let read = tenant.read(Mode::Host, |conn| {
        let mut all = conn.prepare("SELECT key FROM _fh_meta ORDER BY key")?;
        let keys = all.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(keys)
    });
    read.await.expect("rows")
}

#[tokio::test]
async fn what_nobody_waits_for_is_there_after_the_next_commit() {
    let dir = tempfile::tempdir().expect("a folder");
    let tenant = open(&dir, Limits::default());
    later(&tenant, "rides").expect("room");
    let written =
        tenant.write(Mode::Host, |tx| Ok(tx.execute("INSERT INTO _fh_meta (key, value) VALUES ('waits', '')", [])?));
    assert_eq!(written.await.expect("a commit"), 1);
    assert_eq!(keys(&tenant).await, ["rides", "waits"]);
    tenant.close().await.expect("closed");
}

#[tokio::test]
async fn what_nobody_waits_for_gets_a_commit_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let tenant = open(&dir, Limits::default());
    later(&tenant, "alone").expect("room");
    let there = async {
        while keys(&tenant).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), there).await.expect("it never came");
    tenant.close().await.expect("closed");
}

#[tokio::test]
async fn what_nobody_waits_for_is_there_after_an_orderly_close() {
    let dir = tempfile::tempdir().expect("a folder");
    let tenant = open(&dir, Limits::default());
    later(&tenant, "last").expect("room");
    tenant.close().await.expect("closed");
    assert_eq!(later(&tenant, "too late").expect_err("closed").kind(), ErrorKind::Unavailable);
    drop(tenant);
    let tenant = open(&dir, Limits::default());
    assert_eq!(keys(&tenant).await, ["last"]);
    tenant.close().await.expect("closed");
}

#[tokio::test]
async fn a_failure_of_what_nobody_waits_for_costs_nobody_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let tenant = open(&dir, Limits::default());
    later(&tenant, "one").expect("room");
    tenant.later(|_| Err(Error::invalid("failed as told"))).expect("room");
    tenant.later(|_| panic!("panicked as told")).expect("room");
    later(&tenant, "one").expect("room");
    later(&tenant, "two").expect("room");
    tenant.write(Mode::Host, |_| Ok(())).await.expect("a commit");
    assert_eq!(keys(&tenant).await, ["one", "two"]);
    tenant.close().await.expect("closed");
}

#[tokio::test]
async fn what_nobody_waits_for_is_bounded() {
    let dir = tempfile::tempdir().expect("a folder");
    let tenant = open(&dir, Limits { behind: 1, ..Limits::default() });
    later(&tenant, "one").expect("room");
    let refused = later(&tenant, "two").expect_err("full");
    assert_eq!((refused.kind(), refused.bound().map(|bound| bound.name)), (ErrorKind::Busy, Some("behind")));
    tenant.close().await.expect("closed");
}

/// What rides with a write that is undone is not undone with it.
#[tokio::test]
async fn a_callers_failure_leaves_what_rides_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let tenant = open(&dir, Limits { statement_deadline: Duration::from_millis(100), ..Limits::default() });
    later(&tenant, "rides").expect("room");
    let endless = "INSERT INTO _fh_meta WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) \
        SELECT 'k' || n, '' FROM c WHERE n < 0";
    let cut = tenant.write(Mode::Host, move |tx| Ok(tx.execute(endless, [])?)).await.expect_err("a deadline");
    assert_eq!(cut.bound().map(|bound| bound.name), Some("statement_deadline"));
    tenant.write(Mode::Host, |_| Ok(())).await.expect("a commit");
    assert_eq!(keys(&tenant).await, ["rides"]);
    tenant.close().await.expect("closed");
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "threads have no priority of their own")]
async fn what_computes_for_long_gives_way_and_what_is_short_does_not() -> Result<()> {
    /// Of the thread that asks.
    fn priority() -> i32 {
        getpriority_process(Some(gettid())).expect("its own priority")
    }
    let [dir, other] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let executor = Executor::default();
    let [noisy, quiet] = [&dir, &other].map(|dir| open_on(dir, Limits::default(), executor.clone()));
    let usual = quiet.read(Mode::Host, |_| Ok(priority())).await?;
    let low = noisy.read(Mode::Host, |conn| {
        let counts =
            "WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n LIMIT 9999) SELECT count(*) FROM n";
        let begun = Instant::now();
        // Longer than any slice; SQLite asks between steps.
        while begun.elapsed() < Duration::from_millis(20) {
            conn.query_row(counts, [], |_| Ok(()))?;
        }
        Ok(priority())
    });
    let low = low.await?;
    assert!(low > usual, "{low} is not below {usual}");
    for _ in 0..8 {
        assert_eq!(quiet.read(Mode::Host, |_| Ok(priority())).await?, usual, "a thread of the background read for it");
    }
    noisy.close().await?;
    quiet.close().await
}

/// Else all that a tenant asks for while a long statement runs would begin in front of the others'.
#[tokio::test]
async fn what_is_computed_is_booked_while_it_goes_on() -> Result<()> {
    const ENDLESS: &str = "WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let dir = tempfile::tempdir().expect("a folder");
    let tenant = open(&dir, Limits { statement_deadline: Duration::from_secs(60), ..Limits::default() });
    let endless = tenant.read(Mode::Host, |conn| Ok(conn.query_row(ENDLESS, [], |_| Ok(()))?));
    let in_debt = async {
        while !tenant.is_in_debt() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        biased;
        () = in_debt => {}
        ended = endless => panic!("it ended and nothing was booked before: {ended:?}"),
    }
    tenant.close().await
}

/// What it is answered makes work for the runtime, which knows no account: it answers no more than every second moment.
#[tokio::test]
async fn a_tenant_in_debt_gives_way_while_others_call() -> Result<()> {
    let (executor, spent, fresh) = (Executor::default(), Arc::<Credit>::default(), Arc::<Credit>::default());
    while !spent.is_spent() {
        let burn = || (0..1_000_000_u64).map(std::hint::black_box).sum::<u64>();
        executor.run(&spent, burn).await?;
    }
    let took = Duration::from_millis(3);
    // What came for the fast lane is of late no more where the machine is slow: then once again.
    for _ in 0..1_000 {
        executor.run(&fresh, || ()).await?;
        let begun = Instant::now();
        executor.give_way(&spent, took);
        if begun.elapsed() >= took {
            return Ok(());
        }
    }
    panic!("it never gave way");
}
