//! Owns what operators' work costs the tenants: an export of a large file while it is written, and a scrape of a host
//! that knows many tenants.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use freehold::{Settings, Tenant, TestHost, rusqlite};
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::Done;
use super::pair::median;
use super::report::Report;
use super::table::Table;
use crate::counter;

const WRITERS: usize = 4;
/// Of one write that fills the file.
const FILL_BYTES: usize = 1_000_000;
/// The longest that an export, or a round without one, may take.
const BOUND: Duration = Duration::from_secs(60);
const SCRAPES: usize = 30;

/// Durable writes to a file of `bytes` while it is exported, against the same for as long without. Each write puts one
/// number into two tables, so that a copy tells whether it is one commit's.
pub async fn export(bytes: usize, rounds: usize, table: &mut Table) -> Done {
    let host = host()?;
    let tenant = host.tenant("large").await?;
    fill(&tenant, bytes).await?;
    let out = host.dir().join("out.sqlite");
    let (mut during, mut alone, mut took, mut size) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let (written, exported) = beside(&tenant, fetch(&host, "/v1/tenants/large/export", &out)).await?;
        let (time, bytes) = exported?;
        size = bytes;
        check(&out)?;
        alone.push(beside(&tenant, tokio::time::sleep(time)).await?.0);
        during.push(written);
        took.push(time.as_secs_f64());
    }
    let p99 = |all: &[Report]| median(all.iter().map(|report| report.p99.as_secs_f64() * 1e3).collect());
    let (ours, theirs) = (p99(&during), p99(&alone));
    let ratios = during.iter().zip(&alone).map(|(ours, theirs)| ours.p99.as_secs_f64() / theirs.p99.as_secs_f64());
    let work = format!("durable writes while {} MB are exported ÷ the same without, p99", size / 1_000_000);
    table.ratio(work, ours, theirs, "ms", median(ratios.collect()), "≤ 50 ms");
    let worst = during.iter().map(|report| report.max.as_secs_f64() * 1e3).fold(0.0, f64::max);
    table.alone("  the longest of them", format!("{worst:.1} ms"), "");
    let writes: usize = during.iter().map(|report| report.calls).sum();
    table.alone("  the export, median; writes meanwhile", format!("{:.2} s; {writes}", median(took)), "");
    host.close().await;
    Ok(())
}

/// Makes `tenant` a file of `bytes`, with the tables that [`beside`] writes to.
pub(super) async fn fill(tenant: &Tenant, bytes: usize) -> Done {
    tenant
        .write(|tx| {
            Ok(tx.execute_batch(
                "CREATE TABLE a (n INTEGER PRIMARY KEY); CREATE TABLE b (n INTEGER); CREATE TABLE fill (x)",
            )?)
        })
        .await?;
    for _ in 0..bytes / FILL_BYTES {
        let fill = "INSERT INTO fill WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20)
                    SELECT randomblob(?1 / 20) FROM c";
        tenant.write(move |tx| Ok(tx.execute(fill, [FILL_BYTES as i64])?)).await?;
    }
    Ok(())
}

