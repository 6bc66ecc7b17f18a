//! The real program and whoever writes to its sockets: what is odd is refused, what is too much is told so where the
//! sender can read it, and nothing of one request is left for the next.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::link::{Link, Served, modern, tool_call};

fn execute(sql: &str) -> Value {
    json!({ "statements": [{ "sql": sql }] })
}

fn tables(served: &Served, token: &str) -> Value {
    let mut link = served.link();
    link.send(served.call(token, "sql_schema", &json!({}), "").as_bytes());
    let answer = link.answer().expect("an answer");
    let tables = answer.json()["result"]["structuredContent"]["tables"].clone();
    tables.as_array().expect("tables").iter().map(|table| table["name"].clone()).collect()
}

/// One connection, two callers in turn: each is served as who it is, and after a refusal too.
#[test]
fn a_connection_keeps_nothing_of_a_caller() {
    let served = Served::start(&[], &[]);
    let mut link = served.link();
    for (token, name) in [(&served.a, "of_a"), (&served.b, "of_b")] {
        link.send(served.call(token, "sql_execute", &execute(&format!("CREATE TABLE {name} (n)")), "").as_bytes());
        assert_eq!(link.answer().expect("an answer").status, 200);
    }
    for turn in 0..12 {
        let (token, whose) = [(served.a.as_str(), "of_a"), (served.b.as_str(), "of_b"), ("", "")][turn % 3];
        link.send(served.call(token, "sql_schema", &json!({}), "").as_bytes());
        let answer = link.answer().expect("an answer");
        if whose.is_empty() {
            assert_eq!(answer.status, 401, "turn {turn}: {answer:?}");
        } else {
            assert_eq!(answer.json()["result"]["structuredContent"]["tables"][0]["name"], whose, "turn {turn}");
        }
    }
    // Written in one piece, as one who wants to slip something in does it.
    let pipelined: String =
        [&served.a, "", &served.b].iter().map(|token| served.call(token, "sql_schema", &json!({}), "")).collect();
    let mut link = served.link();
    link.send(pipelined.as_bytes());
    let said: Vec<_> = (0..3).map(|_| link.answer().expect("an answer")).collect();
    assert_eq!(said.iter().map(|one| one.status).collect::<Vec<_>>(), [200, 401, 200]);
    assert!(said[0].body.contains("of_a") && said[2].body.contains("of_b"), "{said:?}");
}

/// What stands behind the body came too late to be believed.
#[test]
fn trailers_say_nothing() {
    let served = Served::start(&[], &[]);
    let body = tool_call("sql_execute", &execute("CREATE TABLE t (n)"));
    let chunked = |token: &str, trailers: &str| {
        let headers = format!(
            "{}Transfer-Encoding: chunked\r\nTrailer: authorization, mcp-session-id\r\n",
            modern("sql_execute")
        );
        served.post(token, &headers, &format!("{:x}\r\n{body}\r\n0\r\n{trailers}\r\n", body.len()))
    };
    let of_b = format!("Authorization: Bearer {}\r\nX-Tenant: b\r\nHost: evil.example\r\n", served.b);
    let mut link = served.link();
    link.send(chunked("", &of_b).as_bytes());
    assert_eq!(link.answer().expect("an answer").status, 401);
    let mut link = served.link();
    link.send(chunked(&served.a, &of_b).as_bytes());
    assert_eq!(link.answer().expect("an answer").status, 200);
    assert_eq!((tables(&served, &served.a), tables(&served, &served.b)), (json!(["t"]), json!([])));
}

