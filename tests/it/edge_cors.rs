//! What a page of another origin is told: preflights before anything else, and headers on every answer.

use axum::body::Body;
use http::Method;
use rmcp::{tool, tool_router};
use serde_json::json;

use crate::support::wire::{Answer, Ask, LEGACY, initialize};
use crate::support::{plain, start};
use freehold::{AllowedOrigin, Host, Settings, TestHost};

const PAGE: &str = "https://app.example.com";
const STRANGER: &str = "https://evil.example";

/// A server that is never done.
struct Endless;

#[tool_router(server_handler)]
impl Endless {
    /// Wait for what does not come.
    #[tool]
    async fn wait(&self) -> String {
        std::future::pending().await
    }
}

fn allow(settings: &mut Settings, origins: &[&str]) {
    let parsed = origins.iter().map(|origin| origin.parse::<AllowedOrigin>().expect("an origin"));
    settings.cors.allowed_origins = parsed.collect();
}

fn with_page(tenants: &[&str]) -> TestHost {
    plain(tenants, |settings| allow(settings, &[PAGE]))
}

fn preflight(path: &str, origin: &str, headers: &str) -> Ask {
    Ask::new(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", headers)
}

/// What a page needs in order to see this answer at all.
fn expect_readable(answer: &Answer, origin: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), origin, "{answer:?}");
    assert!(answer.headers.get_all("vary").iter().any(|vary| vary == "origin"), "{answer:?}");
    let exposed = answer.header("access-control-expose-headers");
    for name in ["mcp-session-id", "www-authenticate", "retry-after", "mcp-protocol-version", "x-request-id"] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{name} in {exposed}");
    }
    expect_no_credentials(answer);
}

fn expect_no_credentials(answer: &Answer) {
    assert!(!answer.headers.contains_key("access-control-allow-credentials"), "{answer:?}");
}

#[tokio::test]
async fn a_preflight_is_answered_before_anybody_asks_who_calls() {
    let host = with_page(&[]);
    let asked = "authorization, content-type, accept, mcp-protocol-version, mcp-session-id, last-event-id, \
                 mcp-method, mcp-name, traceparent, mcp-param-region, x-unheard-of";
    for path in ["/mcp", "/mcp/"] {
        let answer = preflight(path, PAGE, asked).send(&host).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert!(answer.body.is_empty());
        expect_readable(&answer, PAGE);
        let allowed = answer.header("access-control-allow-headers").to_owned();
        for name in asked.split(", ").filter(|name| *name != "x-unheard-of") {
            assert!(allowed.split(", ").any(|allowed| allowed == name.trim()), "{name} in {allowed}");
        }
        assert!(!allowed.contains("x-unheard-of") && !allowed.contains('*'), "{allowed}");
        assert_eq!(answer.header("access-control-allow-methods"), "GET, POST, DELETE");
        assert_eq!(answer.header("access-control-max-age"), "7200");
    }
    host.close().await;
}

#[tokio::test]
async fn a_stranger_s_preflight_learns_nothing() {
    let host = with_page(&[]);
    for origin in [STRANGER, "null", "https://app.example.com.evil.example", "http://app.example.com", "nonsense"] {
        let answer = preflight("/mcp", origin, "authorization").send(&host).await;
        answer.expect_refusal(403);
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{origin}: {answer:?}");
        assert!(!answer.headers.contains_key("access-control-allow-headers"), "{origin}: {answer:?}");
    }
    host.close().await;
}

/// A flood of names in a preflight costs no more than a bound of them.
#[tokio::test]
async fn a_preflight_s_wishes_are_bounded() {
    let host = with_page(&[]);
    let many: Vec<String> = (0..200).map(|n| format!("mcp-param-{n}")).collect();
    let answer = preflight("/mcp", PAGE, &many.join(",")).send(&host).await;
    let allowed = answer.header("access-control-allow-headers");
    assert_eq!(allowed.matches("mcp-param-").count(), 32, "{allowed}");
    host.close().await;
}

