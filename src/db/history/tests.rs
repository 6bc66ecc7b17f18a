//! The past of a real file under a seeded load: brought back to any moment it is what was there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::base::Work;
use super::{History, Keep, Past, rebuild, windows};
use crate::clock::HeldClock;
use crate::config::{Durability, HistorySettings, Limits};
use crate::db::{DataDir, Database, FileSettings, Migrations, ReaderThreads, Staging, Template};
use crate::error::ErrorKind;
use crate::id::TenantId;

const START: u64 = 1_893_456_000;

struct Bench {
    dir: TempDir,
    data: DataDir,
    tenant: TenantId,
    clock: Arc<HeldClock>,
    keep: Keep,
    template: Template,
    threads: ReaderThreads,
}

impl Bench {
    fn new(edit: impl FnOnce(&mut HistorySettings)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(dir.path()).expect("a folder");
        let clock = Arc::new(HeldClock::at(START));
        let mut settings = HistorySettings { every: Duration::ZERO, ..HistorySettings::default() };
        edit(&mut settings);
        let keep =
            Keep { settings, clock: Arc::clone(&clock) as Arc<dyn crate::clock::Clock>, grown: None, beside: None };
        let tenant = TenantId::parse("acme").expect("a name");
        let (template, threads) = (Template::new(Migrations::of_app(Vec::new())), ReaderThreads::start());
        Self { dir, data, tenant, clock, keep, template, threads }
    }

    fn open(&self) -> Database {
        let history = Some(self.keep.clone());
        let file = FileSettings { durability: Durability::Normal, limits: Limits::default(), history };
        Database::open(&self.data, &self.tenant, file, &self.template, &self.threads).expect("a file")
    }

    /// What `n` rows of the table there were at that second; `None` if nothing is kept of it.
    fn at(&self, second: u64) -> Option<(i64, u64)> {
        let staging = Staging::start(&self.data).expect("a folder");
        let (staged, _) = staging.receive().expect("a file");
        match rebuild(&self.data, &self.tenant, second * 1_000, staged) {
            Ok(rebuilt) => {
                let conn = Connection::open(rebuilt.staged.path()).expect("a database");
                let there = "SELECT count(*) FROM sqlite_schema WHERE name = 't'";
                let there: i64 = conn.query_row(there, [], |row| row.get(0)).expect("a count");
                let rows = match there {
                    0 => 0,
                    _ => conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("a count"),
                };
                Some((rows, rebuilt.at_ms / 1_000))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("second {}: {error:?}", second - START),
        }
    }
}

fn write(database: &mut Database, sql: &str) {
    let writer = database.writer.get().expect("a writer");
    writer.conn.execute_batch(sql).expect("written");
    writer.checkpoint();
}

/// Rows, blobs, deletions, closings and crashes, a second apart: each second comes back.
#[test]
fn every_second_comes_back() {
    for seed in 1..6_u64 {
        let bench = Bench::new(|_| {});
        let mut random = seed;
        let mut next = move |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % most
        };
        let mut database = Some(bench.open());
        let (mut rows, mut history) = (0, Vec::new());
        write(database.as_mut().expect("open"), "CREATE TABLE t (n INTEGER PRIMARY KEY, b BLOB)");
        for second in START + 1..START + 60 {
            bench.clock.set(second);
            let open = database.get_or_insert_with(|| bench.open());
            match next(8) {
                0 => {
                    let database = database.take().expect("open");
                    drop(database.readers);
                    database.writer.close().expect("closed");
                }
                // As a crash leaves it: the log stays, and the next one to open takes it in.
                1 => {
                    let database = database.take().expect("open");
                    drop(database.readers);
                    database.writer.abandon();
                }
                2 => {
                    rows /= 2;
                    write(open, &format!("DELETE FROM t WHERE n > {rows}"));
                }
                3 => write(open, "UPDATE t SET b = randomblob(3000)"),
                _ => {
                    let more = next(50) as i64;
                    write(open, &format!(
                        "INSERT INTO t WITH RECURSIVE c (i) AS (SELECT {rows} + 1 UNION ALL SELECT i + 1 FROM c LIMIT {more})
                         SELECT i, randomblob(1000) FROM c WHERE {more} > 0"
                    ));
                    rows += more;
                }
            }
            history.push((second, rows));
        }
        if let Some(database) = database {
            drop(database.readers);
            database.writer.close().expect("closed");
        }
        let known = history.iter().filter(|(second, rows)| match bench.at(*second) {
            Some((found, _)) => {
                assert_eq!(found, *rows, "seed {seed}, second {}", second - START);
                true
            }
            None => false,
        });
        assert!(known.count() >= history.len() - 2, "seed {seed}: of much nothing is kept");
        let windows = windows(&bench.data, &bench.tenant).expect("read");
        assert_eq!(windows.len(), 1, "seed {seed}: a gap in {windows:?}");
        assert!(bench.dir.path().exists());
    }
}

