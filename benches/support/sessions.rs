//! Owns the sessions of older clients: how one is opened, what a call in one looks like, and what many of them that
//! have fallen quiet leave in memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Done;
use super::process::{Server, token};
use super::request::Call;
use super::table::Table;

const VERSION: &str = "2025-11-25";
/// Connections that open sessions at once.
const OPENERS: usize = 8;
/// The longest that a server may take over one request.
const PATIENCE: Duration = Duration::from_secs(30);

/// The headers of every request of an older client; with a session once it has one.
pub fn call(token: Option<&str>, session: Option<&str>, body: String) -> Call {
    let mut headers = vec![
        ("Accept", "application/json, text/event-stream".to_owned()),
        ("MCP-Protocol-Version", VERSION.to_owned()),
    ];
    headers.extend(session.map(|id| ("Mcp-Session-Id", id.to_owned())));
    headers.extend(token.map(|token| ("Authorization", format!("Bearer {token}"))));
    Call { headers, body }
}

/// Opens a session and returns its id.
fn open(addr: SocketAddr, path: &str, token: Option<&str>) -> Done<String> {
    let answer = exchange(addr, path, initialize(token))?;
    let session = session_of(&answer).ok_or_else(|| format!("no session: {answer}"))?;
    exchange(addr, path, initialized(token, &session))?;
    Ok(session)
}

/// What asks for a session.
pub fn initialize(token: Option<&str>) -> Call {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{VERSION}","capabilities":{{}},"clientInfo":{{"name":"bench","version":"1"}}}}}}"#
    );
    call(token, None, body)
}

/// What a client says once it has its session.
pub fn initialized(token: Option<&str>, session: &str) -> Call {
    call(token, Some(session), r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned())
}

/// The session's id in the headers of an answer.
pub fn session_of(answer: &str) -> Option<String> {
    answer.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("mcp-session-id").then(|| value.trim().to_owned())
    })
}

/// One request on a connection of its own.
fn exchange(addr: SocketAddr, path: &str, mut call: Call) -> Done<String> {
    call.headers.push(("Connection", "close".to_owned()));
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&call.post(path, &addr.to_string()))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A `tools/call` of `tool` in each of `count` new sessions: as many requests, each with an id of its own.
pub fn calls(
    addr: SocketAddr,
    path: &str,
    token: Option<&str>,
    count: usize,
    tool: &str,
    arguments: &str,
) -> Done<Vec<Vec<u8>>> {
    let one = |id: usize| -> Done<Vec<u8>> {
        let session = open(addr, path, token)?;
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        );
        Ok(call(token, Some(&session), body).post(path, &addr.to_string()))
    };
    (1..=count).map(one).collect()
}

/// What `sessions`, spread over `tenants`, leave in memory when they have been quiet for `rest`.
pub fn quiet(sessions: usize, tenants: usize, rest: Duration, table: &mut Table) -> Done {
    let dir = tempfile::tempdir()?;
    let data = dir.path().to_str().ok_or("a path that is text")?;
    let quiet = format!("{}ms", (rest / 3).as_millis());
    let each = (sessions / tenants + 1).to_string();
    let environment = [
        ("FREEHOLD_LIMITS__REQUESTS_PER_SECOND", "0"),
        ("FREEHOLD_LIMITS__PRINCIPAL_REQUESTS_PER_SECOND", "0"),
        ("FREEHOLD_LIMITS__SESSION_QUIET", &quiet),
        ("FREEHOLD_LIMITS__SESSIONS", &each),
        ("FREEHOLD_LIMITS__SESSIONS_PER_PRINCIPAL", &each),
    ];
    let server = Server::start(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data], &environment)?;
    let tokens: Vec<String> =
        (0..tenants).map(|number| token(data, &format!("tenant-{number}"))).collect::<Done<_>>()?;
    // What a tenant costs by itself is another row's.
    for token in &tokens {
        open(server.addr, "/mcp", Some(token))?;
    }
    std::thread::sleep(rest);
    let before = server.resident()?;
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        let open_all = || -> Result<(), String> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= sessions {
                    return Ok(());
                }
                open(server.addr, "/mcp", Some(&tokens[number % tenants])).map_err(|error| error.to_string())?;
            }
        };
        let openers: Vec<_> = (0..OPENERS).map(|_| scope.spawn(open_all)).collect();
        openers.into_iter().try_for_each(|opener| opener.join().map_err(|_| "an opener fell".to_owned())?)
    })?;
    let (busy, took) = (server.resident()?, begun.elapsed());
    std::thread::sleep(rest);
    let mib = |kib: u64| (kib as f64 - before as f64) / 1024.0;
    table.alone(
        format!("{sessions} sessions over {tenants} tenants, opened in {:.0} s: memory", took.as_secs_f64()),
        format!("{:+.1} MiB", mib(busy)),
        "",
    );
    let told = format!("{:+.1} MiB", mib(server.resident()?));
    table.alone(format!("  the same, {} s after they fell quiet", rest.as_secs()), told, "≤ +20 MiB");
    Ok(())
}