/// A scrape of a host with `tenants` in its catalog, of which `open` are open and were called, against one of none.
pub async fn scrape(tenants: usize, open: usize, table: &mut Table) -> Done {
    let (full, empty) = (host()?, host()?);
    let mut catalog = rusqlite::Connection::open(full.dir().join("catalog.db"))?;
    let tx = catalog.transaction()?;
    for number in 0..tenants {
        tx.prepare_cached("INSERT INTO tenant (id, created_at) VALUES (?1, 0)")?.execute([name(number)])?;
    }
    tx.commit()?;
    drop(catalog);
    for number in 0..open {
        full.call(&name(number), "add", serde_json::json!({ "a": 1, "b": 2 })).await;
    }
    let (mut ours, mut theirs, mut lines) = (Vec::new(), Vec::new(), [0, 0]);
    for _ in 0..SCRAPES {
        for (at, (host, times)) in [(&full, &mut ours), (&empty, &mut theirs)].into_iter().enumerate() {
            let begun = Instant::now();
            let text = get(host, "/metrics").await?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            lines[at] = text.iter().filter(|byte| **byte == b'\n').count();
        }
    }
    let ratio = median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect());
    let worst = ours.iter().copied().fold(0.0, f64::max);
    let work = format!("scrape with {tenants} tenants, {open} open ÷ with none");
    table.ratio(work, median(ours), median(theirs), "ms", ratio, "< 100 ms");
    table.alone("  the longest of them", format!("{worst:.1} ms"), "< 100 ms");
    table.push("  its lines", lines[0].to_string(), lines[1].to_string(), String::new(), "bounded");
    full.close().await;
    empty.close().await;
    Ok(())
}

fn name(number: usize) -> String {
    format!("tenant-{number:06}")
}

fn host() -> Done<TestHost> {
    host_with(|_| {})
}

pub(super) fn host_with(edit: impl FnOnce(&mut Settings)) -> Done<TestHost> {
    Ok(TestHost::start(counter::host(), |settings| {
        settings.tenants.auto_create = true;
        edit(settings);
    })?)
}

/// What writes came to while `work` went on, and what came of it.
pub(super) async fn beside<T>(tenant: &Tenant, work: impl Future<Output = T>) -> Done<(Report, T)> {
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let (tenant, stop) = (tenant.clone(), Arc::clone(&stop));
        writers.spawn(async move {
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) && begun.elapsed() < BOUND {
                let sent = Instant::now();
                tenant
                    .write(|tx| {
                        tx.execute("INSERT INTO a DEFAULT VALUES", [])?;
                        Ok(tx.execute("INSERT INTO b VALUES (?1)", [tx.last_insert_rowid()])?)
                    })
                    .await?;
                latencies.push(sent.elapsed());
            }
            freehold::Result::<_>::Ok(latencies)
        });
    }
    let done = work.await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for written in writers.join_all().await {
        latencies.extend(written?);
    }
    Ok((Report::new(latencies, 0, begun.elapsed()), done))
}

/// Takes `path` of the admin listener into the file `out`: how long it took, and its size.
async fn fetch(host: &TestHost, path: &str, out: &Path) -> Done<(Duration, usize)> {
    let begun = Instant::now();
    let answer = host.admin_router().oneshot(Request::get(path).body(Body::empty())?).await?;
    if !answer.status().is_success() {
        return Err(format!("{path}: {}", answer.status()).into());
    }
    let (mut file, mut body, mut size, mut synced) = (std::fs::File::create(out)?, answer.into_body(), 0, 0);
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame?.into_data() else { continue };
        size += bytes.len();
        file.write_all(&bytes)?;
        // As the command does.
        if size - synced >= 1_000_000 {
            synced = size;
            tokio::task::block_in_place(|| file.sync_data())?;
        }
    }
    Ok((begun.elapsed(), size))
}

async fn get(host: &TestHost, path: &str) -> Done<bytes::Bytes> {
    let answer = host.admin_router().oneshot(Request::get(path).body(Body::empty())?).await?;
    Ok(answer.into_body().collect().await?.to_bytes())
}

/// Whether the copy is whole, and as one commit left it.
fn check(copy: &Path) -> Done {
    let copy = rusqlite::Connection::open(copy)?;
    let whole: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let of = |table: &str| -> Done<(i64, i64)> {
        let sums = format!("SELECT count(*), coalesce(max(n), 0) FROM {table}");
        Ok(copy.query_row(&sums, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
    };
    let (a, b) = (of("a")?, of("b")?);
    if whole != "ok" || a != b || a.0 != a.1 {
        return Err(format!("the copy is no commit: {whole}, {a:?}, {b:?}").into());
    }
    Ok(())
}