/// A large base is made beside the writer, which goes on; none of it is needed for what is kept meanwhile, and a file
/// that is closed waits for it.
#[test]
fn a_large_base_holds_up_nobody() {
    let mut bench = Bench::new(|_| {});
    let asked: Arc<Mutex<Vec<Work>>> = Arc::default();
    let list = Arc::clone(&asked);
    bench.keep.beside = Some(Arc::new(move || {
        let list = Arc::clone(&list);
        Some(Box::new(move |work| list.lock().expect("a list").push(work)))
    }));
    let next = || asked.lock().expect("a list").pop();
    let folder = bench.data.tenant_dir(&bench.tenant).join("history");
    let count = || super::bases(&folder).expect("read").len();
    let mut database = bench.open();
    let fill = "INSERT INTO fill WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 3)
                SELECT randomblob(1000000) FROM c";
    write(&mut database, &format!("CREATE TABLE t (n INTEGER); CREATE TABLE fill (b); {fill}"));
    let first = next().expect("a base is asked for");
    for second in 1..10 {
        bench.clock.set(START + second);
        write(&mut database, "INSERT INTO t VALUES (1); UPDATE fill SET b = randomblob(1000000) WHERE rowid = 1");
    }
    assert!(count() == 0 && next().is_none(), "one at a time, and the writer did not wait for it");
    std::thread::spawn(first).join().expect("made");
    assert_eq!(count(), 1);
    bench.clock.set(START + 10);
    write(&mut database, "INSERT INTO t VALUES (1)");
    // As much has changed as there is: the next one is due, and under way as the file is closed.
    let second = next().expect("the next one is asked for");
    let made = std::thread::spawn(second);
    drop(database.readers);
    database.writer.close().expect("closed");
    made.join().expect("made");
    assert_eq!(count(), 2);

    // One that is not begun as the file is closed never is; it is made then.
    let changed = |second| {
        let mut database = bench.open();
        bench.clock.set(START + second);
        write(&mut database, &format!("INSERT INTO t VALUES (1); {fill}; UPDATE fill SET b = randomblob(1000000)"));
        database
    };
    let database = changed(11);
    let third = next().expect("asked for");
    drop(database.readers);
    database.writer.close().expect("closed");
    assert_eq!(count(), 3);
    third();
    assert_eq!(count(), 3);

    // A file that is let go of without being closed does not wait for it either.
    let database = changed(12);
    let fourth = next().expect("asked for");
    drop(database.readers);
    database.writer.abandon();
    fourth();
    let database = bench.open();
    for second in 0..=12 {
        assert_eq!(bench.at(START + second), Some((i64::try_from(second).expect("few"), START + second)));
    }
    assert_eq!(windows(&bench.data, &bench.tenant).expect("read").len(), 1, "a gap");
    drop(database);
}

/// What was written past the history, by another program or while none was kept, is never mixed with it.
#[test]
fn a_gap_is_a_gap() {
    let bench = Bench::new(|_| {});
    let mut database = bench.open();
    write(&mut database, "CREATE TABLE t (n); INSERT INTO t VALUES (1)");
    bench.clock.set(START + 10);
    write(&mut database, "INSERT INTO t VALUES (2)");
    drop(database.readers);
    database.writer.close().expect("closed");
    let path = bench.data.tenant_dir(&bench.tenant).join("tenant.db");
    let other = Connection::open(&path).expect("opened");
    other.execute_batch("INSERT INTO t VALUES (3)").expect("written");
    other.close().expect("closed");
    bench.clock.set(START + 20);
    let mut database = bench.open();
    write(&mut database, "INSERT INTO t VALUES (4)");
    bench.clock.set(START + 30);
    write(&mut database, "INSERT INTO t VALUES (5)");
    assert_eq!(bench.at(START + 15).map(|found| found.0), Some(2));
    assert_eq!(bench.at(START + 30).map(|found| found.0), Some(5));
    assert_eq!(windows(&bench.data, &bench.tenant).expect("read").len(), 2);
}

