//! How close the host comes to bare rmcp and to bare SQLite, as ratios inside one run.
//!
//! `cargo bench` (or `make bench`) runs it large; `cargo test` runs it small, so that it can't rot. It ends
//! with one table. Servers run in processes of their own, with the load in another. It fails when something
//! does not work, and never for being slow.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "it is a program that prints, and its modules are its own"
)]

#[path = "../examples/counter/server.rs"]
mod counter;
mod support;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold::{Tenant, TestHost};
use support::bare_sqlite::{BUMP, Files, KEY, READ};
use support::compare as alternatives;
use support::load::Load;
use support::pair::{Pairs, paired};
use support::process::{Server, token};
use support::report::Report;
use support::request::modern_call;
use support::table::Table;
use support::tokens::{Signer, Unread};
use support::{Done, bare_rmcp, copies, noise, operate, residents, sessions, tokens, tools};

/// The binary's own, for both sides.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const TENANTS: usize = 64;
const CONNECTIONS: usize = 16;
/// Set for a server that takes every token unread.
const UNREAD: &str = "BENCH_TOKENS_UNREAD";

/// The host's own settings for a tenant's file, so that only the way to it differs.
const PRAGMAS: [(&str, &str); 3] = [("foreign_keys", "1"), ("wal_autocheckpoint", "1000"), ("cache_size", "-256")];

struct Size {
    rounds: usize,
    calls: usize,
    writes: usize,
    threads: &'static [usize],
    residents: usize,
    crowd: usize,
    registered: usize,
    notes: usize,
    /// Bytes of the file that is exported.
    export: usize,
    /// Bytes of the one that is copied for its past and its checkpoints.
    copied: usize,
    /// Calls of a built-in tool in one round.
    tools: usize,
    /// Quiet sessions, the tenants that they are spread over, and how long they are quiet.
    sessions: (usize, usize, Duration),
    /// How long the quiet ones listen.
    listen: Duration,
    alternatives: alternatives::Scale,
    bound: Duration,
}

const LARGE: Size = Size {
    rounds: 5,
    calls: 60_000,
    writes: 300,
    threads: &[8, 16, 32, 64],
    residents: 2_000,
    crowd: 5_000,
    registered: 100_000,
    notes: 100_000,
    export: 200_000_000,
    copied: 64_000_000,
    tools: 400,
    sessions: (10_000, 100, Duration::from_secs(60)),
    listen: Duration::from_secs(4),
    alternatives: alternatives::Scale { rounds: 3, load: Duration::from_secs(2), tenants: TENANTS, sessions: 256 },
    bound: Duration::from_secs(20),
};
const SMALL: Size = Size {
    rounds: 1,
    calls: 200,
    writes: 2,
    threads: &[8],
    residents: 8,
    crowd: 8,
    registered: 1_000,
    notes: 500,
    export: 2_000_000,
    copied: 2_000_000,
    tools: 5,
    sessions: (20, 2, Duration::from_millis(300)),
    listen: Duration::from_millis(100),
    alternatives: alternatives::Scale { rounds: 1, load: Duration::from_millis(200), tenants: 4, sessions: 8 },
    bound: Duration::from_secs(20),
};

const RATES_OFF: [(&str, &str); 2] =
    [("FREEHOLD_LIMITS__REQUESTS_PER_SECOND", "0"), ("FREEHOLD_LIMITS__PRINCIPAL_REQUESTS_PER_SECOND", "0")];

fn main() -> ExitCode {
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "serve" | "token" => return run(),
        "bare" => return told(bare()),
        "residents" => return told(report()),
        _ => {}
    }
    let asked = |name: &str| std::env::args().any(|argument| argument == name);
    let size = if asked("--bench") { LARGE } else { SMALL };
    // What else there is has a table of its own, and at full size takes minutes: by name alone.
    if asked("compare") { told(alternatives::run(&size.alternatives)) } else { told(compare(&size)) }
}

/// The counter's host; where the environment says so, one that takes every token unread.
fn run() -> ExitCode {
    match (std::env::var_os(UNREAD), Unread::of("acme")) {
        (Some(_), Ok(unread)) => counter::host().authenticate(unread).run(),
        _ => counter::host().run(),
    }
}