#[tokio::test]
async fn every_answer_can_be_read_by_an_allowed_page() {
    let host = plain(&["a"], |settings| {
        allow(settings, &[PAGE]);
        settings.limits.body_bytes = bytesize::ByteSize::b(1_000);
    });
    let call = || Ask::tool("sql_query", &json!({ "sql": "SELECT 7" }));
    let cases: Vec<(u16, Ask)> = vec![
        (200, call().of(&host, "a")),
        (200, initialize(LEGACY[2]).of(&host, "a")),
        (400, Ask::post("{").of(&host, "a")),
        (400, call().at("/mcp?x=1").of(&host, "a")),
        (401, call()),
        (401, call().bearer("nonsense")),
        (403, call().bearer(&host.token("nobody").expect("a token"))),
        (404, Ask::new(Method::GET, "/nowhere")),
        (
            404,
            Ask::new(Method::GET, "/mcp")
                .header("mcp-session-id", "x")
                .header("accept", "text/event-stream")
                .of(&host, "a"),
        ),
        (405, Ask::new(Method::PUT, "/mcp").of(&host, "a")),
        (406, call().without("accept").header("accept", "text/html").of(&host, "a")),
        (413, Ask::post(Body::from(vec![b' '; 2_000])).of(&host, "a")),
        (415, call().without("content-type").of(&host, "a")),
        (415, call().header("content-encoding", "gzip").of(&host, "a")),
        (431, call().header("x-long", &"x".repeat(17_000)).of(&host, "a")),
    ];
    for (status, ask) in cases {
        let answer = ask.header("origin", PAGE).send(&host).await;
        assert_eq!(answer.status, status, "{answer:?}");
        expect_readable(&answer, PAGE);
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer:?}");
    }
    host.close().await;
}

/// The host's room and its patience end for browsers as they do for others: in words that a page can read.
#[tokio::test]
async fn room_and_patience_end_readably() {
    let host = start(Host::new(|_tenant| Endless), &["a"], |settings| {
        allow(settings, &[PAGE]);
        settings.connections.in_flight = 1;
        settings.connections.answer_deadline = std::time::Duration::from_millis(50);
    });
    let slow = || Ask::tool("wait", &json!({})).of(&host, "a").header("origin", PAGE);
    let late = slow().send(&host).await;
    expect_readable(&late, PAGE);
    let said = late.expect_refusal(504);
    assert_eq!(said["error"]["data"]["limit"], "answer_deadline", "{said}");
    // `join!` polls the first to its wait before the second begins.
    let (first, second) = tokio::join!(slow().send(&host), slow().send(&host));
    assert_eq!(first.status, 504);
    expect_readable(&second, PAGE);
    let said = second.expect_refusal(503);
    assert_eq!((&said["error"]["data"]["limit"], &said["error"]["data"]["value"]), (&json!("in_flight"), &json!(1)));
    assert_eq!(second.header("retry-after"), "1");
    host.close().await;
}

/// A rate, and a bug of ours: a page reads both, and of the bug no more than that it is one.
#[tokio::test]
async fn a_rate_and_a_bug_are_told_readably() {
    let host = plain(&["a"], |settings| {
        allow(settings, &[PAGE]);
        settings.limits.requests_per_second = 1;
        settings.limits.burst = 1;
    });
    let call = || Ask::tool("sql_query", &json!({ "sql": "SELECT 7" })).of(&host, "a").header("origin", PAGE);
    assert_eq!(call().send(&host).await.status, 200);
    let limited = call().send(&host).await;
    limited.expect_refusal(429);
    expect_readable(&limited, PAGE);
    assert!(!limited.header("retry-after").is_empty(), "{limited:?}");
    host.close().await;

    let dir = tempfile::tempdir().expect("a folder");
    let mut settings = Settings { data_dir: dir.path().to_path_buf().into(), ..Settings::default() };
    allow(&mut settings, &[PAGE]);
    let (router, service) = Host::new(|_tenant| Endless).authenticate(Broken).into_router(&settings).expect("a host");
    let answer = Ask::post("{}").bearer("x").header("origin", PAGE).send_to(router).await;
    let said = answer.expect_refusal(500);
    expect_readable(&answer, PAGE);
    assert_eq!((&said["error"]["code"], &said["error"]["message"]), (&json!(-32603), &json!("internal error")));
    assert!(!answer.text().contains("secret"), "{answer:?}");
    service.close().await;
}

