//! HTTP/2 as nobody in good faith speaks it: floods of frames that cost their sender nothing. Each ends, in bounded
//! memory, while others are served.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    fields, frame,
};
use crate::support::link::{Served, tool_call};
use crate::support::wire::MODERN;

/// What one flood may cost, in bytes.
const MEMORY: u64 = 50 << 20;

fn served() -> Served {
    // Deadlines that a test can wait for; the numbers of users are of the same code.
    let hurried = [
        ("FREEHOLD_CONNECTIONS__HEADER_DEADLINE", "1s"),
        ("FREEHOLD_CONNECTIONS__IDLE", "1s"),
        ("FREEHOLD_CONNECTIONS__WRITE_STALL", "1s"),
    ];
    Served::start(&[], &hurried)
}

fn head(served: &Served, token: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let (authority, bearer) = (served.server.address().to_string(), format!("Bearer {token}"));
    let ours = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/mcp"),
        (":authority", &authority),
        ("authorization", &bearer),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "sql_query"),
    ];
    fields(&[&ours[..], more].concat())
}

/// Checks that a flood left the host as it was.
fn expect_unharmed(served: &Served, what: &str, resident: u64) {
    assert!(served.serves(), "{what}: others are not served");
    let grown = served.server.peak_memory().saturating_sub(resident);
    assert!(grown < MEMORY, "{what}: {grown} bytes more");
}

fn stream(number: u32) -> u32 {
    2 * number + 1
}

#[test]
fn floods_of_frames_end() {
    let served = served();
    let address = served.server.address();
    assert!(served.serves());
    let block = head(&served, &served.a, &[]);
    let open = |number: u32| frame(HEADERS, END_HEADERS, stream(number), &block);
    let cancel = |number: u32| frame(RST_STREAM, 0, stream(number), &8_u32.to_be_bytes());
    let large = frame(CONTINUATION, 0, 1, &fields(&[("x-long", &"x".repeat(4_000))]));
    let empty = frame(CONTINUATION, 0, 1, b"");
    type Piece<'a> = Box<dyn FnMut(u32) -> Vec<u8> + 'a>;
    // What is flooded, how many at most, and whether the connection has to end before that.
    let floods: Vec<(&str, u32, bool, Piece<'_>)> = vec![
        ("rapid reset", 10_000, true, Box::new(|n| [open(n), cancel(n)].concat())),
        (
            "rapid reset without a token",
            10_000,
            true,
            Box::new(|n| {
                let nobody =
                    fields(&[(":method", "POST"), (":scheme", "http"), (":path", "/mcp"), (":authority", "x")]);
                [frame(HEADERS, END_HEADERS, stream(n), &nobody), cancel(n)].concat()
            }),
        ),
        (
            "streams that the host has to reset",
            10_000,
            true,
            Box::new(|n| {
                // A window of nothing is an error of its stream (RFC 9113 section 6.9).
                [open(n), frame(WINDOW_UPDATE, 0, stream(n), &0_u32.to_be_bytes())].concat()
            }),
        ),
        (
            "headers without an end",
            10_000,
            true,
            Box::new(|n| match n {
                0 => frame(HEADERS, 0, 1, &block),
                _ => large.clone(),
            }),
        ),
        (
            "empty continuations",
            100_000,
            true,
            Box::new(|n| match n {
                0 => frame(HEADERS, 0, 1, &block),
                _ => empty.clone(),
            }),
        ),
        ("streams beyond those agreed", 10_000, false, Box::new(open)),
        (
            "empty data",
            100_000,
            false,
            Box::new(|n| match n {
                0 => open(0),
                _ => frame(DATA, 0, 1, b""),
            }),
        ),
        ("pings", 100_000, false, Box::new(|n| frame(PING, 0, 0, &u64::from(n).to_be_bytes()))),
        ("settings", 100_000, false, Box::new(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]))),
        ("priorities", 100_000, false, Box::new(|n| frame(PRIORITY, 0, stream(n), &[0, 0, 0, 0, 16]))),
        ("unknown frames", 100_000, false, Box::new(|n| frame(0xaa, 0, stream(n), b"x"))),
    ];
    for (what, most, ends, piece) in floods {
        let resident = served.server.forget_peak();
        let (sent, code) = Http2::to(address, &[]).flood(most, piece);
        assert!(!ends || sent < most || code.is_some_and(|code| code != 0), "{what}: {sent} were taken, {code:?}");
        expect_unharmed(&served, what, resident);
    }
}

