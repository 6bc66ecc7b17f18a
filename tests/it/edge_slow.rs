//! Real sockets: clients that are slow on purpose, too many, or out of shape, and a listener that lets go of
//! them, each within its own bound, while others are served.

use std::time::Duration;

use freehold::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::listening::{Listening, status, until_closed};
use crate::support::soon;

fn hurried(settings: &mut Settings) {
    settings.connections.header_deadline = Duration::from_millis(300);
    settings.connections.idle = Duration::from_millis(300);
    settings.connections.write_stall = Duration::from_millis(300);
    settings.limits.body_deadline = Duration::from_millis(300);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_a_head_is_let_go() {
    let host = Listening::start(hurried).await;
    let half = host.head("POST /mcp", "");
    for begun in [
        "",
        "P",
        "POST /mcp HTTP/1.1\r\n",
        &half[..half.len() - 2],
        "PRI * HTTP/2.0\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let said = host.exchange(begun.as_bytes()).await;
        assert!(!said.starts_with("HTTP/1.1 2"), "{begun:?}: {said}");
    }
    host.stop().await;
}

/// A byte now and then is no sign of life: the deadline is the head's, not the byte's.
#[tokio::test(flavor = "multi_thread")]
async fn a_dripped_head_is_let_go() {
    let host = Listening::start(hurried).await;
    let (mut read, mut write) = host.connect().await.into_split();
    let dripping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while write.write_all(b"x").await.is_ok() {
            tick.tick().await;
        }
    });
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = soon(read.read_to_end(&mut rest)).await;
    assert!(!String::from_utf8_lossy(&rest).starts_with("HTTP/1.1 2"));
    soon(dripping).await.expect("the writer sees the end");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_requests_there_is_an_end_to_waiting() {
    let host = Listening::start(hurried).await;
    for next in ["", "POST /mcp HTTP/1.1\r\nHost"] {
        let mut stream = host.connect().await;
        stream.write_all(host.head("GET /healthz", "").as_bytes()).await.expect("sent");
        assert_eq!(status(&mut stream).await, "HTTP/1.1 200 OK");
        stream.write_all(next.as_bytes()).await.expect("sent");
        until_closed(stream).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_told_so() {
    let host = Listening::start(hurried).await;
    let call = host.call("SELECT 7");
    let said = host.exchange(&call.as_bytes()[..call.len() - 5]).await;
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("body_deadline"), "{said}");
    host.stop().await;
}

/// A byte now and then keeps a body alive until its deadline, silence only so long.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_falls_silent_is_told_so() {
    let host = Listening::start(|settings| settings.limits.body_idle = Duration::from_millis(300)).await;
    let call = host.call("SELECT 7");
    let said = host.exchange(&call.as_bytes()[..call.len() - 5]).await;
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("body_idle"), "{said}");
    host.stop().await;
    let host = Listening::start(|settings| {
        settings.limits.body_deadline = Duration::from_secs(1);
        settings.limits.body_idle = Duration::from_secs(1_000);
    })
    .await;
    let (mut read, mut write) = host.connect().await.into_split();
    let call = host.call("SELECT 7");
    let (head, _) = call.split_once("Content-Length").expect("a length");
    let head = format!("{head}Content-Length: 1000\r\n\r\n");
    write.write_all(head.as_bytes()).await.expect("sent");
    let dripping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while write.write_all(b" ").await.is_ok() {
            tick.tick().await;
        }
    });
    let mut said = Vec::new();
    let _ = soon(read.read_to_end(&mut said)).await;
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("body_deadline"), "{said}");
    soon(dripping).await.expect("the writer sees the end");
    host.stop().await;
}

/// An old connection ends with an answer, so that nobody loses a request over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_grows_old() {
    let host = Listening::start(|settings| {
        hurried(settings);
        settings.connections.age = Duration::from_millis(300);
    })
    .await;
    let mut stream = host.connect().await;
    let begun = std::time::Instant::now();
    let mut last = String::new();
    // It asks without a pause: each request is answered, and one of the answers says that it is the last.
    while begun.elapsed() < crate::support::PATIENCE {
        if stream.write_all(host.head("GET /healthz", "").as_bytes()).await.is_err() {
            break;
        }
        let mut piece = vec![0; 4_096];
        let Ok(read @ 1..) = soon(stream.read(&mut piece)).await else { break };
        last = String::from_utf8_lossy(&piece[..read]).into_owned();
        assert!(last.starts_with("HTTP/1.1 200"), "{last}");
    }
    assert!(last.contains("connection: close\r\n"), "{last}");
    host.stop().await;
}

