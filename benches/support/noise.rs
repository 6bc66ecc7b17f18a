//! Owns the noisy neighbour: quiet tenants call at their pace, alone and beside others who make noise; what
//! matters is what the quiet ones notice.

use std::sync::Arc;
use std::time::Duration;

use freehold::{Durability, Tenant, TestHost};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Done;
use super::load::Load;
use super::pair::median;
use super::process::{Server, token};
use super::report::Report;
use super::request::{modern_call, post};
use super::table::Table;
use crate::counter;

const QUIET: usize = 8;
const NOISY: usize = 8;
/// One quiet tenant's pace: a call in this time, reads and writes in turn.
const PACE: Duration = Duration::from_millis(20);

const BURN: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000) SELECT count(*) FROM c";
const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
const BIG: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 900) \
    SELECT n, hex(zeroblob(500)) FROM c";

/// What the quiet ones noticed: with the noise, and alone right before it.
struct Heard {
    with: Report,
    alone: Report,
}

fn rows(what: &str, goal: &'static str, heard: &[Heard], table: &mut Table) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let middle = |of: fn(&Heard) -> Duration| median(heard.iter().map(|round| ms(of(round))).collect());
    let ratio = median(heard.iter().map(|round| ms(round.with.p99) / ms(round.alone.p99)).collect());
    let told = |p50, p99, max| format!("{p50:.1} / {p99:.1} / {max:.1} ms");
    let failed: usize = heard.iter().map(|round| round.with.failures + round.alone.failures).sum();
    let failed = if failed == 0 { String::new() } else { format!(", {failed} QUIET CALLS FAILED") };
    table.push(
        format!("{what}, p50 / p99 / max{failed}"),
        told(middle(|h| h.with.p50), middle(|h| h.with.p99), middle(|h| h.with.max)),
        told(middle(|h| h.alone.p50), middle(|h| h.alone.p99), middle(|h| h.alone.max)),
        format!("{ratio:.2}"),
        goal,
    );
}