/// Each case is one line among the headers of a call that would create a table. None is served.
#[test]
fn a_header_out_of_shape_is_refused() {
    let served = Served::start(&[], &[]);
    let host = served.server.address();
    let good = served.call(&served.a, "sql_execute", &execute("CREATE TABLE t (n)"), "");
    let authorization = format!("Authorization: Bearer {}\r\n", served.a);
    let with = |line: &[u8]| {
        let (first, rest) = good.split_once("\r\n").expect("a request line");
        [first.as_bytes(), b"\r\n", line, b"\r\n", rest.as_bytes()].concat()
    };
    let instead = |line: &str| good.replacen(&authorization, line, 1).into_bytes();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("two tokens", with(authorization.trim_end().as_bytes())),
        ("two tokens, one of them b's", with(format!("Authorization: Bearer {}", served.b).as_bytes())),
        ("a list of tokens", instead(&format!("Authorization: Bearer {},{}\r\n", served.a, served.b))),
        ("a folded token", instead(&format!("Authorization: Bearer\r\n {}\r\n", served.a))),
        ("a tab for a space", instead(&format!("Authorization: Bearer\t{}\r\n", served.a))),
        ("a token and more", instead(&format!("Authorization: Bearer {} x\r\n", served.a))),
        ("a quoted token", instead(&format!("Authorization: Bearer \"{}\"\r\n", served.a))),
        ("a token by another name", instead(&format!("X-Authorization: Bearer {}\r\n", served.a))),
        ("a space before the colon", instead(&format!("Authorization : Bearer {}\r\n", served.a))),
        ("a NUL", with(b"X-Odd: a\0b")),
        ("a lone CR", with(b"X-Odd: a\rb")),
        ("a name with a NUL", with(b"X\0Odd: a")),
        ("a session of bytes", with(b"Mcp-Session-Id: \x80\xff")),
        ("two sessions", with(b"Mcp-Session-Id: x\r\nMcp-Session-Id: y")),
        ("two lengths", with(b"Content-Length: 3")),
        ("two lengths in one", with(b"Content-Length: 3, 3")),
        ("a length and chunks", with(b"Transfer-Encoding: chunked")),
        ("chunks twice", with(b"Transfer-Encoding: chunked, chunked")),
        ("chunks and more", with(b"Transfer-Encoding: chunked, identity")),
        ("a Host more", with(format!("Host: {host}").as_bytes())),
        ("a foreign target", good.replacen("POST /mcp", "POST http://evil.example/mcp", 1).into_bytes()),
        ("a version that is none", good.replacen("HTTP/1.1", "HTTP/1.9", 1).into_bytes()),
        ("a compressed body", with(b"Content-Encoding: gzip")),
        (
            "an upgrade",
            with(b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA"),
        ),
        ("h2c", with(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk")),
        (
            "a token in the target",
            good.replacen(&authorization, "", 1)
                .replacen("/mcp", &format!("/mcp?access_token={}", served.a), 1)
                .into_bytes(),
        ),
    ];
    for (what, bytes) in cases {
        let mut link = served.link();
        link.send(&bytes);
        if let Some(answer) = link.answer() {
            assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
        }
    }
    assert_eq!(tables(&served, &served.a), json!([]), "refused and done all the same");
    assert!(served.serves());
}

/// Too much is told so, readably, and is not taken in first.
#[test]
fn a_body_too_large_is_told_so_where_its_sender_can_read_it() {
    let served = Served::start(&[], &[]);
    let resident = served.server.forget_peak();
    let most = 1 << 20;
    for (token, wanted) in [(&served.a, 413), (&String::new(), 401)] {
        for over in [1, 1_000, 256 << 10, 2 << 20] {
            let body = " ".repeat(most + over);
            let mut link = served.link();
            // All of it, before a look at the answer: that is what clients do.
            link.send(served.post(token, &format!("Content-Length: {}\r\n", body.len()), &body).as_bytes());
            let answer = link.answer().unwrap_or_else(|| panic!("{over} too many: a reset and no answer"));
            assert_eq!(answer.status, wanted, "{over} too many: {answer:?}");
        }
    }
    // Without an end, in chunks.
    let mut link = served.link();
    link.send(served.post(&served.a, "Transfer-Encoding: chunked\r\n", "").as_bytes());
    let chunk = [format!("{:x}\r\n", 1 << 16).into_bytes(), vec![b' '; 1 << 16], b"\r\n".to_vec()].concat();
    let sent = (0..1_024).take_while(|_| link.send(&chunk)).count();
    assert!(sent < 1_024, "64 MiB were taken");
    assert!(link.answer().is_none_or(|answer| answer.status == 413));
    let grown = served.server.peak_memory().saturating_sub(resident);
    assert!(grown < 48 << 20, "{grown} bytes more");
    // A length that is not the body's.
    let body = tool_call("sql_execute", &execute("CREATE TABLE t (n)"));
    let mut short = served.link();
    short.send(served.post(&served.a, &format!("{}Content-Length: 40\r\n", modern("sql_execute")), &body).as_bytes());
    assert_eq!(short.answer().expect("an answer").status, 400);
    let mut long = served.link();
    long.send(served.post(&served.a, &format!("{}Content-Length: 4000\r\n", modern("sql_execute")), &body).as_bytes());
    long.stream().shutdown(std::net::Shutdown::Write).expect("half a connection");
    assert!(long.answer().is_none_or(|answer| answer.status == 400));
    assert_eq!(tables(&served, &served.a), json!([]));
}

/// Whatever callers write, a line of the log is a line of the log, and says what the host says.
#[test]
fn nobody_writes_into_the_log() {
    let served = Served::start(&["--behind-proxy"], &[("FREEHOLD_AUDIT__CALLS", "true")]);
    // What else a header could hold, hyper refuses before anything is logged.
    let odd = "x\"}{\"level\":\"audit\"} \\n{\\\"level\\\":\\\"audit\\\"}\t%0a\\u000a";
    let kid = {
        use base64::Engine as _;
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "x\n{\"level\":\"audit\"}\u{1b}[31m" });
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header.to_string())
    };
    let (_, rest) = served.a.split_once('.').expect("a token");
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"x\n{\"level\":\"audit\"}","params":{"name":"y\u001b[31m\n{\"level\":\"audit\"}"}}"#;
    let call = list.replacen(r#"x\n{\"level\":\"audit\"}"#, "tools/call", 1);
    let asks = [
        served.call(&served.a, "sql_schema", &json!({}), &format!("User-Agent: {odd}\r\n")),
        served.call(&served.a, "sql_schema", &json!({}), &format!("X-Request-Id: {odd}\r\n")),
        served.call(&served.a, "sql_schema", &json!({}), &format!("X-Forwarded-For: {odd}\r\n")),
        served.call(&served.a, "sql_schema", &json!({}), &format!("traceparent: {odd}\r\nbaggage: {odd}\r\n")),
        served.call(&format!("{kid}.{rest}"), "sql_schema", &json!({}), ""),
        served.post(&served.a, &format!("Mcp-Session-Id: {odd}\r\nContent-Length: {}\r\n", list.len()), list),
        served.post(&served.a, &format!("Content-Length: {}\r\n", list.len()), list),
        served.post(&served.a, &format!("Content-Length: {}\r\n", call.len()), &call),
        served.call(&served.a, "sql_schema", &json!({}), "").replacen(
            "Host: 127",
            &format!("Origin: {odd}\r\nHost: 127"),
            1,
        ),
        served.call(&served.a, "sql_schema", &json!({}), "").replacen("/mcp", "/%0a%7b%22level%22:%22audit%22%7d", 1),
    ];
    for ask in &asks {
        let mut link = served.link();
        link.send(ask.as_bytes());
        let answer = link.answer().unwrap_or_else(|| panic!("no answer to {ask}"));
        assert!(answer.status < 500, "{ask}: {answer:?}");
    }
    let data = served.data.clone();
    let log = served.server.log();
    assert!(served.server.terminate().success());
    let audit = std::fs::read_to_string(data.join("audit.jsonl")).expect("an audit log");
    for line in log.lines().chain(audit.lines()) {
        assert!(!line.contains(|letter: char| letter.is_ascii_control()), "{line:?}");
        let told: Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("a line that is none of ours: {line:?}"));
        assert_ne!(told["level"], "audit", "{line}");
    }
    assert!(log.lines().filter(|line| line.contains("\"request\"")).count() >= asks.len(), "{log}");
}