/// Answers that nobody reads are not kept for ever, nor is the connection.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_let_go() {
    let host = Listening::start(hurried).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small window");
    let stream = socket.connect(host.address).await.expect("a connection");
    let (_unread, mut write) = stream.into_split();
    let call = host.call("SELECT printf('%*c', 500000, 'x')");
    soon(async {
        // It asks on and on, and takes nothing: in the end nobody listens to it.
        while write.write_all(call.as_bytes()).await.is_ok() {}
    })
    .await;
    let said = host.exchange(host.head("GET /healthz", "Connection: close\r\n").as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 200"), "others are served: {said}");
    host.stop().await;
}

/// An answer that waits for its client is one of its tenant's calls: the memory for such answers has an end.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_taken_holds_its_place() {
    let host = Listening::start(|settings| {
        settings.limits.requests_per_second = 0;
        settings.limits.principal_requests_per_second = 0;
        settings.limits.concurrent_calls = 1;
        settings.limits.calls_waiting = 0;
    })
    .await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small window");
    let mut unread = socket.connect(host.address).await.expect("a connection");
    // More than both kernels keep, even if most of them find the place taken by one of the small calls below.
    let large = host.call("SELECT printf('%.*c', 900000, 'x')").repeat(100);
    unread.write_all(large.as_bytes()).await.expect("sent");
    let small = host.call("SELECT 7").replacen("\r\nAuth", "\r\nConnection: close\r\nAuth", 1);
    // Calls that run one after the other leave moments between them; one that waits for its client leaves none.
    soon(async {
        let mut refused = 0;
        while refused < 50 {
            let said = host.exchange(small.as_bytes()).await;
            let is_full = said.starts_with("HTTP/1.1 429") && said.contains("concurrent_calls");
            refused = if is_full { refused + 1 } else { 0 };
        }
    })
    .await;
    drop(unread);
    soon(async { while !host.exchange(small.as_bytes()).await.starts_with("HTTP/1.1 200") {} }).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_comes_before_the_body_keeps_the_connection_or_says_that_it_ends() {
    let host = Listening::start(|_| {}).await;
    // Without a token nobody waits for a body.
    let head = |length: usize| host.head("POST /mcp", &format!("Content-Length: {length}\r\n"));
    let mut stream = host.connect().await;
    for _ in 0..2 {
        stream.write_all(head(100).as_bytes()).await.expect("sent");
        stream.write_all(&[b' '; 100]).await.expect("sent");
        assert_eq!(status(&mut stream).await, "HTTP/1.1 401 Unauthorized");
    }
    for length in [100, 1_000_000] {
        let said = host.exchange(head(length).as_bytes()).await.to_ascii_lowercase();
        assert!(said.starts_with("http/1.1 401") && said.contains("\r\nconnection: close\r\n"), "{said}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_and_places_come_back() {
    let host = Listening::start(|settings| settings.connections.max = 2).await;
    let healthy = host.head("GET /healthz", "");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = host.connect().await;
        stream.write_all(healthy.as_bytes()).await.expect("sent");
        assert_eq!(status(&mut stream).await, "HTTP/1.1 200 OK");
        held.push(stream);
    }
    assert_eq!(host.exchange(healthy.as_bytes()).await, "", "there is no third place");
    held.pop();
    // The place is free when the host has seen the end, which it tells nobody.
    soon(async {
        loop {
            let mut stream = host.connect().await;
            let _ = stream.write_all(healthy.as_bytes()).await;
            let mut piece = [0; 64];
            if let Ok(1..) = stream.read(&mut piece).await {
                break;
            }
        }
    })
    .await;
    host.stop().await;
}

/// What two parsers could read as two things, on the wire itself. Never served, never a 5xx.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused() {
    let host = Listening::start(hurried).await;
    let ours = host.address;
    let good = host.call("SELECT 7");
    let with = |header: &str| good.replacen("\r\nAuthorization", &format!("\r\n{header}\r\nAuthorization"), 1);
    let long = "x".repeat(70_000);
    let many: String = (0..150).map(|n| format!("X-{n}: 1\r\n")).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("two Hosts", with(&format!("Host: {ours}")).into_bytes()),
        ("another Host", good.replacen(&format!("Host: {ours}"), "Host: evil.example", 1).into_bytes()),
        ("no Host", good.replacen(&format!("Host: {ours}\r\n"), "", 1).into_bytes()),
        ("a foreign target", good.replacen("POST /mcp", "POST http://evil.example/mcp", 1).into_bytes()),
        ("two lengths", with("Content-Length: 3").into_bytes()),
        ("a signed length", with("Content-Length: +3").into_bytes()),
        ("an unknown coding", with("Transfer-Encoding: xchunked").into_bytes()),
        ("a space before the colon", with("X-Odd : 1").into_bytes()),
        ("a folded header", with("X-Odd: 1\r\n 2").into_bytes()),
        ("a NUL", with("X-Odd: a\0b").into_bytes()),
        ("an upgrade", with("Connection: upgrade\r\nUpgrade: websocket").into_bytes()),
        (
            "an old upgrade",
            with("Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk").into_bytes(),
        ),
        ("a long target", good.replacen("/mcp", &format!("/mcp?{long}"), 1).into_bytes()),
        ("a long header", with(&format!("X-Long: {}", &long[..20_000])).into_bytes()),
        ("an endless header", with(&format!("X-Long: {}", long.repeat(10))).into_bytes()),
        ("many headers", with(many.trim_end()).into_bytes()),
        ("a tunnel", format!("CONNECT {ours} HTTP/1.1\r\nHost: {ours}\r\n\r\n").into_bytes()),
        ("an asterisk", format!("OPTIONS * HTTP/1.1\r\nHost: {ours}\r\n\r\n").into_bytes()),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("an unknown HTTP", format!("POST /mcp HTTP/3.0\r\nHost: {ours}\r\n\r\n").into_bytes()),
    ];
    for (what, bytes) in cases {
        let said = host.exchange(&bytes).await;
        let refused = said.is_empty() || said.starts_with("HTTP/1.1 4") || said.starts_with("HTTP/1.0 4");
        assert!(refused, "{what}: {said}");
    }
    let said = host.exchange(good.replacen("\r\nAuth", "\r\nConnection: close\r\nAuth", 1).as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 200"), "and the same in order is served: {said}");
    host.stop().await;
}