fn told(done: Done) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn bare() -> Done {
    println!("listening on http://{}{}", bare_rmcp::spawn().await, bare_rmcp::PATH);
    // Ends with its parent's end of the pipe, or when it is killed.
    std::future::pending().await
}

#[tokio::main]
async fn report() -> Done {
    let tenants = std::env::args().nth(2).ok_or("how many?")?.parse()?;
    match std::env::args().nth(3).as_deref() {
        Some("crowd") => residents::crowd(tenants).await,
        _ => residents::report(tenants).await,
    }
}

#[tokio::main]
async fn compare(size: &Size) -> Done {
    const NAMES: [&str; 15] = [
        "tools",
        "calls",
        "auth",
        "writes",
        "group",
        "reads",
        "wake",
        "memory",
        "sessions",
        "registered",
        "export",
        "copies",
        "scrape",
        "engine",
        "noise",
    ];
    // Names run those alone: `cargo bench --bench host -- writes reads`.
    let given: Vec<_> = std::env::args().filter(|argument| NAMES.contains(&argument.as_str())).collect();
    let mut table = Table::default();
    for name in NAMES.into_iter().filter(|name| given.is_empty() || given.iter().any(|one| one == name)) {
        match name {
            "tools" => {
                tools::reads(size.notes, size.tools, size.rounds, &mut table).await?;
                tools::journal(size.calls, size.rounds, size.bound, &RATES_OFF, &mut table).await?;
            }
            "calls" => calls(size, &mut table).await?,
            "auth" => auth(size, &mut table).await?,
            "writes" => writes(size, &mut table).await?,
            "group" => group(size, &mut table).await?,
            "reads" => reads(size, &mut table).await?,
            "wake" => residents::wake(TENANTS.min(size.residents), size.rounds, &mut table).await?,
            "memory" => {
                residents::memory(size.residents, &mut table)?;
                residents::crowded(size.crowd, &mut table)?;
            }
            "sessions" => sessions::quiet(size.sessions.0, size.sessions.1, size.sessions.2, &mut table)?,
            "registered" => residents::registered(size.registered, size.rounds, &mut table)?,
            "export" => operate::export(size.export, size.rounds, &mut table).await?,
            "copies" => copies::copies(size.copied, size.rounds.min(3), size.listen, &mut table).await?,
            "scrape" => operate::scrape(size.registered, size.residents, &mut table).await?,
            "engine" => noise::inside(size.rounds.min(3), size.listen, &mut table).await?,
            _ => noise::through_http(size.rounds.min(3), size.listen, &mut table).await?,
        }
        eprintln!("{name}: done");
    }
    print!("{table}");
    Ok(())
}

