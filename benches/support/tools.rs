//! Owns what the built-in tools cost beside the same work on bare rusqlite: through the router and its JSON, against a
//! connection in this thread. And what the journal of calls takes of a pure tool.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use freehold::{Host, TestHost};
use http::Request;
use http_body_util::BodyExt;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::Done;
use super::load::Load;
use super::pair::{Pairs, paired};
use super::process::{Server, token};
use super::report::Report;
use super::request::{Call, modern_call};
use super::table::Table;

const TENANT: &str = "tenant";
const ROWS: usize = 1_000;
/// Words that notes are made of: each is in some hundredth of them.
const WORDS: usize = 2_000;

/// What `memory_search` asks of SQLite, as it is written in the crate.
const SEARCH: &str = "SELECT m.id, m.text, m.tags, m.source, m.created_at, m.expires_at, w.rank
    FROM _fh_memory_word AS w CROSS JOIN _fh_memory AS m ON m.id = w.rowid
    WHERE w._fh_memory_word MATCH ?1 AND coalesce(m.expires_at, ?2 + 1) > ?2
    ORDER BY w.rank LIMIT 50";

struct Plain;

impl rmcp::ServerHandler for Plain {}

/// `memory_search` over `notes` notes, and `sql_query` of 1,000 rows.
pub async fn reads(notes: usize, calls: usize, rounds: usize, table: &mut Table) -> Done {
    let host = TestHost::start(Host::new(|_tenant| Plain), |_| {})?;
    host.create_tenant(TENANT)?;
    // A client asks with the token that it has.
    let token = host.token(TENANT)?;
    answer(&host, &token, "kv_set", &json!({ "key": "k", "value": 1 })).await?;
    let file = tenant_file(host.dir())?;
    fill(&file, notes)?;
    let bare = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    bare.execute_batch("PRAGMA cache_size = -256; PRAGMA query_only = 1;")?;

    let query = |n: usize| format!("{} {}", word(n * 7), word(n * 13 + 5));
    let search = async || {
        let mut took = Vec::with_capacity(calls);
        for n in 0..calls {
            let begun = Instant::now();
            let said = answer(&host, &token, "memory_search", &json!({ "query": query(n) })).await;
            took.push(said.map(|_| begun.elapsed()));
        }
        took.into_iter().collect::<Done<Vec<_>>>()
    };
    let sought = || -> Done<Vec<Duration>> {
        let mut took = Vec::with_capacity(calls);
        for n in 0..calls {
            let begun = Instant::now();
            let words = query(n).split(' ').map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" OR ");
            let mut found = bare.prepare_cached(SEARCH)?;
            let found = found.query_map((words, 0), |row| Ok((row.get::<_, String>(1)?, row.get::<_, f64>(6)?)))?;
            let found = found.collect::<Result<Vec<_>, _>>()?;
            took.push(begun.elapsed());
            if found.is_empty() {
                return Err("nothing was found".into());
            }
        }
        Ok(took)
    };
    let pairs = paired(rounds, async || p50(search().await), async || p50(sought())).await;
    row(table, &format!("memory_search over {notes} notes ÷ bare FTS5, p50"), &pairs, "≤ 3")?;

    let all = json!({ "sql": "SELECT id, name, price FROM product ORDER BY id" });
    let asked = async || {
        let mut took = Vec::with_capacity(calls);
        for _ in 0..calls {
            let begun = Instant::now();
            took.push(answer(&host, &token, "sql_query", &all).await.map(|_| begun.elapsed()));
        }
        took.into_iter().collect::<Done<Vec<_>>>()
    };
    let read = || -> Done<Vec<Duration>> {
        let mut took = Vec::with_capacity(calls);
        for _ in 0..calls {
            let begun = Instant::now();
            let text = bare_rows(&bare)?;
            took.push(begun.elapsed());
            if text.len() < ROWS * 10 {
                return Err("rows are missing".into());
            }
        }
        Ok(took)
    };
    let pairs = paired(rounds, async || p50(asked().await), async || p50(read())).await;
    row(table, "sql_query of 1,000 rows ÷ bare rusqlite + serde_json, p50", &pairs, "≤ 2")?;
    host.close().await;
    Ok(())
}