/// Through HTTP, five kinds of noise.
pub async fn through_http(rounds: usize, each: Duration, table: &mut Table) -> Done {
    let dir = tempfile::tempdir()?;
    let data = dir.path().to_str().ok_or("a path that is text")?;
    // The rates would refuse the noise before it is any.
    let environment = [
        ("FREEHOLD_TENANTS__AUTO_CREATE", "true"),
        ("FREEHOLD_LIMITS__REQUESTS_PER_SECOND", "0"),
        ("FREEHOLD_LIMITS__PRINCIPAL_REQUESTS_PER_SECOND", "0"),
        ("FREEHOLD_LIMITS__STATEMENT_DEADLINE", "1s"),
    ];
    let server = Server::start(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data], &environment)?;
    let host = server.addr.to_string();
    let tokens =
        |prefix: &str, count| (0..count).map(|n| token(data, &format!("{prefix}-{n}"))).collect::<Done<Vec<_>>>();
    let (quiet, noisy) = (tokens("quiet", QUIET)?, tokens("noisy", NOISY)?);
    let call = |token: &String, tool, arguments: &str| -> Arc<[u8]> {
        modern_call(tool, arguments).bearer(token).post("/mcp", &host).into()
    };
    let query = |token, sql: &str| call(token, "sql_query", &format!(r#"{{"sql":"{sql}"}}"#));
    let load = |requests: Vec<Arc<[u8]>>, connections, every| Load {
        addr: server.addr,
        requests,
        expected: Arc::from(&b""[..]),
        connections,
        calls: usize::MAX,
        deadline: each,
        every,
    };
    let key = r#"{"key":"hits"}"#;
    // Each connection's requests are those of its tenant: a write, then a read.
    let writes = quiet.iter().map(|token| call(token, "increment", key));
    let reads = quiet.iter().map(|token| query(token, "SELECT value FROM counter"));
    let calm = load(writes.chain(reads).collect(), QUIET, PACE);
    let all = |sql: &str| noisy.iter().map(|token| query(token, sql)).collect::<Vec<_>>();
    let session = {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
        let headers = |token: &String| {
            vec![
                ("Accept", "application/json, text/event-stream".to_owned()),
                ("Authorization", format!("Bearer {token}")),
            ]
        };
        noisy.iter().map(|token| post("/mcp", &host, &headers(token), body).into()).collect::<Vec<Arc<[u8]>>>()
    };
    let kinds = [
        ("1 tenant burns CPU ×16", load(vec![query(&noisy[0], BURN)], 16, Duration::ZERO)),
        ("8 tenants burn CPU ×2", load(all(BURN), 16, Duration::ZERO)),
        ("8 tenants' endless queries ×2, cut at 1 s", load(all(ENDLESS), 16, Duration::ZERO)),
        ("1 tenant floods tiny writes ×32", load(vec![call(&noisy[0], "increment", key)], 32, Duration::ZERO)),
        ("4 tenants ask for 900 kB results", load(all(BIG)[..4].to_vec(), 4, Duration::ZERO)),
        ("8 tenants open sessions", load(session, 8, Duration::ZERO)),
    ];
    let _warm = calm.run().await;
    for (what, noise) in kinds {
        let mut heard = Vec::new();
        for _ in 0..rounds {
            let alone = calm.run().await;
            let (with, _) = tokio::join!(calm.run(), noise.run());
            heard.push(Heard { with, alone });
        }
        rows(&format!("quiet through HTTP: {what}"), "p99 ≤ 3", &heard, table);
    }
    Ok(())
}

/// Past HTTP, what the engine itself holds back. With durable writes the disk of the machine is measured too, which
/// sixteen ask for at once.
pub async fn inside(rounds: usize, each: Duration, table: &mut Table) -> Done {
    beside_noise(Durability::Normal, rounds, each, table).await?;
    beside_noise(Durability::Full, rounds, each, table).await
}

async fn beside_noise(durability: Durability, rounds: usize, each: Duration, table: &mut Table) -> Done {
    let host = TestHost::start(counter::host(), |settings| {
        settings.durability = durability;
        settings.tenants.auto_create = true;
        settings.limits.statement_deadline = Duration::from_secs(1);
    })?;
    let mut quiet = Vec::new();
    for number in 0..2 * QUIET {
        quiet.push(host.tenant(&format!("quiet-{number}")).await?);
    }
    let mut noisy = Vec::new();
    for number in 0..NOISY {
        noisy.push(host.tenant(&format!("noisy-{number}")).await?);
    }
    let kinds: [(&str, Noise, &[Tenant], usize); 4] = [
        ("1 tenant burns CPU ×16", Noise::Burn, &noisy[..1], 16),
        ("8 tenants burn CPU ×16", Noise::Burn, &noisy, 16),
        ("8 tenants' endless queries ×16, cut at 1 s", Noise::Endless, &noisy, 16),
        ("1 tenant floods tiny writes ×64", Noise::Flood, &noisy[..1], 64),
    ];
    let _warm = listen(&quiet, each / 4).await;
    for (what, noise, tenants, times) in kinds {
        let mut heard = Vec::new();
        for _ in 0..rounds {
            let alone = listen(&quiet, each).await;
            let mut making = JoinSet::new();
            for tenant in tenants.iter().flat_map(|tenant| vec![tenant.clone(); times]) {
                making.spawn(noise.make(tenant));
            }
            let with = listen(&quiet, each).await;
            making.shutdown().await;
            heard.push(Heard { with, alone });
        }
        let durable = if durability == Durability::Full { ", durable" } else { "" };
        rows(&format!("quiet inside the engine{durable}: {what}"), "p99 ≤ 8, ≤ 2 ms", &heard, table);
    }
    host.close().await;
    Ok(())
}

#[derive(Clone, Copy)]
enum Noise {
    Burn,
    Endless,
    Flood,
}

impl Noise {
    /// Until it is cut off; what it is refused is part of it.
    async fn make(self, tenant: Tenant) {
        loop {
            let count =
                |sql: &'static str| tenant.read(move |conn| Ok(conn.query_row(sql, [], |row| row.get::<_, i64>(0))?));
            let refused = match self {
                Self::Burn => count(BURN).await.is_err(),
                Self::Endless => count(ENDLESS).await.is_err(),
                Self::Flood => bump(&tenant).await.is_err(),
            };
            if refused {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

async fn bump(tenant: &Tenant) -> freehold::Result<i64> {
    use super::bare_sqlite::{BUMP, KEY};
    tenant.write(|tx| Ok(tx.prepare_cached(BUMP)?.query_row([KEY], |row| row.get(0))?)).await
}

/// Every quiet tenant at its pace, a write and a read in turn.
async fn listen(quiet: &[Tenant], within: Duration) -> Report {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for tenant in quiet {
        let tenant = tenant.clone();
        clients.spawn(async move {
            use super::bare_sqlite::{KEY, READ};
            let (mut latencies, mut failures, mut writes) = (Vec::new(), 0, true);
            while begun.elapsed() < within {
                let start = Instant::now();
                let done = if writes {
                    bump(&tenant).await
                } else {
                    let read = |conn: &freehold::rusqlite::Connection| {
                        Ok(conn.prepare_cached(READ)?.query_row([KEY], |row| row.get(0))?)
                    };
                    tenant.read(read).await
                };
                match done {
                    Ok(_) => latencies.push(start.elapsed()),
                    Err(_) => failures += 1,
                }
                writes = !writes;
                tokio::time::sleep_until(start + PACE).await;
            }
            (latencies, failures)
        });
    }
    let (mut latencies, mut failures) = (Vec::new(), 0);
    for (good, bad) in clients.join_all().await {
        latencies.extend(good);
        failures += bad;
    }
    Report::new(latencies, failures, begun.elapsed())
}