/// `tools/call` of a pure tool: through token, routing, limits and log, against rmcp and axum alone.
async fn calls(size: &Size, table: &mut Table) -> Done {
    let dir = tempfile::tempdir()?;
    let data = dir.path().to_str().ok_or("a path that is text")?;
    let host = Server::start(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data], &RATES_OFF)?;
    let bare = Server::start(&["bare"], &[])?;
    let token = token(data, "acme")?;
    let call = || modern_call("add", r#"{"a":2,"b":3}"#);
    let modern = (
        vec![call().bearer(&token).post("/mcp", &host.addr.to_string())],
        vec![call().post(bare_rmcp::PATH, &bare.addr.to_string())],
    );
    // A session for each connection, and SSE answers, on both sides.
    let open = |server: &Server, path, token| {
        sessions::calls(server.addr, path, token, CONNECTIONS, "add", r#"{"a":2,"b":3}"#)
    };
    let legacy = (open(&host, "/mcp", Some(&token))?, open(&bare, bare_rmcp::PATH, None)?);
    for (name, (ours, theirs)) in [("modern", modern), ("legacy", legacy)] {
        let load = |server: &Server, requests: &[Vec<u8>], calls| Load {
            addr: server.addr,
            requests: requests.iter().map(|request| request.clone().into()).collect(),
            expected: Arc::from(&br#""sum":5}"#[..]),
            connections: CONNECTIONS,
            calls,
            deadline: size.bound,
            every: Duration::ZERO,
        };
        let (ours, theirs) = (|calls| load(&host, &ours, calls), |calls| load(&bare, &theirs, calls));
        let warm = size.calls / 20 + 1;
        let _warm = (ours(warm).run().await, theirs(warm).run().await);
        let pairs =
            paired(size.rounds, async || ours(size.calls).run().await, async || theirs(size.calls).run().await).await;
        let failures: usize = pairs.0.iter().map(|(ours, theirs)| ours.failures + theirs.failures).sum();
        if failures > 0 {
            return Err(format!("{failures} {name} calls failed").into());
        }
        let work = format!("{name} tools/call of add ÷ bare rmcp + axum");
        row(table, &work, &pairs, Report::per_second, "/s", "≥ 0.85");
        row(table, "  the same, p99", &pairs, |report| report.p99.as_secs_f64() * 1e3, "ms", "≤ 1.3");
    }
    Ok(())
}

/// What a token costs: remembered from the call before, and never seen before, against the same host that takes
/// every token unread. One load presses both in turn.
async fn auth(size: &Size, table: &mut Table) -> Done {
    let dir = tempfile::tempdir()?;
    let (data, open) = (dir.path().join("data"), dir.path().join("open"));
    let (data, open) = (data.to_str().ok_or("a path that is text")?, open.to_str().ok_or("a path that is text")?);
    let serve = |data, environment: &[(&str, &str)]| {
        let environment = [&RATES_OFF[..], environment].concat();
        Server::start(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data], &environment)
    };
    let (host, unread) = (serve(data, &[])?, serve(open, &[(UNREAD, "1")])?);
    let signer = Signer::of(data)?;
    let calls = size.calls / 3 + 1;
    let load = |server: &Server, tokens: &[String]| {
        let to = server.addr.to_string();
        let request = |token: &String| modern_call("add", r#"{"a":2,"b":3}"#).bearer(token).post("/mcp", &to).into();
        Load {
            addr: server.addr,
            requests: tokens.iter().map(request).collect(),
            expected: Arc::from(&br#""sum":5}"#[..]),
            connections: 16,
            calls,
            deadline: size.bound,
            every: Duration::ZERO,
        }
    };
    let drawn = |count: usize, round: usize| -> Done<Vec<String>> {
        (0..count).map(|number| signer.sign("acme", &format!("{round}-{number}"))).collect()
    };
    let known = drawn(1, 0)?;
    let _warm = (load(&host, &known).run().await, load(&unread, &known).run().await);
    // The difference is small: it takes many rounds to see it.
    let rounds = size.rounds * size.rounds;
    let cached =
        paired(rounds, async || load(&host, &known).run().await, async || load(&unread, &known).run().await).await;
    let mut fresh = Pairs(Vec::new());
    for round in 1..=size.rounds {
        // Some more than calls, so that no connection comes to its first token again. Made before the clock runs.
        let tokens = drawn(calls + calls / 2 + 16, round)?;
        let ours = load(&host, &tokens).run().await;
        fresh.0.push((ours, load(&unread, &tokens).run().await));
    }
    for pairs in [&cached, &fresh] {
        let failures: usize = pairs.0.iter().map(|(ours, theirs)| ours.failures + theirs.failures).sum();
        if failures > 0 {
            return Err(format!("{failures} calls failed").into());
        }
    }
    let each = |report: &Report| 1e6 / report.per_second();
    for (work, pairs, goal) in [
        ("modern tools/call of add, token remembered ÷ token unread, time a call", cached, "≤ 1.03"),
        ("  the same, an EdDSA token never seen before", fresh, "≤ 1.10"),
    ] {
        row(table, work, &pairs, each, "µs", goal);
    }
    let alone = tokens::signature_alone(size.calls / 30 + 1)?;
    table.alone("  an Ed25519 signature checked by itself, on one core", format!("{alone:.1} µs"), "");
    Ok(())
}

/// One-row durable writes of 64 tenants at once, against bare rusqlite with its best number of threads.
async fn writes(size: &Size, table: &mut Table) -> Done {
    let bare_dir = tempfile::tempdir()?;
    let host = host()?;
    let tenants = tenants(&host).await?;
    let files = files(bare_dir.path());
    let pairs = paired(
        size.rounds,
        async || commits(&tenants, size.writes).await,
        async || files.best(size.writes, size.threads, size.bound).map_or(f64::NAN, |(_, rate)| rate),
    )
    .await;
    row(table, "durable one-row writes, 64 tenants ÷ bare rusqlite at its best", &pairs, |rate| *rate, "/s", "≥ 0.8");
    host.close().await;
    Ok(())
}

/// One tenant's durable writes: 64 callers at once against one who waits for each.
async fn group(size: &Size, table: &mut Table) -> Done {
    let host = host()?;
    let tenant = host.tenant("tenant").await?;
    let crowd = vec![tenant.clone(); TENANTS];
    commits(&crowd, 1).await;
    let pairs = paired(
        size.rounds,
        async || commits(&crowd, size.writes).await,
        async || commits(&crowd[..1], size.writes).await,
    )
    .await;
    row(table, "one tenant's durable writes, 64 callers ÷ one at a time", &pairs, |rate| *rate, "/s", "≥ 10");
    host.close().await;
    Ok(())
}

/// Point reads of 64 tenants at once, against `spawn_blocking` and a connection each.
async fn reads(size: &Size, table: &mut Table) -> Done {
    let bare_dir = tempfile::tempdir()?;
    let host = host()?;
    let tenants = tenants(&host).await?;
    commits(&tenants, 1).await;
    let files = files(bare_dir.path());
    let each = size.calls / TENANTS + 1;
    let pairs = paired(
        size.rounds,
        async || {
            per_second(&tenants, each, |tenant| async move {
                tenant.read(|conn| Ok(conn.prepare_cached(READ)?.query_row([KEY], |row| row.get::<_, i64>(0))?)).await
            })
            .await
        },
        async || files.reads(TENANTS, each * TENANTS, size.bound).await.map_or(f64::NAN, |report| report.per_second()),
    )
    .await;
    row(table, "small reads, 64 tenants ÷ bare rusqlite on a blocking pool", &pairs, |rate| *rate, "/s", "≥ 0.8");
    host.close().await;
    Ok(())
}

fn host() -> Done<TestHost> {
    Ok(TestHost::start(counter::host(), |settings| settings.tenants.auto_create = true)?)
}

fn files(dir: &Path) -> Files<'_> {
    Files { dir, tenants: TENANTS, synchronous: "FULL", pragmas: &PRAGMAS }
}

/// The tenants, awake.
async fn tenants(host: &TestHost) -> Done<Vec<Tenant>> {
    let mut tenants = Vec::new();
    for number in 0..TENANTS {
        tenants.push(host.tenant(&format!("tenant-{number}")).await?);
    }
    commits(&tenants, 1).await;
    Ok(tenants)
}

async fn commits(tenants: &[Tenant], each: usize) -> f64 {
    per_second(tenants, each, |tenant| async move {
        tenant.write(|tx| Ok(tx.prepare_cached(BUMP)?.query_row([KEY], |row| row.get::<_, i64>(0))?)).await
    })
    .await
}

/// Every tenant one after the other within itself, all tenants at once. NaN if anything failed.
async fn per_second<F, O>(tenants: &[Tenant], each: usize, once: F) -> f64
where
    F: Fn(Tenant) -> O + Copy + Send + 'static,
    O: Future<Output = freehold::Result<i64>> + Send,
{
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for tenant in tenants {
        let tenant = tenant.clone();
        clients.spawn(async move {
            for _ in 0..each {
                once(tenant.clone()).await?;
            }
            freehold::Result::<()>::Ok(())
        });
    }
    let failed = clients.join_all().await.into_iter().filter(Result::is_err).count();
    if failed > 0 { f64::NAN } else { (each * tenants.len()) as f64 / begun.elapsed().as_secs_f64() }
}

fn row<T>(
    table: &mut Table,
    work: &str,
    pairs: &Pairs<T>,
    of: impl Fn(&T) -> f64 + Copy,
    unit: &str,
    goal: &'static str,
) {
    let (ours, theirs) = pairs.medians(of);
    table.ratio(work, ours, theirs, unit, pairs.ratio(of), goal);
}