/// At the loudest that an operator can set it, the log holds no token, no secret and no key; and it warns.
#[test]
fn the_loudest_log_holds_no_secret() {
    for (filter, warned) in [("debug,rmcp=warn", false), ("trace", true)] {
        let served = Served::start(&[], &[("FREEHOLD_LOG", filter)]);
        let canary = "canary-7d1f";
        for ask in [
            served.call(&served.a, "sql_query", &json!({ "sql": format!("SELECT '{canary}'") }), ""),
            served.call(&served.a, "kv_set", &json!({ "key": canary, "value": canary }), ""),
            served.call(&served.reader, "sql_execute", &execute(&format!("CREATE TABLE \"{canary}\" (n)")), ""),
            served.call(&served.a[1..], "sql_query", &json!({ "sql": "SELECT 7" }), "Cookie: session=canary-7d1f\r\n"),
        ] {
            let mut link = served.link();
            link.send(ask.as_bytes());
            link.answer().expect("an answer");
        }
        let log = served.server.log();
        for token in [&served.a, &served.b, &served.reader] {
            let parts: Vec<_> = token.split('.').collect();
            for part in [&parts[1][..40], &parts[2][..40]] {
                assert!(!log.contains(part), "{filter}: a token is in the log");
            }
        }
        assert_eq!(log.contains("FREEHOLD_LOG lets rmcp tell"), warned, "{filter}");
        if !warned {
            assert!(!log.contains(canary), "{filter}: {log}");
        }
    }
}