/// A head that is too large is told so, and the connection serves on.
#[test]
fn a_large_head_is_refused() {
    let served = served();
    let block = head(&served, &served.a, &[("x-long", &"x".repeat(100_000))]);
    let resident = served.server.forget_peak();
    let mut connection = Http2::to(served.server.address(), &[]);
    let mut pieces = block.chunks(16_000);
    connection.send(&frame(HEADERS, END_STREAM, 1, pieces.next().expect("a piece")));
    let rest: Vec<_> = pieces.collect();
    for (at, piece) in rest.iter().enumerate() {
        connection.send(&frame(CONTINUATION, if at + 1 == rest.len() { END_HEADERS } else { 0 }, 1, piece));
    }
    // 431, or an end: not 200.
    let said = connection.rest();
    assert!(!String::from_utf8_lossy(&said).contains("structuredContent"));
    expect_unharmed(&served, "a large head", resident);
}

/// Who takes nothing of what is sent is not waited for: not on a connection, not on a stream of one that goes on.
#[test]
fn who_reads_nothing_is_let_go() {
    let served = served();
    let address = served.server.address();
    assert!(served.serves());
    let resident = served.server.forget_peak();
    Http2::to(address, &[]).unread(&frame(PING, 0, 0, &[7; 8]).repeat(1_000));
    expect_unharmed(&served, "pings unread", resident);
    Http2::to(address, &[]).unread(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]).repeat(1_000));
    expect_unharmed(&served, "settings unread", resident);

    // A window of nothing for the answers, on a connection that is read.
    let body = tool_call("sql_query", &json!({ "sql": "SELECT printf('%.*c', 200000, 'x')" }));
    let mut connection = Http2::to(address, &[0, 4, 0, 0, 0, 0]);
    for number in 0..64 {
        let length = body.len().to_string();
        let block = head(&served, &served.a, &[("content-length", &length)]);
        connection.send(&frame(HEADERS, END_HEADERS, stream(number), &block));
        connection.send(&frame(DATA, END_STREAM, stream(number), body.as_bytes()));
    }
    let mut kept: BTreeSet<u32> = (0..64).map(stream).collect();
    while !kept.is_empty() {
        let (ended, _) = connection.next(RST_STREAM).unwrap_or_else(|| panic!("kept for ever: {kept:?}"));
        kept.remove(&ended);
    }
    // The others on it are other people's: it is still good.
    let length = body.len().to_string();
    connection.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]));
    connection.send(&frame(
        HEADERS,
        END_HEADERS,
        stream(100),
        &head(&served, &served.b, &[("content-length", &length)]),
    ));
    connection.send(&frame(DATA, END_STREAM, stream(100), body.as_bytes()));
    assert!(connection.next_on(DATA, stream(100)).is_some_and(|data| data.starts_with(b"{")));
    expect_unharmed(&served, "windows of nothing", resident);
}