/// A verifier with a bug in it.
struct Broken;

impl freehold::Authenticate for Broken {
    fn authenticate<'a>(&'a self, _token: &'a str) -> freehold::Verdict<'a> {
        panic!("a secret that nobody should read")
    }
}

#[tokio::test]
async fn a_stranger_s_page_gets_nothing() {
    let host = with_page(&["a"]);
    let call = || Ask::tool("sql_execute", &json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] }));
    for origin in
        [STRANGER, "null", "https://app.example.com:444", "https://app.example.com/", "https://u@app.example.com"]
    {
        let answer = call().of(&host, "a").header("origin", origin).send(&host).await;
        answer.expect_refusal(403);
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{origin}: {answer:?}");
    }
    let twice = call().of(&host, "a").header("origin", PAGE).header("origin", STRANGER).send(&host).await;
    twice.expect_refusal(400);
    assert!(!twice.headers.contains_key("access-control-allow-origin"), "{twice:?}");
    let schema = host.call("a", "sql_schema", json!({})).await;
    assert_eq!(schema["result"]["structuredContent"]["tables"], json!([]), "refused and done all the same");
    host.close().await;
}

#[tokio::test]
async fn what_is_well_known_is_for_everybody() {
    let host = with_page(&[]);
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp", "/.well-known/x"]
    {
        let asked = preflight(path, STRANGER, "mcp-protocol-version, authorization").send(&host).await;
        assert_eq!((asked.status.as_u16(), asked.header("access-control-allow-origin")), (204, "*"), "{asked:?}");
        assert_eq!(asked.header("access-control-allow-headers"), "mcp-protocol-version, authorization");
        let read = Ask::new(Method::GET, path).header("origin", STRANGER).send(&host).await;
        assert_eq!(read.header("access-control-allow-origin"), "*", "{read:?}");
        expect_no_credentials(&read);
    }
    host.close().await;
}

/// One address is all that an operator has to say.
#[tokio::test]
async fn the_public_url_alone_allows_its_own_host_and_pages() {
    let host = plain(&["a"], |settings| settings.public_url = Some("https://mcp.example.com".parse().expect("a URL")));
    let call = |name: &str, origin: &str| {
        let ask = Ask::tool("sql_query", &json!({ "sql": "SELECT 7" })).without("host").header("host", name);
        ask.header("origin", origin).of(&host, "a").send(&host)
    };
    for (name, origin, status) in [
        ("mcp.example.com", "https://mcp.example.com", 200),
        ("MCP.example.com:443", "https://mcp.example.com:443", 200),
        ("127.0.0.1:8000", "http://localhost:8000", 200),
        ("mcp.example.com:80", "https://mcp.example.com", 403),
        ("mcp.example.com", "http://mcp.example.com", 403),
        ("mcp.example.com", "http://localhost:8001", 403),
    ] {
        let answer = call(name, origin).await;
        assert_eq!(answer.status, status, "{name} {origin}: {answer:?}");
    }
    host.close().await;
}

/// Who asks by OPTIONS and is no browser is told the methods, and nothing is opened for anybody by that.
#[tokio::test]
async fn a_plain_options_is_no_preflight() {
    let host = with_page(&[]);
    let answer = Ask::new(Method::OPTIONS, "/mcp").send(&host).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (204, "GET, POST, DELETE, OPTIONS"), "{answer:?}");
    assert!(!answer.headers.contains_key("access-control-allow-origin"), "{answer:?}");
    let health =
        Ask::new(Method::GET, "/healthz").without("host").header("host", "10.0.0.7:8000").header("origin", STRANGER);
    let health = health.send(&host).await;
    assert_eq!(health.status, 200);
    assert!(!health.headers.contains_key("access-control-allow-origin"), "{health:?}");
    host.close().await;
}