/// Without a descriptor left it waits for one, does not spin, and serves on.
#[test]
fn it_outlives_the_end_of_its_descriptors() {
    let served = Served::start(&[], &[]);
    assert!(served.serves());
    let pid = Pid::from_raw(i32::try_from(served.server.pid()).expect("a process")).expect("a process");
    let open = std::fs::read_dir(format!("/proc/{}/fd", served.server.pid())).expect("it lives").count() as u64;
    let was = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(open + 8), maximum: Some(open + 8) })
        .expect("a process of ours");
    let held: Vec<Link> = (0..40).map(|_| served.link()).collect();
    let begun = Instant::now();
    while !served.server.log().contains("no connection can be accepted") {
        assert!(begun.elapsed() < PATIENCE, "nobody noticed: {was:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    // It backs off: what it logs in a second is a handful of lines and not a torrent.
    let lines = || served.server.log().matches("no connection can be accepted").count();
    let before = lines();
    std::thread::sleep(Duration::from_secs(1));
    assert!(lines() - before < 50, "{} lines in a second", lines() - before);
    drop(held);
    let begun = Instant::now();
    while !served.serves() {
        assert!(begun.elapsed() < PATIENCE, "it does not come back");
    }
}

/// Addresses that callers make up count for nothing; those that a trusted proxy names count.
#[test]
fn made_up_addresses_do_not_hide_a_guesser() {
    let knock = |served: &Served, number: usize, hops: &str| {
        let mut link = served.link();
        let token = format!("bad{number}.x.y");
        link.send(served.call(&token, "sql_schema", &json!({}), &format!("X-Forwarded-For: {hops}\r\n")).as_bytes());
        link.answer().expect("an answer").status
    };
    let direct = Served::start(&[], &[]);
    let statuses: Vec<_> = (0..60).map(|n| knock(&direct, n, &format!("198.51.100.{n}"))).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    let proxied = Served::start(&["--behind-proxy"], &[]);
    let statuses: Vec<_> = (0..60).map(|n| knock(&proxied, n, &format!("6.6.6.6, 198.51.100.{n}"))).collect();
    assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    let statuses: Vec<_> = (0..60).map(|n| knock(&proxied, n, &format!("198.51.100.{n}, 203.0.113.7"))).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

/// A balancer that passes bytes on says for whom; nobody else may, and nobody may leave it out.
#[test]
fn a_balancer_says_for_whom_it_speaks() {
    let served = Served::start(&["--behind-proxy"], &[("FREEHOLD_CONNECTIONS__PROXY_PROTOCOL", "true")]);
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    // Version 2; its command, its family, its addresses.
    let header = |command: u8, family: u8, addresses: &[u8]| {
        let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
        [&signature[..], &[0x20 | command, family], &length, addresses].concat()
    };
    let four = [203, 0, 113, 9, 127, 0, 0, 1, 0x12, 0x34, 0x1f, 0x90];
    let six = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[9], &[0; 15], &[1], &[0x12, 0x34, 0x1f, 0x90]].concat();
    let extended = [&four[..], &[4, 0, 1, 7]].concat();
    let forwarded = "X-Forwarded-For: 6.6.6.6\r\n";
    let ask = served.call(&served.a, "sql_schema", &json!({}), forwarded).into_bytes();
    for (what, header, client) in [
        ("IPv4", header(1, 0x11, &four), "203.0.113.9"),
        ("IPv6", header(1, 0x21, &six), "2001:db8::9"),
        ("more than addresses", header(1, 0x11, &extended), "203.0.113.9"),
        // On its own behalf it is a proxy like any other, whose word about callers is taken.
        ("itself", header(0, 0, &[]), "6.6.6.6"),
    ] {
        let mut link = served.link();
        link.send(&[header, ask.clone()].concat());
        let answer = link.answer().unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        let id = answer.head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id").to_owned();
        let log = served.server.log();
        let line = log.lines().find(|line| line.contains(&id)).unwrap_or_else(|| panic!("{what}: {log}"));
        let told: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(told["client.address"], client, "{what}");
    }
    for (what, start) in [
        ("none", Vec::new()),
        ("version 1", b"PROXY TCP4 203.0.113.9 127.0.0.1 4660 8080\r\n".to_vec()),
        ("half of one", signature.to_vec()),
        ("a version that there is not", [&signature[..], &[0x31, 0x11, 0, 12], &four].concat()),
        ("addresses cut off", header(1, 0x11, &four[..6])),
        ("a socket of no address", header(1, 0x31, &[0; 216])),
        ("an endless one", [&signature[..], &[0x21, 0x11, 0xff, 0xff]].concat()),
    ] {
        let mut link = served.link();
        let half = what == "half of one";
        link.send(&if half { start } else { [start, ask.clone()].concat() });
        assert!(link.answer().is_none(), "{what}: it was served");
    }
}

/// Who leaves with a reset leaves no stream behind that would count for him.
#[test]
fn a_reset_frees_its_stream() {
    let served = Served::start(&[], &[("FREEHOLD_LIMITS__STREAMS", "2")]);
    let meta: Value = serde_json::from_str(&tool_call("x", &json!({}))).expect("JSON");
    let params = json!({ "notifications": { "toolsListChanged": true }, "_meta": meta["params"]["_meta"] });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params }).to_string();
    let headers = format!(
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\nContent-Length: {}\r\n",
        body.len()
    );
    let ask = served.post(&served.a, &headers, &body);
    let listen = || {
        let mut link = served.link();
        link.send(ask.as_bytes());
        let mut status = [0; 12];
        std::io::Read::read_exact(&mut link.stream(), &mut status).expect("a status");
        (link, String::from_utf8_lossy(&status[9..]).into_owned())
    };
    let held = [listen(), listen()];
    assert!(held.iter().all(|(_, status)| status == "200"), "{:?}", held.each_ref().map(|(_, status)| status));
    assert_eq!(listen().1, "429");
    // What is closed with something unread is reset.
    drop(held);
    let begun = Instant::now();
    while listen().1 != "200" {
        assert!(begun.elapsed() < PATIENCE, "never free again");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `OPTIONS`, health and the rest say nothing of this host to whoever asks in another name.
#[test]
fn health_is_for_balancers_and_tells_nothing() {
    let served = Served::start(&[], &[]);
    for host in ["10.0.0.7:8000", "x", "evil.example:99"] {
        let mut link = served.link();
        link.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nOrigin: https://evil.example\r\n\r\n").as_bytes());
        let answer = link.answer().expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{host}");
        assert!(!answer.head.contains("access-control-allow-origin"), "{answer:?}");
        assert!(!answer.head.contains("\r\nserver:"), "{answer:?}");
    }
    for path in ["/metrics", "/admin", "/v1/tenants", "/tenants/a", "/.git/config", "/data/catalog.db"] {
        let mut link = served.link();
        let host = served.server.address();
        let bearer = format!("Authorization: Bearer {}\r\n", served.a);
        link.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{bearer}\r\n").as_bytes());
        assert_eq!(link.answer().expect("an answer").status, 404, "{path}");
    }
}