/// `tools/call` of a pure tool with the journal and without it.
pub async fn journal(calls: usize, rounds: usize, bound: Duration, rates: &[(&str, &str)], table: &mut Table) -> Done {
    let dirs = [tempfile::tempdir()?, tempfile::tempdir()?];
    let mut servers = Vec::new();
    for (dir, enabled) in dirs.iter().zip(["true", "false"]) {
        let data = dir.path().to_str().ok_or("a path that is text")?;
        let mut environment = rates.to_vec();
        environment.push(("FREEHOLD_JOURNAL__ENABLED", enabled));
        let server = Server::start(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data], &environment)?;
        servers.push((server, token(data, "acme")?));
    }
    let load = |(server, token): &(Server, String), calls| Load {
        addr: server.addr,
        requests: vec![
            modern_call("add", r#"{"a":2,"b":3}"#).bearer(token).post("/mcp", &server.addr.to_string()).into(),
        ],
        expected: Arc::from(&br#""sum":5}"#[..]),
        connections: 16,
        calls,
        deadline: bound,
        every: Duration::ZERO,
    };
    let warm = calls / 20 + 1;
    let _warm = (load(&servers[0], warm).run().await, load(&servers[1], warm).run().await);
    let run = async |at: usize| load(&servers[at], calls).run().await;
    let pairs = paired(rounds, async || run(0).await, async || run(1).await).await;
    if pairs.0.iter().any(|(with, without)| with.failures + without.failures > 0) {
        return Err("calls failed".into());
    }
    let (with, without) = pairs.medians(Report::per_second);
    table.ratio(
        "  the same with the journal ÷ without it",
        with,
        without,
        "/s",
        pairs.ratio(Report::per_second),
        "≥ 0.95",
    );
    Ok(())
}

/// One call through the router, its whole answer taken in and not read: reading it is the client's business.
async fn answer(host: &TestHost, token: &str, tool: &str, arguments: &Value) -> Done<usize> {
    let Call { headers, body } = modern_call(tool, &arguments.to_string()).bearer(token);
    let mut request = Request::post("/mcp").header("host", "127.0.0.1:8000").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = host.send(request.body(Body::from(body))?).await;
    let body = answer.into_body().collect().await?.to_bytes();
    let failed = memchr::memmem::find(&body, b"structuredContent").is_none();
    if failed { Err(String::from_utf8_lossy(&body).into_owned().into()) } else { Ok(body.len()) }
}

/// The rows as JSON text, as a program of one's own would give them.
fn bare_rows(conn: &Connection) -> Done<String> {
    let mut all = conn.prepare_cached("SELECT id, name, price FROM product ORDER BY id")?;
    let mut rows = all.query([])?;
    let mut told = Vec::new();
    while let Some(row) = rows.next()? {
        let value = |at: usize| -> rusqlite::Result<Value> {
            Ok(match row.get_ref(at)? {
                ValueRef::Integer(whole) => whole.into(),
                ValueRef::Real(real) => real.into(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
                _ => Value::Null,
            })
        };
        told.push((0..3).map(value).collect::<rusqlite::Result<Vec<_>>>()?);
    }
    Ok(serde_json::to_string(&json!({ "columns": ["id", "name", "price"], "rows": told }))?)
}

/// Beside the host, which nobody calls meanwhile: one transaction, where as many calls would take minutes.
fn fill(file: &Path, notes: usize) -> Done {
    let mut conn = Connection::open(file)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    let tx = conn.transaction()?;
    {
        let mut note = tx.prepare("INSERT INTO _fh_memory (text, tags, created_at) VALUES (?1, '[]', 1893456000)")?;
        let mut words = tx.prepare("INSERT INTO _fh_memory_word (rowid, text, tags) VALUES (?1, ?2, '')")?;
        for n in 0..notes {
            let text: Vec<_> = (0..20).map(|at| word(n * 31 + at * at * 17 + n % (at + 1))).collect();
            let text = text.join(" ");
            note.execute([&text])?;
            words.execute((tx.last_insert_rowid(), &text))?;
        }
        tx.execute_batch("CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL NOT NULL)")?;
        let mut product = tx.prepare("INSERT INTO product (name, price) VALUES (?1, ?2)")?;
        for n in 0..ROWS {
            product.execute((format!("product number {n}"), n as f64 * 1.25))?;
        }
    }
    tx.commit()?;
    Ok(())
}

fn word(n: usize) -> String {
    format!("word{}", n % WORDS)
}

fn tenant_file(dir: &Path) -> Done<PathBuf> {
    for shelf in std::fs::read_dir(dir.join("tenants"))? {
        let file = shelf?.path().join(TENANT).join("tenant.db");
        if file.is_file() {
            return Ok(file);
        }
    }
    Err("the tenant has no file".into())
}

/// The middle one, in milliseconds; NaN where something failed, with the reason told.
fn p50(took: Done<Vec<Duration>>) -> f64 {
    match took {
        Ok(mut took) => {
            took.sort_unstable();
            took.get(took.len() / 2).map_or(f64::NAN, |middle| middle.as_secs_f64() * 1e3)
        }
        Err(error) => {
            eprintln!("failed: {error}");
            f64::NAN
        }
    }
}

fn row(table: &mut Table, work: &str, pairs: &Pairs<f64>, goal: &'static str) -> Done {
    let ratio = pairs.ratio(|millis| *millis);
    if ratio.is_nan() {
        return Err(format!("{work} failed").into());
    }
    let (ours, theirs) = pairs.medians(|millis| *millis);
    table.ratio(work, ours, theirs, "ms", ratio, goal);
    Ok(())
}
