//! Owns the baseline of storage: tenants' files under bare rusqlite, one-row commits on plain
//! threads and point reads on tokio's blocking pool. No actors, no fairness, no limits, no retries.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Result};
use tokio::task::{JoinSet, spawn_blocking};

use super::report::Report;

pub const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS counter (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT";
pub const BUMP: &str = "INSERT INTO counter (key, value) VALUES (?1, 1) \
    ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value";
pub const READ: &str = "SELECT value FROM counter WHERE key = ?1";
pub const KEY: &str = "hits";

/// A file per tenant in `dir`, in WAL mode. The pragmas are the caller's, so that they can be the
/// host's: given in order, before WAL mode and `synchronous` (FULL or NORMAL), which end the list.
#[derive(Clone, Copy)]
pub struct Files<'a> {
    pub dir: &'a Path,
    pub tenants: usize,
    pub synchronous: &'a str,
    pub pragmas: &'a [(&'a str, &'a str)],
}

impl Files<'_> {
    /// The best commits per second among `thread_counts`, and the number of threads that gave it.
    /// Each count ends after `ops_per_tenant` in every tenant, or at `limit`.
    pub fn best(&self, ops_per_tenant: usize, thread_counts: &[usize], limit: Duration) -> Result<(usize, f64)> {
        let mut best = (0, 0.0);
        for &threads in thread_counts {
            let rate = self.commits(threads, ops_per_tenant, limit)?;
            if rate > best.1 {
                best = (threads, rate);
            }
        }
        Ok(best)
    }

    /// Commits per second of `threads`, which take the tenants from a queue, one commit a turn: all
    /// tenants advance alike, and a thread held up by an fsync leaves its others to the rest.
    /// Against fixed shares (64 tenants, alternating rounds) its medians were 3 to 14 % ahead with
    /// FULL, within the noise; with NORMAL 5 to 12 % behind at 2 to 16 threads, and level at 64.
    pub fn commits(&self, threads: usize, ops_per_tenant: usize, limit: Duration) -> Result<f64> {
        let turns = (0..self.tenants).map(|tenant| Ok((self.open(tenant)?, ops_per_tenant)));
        let turns = Mutex::new(turns.collect::<Result<_>>()?);
        let ready = Barrier::new(threads + 1);
        let (done, elapsed) = thread::scope(|scope| {
            let worker = || {
                ready.wait();
                take_turns(&turns, Instant::now() + limit)
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            ready.wait();
            let start = Instant::now();
            let done = workers.into_iter().map(|worker| worker.join().expect("no panic"));
            (done.sum::<Result<usize>>(), start.elapsed())
        });
        Ok(done? as f64 / elapsed.as_secs_f64())
    }

    /// Point reads by `readers` clients at once, each read a `spawn_blocking` of its own; client
    /// `i` has a connection of its own to tenant `i % tenants`. Ends after `calls`, or at `limit`.
    pub async fn reads(&self, readers: usize, calls: usize, limit: Duration) -> Result<Report> {
        let open = |reader| self.open(reader % self.tenants);
        let connections = (0..readers).map(open).collect::<Result<Vec<_>>>()?;
        let left = Arc::new(AtomicUsize::new(calls));
        let start = Instant::now();
        let mut clients = JoinSet::new();
        for connection in connections {
            clients.spawn(read_on(connection, left.clone(), start + limit));
        }
        let (mut latencies, mut failures) = (Vec::new(), 0);
        for (good, bad) in clients.join_all().await {
            latencies.extend(good);
            failures += bad;
        }
        Ok(Report::new(latencies, failures, start.elapsed()))
    }

    /// Opened, the row there and the statements prepared.
    fn open(&self, tenant: usize) -> Result<Connection> {
        let connection = Connection::open(self.dir.join(format!("tenant-{tenant}.db")))?;
        let last = [("journal_mode", "WAL"), ("synchronous", self.synchronous)];
        for (name, value) in self.pragmas.iter().chain(&last) {
            connection.execute_batch(&format!("PRAGMA {name} = {value}"))?;
        }
        connection.execute_batch(SCHEMA)?;
        bump(&connection)?;
        read(&connection)?;
        Ok(connection)
    }
}

/// One transaction: the statement is its own.
fn bump(connection: &Connection) -> Result<i64> {
    connection.prepare_cached(BUMP)?.query_row([KEY], |row| row.get(0))
}

fn read(connection: &Connection) -> Result<i64> {
    connection.prepare_cached(READ)?.query_row([KEY], |row| row.get(0))
}

/// Takes the tenant whose turn it is, commits once, puts it at the end of the queue.
fn take_turns(turns: &Mutex<VecDeque<(Connection, usize)>>, end: Instant) -> Result<usize> {
    let lock = || turns.lock().expect("no panic");
    let (mut done, mut turn) = (0, lock().pop_front());
    while let Some((connection, left)) = turn {
        if left == 0 || Instant::now() >= end {
            turn = lock().pop_front();
            continue;
        }
        bump(&connection)?;
        done += 1;
        let mut turns = lock();
        turns.push_back((connection, left - 1));
        turn = turns.pop_front();
    }
    Ok(done)
}

/// One client: its next read begins when it has the answer to the last.
async fn read_on(mut connection: Connection, left: Arc<AtomicUsize>, end: Instant) -> (Vec<Duration>, usize) {
    let (mut latencies, mut failures) = (Vec::new(), 0);
    loop {
        let start = Instant::now();
        let take = |left: usize| left.checked_sub(1);
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if start >= end || !taken {
            return (latencies, failures);
        }
        let job = spawn_blocking(move || {
            let value = read(&connection);
            (connection, value)
        });
        let (back, value) = job.await.expect("no panic");
        connection = back;
        match value {
            Ok(_) => latencies.push(start.elapsed()),
            Err(_) => failures += 1,
        }
    }
}