/// All that was in the log was kept before it was emptied: a crash right then, before it is told how the file was left,
/// loses nothing of the past. Of a log that is empty for no known reason nobody knows that.
#[test]
fn a_crash_while_the_log_is_emptied_is_no_gap() {
    for (told, windows_then) in [(true, 1), (false, 2)] {
        let bench = Bench::new(|_| {});
        let mut database = bench.open();
        write(&mut database, "CREATE TABLE t (n); INSERT INTO t VALUES (1)");
        bench.clock.set(START + 10);
        write(&mut database, "INSERT INTO t VALUES (2)");
        let writer = database.writer.get().expect("a writer");
        writer.ship();
        if told {
            writer.history.iter().for_each(History::empties);
        }
        writer.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("emptied");
        drop(database.readers);
        database.writer.abandon();
        bench.clock.set(START + 20);
        let mut database = bench.open();
        write(&mut database, "INSERT INTO t VALUES (3)");
        assert_eq!(bench.at(START + 15).map(|found| found.0), Some(2), "{told}");
        assert_eq!(bench.at(START + 20).map(|found| found.0), Some(3), "{told}");
        assert_eq!(windows(&bench.data, &bench.tenant).expect("read").len(), windows_then, "{told}");
    }
}

/// What is to be kept elsewhere too waits until it is there, and fills no disk.
#[test]
fn what_is_not_elsewhere_yet_stays_as_far_as_there_is_room() {
    for (mebibytes, stays) in [(64, true), (12, false)] {
        let mut bench = Bench::new(|settings| {
            (settings.bases, settings.bytes) = (2, bytesize::ByteSize::mib(mebibytes));
        });
        bench.keep.grown = Some(Arc::new(|| {}));
        let mut database = bench.open();
        write(&mut database, "CREATE TABLE t (n INTEGER, b BLOB)");
        for second in 1..60 {
            bench.clock.set(START + second);
            write(&mut database, "INSERT INTO t VALUES (1, NULL); UPDATE t SET b = randomblob(500000) WHERE rowid = 1");
        }
        let past = Past::of(&bench.data, &bench.tenant);
        let count = || super::bases(&bench.data.tenant_dir(&bench.tenant).join("history")).expect("read").len();
        assert!(count() > 2, "{} bases", count());
        assert_eq!(bench.at(START + 1).is_some(), stays);
        // It arrives, piece by piece; then the next base lets go of what is too old.
        let mut shipped = past.shipped();
        let mut pieces = Vec::new();
        while let Some(errand) = past.next(&shipped).expect("read") {
            past.arrived(&mut shipped, errand.piece).expect("noted");
            pieces.push(errand.piece);
        }
        assert!(!past.is_behind().expect("read"));
        let held = past.hold_against("another", &pieces).expect("read");
        assert!(held.is_some_and(|(_, stale)| stale.is_empty()), "it does not fit itself");
        for second in 60..80 {
            bench.clock.set(START + second);
            write(&mut database, "UPDATE t SET b = randomblob(500000) WHERE rowid = 1");
            while let Some(errand) = past.next(&shipped).expect("read") {
                past.arrived(&mut shipped, errand.piece).expect("noted");
            }
        }
        assert!(count() <= 3, "{} bases", count());
        assert!(bench.at(START + 79).is_some());
    }
}

/// Bounded in size: the oldest goes, what is left can still be brought back.
#[test]
fn the_oldest_goes_first() {
    let bench = Bench::new(|settings| settings.bases = 3);
    let mut database = bench.open();
    write(&mut database, "CREATE TABLE t (n INTEGER, b BLOB)");
    for second in 1..60 {
        bench.clock.set(START + second);
        // The file stays small, and what changes in it does not.
        write(&mut database, "INSERT INTO t VALUES (1, NULL); UPDATE t SET b = randomblob(500000) WHERE rowid = 1");
    }
    let folder = bench.data.tenant_dir(&bench.tenant).join("history");
    let bases = super::bases(&folder).expect("read");
    assert!((1..=3).contains(&bases.len()), "{bases:?}");
    assert_eq!(bench.at(START + 59).map(|found| found.0), Some(59));
    assert!(bench.at(START + 1).is_none(), "nothing was let go of");
}