/// `Expect: 100-continue` with more than is taken: the refusal comes, and no invitation to send.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_invited_to_send_too_much() {
    let host = Listening::start(hurried).await;
    let call = host.call("SELECT 7");
    let (head, _) = call.split_once("\r\nContent-Length").expect("a length");
    let said =
        host.exchange(format!("{head}\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n").as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    host.stop().await;
}

/// A trusted proxy's word counts: the id that it gave a request comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_names_the_request() {
    let host = Listening::start(|settings| settings.behind_proxy = true).await;
    let ask = |id: &str| host.head("GET /healthz", &format!("X-Request-Id: {id}\r\nConnection: close\r\n"));
    let said = host.exchange(ask("lb-1.2_3").as_bytes()).await;
    assert!(said.contains("x-request-id: lb-1.2_3\r\n"), "{said}");
    for odd in ["a b", "a{\"level\":1}", &"x".repeat(65)] {
        let said = host.exchange(ask(odd).as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 200") && !said.contains(odd), "{said}");
    }
    host.stop().await;
}

/// A balancer hears of the end before anybody is refused.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_ends_before_service_does() {
    let host = Listening::start(|settings| settings.connections.drain_delay = Some(Duration::from_secs(2))).await;
    let Listening { address, dir: _dir, stop, serving } = host;
    let get = |path: &'static str| async move {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        until_closed(stream).await.lines().next().map(str::to_owned)
    };
    soon(async { while get("/readyz").await.as_deref() != Some("HTTP/1.1 200 OK") {} }).await;
    let _ = stop.send(());
    soon(async { while get("/readyz").await.as_deref() != Some("HTTP/1.1 503 Service Unavailable") {} }).await;
    assert_eq!(get("/mcp").await.as_deref(), Some("HTTP/1.1 401 Unauthorized"), "it still answers");
    soon(serving).await.expect("no panic").expect("an orderly end");
    assert_eq!(get("/readyz").await, None, "and then it does not");
}