/// A client that pings and asks nothing is no client.
#[test]
fn who_only_pings_is_let_go() {
    let served = served();
    let mut connection = Http2::to(served.server.address(), &[]);
    let pinging = std::thread::scope(|scope| {
        let ping = frame(PING, 0, 0, &[7; 8]);
        scope
            .spawn(move || {
                let begun = std::time::Instant::now();
                while connection.send(&ping) {
                    assert!(begun.elapsed() < crate::support::PATIENCE, "a ping keeps it open");
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
            })
            .join()
    });
    assert!(pinging.is_ok());
    assert!(served.serves());
}

/// What HTTP/1 says by other means: whose the request is has one answer here too.
#[test]
fn odd_requests_are_refused() {
    let served = served();
    let authority = served.server.address().to_string();
    let body = tool_call("sql_query", &json!({ "sql": "SELECT 7" }));
    let bearer = format!("Bearer {}", served.a);
    let rest = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "sql_query"),
    ];
    let start = [(":method", "POST"), (":scheme", "http"), (":path", "/mcp"), (":authority", authority.as_str())];
    let other_bearer = format!("Bearer {}", served.b);
    let with = |start: &[(&str, &str)], more: &[(&str, &str)]| fields(&[start, &rest[..], more].concat());
    let replaced = |at: usize, value: &'static str| {
        let mut start = start;
        start[at].1 = value;
        start
    };
    let cases: Vec<(&str, Vec<u8>, bool)> = vec![
        ("in order", with(&start, &[]), true),
        ("another authority", with(&replaced(3, "evil.example"), &[]), false),
        ("another host", with(&start, &[("host", "evil.example")]), false),
        ("no authority", with(&start[..3], &[]), false),
        ("two paths", with(&start, &[(":path", "/mcp")]), false),
        ("a query", with(&replaced(2, "/mcp?x=1"), &[]), false),
        ("a path that is none", with(&replaced(2, "mcp"), &[]), false),
        ("two tokens", with(&start, &[("authorization", &other_bearer)]), false),
        ("an upper-case name", with(&start, &[("X-Odd", "1")]), false),
        ("a connection's header", with(&start, &[("connection", "keep-alive")]), false),
        ("chunks", with(&start, &[("transfer-encoding", "chunked")]), false),
        ("a line's end in a value", with(&start, &[("x-odd", "a\r\nauthorization: x")]), false),
        ("a wrong length", with(&start, &[("content-length", "3")]), false),
        ("a tunnel", fields(&[(":method", "CONNECT"), (":authority", &authority)]), false),
        (
            "a websocket's tunnel",
            with(&[(":method", "CONNECT"), (":protocol", "websocket"), start[1], start[2], start[3]], &[]),
            false,
        ),
    ];
    for (what, block, good) in cases {
        let mut connection = Http2::to(served.server.address(), &[]);
        connection.send(&frame(HEADERS, END_HEADERS, 1, &block));
        connection.send(&frame(DATA, END_STREAM, 1, body.as_bytes()));
        let said = connection.rest();
        let served_it = String::from_utf8_lossy(&said).contains("structuredContent");
        assert_eq!(served_it, good, "{what}: {}", String::from_utf8_lossy(&said));
    }
}

/// One connection of a balancer, many callers: each stream is its own.
#[test]
fn a_connection_keeps_nothing_of_a_caller() {
    let served = served();
    let mut connection = Http2::to(served.server.address(), &[]);
    for number in 0..20 {
        let (token, whose) = if number % 2 == 0 { (&served.a, "a") } else { (&served.b, "b") };
        let sql = format!("SELECT '{whose}{number}'");
        let body = tool_call("sql_query", &json!({ "sql": sql }));
        let (ours, stranger) = (stream(2 * number), stream(2 * number + 1));
        connection.send(&frame(HEADERS, END_HEADERS, ours, &head(&served, token, &[])));
        connection.send(&frame(DATA, END_STREAM, ours, body.as_bytes()));
        let data = connection.next_on(DATA, ours).expect("an answer");
        assert!(String::from_utf8_lossy(&data).contains(&format!("{whose}{number}")));
        let nobody = head(&served, "x.y.z", &[]);
        connection.send(&frame(HEADERS, END_HEADERS | END_STREAM, stranger, &nobody));
        let refused = connection.next_on(DATA, stranger).expect("an answer");
        assert!(String::from_utf8_lossy(&refused).contains("-32000"));
    }
}
